//! The end of an attempt, and what follows for the batch.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{AsyncContext, Context, Handler};
use slog::{info, warn};

use posthaste_edge::clock::dice;
use posthaste_edge::spool::{Spool, SpoolError};
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::admin::answer::Event;
use posthaste_mail::bounce::news::may_come;
use posthaste_mail::dice::Dice;
use posthaste_mail::envelope::{Envelope, Ret};
use posthaste_mail::header::Header;
use posthaste_mail::outcome::{Cause, Failure, Outcome};
use posthaste_mail::pipeline::Refusal;
use posthaste_mail::queue::lease::Lease;
use posthaste_mail::queue::ledger::{End, Ended, Report, Settlement};
use posthaste_mail::queue::record::{BatchId, BatchRecord, EnvelopeRecord, RecipientRecord};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

use crate::messages::delivery::{Finished, Journal, Settled, entries};
use crate::targets::queue::flight::interrupted;
use crate::targets::queue::notice::{Made, Way, Writer, told};
use crate::targets::queue::{Deps, QueueActor};
use crate::task::caught;

impl Handler<Finished> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Finished, ctx: &mut Context<Self>) {
        let Finished { lease, outcomes, fault, last } = message;
        self.settle(Report { lease, outcomes, fault }, last, 0, ctx);
        self.pump(ctx);
    }
}

impl QueueActor {
    /// The lease of a process that is gone, or of a task that never came back.
    pub(super) fn end_abandoned(&mut self, lease: Lease, ctx: &mut Context<Self>) {
        let fault = Some(interrupted(&lease, self.deps.clock.now()));
        self.settle(Report { lease, outcomes: Vec::new(), fault }, None, 0, ctx);
    }

    /// `last`: outcomes in no journal, of which nobody was told.
    fn settle(
        &mut self,
        report: Report,
        last: Option<Settled>,
        tries: u32,
        ctx: &mut Context<Self>,
    ) {
        let batch = report.lease.batch;
        let flown = self.state.flights.get(&batch).map(|flight| flight.recipients);
        self.landed(&report);
        let mut deps = self.deps.clone();
        if tries >= TRIES_WITH_NOTICE && deps.bounce.is_some() {
            // The end of a batch matters more than the word of it.
            warn!(self.deps.log, "settled without notification"; "batch" => %batch);
            deps.bounce = None;
        }
        let again = report.clone();
        let made = Arc::new(Mutex::new(Made::default()));
        let (me, stored) = (ctx.address(), Arc::clone(&made));
        let journal = Journal::new(Arc::clone(&deps.spool), batch);
        self.deps.runtime.spawn(async move {
            let end = caught(write(deps, report, flown, made)).await;
            let end = end.unwrap_or_else(|panic| Err(Unsettled::Panicked(panic)));
            let made = std::mem::take(&mut *stored.lock().unwrap_or_else(PoisonError::into_inner));
            let in_the_books = match (&end, &last) {
                (Ok(_), _) => true,
                // It takes another try: until then the journal has what is known.
                (Err(_), Some(_)) => journal.write(entries(&again.outcomes)).await.is_ok(),
                (Err(_), None) => false,
            };
            me.do_send(SettleEnded { batch, end, in_the_books, made, report: again, last, tries });
        });
    }
}

/// An attempt that is in the books.
pub(super) struct Written {
    pub settlement: Settlement,
    /// The message has a sender, who can be told.
    pub has_sender: bool,
}

/// Why an attempt could not be brought into the books.
#[derive(Debug)]
pub(super) enum Unsettled {
    Spool(SpoolError),
    /// The `bounce` pipeline cannot say now where the notification goes.
    NoWay(String),
    Panicked(String),
}

impl From<SpoolError> for Unsettled {
    fn from(error: SpoolError) -> Unsettled {
        Unsettled::Spool(error)
    }
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsettled::Spool(error) => error.fmt(f),
            Unsettled::NoWay(why) => write!(f, "the bounce pipeline does not answer: {why}"),
            Unsettled::Panicked(what) => write!(f, "panic: {what}"),
        }
    }
}

