//! What a sender hears of the end of an attempt.
//!
//! One settlement gives one notification, whatever it has to tell (RFC 3461 §5.2.8 and RFC 3464 §2.1 let a notification report several
//! recipients, each with an `Action` of its own): a person gets one message about one message. What NOTIFY does not want is left out
//! here, recipient by recipient.

use super::{Event, GaveUp, Report};
use crate::address::ReversePath;
use crate::envelope::Envelope;
use crate::outcome::{Outcome, Reach, Receipt};
use crate::queue::ledger::{self, End, Settlement};
use crate::queue::record::{BatchRecord, RecipientRecord};
use crate::queue::schedule::Plan;
use crate::time::Timestamp;

/// The reports about a settlement; none when nobody wants to hear of it. `recipients` are those of the batch.
pub fn reports<'a>(
    envelope: &Envelope,
    settlement: &'a Settlement,
    recipients: &'a [(u32, RecipientRecord)],
    now: Timestamp,
) -> Vec<Report<'a>> {
    let recipient = |index: u32| {
        recipients.iter().find(|(i, _)| *i == index).map(|(_, record)| &record.recipient)
    };
    let ended = settlement.ended.iter().filter_map(|ended| {
        let recipient = recipient(ended.index)?;
        let event = match &ended.end {
            End::Failed { failure, gave_up } => {
                let gave_up = gave_up.then(|| GaveUp {
                    attempts: settlement.attempts,
                    after: now.since(envelope.arrived),
                });
                recipient.wants_failures().then_some(Event::Failed { failure, gave_up })?
            }
            End::Delivered(receipt) => {
                recipient.wants_success().then(|| success(receipt)).flatten()?
            }
            End::Dropped => return None,
        };
        Some(Report { recipient, event, last_attempt: settlement.last_attempt })
    });
    let delayed = settlement.delayed.iter().filter_map(|delayed| {
        let event =
            Event::Delayed { failure: &delayed.failure, will_retry_until: Some(delayed.until) };
        Some(Report { recipient: recipient(delayed.index)?, event, last_attempt: Some(now) })
    });
    ended.chain(delayed).collect()
}

/// RFC 3461 §5.2.1: a server that offers DSN has taken over the duty to report.
fn success(receipt: &Receipt) -> Option<Event<'_>> {
    match (receipt.dsn_passed_on, receipt.reach) {
        (true, _) => None,
        (false, Reach::Server) => Some(Event::Relayed(receipt)), // RFC 3461 §5.2.2
        (false, Reach::Mailbox) => Some(Event::Delivered(receipt)), // RFC 3461 §5.2.3
    }
}

