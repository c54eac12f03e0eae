//! Which page of the schedule is read next.
//!
//! Two readings go through the schedule in turns, a page each. One goes *ahead*, from where nothing has been read to the near future;
//! it never turns back, so it meets every destination after a bounded number of pages, whatever waits before it. The other goes *over*
//! what was read already, from place to place: for lines that have room for what they left on disk, and for what was added or moved
//! behind the first one's back.
//!
//! A page is as old as the moment it was asked for. What came to disk meanwhile, and was not taken into memory, is told by `left`: the
//! page then counts as read only up to there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::envelope::EnvelopeId;
use crate::queue::lines::{After, LineId};
use crate::queue::record::{BatchId, Due, Place};
use crate::time::Timestamp;

/// A wish: the schedule from after `after` up to and including `until`, at most `limit` entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub after: After,
    pub until: Timestamp,
    pub limit: usize,
    pub way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Ahead,
    Over,
}

/// How far and how much is read.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// How far ahead the schedule is kept in memory. It is read on when less than half of that is left.
    pub ahead: Duration,
    /// Entries of a page.
    pub size: usize,
    /// After a page that could not be read.
    pub pause: Duration,
}

#[derive(Debug)]
pub struct Reader {
    pages: Pages,
    /// Up to here the schedule has been read.
    frontier: After,
    /// There was no room for another line: reading ahead waits.
    crowded: bool,
    over: Option<Over>,
    /// Lines that want more, by the place after which they want it.
    wishes: BTreeSet<(After, LineId)>,
    wished: HashMap<LineId, After>,
    /// Those of them that have nothing left.
    empty: HashSet<LineId>,
    /// From where, and up to where, something has to be looked for.
    again: Option<(After, Place)>,
    reading: Option<Read>,
    /// The first entry that came during the reading and is on disk only.
    floor: Option<Place>,
    last: Way,
    not_before: Option<Timestamp>,
}

/// A reading over what was read already.
#[derive(Debug)]
struct Over {
    at: After,
    /// What it reads for. Lines that wish for something later wait for the next reading.
    lines: HashSet<LineId>,
    through: After,
}

impl Reader {
    pub fn new(pages: Pages) -> Reader {
        Reader {
            pages,
            frontier: None,
            crowded: false,
            over: None,
            wishes: BTreeSet::new(),
            wished: HashMap::new(),
            empty: HashSet::new(),
            again: None,
            reading: None,
            floor: None,
            last: Way::Over,
            not_before: None,
        }
    }

    pub fn frontier(&self) -> After {
        self.frontier
    }

    /// Up to where a reading over has come that reads for this line.
    pub fn read_for(&self, line: LineId) -> Option<After> {
        self.over.as_ref().filter(|over| over.lines.contains(&line)).map(|over| over.at)
    }

    /// Is an entry at this moment about to be read ahead?
    pub fn is_being_read(&self, at: Timestamp) -> bool {
        self.reading.is_some_and(|read| read.way == Way::Ahead && at <= read.until)
    }

    /// An entry that is on disk only, and may be missing in the page that is being read.
    pub fn left(&mut self, place: Place) {
        if self.reading.is_some_and(|read| Some(place) > read.after && place.0 <= read.until) {
            self.floor = Some(self.floor.map_or(place, |first| first.min(place)));
        }
    }

    /// The line wants what follows on disk after this place, or nothing. `empty`: it cannot wait for others to want something too.
    pub fn wish(&mut self, line: LineId, after: Option<After>, empty: bool) {
        if after.is_some() && empty {
            self.empty.insert(line);
        } else {
            self.empty.remove(&line);
        }
        if self.wished.get(&line).copied() == after {
            return;
        }
        if let Some(before) = self.wished.remove(&line) {
            self.wishes.remove(&(before, line));
        }
        if let Some(after) = after {
            self.wished.insert(line, after);
            self.wishes.insert((after, line));
        }
    }

    /// Has nothing more to read for this line.
    pub fn stop_for(&mut self, line: LineId) {
        if let Some(over) = &mut self.over {
            over.lines.remove(&line);
        }
    }

    /// Something is to be looked for, at this place or between these.
    pub fn look_again(&mut self, from: After, through: Place) {
        self.again = Some(match self.again {
            Some((first, last)) => (first.min(from), last.max(through)),
            None => (from, through),
        });
    }

    pub fn crowded(&mut self) {
        self.crowded = true;
    }

