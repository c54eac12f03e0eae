//! What keeps a batch, or all of a destination, from starting: for whoever asks.

use super::{Agenda, Stage};
use crate::queue::lines::Rest;
use crate::queue::reason::Reason;
use crate::queue::record::BatchId;
use crate::queue::sites::{Gate, View};
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

/// What waits for one destination, as far as it is in memory, also for limits of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    pub waiting: usize,
    /// There is more on disk.
    pub more: bool,
    /// When the first is due.
    pub next: Option<Timestamp>,
}

impl Agenda {
    /// Whatever would keep a due batch of this destination from starting; `None`: nothing but the want of a slot.
    pub fn obstacle(&self, key: &DestinationKey, now: Timestamp) -> Option<Reason> {
        let View { site, busy, limited, rules, .. } = self.sites.view(key, now);
        if let Some(death) = site.death(rules, now) {
            return Some(Reason::Dead(death.clone()));
        }
        if let Some(until) = limited {
            return Some(Reason::DestinationLimit { until });
        }
        if self.sites.gate(key, now) == Gate::Full {
            return Some(Reason::WindowFull { running: busy, window: site.window() });
        }
        self.silence.is_silent(key).then_some(Reason::Silent)
    }

    /// What this batch itself waits for, apart from the others of its destination.
    pub fn waits_for(&self, batch: BatchId) -> Option<Reason> {
        match self.known.get(&batch)? {
            Stage::Parked { lot, .. } => {
                let until = self.parking.until(lot)?;
                Some(Reason::OtherLimit { limit: lot.to_string(), until })
            }
            Stage::Settling { .. } => Some(Reason::Settling),
            Stage::Waiting { .. } | Stage::Flying(_) => None,
        }
    }

    pub fn queued(&self, key: &DestinationKey) -> Queued {
        let (parked, first_parked) = self.parking.of(key);
        let Some(line) = self.lines.find(key) else {
            return Queued { waiting: parked, more: false, next: first_parked };
        };
        let first = self.lines.first(line).map(|(at, _)| at);
        Queued {
            waiting: self.lines.length(line) + parked,
            more: self.lines.rest(line) != Rest::Nothing,
            next: first.into_iter().chain(first_parked).min(),
        }
    }

    pub fn site(&self, key: &DestinationKey, now: Timestamp) -> View {
        self.sites.view(key, now)
    }

    /// Destinations that nobody dials now.
    pub fn dead_sites(&self, now: Timestamp) -> usize {
        self.sites.dead(now)
    }
}
