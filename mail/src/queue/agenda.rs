//! What is done next: the queue's schedule in memory, as a state machine without clock and disk.
//!
//! The caller tells what happened (`arrive`, `page`, `land`, ...) and asks what to do: `next_read` wants a page of the schedule,
//! `take_off` names a batch whose attempt may begin, `wakes` says when to ask again if nothing happens before. The disk is the truth;
//! here is what is near of it, in bounded memory:
//!
//! 1. `lines` holds the first batches of each destination, `turns` whose turn it is.
//! 2. `reader` fetches from disk what they lack.
//! 3. `silence` remembers hosts that do not answer, `sites` how many attempts a destination takes at once and which are dead.
//! 4. `parking` keeps those that wait for a limit of ours.
//!
//! The rooms: here what comes into the schedule, `room` which of it is kept in memory, `attempts` what becomes of it, `why` what keeps
//! it.
//!
//! A batch that leaves memory without an end is either told of again (`arrive`) or still on disk at a place that will be read:
//! that is what `leave` and `look_again` see to.

mod attempts;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod model;
mod room;
mod why;

pub use attempts::{Limited, Patience, Refused, Within};
pub use why::Queued;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::queue::lines::{LineId, Lines, Memory, Rest};
use crate::queue::parking::{Lot, MOST_PARKED, Parking};
use crate::queue::reader::{LAST_BATCH, Pages, Read, Reader, Way, before};
use crate::queue::record::{BatchId, Due, Place};
use crate::queue::silence::{MOST_SILENT, Silence};
use crate::queue::site::{Rules, Site};
use crate::queue::sites::{MOST_SITES, Sites};
use crate::queue::turns::{Room, Turns};
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory: Memory,
    pub pages: Pages,
    /// Destinations that are remembered as silent.
    pub silent: usize,
    pub sites: Rules,
    /// Batches that wait for limits of ours.
    pub parked: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: Memory { batches: 50_000, of_one: 2_000 },
            pages: Pages {
                ahead: Duration::from_secs(600),
                size: 5_000,
                pause: Duration::from_secs(1),
            },
            silent: MOST_SILENT,
            sites: Rules::default(),
            parked: MOST_PARKED,
        }
    }
}

/// A batch that could not be read is looked at again after this.
const GROUNDED_WAIT: Duration = Duration::from_secs(60);

/// Where a batch in hand is.
#[derive(Debug)]
enum Stage {
    Waiting {
        line: LineId,
        at: Timestamp,
    },
    Flying(Flight),
    /// Waits for a limit of ours; the schedule has it at `at`.
    Parked {
        lot: Lot,
        at: Timestamp,
    },
    /// Its end is being written down.
    Settling {
        told: Told,
    },
}

#[derive(Debug)]
struct Flight {
    key: DestinationKey,
    /// Where the schedule had it.
    at: Timestamp,
    room: Room,
    /// Its host has not greeted for long.
    slow: bool,
    /// The limits it holds something of.
    lots: Vec<Lot>,
    /// Where it had waited for leave.
    from: Option<Lot>,
    told: Told,
}

impl Flight {
    fn new(key: DestinationKey, at: Timestamp, room: Room) -> Flight {
        Flight { key, at, room, slow: false, lots: Vec::new(), from: None, told: None }
    }
}

/// The earliest moment the schedule was said to have the batch at, while it was in hand.
type Told = Option<Timestamp>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Waiting in memory.
    pub waiting: usize,
    /// Destinations of these.
    pub lines: usize,
    /// Attempts that run or are being settled.
    pub in_hand: usize,
    /// Waiting for limits of ours.
    pub parked: usize,
}

#[derive(Debug)]
pub struct Agenda {
    /// Leases of an earlier life are known: reading and flying may begin.
    recovered: bool,
    lines: Lines,
    turns: Turns,
    reader: Reader,
    silence: Silence,
    sites: Sites,
    parking: Parking,
    /// Let go from a lot, and about to ask for leave.
    asking: HashMap<BatchId, Lot>,
    known: HashMap<BatchId, Stage>,
    waiting: usize,
    /// Attempts that came to an end before the leases were known.
    landed_early: HashSet<BatchId>,
    /// When batches are looked for that could not be read, and between which places.
    grounded: Option<(Timestamp, Place, Place)>,
}