/// May the end of this attempt be worth a notification? Answered from what is stored before it is settled, so that what a notification
/// needs is got together only then: never no where `reports` would have something to say.
pub fn may_come(
    envelope: &Envelope,
    batch: &BatchRecord,
    recipients: &[(u32, RecipientRecord)],
    report: &ledger::Report,
    plan: &Plan,
    now: Timestamp,
) -> bool {
    if matches!(envelope.from, ReversePath::Null) {
        return false;
    }
    // What the journal knows and the report does not is seen only when it is settled.
    let all_told = |index: &u32| report.outcomes.iter().any(|(i, _)| i == index);
    let waiting = || recipients.iter().filter(|(_, record)| record.standing.is_waiting());
    if report.fault.is_some() || !waiting().all(|(index, _)| all_told(index)) {
        return true;
    }
    let failed = report.outcomes.iter().any(|(_, o)| matches!(o, Outcome::Failed(_)));
    let wanted = |index: &u32| {
        recipients.iter().any(|(i, record)| i == index && record.recipient.wants_success())
    };
    let delivered = report.outcomes.iter().any(|(index, outcome)| match outcome {
        Outcome::Delivered(receipt) => !receipt.dsn_passed_on && wanted(index),
        Outcome::Deferred(_) | Outcome::Failed(_) | Outcome::Postponed(_) | Outcome::Unknown(_) => {
            false
        }
    });
    let late = plan.is_late(batch.arrived, now) && waiting().any(|(_, r)| r.warned.is_none());
    failed || delivered || late || plan.gives_up(batch.attempts, batch.arrived, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Mailbox;
    use crate::dice::Dice;
    use crate::envelope::{EnvelopeId, MessageFlags, Notify, Origin, Recipient, Route};
    use crate::outcome::{Failure, Stage};
    use crate::queue::lease::Boot;
    use crate::queue::ledger::{Books, Terms, settle, take};
    use crate::queue::record::BatchId;
    use crate::route::destination::DestinationKey;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const LATE: Timestamp = Timestamp::from_secs(1_000_000 + 7200);

    fn envelope(from: &str) -> Envelope {
        Envelope {
            id: EnvelopeId::from_bytes([1; 16]),
            from: ReversePath::try_from(from.to_string()).unwrap(),
            flags: MessageFlags::default(),
            ret: None,
            envid: None,
            origin: Origin::default(),
            arrived: NOW,
            size: 100,
            message_id: None,
            route: Route::Target,
        }
    }

    fn on(success: bool, failure: bool, delay: bool) -> Option<Notify> {
        Some(Notify::On { success, failure, delay })
    }

    fn taken(dsn_passed_on: bool, reach: Reach) -> Outcome {
        let (text, remote) = ("ok".to_string(), None);
        Outcome::Delivered(Receipt { code: 250, status: None, text, remote, dsn_passed_on, reach })
    }

    fn refused(code: u16) -> Outcome {
        Failure::refused(Stage::Rcpt, code, None, "no").outcome()
    }

    /// Settles one attempt for recipients of these wishes and outcomes, an hour after the warning is due; the actions reported.
    fn told(from: &str, people: &[(Option<Notify>, Outcome)]) -> Vec<&'static str> {
        let plan = Plan { delay_warning: Some(Duration::from_secs(3600)), ..Plan::default() };
        let id = BatchId { envelope: EnvelopeId::from_bytes([1; 16]), index: 0 };
        let fresh = BatchRecord {
            destination: DestinationKey::Unqualified,
            arrived: NOW,
            due: NOW,
            attempts: 0,
            lease: None,
            hold: None,
            last_attempt: None,
            last_failure: None,
            rerouted: None,
        };
        let boot = Boot { node: "mx".into(), number: 1 };
        let terms = Terms { boot, serial: 1, now: LATE, span: Duration::from_secs(60) };
        let (batch, lease) = take(id, &fresh, &terms, &plan, &mut Dice::new(1)).unwrap();
        let record = |notify| {
            let bob = Mailbox::parse("bob@b.example").unwrap();
            RecipientRecord::new(Recipient { notify, ..Recipient::new(bob) })
        };
        let recipients: Vec<(u32, RecipientRecord)> =
            (0..).zip(people.iter().map(|(notify, _)| record(*notify))).collect();
        let outcomes = (0..).zip(people.iter().map(|(_, outcome)| outcome.clone())).collect();
        let report = ledger::Report { lease, outcomes, fault: None };
        let envelope = envelope(from);
        let may = may_come(&envelope, &batch, &recipients, &report, &plan, LATE);
        let books = Books { batch, recipients: recipients.clone(), journal: Vec::new() };
        let settlement = settle(books, &report, &plan, LATE, &mut Dice::new(1));
        let reports = reports(&envelope, &settlement, &recipients, LATE);
        assert!(may || reports.is_empty() || from.is_empty());
        reports.iter().map(|report| report.event.word()).collect()
    }

    #[test]
    fn notify_decides_what_is_told() {
        let (relayed, passed) = (taken(false, Reach::Server), taken(true, Reach::Server));
        let stored = taken(false, Reach::Mailbox);
        let (soft, hard) = (refused(450), refused(550));
        for (notify, outcome, expected) in [
            (None, &hard, Some("failed")),
            (None, &soft, Some("delayed")),
            (None, &relayed, None),
            (Some(Notify::Never), &hard, None),
            (Some(Notify::Never), &soft, None),
            (Some(Notify::Never), &relayed, None),
            (on(true, false, false), &relayed, Some("relayed")),
            (on(true, false, false), &stored, Some("delivered")),
            (on(true, false, false), &passed, None), // the next server reports
            (on(true, false, false), &hard, None),
            (on(true, false, false), &soft, None),
            (on(false, true, false), &hard, Some("failed")),
            (on(false, true, false), &soft, None), // RFC 3461 §5.2.5
            (on(false, true, false), &stored, None),
            (on(false, false, true), &soft, Some("delayed")),
            (on(false, false, true), &hard, None),
            (on(true, true, true), &hard, Some("failed")),
            (on(true, true, true), &soft, Some("delayed")),
            (on(true, true, true), &stored, Some("delivered")),
        ] {
            let got = told("ann@a.example", &[(notify, outcome.clone())]);
            assert_eq!(got.first().copied(), expected, "{notify:?} {outcome:?}");
        }
    }

    #[test]
    fn different_ends_are_told_together() {
        let people = [
            (on(true, true, true), taken(false, Reach::Server)),
            (None, refused(550)),
            (None, refused(450)),
            (Some(Notify::Never), refused(550)),
        ];
        assert_eq!(told("ann@a.example", &people), ["relayed", "failed", "delayed"]);
    }

    #[test]
    fn nothing_is_got_together_for_the_null_sender() {
        let envelope = envelope("");
        let batch = BatchRecord {
            destination: DestinationKey::Unqualified,
            arrived: NOW,
            due: NOW,
            attempts: 99,
            lease: None,
            hold: None,
            last_attempt: None,
            last_failure: None,
            rerouted: None,
        };
        let boot = Boot { node: "mx".into(), number: 1 };
        let lease = crate::queue::lease::Lease {
            batch: BatchId { envelope: envelope.id, index: 0 },
            boot,
            serial: 1,
            taken: NOW,
            deadline: LATE,
        };
        let report = ledger::Report { lease, outcomes: vec![(0, refused(550))], fault: None };
        assert!(!may_come(&envelope, &batch, &[], &report, &Plan::default(), NOW));
    }
}
