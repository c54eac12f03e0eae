//! The queue's state machine: (what is stored, what happened) -> what to store.
//!
//! Functions of their arguments; the spool calls them inside its transactions, and the queue actor acts on what they return.
//! `take` writes an attempt down before it begins, `settle` brings its end into the records, also for an attempt whose task, or whose
//! process, is gone: the journal says how far it came.

use std::time::Duration;

use crate::dice::Dice;
use crate::outcome::{Cause, Failure, Outcome, Receipt};
use crate::queue::amendment::{Kept, waits};
use crate::queue::lease::{Boot, Lease};
use crate::queue::record::{BatchId, BatchRecord, JournalEntry, RecipientRecord, Standing};
use crate::queue::schedule::Plan;
use crate::route::servers::HOLD;
use crate::time::Timestamp;

/// How long recipients wait whose message may have been taken already: the other side needs time to deliver, and people to notice.
/// Never longer than `max_retry_time`.
pub const UNKNOWN_WAIT: Duration = Duration::from_secs(3600);

/// Why a batch cannot be attempted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLeasable {
    /// Somebody works on it.
    Leased,
    Held,
    NotDue(Timestamp),
    /// A lease of a process that is gone must be settled first.
    Abandoned(Lease),
}

/// Who wants a lease, and for how long.
#[derive(Clone, Debug)]
pub struct Terms {
    pub boot: Boot,
    pub serial: u64,
    pub now: Timestamp,
    /// The longest an attempt may take; its own deadline lies before this one.
    pub span: Duration,
}

/// Writes an attempt down: the record to store, and the lease as proof.
pub fn take(
    id: BatchId,
    batch: &BatchRecord,
    terms: &Terms,
    plan: &Plan,
    dice: &mut Dice,
) -> Result<(BatchRecord, Lease), NotLeasable> {
    if batch.hold.is_some() {
        return Err(NotLeasable::Held);
    }
    if let Some(lease) = &batch.lease {
        return Err(if lease.is_void(&terms.boot, terms.now) {
            NotLeasable::Abandoned(lease.clone())
        } else {
            NotLeasable::Leased
        });
    }
    if batch.due > terms.now {
        return Err(NotLeasable::NotDue(batch.due));
    }
    let deadline = terms.now.plus(terms.span);
    let lease = Lease {
        batch: id,
        boot: terms.boot.clone(),
        serial: terms.serial,
        taken: terms.now,
        deadline,
    };
    let attempts = batch.attempts.saturating_add(1);
    let next = BatchRecord {
        // Provisional: if this process dies, the batch comes back at a time that does not hammer the peer.
        due: plan.next_due(attempts, deadline, dice),
        attempts,
        lease: Some(lease.clone()),
        last_attempt: Some(terms.now),
        ..batch.clone()
    };
    Ok((next, lease))
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub lease: Lease,
    pub outcomes: Vec<(u32, Outcome)>,
    /// Why outcomes may be missing: a panic, a deadline, a process that died.
    pub fault: Option<Failure>,
}

/// A recipient that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub index: u32,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Delivered(Receipt),
    Failed {
        failure: Failure,
        /// A temporary failure that ran out of attempts or time.
        gave_up: bool,
    },
    /// Taken off by an operator.
    Dropped,
}

/// A recipient that has waited for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    pub index: u32,
    /// What the last attempt that was one came to.
    pub failure: Failure,
    /// When the last attempt will be made.
    pub until: Timestamp,
}

/// What to store after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// `None`: no recipient of the batch waits any more.
    pub batch: Option<BatchRecord>,
    pub changed: Vec<(u32, RecipientRecord)>,
    pub ended: Vec<Ended>,
    /// Recipients that wait for another attempt, with why.
    pub waiting: Vec<(u32, Failure)>,
    /// Those of them whose sender is to be told so now; the record says that it was.
    pub delayed: Vec<Delayed>,
    /// Attempts made so far, this one included if it counts.
    pub attempts: u32,
    /// When the last attempt was made; `None`: there was none.
    pub last_attempt: Option<Timestamp>,
}

/// Everything `settle` looks at.
#[derive(Clone, Debug)]
pub struct Books {
    pub batch: BatchRecord,
    pub recipients: Vec<(u32, RecipientRecord)>,
    pub journal: Vec<(u32, JournalEntry)>,
}

