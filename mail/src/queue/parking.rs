//! Batches that wait for a limit of ours that is not their destination's: of everything, of a client, of a sender's domain.
//!
//! Each was read once to learn whose it is, and found no leave. It waits here and keeps its place in the schedule, so that others of its
//! destination go on; when its limit may have room again, one of them is let go to ask, and the next when that one was granted. There is
//! room for so many; who finds none waits with its destination.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::queue::record::Place;
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

/// Batches that wait here, of all lots.
pub const MOST_PARKED: usize = 10_000;

/// What a limit counts by: `all`, or a scope and its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lot(Arc<str>);

impl Lot {
    pub fn new(name: &str) -> Lot {
        Lot(Arc::from(name))
    }
}

impl fmt::Display for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a lot is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub began: Timestamp,
    pub until: Timestamp,
    pub for_a_place: bool,
}

#[derive(Debug)]
struct Waiting {
    began: Timestamp,
    until: Timestamp,
    /// A place has to be given back first; else nothing helps before a token is due at `until`.
    for_a_place: bool,
    parked: BTreeMap<Place, DestinationKey>,
}

#[derive(Debug)]
pub struct Parking {
    most: usize,
    count: usize,
    lots: HashMap<Lot, Waiting>,
    wheel: BTreeSet<(Timestamp, Lot)>,
}

impl Parking {
    pub fn new(most: usize) -> Parking {
        Parking { most, count: 0, lots: HashMap::new(), wheel: BTreeSet::new() }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `false`: there is no room. `wait` is how long asking again makes no sense, for all of the lot.
    pub fn park(&mut self, lot: &Lot, place: Place, key: DestinationKey, wait: Wait) -> bool {
        if self.count >= self.most {
            return false;
        }
        let Wait { began, until, for_a_place } = wait;
        let fresh = || Waiting { began, until, for_a_place, parked: BTreeMap::new() };
        let waiting = self.lots.entry(lot.clone()).or_insert_with(fresh);
        if waiting.parked.insert(place, key).is_none() {
            self.count += 1;
        }
        self.set(lot, wait);
        true
    }

    fn set(&mut self, lot: &Lot, wait: Wait) {
        if let Some(waiting) = self.lots.get_mut(lot) {
            self.wheel.remove(&(waiting.until, lot.clone()));
            (waiting.began, waiting.until) = (wait.began, wait.until);
            waiting.for_a_place = wait.for_a_place;
            self.wheel.insert((wait.until, lot.clone()));
        }
    }

    pub fn remove(&mut self, lot: &Lot, place: Place) {
        let Some(waiting) = self.lots.get_mut(lot) else { return };
        if waiting.parked.remove(&place).is_some() {
            self.count -= 1;
        }
        if waiting.parked.is_empty() {
            self.wheel.remove(&(waiting.until, lot.clone()));
            self.lots.remove(lot);
        }
    }

    /// The first of a lot, to be tried now; the others not before `again`, unless something is heard.
    pub fn first_of(&mut self, lot: &Lot, again: Wait) -> Option<(Place, DestinationKey)> {
        let (place, key) = self.lots.get(lot)?.parked.first_key_value()?;
        let first = (*place, key.clone());
        self.set(lot, again);
        self.remove(lot, first.0);
        Some(first)
    }

    /// A lot whose time has come. A clock that was set back makes no wait longer.
    pub fn due(&self, now: Timestamp) -> Option<Lot> {
        let (until, lot) = self.wheel.first()?;
        let set_back = self.lots.get(lot).is_some_and(|waiting| now < waiting.began);
        (*until <= now || set_back).then(|| lot.clone())
    }

    /// Does the lot wait for a place that somebody has to give back?
    pub fn is_for_a_place(&self, lot: &Lot) -> bool {
        self.lots.get(lot).is_some_and(|waiting| waiting.for_a_place)
    }

    /// All of them.
    pub fn for_places(&self) -> Vec<Lot> {
        let waiting = self.lots.iter().filter(|(_, waiting)| waiting.for_a_place);
        waiting.map(|(lot, _)| lot.clone()).collect()
    }

    /// When the next lot is to be asked for.
    pub fn wakes(&self) -> Option<Timestamp> {
        self.wheel.first().map(|(until, _)| *until)
    }

    /// Those of one destination, of all lots: how many, and when the schedule has the first of them.
    pub fn of(&self, key: &DestinationKey) -> (usize, Option<Timestamp>) {
        let parked = self.lots.values().flat_map(|waiting| &waiting.parked);
        let mut of_it = parked.filter(|(_, of)| *of == key).map(|((at, _), _)| *at).peekable();
        let first = of_it.peek().copied();
        of_it.fold((0, first), |(count, first), at| (count + 1, first.min(Some(at))))
    }

    /// Until when a lot waits.
    pub fn until(&self, lot: &Lot) -> Option<Timestamp> {
        self.lots.get(lot).map(|waiting| waiting.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::EnvelopeId;
    use crate::queue::record::BatchId;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn place(number: u8) -> Place {
        let envelope = EnvelopeId::from_bytes([number; 16]);
        (at(number.into()), BatchId { envelope, index: 0 })
    }

    fn wait(until: u64) -> Wait {
        Wait { began: at(40.min(until)), until: at(until), for_a_place: false }
    }

    fn key() -> DestinationKey {
        DestinationKey::Unqualified
    }

    #[test]
    fn one_is_let_go_at_a_time_the_earliest_first() {
        let mut parking = Parking::new(10);
        let lot = Lot::new("source a.test");
        for number in [3, 1, 2] {
            assert!(parking.park(&lot, place(number), key(), wait(50)));
        }
        assert_eq!((parking.due(at(49)), parking.wakes()), (None, Some(at(50))));
        assert_eq!(parking.due(at(50)), Some(lot.clone()));
        assert_eq!(parking.due(at(39)), Some(lot.clone())); // the clock was set back
        assert_eq!(parking.first_of(&lot, wait(60)), Some((place(1), key())));
        assert_eq!((parking.due(at(50)), parking.wakes()), (None, Some(at(60))));
        parking.remove(&lot, place(2));
        assert_eq!(parking.first_of(&lot, wait(70)), Some((place(3), key())));
        assert_eq!(parking.first_of(&lot, wait(70)), None);
        assert!(parking.is_empty() && parking.wakes().is_none());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut parking = Parking::new(2);
        let (a, b) = (Lot::new("source a"), Lot::new("source b"));
        assert!(
            parking.park(&a, place(1), key(), wait(5))
                && parking.park(&b, place(2), key(), wait(4))
        );
        assert!(!parking.park(&b, place(3), key(), wait(4)));
        assert_eq!((parking.len(), parking.wakes()), (2, Some(at(4))));
        assert_eq!(parking.of(&key()), (2, Some(at(1))));
        assert_eq!(parking.of(&DestinationKey::Target("other".into())), (0, None));
        parking.remove(&b, place(2));
        parking.remove(&b, place(2));
        assert_eq!((parking.len(), parking.wakes()), (1, Some(at(5))));
    }
}
