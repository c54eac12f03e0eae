//! Whose turn it is: lines that have something due stand in a ring, the others on a wheel until they have.
//!
//! A line with a hundred thousand batches and one with a single batch get the same share of the slots while both wait: whoever had
//! its turn goes to the end of the ring. Every change costs the logarithm of the number of lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::queue::lines::LineId;
use crate::time::Timestamp;

/// Where a line has to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    Nowhere,
    /// Nothing of it is due before this.
    Wheel(Timestamp),
    Ring(Room),
}

/// What an attempt takes up while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Room {
    /// One of `max_parallelism` slots.
    Slot,
    /// A place in the bounded set of those that wait for silent hosts.
    Patience,
}

#[derive(Debug, Default)]
pub struct Turns {
    serial: u64,
    slots: BTreeMap<u64, LineId>,
    patience: BTreeMap<u64, LineId>,
    wheel: BTreeSet<(Timestamp, LineId)>,
    stands: HashMap<LineId, Stand>,
}

#[derive(Clone, Copy, Debug)]
enum Stand {
    Wheel(Timestamp),
    Ring(Room, u64),
}

impl Turns {
    /// A line that stands in the right ring keeps its place in it.
    pub fn set(&mut self, line: LineId, spot: Spot) {
        match (self.stands.get(&line), spot) {
            (None, Spot::Nowhere) => return,
            (Some(Stand::Ring(old, _)), Spot::Ring(new)) if *old == new => return,
            (Some(Stand::Wheel(old)), Spot::Wheel(new)) if *old == new => return,
            (None | Some(_), Spot::Nowhere | Spot::Wheel(_) | Spot::Ring(_)) => {}
        }
        self.leave(line);
        let stand = match spot {
            Spot::Nowhere => return,
            Spot::Wheel(due) => {
                self.wheel.insert((due, line));
                Stand::Wheel(due)
            }
            Spot::Ring(room) => {
                self.serial += 1;
                let turn = self.serial;
                self.ring(room).insert(turn, line);
                Stand::Ring(room, turn)
            }
        };
        self.stands.insert(line, stand);
    }

    /// Takes a line out; set again, it stands at the end.
    pub fn leave(&mut self, line: LineId) {
        match self.stands.remove(&line) {
            Some(Stand::Wheel(due)) => {
                self.wheel.remove(&(due, line));
            }
            Some(Stand::Ring(room, turn)) => {
                self.ring(room).remove(&turn);
            }
            None => {}
        }
    }

    fn ring(&mut self, room: Room) -> &mut BTreeMap<u64, LineId> {
        match room {
            Room::Slot => &mut self.slots,
            Room::Patience => &mut self.patience,
        }
    }

    pub fn first(&self, room: Room) -> Option<LineId> {
        let ring = match room {
            Room::Slot => &self.slots,
            Room::Patience => &self.patience,
        };
        ring.first_key_value().map(|(_, line)| *line)
    }

    /// Lines that have something due and wait for a slot. Those of silent hosts may stand for long, so they do not count.
    pub fn in_ring(&self) -> usize {
        self.slots.len()
    }

    /// The next line on the wheel, and when it has something due.
    pub fn next_due(&self) -> Option<(Timestamp, LineId)> {
        self.wheel.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_kept_until_it_is_had() {
        let mut turns = Turns::default();
        let ring = Spot::Ring(Room::Slot);
        turns.set(1, ring);
        turns.set(2, ring);
        turns.set(1, ring); // more came for it: no second place, and not the last one
        assert_eq!(turns.first(Room::Slot), Some(1));
        turns.leave(1);
        turns.set(1, ring);
        assert_eq!(turns.first(Room::Slot), Some(2));
        turns.set(2, Spot::Nowhere);
        assert_eq!(turns.first(Room::Slot), Some(1));
        assert_eq!(turns.first(Room::Patience), None);
        turns.set(1, Spot::Ring(Room::Patience));
        assert_eq!((turns.first(Room::Slot), turns.first(Room::Patience)), (None, Some(1)));
    }

    #[test]
    fn the_wheel_shows_the_next_moment() {
        let mut turns = Turns::default();
        turns.set(1, Spot::Wheel(Timestamp::from_secs(5)));
        turns.set(2, Spot::Wheel(Timestamp::from_secs(3)));
        assert_eq!(turns.next_due(), Some((Timestamp::from_secs(3), 2)));
        turns.set(2, Spot::Wheel(Timestamp::from_secs(9)));
        assert_eq!(turns.next_due(), Some((Timestamp::from_secs(5), 1)));
        turns.set(1, Spot::Ring(Room::Slot));
        turns.set(2, Spot::Nowhere);
        assert_eq!(turns.next_due(), None);
    }
}
