//! What both spools must do, run against each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::admin::request::Filter;
use posthaste_mail::dice::Dice;
use posthaste_mail::envelope::{Envelope, EnvelopeId, MessageFlags, Origin, Recipient, Route};
use posthaste_mail::outcome::{Cause, Failure, Outcome, Reach, Receipt, Stage};
use posthaste_mail::queue::amendment::{Amended, Amendment, Kept, Order, Reroute};
use posthaste_mail::queue::lease::{Boot, Lease};
use posthaste_mail::queue::ledger::{End, Finish, NotLeasable, Report, Terms};
use posthaste_mail::queue::record::{Accepted, BatchId, JournalEntry, Standing};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::route::destination::{DestinationKey, Splitting};
use posthaste_mail::time::Timestamp;

use super::disk::{DiskSpool, Options};
use super::memory::MemorySpool;
use super::{Counts, Leased, Notices, Spool, SpoolError, Taken, Ticket};
use crate::body::Body;

/// A directory of one test, removed with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("posthaste-edge-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

pub fn boot(number: u64) -> Boot {
    Boot { node: "mx".into(), number }
}

pub fn id(seed: u64) -> EnvelopeId {
    EnvelopeId::new(NOW.plus(Duration::from_millis(seed)), &mut Dice::new(seed))
}

pub fn batch(seed: u64, index: u32) -> BatchId {
    BatchId { envelope: id(seed), index }
}

/// A message whose batches have that many recipients each.
pub fn message(seed: u64, batches: &[u32]) -> Accepted {
    let envelope = Envelope {
        id: id(seed),
        from: ReversePath::Mailbox(Mailbox::parse("sender@example.org").unwrap()),
        flags: MessageFlags::default(),
        ret: None,
        envid: None,
        origin: Origin::default(),
        arrived: NOW,
        size: 0,
        message_id: None,
        route: Route::Target,
    };
    let recipient = |b, i| Mailbox::parse(&format!("r{i}@d{b}.example")).unwrap();
    let batches = batches.iter().zip(0..).map(|(count, b)| {
        let people = (0..*count).map(|i| Recipient::new(recipient(b, i))).collect();
        (DestinationKey::of_host(&recipient(b, 0)), people)
    });
    Accepted { envelope, batches: batches.collect(), undecided: false }
}

pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        content.extend_from_slice(&dice.next_u64().to_le_bytes());
    }
    content.truncate(length);
    content
}

pub fn body(seed: u64) -> Body {
    Body::memory(content(seed, 300 + seed as usize % 100))
}

pub fn terms(number: u64, now: Timestamp) -> Terms {
    Terms { boot: boot(number), serial: 1, now, span: Duration::from_secs(600) }
}

pub fn ok() -> Outcome {
    Outcome::Delivered(Receipt {
        code: 250,
        status: None,
        text: "ok".into(),
        remote: None,
        dsn_passed_on: false,
        reach: Reach::Server,
    })
}

pub fn soft() -> Outcome {
    Failure::refused(Stage::Rcpt, 450, None, "later").outcome()
}

pub fn hard() -> Outcome {
    Failure::refused(Stage::Rcpt, 550, None, "never").outcome()
}

pub async fn accept(spool: &dyn Spool, seed: u64, batches: &[u32]) {
    spool.accept(message(seed, batches), body(seed)).await.unwrap();
}

pub async fn take(spool: &dyn Spool, batch: BatchId, now: Timestamp) -> Taken {
    spool.take(batch, terms(1, now), Plan::default(), 1).await.unwrap().unwrap()
}

pub fn report(taken: &Taken, outcomes: Vec<(u32, Outcome)>) -> Report {
    Report { lease: taken.lease.clone(), outcomes, fault: None }
}

pub async fn deliver(spool: &dyn Spool, batch: BatchId, now: Timestamp) {
    let taken = take(spool, batch, now).await;
    let outcomes = taken.recipients.iter().map(|(i, _)| (*i, ok())).collect();
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), now, 1).await.unwrap();
    assert_eq!(settled.batch, None);
}

/// An order about everything.
pub fn order<T>(what: T) -> Arc<Order<T>> {
    Arc::new(Order { what, which: Filter::default() })
}

pub fn retry(spool: &dyn Spool, batch: BatchId, now: Timestamp) -> Ticket<Amended> {
    spool.amend(batch, order(Amendment::Retry), now)
}

pub fn hold() -> Arc<Order<Amendment>> {
    order(Amendment::Hold { reason: "why".into(), by: "uid 0".into() })
}

pub fn reroute(target: &str, splitting: Splitting) -> Arc<Order<Amendment>> {
    let (target, own) = (target.to_string(), "mx".to_string());
    order(Amendment::Reroute(Reroute { target, splitting, own }))
}

fn no_notices() -> Notices {
    Box::new(|_| panic!("nobody is to be told"))
}

/// Everything the queue would know of an envelope after a restart.
pub fn content_of(spool: &dyn Spool, seed: u64) -> Vec<u8> {
    let place = spool.load(id(seed)).unwrap().unwrap().envelope.body;
    spool.body(id(seed), &place).unwrap().read_at(0, usize::MAX).unwrap()
}

pub fn leases(spool: &dyn Spool) -> Vec<Lease> {
    spool.leases().unwrap().into_iter().map(|leased| leased.lease).collect()
}

