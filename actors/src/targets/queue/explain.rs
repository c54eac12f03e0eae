//! Why a message, or all mail for a destination, does not move: what memory, disk and slots say together.

use std::sync::Arc;

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};

use posthaste_edge::spool::{SpoolError, Stored};
use posthaste_mail::admin::answer::{Explanation, SiteLine};
use posthaste_mail::envelope::Route;
use posthaste_mail::queue::reason::Reason;
use posthaste_mail::queue::record::{BatchId, BatchRecord};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

use crate::messages::admin::{ExplainDestination, ExplainMessage};
use crate::targets::queue::QueueActor;
use crate::targets::queue::flight::route_of;

impl Handler<ExplainMessage> for QueueActor {
    type Result = ResponseActFuture<Self, Result<Option<Vec<Explanation>>, String>>;

    /// The disk first, then what memory adds: a batch that ends in between is told of as it was.
    fn handle(&mut self, message: ExplainMessage, _: &mut Context<Self>) -> Self::Result {
        let (spool, id) = (Arc::clone(&self.deps.spool), message.id);
        let read = self.deps.runtime.spawn_blocking(move || spool.load(id));
        let read = async move {
            let read = read.await.map_err(|e| e.to_string())?;
            read.map_err(|e: SpoolError| e.to_string())
        };
        Box::pin(
            read.into_actor(self)
                .map(|read, queue, _| Ok(read?.map(|stored| queue.explain_message(&stored)))),
        )
    }
}

impl Handler<ExplainDestination> for QueueActor {
    type Result = Option<Explanation>;

    fn handle(&mut self, message: ExplainDestination, _: &mut Context<Self>) -> Self::Result {
        self.explain_destination(&message.destination)
    }
}

impl QueueActor {
    fn explain_message(&self, stored: &Stored) -> Vec<Explanation> {
        let now = self.deps.clock.now();
        let envelope = &stored.envelope.envelope;
        let explain = |(index, record): &(u32, BatchRecord)| {
            let batch = BatchId { envelope: envelope.id, index: *index };
            let route = route_of(record, envelope);
            let reason = self.reason(batch, record, &route, now);
            let of_batch =
                stored.recipients.iter().filter(|(b, _, r)| b == index && r.standing.is_waiting());
            let recipients = of_batch.map(|(.., r)| r.recipient.address.to_string());
            let which = format!("--id {}", envelope.id);
            Explanation {
                id: Some(envelope.id),
                recipients: recipients.collect(),
                attempts: Some(record.attempts),
                last_failure: record.last_failure.as_ref().map(ToString::to_string),
                ..self.explanation(&reason, &which, &record.destination, now)
            }
        };
        stored.batches.iter().map(explain).collect()
    }

    /// `None`: nothing waits for it here, and nothing is known of it.
    fn explain_destination(&self, key: &DestinationKey) -> Option<Explanation> {
        let now = self.deps.clock.now();
        let (queued, site) = (self.state.agenda.queued(key), self.state.agenda.site(key, now));
        if queued.waiting == 0 && !queued.more && !site.known {
            return None;
        }
        let due = queued.next.is_some_and(|at| at <= now);
        let reason = match self.obstacle(key, &self.deps.target_name, now) {
            // What stands in the way of all comes before what the next one waits for.
            reason @ (Reason::Dead(_) | Reason::Silent | Reason::Suspended { .. }) => reason,
            reason if due => reason,
            _ => match queued.next {
                Some(due) => Reason::Retry { attempts: 0, last: None, due },
                None => match self.oldest_flight(key) {
                    Some((attempt, since)) => Reason::Delivering { attempt, since },
                    None => Reason::Turn,
                },
            },
        };
        Some(self.explanation(&reason, &format!("--domain {key}"), key, now))
    }

    fn oldest_flight(&self, key: &DestinationKey) -> Option<(u32, Timestamp)> {
        let flights = self.state.flights.values().filter(|flight| flight.destination == *key);
        flights.min_by_key(|flight| flight.since).map(|flight| (flight.attempt, flight.since))
    }

    fn reason(
        &self,
        batch: BatchId,
        record: &BatchRecord,
        route: &Route,
        now: Timestamp,
    ) -> Reason {
        if let Some(flight) = self.state.flights.get(&batch) {
            let (attempt, since) = (flight.attempt.max(1), flight.since);
            return match flight.patient {
                true => Reason::Awaiting { attempt, since },
                false => Reason::Delivering { attempt, since },
            };
        }
        let itself = self.state.agenda.waits_for(batch);
        if record.lease.is_some() || itself == Some(Reason::Settling) {
            return Reason::Settling;
        }
        if record.is_undecided() {
            return Reason::Undecided;
        }
        if let Some(hold) = &record.hold {
            return Reason::Held(hold.clone());
        }
        let target = match route {
            Route::Target => &self.deps.target_name,
            Route::Bounce { target } | Route::Rerouted { target } => target,
        };
        if *route != Route::Target && self.deps.exits.iter().all(|way| way.name != *target) {
            return Reason::TargetMissing { target: target.clone() };
        }
        if record.due > now {
            let last = record.last_failure.clone();
            let last = last.map(|why| (record.last_attempt.unwrap_or(record.arrived), why));
            return Reason::Retry { attempts: record.attempts, last, due: record.due };
        }
        itself.unwrap_or_else(|| self.obstacle(&record.destination, target, now))
    }

    /// What keeps the first due batch of a destination waiting.
    fn obstacle(&self, key: &DestinationKey, target: &str, now: Timestamp) -> Reason {
        if self.state.draining {
            return Reason::Draining;
        }
        for target in [target, &self.deps.target_name] {
            if self.deps.is_suspended(target) {
                return Reason::Suspended { target: target.to_string() };
            }
        }
        if let Some(reason) = self.state.agenda.obstacle(key, now) {
            return reason;
        }
        match self.deps.slots.available_permits() {
            0 => Reason::NoSlot { slots: self.deps.max_parallelism },
            _ => Reason::Turn,
        }
    }

    fn explanation(
        &self,
        reason: &Reason,
        which: &str,
        key: &DestinationKey,
        now: Timestamp,
    ) -> Explanation {
        let (queued, site) = (self.state.agenda.queued(key), self.state.agenda.site(key, now));
        Explanation {
            queue: self.deps.name.clone(),
            id: None,
            destination: key.to_string(),
            recipients: Vec::new(),
            reason: reason.word().to_string(),
            text: reason.text(),
            since: reason.since().map(Timestamp::rfc3339),
            until: reason.until().map(Timestamp::rfc3339),
            remedy: reason.remedy(which, key),
            attempts: None,
            last_failure: None,
            site: SiteLine {
                running: u64::from(site.busy),
                window: u64::from(site.site.window()),
                dead_until: site.site.death(site.rules, now).map(|d| d.until.rfc3339()),
                waiting: queued.waiting as u64,
                more_on_disk: queued.more,
                next_due: queued.next.map(Timestamp::rfc3339),
            },
        }
    }
}