    /// The page to read next, if there is one. `room`: new lines may be opened. `in_ring`: lines that have something to do meanwhile;
    /// one page feeds many, so it is worth waiting until some part of them wants one.
    pub fn next(&mut self, now: Timestamp, room: bool, in_ring: usize) -> Option<Read> {
        // A clock that is set back makes no pause longer.
        let paused = |at| now < at && at <= now.plus(self.pages.pause);
        if self.reading.is_some() || self.not_before.is_some_and(paused) {
            return None;
        }
        self.not_before = None;
        self.crowded &= !room;
        let ahead = !self.crowded && self.ahead_from() <= now;
        let over = self.over.is_some() || self.begin_over(in_ring);
        let way = match (ahead, over) {
            (false, false) => return None,
            (true, false) => Way::Ahead,
            (false, true) => Way::Over,
            (true, true) if self.last == Way::Over => Way::Ahead,
            (true, true) => Way::Over,
        };
        let (after, until) = match (way, &mut self.over, self.frontier) {
            (Way::Over, Some(over), Some((end, _))) => {
                // From here on the page is as fresh as these wishes.
                for (after, line) in self.wishes.split_off(&(over.at, 0)) {
                    self.wished.remove(&line);
                    self.empty.remove(&line);
                    over.lines.insert(line);
                    debug_assert!(after >= over.at);
                }
                let last = over.through.map(|(at, _)| at).filter(|_| over.lines.is_empty());
                (over.at, last.map_or(end, |last| last.min(end)))
            }
            (Way::Ahead | Way::Over, _, frontier) => (frontier, now.plus(self.pages.ahead)),
        };
        let read = Read { after, until, limit: self.pages.size, way };
        self.last = way;
        self.floor = None;
        self.reading = Some(read);
        Some(read)
    }

    /// When reading ahead goes on.
    fn ahead_from(&self) -> Timestamp {
        let read = self.frontier.map_or(Timestamp::ZERO, |(at, _)| at);
        read.minus(self.pages.ahead / 2)
    }

    fn begin_over(&mut self, in_ring: usize) -> bool {
        let worth = !self.empty.is_empty() || self.wishes.len() >= in_ring / 8;
        // What is beyond the frontier is read on the way ahead.
        let wish = self.wishes.first().map(|(after, _)| *after);
        let wish = wish.filter(|at| worth && *at < self.frontier);
        let again = self.again.filter(|(from, _)| !self.crowded && *from < self.frontier);
        let at = match (wish, again) {
            (None, None) => return false,
            (Some(wish), None) => wish,
            (Some(wish), Some((from, _))) => wish.min(from),
            (None, Some((from, _))) => from,
        };
        if again.is_some() {
            self.again = None;
        }
        let through = again.map(|(_, through)| through);
        self.over = Some(Over { at, lines: HashSet::new(), through });
        true
    }

    /// When there will be something to read, if nothing happens before.
    pub fn wakes(&self) -> Option<Timestamp> {
        if self.reading.is_some() {
            return None;
        }
        match (self.not_before, self.crowded) {
            (Some(at), _) => Some(at),
            (None, true) => None,
            (None, false) => Some(self.ahead_from()),
        }
    }

    /// A page is here: how far it counts as read. `None` when nobody asked for it.
    pub fn arrived(&mut self, read: &Read, page: &[Due]) -> Option<After> {
        if self.reading != Some(*read) {
            return None;
        }
        self.reading = None;
        let end = match page.last() {
            Some(last) if page.len() >= read.limit => (last.at, last.batch),
            Some(_) | None => (read.until, LAST_BATCH),
        };
        let read_to = match self.floor.take() {
            Some(floor) => Some(end).min(before(floor)),
            None => Some(end),
        };
        let read_to = read_to.max(read.after);
        Some(match (read.way, &mut self.over) {
            (Way::Over, Some(over)) => {
                over.at = read_to.min(self.frontier);
                over.at
            }
            (Way::Ahead | Way::Over, _) => {
                self.frontier = read_to.max(self.frontier);
                self.frontier
            }
        })
    }

    /// The page could not be read; it is asked for again after a while.
    pub fn failed(&mut self, read: &Read, now: Timestamp) {
        if self.reading == Some(*read) {
            self.reading = None;
            self.not_before = Some(now.plus(self.pages.pause));
        }
    }

    /// Reading ahead stops before this entry: there is no room for its line.
    pub fn stop_before(&mut self, place: Place) {
        self.frontier = before(place);
        self.crowded = true;
    }

    /// Ends the reading over if nobody needs the rest of it. Says for which lines it came to the frontier.
    pub fn pause_over(&mut self) -> HashSet<LineId> {
        let Some(over) = &mut self.over else { return HashSet::new() };
        let at_end = over.at >= self.frontier;
        if !at_end && (!over.lines.is_empty() || over.through > over.at) {
            return HashSet::new();
        }
        let lines = std::mem::take(&mut over.lines);
        self.over = None;
        lines
    }
}

/// The place directly before this one.
pub fn before(place: Place) -> After {
    let (at, BatchId { envelope, index }) = place;
    if let Some(index) = index.checked_sub(1) {
        return Some((at, BatchId { envelope, index }));
    }
    if let Some(envelope) = u128::from_be_bytes(envelope.to_bytes()).checked_sub(1) {
        let envelope = EnvelopeId::from_bytes(envelope.to_be_bytes());
        return Some((at, BatchId { envelope, index: u32::MAX }));
    }
    let at = at.as_micros().checked_sub(1)?;
    Some((Timestamp::from_micros(at), LAST_BATCH))
}