/// The schedule and the lease list agree with the batches, and the counts with both.
pub fn assert_consistent(spool: &dyn Spool) {
    let (mut batches, mut leases, mut count) = (BTreeMap::new(), BTreeSet::new(), 0);
    for envelope in spool.envelopes(None, usize::MAX).unwrap() {
        let stored = spool.load(envelope).unwrap().unwrap();
        assert!(!stored.batches.is_empty(), "{envelope} waits for nothing");
        for (index, record) in stored.batches {
            let id = BatchId { envelope, index };
            count += 1;
            if record.hold.is_none() {
                batches.insert((record.due, id), record.destination);
            }
            leases.extend(record.lease.map(|lease| lease.batch));
        }
    }
    let due = spool.due(None, Timestamp::from_micros(u64::MAX), usize::MAX).unwrap();
    let due: BTreeMap<_, _> = due.into_iter().map(|d| ((d.at, d.batch), d.destination)).collect();
    assert_eq!(due, batches);
    let listed: BTreeSet<_> = spool.leases().unwrap().into_iter().map(|l| l.lease.batch).collect();
    assert_eq!(listed, leases);
    assert_eq!(spool.counts().batches, count);
}

/// Runs each behaviour on both spools.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(&super::MemorySpool::new()).await })*
        }
        mod disk {
            $(#[tokio::test] async fn $name() {
                let scratch = super::Scratch::new();
                super::$name(&super::open(&scratch)).await
            })*
        }
    };
}

/// A process that another test begins holds our lock too, from its fork until it is another program: that is waited for.
#[allow(clippy::disallowed_methods, reason = "nothing tells when the other process has begun")]
pub fn open(scratch: &Scratch) -> DiskSpool {
    let attempt = || DiskSpool::open(scratch.path(), options(), boot(1));
    let mut opened = attempt();
    for _ in 0..1000 {
        if !matches!(opened, Err(SpoolError::Locked(_))) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        opened = attempt();
    }
    opened.unwrap()
}

/// Small segments and many checkpoints, so that tests see them, and no opinion on the disk the tests run on.
pub fn options() -> Options {
    let (segment_size, checkpoint) = (64 << 10, 16 << 10);
    Options { segment_size, checkpoint, reserve: Some(0), ..Options::default() }
}

on_both! {
    accepted_is_stored_and_scheduled
    lease_before_packet
    a_lease_of_a_dead_process_must_be_settled_first
    what_was_delivered_is_gone
    a_deferred_recipient_keeps_the_batch
    an_envelope_ends_with_its_last_batch
    the_journal_survives_the_task
    late_failures_are_not_kept
    a_journaled_delivery_is_not_tried_again
    a_late_report_leaves_the_journal_alone
    retry_moves_the_schedule
    a_held_batch_is_off_the_schedule
    a_batch_under_lease_is_held_at_its_end
    an_order_means_the_record_as_it_is
    the_operator_fails_a_batch_and_tells_in_one
    what_is_dropped_is_gone_without_a_word
    a_rerouted_batch_becomes_several_and_one
    rerouting_leaves_what_was_delivered_where_it_is
    an_undecided_message_is_off_the_schedule
    unknown_things_are_not_found
    bad_messages_are_refused_and_spoil_nothing
    failed_and_dsn_together
    a_notification_that_cannot_be_stored_changes_nothing
    the_schedule_comes_in_pages
    envelopes_come_in_order_of_arrival
    large_bodies_read_back
    an_empty_body_reads_back
    no_recipient_lost
    a_message_moves_with_all_that_is_known
    a_batch_is_read_without_the_others
}