/// Brings the attempt into the books, and with it the notifications of what there is to tell. `flown`: how many recipients it was for.
async fn write(
    deps: Deps,
    report: Report,
    flown: Option<usize>,
    made: Arc<Mutex<Made>>,
) -> Result<Written, Unsettled> {
    let now = deps.clock.now();
    let mut dice = dice();
    let seed = dice.next_u64();
    // Where no notification is made, none is taken for made.
    let silent = Plan { delay_warning: None, ..deps.plan.clone() };
    let all_passed_on = report.fault.is_none()
        && flown == Some(report.outcomes.len())
        && report.outcomes.iter().all(|(_, outcome)| is_passed_on(outcome));
    if all_passed_on {
        let settlement = deps.spool.settle(report, silent, now, seed).await?;
        return Ok(Written { settlement, has_sender: true });
    }
    let (books, plan) = (report.clone(), deps.plan.clone());
    let worth = move |envelope: &Envelope, record: &BatchRecord, people: &People| {
        may_come(envelope, record, people, &books, &plan, now)
    };
    let prospect = look(&deps, report.lease.batch, worth).await?;
    let has_sender = prospect.has_sender;
    let settlement = match writer(&deps, prospect, now, dice, &made)? {
        Some(writer) => {
            deps.spool.settle_with(report, deps.plan, now, seed, writer.notices()).await?
        }
        None => deps.spool.settle(report, silent, now, seed).await?,
    };
    Ok(Written { settlement, has_sender })
}

/// Who writes the notification; `None`: there is none to write. An answer of the pipeline that may be another later is an error.
pub(super) fn writer(
    deps: &Deps,
    prospect: Prospect,
    now: Timestamp,
    dice: Dice,
    made: &Arc<Mutex<Made>>,
) -> Result<Option<Writer>, Unsettled> {
    let (Some(ways), Some(Material { original, whole, routed })) =
        (&deps.bounce, prospect.material)
    else {
        return Ok(None);
    };
    if let Err(refusal) = routed.as_ref()
        && !refusal.is_permanent()
    {
        return Err(Unsettled::NoWay(told(refusal)));
    }
    let (ways, made) = (Arc::clone(ways), Arc::clone(made));
    Ok(Some(Writer { ways, routed, original, whole, now, dice, made }))
}

/// The next server reports, if anybody is to be told.
fn is_passed_on(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Delivered(receipt) => receipt.dsn_passed_on,
        Outcome::Deferred(_) | Outcome::Failed(_) | Outcome::Postponed(_) | Outcome::Unknown(_) => {
            false
        }
    }
}

/// What is known before the attempt is settled.
pub(super) struct Prospect {
    pub has_sender: bool,
    /// Only when a notification may come of it.
    material: Option<Material>,
}

/// What a notification needs besides the settlement.
struct Material {
    /// The header of the message, or all of it.
    original: Vec<u8>,
    whole: bool,
    routed: Result<Vec<(Way, Mailbox)>, Refusal>,
}

type People = [(u32, RecipientRecord)];

/// Looks whether there may be something to tell, and gets together what that needs: off the spool's writing thread, and off ours.
pub(super) async fn look(
    deps: &Deps,
    batch: BatchId,
    worth: impl FnOnce(&Envelope, &BatchRecord, &People) -> bool + Send + 'static,
) -> Result<Prospect, Unsettled> {
    let deps = deps.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let stored = match deps.spool.load_batch(batch) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Err(SpoolError::NotFound.into()),
            Err(SpoolError::Damaged(why)) => {
                warn!(deps.log, "record could not be read for a notification"; "batch" => %batch,
                    "cause" => why);
                return Ok(Prospect { has_sender: true, material: None });
            }
            Err(error) => return Err(error.into()),
        };
        let envelope = &stored.envelope.envelope;
        let ReversePath::Mailbox(sender) = &envelope.from else {
            return Ok(Prospect { has_sender: false, material: None });
        };
        let nothing = Ok(Prospect { has_sender: true, material: None });
        let Some(ways) = &deps.bounce else { return nothing };
        if !worth(envelope, &stored.batch, &stored.recipients) {
            return nothing;
        }
        let routed = ways.route(sender);
        // A body that cannot be read costs the sender the copy, not the notification.
        let (original, whole) = original(&*deps.spool, &stored.envelope).unwrap_or_else(|error| {
            warn!(deps.log, "message could not be read for a notification"; "batch" => %batch,
                "cause" => %error);
            (Vec::new(), false)
        });
        Ok(Prospect { has_sender: true, material: Some(Material { original, whole, routed }) })
    });
    looked.await.unwrap_or_else(|error| Err(Unsettled::Panicked(error.to_string())))
}