/// Brings the end of an attempt into the records.
pub fn settle(
    books: Books,
    report: &Report,
    plan: &Plan,
    now: Timestamp,
    dice: &mut Dice,
) -> Settlement {
    let current = books.batch.lease.as_ref().is_some_and(|lease| *lease == report.lease);
    let mut batch = books.batch;
    let mut settlement = Settlement {
        batch: None,
        changed: Vec::new(),
        ended: Vec::new(),
        waiting: Vec::new(),
        delayed: Vec::new(),
        attempts: batch.attempts,
        last_attempt: Some(now),
    };
    let mut counted = false;
    let mut unknown = false;
    let mut pause = POSTPONED_WAIT;
    let mut until = None;
    let mut last_failure = None;
    let mut pending: Vec<(u32, RecipientRecord, Failure)> = Vec::new();
    let mut still_waiting = false;

    for (index, record) in books.recipients {
        // `delivered_is_final`: an end is never changed by a later event.
        if !record.standing.is_waiting() {
            continue;
        }
        let outcome = outcome_of(index, report, &books.journal);
        // A late report may add a delivery, which is a fact, but never a failure.
        if !current && !matches!(outcome, Some(Outcome::Delivered(_))) {
            still_waiting = true;
            continue;
        }
        let outcome = outcome.unwrap_or_else(|| {
            // A missing result is temporary.
            Outcome::Deferred(report.fault.clone().unwrap_or_else(|| {
                Failure::new(Cause::Internal, "the attempt ended without a result")
            }))
        });
        match outcome {
            Outcome::Delivered(receipt) => {
                counted = true;
                let standing = Standing::Delivered { at: now, receipt: receipt.clone() };
                let ended = RecipientRecord { standing, last_failure: None, ..record };
                settlement.changed.push((index, ended));
                settlement.ended.push(Ended { index, end: End::Delivered(receipt) });
            }
            Outcome::Failed(failure) => {
                counted = true;
                settlement.fail(index, record, failure, false, now);
            }
            Outcome::Deferred(failure) => {
                counted = true;
                pending.push((index, record, failure));
            }
            Outcome::Unknown(failure) => {
                counted = true;
                unknown = true;
                pending.push((index, record, failure));
            }
            Outcome::Postponed(failure) => {
                pause = pause.max(postponed_wait(&failure));
                pending.push((index, record, failure));
            }
        }
    }

    if current {
        batch.lease = None;
        // Waiting for a limit, a slot or a suspension is not an attempt.
        if !counted {
            batch.attempts = batch.attempts.saturating_sub(1);
            settlement.attempts = batch.attempts;
        }
        let over = if counted {
            plan.gives_up(batch.attempts, batch.arrived, now)
        } else {
            plan.is_too_old(batch.arrived, now)
        };
        // What was held meanwhile ends when the operator says so.
        let over = over && batch.hold.is_none();
        if over {
            for (index, record, failure) in pending.drain(..) {
                let failure = telling(&record, failure);
                settlement.fail(index, record, failure, true, now);
            }
        }
        batch.due =
            if counted { plan.next_due(batch.attempts, now, dice) } else { now.plus(pause) };
        let not_before = if unknown { now.plus(UNKNOWN_WAIT.min(plan.longest)) } else { now };
        batch.due = batch.due.max(not_before);
        // Waiting for a limit of ours is waiting too, for the sender. A batch under hold has no attempt that could end here: its sender
        // hears of the delay when the operator lets it go.
        if plan.is_late(batch.arrived, now) {
            let next = match counted {
                true => now.plus(plan.delay_before(batch.attempts.saturating_add(1))),
                false => batch.due,
            };
            until = Some(plan.last_attempt(batch.attempts, next.max(not_before), batch.arrived));
        }
    }
    for (index, record, failure) in pending {
        still_waiting = true;
        last_failure = Some(failure.clone());
        settlement.waiting.push((index, failure.clone()));
        let failure = telling(&record, failure);
        let mut warned = record.warned;
        if let Some(until) = until.filter(|_| warned.is_none() && record.recipient.wants_delays()) {
            settlement.delayed.push(Delayed { index, failure: failure.clone(), until });
            warned = Some(now);
        }
        let changed = RecipientRecord { last_failure: Some(failure), warned, ..record };
        settlement.changed.push((index, changed));
    }
    if still_waiting {
        batch.last_failure = last_failure.or(batch.last_failure);
        settlement.batch = Some(batch);
    }
    settlement
}

/// The failure that says most: what a peer said outranks that we had no time to ask again.
fn telling(record: &RecipientRecord, failure: Failure) -> Failure {
    match &record.last_failure {
        Some(earlier) if failure.is_no_attempt() && !earlier.is_no_attempt() => earlier.clone(),
        Some(_) | None => failure,
    }
}

/// A postponed batch looks again soon; whoever postponed it may wake it earlier.
const POSTPONED_WAIT: Duration = Duration::from_secs(30);
/// A target that is not configured does not come back by itself.
const UNCONFIGURED_WAIT: Duration = Duration::from_secs(15 * 60);