async fn accepted_is_stored_and_scheduled(spool: &dyn Spool) {
    accept(spool, 1, &[2, 1]).await;
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert_eq!(stored.envelope.envelope, message(1, &[2, 1]).envelope);
    assert_eq!(stored.batches.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    let people: Vec<_> = stored.recipients.iter().map(|(b, i, _)| (*b, *i)).collect();
    assert_eq!(people, [(0, 0), (0, 1), (1, 0)]);
    assert!(stored.recipients.iter().all(|(_, _, r)| r.standing.is_waiting()));
    let due = spool.due(None, NOW, 10).unwrap();
    assert_eq!(due.iter().map(|d| d.batch).collect::<Vec<_>>(), [batch(1, 0), batch(1, 1)]);
    assert_eq!(due[1].destination.to_string(), "d1.example");
    assert_eq!(content_of(spool, 1), content(1, 301));
    assert_eq!(spool.counts(), Counts { envelopes: 1, batches: 2, bytes: 301 });
    assert_consistent(spool);
}

async fn a_batch_is_read_without_the_others(spool: &dyn Spool) {
    accept(spool, 1, &[2, 3, 1]).await;
    let taken = take(spool, batch(1, 1), NOW).await;
    let outcomes = vec![(0, ok()), (1, soft()), (2, soft())];
    let _ = spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    let whole = spool.load(id(1)).unwrap().unwrap();
    for (index, record) in &whole.batches {
        let found = spool.load_batch(batch(1, *index)).unwrap().unwrap();
        assert_eq!((&found.batch, &found.envelope), (record, &whole.envelope));
        let own = whole.recipients.iter().filter(|(of, _, _)| of == index);
        let own: Vec<_> = own.map(|(_, index, record)| (*index, record.clone())).collect();
        assert_eq!(found.recipients, own);
    }
    deliver(spool, batch(1, 0), NOW).await;
    assert!(spool.load_batch(batch(1, 0)).unwrap().is_none());
    assert!(spool.load_batch(batch(2, 0)).unwrap().is_none());
    // Whose a leased batch is, its lease tells.
    let taken = take(spool, batch(1, 2), NOW).await;
    let leased = Leased { lease: taken.lease, destination: taken.batch.destination };
    assert_eq!(spool.leases().unwrap(), [leased]);
}

async fn lease_before_packet(spool: &dyn Spool) {
    accept(spool, 1, &[2]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    assert_eq!(leases(spool), std::slice::from_ref(&taken.lease));
    assert_eq!(taken.recipients.len(), 2);
    assert_eq!(taken.envelope.envelope.id, id(1));
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert_eq!(stored.batches, [(0, taken.batch.clone())]);
    assert_eq!(taken.batch.attempts, 1);
    // In the schedule at the provisional time, and nowhere else.
    let due = spool.due(None, Timestamp::from_micros(u64::MAX), 10).unwrap();
    assert_eq!(due.iter().map(|d| d.at).collect::<Vec<_>>(), [taken.batch.due]);
    let again = spool.take(batch(1, 0), terms(1, NOW), Plan::default(), 1).await.unwrap();
    assert_eq!(again.unwrap_err(), NotLeasable::Leased);
    assert_consistent(spool);
}

async fn a_lease_of_a_dead_process_must_be_settled_first(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let again = spool.take(batch(1, 0), terms(2, NOW), Plan::default(), 1).await.unwrap();
    assert_eq!(again.unwrap_err(), NotLeasable::Abandoned(taken.lease.clone()));
    let fault = Some(Failure::new(Cause::Interrupted, "the daemon stopped"));
    let report = Report { lease: taken.lease, outcomes: vec![], fault };
    let settled = spool.settle(report, Plan::default(), NOW, 1).await.unwrap();
    assert_eq!(settled.waiting[0].1.cause, Cause::Interrupted);
    assert!(spool.leases().unwrap().is_empty());
    assert_consistent(spool);
}

async fn what_was_delivered_is_gone(spool: &dyn Spool) {
    accept(spool, 1, &[2]).await;
    accept(spool, 2, &[1]).await;
    let place = spool.load(id(1)).unwrap().unwrap().envelope.body;
    let taken = take(spool, batch(1, 0), NOW).await;
    let sent = vec![(0, JournalEntry::DotSent), (1, JournalEntry::DotSent)];
    spool.journal(batch(1, 0), sent).await.unwrap();
    let outcomes = vec![(0, ok()), (1, ok())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    assert_eq!((settled.batch, settled.ended.len()), (None, 2));
    assert!(spool.load(id(1)).unwrap().is_none());
    // The body may be read by who has the place, for as long as others keep the segment.
    assert!(spool.body(id(1), &place).err().is_none_or(|e| e == SpoolError::NotFound));
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(2)]);
    assert_eq!(spool.counts(), Counts { envelopes: 1, batches: 1, bytes: 302 });
    assert_eq!(content_of(spool, 2), content(2, 302));
    // Nobody is left to write for, nothing to settle.
    spool.journal(batch(1, 0), vec![(0, JournalEntry::DotSent)]).await.unwrap();
    let late = spool.settle(report(&taken, vec![]), Plan::default(), NOW, 1).await;
    assert_eq!(late.unwrap_err(), SpoolError::NotFound);
    assert_consistent(spool);
}

async fn a_deferred_recipient_keeps_the_batch(spool: &dyn Spool) {
    accept(spool, 1, &[3]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let outcomes = vec![(0, ok()), (1, soft()), (2, hard())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert_eq!(stored.batches, [(0, settled.batch.unwrap())]);
    let standing = |i: usize| &stored.recipients[i].2.standing;
    assert!(matches!(standing(0), Standing::Delivered { .. }));
    assert!(standing(1).is_waiting() && stored.recipients[1].2.last_failure.is_some());
    assert!(matches!(standing(2), Standing::Failed { .. }));
    let due = stored.batches[0].1.due;
    assert!(due > NOW && spool.due(None, NOW, 10).unwrap().is_empty());
    let again = take(spool, batch(1, 0), due).await;
    assert_eq!(again.recipients.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1]);
    assert_consistent(spool);
}

async fn an_envelope_ends_with_its_last_batch(spool: &dyn Spool) {
    accept(spool, 1, &[1, 2]).await;
    deliver(spool, batch(1, 1), NOW).await;
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert_eq!((stored.batches.len(), stored.recipients.len()), (1, 3));
    assert_eq!(content_of(spool, 1), content(1, 301));
    assert_consistent(spool);
    deliver(spool, batch(1, 0), NOW).await;
    assert!(spool.load(id(1)).unwrap().is_none());
    assert_eq!(spool.counts(), Counts::default());
    assert_consistent(spool);
}

async fn the_journal_survives_the_task(spool: &dyn Spool) {
    accept(spool, 1, &[3]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let dots = (0..3).map(|i| (i, JournalEntry::DotSent)).collect();
    spool.journal(batch(1, 0), dots).await.unwrap();
    spool.journal(batch(1, 0), vec![(0, JournalEntry::Settled(ok()))]).await.unwrap();
    spool.journal(batch(1, 0), vec![(1, JournalEntry::Settled(hard()))]).await.unwrap();
    // The task died before it could report.
    let settled = spool.settle(report(&taken, vec![]), Plan::default(), NOW, 1).await.unwrap();
    assert!(matches!(settled.ended[0].end, End::Delivered(_)));
    assert!(matches!(settled.ended[1].end, End::Failed { .. }));
    assert_eq!(settled.waiting[0].1.cause, Cause::UnknownAfterDot);
    // The journal was used up: the next attempt does not see it.
    let due = settled.batch.unwrap().due;
    let taken = take(spool, batch(1, 0), due).await;
    let outcomes = vec![(2, soft())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), due, 1).await.unwrap();
    assert!(matches!(settled.waiting[0].1.cause, Cause::Refused(_)));
}

async fn late_failures_are_not_kept(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let settled = spool.settle(report(&taken, vec![]), Plan::default(), NOW, 1).await.unwrap();
    spool.journal(batch(1, 0), vec![(0, JournalEntry::Settled(hard()))]).await.unwrap();
    let due = settled.batch.unwrap().due;
    let taken = take(spool, batch(1, 0), due).await;
    let outcomes = vec![(0, ok())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), due, 1).await.unwrap();
    assert!(matches!(settled.ended[0].end, End::Delivered(_)));
}

async fn a_journaled_delivery_is_not_tried_again(spool: &dyn Spool) {
    accept(spool, 1, &[2]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let settled = spool.settle(report(&taken, vec![]), Plan::default(), NOW, 1).await.unwrap();
    let late = vec![(0, JournalEntry::Settled(soft())), (0, JournalEntry::Settled(ok()))];
    spool.journal(batch(1, 0), late).await.unwrap();
    let due = settled.batch.unwrap().due;
    let taken = take(spool, batch(1, 0), due).await;
    assert_eq!(taken.recipients.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1]);
    let outcomes = vec![(1, ok())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), due, 1).await.unwrap();
    assert_eq!((settled.batch, settled.ended.len()), (None, 2));
    assert_eq!(spool.counts(), Counts::default());
}