/// What a notification may return of the message: all of it, or its header.
fn original(spool: &dyn Spool, stored: &EnvelopeRecord) -> Result<(Vec<u8>, bool), SpoolError> {
    let envelope = &stored.envelope;
    let whole = envelope.ret == Some(Ret::Full) && envelope.size <= MOST_RETURNED;
    let body = spool.body(envelope.id, &stored.body)?;
    let most = usize::try_from(MOST_RETURNED).unwrap_or(usize::MAX);
    let content = body.read_at(0, most).map_err(|e| SpoolError::Io(e.to_string()))?;
    if whole {
        return Ok((content, true));
    }
    Ok((Header::of(&content, most).as_bytes().to_vec(), false))
}

/// RET=FULL gives back messages up to this size whole.
const MOST_RETURNED: u64 = 1 << 20;

/// Spool -> Queue: the attempt is in the books.
struct SettleEnded {
    batch: BatchId,
    end: Result<Written, Unsettled>,
    /// The outcomes are durable, as part of the end or in the journal.
    in_the_books: bool,
    /// Notifications that were stored with it.
    made: Made,
    /// For another try, and how many there were.
    report: Report,
    last: Option<Settled>,
    tries: u32,
}

impl actix::Message for SettleEnded {
    type Result = ();
}

impl Handler<SettleEnded> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: SettleEnded, ctx: &mut Context<Self>) {
        let SettleEnded { batch, end, in_the_books, made, report, mut last, tries } = message;
        if in_the_books && let Some(last) = last.take() {
            self.tell(last);
        }
        // One that has to be tried again does not keep the others waiting.
        self.state.ending.remove(&batch);
        self.end_some(ctx);
        let error = match end {
            Ok(written) => {
                // A stale report leaves the batch to whoever holds it.
                let record = written.settlement.batch.as_ref().filter(|r| r.lease.is_none());
                let next = record.map(|r| (r.due, &r.destination));
                self.is_written(&report, next);
                self.settled(batch, &written);
                self.noted(batch, made, tries, &written);
                return self.pump(ctx);
            }
            Err(error) => error,
        };
        match next_try(&error, made.unfinished, tries) {
            Some(tries) => {
                warn!(self.deps.log, "attempt could not be settled, trying again"; "batch" => %batch,
                    "cause" => %error);
                ctx.run_later(SETTLE_AGAIN, move |queue, ctx| {
                    queue.settle(report, last, tries, ctx);
                });
            }
            None => {
                self.is_written(&report, None);
                if let Unsettled::Spool(error) = error
                    && error != SpoolError::NotFound
                {
                    warn!(self.deps.log, "attempt could not be settled"; "batch" => %batch,
                        "cause" => %error);
                    self.broken(&error);
                }
            }
        }
        self.pump(ctx);
    }
}

/// May the settling succeed later, and how many tries count then? A broken spool ends the process.
///
/// Want of space or of a file descriptor passes, if only after hours: it costs nobody a notification. What may be wrong with this one
/// message is counted, so that it comes to an end without.
fn next_try(error: &Unsettled, unfinished: bool, tries: u32) -> Option<u32> {
    let counted = tries.saturating_add(1);
    match error {
        Unsettled::NoWay(_) | Unsettled::Panicked(_) => Some(counted),
        Unsettled::Spool(SpoolError::Damaged(_)) => Some(counted),
        // The spool says so too when making a notification panicked.
        Unsettled::Spool(SpoolError::Io(_)) if unfinished => Some(counted),
        Unsettled::Spool(SpoolError::Full | SpoolError::Io(_)) => Some(tries),
        Unsettled::Spool(SpoolError::NotFound | SpoolError::Locked(_) | SpoolError::Broken(_)) => {
            None
        }
    }
}

