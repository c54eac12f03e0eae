//! What waits in memory, a line for each destination.
//!
//! A line holds the first batches of its destination in the order of the schedule; the rest stays on disk, and the line knows after
//! which place. So a long line costs no more memory than its share, and keeps nobody else out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::queue::record::Place;
use crate::route::destination::DestinationKey;

pub type LineId = u64;

/// A place to go on from: `None` is the start of the schedule.
pub type After = Option<Place>;

/// What is kept at most.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Batches of all lines together, also the most lines there can be: each may hold one batch at least.
    pub batches: usize,
    /// Batches of one line.
    pub of_one: usize,
}

#[derive(Debug)]
struct Line {
    key: DestinationKey,
    kept: BTreeSet<Place>,
    rest: Rest,
}

/// What of a destination is on disk only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing, as far as the schedule has been read.
    Nothing,
    /// Perhaps something after this place. All up to it is in memory.
    After(After),
}

#[derive(Debug)]
pub struct Lines {
    room: Memory,
    serial: LineId,
    ids: HashMap<DestinationKey, LineId>,
    lines: BTreeMap<LineId, Line>,
    /// The longest line is the last.
    lengths: BTreeSet<(usize, LineId)>,
    batches: usize,
}

impl Lines {
    pub fn new(room: Memory) -> Lines {
        Lines {
            room,
            serial: 0,
            ids: HashMap::new(),
            lines: BTreeMap::new(),
            lengths: BTreeSet::new(),
            batches: 0,
        }
    }

    pub fn batches(&self) -> usize {
        self.batches
    }

    pub fn count(&self) -> usize {
        self.lines.len()
    }

    pub fn is_full(&self) -> bool {
        self.batches >= self.room.batches
    }

    /// Lines have become so few that new ones may be looked for on disk.
    pub fn have_room(&self) -> bool {
        self.lines.len() < self.room.batches - self.room.batches / 4
    }

    /// Batches a line may hold now: its share.
    pub fn share(&self) -> usize {
        (self.room.batches / self.lines.len().max(1)).clamp(1, self.room.of_one.max(1))
    }

    /// A line this short wants more from the disk, if there is more.
    pub fn is_short(&self, line: LineId) -> bool {
        self.length(line) <= self.share() / 4
    }

    pub fn find(&self, key: &DestinationKey) -> Option<LineId> {
        self.ids.get(key).copied()
    }

    /// The line of a destination, a new one if need be; `None` when there are too many.
    pub fn open(&mut self, key: &DestinationKey) -> Option<LineId> {
        if let Some(line) = self.find(key) {
            return Some(line);
        }
        if self.lines.len() >= self.room.batches {
            return None;
        }
        self.serial += 1;
        let line = Line { key: key.clone(), kept: BTreeSet::new(), rest: Rest::Nothing };
        self.ids.insert(key.clone(), self.serial);
        self.lines.insert(self.serial, line);
        self.lengths.insert((0, self.serial));
        Some(self.serial)
    }

    /// Forgets a line that has nothing in memory and nothing on disk.
    pub fn close_if_done(&mut self, line: LineId) -> bool {
        let Some(found) = self.lines.get(&line) else { return true };
        if !found.kept.is_empty() || found.rest != Rest::Nothing {
            return false;
        }
        self.ids.remove(&found.key);
        self.lines.remove(&line);
        self.lengths.remove(&(0, line));
        true
    }

    pub fn insert(&mut self, line: LineId, place: Place) {
        self.change(line, |kept| kept.insert(place));
    }

    pub fn remove(&mut self, line: LineId, place: Place) {
        self.change(line, |kept| kept.remove(&place));
    }

    fn change(&mut self, id: LineId, change: impl FnOnce(&mut BTreeSet<Place>) -> bool) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let before = line.kept.len();
        change(&mut line.kept);
        let after = line.kept.len();
        self.batches = self.batches + after - before;
        self.lengths.remove(&(before, id));
        self.lengths.insert((after, id));
    }

    pub fn key(&self, line: LineId) -> Option<&DestinationKey> {
        self.lines.get(&line).map(|line| &line.key)
    }

    pub fn length(&self, line: LineId) -> usize {
        self.lines.get(&line).map_or(0, |line| line.kept.len())
    }

    pub fn first(&self, line: LineId) -> Option<Place> {
        self.lines.get(&line)?.kept.first().copied()
    }

    pub fn last(&self, line: LineId) -> Option<Place> {
        self.lines.get(&line)?.kept.last().copied()
    }

    pub fn longest(&self) -> Option<LineId> {
        self.lengths.last().map(|(_, line)| *line)
    }

    pub fn rest(&self, line: LineId) -> Rest {
        self.lines.get(&line).map_or(Rest::Nothing, |line| line.rest)
    }

    pub fn set_rest(&mut self, line: LineId, rest: Rest) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.rest = rest;
        }
    }
}