/// Behind every batch of its moment.
pub const LAST_BATCH: BatchId =
    BatchId { envelope: EnvelopeId::from_bytes([0xff; 16]), index: u32::MAX };

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn reader() -> Reader {
        Reader::new(Pages { ahead: 10 * MINUTE, size: 2, pause: Duration::from_secs(1) })
    }

    fn place(second: u64) -> Place {
        let envelope = EnvelopeId::from_bytes([0; 16]);
        (Timestamp::from_secs(second), BatchId { envelope, index: 0 })
    }

    fn page(seconds: &[u64]) -> Vec<Due> {
        let destination = crate::route::destination::DestinationKey::Unqualified;
        let entry = |second| Due {
            at: place(second).0,
            batch: place(second).1,
            destination: destination.clone(),
        };
        seconds.iter().map(|second| entry(*second)).collect()
    }

    #[test]
    fn nothing_is_between_a_place_and_the_one_before() {
        assert_eq!(before((Timestamp::ZERO, place(0).1)), None);
        assert_eq!(before(place(7)), Some((Timestamp::from_micros(6_999_999), LAST_BATCH)));
        let envelope = EnvelopeId::from_bytes([1; 16]);
        let third = (NOW, BatchId { envelope, index: 2 });
        assert_eq!(before(third), Some((NOW, BatchId { envelope, index: 1 })));
        let first = (NOW, BatchId { envelope, index: 0 });
        let last = before(first).unwrap();
        assert!(last < first && last.0 == NOW && last.1.index == u32::MAX);
    }

    #[test]
    fn goes_ahead_a_page_at_a_time_and_then_rests() {
        let mut reader = reader();
        let first = reader.next(NOW, true, 0).unwrap();
        assert_eq!((first.after, first.until), (None, NOW.plus(10 * MINUTE)));
        assert_eq!(reader.next(NOW, true, 0), None); // one at a time
        assert_eq!(reader.arrived(&first, &page(&[1, 2])), Some(Some(place(2))));
        let second = reader.next(NOW, true, 0).unwrap();
        assert_eq!(second.after, Some(place(2)));
        assert_eq!(reader.arrived(&second, &page(&[3])), Some(Some((second.until, LAST_BATCH))));
        assert_eq!(reader.next(NOW, true, 0), None);
        assert_eq!(reader.wakes(), Some(NOW.plus(5 * MINUTE)));
        assert!(reader.next(NOW.plus(5 * MINUTE), true, 0).is_some());
    }

    #[test]
    fn what_comes_during_a_reading_is_not_skipped() {
        let mut reader = reader();
        let read = reader.next(NOW, true, 0).unwrap();
        reader.left(place(5));
        reader.left(place(9));
        assert_eq!(reader.arrived(&read, &page(&[])), Some(before(place(5))));
        assert_eq!(reader.next(NOW, true, 0).unwrap().after, before(place(5)));
    }

    #[test]
    fn the_two_ways_take_turns() {
        let mut reader = reader();
        let read = reader.next(NOW, true, 0).unwrap();
        reader.arrived(&read, &page(&[10, 20])).unwrap();
        reader.wish(7, Some(Some(place(10))), true);
        let over = reader.next(NOW, true, 0).unwrap();
        assert_eq!((over.way, over.after, over.until), (Way::Over, Some(place(10)), place(20).0));
        assert_eq!(reader.read_for(7), Some(Some(place(10))));
        reader.arrived(&over, &page(&[15, 16])).unwrap();
        assert!(reader.pause_over().is_empty());
        let ahead = reader.next(NOW, true, 0).unwrap();
        assert_eq!((ahead.way, ahead.after), (Way::Ahead, Some(place(20))));
        reader.arrived(&ahead, &page(&[30, 40])).unwrap();
        let over = reader.next(NOW, true, 0).unwrap();
        assert_eq!((over.way, over.after), (Way::Over, Some(place(16))));
        reader.arrived(&over, &page(&[30])).unwrap();
        assert_eq!(reader.pause_over(), HashSet::from([7]));
    }

    #[test]
    fn a_page_that_cannot_be_read_is_asked_for_again() {
        let mut reader = reader();
        let read = reader.next(NOW, true, 0).unwrap();
        reader.failed(&read, NOW);
        assert_eq!(reader.next(NOW, true, 0), None);
        let later = reader.wakes().unwrap();
        assert_eq!(reader.next(later, true, 0).map(|read| read.after), Some(None));
        assert_eq!(reader.arrived(&Read { way: Way::Over, ..read }, &[]), None);
    }
}
