//! Attempts, from whose turn it is to where the batch goes on.

use std::time::Duration;

use super::{Agenda, Flight, GROUNDED_WAIT, Stage, Told};
use crate::queue::parking::{Lot, Wait};
use crate::queue::record::BatchId;
use crate::queue::silence::Answer;
use crate::queue::site::Feedback;
use crate::queue::sites::Gate;
use crate::queue::turns::Room;
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

/// Why an attempt did not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The schedule has it at another time.
    NotDue(Timestamp),
    /// Somebody else has it, it is held, or it is gone.
    NotOurs,
    /// It could not be read.
    Grounded,
    /// A limit of ours has no room. `until`: when it has, if that is known.
    Limited { by: Limited, until: Option<Timestamp> },
}

/// Whose limit it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    Destination,
    Other(Lot),
}

/// Limits are asked again after this if nobody says before that something was given back.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Looked at in search of one that can ask.
const MOST_LET_GO: usize = 64;

/// Where an attempt is when its host is silent for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Nobody has greeted: it may be called off.
    Dialling,
    /// The message is under way: it is waited out.
    Session,
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

impl Agenda {
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
            let from = self.asking.remove(&batch);
            let flight = Flight { from, ..Flight::new(key.clone(), at, room) };
            self.known.insert(batch, Stage::Flying(flight));
            self.sites.begin(&key, now);
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
        self.sites.tidy(now);
        while let Some(lot) = self.parking.due(now) {
            self.let_one_go(&lot, now);
        }
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

    /// The host of a flight has been silent for long. `room`: one more may wait without a slot.
    pub fn waits_long(
        &mut self,
        batch: BatchId,
        within: Within,
        room: bool,
        now: Timestamp,
    ) -> Patience {
        let Some(Stage::Flying(flight)) = self.known.get_mut(&batch) else {
            return Patience::Stay;
        };
        flight.slow = true;
        if flight.room == Room::Patience {
            return Patience::Stay;
        }
        let key = flight.key.clone();
        let waits = self.silence.flight(&key);
        let verdict = match within {
            Within::Dialling if waits.is_none() && room => Patience::StepAside,
            Within::Dialling => Patience::CallOff,
            // However many there are: they were let in by the window of their destination.
            Within::Session if room => Patience::StepAside,
            Within::Session => Patience::Stay,
        };
        let aside = verdict == Patience::StepAside;
        if aside {
            flight.room = Room::Patience;
        }
        if waits.is_none() {
            self.note_silence(&key, aside.then_some(batch), now);
        }
        self.look_after_key(&key, now);
        verdict
    }

    /// The limits have given leave for a flight; of what it holds others may get some, too.
    pub fn granted(&mut self, batch: BatchId, lots: Vec<Lot>, now: Timestamp) {
        if let Some(Stage::Flying(flight)) = self.known.get_mut(&batch) {
            flight.lots.clone_from(&lots);
            lots.iter().for_each(|lot| self.let_one_go(lot, now));
        }
    }

    /// Somebody has given back a place in limits that others share with us: those of a destination, and of these lots.
    pub fn released(&mut self, key: Option<&DestinationKey>, lots: &[Lot], now: Timestamp) {
        lots.iter().for_each(|lot| self.place_is_free(lot, now));
        if let Some(key) = key {
            self.sites.unlimit(key);
            self.look_after_key(key, now);
        }
    }

    /// Places have been given back, and nobody knows which.
    pub fn released_some(&mut self, now: Timestamp) {
        self.parking.for_places().iter().for_each(|lot| self.let_one_go(lot, now));
        for key in self.sites.unlimit_all() {
            self.look_after_key(&key, now);
        }
    }

    /// A place brings no token: who waits for one goes on waiting.
    fn place_is_free(&mut self, lot: &Lot, now: Timestamp) {
        if self.parking.is_for_a_place(lot) {
            self.let_one_go(lot, now);
        }
    }

    /// The operator wants a destination tried, whatever is known of it.
    pub fn revive(&mut self, key: &DestinationKey, now: Timestamp) {
        self.sites.revive(key, now);
        self.look_after_key(key, now);
    }