impl Default for Agenda {
    fn default() -> Agenda {
        Agenda::new(Limits::default())
    }
}

impl Agenda {
    pub fn new(limits: Limits) -> Agenda {
        Agenda {
            recovered: false,
            lines: Lines::new(limits.memory),
            turns: Turns::default(),
            reader: Reader::new(limits.pages),
            silence: Silence::new(limits.silent),
            sites: Sites::new(limits.sites, MOST_SITES),
            parking: Parking::new(limits.parked),
            asking: HashMap::new(),
            known: HashMap::new(),
            waiting: 0,
            landed_early: HashSet::new(),
            grounded: None,
        }
    }

    // After a start.

    /// Is this lease news? Not if its attempt is in hand, or came to its end before the leases were read.
    pub fn is_news(&self, batch: BatchId) -> bool {
        !self.known.contains_key(&batch) && !self.landed_early.contains(&batch)
    }

    /// An attempt of an earlier life that still runs.
    pub fn adopt(&mut self, batch: BatchId, key: DestinationKey, at: Timestamp) {
        self.sites.begin(&key, at);
        self.known.insert(batch, Stage::Flying(Flight::new(key, at, Room::Slot)));
    }

    /// What an earlier life knew of sites. Those that are in use are known better.
    pub fn recall_sites(&mut self, sites: Vec<(DestinationKey, Site)>, now: Timestamp) {
        for (key, site) in sites {
            self.sites.remember(key.clone(), site, now);
            self.look_after_key(&key, now);
        }
    }

    /// What is newly known of sites, for a later life.
    pub fn site_changes(&mut self) -> Vec<(DestinationKey, Option<Site>)> {
        self.sites.changes()
    }

    /// All leases are known.
    pub fn recover(&mut self) {
        self.recovered = true;
        self.landed_early.clear();
    }

    // What comes into the schedule.

    /// The schedule has this batch at this moment.
    pub fn arrive(&mut self, batch: BatchId, at: Timestamp, key: &DestinationKey, now: Timestamp) {
        if self.is_in_hand(batch, at) || !self.recovered {
            return;
        }
        self.drop_waiting(batch, now);
        let place = (at, batch);
        if Some(place) > self.reader.frontier() {
            return self.arrive_early(place, key, now);
        }
        let Some(line) = self.lines.open(key) else {
            self.reader.look_again(before(place), place);
            return self.reader.crowded();
        };
        if Some(place) <= self.has(line) {
            self.keep_or_leave(line, place, now);
        } else if self.reader.read_for(line).is_some() {
            // It is taken before its turn; what is older pushes it out again if the line is full then.
            if self.lines.length(line) >= self.lines.share() || !self.keep(line, place, now) {
                self.reader.left(place);
            }
        }
        // Else it is read with the rest of its line.
    }

    /// Beyond what has been read: taken all the same if it is due or just being read, and there is room.
    fn arrive_early(&mut self, place: Place, key: &DestinationKey, now: Timestamp) {
        if place.0 > now && !self.reader.is_being_read(place.0) {
            return;
        }
        let line = self.lines.open(key);
        let kept = line.is_some_and(|line| {
            let room = self.lines.length(line) < self.lines.share();
            room && self.lines.rest(line) == Rest::Nothing && self.keep(line, place, now)
        });
        if !kept {
            self.reader.left(place);
            if let Some(line) = line {
                self.lines.close_if_done(line);
            }
        }
    }

    /// Somebody else has changed this batch: the schedule has it at another place now, or not at all.
    pub fn moved(&mut self, batch: BatchId, at: Option<Timestamp>, now: Timestamp) {
        match at {
            Some(at) => {
                if !self.is_in_hand(batch, at) {
                    self.drop_waiting(batch, now);
                }
                // Also for what was split off from one that is in hand.
                self.read_again(at, at.max(now));
            }
            None => {
                // The word of a hold may come after that of its release: what the disk has all the same is found again.
                if let Some(Stage::Waiting { at, .. } | Stage::Parked { at, .. }) =
                    self.known.get(&batch)
                {
                    let at = *at;
                    self.drop_waiting(batch, now);
                    self.read_again(at, at.max(now));
                }
            }
        }
    }

