//! The end of an attempt, and what follows for the batch.

use std::sync::{Arc, PoisonError};

use actix::{AsyncContext, Context, Handler};
use slog::{info, warn};

use posthaste_edge::clock::dice;
use posthaste_edge::spool::SpoolError;
use posthaste_mail::admin::answer::Event;
use posthaste_mail::envelope::{EnvelopeId, Ret};
use posthaste_mail::header::Header;
use posthaste_mail::outcome::Outcome;
use posthaste_mail::queue::lease::Lease;
use posthaste_mail::queue::ledger::{End, Report, Settlement};
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

use crate::messages::delivery::Finished;
use crate::targets::queue::flight::interrupted;
use crate::targets::queue::notice::{Made, Writer};
use crate::targets::queue::{Deps, QueueActor};
use crate::task::spawn_reporting;

impl Handler<Finished> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Finished, ctx: &mut Context<Self>) {
        let Finished { lease, outcomes, fault } = message;
        self.settle(Report { lease, outcomes, fault }, 0, ctx);
        self.pump(ctx);
    }
}

impl QueueActor {
    /// The lease of a process that is gone, or of a task that never came back.
    pub(super) fn end_abandoned(&mut self, lease: Lease, ctx: &mut Context<Self>) {
        let fault = Some(interrupted(&lease, self.deps.clock.now()));
        self.settle(Report { lease, outcomes: Vec::new(), fault }, 0, ctx);
    }

    fn settle(&mut self, report: Report, tries: u32, ctx: &mut Context<Self>) {
        let batch = report.lease.batch;
        self.landed(&report);
        let mut deps = self.deps.clone();
        if tries >= TRIES_WITH_NOTICE {
            // The end of a batch matters more than the word of it.
            warn!(self.deps.log, "settled without notification"; "batch" => %batch);
            deps.bounce = None;
        }
        let again = report.clone();
        let made = Made::default();
        let (me, stored) = (ctx.address(), Arc::clone(&made));
        spawn_reporting(&self.deps.runtime, write(deps, report, made), move |end| {
            let end = end.unwrap_or_else(|panic| Err(SpoolError::Io(panic)));
            let notices =
                std::mem::take(&mut *stored.lock().unwrap_or_else(PoisonError::into_inner));
            me.do_send(SettleEnded { batch, end, notices, report: again, tries });
        });
    }
}

/// Brings the attempt into the books, and with it the notifications for those that failed.
async fn write(deps: Deps, report: Report, made: Made) -> Result<Settlement, SpoolError> {
    let now = deps.clock.now();
    let mut dice = dice();
    let seed = dice.next_u64();
    let all_well = report.fault.is_none()
        && report.outcomes.iter().all(|(_, o)| matches!(o, Outcome::Delivered(_)));
    let ways = match &deps.bounce {
        Some(ways) if !all_well => Arc::clone(ways),
        _ => return deps.spool.settle(report, deps.plan.clone(), now, seed).await,
    };
    let may_end = report.fault.is_some()
        || report.outcomes.iter().any(|(_, o)| matches!(o, Outcome::Failed(_)));
    let (original, whole) = original(&deps, report.lease.batch, may_end).await;
    let writer =
        Writer { ways: (*ways).clone(), original, whole, now, dice, log: deps.log.clone(), made };
    let plan = deps.plan.clone();
    deps.spool.settle_with(report, plan, now, seed, writer.notices()).await
}

/// What a notification may return of the message. A body that cannot be read costs the sender its copy, not the notification.
async fn original(deps: &Deps, batch: BatchId, may_end: bool) -> (Vec<u8>, bool) {
    let (spool, log) = (Arc::clone(&deps.spool), deps.log.clone());
    let (plan, now) = (deps.plan.clone(), deps.clock.now());
    let read = tokio::task::spawn_blocking(move || {
        let nothing = Ok::<_, SpoolError>((Vec::new(), false));
        let Some(stored) = spool.load(batch.envelope)? else { return nothing };
        let record = stored.batches.iter().find(|(index, _)| *index == batch.index);
        let last = record.is_some_and(|(_, r)| plan.gives_up(r.attempts, r.arrived, now));
        if !may_end && !last {
            return nothing;
        }
        let envelope = &stored.envelope.envelope;
        let whole = envelope.ret == Some(Ret::Full) && envelope.size <= MOST_RETURNED;
        let body = spool.body(batch.envelope, &stored.envelope.body)?;
        let most = usize::try_from(MOST_RETURNED).unwrap_or(usize::MAX);
        let content = body.read_at(0, most).map_err(|e| SpoolError::Io(e.to_string()))?;
        if whole {
            return Ok((content, true));
        }
        Ok((Header::of(&content, most).as_bytes().to_vec(), false))
    });
    match read.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            warn!(log, "message could not be read for a notification"; "batch" => %batch,
                "cause" => %error);
            (Vec::new(), false)
        }
        Err(_) => (Vec::new(), false),
    }
}