async fn a_late_report_leaves_the_journal_alone(spool: &dyn Spool) {
    accept(spool, 1, &[2]).await;
    let old = take(spool, batch(1, 0), NOW).await;
    let settled = spool.settle(report(&old, vec![]), Plan::default(), NOW, 1).await.unwrap();
    let due = settled.batch.unwrap().due;
    let current = take(spool, batch(1, 0), due).await;
    spool.journal(batch(1, 0), vec![(1, JournalEntry::DotSent)]).await.unwrap();
    let outcomes = vec![(0, ok()), (1, hard())];
    let settled = spool.settle(report(&old, outcomes), Plan::default(), due, 1).await.unwrap();
    assert_eq!(settled.ended.iter().map(|e| e.index).collect::<Vec<_>>(), [0]);
    assert_eq!(leases(spool), std::slice::from_ref(&current.lease));
    let settled = spool.settle(report(&current, vec![]), Plan::default(), due, 1).await.unwrap();
    assert_eq!(settled.waiting[0].1.cause, Cause::UnknownAfterDot);
    assert_consistent(spool);
}

async fn retry_moves_the_schedule(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    let end = async |now| retry(spool, batch(1, 0), now).await.unwrap().end;
    assert_eq!(end(NOW).await, Err(Kept::AsItWas)); // due already
    let taken = take(spool, batch(1, 0), NOW).await;
    assert_eq!(end(later(1)).await, Err(Kept::Delivering));
    let settled = spool.settle(report(&taken, vec![]), Plan::default(), NOW, 1).await.unwrap();
    assert!(settled.batch.unwrap().due > later(60));
    let retried = retry(spool, batch(1, 0), later(60)).await.unwrap();
    assert_eq!(retried, Amended { end: Ok(()), scheduled: Some(later(60)) });
    let due = spool.due(None, later(60), 10).unwrap();
    assert_eq!(due.iter().map(|d| d.at).collect::<Vec<_>>(), [later(60)]);
    assert_consistent(spool);
}

async fn a_held_batch_is_off_the_schedule(spool: &dyn Spool) {
    accept(spool, 1, &[1, 1]).await;
    let held = spool.amend(batch(1, 0), hold(), later(1)).await.unwrap();
    assert_eq!(held, Amended { end: Ok(()), scheduled: None });
    let due = |until| -> Vec<_> {
        spool.due(None, until, 10).unwrap().iter().map(|d| (d.batch, d.at)).collect()
    };
    assert_eq!(due(later(9)), [(batch(1, 1), NOW)]);
    let taken = spool.take(batch(1, 0), terms(1, later(9)), Plan::default(), 1).await.unwrap();
    assert_eq!(taken.unwrap_err(), NotLeasable::Held);
    assert_eq!(retry(spool, batch(1, 0), later(9)).await.unwrap().end, Err(Kept::AsItWas));
    let record = &spool.load(id(1)).unwrap().unwrap().batches[0].1;
    assert_eq!(record.hold.as_ref().map(|hold| hold.since), Some(later(1)));
    assert_consistent(spool);
    let released = spool.amend(batch(1, 0), order(Amendment::Release), later(5)).await.unwrap();
    assert_eq!(released, Amended { end: Ok(()), scheduled: Some(later(5)) }); // its time is past
    assert_eq!(due(later(9)), [(batch(1, 1), NOW), (batch(1, 0), later(5))]);
    assert_consistent(spool);
}

