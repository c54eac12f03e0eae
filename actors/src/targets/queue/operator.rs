//! What the operator asks of a queue. Looking changes nothing.

use std::sync::Arc;

use actix::{Addr, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture};

use posthaste_edge::spool::{Spool, SpoolError, Stored};
use posthaste_mail::admin::answer::{
    Affected, BatchLine, DeliveryLine, MessageView, QueueLine, RecipientLine,
};
use posthaste_mail::admin::request::Filter;
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::{BatchId, BatchRecord, Standing};
use posthaste_mail::time::Timestamp;

use crate::messages::admin::{ListBatches, Page, QueueView, RetryNow, ShowMessage, ShowQueue};
use crate::targets::queue::QueueActor;

/// Envelopes looked at for one page.
const PAGE: usize = 200;

impl Handler<ShowQueue> for QueueActor {
    type Result = MessageResult<ShowQueue>;

    fn handle(&mut self, _: ShowQueue, _: &mut Context<Self>) -> Self::Result {
        let now = self.deps.clock.now();
        let running: Vec<DeliveryLine> = self
            .state
            .flights
            .iter()
            .map(|(batch, flight)| DeliveryLine {
                queue: self.deps.name.clone(),
                id: batch.envelope,
                destination: flight.destination.to_string(),
                recipients: flight.recipients as u64,
                attempt: flight.attempt,
                phase: if flight.patient { "waiting" } else { "delivering" }.to_string(),
                seconds: now.since(flight.since).as_secs(),
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
        };
        MessageResult(QueueView { line, running })
    }
}

impl Handler<ListBatches> for QueueActor {
    type Result = ResponseFuture<Result<Page, String>>;

    fn handle(&mut self, message: ListBatches, _: &mut Context<Self>) -> Self::Result {
        let (spool, name) = (Arc::clone(&self.deps.spool), self.deps.name.clone());
        let now = self.deps.clock.now();
        let page = self.deps.runtime.spawn_blocking(move || {
            page(&*spool, &message.filter, message.after, now).map(|found| Page {
                lines: found.lines.iter().map(|f| line(&name, f)).collect(),
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
        let now = self.deps.clock.now();
        let view = self.deps.runtime.spawn_blocking(move || {
            Ok(spool.load(message.id)?.map(|stored| view(&name, stored, now)))
        });
        Box::pin(async move {
            view.await.map_err(|e| e.to_string())?.map_err(|e: SpoolError| e.to_string())
        })
    }
}

fn view(queue: &str, stored: Stored, now: Timestamp) -> MessageView {
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
        batches: found.iter().map(|f| line(queue, f)).collect(),
        envelope: stored.envelope.envelope,
    }
}

impl Handler<RetryNow> for QueueActor {
    type Result = ResponseFuture<Result<Affected, String>>;

    fn handle(&mut self, message: RetryNow, ctx: &mut Context<Self>) -> Self::Result {
        let (spool, clock) = (Arc::clone(&self.deps.spool), self.deps.clock.clone());
        let me = ctx.address();
        let run = self.deps.runtime.spawn(async move {
            let mut affected = Affected::default();
            let mut after = None;
            loop {
                let (reader, filter, now) =
                    (Arc::clone(&spool), message.filter.clone(), clock.now());
                let found =
                    tokio::task::spawn_blocking(move || page(&*reader, &filter, after, now))
                        .await
                        .map_err(|e| e.to_string())?
                        .map_err(|e| e.to_string())?;
                for found in found.lines {
                    affected.matched += 1;
                    if retry(&spool, found.batch, now, &me).await? {
                        affected.changed += 1;
                    }
                }
                match found.next {
                    Some(next) => after = Some(next),
                    None => return Ok(affected),
                }
            }
        });
        Box::pin(async move { run.await.map_err(|e| e.to_string())? })
    }
}

async fn retry(
    spool: &Arc<dyn Spool>,
    batch: BatchId,
    now: Timestamp,
    me: &Addr<QueueActor>,
) -> Result<bool, String> {
    match spool.retry_now(batch, now).await {
        Ok(true) => {
            me.do_send(Wake { batch, due: now });
            Ok(true)
        }
        Ok(false) => {
            // Due already, perhaps: then it is looked for, wherever it is.
            me.do_send(Wake { batch, due: Timestamp::ZERO });
            Ok(false)
        }
        Err(SpoolError::NotFound) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Operator's task -> Queue: this batch is due earlier than the schedule was read.
struct Wake {
    batch: BatchId,
    due: Timestamp,
}

impl Message for Wake {
    type Result = ();
}

impl Handler<Wake> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Wake, ctx: &mut Context<Self>) {
        let Wake { batch, due } = message;
        // The beginning of time stands for "somewhere before now".
        let due = Some(due).filter(|due| *due > Timestamp::ZERO);
        self.state.agenda.wake(batch, due, self.deps.clock.now());
        self.pump(ctx);
    }
}

/// A batch that matched.
struct Found {
    batch: BatchId,
    record: BatchRecord,
    recipients: Vec<String>,
    from: String,
    size: u64,
    arrived: Timestamp,
}

struct FoundPage {
    lines: Vec<Found>,
    next: Option<EnvelopeId>,
}

fn page(
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
    let mut lines = Vec::new();
    for id in ids {
        if let Some(stored) = spool.load(id)? {
            collect(&stored, filter, now, &mut lines);
        }
    }
    Ok(FoundPage { lines, next })
}

fn collect(stored: &Stored, filter: &Filter, now: Timestamp, lines: &mut Vec<Found>) {
    let envelope = &stored.envelope.envelope;
    for (index, record) in &stored.batches {
        let recipients: Vec<&str> = stored
            .recipients
            .iter()
            .filter(|(batch, _, r)| batch == index && r.standing.is_waiting())
            .map(|(_, _, r)| r.recipient.address.as_str())
            .collect();
        if filter.matches(envelope, record, &recipients, now) {
            lines.push(Found {
                batch: BatchId { envelope: envelope.id, index: *index },
                record: record.clone(),
                recipients: recipients.iter().map(ToString::to_string).collect(),
                from: envelope.from.as_str().to_string(),
                size: envelope.size,
                arrived: envelope.arrived,
            });
        }
    }
}

fn line(queue: &str, found: &Found) -> BatchLine {
    let record = &found.record;
    let state = match (&record.hold, &record.lease) {
        (Some(_), _) => "held",
        (None, Some(_)) => "delivering",
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
    }
}