fn postponed_wait(failure: &Failure) -> Duration {
    match failure.cause {
        Cause::TargetUnavailable => UNCONFIGURED_WAIT,
        // Nobody logs in before that.
        Cause::RouteHeld => HOLD,
        _ => POSTPONED_WAIT,
    }
}

impl Settlement {
    /// Is there anything in it that a sender may want to hear of?
    pub fn is_news(&self) -> bool {
        self.ended.iter().any(|ended| ended.end != End::Dropped) || !self.delayed.is_empty()
    }

    /// Of a batch that was to be ended: why it was not.
    pub fn kept(&self) -> Option<Kept> {
        let batch = self.batch.as_ref().filter(|_| self.ended.is_empty())?;
        Some(may_finish(batch).err().unwrap_or(Kept::AsItWas))
    }

    fn fail(
        &mut self,
        index: u32,
        record: RecipientRecord,
        failure: Failure,
        gave_up: bool,
        now: Timestamp,
    ) {
        let standing = Standing::Failed { at: now, failure: failure.clone() };
        self.changed.push((index, RecipientRecord { standing, last_failure: None, ..record }));
        self.ended.push(Ended { index, end: End::Failed { failure, gave_up } });
    }
}

/// What is known of a recipient: the journal first, because it was on disk before anyone was told; then the report.
fn outcome_of(index: u32, report: &Report, journal: &[(u32, JournalEntry)]) -> Option<Outcome> {
    let mut dot_sent = false;
    for (_, entry) in journal.iter().filter(|(i, _)| *i == index) {
        match entry {
            JournalEntry::Settled(outcome) => return Some(outcome.clone()),
            JournalEntry::DotSent => dot_sent = true,
        }
    }
    if let Some((_, outcome)) = report.outcomes.iter().find(|(i, _)| *i == index) {
        return Some(outcome.clone());
    }
    dot_sent.then(|| {
        Outcome::Unknown(Failure::new(
            Cause::UnknownAfterDot,
            "the message was sent completely, the reply is not known",
        ))
    })
}

/// How an operator ends a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Its recipients have failed; the sender is told.
    Fail,
    /// Its recipients are taken off; nobody is told.
    Drop,
}

/// May an operator end the batch now?
pub fn may_finish(batch: &BatchRecord) -> Result<(), Kept> {
    if batch.is_undecided() {
        return Err(Kept::AsItWas);
    }
    waits(batch)
}

/// Ends a batch at the operator's word. No attempt is made and none is counted; a delivery that the journal has stays one.
pub fn finish(books: Books, how: Finish, now: Timestamp) -> Settlement {
    let mut settlement = Settlement {
        batch: None,
        changed: Vec::new(),
        ended: Vec::new(),
        waiting: Vec::new(),
        delayed: Vec::new(),
        attempts: books.batch.attempts,
        last_attempt: books.batch.last_attempt,
    };
    if may_finish(&books.batch).is_err() {
        return Settlement { batch: Some(books.batch), ..settlement };
    }
    for (index, record) in books.recipients {
        if !record.standing.is_waiting() {
            continue;
        }
        let delivered = books.journal.iter().find_map(|(of, entry)| match entry {
            JournalEntry::Settled(Outcome::Delivered(receipt)) if *of == index => Some(receipt),
            JournalEntry::Settled(_) | JournalEntry::DotSent => None,
        });
        match (delivered, how) {
            (Some(receipt), _) => {
                let standing = Standing::Delivered { at: now, receipt: receipt.clone() };
                let changed = RecipientRecord { standing, last_failure: None, ..record };
                settlement.changed.push((index, changed));
                settlement.ended.push(Ended { index, end: End::Delivered(receipt.clone()) });
            }
            (None, Finish::Fail) => {
                let failure = ended_by_operator(&record);
                settlement.fail(index, record, failure, false, now);
            }
            (None, Finish::Drop) => {
                let standing = Standing::Dropped { at: now };
                settlement.changed.push((index, RecipientRecord { standing, ..record }));
                settlement.ended.push(Ended { index, end: End::Dropped });
            }
        }
    }
    settlement
}

/// Says who ended it, and what was known of it until then.
fn ended_by_operator(record: &RecipientRecord) -> Failure {
    let text = "ended by the operator of this mail system";
    Failure::new(
        Cause::Operator,
        match &record.last_failure {
            Some(last) => format!("{text}; the last failure was: {last}"),
            None => format!("{text} before a first attempt came to an end"),
        },
    )
}

#[cfg(test)]
mod tests;
