//! The spool: what the queue must not forget.
//!
//! One trait, one suite of tests, two stores: `DiskSpool` (sled and segment files) for the daemon, `MemorySpool` for tests. Everything
//! that changes state is decided by `posthaste_mail::queue::ledger`; here it is only made durable, atomically, in groups. A ticket
//! resolves when the change is on disk, never before.
//!
//! The rooms: `disk` is the daemon's store and `memory` the tests'; `work` is what a job does to the records, on a `draft` of a group's
//! changes, and `read` what is asked without changing them. `committer` is the one thread that takes `job`s: a group's messages and its
//! `change`s go to the end of the `segment`s (`writer`; bodies that are `large` into files) and are durable with one sync. The records are
//! as the `store` has them: the last changes over the `database`, which a `checkpoint` brings up to date. A start reads again what no
//! checkpoint has (`survey`, `replay`); `check` then compares bodies and records. Records have the `sealed` form, under the keys of
//! `table`. Which step is durable when is told in `docs/decisions/0001-spool.md`.

mod change;
mod check;
mod checkpoint;
mod committer;
mod database;
mod disk;
mod draft;
mod ended;
mod envelope;
mod fresh;
mod incoming;
mod job;
mod large;
mod live;
mod memory;
mod place;
#[cfg(test)]
mod power;
#[cfg(test)]
mod powercut;
mod read;
mod rebuild;
mod recovery;
mod replay;
mod retention;
mod room;
mod sealed;
mod segment;
mod store;
#[cfg(test)]
pub(crate) mod suite;
mod survey;
mod table;
#[cfg(test)]
mod trial;
mod work;
mod writer;

pub use disk::{DiskSpool, Options};
pub use memory::MemorySpool;
pub use rebuild::{Rebuilt, rebuild};
pub use sealed::LIMIT as RECORD_LIMIT;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::amendment::{Amended, Amendment, Order};
use posthaste_mail::queue::archive::Archived;
use posthaste_mail::queue::lease::Lease;
use posthaste_mail::queue::ledger::{Finish, NotLeasable, Report, Settlement, Terms};
use posthaste_mail::queue::record::{
    Accepted, BatchId, BatchRecord, BodyPlace, Due, EnvelopeRecord, JournalEntry, RecipientRecord,
};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;
use tokio::sync::watch;

use crate::body::Body;

/// The answer to a change: resolves once the change is durable. Dropping it does not undo the change.
pub type Ticket<T> = Pin<Box<dyn Future<Output = Result<T, SpoolError>> + Send>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolError {
    /// No room above the reserve: refuse new mail, everything else goes on (452 4.3.1).
    Full,
    /// No such envelope or batch.
    NotFound,
    /// A record or body does not verify; what and why.
    Damaged(String),
    /// Another process holds this spool.
    Locked(String),
    /// A write or sync failed, or the spool is closing: nothing more can be promised, the process must end.
    Broken(String),
    /// Reading failed; the state is as it was.
    Io(String),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Full => f.write_str("no space left for new messages"),
            SpoolError::NotFound => f.write_str("not in the queue"),
            SpoolError::Damaged(what) => write!(f, "damaged: {what}"),
            SpoolError::Locked(what) => write!(f, "in use: {what}"),
            SpoolError::Broken(what) => write!(f, "storage failed: {what}"),
            SpoolError::Io(what) => write!(f, "reading the spool: {what}"),
        }
    }
}

impl std::error::Error for SpoolError {}

/// A batch in the hands of one attempt.
#[derive(Clone, Debug)]
pub struct Taken {
    pub lease: Lease,
    pub batch: BatchRecord,
    pub envelope: EnvelopeRecord,
    /// Only those that still wait.
    pub recipients: Vec<(u32, RecipientRecord)>,
}

/// A lease that is stored, and whose batch it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    pub lease: Lease,
    pub destination: DestinationKey,
}

/// A batch that waits, with its envelope and its own recipients, ended ones included.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    pub envelope: EnvelopeRecord,
    pub batch: BatchRecord,
    pub recipients: Vec<(u32, RecipientRecord)>,
}

/// An envelope with all that is stored for it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub envelope: EnvelopeRecord,
    /// Batches that still wait, by index.
    pub batches: Vec<(u32, BatchRecord)>,
    /// All recipients of the envelope, by batch index and recipient index, ended ones included.
    pub recipients: Vec<(u32, u32, RecipientRecord)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub envelopes: u64,
    pub batches: u64,
    /// Octets of content of waiting envelopes.
    pub bytes: u64,
}

impl Counts {
    fn after(self, effects: &work::Effects) -> Counts {
        Counts {
            envelopes: self.envelopes.saturating_add_signed(effects.envelopes),
            batches: self.batches.saturating_add_signed(effects.batches),
            bytes: self.bytes.saturating_add_signed(effects.bytes),
        }
    }
}

/// Recipients of a batch that came to their end, for whoever writes notifications.
#[derive(Debug)]
pub struct Ending<'a> {
    pub envelope: EnvelopeRecord,
    /// All recipients of the batch as they will be stored; `settlement.ended` says which of them ended now.
    pub recipients: Vec<(u32, RecipientRecord)>,
    pub settlement: &'a Settlement,
}

