//! What the operator asks of a queue. Looking changes nothing; what changes something is in `amend`.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Context, Handler, ResponseFuture};

use posthaste_edge::spool::{Spool, SpoolError, Stored};
use posthaste_mail::admin::answer::{
    BatchLine, DeliveryLine, HoldLine, MessageView, QueueLine, RecipientLine,
};
use posthaste_mail::admin::request::Filter;
use posthaste_mail::envelope::{EnvelopeId, Route};
use posthaste_mail::queue::record::{BatchId, BatchRecord, Standing};
use posthaste_mail::time::Timestamp;

use crate::messages::admin::{ListBatches, Page, QueueView, ShowMessage, ShowQueue};
use crate::targets::queue::QueueActor;
use crate::targets::queue::notice::Way;

/// Envelopes looked at for one page.
const PAGE: usize = 200;

impl Handler<ShowQueue> for QueueActor {
    type Result = ResponseFuture<QueueView>;

    fn handle(&mut self, _: ShowQueue, _: &mut Context<Self>) -> Self::Result {
        let now = self.deps.clock.now();
        let running: Vec<DeliveryLine> = self
            .state
            .flights
            .iter()
            .map(|(batch, flight)| {
                let glimpse = flight.whereabouts.look();
                DeliveryLine {
                    queue: self.deps.name.clone(),
                    id: batch.envelope,
                    destination: flight.destination.to_string(),
                    recipients: flight.recipients as u64,
                    attempt: flight.attempt,
                    phase: glimpse.phase.word().to_string(),
                    phase_seconds: glimpse.lasting.as_secs(),
                    mx: glimpse.host,
                    address: glimpse.address.map(|address| address.to_string()),
                    patient: flight.patient,
                    seconds: now.since(flight.since).as_secs(),
                }
            })
            .collect();
        let counts = self.deps.spool.counts();
        let counters = &self.state.counters;
        let line = QueueLine {
            queue: self.deps.name.clone(),
            target: self.deps.target_name.clone(),
            envelopes: counts.envelopes,
            batches: counts.batches,
            bytes: counts.bytes,
            running: running.len() as u64,
            max_parallelism: self.deps.max_parallelism as u64,
            oldest_age_seconds: None,
            accepted: counters.accepted,
            delivered: counters.delivered,
            failed: counters.failed,
            deferred: counters.deferred,
            unknown: counters.unknown,
            untold: counters.untold,
        };
        let spool = Arc::clone(&self.deps.spool);
        let read = self.deps.runtime.spawn_blocking(move || {
            // Ids begin with their time, so the first one is the oldest.
            let first = spool.envelopes(None, 1).ok().and_then(|ids| ids.first().copied());
            (first.map(|id| now.since(id.made()).as_secs()), spool.wrong())
        });
        Box::pin(async move {
            let (oldest_age_seconds, wrong) = read.await.unwrap_or_default();
            QueueView { line: QueueLine { oldest_age_seconds, ..line }, running, wrong }
        })
    }
}

impl Handler<ListBatches> for QueueActor {
    type Result = ResponseFuture<Result<Page, String>>;

    fn handle(&mut self, message: ListBatches, _: &mut Context<Self>) -> Self::Result {
        let (spool, name) = (Arc::clone(&self.deps.spool), self.deps.name.clone());
        let exits = Arc::clone(&self.deps.exits);
        let now = self.deps.clock.now();
        let page = self.deps.runtime.spawn_blocking(move || {
            page(&*spool, &message.filter, message.after, now).map(|found| Page {
                lines: found.lines.iter().map(|f| line(&name, &exits, f)).collect(),
                next: found.next,
            })
        });
        Box::pin(async move {
            page.await.map_err(|e| e.to_string())?.map_err(|e: SpoolError| e.to_string())
        })
    }
}

impl Handler<ShowMessage> for QueueActor {
    type Result = ResponseFuture<Result<Option<MessageView>, String>>;

    fn handle(&mut self, message: ShowMessage, _: &mut Context<Self>) -> Self::Result {
        let (spool, name) = (Arc::clone(&self.deps.spool), self.deps.name.clone());
        let exits = Arc::clone(&self.deps.exits);
        let now = self.deps.clock.now();
        let view = self.deps.runtime.spawn_blocking(move || {
            Ok(spool.load(message.id)?.map(|stored| view(&name, &exits, stored, now)))
        });
        Box::pin(async move {
            view.await.map_err(|e| e.to_string())?.map_err(|e: SpoolError| e.to_string())
        })
    }
}

