//! The way in: on disk first, then in line, then the client hears of it.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, ResponseFuture};
use slog::{info, warn};

use posthaste_edge::spool::SpoolError;
use posthaste_mail::admin::answer::Event;
use posthaste_mail::envelope::{EnvelopeId, Recipient};
use posthaste_mail::queue::record::{Accepted, BatchId};
use posthaste_mail::route::destination::{DestinationKey, Splitting};
use posthaste_mail::status::Enhanced;
use posthaste_mail::time::Timestamp;

use crate::messages::intake::{Accept, Decide, Refusal};
use crate::targets::queue::QueueActor;

impl Handler<Accept> for QueueActor {
    type Result = ResponseFuture<Result<EnvelopeId, Refusal>>;

    fn handle(&mut self, message: Accept, ctx: &mut Context<Self>) -> Self::Result {
        if self.state.draining {
            // RFC 3463 §3.4: 4.3.2, system not accepting messages.
            let refusal = refusal(451, Enhanced(4, 3, 2), "the server is shutting down");
            return Box::pin(async { Err(refusal) });
        }
        let id = message.envelope.id;
        let batches = split(&self.deps.splitting, message.recipients);
        let undecided = message.undecided;
        let accepted = Accepted { envelope: message.envelope, batches, undecided };
        let stored = Stored {
            id,
            due: accepted.envelope.arrived,
            destinations: accepted.batches.iter().map(|(key, _)| key.clone()).collect(),
        };
        let event = Event::Accepted {
            from: accepted.envelope.from.to_string(),
            recipients: accepted.recipients() as u64,
            size: accepted.envelope.size,
            destinations: stored.destinations.iter().map(ToString::to_string).collect(),
        };
        let log = self.deps.log.clone();
        let (trace, name) = (Arc::clone(&self.deps.trace), self.deps.name.clone());
        let line = AcceptedLine::of(&accepted);
        let ticket = self.deps.spool.accept(accepted, message.body);
        let me = ctx.address();
        let fatal = self.deps.fatal.clone();
        Box::pin(async move {
            match ticket.await {
                Ok(()) => {
                    line.log(&log, id);
                    trace.note(&name, id, event);
                    if !undecided {
                        me.do_send(stored);
                    }
                    Ok(id)
                }
                Err(error) => {
                    warn!(log, "message could not be stored"; "id" => %id, "cause" => %error);
                    if let SpoolError::Broken(_) = error {
                        let reason = format!("spool of queue {name}: {error}");
                        fatal.do_send(crate::messages::lifecycle::Fatal { reason });
                    }
                    Err(refused(&error))
                }
            }
        })
    }
}

/// Recipients by destination, in the order of their first appearance.
pub(super) fn split(
    splitting: &Splitting,
    recipients: Vec<Recipient>,
) -> Vec<(DestinationKey, Vec<Recipient>)> {
    let mut batches: Vec<(DestinationKey, Vec<Recipient>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for recipient in recipients {
        let key = splitting.key(&recipient.address);
        let place = *places.entry(key.clone()).or_insert_with(|| {
            batches.push((key, Vec::new()));
            batches.len() - 1
        });
        if let Some((_, batch)) = batches.get_mut(place) {
            batch.push(recipient);
        }
    }
    batches
}

struct AcceptedLine {
    from: String,
    message_id: Option<String>,
    recipients: usize,
    size: u64,
}

impl AcceptedLine {
    fn of(accepted: &Accepted) -> AcceptedLine {
        AcceptedLine {
            from: accepted.envelope.from.to_string(),
            message_id: accepted.envelope.message_id.clone(),
            recipients: accepted.recipients(),
            size: accepted.envelope.size,
        }
    }

    fn log(&self, log: &slog::Logger, id: EnvelopeId) {
        info!(log, "accepted"; "id" => %id, "from" => &self.from, "message_id" => &self.message_id,
            "recipients" => self.recipients, "size" => self.size);
    }
}

impl Handler<Decide> for QueueActor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, message: Decide, ctx: &mut Context<Self>) -> Self::Result {
        let Decide { id, keep, arrived } = message;
        let ticket = self.deps.spool.decide(id, keep);
        let (me, log) = (ctx.address(), self.deps.log.clone());
        Box::pin(async move {
            match ticket.await {
                Ok(decided) => {
                    if decided && keep {
                        me.do_send(Decided { arrived });
                    } else if decided {
                        info!(log, "withdrawn"; "id" => %id);
                    }
                    decided
                }
                Err(error) => {
                    warn!(log, "decision could not be stored"; "id" => %id, "cause" => %error);
                    false
                }
            }
        })
    }
}

/// Decide -> Queue: a message has come into the schedule, at the moment it arrived.
struct Decided {
    arrived: Timestamp,
}

impl actix::Message for Decided {
    type Result = ();
}

impl Handler<Decided> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Decided, ctx: &mut Context<Self>) {
        self.state.counters.accepted += 1;
        let now = self.deps.clock.now();
        self.state.agenda.read_again(message.arrived, now.max(message.arrived));
        self.pump(ctx);
    }
}

/// Local faults are temporary for the client, never a 5yz.
fn refused(error: &SpoolError) -> Refusal {
    match error {
        // RFC 5321 §4.2.2: 452, insufficient system storage.
        SpoolError::Full => refusal(452, Enhanced(4, 3, 1), "insufficient system storage"),
        SpoolError::NotFound
        | SpoolError::Damaged(_)
        | SpoolError::Locked(_)
        | SpoolError::Broken(_)
        | SpoolError::Io(_) => {
            refusal(451, Enhanced(4, 3, 0), "local storage error, try again later")
        }
    }
}

fn refusal(code: u16, status: Enhanced, text: &str) -> Refusal {
    Refusal { code, status, text: text.to_string() }
}

/// Accept -> Queue: a message is on disk, its batches may fly.
pub(super) struct Stored {
    id: EnvelopeId,
    due: Timestamp,
    destinations: Vec<DestinationKey>,
}

impl actix::Message for Stored {
    type Result = ();
}

impl Handler<Stored> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Stored, ctx: &mut Context<Self>) {
        self.state.counters.accepted += 1;
        self.stored(message.id, message.due, message.destinations);
        self.pump(ctx);
    }
}

impl QueueActor {
    /// What is on disk goes in line; what the schedule has read already is known to it.
    pub(super) fn stored(
        &mut self,
        id: EnvelopeId,
        due: Timestamp,
        destinations: Vec<DestinationKey>,
    ) {
        for (destination, index) in destinations.into_iter().zip(0u32..) {
            self.schedule(BatchId { envelope: id, index }, due, destination);
        }
    }
}
