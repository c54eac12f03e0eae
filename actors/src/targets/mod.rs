//! Delivery targets: one folder a kind.

pub mod dummy;
pub mod queue;
pub mod remote;

use std::sync::Arc;

use slog::{Logger, warn};

use posthaste_mail::outcome::{Outcome, SessionFacts};
use posthaste_mail::queue::record::JournalEntry;

use crate::messages::delivery::{Deliver, Finished, Settled};

/// Ends an attempt whose recipients all have the same outcome: journal, report, closing message, in this order.
pub async fn finish_all(work: Deliver, outcome: Outcome, facts: &SessionFacts, log: &Logger) {
    let outcomes: Vec<(u32, Outcome)> =
        work.recipients.iter().map(|(index, _)| (*index, outcome.clone())).collect();
    if !matches!(outcome, Outcome::Postponed(_)) {
        let entries =
            outcomes.iter().map(|(i, o)| (*i, JournalEntry::Settled(o.clone()))).collect();
        if let Err(e) = work.journal.write(entries).await {
            warn!(log, "outcome could not be journaled"; "cause" => %e);
        }
    }
    work.settled_to.do_send(Settled {
        envelope: Arc::clone(&work.envelope),
        attempt: work.attempt,
        destination: work.destination.clone(),
        outcomes: work
            .recipients
            .iter()
            .map(|(_, r)| (r.address.to_string(), outcome.clone()))
            .collect(),
        facts: facts.clone(),
    });
    work.finished_to.do_send(Finished { lease: work.lease, outcomes, fault: None });
}
