//! What is done next: the queue's schedule in memory, as a state machine without clock and disk.
//!
//! The caller tells what happened (`arrive`, `page`, `land`, ...) and asks what to do: `next_read` wants a page of the schedule,
//! `take_off` names a batch whose attempt may begin, `wakes` says when to ask again if nothing happens before. The disk is the truth;
//! here is what is near of it, in bounded memory:
//!
//! 1. `lines` holds the first batches of each destination, `turns` whose turn it is.
//! 2. `reader` fetches from disk what they lack.
//! 3. `silence` remembers hosts that do not answer.
//!
//! A batch that leaves memory without an end is either told of again (`arrive`) or still on disk at a place that will be read:
//! that is what `leave` and `look_again` see to.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::queue::lines::{After, LineId, Lines, Memory, Rest};
use crate::queue::reader::{LAST_BATCH, Pages, Read, Reader, Way, before};
use crate::queue::record::{BatchId, Due, Place};
use crate::queue::silence::{Answer, MOST_SILENT, Silence};
use crate::queue::turns::{Room, Spot, Turns};
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory: Memory,
    pub pages: Pages,
    /// Destinations that are remembered as silent.
    pub silent: usize,
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
    told: Told,
}

/// The earliest moment the schedule was said to have the batch at, while it was in hand.
type Told = Option<Timestamp>;

/// Why an attempt did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The schedule has it at another time.
    NotDue(Timestamp),
    /// Somebody else has it, it is held, or it is gone.
    NotOurs,
    /// It could not be read.
    Grounded,
}

/// What becomes of a flight whose host is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It goes on without its slot.
    StepAside,
    /// It goes on as before.
    Stay,
    /// Another one waits for the same host, or there is no room to wait.
    CallOff,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Waiting in memory.
    pub waiting: usize,
    /// Destinations of these.
    pub lines: usize,
    /// Attempts that run or are being settled.
    pub in_hand: usize,
}

#[derive(Debug)]
pub struct Agenda {
    /// Leases of an earlier life are known: reading and flying may begin.
    recovered: bool,
    lines: Lines,
    turns: Turns,
    reader: Reader,
    silence: Silence,
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
        let flight = Flight { key, at, room: Room::Slot, slow: false, told: None };
        self.known.insert(batch, Stage::Flying(flight));
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