/// Makes the notifications for recipients that ended. Called while the settlement is being written, on the writing thread: it must not
/// wait for anything. What it needs of the content it has read before.
pub type Notices = Box<dyn FnOnce(Ending<'_>) -> Vec<(Accepted, Body)> + Send>;

/// What the check after a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages whose body was on disk but whose records were not: they are in the queue again.
    pub requeued: Vec<EnvelopeId>,
    /// Envelopes whose records were damaged and could be written again from the segment.
    pub restored: Vec<EnvelopeId>,
    /// Envelopes without a body: they stay in the queue and cannot be delivered. And messages a lost database leaves only a damaged record of.
    pub missing: Vec<EnvelopeId>,
    /// Batches that had no entry in the schedule; they have one now.
    pub unscheduled: u64,
    /// Files of bodies that belong to no envelope, removed.
    pub orphans: u64,
    /// Records that do not verify.
    pub damaged: u64,
}

pub trait Spool: Send + Sync + 'static {
    /// Stores a message; when the ticket resolves, body, records and schedule are durable (`accepted_means_on_disk`).
    fn accept(&self, accepted: Accepted, body: Body) -> Ticket<()>;

    /// Writes an attempt down and hands out the batch (`lease_before_packet`).
    fn take(
        &self,
        batch: BatchId,
        terms: Terms,
        plan: Plan,
        seed: u64,
    ) -> Ticket<Result<Taken, NotLeasable>>;

    /// Writes down what an attempt learned. Entries of a batch that is gone are dropped silently.
    fn journal(&self, batch: BatchId, entries: Vec<(u32, JournalEntry)>) -> Ticket<()>;

    /// Ends an attempt: journal and report are brought into the records, ended batches and envelopes removed, all in one transaction.
    fn settle(&self, report: Report, plan: Plan, now: Timestamp, seed: u64) -> Ticket<Settlement> {
        self.settle_with(report, plan, now, seed, Box::new(|_| Vec::new()))
    }

    /// `settle`, and stores the notifications for recipients that ended in the same transaction (`failed_and_dsn_together`). When a
    /// notification cannot be stored nothing is changed, and the batch stays under its lease.
    fn settle_with(
        &self,
        report: Report,
        plan: Plan,
        now: Timestamp,
        seed: u64,
        notices: Notices,
    ) -> Ticket<Settlement>;

    /// Changes a waiting batch as an operator wishes; decided on the record as it is when its turn comes.
    fn amend(
        &self,
        batch: BatchId,
        order: Arc<Order<Amendment>>,
        now: Timestamp,
    ) -> Ticket<Amended>;

    /// Ends a waiting batch at an operator's word, and stores the notifications in the same transaction, as `settle_with` does. A batch
    /// under lease stays as it is (`Settlement::kept` says so), and one the order no longer means is `NotFound`.
    fn finish_with(
        &self,
        batch: BatchId,
        order: Arc<Order<Finish>>,
        now: Timestamp,
        notices: Notices,
    ) -> Ticket<Settlement>;

    /// Decides about a message that was accepted `undecided`: keeps it, or takes it out as if it had never come. False when there is
    /// nothing to decide.
    fn decide(&self, id: EnvelopeId, keep: bool) -> Ticket<bool>;

    /// Stores a message as another spool had it, under its old id. False when it is there already.
    fn import(&self, archived: Archived, body: Body) -> Ticket<bool>;

    // What follows reads, and may block on the disk: call it on a blocking thread.

    /// The schedule in order of time, from after `after` up to and including `until`. Leased batches appear at their provisional time,
    /// held ones not at all.
    fn due(
        &self,
        after: Option<(Timestamp, BatchId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, SpoolError>;

    /// Every lease that is stored, whoever took it.
    fn leases(&self) -> Result<Vec<Leased>, SpoolError>;

    /// Messages that wait for a decision; after a start, of clients that never got an answer.
    fn undecided(&self) -> Result<Vec<EnvelopeId>, SpoolError>;

    fn load(&self, id: EnvelopeId) -> Result<Option<Stored>, SpoolError>;

    /// One batch only: a message may have as many as it has recipients.
    fn load_batch(&self, batch: BatchId) -> Result<Option<StoredBatch>, SpoolError>;

    /// Ids in order of arrival, from after `after`.
    fn envelopes(
        &self,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> Result<Vec<EnvelopeId>, SpoolError>;

    fn body(&self, id: EnvelopeId, place: &BodyPlace) -> Result<Body, SpoolError>;

    /// The body of a message that has just come in, if it is still in memory; handed out once. Does not block.
    fn fresh_body(&self, id: EnvelopeId) -> Option<Body>;

    /// All that is stored for an envelope, and where its content lies.
    fn archived(&self, id: EnvelopeId) -> Result<Option<(Archived, BodyPlace)>, SpoolError>;

    fn counts(&self) -> Counts;

    /// Records found since the start that do not verify.
    fn damaged(&self) -> u64;

    /// What is wrong now, in words for an operator; empty when all is well.
    fn wrong(&self) -> Vec<String>;

    /// Holds the reason once the spool is `Broken`: then the process has to end.
    fn broken(&self) -> watch::Receiver<Option<String>>;

    /// Compares bodies with records, once after each start, while the queue works already. Blocks for long.
    fn check(&self) -> Result<Findings, SpoolError>;
}
