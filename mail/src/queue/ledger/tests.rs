//! The ledger, event by event.

use super::*;
use crate::address::Mailbox;
use crate::envelope::{EnvelopeId, Notify, Recipient};
use crate::outcome::{Reach, Stage};
use crate::route::destination::DestinationKey;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn boot(number: u64) -> Boot {
    Boot { node: "mx".into(), number }
}

fn id() -> BatchId {
    BatchId { envelope: EnvelopeId::new(NOW, &mut Dice::new(1)), index: 0 }
}

fn fresh() -> BatchRecord {
    BatchRecord::new(DestinationKey::Unqualified, NOW)
}

fn terms(number: u64, now: Timestamp) -> Terms {
    Terms { boot: boot(number), serial: 1, now, span: Duration::from_secs(600) }
}

fn people(count: u32) -> Vec<(u32, RecipientRecord)> {
    let person = |i| Mailbox::parse(&format!("r{i}@example.org")).unwrap();
    (0..count).map(|i| (i, RecipientRecord::new(Recipient::new(person(i))))).collect()
}

fn ok() -> Outcome {
    let text = "ok".to_string();
    Outcome::Delivered(Receipt {
        code: 250,
        status: None,
        text,
        remote: None,
        dsn_passed_on: false,
        reach: Reach::Server,
    })
}

fn soft() -> Outcome {
    Failure::refused(Stage::Rcpt, 450, None, "later").outcome()
}

fn hard() -> Outcome {
    Failure::refused(Stage::Rcpt, 550, None, "never").outcome()
}

struct Run {
    plan: Plan,
    outcomes: Vec<(u32, Outcome)>,
    journal: Vec<(u32, JournalEntry)>,
    people: u32,
    stale: bool,
    attempts_before: u32,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            plan: Plan::default(),
            outcomes: vec![(0, ok())],
            journal: Vec::new(),
            people: 1,
            stale: false,
            attempts_before: 0,
        }
    }
}

impl Run {
    fn settle(self) -> Settlement {
        let before = BatchRecord { attempts: self.attempts_before, ..fresh() };
        let mut dice = Dice::new(9);
        let (batch, mut lease) =
            take(id(), &before, &terms(1, NOW), &self.plan, &mut dice).unwrap();
        if self.stale {
            lease.serial += 1;
        }
        let report = Report { lease, outcomes: self.outcomes, fault: None };
        let books = Books { batch, recipients: people(self.people), journal: self.journal };
        settle(books, &report, &self.plan, NOW.plus(Duration::from_secs(5)), &mut dice)
    }
}

#[test]
fn lease_before_packet() {
    let (batch, lease) =
        take(id(), &fresh(), &terms(1, NOW), &Plan::default(), &mut Dice::new(1)).unwrap();
    assert_eq!(batch.attempts, 1);
    assert_eq!(batch.lease.as_ref(), Some(&lease));
    assert!(batch.due > lease.deadline); // provisional: deadline, then the whole delay
}

#[test]
fn one_lease_at_a_time() {
    let plan = Plan::default();
    let (batch, lease) = take(id(), &fresh(), &terms(1, NOW), &plan, &mut Dice::new(1)).unwrap();
    let again = |number, now| take(id(), &batch, &terms(number, now), &plan, &mut Dice::new(1));
    assert_eq!(again(1, NOW), Err(NotLeasable::Leased));
    assert_eq!(again(2, NOW), Err(NotLeasable::Abandoned(lease.clone()))); // we were restarted
    assert_eq!(again(1, lease.deadline), Err(NotLeasable::Leased)); // only its holder ends it
}

#[test]
fn a_batch_waits_for_its_time_and_for_the_operator() {
    let later = BatchRecord { due: NOW.plus(Duration::from_secs(1)), ..fresh() };
    let got = take(id(), &later, &terms(1, NOW), &Plan::default(), &mut Dice::new(1));
    assert_eq!(got, Err(NotLeasable::NotDue(later.due)));
    let hold = Hold { reason: "why".into(), by: "root".into(), since: NOW };
    let held = BatchRecord { hold: Some(hold), ..fresh() };
    let got = take(id(), &held, &terms(1, NOW), &Plan::default(), &mut Dice::new(1));
    assert_eq!(got, Err(NotLeasable::Held));
}
use crate::queue::record::Hold;