fn view(queue: &str, exits: &[Way], stored: Stored, now: Timestamp) -> MessageView {
    let mut found = Vec::new();
    collect(&stored, &Filter::default(), now, &mut found);
    let recipients = stored.recipients.iter().map(|(batch, _, record)| {
        let (standing, reply) = match &record.standing {
            Standing::Waiting => ("waiting", None),
            Standing::Delivered { receipt, .. } => {
                ("delivered", Some(format!("{} {}", receipt.code, receipt.text)))
            }
            Standing::Failed { failure, .. } => ("failed", Some(failure.to_string())),
            Standing::Dropped { .. } => ("dropped", None),
        };
        RecipientLine {
            address: record.recipient.address.to_string(),
            batch: *batch,
            standing: standing.to_string(),
            reply,
            last_failure: record.last_failure.clone(),
        }
    });
    MessageView {
        queue: queue.to_string(),
        recipients: recipients.collect(),
        batches: found.iter().map(|f| line(queue, exits, f)).collect(),
        envelope: stored.envelope.envelope,
    }
}

/// A batch that matched.
pub(super) struct Found {
    pub batch: BatchId,
    pub record: BatchRecord,
    pub route: Route,
    pub recipients: Vec<String>,
    from: String,
    size: u64,
    arrived: Timestamp,
}

pub(super) struct FoundPage {
    pub lines: Vec<Found>,
    pub next: Option<EnvelopeId>,
}

pub(super) fn page(
    spool: &dyn Spool,
    filter: &Filter,
    after: Option<EnvelopeId>,
    now: Timestamp,
) -> Result<FoundPage, SpoolError> {
    // Ids are looked up, everything else is walked through.
    let (ids, more) = if filter.id.is_empty() {
        let ids = spool.envelopes(after, PAGE)?;
        let more = ids.len() == PAGE;
        (ids, more)
    } else {
        (filter.id.clone(), false)
    };
    let next = ids.last().copied().filter(|_| more);
    // They are found by their ids: a long list need not be searched for each of them.
    let filter = &filter.without_ids();
    let mut lines = Vec::new();
    for id in ids {
        match spool.load(id) {
            Ok(Some(stored)) => collect(&stored, filter, now, &mut lines),
            // It came to its end meanwhile; or its record is damaged, which `status` says, and keeps nobody else out.
            Ok(None) | Err(SpoolError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(FoundPage { lines, next })
}

fn collect(stored: &Stored, filter: &Filter, now: Timestamp, lines: &mut Vec<Found>) {
    let envelope = &stored.envelope.envelope;
    let mut waiting: HashMap<u32, Vec<&str>> = HashMap::new();
    for (batch, _, record) in stored.recipients.iter().filter(|(_, _, r)| r.standing.is_waiting()) {
        waiting.entry(*batch).or_default().push(record.recipient.address.as_str());
    }
    for (index, record) in &stored.batches {
        let recipients = waiting.remove(index).unwrap_or_default();
        if filter.matches(envelope, record, &recipients, now) {
            lines.push(Found {
                batch: BatchId { envelope: envelope.id, index: *index },
                record: record.clone(),
                route: envelope.route.clone(),
                recipients: recipients.iter().map(ToString::to_string).collect(),
                from: envelope.from.as_str().to_string(),
                size: envelope.size,
                arrived: envelope.arrived,
            });
        }
    }
}

fn line(queue: &str, exits: &[Way], found: &Found) -> BatchLine {
    let record = &found.record;
    let missing = |target: &String| exits.iter().all(|way| way.name != *target);
    let state = match (&record.hold, &record.lease) {
        // Marked, it is held when the attempt ends.
        (_, Some(_)) => "delivering",
        (Some(_), None) => "held",
        (None, None) => "waiting",
    };
    BatchLine {
        queue: queue.to_string(),
        id: found.batch.envelope,
        from: found.from.clone(),
        destination: record.destination.to_string(),
        recipients: found.recipients.clone(),
        size: found.size,
        arrived: found.arrived.rfc3339(),
        attempts: record.attempts,
        state: state.to_string(),
        due: record.due.rfc3339(),
        last_failure: record.last_failure.as_ref().map(ToString::to_string),
        reason: record.last_failure.as_ref().map(|failure| failure.cause.word().to_string()),
        hold: record.hold.as_ref().map(|hold| HoldLine {
            reason: hold.reason.clone(),
            by: hold.by.clone(),
            since: hold.since.rfc3339(),
        }),
        target_missing: record.rerouted.as_ref().is_some_and(missing),
        rerouted: record.rerouted.clone(),
    }
}