    /// The schedule has this batch at this moment, or at some moment that is over; whose it is, is not known here.
    pub fn wake(&mut self, batch: BatchId, at: Option<Timestamp>, now: Timestamp) {
        let from = at.unwrap_or(Timestamp::ZERO);
        if self.is_in_hand(batch, from) {
            return;
        }
        match (self.known.get(&batch), at) {
            (Some(Stage::Waiting { at: before, .. }), Some(at)) if *before == at => {}
            (Some(Stage::Waiting { line, .. }), Some(at)) => {
                if let Some(key) = self.lines.key(*line).cloned() {
                    self.arrive(batch, at, &key, now);
                }
            }
            // Due already, or soon told of.
            (Some(Stage::Waiting { .. }), None) => {}
            (Some(Stage::Flying(_) | Stage::Settling { .. }) | None, _) => {
                self.read_again(from, from.max(now));
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
            Some(Stage::Waiting { .. }) | None => false,
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
        self.reader.next(now, self.lines.have_room())
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
            if self.known.contains_key(&batch) {
                continue;
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

    // Lines.

    fn keep_or_leave(&mut self, line: LineId, place: Place, now: Timestamp) {
        if !self.keep(line, place, now) {
            self.leave(line, place);
            self.look_after(line, now);
        }
    }

    /// Takes a batch into memory, if need be in place of one that has more time or of the longest line.
    fn keep(&mut self, line: LineId, place: Place, now: Timestamp) -> bool {
        let length = self.lines.length(line);
        let out = if length >= self.lines.share() {
            match self.lines.last(line) {
                Some(last) if place < last => Some((line, last)),
                Some(_) | None => return false,
            }
        } else if self.lines.is_full() {
            let longest = self
                .lines
                .longest()
                .filter(|longest| *longest != line && self.lines.length(*longest) > length + 1);
            match longest.and_then(|longest| Some((longest, self.lines.last(longest)?))) {
                Some(out) => Some(out),
                None => return false,
            }
        } else {
            None
        };
        self.lines.insert(line, place);
        self.known.insert(place.1, Stage::Waiting { line, at: place.0 });
        self.waiting += 1;
        self.look_after(line, now);
        if let Some((line, place)) = out {
            self.evict(line, place, now);
        }
        true
    }

    fn evict(&mut self, line: LineId, place: Place, now: Timestamp) {
        self.lines.remove(line, place);
        self.known.remove(&place.1);
        self.waiting -= 1;
        self.leave(line, place);
        self.look_after(line, now);
    }

    /// This batch is on disk only, and its line has to go back for it.
    fn leave(&mut self, line: LineId, place: Place) {
        if Some(place) > self.reader.frontier() {
            return self.reader.left(place);
        }
        let rest = self.has(line).min(before(place));
        self.reader.stop_for(line);
        self.lines.set_rest(line, Rest::After(rest));
    }

    /// Up to where all batches of a line are in memory.
    fn has(&self, line: LineId) -> After {
        match (self.lines.rest(line), self.reader.read_for(line)) {
            (Rest::Nothing, _) => self.reader.frontier(),
            (Rest::After(rest), None) => rest,
            (Rest::After(rest), Some(at)) => rest.max(at),
        }
    }

    /// After each change of a line: where it stands, and what it wants.
    fn look_after(&mut self, line: LineId, now: Timestamp) {
        let read_for = self.reader.read_for(line).is_some();
        let wish = match self.lines.rest(line) {
            Rest::After(rest) if !read_for && self.lines.is_short(line) => Some(rest),
            Rest::After(_) | Rest::Nothing => None,
        };
        self.reader.wish(line, wish);
        let spot = match (self.lines.first(line), self.lines.key(line)) {
            (Some((at, _)), _) if at > now => Spot::Wheel(at),
            (Some(_), Some(key)) if !self.silence.is_silent(key) => Spot::Ring(Room::Slot),
            (Some(_), Some(key)) if self.silence.flight(key).is_none() => {
                Spot::Ring(Room::Patience)
            }
            (Some(_), Some(_)) => Spot::Nowhere,
            (None, _) | (_, None) => Spot::Nowhere,
        };
        self.turns.set(line, spot);
        self.lines.close_if_done(line);
    }

    fn look_after_key(&mut self, key: &DestinationKey, now: Timestamp) {
        if let Some(line) = self.lines.find(key) {
            self.look_after(line, now);
        }
    }

    /// The schedule has it at another place now, or not at all.
    fn drop_waiting(&mut self, batch: BatchId, now: Timestamp) {
        if let Some(Stage::Waiting { line, at }) = self.known.get(&batch) {
            let (line, at) = (*line, *at);
            self.known.remove(&batch);
            self.waiting -= 1;
            self.lines.remove(line, (at, batch));
            self.look_after(line, now);
        }
    }

    // Attempts.

    /// A batch whose attempt may begin, for somebody who has this much room.
    pub fn take_off(&mut self, room: Room, now: Timestamp) -> Option<(BatchId, DestinationKey)> {
        if !self.recovered {
            return None;
        }
        self.turn_wheel(now);
        while let Some(line) = self.turns.first(room) {
            self.turns.leave(line);
            let first = self.lines.first(line).zip(self.lines.key(line).cloned());
            let Some(((at, batch), key)) = first else { continue };
            if at > now {
                // The clock was set back.
                self.look_after(line, now);
                continue;
            }
            self.lines.remove(line, (at, batch));
            self.waiting -= 1;
            let flight = Flight { key: key.clone(), at, room, slow: false, told: None };
            self.known.insert(batch, Stage::Flying(flight));
            match room {
                Room::Patience => self.note_silence(&key, Some(batch), now),
                Room::Slot => {}
            }
            self.look_after(line, now);
            return Some((batch, key));
        }
        None
    }

    fn turn_wheel(&mut self, now: Timestamp) {
        while let Some((_, line)) = self.turns.next_due().filter(|(due, _)| *due <= now) {
            self.turns.leave(line);
            self.look_after(line, now);
        }
    }

    fn note_silence(&mut self, key: &DestinationKey, flight: Option<BatchId>, now: Timestamp) {
        if let Some(forgotten) = self.silence.note(key, flight) {
            self.look_after_key(&forgotten, now);
        }
    }

    /// The host of a flight has not greeted for long. `room`: one more may wait without a slot.
    pub fn waits_long(&mut self, batch: BatchId, room: bool, now: Timestamp) -> Patience {
        let Some(Stage::Flying(flight)) = self.known.get_mut(&batch) else {
            return Patience::Stay;
        };
        flight.slow = true;
        if flight.room == Room::Patience {
            return Patience::Stay;
        }
        let key = flight.key.clone();
        let waits = self.silence.flight(&key);
        let verdict = if waits.is_none() && room { Patience::StepAside } else { Patience::CallOff };
        if verdict == Patience::StepAside {
            flight.room = Room::Patience;
            self.note_silence(&key, Some(batch), now);
        } else if waits.is_none() {
            self.note_silence(&key, None, now);
        }
        self.look_after_key(&key, now);
        verdict
    }

    /// An attempt did not begin. Says nothing of batches that are not in hand.
    pub fn refuse(&mut self, batch: BatchId, why: Refused, now: Timestamp) {
        let Some(Stage::Flying(Flight { key, at, told, .. })) = self.known.get(&batch) else {
            return;
        };
        let (key, at, told) = (key.clone(), *at, *told);
        self.known.remove(&batch);
        self.free(batch, &key, false, now);
        match why {
            Refused::NotDue(due) => self.arrive(batch, due, &key, now),
            Refused::NotOurs => self.look_for(told, now),
            Refused::Grounded => {
                let place = (at.min(told.unwrap_or(at)), batch);
                self.grounded = Some(match self.grounded {
                    Some((wake, first, last)) => (wake, first.min(place), last.max((at, batch))),
                    None => (now.plus(GROUNDED_WAIT), place, (at, batch)),
                });
            }
        }
    }

    /// An attempt is over and is being settled.
    pub fn land(&mut self, batch: BatchId, answer: Answer, now: Timestamp) {
        if !self.recovered {
            self.landed_early.insert(batch);
        }
        self.drop_waiting(batch, now);
        let settling = |told| Stage::Settling { told };
        match self.known.remove(&batch) {
            Some(Stage::Flying(flight)) => {
                self.known.insert(batch, settling(flight.told));
                let heard = match answer {
                    Answer::Heard => true,
                    // A host that refuses at once takes no slot from anybody.
                    Answer::Nobody => !flight.slow,
                    Answer::NotAsked => false,
                };
                self.free(batch, &flight.key, heard, now);
            }
            Some(stage @ (Stage::Settling { .. } | Stage::Waiting { .. })) => {
                self.known.insert(batch, stage);
            }
            None => {
                self.known.insert(batch, settling(None));
            }
        }
    }

    /// A flight of this destination is over.
    fn free(&mut self, batch: BatchId, key: &DestinationKey, heard: bool, now: Timestamp) {
        if heard {
            self.silence.hear(key);
        }
        self.silence.end(key, batch);
        self.look_after_key(key, now);
    }

    /// The end is written down. Where the batch goes on, if it does, is told by `next`.
    pub fn settled(
        &mut self,
        batch: BatchId,
        next: Option<(Timestamp, &DestinationKey)>,
        now: Timestamp,
    ) {
        if !self.recovered {
            self.landed_early.insert(batch);
        }
        let Some(Stage::Settling { told }) = self.known.get(&batch) else { return };
        let told = *told;
        self.known.remove(&batch);
        match next {
            Some((at, key)) => self.arrive(batch, at, key, now),
            None => self.look_for(told, now),
        }
    }

    /// What was said of a batch while it was in hand has not been looked at yet.
    fn look_for(&mut self, told: Told, now: Timestamp) {
        if let Some(at) = told {
            self.read_again(at, at.max(now));
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
        [due, grounded, self.reader.wakes()].into_iter().flatten().min()
    }

    pub fn census(&self) -> Census {
        Census {
            waiting: self.waiting,
            lines: self.lines.count(),
            in_hand: self.known.len() - self.waiting,
        }
    }
}

/// Before every other batch of its moment.
const FIRST_BATCH: BatchId =
    BatchId { envelope: crate::envelope::EnvelopeId::from_bytes([0; 16]), index: 0 };

#[cfg(test)]
mod fairness;
#[cfg(test)]
mod model;