async fn a_batch_under_lease_is_held_at_its_end(spool: &dyn Spool) {
    accept(spool, 1, &[2]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    assert_eq!(spool.amend(batch(1, 0), hold(), NOW).await.unwrap().end, Ok(()));
    assert_eq!(leases(spool), std::slice::from_ref(&taken.lease)); // it goes on
    assert_consistent(spool);
    let outcomes = vec![(0, ok()), (1, soft())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    assert_eq!(settled.ended.len(), 1);
    let after = settled.batch.unwrap();
    assert!(after.hold.is_some() && after.due > later(60));
    assert_eq!(spool.due(None, Timestamp::from_micros(u64::MAX), 10).unwrap(), []);
    assert_consistent(spool);
    let released = spool.amend(batch(1, 0), order(Amendment::Release), later(5)).await.unwrap();
    assert_eq!(released.scheduled, Some(after.due)); // the time it would have had
}

async fn an_order_means_the_record_as_it_is(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    let tried = Filter { tries: Some(1), ..Filter::default() };
    let held = Filter { held: true, ..Filter::default() };
    let named = Filter { to: Some("r0@d0".into()), id: vec![id(1)], ..Filter::default() };
    for (which, end) in [(tried, Err(Kept::Unmatched)), (named, Ok(()))] {
        let order = Arc::new(Order { which, ..(*hold()).clone() });
        assert_eq!(spool.amend(batch(1, 0), order, NOW).await.unwrap().end, end);
    }
    spool.amend(batch(1, 0), order(Amendment::Release), NOW).await.unwrap();
    // Somebody was quicker: what is no longer held is not dropped as held.
    let drop_held = Arc::new(Order { what: Finish::Drop, which: held });
    let dropped = spool.finish_with(batch(1, 0), Arc::clone(&drop_held), NOW, no_notices()).await;
    assert_eq!(dropped.unwrap_err(), SpoolError::NotFound);
    assert_eq!(spool.counts().batches, 1);
    spool.amend(batch(1, 0), hold(), NOW).await.unwrap();
    assert_eq!(
        spool.finish_with(batch(1, 0), drop_held, NOW, no_notices()).await.unwrap().batch,
        None
    );
    assert_eq!(spool.counts(), Counts::default());
    assert_consistent(spool);
}

async fn the_operator_fails_a_batch_and_tells_in_one(spool: &dyn Spool) {
    accept(spool, 1, &[2, 1]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let refused = spool.finish_with(batch(1, 0), order(Finish::Fail), NOW, no_notices()).await;
    assert_eq!(refused.unwrap().kept(), Some(Kept::Delivering));
    let outcomes = vec![(0, ok()), (1, soft())];
    spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    spool.amend(batch(1, 0), hold(), NOW).await.unwrap(); // a held one as well
    let lost: Notices = Box::new(|_| vec![(message(2, &[]), body(2))]);
    let unwritten = spool.finish_with(batch(1, 0), order(Finish::Fail), NOW, lost).await;
    assert!(matches!(unwritten, Err(SpoolError::Damaged(_))));
    assert!(spool.load(id(1)).unwrap().unwrap().recipients[1].2.standing.is_waiting());
    let notices: Notices = Box::new(|ending| {
        let [ended] = ending.settlement.ended.as_slice() else { panic!() };
        let End::Failed { failure, gave_up: false } = &ended.end else { panic!() };
        assert_eq!((ended.index, failure.cause), (1, Cause::Operator));
        assert!(failure.text.contains("450 4.0.0 later"), "{}", failure.text);
        vec![(message(2, &[1]), body(2))]
    });
    let ended =
        spool.finish_with(batch(1, 0), order(Finish::Fail), later(9), notices).await.unwrap();
    assert_eq!((&ended.batch, ended.last_attempt), (&None, Some(NOW)));
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert_eq!(stored.batches.len(), 1); // the other batch waits
    assert!(matches!(stored.recipients[1].2.standing, Standing::Failed { .. }));
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1), id(2)]);
    assert_consistent(spool);
}