    /// Anything may have come into the schedule anywhere.
    pub fn read_again(&mut self, from: Timestamp, through: Timestamp) {
        self.reader.look_again(before((from, FIRST_BATCH)), (through, LAST_BATCH));
    }

    /// Notes what is said of a batch that flies.
    fn is_in_hand(&mut self, batch: BatchId, at: Timestamp) -> bool {
        match self.known.get_mut(&batch) {
            Some(Stage::Flying(Flight { told, .. }) | Stage::Settling { told }) => {
                *told = Some(told.map_or(at, |first| first.min(at)));
                true
            }
            Some(Stage::Waiting { .. } | Stage::Parked { .. }) | None => false,
        }
    }

    // Pages of the schedule.

    /// The page to read next.
    pub fn next_read(&mut self, now: Timestamp) -> Option<Read> {
        if !self.recovered {
            return None;
        }
        // A clock that is set back makes no wait longer.
        let over = |at: Timestamp| at <= now || at > now.plus(GROUNDED_WAIT);
        if let Some((_, from, through)) = self.grounded.take_if(|(at, ..)| over(*at)) {
            self.reader.look_again(before(from), through);
        }
        self.reader.next(now, self.lines.have_room(), self.turns.in_ring())
    }

    pub fn read_failed(&mut self, read: &Read, now: Timestamp) {
        self.reader.failed(read, now);
    }

    pub fn page(&mut self, read: &Read, page: Vec<Due>, now: Timestamp) {
        let Some(read_to) = self.reader.arrived(read, &page) else { return };
        let mut fed = HashSet::new();
        for Due { at, batch, destination } in page {
            let place = (at, batch);
            if Some(place) > read_to {
                break;
            }
            match self.known.get(&batch) {
                // Kept for later by a page or a word that was older than a move. Too early costs a look, too late is not looked at again.
                Some(Stage::Waiting { at: kept, .. } | Stage::Parked { at: kept, .. })
                    if at < *kept =>
                {
                    self.drop_waiting(batch, now);
                }
                Some(_) => continue,
                None => {}
            }
            let Some(line) = self.lines.open(&destination) else {
                match read.way {
                    Way::Ahead => {
                        self.reader.stop_before(place);
                        break;
                    }
                    Way::Over => {
                        self.reader.look_again(before(place), (read.until, LAST_BATCH));
                        self.reader.crowded();
                        continue;
                    }
                }
            };
            if Some(place) <= self.has(line) {
                self.keep_or_leave(line, place, now);
                fed.insert(line);
            }
        }
        // Who has enough for now does not keep the reading going.
        for line in fed {
            if let (Rest::After(rest), Some(at)) =
                (self.lines.rest(line), self.reader.read_for(line))
                && !self.lines.is_short(line)
                && at < self.reader.frontier()
            {
                self.lines.set_rest(line, Rest::After(rest.max(at)));
                self.reader.stop_for(line);
            }
        }
        for line in self.reader.pause_over() {
            self.lines.set_rest(line, Rest::Nothing);
            self.look_after(line, now);
        }
    }

    // For whoever waits and watches.

    /// When to ask again if nothing happens before.
    pub fn wakes(&self) -> Option<Timestamp> {
        if !self.recovered {
            return None;
        }
        let due = self.turns.next_due().map(|(due, _)| due);
        let grounded = self.grounded.map(|(at, ..)| at);
        [due, grounded, self.parking.wakes(), self.reader.wakes()].into_iter().flatten().min()
    }

    pub fn census(&self) -> Census {
        Census {
            waiting: self.waiting,
            lines: self.lines.count(),
            in_hand: self.known.len() - self.waiting - self.parking.len(),
            parked: self.parking.len(),
        }
    }
}

/// Before every other batch of its moment.
const FIRST_BATCH: BatchId =
    BatchId { envelope: crate::envelope::EnvelopeId::from_bytes([0; 16]), index: 0 };
