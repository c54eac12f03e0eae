//! Which batches are in memory: each line as many as its share, the longest gives way to the others.

use super::{Agenda, Stage};
use crate::queue::lines::{After, LineId, Rest};
use crate::queue::reader::before;
use crate::queue::record::{BatchId, Place};
use crate::queue::sites::Gate;
use crate::queue::turns::{Room, Spot};
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

impl Agenda {
    pub(super) fn keep_or_leave(&mut self, line: LineId, place: Place, now: Timestamp) {
        if !self.keep(line, place, now) {
            self.leave(line, place);
            self.look_after(line, now);
        }
    }

    /// Takes a batch into memory, if need be in place of one that has more time or of the longest line.
    pub(super) fn keep(&mut self, line: LineId, place: Place, now: Timestamp) -> bool {
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

    pub(super) fn evict(&mut self, line: LineId, place: Place, now: Timestamp) {
        self.asking.remove(&place.1);
        self.lines.remove(line, place);
        self.known.remove(&place.1);
        self.waiting -= 1;
        self.leave(line, place);
        self.look_after(line, now);
    }

    /// This batch is on disk only, and its line has to go back for it.
    pub(super) fn leave(&mut self, line: LineId, place: Place) {
        if Some(place) > self.reader.frontier() {
            return self.reader.left(place);
        }
        let rest = self.has(line).min(before(place));
        self.reader.stop_for(line);
        self.lines.set_rest(line, Rest::After(rest));
    }

    /// Up to where all batches of a line are in memory.
    pub(super) fn has(&self, line: LineId) -> After {
        match (self.lines.rest(line), self.reader.read_for(line)) {
            (Rest::Nothing, _) => self.reader.frontier(),
            (Rest::After(rest), None) => rest,
            (Rest::After(rest), Some(at)) => rest.max(at),
        }
    }

    /// After each change of a line: where it stands, and what it wants.
    pub(super) fn look_after(&mut self, line: LineId, now: Timestamp) {
        let read_for = self.reader.read_for(line).is_some();
        let wish = match self.lines.rest(line) {
            Rest::After(rest) if !read_for && self.lines.is_short(line) => Some(rest),
            Rest::After(_) | Rest::Nothing => None,
        };
        // Where all lines are as short as this, all soon want something.
        let empty = self.lines.length(line) == 0 && self.lines.share() >= 4;
        self.reader.wish(line, wish, empty);
        let spot = match (self.lines.first(line), self.lines.key(line)) {
            (Some((at, _)), _) if at > now => Spot::Wheel(at),
            (Some(_), Some(key)) => match self.sites.gate(key, now) {
                Gate::Until(at) => Spot::Wheel(at),
                Gate::Full => Spot::Nowhere,
                Gate::Open if !self.silence.is_silent(key) => Spot::Ring(Room::Slot),
                Gate::Open if self.silence.flight(key).is_none() => Spot::Ring(Room::Patience),
                Gate::Open => Spot::Nowhere,
            },
            (None, _) | (_, None) => Spot::Nowhere,
        };
        self.turns.set(line, spot);
        self.lines.close_if_done(line);
    }

    pub(super) fn look_after_key(&mut self, key: &DestinationKey, now: Timestamp) {
        if let Some(line) = self.lines.find(key) {
            self.look_after(line, now);
        }
    }

    /// The schedule has it at another place now, or not at all.
    pub(super) fn drop_waiting(&mut self, batch: BatchId, now: Timestamp) {
        self.asking.remove(&batch);
        match self.known.get(&batch) {
            Some(Stage::Waiting { line, at }) => {
                let (line, at) = (*line, *at);
                self.known.remove(&batch);
                self.waiting -= 1;
                self.lines.remove(line, (at, batch));
                self.look_after(line, now);
            }
            Some(Stage::Parked { lot, at }) => {
                self.parking.remove(lot, (*at, batch));
                self.known.remove(&batch);
            }
            Some(Stage::Flying(_) | Stage::Settling { .. }) | None => {}
        }
    }
}