async fn what_is_dropped_is_gone_without_a_word(spool: &dyn Spool) {
    accept(spool, 1, &[2, 1]).await;
    spool.finish_with(batch(1, 0), order(Finish::Drop), later(3), no_notices()).await.unwrap();
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert_eq!(stored.recipients[0].2.standing, Standing::Dropped { at: later(3) });
    assert_eq!(stored.batches.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    assert_consistent(spool);
    spool.finish_with(batch(1, 1), order(Finish::Drop), later(3), no_notices()).await.unwrap();
    assert!(spool.load(id(1)).unwrap().is_none());
    assert_eq!(spool.counts(), Counts::default());
    assert_consistent(spool);
}

async fn a_rerouted_batch_becomes_several_and_one(spool: &dyn Spool) {
    let everybody = |spool: &dyn Spool| -> Vec<(u32, String)> {
        let stored = spool.load(id(1)).unwrap().unwrap();
        stored.recipients.iter().map(|(b, _, r)| (*b, r.recipient.address.to_string())).collect()
    };
    let mut together = message(1, &[1, 2, 1]);
    let people = together.batches.drain(..).flat_map(|(_, people)| people).collect();
    together.batches.push((DestinationKey::Target("mx".into()), people));
    spool.accept(together, body(1)).await.unwrap();
    assert_eq!(everybody(spool).iter().map(|(b, _)| *b).collect::<Vec<_>>(), [0; 4]);
    let away = reroute("other", Splitting::ByHost);
    let amended = spool.amend(batch(1, 0), Arc::clone(&away), later(7)).await.unwrap();
    assert_eq!(amended, Amended { end: Ok(()), scheduled: Some(later(7)) });
    let parts: Vec<_> = everybody(spool);
    assert_eq!(parts.iter().map(|(b, _)| *b).collect::<Vec<_>>(), [0, 1, 1, 2]);
    assert_eq!(parts[3].1, "r0@d2.example");
    let stored = spool.load(id(1)).unwrap().unwrap();
    let keys: Vec<_> = stored.batches.iter().map(|(_, b)| b.destination.to_string()).collect();
    assert_eq!(keys, ["d0.example", "d1.example", "d2.example"]);
    assert!(stored.batches.iter().all(|(_, b)| b.rerouted.as_deref() == Some("other")));
    assert_eq!(spool.due(None, later(7), 10).unwrap().len(), 3);
    assert_eq!(spool.counts().batches, 3);
    assert_consistent(spool);
    assert_eq!(spool.amend(batch(1, 1), away, NOW).await.unwrap().end, Err(Kept::AsItWas));
    // Back to the queue's own target.
    let back = reroute("mx", Splitting::Whole("mx".into()));
    spool.amend(batch(1, 1), back, later(8)).await.unwrap();
    let (_, undone) = &spool.load(id(1)).unwrap().unwrap().batches[1];
    assert_eq!((&undone.rerouted, undone.destination.to_string()), (&None, "&mx".to_string()));
    assert_consistent(spool);
    for index in [0, 1, 2] {
        deliver(spool, batch(1, index), later(9)).await;
    }
    assert_eq!(spool.counts(), Counts::default());
    assert_consistent(spool);
}

async fn rerouting_leaves_what_was_delivered_where_it_is(spool: &dyn Spool) {
    let mut together = message(1, &[1, 1, 1]);
    let people = together.batches.drain(..).flat_map(|(_, people)| people).collect();
    together.batches.push((DestinationKey::Target("mx".into()), people));
    spool.accept(together, body(1)).await.unwrap();
    let taken = take(spool, batch(1, 0), NOW).await;
    let away = reroute("other", Splitting::ByHost);
    assert_eq!(
        spool.amend(batch(1, 0), Arc::clone(&away), NOW).await.unwrap().end,
        Err(Kept::Delivering)
    );
    let outcomes = vec![(0, soft()), (1, ok()), (2, soft())];
    spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    spool.amend(batch(1, 0), away, later(1)).await.unwrap();
    let stored = spool.load(id(1)).unwrap().unwrap();
    let standing = |place: usize| {
        let (batch, index, record) = &stored.recipients[place];
        (*batch, *index, record.standing.is_waiting(), record.last_failure.is_some())
    };
    assert_eq!(standing(0), (0, 0, true, true));
    assert_eq!(standing(1), (0, 1, false, false));
    assert_eq!(standing(2), (1, 0, true, true)); // with what is known of it
    assert!(stored.batches.iter().all(|(_, b)| b.attempts == 1));
    deliver(spool, batch(1, 0), later(2)).await;
    // The number of an ended batch is not given again while its recipients are shown.
    let back = reroute("mx", Splitting::ByHost);
    spool.amend(batch(1, 1), back, later(3)).await.unwrap();
    deliver(spool, batch(1, 1), later(4)).await;
    assert_eq!(spool.counts(), Counts::default());
    assert_consistent(spool);
}

async fn an_undecided_message_is_off_the_schedule(spool: &dyn Spool) {
    for (seed, keep) in [(1, true), (2, false)] {
        let accepted = Accepted { undecided: true, ..message(seed, &[1, 2]) };
        spool.accept(accepted, Body::memory(b"x\r\n".to_vec())).await.unwrap();
        assert_eq!(spool.due(None, later(1), 10).unwrap(), []);
        assert_eq!(spool.undecided().unwrap(), [id(seed)]);
        let taken = spool.take(batch(seed, 0), terms(1, NOW), Plan::default(), 1).await.unwrap();
        assert_eq!(taken.unwrap_err(), NotLeasable::Held);
        for order in [hold(), order(Amendment::Release), order(Amendment::Retry)] {
            let end = spool.amend(batch(seed, 0), order, later(1)).await.unwrap().end;
            assert_eq!(end, Err(Kept::AsItWas)); // none of the operator's yet
        }
        assert!(spool.decide(id(seed), keep).await.unwrap());
        assert!(!spool.decide(id(seed), keep).await.unwrap()); // once
        assert_eq!(spool.undecided().unwrap(), []);
        assert_eq!(spool.due(None, later(1), 10).unwrap().len(), if keep { 2 } else { 0 });
        assert_eq!(spool.load(id(seed)).unwrap().is_some(), keep);
        if keep {
            let taken = take(spool, batch(seed, 0), NOW).await;
            let done = spool.settle(report(&taken, vec![(0, ok())]), Plan::default(), NOW, 1);
            done.await.unwrap();
            let taken = take(spool, batch(seed, 1), NOW).await;
            let outcomes = vec![(0, ok()), (1, ok())];
            spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
        }
        assert_eq!(spool.counts(), Counts::default());
    }
    assert_consistent(spool);
}

async fn unknown_things_are_not_found(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    for unknown in [batch(2, 0), batch(1, 1)] {
        let taken = spool.take(unknown, terms(1, NOW), Plan::default(), 1).await;
        assert_eq!(taken.unwrap_err(), SpoolError::NotFound);
        assert_eq!(retry(spool, unknown, NOW).await.unwrap_err(), SpoolError::NotFound);
        let ended = spool.finish_with(unknown, order(Finish::Drop), NOW, no_notices()).await;
        assert_eq!(ended.unwrap_err(), SpoolError::NotFound);
        spool.journal(unknown, vec![(0, JournalEntry::DotSent)]).await.unwrap();
    }
    assert!(spool.load(id(2)).unwrap().is_none());
    let place = spool.load(id(1)).unwrap().unwrap().envelope.body;
    assert_eq!(spool.body(id(2), &place).unwrap_err(), SpoolError::NotFound);
}

async fn bad_messages_are_refused_and_spoil_nothing(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    let mut large = message(7, &[1]);
    large.envelope.envid = Some("x".repeat(70_000));
    // All in one group.
    let good = spool.accept(message(2, &[1]), body(2));
    let bad = [
        spool.accept(message(1, &[2]), body(9)),
        spool.accept(message(5, &[]), body(5)),
        spool.accept(message(6, &[1, 0]), body(6)),
        spool.accept(large, body(7)),
    ];
    let also_good = spool.accept(message(3, &[1]), body(3));
    good.await.unwrap();
    also_good.await.unwrap();
    for ticket in bad {
        assert!(matches!(ticket.await, Err(SpoolError::Damaged(_))));
    }
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1), id(2), id(3)]);
    assert_eq!(spool.load(id(1)).unwrap().unwrap().recipients.len(), 1);
    for seed in 1..=3 {
        assert_eq!(content_of(spool, seed), content(seed, 300 + seed as usize));
    }
    assert_consistent(spool);
}