    /// The first of those that wait for this limit may ask.
    fn let_one_go(&mut self, lot: &Lot, now: Timestamp) {
        let again = Wait { began: now, until: now.plus(ASK_AGAIN), for_a_place: true };
        for _ in 0..MOST_LET_GO {
            let Some(((at, batch), key)) = self.parking.first_of(lot, again) else { return };
            self.known.remove(&batch);
            self.arrive(batch, at, &key, now);
            // One that has to wait with its destination, or on disk, asks for nothing: the next one.
            let waits = matches!(self.known.get(&batch), Some(Stage::Waiting { .. }));
            if waits && self.sites.gate(&key, now) == Gate::Open {
                self.asking.insert(batch, lot.clone());
                return;
            }
        }
    }

    /// An attempt did not begin. Says nothing of batches that are not in hand.
    pub fn refuse(&mut self, batch: BatchId, why: Refused, now: Timestamp) {
        if !matches!(self.known.get(&batch), Some(Stage::Flying(_))) {
            return;
        }
        let Some(Stage::Flying(flight)) = self.known.remove(&batch) else { return };
        self.free(batch, &flight, false, &Feedback::Nothing, now);
        let Flight { key, at, told, from, .. } = flight;
        // It had its turn at a limit and did not come to use it: the next one may.
        let unused = |lot: &Lot| match &why {
            Refused::Limited { by: Limited::Other(other), .. } => other != lot,
            _ => true,
        };
        if let Some(lot) = from.filter(unused) {
            self.let_one_go(&lot, now);
        }
        match why {
            Refused::NotDue(due) => {
                self.arrive(batch, told.map_or(due, |told| told.min(due)), &key, now);
            }
            Refused::NotOurs => self.look_for(told, now),
            Refused::Grounded => {
                let place = (at.min(told.unwrap_or(at)), batch);
                self.grounded = Some(match self.grounded {
                    Some((wake, first, last)) => (wake, first.min(place), last.max((at, batch))),
                    None => (now.plus(GROUNDED_WAIT), place, (at, batch)),
                });
            }
            Refused::Limited { by, until } => {
                let at = told.map_or(at, |told| told.min(at));
                let for_a_place = until.is_none();
                let until = until.unwrap_or(now.plus(ASK_AGAIN));
                let wait = Wait { began: now, until, for_a_place };
                match by {
                    Limited::Other(lot)
                        if self.parking.park(&lot, (at, batch), key.clone(), wait) =>
                    {
                        self.known.insert(batch, Stage::Parked { lot, at });
                        return;
                    }
                    // With its destination it waits no longer than it takes to find room for itself.
                    Limited::Other(_) => {
                        self.sites.limit(&key, until.min(now.plus(ASK_AGAIN)), true, now);
                    }
                    Limited::Destination => self.sites.limit(&key, until, for_a_place, now),
                }
                self.arrive(batch, at, &key, now);
                self.look_after_key(&key, now);
            }
        }
    }

    /// An attempt is over and is being settled.
    pub fn land(&mut self, batch: BatchId, answer: Answer, feedback: &Feedback, now: Timestamp) {
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
                self.free(batch, &flight, heard, feedback, now);
            }
            Some(
                stage @ (Stage::Settling { .. } | Stage::Waiting { .. } | Stage::Parked { .. }),
            ) => {
                self.known.insert(batch, stage);
            }
            None => {
                self.known.insert(batch, settling(None));
            }
        }
    }

    /// A flight of this destination is over.
    fn free(
        &mut self,
        batch: BatchId,
        flight: &Flight,
        heard: bool,
        feedback: &Feedback,
        now: Timestamp,
    ) {
        let key = &flight.key;
        if heard {
            self.silence.hear(key);
        }
        self.silence.end(key, batch);
        self.sites.end(key, feedback, now);
        self.look_after_key(key, now);
        flight.lots.iter().for_each(|lot| self.place_is_free(lot, now));
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
            // If it was moved meanwhile it is due earlier; if not, the disk says so when it is tried.
            Some((at, key)) => self.arrive(batch, told.map_or(at, |told| told.min(at)), key, now),
            None => self.look_for(told, now),
        }
    }

    /// What was said of a batch while it was in hand has not been looked at yet.
    fn look_for(&mut self, told: Told, now: Timestamp) {
        if let Some(at) = told {
            self.read_again(at, at.max(now));
        }
    }
}
