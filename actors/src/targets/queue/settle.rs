//! The end of an attempt, and what follows for the batch.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler};
use slog::{info, warn};

use posthaste_edge::clock::dice;
use posthaste_edge::spool::SpoolError;
use posthaste_mail::admin::answer::Event;
use posthaste_mail::queue::lease::Lease;
use posthaste_mail::queue::ledger::{End, Report, Settlement};
use posthaste_mail::queue::record::BatchId;

use crate::messages::delivery::Finished;
use crate::targets::queue::flight::interrupted;
use crate::targets::queue::{QueueActor, Stage};
use crate::task::spawn_reporting;

impl Handler<Finished> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Finished, ctx: &mut Context<Self>) {
        let Finished { lease, outcomes, fault } = message;
        self.settle(Report { lease, outcomes, fault }, ctx);
        self.pump(ctx);
    }
}

impl QueueActor {
    /// The lease of a process that is gone, or of a task that never came back.
    pub(super) fn end_abandoned(&mut self, lease: Lease, ctx: &mut Context<Self>) {
        let fault = Some(interrupted(&lease, self.deps.clock.now()));
        self.settle(Report { lease, outcomes: Vec::new(), fault }, ctx);
    }

    fn settle(&mut self, report: Report, ctx: &mut Context<Self>) {
        let batch = report.lease.batch;
        if let Some(Stage::Flying(flight)) = self.state.known.insert(batch, Stage::Settling) {
            self.land(&flight);
        }
        let now = self.deps.clock.now();
        let ticket = self.deps.spool.settle(report, self.deps.plan.clone(), now, dice().next_u64());
        let me = ctx.address();
        spawn_reporting(&self.deps.runtime, ticket, move |end| {
            let end = end.unwrap_or_else(|panic| Err(SpoolError::Io(panic)));
            me.do_send(SettleEnded { batch, end });
        });
    }
}

/// Spool -> Queue: the attempt is in the books.
struct SettleEnded {
    batch: BatchId,
    end: Result<Settlement, SpoolError>,
}

impl actix::Message for SettleEnded {
    type Result = ();
}

impl Handler<SettleEnded> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: SettleEnded, ctx: &mut Context<Self>) {
        let batch = message.batch;
        self.state.known.remove(&batch);
        match message.end {
            Ok(settlement) => self.settled(batch, settlement),
            Err(SpoolError::NotFound) => {}
            Err(error) => {
                // The lease stays on disk, and its deadline or the next start ends the attempt.
                warn!(self.deps.log, "attempt could not be settled"; "batch" => %batch, "cause" => %error);
                self.broken(&error);
            }
        }
        self.pump(ctx);
    }
}

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
                // A stale report leaves the batch to whoever holds it.
                if record.lease.is_none() {
                    self.schedule(batch, record.due, record.destination);
                }
            }
            None => trace.note(name, batch.envelope, Event::Removed),
        }
    }
}