async fn failed_and_dsn_together(spool: &dyn Spool) {
    accept(spool, 1, &[2]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let outcomes = vec![(0, ok()), (1, hard())];
    let settled = spool.settle_with(
        report(&taken, outcomes),
        Plan::default(),
        NOW,
        1,
        Box::new(|ending| {
            assert_eq!(ending.envelope.envelope.id, id(1));
            assert_eq!(ending.settlement.ended.len(), 2);
            assert!(matches!(ending.recipients[1].1.standing, Standing::Failed { .. }));
            let mut notice = message(2, &[1]);
            notice.envelope.route = Route::Bounce { target: "out".into() };
            vec![(notice, body(2))]
        }),
    );
    assert_eq!(settled.await.unwrap().batch, None);
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(2)]);
    let route = spool.load(id(2)).unwrap().unwrap().envelope.envelope.route;
    assert_eq!(route, Route::Bounce { target: "out".into() });
    assert_eq!(content_of(spool, 2), content(2, 302));
    assert_eq!(spool.counts(), Counts { envelopes: 1, batches: 1, bytes: 302 });
    assert_consistent(spool);
}

async fn a_notification_that_cannot_be_stored_changes_nothing(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    let taken = take(spool, batch(1, 0), NOW).await;
    let settle = |notice: fn() -> Accepted| {
        let report = report(&taken, vec![(0, hard())]);
        let notices = Box::new(move |_: super::Ending<'_>| vec![(notice(), body(2))]);
        spool.settle_with(report, Plan::default(), NOW, 1, notices)
    };
    assert!(matches!(settle(|| message(2, &[])).await, Err(SpoolError::Damaged(_))));
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert!(stored.recipients[0].2.standing.is_waiting());
    assert_eq!(leases(spool), std::slice::from_ref(&taken.lease));
    assert_consistent(spool);
    settle(|| message(2, &[1])).await.unwrap();
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(2)]);
}

async fn the_schedule_comes_in_pages(spool: &dyn Spool) {
    for seed in 1..=5 {
        let mut message = message(seed, &[1, 1]);
        message.envelope.arrived = later(10 - seed);
        spool.accept(message, body(seed)).await.unwrap();
    }
    let forever = Timestamp::from_micros(u64::MAX);
    let whole = spool.due(None, forever, usize::MAX).unwrap();
    assert_eq!(whole.len(), 10);
    assert!(whole.is_sorted_by_key(|d| (d.at, d.batch)));
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = spool.due(after, forever, 3).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        after = Some((last.at, last.batch));
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    assert_eq!(spool.due(None, later(6), 100).unwrap().len(), 4); // 5 and 6 seconds, both included
    assert_eq!(spool.due(None, later(4), 100).unwrap(), []);
    assert_eq!(spool.due(None, forever, 0).unwrap(), []);
    assert_eq!(spool.due(Some((later(8), batch(1, 0))), later(6), 100).unwrap(), []);
}

async fn envelopes_come_in_order_of_arrival(spool: &dyn Spool) {
    for seed in [4, 2, 3, 1] {
        accept(spool, seed, &[1]).await;
    }
    assert_eq!(spool.envelopes(None, 100).unwrap(), [id(1), id(2), id(3), id(4)]);
    assert_eq!(spool.envelopes(None, 2).unwrap(), [id(1), id(2)]);
    assert_eq!(spool.envelopes(Some(id(2)), 2).unwrap(), [id(3), id(4)]);
    assert_eq!(spool.envelopes(Some(id(4)), 2).unwrap(), []);
    assert_eq!(spool.envelopes(None, 0).unwrap(), []);
}