/// RET=FULL gives back messages up to this size whole.
const MOST_RETURNED: u64 = 1 << 20;

/// Spool -> Queue: the attempt is in the books.
struct SettleEnded {
    batch: BatchId,
    end: Result<Settlement, SpoolError>,
    /// Notifications that were stored with it.
    notices: Vec<(EnvelopeId, Timestamp, Vec<DestinationKey>)>,
    /// For another try, and how many there were.
    report: Report,
    tries: u32,
}

impl actix::Message for SettleEnded {
    type Result = ();
}

impl Handler<SettleEnded> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: SettleEnded, ctx: &mut Context<Self>) {
        let batch = message.batch;
        if !matches!(&message.end, Err(error) if may_be_tried_again(error)) {
            // After a fall its lease may have been read before it was settled.
            let flight = self.state.flights.get(&batch).and_then(|flight| flight.lease.as_ref());
            if flight == Some(&message.report.lease) {
                self.landed(&message.report);
            }
            let record = message.end.as_ref().ok().and_then(|s| s.batch.as_ref());
            // A stale report leaves the batch to whoever holds it.
            let next = record.filter(|r| r.lease.is_none()).map(|r| (r.due, &r.destination));
            self.state.agenda.settled(batch, next, self.deps.clock.now());
        }
        match message.end {
            Ok(settlement) => {
                self.settled(batch, settlement);
                for (id, due, destinations) in message.notices {
                    self.stored(id, due, destinations);
                }
            }
            Err(SpoolError::NotFound) => {}
            Err(error) if may_be_tried_again(&error) => {
                warn!(self.deps.log, "attempt could not be settled, trying again"; "batch" => %batch,
                    "cause" => %error);
                let (report, tries) = (message.report, message.tries.saturating_add(1));
                ctx.run_later(SETTLE_AGAIN, move |queue, ctx| queue.settle(report, tries, ctx));
            }
            Err(error) => {
                warn!(self.deps.log, "attempt could not be settled"; "batch" => %batch, "cause" => %error);
                self.broken(&error);
            }
        }
        self.pump(ctx);
    }
}

/// What a full disk or a faulty notification spoils may succeed later; a broken spool ends the process.
fn may_be_tried_again(error: &SpoolError) -> bool {
    match error {
        SpoolError::Full | SpoolError::Damaged(_) | SpoolError::Io(_) => true,
        SpoolError::NotFound | SpoolError::Locked(_) | SpoolError::Broken(_) => false,
    }
}

const SETTLE_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);
/// After so many failures a batch is settled without its notification.
const TRIES_WITH_NOTICE: u32 = 10;

impl QueueActor {
    fn settled(&mut self, batch: BatchId, settlement: Settlement) {
        let trace = Arc::clone(&self.deps.trace);
        let name = &self.deps.name;
        let address = |index: u32| {
            let found = settlement.changed.iter().find(|(i, _)| *i == index);
            found.map_or_else(String::new, |(_, record)| record.recipient.address.to_string())
        };
        for ended in &settlement.ended {
            let recipient = address(ended.index);
            let (end, text) = match &ended.end {
                End::Delivered(receipt) => {
                    self.state.counters.delivered += 1;
                    ("delivered", format!("{} {}", receipt.code, receipt.text))
                }
                End::Failed { failure, gave_up } => {
                    self.state.counters.failed += 1;
                    let word = if *gave_up { "gave_up" } else { "failed" };
                    info!(self.deps.log, "recipient failed for good"; "id" => %batch.envelope,
                        "recipient" => &recipient, "why" => word, "failure" => %failure);
                    (word, failure.to_string())
                }
            };
            let event = Event::Ended { recipient, end: end.to_string(), text };
            trace.note(name, batch.envelope, event);
        }
        match settlement.batch {
            Some(record) => {
                self.state.counters.deferred += 1;
                info!(self.deps.log, "will retry"; "id" => %batch.envelope,
                    "destination" => %record.destination, "attempts" => record.attempts,
                    "next_due" => record.due.rfc3339(),
                    "recipients" => settlement.waiting.len());
                let event = Event::Retry {
                    destination: record.destination.to_string(),
                    attempts: record.attempts,
                    due: record.due.rfc3339(),
                    recipients: settlement.waiting.len() as u64,
                };
                trace.note(name, batch.envelope, event);
            }
            None => trace.note(name, batch.envelope, Event::Removed),
        }
    }
}