#[test]
fn each_recipient_goes_its_own_way() {
    let outcomes = vec![(0, ok()), (1, soft()), (2, hard())];
    let settlement = Run { outcomes, people: 4, ..Run::default() }.settle();
    let batch = settlement.batch.unwrap();
    assert_eq!(settlement.ended.iter().map(|e| e.index).collect::<Vec<_>>(), [0, 2]);
    // 1 was refused for a while, of 3 nothing is known: both are tried again.
    assert_eq!(settlement.waiting.iter().map(|w| w.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(settlement.waiting[1].1.cause, Cause::Internal);
    assert!(batch.lease.is_none());
    let wait = batch.due.since(NOW).as_secs_f64() / 60.0;
    assert!((16.2..20.0).contains(&wait), "{wait}");
}

#[test]
fn nothing_waits_when_all_ended() {
    assert_eq!(Run::default().settle().batch, None);
    assert_eq!(Run { outcomes: vec![(0, hard())], ..Run::default() }.settle().batch, None);
}

#[test]
fn the_last_attempt_gives_up() {
    let plan = Plan { max_tries: 3, ..Plan::default() };
    let run = Run { plan, outcomes: vec![(0, soft())], attempts_before: 2, ..Run::default() };
    let settlement = run.settle();
    assert_eq!(settlement.batch, None);
    assert!(matches!(settlement.ended[0].end, End::Failed { gave_up: true, .. }));
}

#[test]
fn a_postponed_batch_grows_old_as_well() {
    let plan = Plan { max_age: Some(Duration::from_secs(1)), ..Plan::default() };
    let postponed = Outcome::Postponed(Failure::new(Cause::OwnLimit, "destination limit"));
    let settlement = Run { plan, outcomes: vec![(0, postponed)], ..Run::default() }.settle();
    assert_eq!(settlement.batch, None);
    assert!(matches!(settlement.ended[0].end, End::Failed { gave_up: true, .. }));
}

#[test]
fn waiting_for_ourselves_is_not_an_attempt() {
    let plan = Plan { max_tries: 1, ..Plan::default() };
    let postponed = Outcome::Postponed(Failure::new(Cause::OwnLimit, "destination limit"));
    let settlement = Run { plan, outcomes: vec![(0, postponed)], ..Run::default() }.settle();
    let batch = settlement.batch.unwrap();
    assert_eq!(batch.attempts, 0);
    assert!(batch.due.since(NOW) < Duration::from_secs(60));
}

#[test]
fn a_held_route_is_no_attempt_and_is_not_looked_at_before_its_time() {
    let plan = Plan { max_tries: 1, ..Plan::default() };
    let held = Outcome::Postponed(Failure::new(Cause::RouteHeld, "535 no"));
    let settlement = Run { plan, outcomes: vec![(0, held)], ..Run::default() }.settle();
    let batch = settlement.batch.unwrap();
    assert_eq!(batch.attempts, 0);
    let wait = batch.due.since(NOW);
    assert!(wait >= HOLD && wait < HOLD + Duration::from_secs(60), "{wait:?}");
}

#[test]
fn the_journal_outranks_the_report() {
    let journal = vec![(0, JournalEntry::DotSent), (0, JournalEntry::Settled(ok()))];
    let settlement = Run { journal, outcomes: vec![(0, soft())], ..Run::default() }.settle();
    assert_eq!(
        settlement.ended[0].end,
        match ok() {
            Outcome::Delivered(receipt) => End::Delivered(receipt),
            _ => unreachable!(),
        }
    );
}

#[test]
fn silence_after_the_dot_waits_long() {
    let journal = vec![(0, JournalEntry::DotSent)];
    let settlement = Run { journal, outcomes: vec![], ..Run::default() }.settle();
    let batch = settlement.batch.unwrap();
    assert_eq!(batch.last_failure.unwrap().cause, Cause::UnknownAfterDot);
    assert!(batch.due.since(NOW) >= UNKNOWN_WAIT);
}

/// Settles one more attempt of this recipient, `age` after its arrival.
fn attempt_at(record: RecipientRecord, outcome: Outcome, plan: &Plan, age: Duration) -> Settlement {
    let now = NOW.plus(age);
    let (batch, lease) = take(id(), &fresh(), &terms(1, now), plan, &mut Dice::new(1)).unwrap();
    let report = Report { lease, outcomes: vec![(0, outcome)], fault: None };
    let books = Books { batch, recipients: vec![(0, record)], journal: vec![] };
    settle(books, &report, plan, now, &mut Dice::new(1))
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_delay_is_told_once() {
    let plan = Plan { delay_warning: Some(HOUR), max_tries: 3, ..Plan::default() };
    let (_, fresh) = people(1).remove(0);
    let early = attempt_at(fresh.clone(), soft(), &plan, HOUR / 2);
    assert!(early.delayed.is_empty() && !early.is_news());
    let (_, record) = early.changed[0].clone();
    let late = attempt_at(record, soft(), &plan, HOUR * 2);
    assert!(late.is_news() && late.delayed[0].index == 0);
    // Attempts 2 and 3 are left: 18 and 21.6 minutes, whatever the dice made of the first of them.
    assert_eq!(late.delayed[0].until, NOW.plus(HOUR * 2 + Duration::from_secs(1080 + 1296)));
    let (_, record) = late.changed[0].clone();
    assert_eq!(record.warned, Some(NOW.plus(HOUR * 2)));
    // As it is stored and read again.
    let record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    assert!(attempt_at(record, soft(), &plan, HOUR * 3).delayed.is_empty());
    assert!(attempt_at(fresh, soft(), &Plan::default(), HOUR * 300).delayed.is_empty()); // off
}

#[test]
fn a_record_of_before_the_warnings_can_be_read() {
    let (_, record) = people(1).remove(0);
    let stored = serde_json::to_string(&record).unwrap();
    assert!(!stored.contains("warned"));
    assert_eq!(serde_json::from_str::<RecipientRecord>(&stored).unwrap(), record);
}

#[test]
fn whoever_does_not_want_delays_is_not_warned() {
    let plan = Plan { delay_warning: Some(HOUR), ..Plan::default() };
    let (_, mut record) = people(1).remove(0);
    record.recipient.notify = Some(Notify::On { success: true, failure: true, delay: false });
    let settlement = attempt_at(record, soft(), &plan, HOUR * 2);
    assert!(settlement.delayed.is_empty() && settlement.changed[0].1.warned.is_none());
}

#[test]
fn waiting_for_ourselves_is_a_delay_for_the_sender() {
    let plan = Plan { delay_warning: Some(HOUR), ..Plan::default() };
    let postponed = || Outcome::Postponed(Failure::new(Cause::OwnLimit, "destination limit"));
    let (_, fresh) = people(1).remove(0);
    let settlement = attempt_at(fresh.clone(), postponed(), &plan, HOUR * 2);
    assert_eq!(settlement.delayed[0].failure.cause, Cause::OwnLimit);
    // What a peer said before is what the sender is told.
    let (_, record) = attempt_at(fresh, soft(), &plan, HOUR / 2).changed.remove(0);
    let settlement = attempt_at(record, postponed(), &plan, HOUR * 2);
    assert_eq!(settlement.delayed[0].failure.cause, Cause::Refused(Stage::Rcpt));
    assert_eq!(settlement.waiting[0].1.cause, Cause::OwnLimit); // the operator sees what it waits for
}

#[test]
fn nobody_is_told_of_the_delay_of_what_has_ended() {
    let plan = Plan { delay_warning: Some(HOUR), max_tries: 1, ..Plan::default() };
    for outcome in [ok(), soft(), hard()] {
        let (_, record) = people(1).remove(0);
        let settlement = attempt_at(record, outcome, &plan, HOUR * 2);
        assert!(settlement.delayed.is_empty() && settlement.ended.len() == 1);
    }
}

#[test]
fn stale_failure_is_ignored() {
    let settlement = Run { stale: true, outcomes: vec![(0, hard())], ..Run::default() }.settle();
    assert!(settlement.ended.is_empty() && settlement.changed.is_empty());
    assert!(settlement.batch.unwrap().lease.is_some()); // whoever holds it still does
}

#[test]
fn stale_delivery_is_a_fact() {
    let settlement = Run { stale: true, ..Run::default() }.settle();
    assert_eq!(settlement.ended.len(), 1);
}

#[test]
fn delivered_is_final() {
    let mut recipients = people(1);
    let receipt = match ok() {
        Outcome::Delivered(receipt) => receipt,
        _ => unreachable!(),
    };
    recipients[0].1.standing = Standing::Delivered { at: NOW, receipt };
    let plan = Plan::default();
    let (batch, lease) = take(id(), &fresh(), &terms(1, NOW), &plan, &mut Dice::new(1)).unwrap();
    let report = Report { lease, outcomes: vec![(0, hard())], fault: None };
    let books = Books { batch, recipients, journal: vec![] };
    let settlement = settle(books, &report, &plan, NOW, &mut Dice::new(1));
    assert_eq!((settlement.batch, settlement.changed.len()), (None, 0));
}

#[test]
fn no_recipient_lost() {
    // Whatever comes in, every recipient ends, or waits.
    let choices = [ok(), soft(), hard(), Outcome::Postponed(Failure::new(Cause::OwnLimit, ""))];
    let mut dice = Dice::new(77);
    for _ in 0..2000 {
        let count = dice.below(5) as u32 + 1;
        let mut outcomes = Vec::new();
        let mut journal = Vec::new();
        for i in 0..count {
            match dice.below(4) {
                0 => {}
                1 => journal.push((i, JournalEntry::DotSent)),
                2 => outcomes.push((i, choices[dice.below(4)].clone())),
                _ => journal.push((i, JournalEntry::Settled(choices[dice.below(4)].clone()))),
            }
        }
        let attempts_before = dice.below(25) as u32;
        let run = Run { outcomes, journal, people: count, attempts_before, ..Run::default() };
        let settlement = run.settle();
        assert_eq!(settlement.ended.len() + settlement.waiting.len(), count as usize);
        assert_eq!(settlement.batch.is_some(), !settlement.waiting.is_empty());
    }
}

fn waiting(people: Vec<(u32, RecipientRecord)>) -> Books {
    let batch = BatchRecord { attempts: 3, last_attempt: Some(NOW), ..fresh() };
    Books { batch, recipients: people, journal: Vec::new() }
}

#[test]
fn the_operator_ends_a_batch_and_the_last_failure_is_told() {
    let mut people = people(2);
    let last = Failure::refused(Stage::Rcpt, 450, None, "come back");
    people[0].1.last_failure = Some(last);
    let settlement = finish(waiting(people), Finish::Fail, NOW.plus(UNKNOWN_WAIT));
    assert_eq!((&settlement.batch, settlement.kept()), (&None, None));
    assert_eq!((settlement.attempts, settlement.last_attempt), (3, Some(NOW)));
    let failure = |place: usize| match &settlement.ended[place].end {
        End::Failed { failure, gave_up: false } => failure.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((failure(0).cause, failure(0).code), (Cause::Operator, 554));
    let text = failure(0).text;
    assert!(
        text.starts_with("ended by the operator") && text.contains("450 4.0.0 come back"),
        "{text}"
    );
    assert!(failure(1).text.contains("before a first attempt"));
    assert!(settlement.is_news());
}

#[test]
fn what_is_dropped_is_no_news() {
    let settlement = finish(waiting(people(2)), Finish::Drop, NOW);
    assert!(settlement.batch.is_none() && !settlement.is_news());
    assert_eq!(settlement.changed[1].1.standing, Standing::Dropped { at: NOW });
}

#[test]
fn the_operator_ends_no_delivery_and_no_attempt() {
    let mut books = waiting(people(2));
    books.journal = vec![(1, JournalEntry::Settled(ok()))];
    for how in [Finish::Fail, Finish::Drop] {
        let settlement = finish(books.clone(), how, NOW);
        assert!(matches!(settlement.ended[1].end, End::Delivered(_)), "{how:?}");
        assert!(settlement.is_news()); // somebody may have asked to hear of success
    }
    let (leased, _) =
        take(id(), &fresh(), &terms(1, NOW), &Plan::default(), &mut Dice::new(1)).unwrap();
    let settlement = finish(Books { batch: leased, ..books }, Finish::Drop, NOW);
    assert_eq!(settlement.kept(), Some(Kept::Delivering));
    assert!(settlement.changed.is_empty());
    let by = crate::queue::record::UNDECIDED.to_string();
    let hold = Some(Hold { reason: String::new(), by, since: NOW });
    let undecided = BatchRecord { hold, ..fresh() };
    let books = Books { batch: undecided, ..waiting(people(1)) };
    assert_eq!(finish(books, Finish::Fail, NOW).kept(), Some(Kept::AsItWas));
}

#[test]
fn a_batch_marked_as_held_is_held_when_its_attempt_ends() {
    let hold = Some(Hold { reason: "why".into(), by: "uid 0".into(), since: NOW });
    let (leased, lease) =
        take(id(), &fresh(), &terms(1, NOW), &Plan::default(), &mut Dice::new(1)).unwrap();
    let batch = BatchRecord { hold: hold.clone(), ..leased };
    let books = Books { batch, recipients: people(1), journal: vec![] };
    let report = Report { lease, outcomes: vec![(0, soft())], fault: None };
    // Nor does it give up meanwhile.
    for plan in [Plan::default(), Plan { max_tries: 1, ..Plan::default() }] {
        let settled = settle(books.clone(), &report, &plan, NOW, &mut Dice::new(1));
        let batch = settled.batch.unwrap();
        assert_eq!((batch.hold, batch.lease, batch.attempts), (hold.clone(), None, 1));
    }
}

#[test]
fn a_target_that_is_not_configured_costs_no_attempt() {
    let missing = Failure::new(Cause::TargetUnavailable, "not configured");
    let outcomes = vec![(0, Outcome::Postponed(missing))];
    let batch = Run { outcomes, ..Run::default() }.settle().batch.unwrap();
    assert_eq!(batch.attempts, 0);
    assert!(batch.due.since(NOW) >= UNCONFIGURED_WAIT);
}