async fn large_bodies_read_back(spool: &dyn Spool) {
    for (seed, length) in [(1, 70_000), (2, 1 << 20), (3, (1 << 20) + 1), (4, 3_000_000)] {
        let body = Body::memory(content(seed, length));
        spool.accept(message(seed, &[1]), body).await.unwrap();
    }
    for (seed, length) in [(1, 70_000), (2, 1 << 20), (3, (1 << 20) + 1), (4, 3_000_000)] {
        assert!(content_of(spool, seed) == content(seed, length), "{length}");
        deliver(spool, batch(seed, 0), NOW).await;
    }
    assert_eq!(spool.counts(), Counts::default());
}

async fn an_empty_body_reads_back(spool: &dyn Spool) {
    spool.accept(message(1, &[1]), Body::memory(Vec::new())).await.unwrap();
    assert_eq!(content_of(spool, 1), b"");
}

async fn no_recipient_lost(spool: &dyn Spool) {
    let mut dice = Dice::new(42);
    let plan = Plan { max_tries: 4, ..Plan::default() };
    let (mut now, mut ended) = (NOW, BTreeSet::new());
    for seed in 0..20 {
        accept(spool, seed, &[2, 1, 3][..1 + seed as usize % 3]).await;
    }
    let accepted: u32 = (0..20).map(|seed| [2, 3, 6][seed % 3]).sum();
    for round in 0..60u64 {
        let due = spool.due(None, now, 1000).unwrap();
        let Some(line) = due.get(dice.below(due.len())) else {
            now = now.plus(Duration::from_secs(600));
            continue;
        };
        let terms = terms(round % 3, now);
        let report = match spool.take(line.batch, terms, plan.clone(), round).await.unwrap() {
            Ok(taken) => {
                let choose = |dice: &mut Dice| [ok(), soft(), hard()][dice.below(3)].clone();
                let mut outcomes = Vec::new();
                for (index, _) in &taken.recipients {
                    match dice.below(3) {
                        0 => outcomes.push((*index, choose(&mut dice))),
                        1 => {
                            let entry = JournalEntry::Settled(choose(&mut dice));
                            spool.journal(line.batch, vec![(*index, entry)]).await.unwrap();
                        }
                        _ => {}
                    }
                }
                // One in four dies without a word.
                if dice.below(4) == 0 {
                    now = now.plus(Duration::from_secs(700));
                    continue;
                }
                report(&taken, outcomes)
            }
            Err(NotLeasable::Abandoned(lease)) => Report { lease, outcomes: vec![], fault: None },
            Err(_) => continue,
        };
        let batch = report.lease.batch;
        let settled = spool.settle(report, plan.clone(), now, round).await.unwrap();
        for end in settled.ended {
            assert!(ended.insert((batch, end.index)), "ended twice");
        }
        assert_consistent(spool);
    }
    assert!(!ended.is_empty());
    let waiting: usize = spool
        .envelopes(None, 100)
        .unwrap()
        .into_iter()
        .map(|id| spool.load(id).unwrap().unwrap().recipients)
        .map(|people| people.iter().filter(|(_, _, r)| r.standing.is_waiting()).count())
        .sum();
    assert_eq!(ended.len() + waiting, accepted as usize);
}

async fn a_message_moves_with_all_that_is_known(spool: &dyn Spool) {
    accept(spool, 1, &[1]).await;
    accept(spool, 2, &[1, 3, 1]).await;
    deliver(spool, batch(2, 0), NOW).await;
    // One delivered, one refused for a while, one in the journal only; and a lease that nobody ends.
    let taken = take(spool, batch(2, 1), NOW).await;
    let outcomes = vec![(0, ok()), (1, soft()), (2, soft())];
    spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    take(spool, batch(2, 1), later(100_000)).await;
    spool.journal(batch(2, 1), vec![(2, JournalEntry::DotSent)]).await.unwrap();
    let (archived, place) = spool.archived(id(2)).unwrap().unwrap();
    let body = spool.body(id(2), &place).unwrap();
    let text = serde_json::to_string(&archived).unwrap();
    let archived: posthaste_mail::queue::archive::Archived = serde_json::from_str(&text).unwrap();

    let other = MemorySpool::new();
    let scratch = Scratch::new();
    let on_disk = open(&scratch);
    for other in [&other as &dyn Spool, &on_disk] {
        assert_eq!(other.import(archived.clone(), body.clone()).await, Ok(true));
        assert_eq!(other.import(archived.clone(), body.clone()).await, Ok(false));
        assert_eq!(content_of(other, 2), content(2, 302));
        let (again, _) = other.archived(id(2)).unwrap().unwrap();
        assert_eq!(again, archived);
        assert_eq!(leases(other), [archived.batches[0].record.lease.clone().unwrap()]);
        assert_eq!(other.counts().batches, 2);
        assert_consistent(other);
    }
    drop(on_disk);
    let reopened = open(&scratch);
    assert_eq!(reopened.archived(id(2)).unwrap().unwrap().0, archived);
    assert_eq!(spool.archived(id(3)), Ok(None));
}