const SETTLE_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);
/// After so many failures that count a batch is settled without its notification.
const TRIES_WITH_NOTICE: u32 = 10;

impl QueueActor {
    /// The end of an attempt is in the books, and the batch goes on at `next`; or it will not be brought there any more.
    fn is_written(&mut self, report: &Report, next: Option<(Timestamp, &DestinationKey)>) {
        let batch = report.lease.batch;
        // After a fall its lease may have been read before it was settled.
        let flight = self.state.flights.get(&batch).and_then(|flight| flight.lease.as_ref());
        if flight == Some(&report.lease) {
            self.landed(report);
        }
        self.state.agenda.settled(batch, next, self.deps.clock.now());
    }

    /// What senders were told, or were not.
    pub(super) fn noted(&mut self, batch: BatchId, made: Made, tries: u32, written: &Written) {
        for note in made.notes {
            info!(self.deps.log, "notification made"; "id" => %batch.envelope, "dsn_id" => %note.id,
                "recipient" => note.to, "tells" => note.tells, "way" => note.way);
            self.stored(note.id, note.due, note.destinations);
        }
        if let Some(refusal) = made.refused {
            self.state.counters.untold += 1;
            warn!(self.deps.log, "notification not sent: the bounce pipeline refuses its recipient";
                "id" => %batch.envelope, "refusal" => refusal);
        }
        let failed = |ended: &Ended| matches!(ended.end, End::Failed { .. });
        let given_up = tries >= TRIES_WITH_NOTICE && self.deps.bounce.is_some();
        if given_up && written.has_sender && written.settlement.ended.iter().any(failed) {
            self.state.counters.untold += 1;
        }
    }

    pub(super) fn settled(&mut self, batch: BatchId, written: &Written) {
        let settlement = &written.settlement;
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
                    if !written.has_sender {
                        // RFC 5321 §4.5.5: a notification that fails is answered by nothing. This line is its end.
                        self.state.counters.untold += 1;
                        warn!(self.deps.log, "nobody is told of a failure: the sender is null";
                            "id" => %batch.envelope, "recipient" => &recipient,
                            "failure" => %failure);
                    }
                    (word, failure.to_string())
                }
                End::Dropped => {
                    info!(self.deps.log, "recipient dropped"; "id" => %batch.envelope,
                        "recipient" => &recipient);
                    ("dropped", String::new())
                }
            };
            let event = Event::Ended { recipient, end: end.to_string(), text };
            trace.note(name, batch.envelope, event);
        }
        let unknown = |(_, failure): &&(u32, Failure)| failure.cause == Cause::UnknownAfterDot;
        self.state.counters.unknown += settlement.waiting.iter().filter(unknown).count() as u64;
        match &settlement.batch {
            Some(BatchRecord { hold: Some(hold), destination, attempts, .. }) => {
                self.state.counters.deferred += 1;
                info!(self.deps.log, "held"; "id" => %batch.envelope,
                    "destination" => %destination, "attempts" => attempts, "by" => &hold.by,
                    "why" => &hold.reason, "recipients" => settlement.waiting.len());
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_nobody_a_notification() {
        let mut tries = 0;
        for _ in 0..10_000 {
            tries = next_try(&SpoolError::Full.into(), false, tries).unwrap();
        }
        let io = Unsettled::Spool(SpoolError::Io("too many open files".into()));
        tries = next_try(&io, false, tries).unwrap();
        assert!(tries < TRIES_WITH_NOTICE);
    }

    #[test]
    fn what_is_wrong_with_one_message_comes_to_an_end() {
        let spool = |error: SpoolError| Unsettled::Spool(error);
        for (error, unfinished) in [
            (spool(SpoolError::Damaged("x".into())), false),
            (spool(SpoolError::Io("making a notification panicked".into())), true),
            (Unsettled::Panicked("x".into()), false),
            (Unsettled::NoWay("451 4.3.0 x".into()), false),
        ] {
            assert_eq!(next_try(&error, unfinished, 3), Some(4), "{error}");
        }
        assert_eq!(next_try(&spool(SpoolError::NotFound), false, 0), None);
        assert_eq!(next_try(&spool(SpoolError::Broken("x".into())), false, 0), None);
    }
}
