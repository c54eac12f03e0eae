//! A batch on its way out.

use std::sync::{Arc, Mutex, PoisonError};

use actix::Message;
use tokio::sync::{OwnedSemaphorePermit, watch};

use posthaste_edge::body::Body;
use posthaste_edge::spool::Spool;
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::envelope::{Envelope, Recipient};
use posthaste_mail::outcome::{Failure, Outcome, SessionFacts};
use posthaste_mail::queue::agenda::Within;
use posthaste_mail::queue::lease::Lease;
use posthaste_mail::queue::record::{BatchId, JournalEntry};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::route::hosts::Means;

use crate::limits::Permit;

/// Queue -> any target: make one attempt. `Ok` means a task runs and will send `Finished` exactly once; an error or no answer means
/// that the queue ends the attempt itself.
pub struct Deliver {
    pub lease: Lease,
    pub attempt: u32,
    pub envelope: Arc<Envelope>,
    pub destination: DestinationKey,
    pub recipients: Vec<(u32, Recipient)>,
    pub body: Body,
    pub journal: Journal,
    /// Held for as long as the attempt runs.
    pub slot: Slot,
    /// What kind of place that is, as the attempt begins.
    pub means: Means,
    /// What the target's limits gave leave for, held as long.
    pub permit: Option<Permit>,
    /// Where the attempt says what it does just now.
    pub whereabouts: Whereabouts,
    /// The queue may call the attempt off while it has no session yet.
    pub called_off: watch::Receiver<bool>,
    pub settled_to: actix::Recipient<Settled>,
    pub waiting_to: actix::Recipient<WaitingLong>,
    pub finished_to: actix::Recipient<Finished>,
}

impl Message for Deliver {
    type Result = Result<(), Busy>;
}

/// One of the queue's `max_parallelism` places. The last holder gives it back, or the queue does earlier.
#[derive(Clone)]
pub struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    pub fn new(permit: OwnedSemaphorePermit) -> Slot {
        Slot(Arc::new(Mutex::new(Some(permit))))
    }

    /// Gives it back for one of another kind; one that is given back already stays so.
    pub fn exchange(&self, other: OwnedSemaphorePermit) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            *held = Some(other);
        }
    }

    pub fn give_back(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The target takes nothing now.
#[derive(Clone, Debug)]
pub struct Busy(pub Failure);

/// Where a task writes down what it learned before it tells anyone.
#[derive(Clone)]
pub struct Journal {
    spool: Arc<dyn Spool>,
    batch: BatchId,
}

impl Journal {
    pub fn new(spool: Arc<dyn Spool>, batch: BatchId) -> Journal {
        Journal { spool, batch }
    }

    /// Returns when the entries are durable.
    pub async fn write(
        &self,
        entries: Vec<(u32, JournalEntry)>,
    ) -> Result<(), posthaste_edge::spool::SpoolError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.spool.journal(self.batch, entries).await
    }
}

/// What the journal is told of outcomes. What is put off is decided anew anyway, by the closing message or by its absence.
pub fn entries(outcomes: &[(u32, Outcome)]) -> Vec<(u32, JournalEntry)> {
    let told = outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Postponed(_)));
    told.map(|(index, outcome)| (*index, JournalEntry::Settled(outcome.clone()))).collect()
}

/// Task -> Queue: these recipients have their outcome, and it is in the journal. Losing it loses log lines only. As part of `Finished`:
/// it is to be told once it is in the books.
#[derive(Clone, Debug)]
pub struct Settled {
    pub envelope: Arc<Envelope>,
    pub attempt: u32,
    pub destination: DestinationKey,
    /// Recipients by address.
    pub outcomes: Vec<(String, Outcome)>,
    pub facts: SessionFacts,
}

/// Task -> Queue: the host was silent for ten seconds; the slot is better used by somebody else.
#[derive(Clone, Debug)]
pub struct WaitingLong {
    pub batch: BatchId,
    pub within: Within,
}

/// Task -> Queue: the attempt is over. Sent exactly once for each lease; if it is lost, the lease's deadline ends the attempt.
#[derive(Clone, Debug)]
pub struct Finished {
    pub lease: Lease,
    pub outcomes: Vec<(u32, Outcome)>,
    pub fault: Option<Failure>,
    /// The last outcomes: they are in no journal, since the end of the attempt is written down at once.
    pub last: Option<Settled>,
}

impl Message for Settled {
    type Result = ();
}

impl Message for WaitingLong {
    type Result = ();
}

impl Message for Finished {
    type Result = ();
}
