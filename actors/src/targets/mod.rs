//! Delivery targets: one folder a kind.

pub mod dummy;
pub mod forward;
pub mod queue;
#[cfg(test)]
pub mod recorder;
pub mod remote;
pub mod sessions;

use posthaste_mail::envelope::Recipient;
use posthaste_mail::outcome::{Outcome, SessionFacts};

use crate::messages::delivery::{Deliver, Finished, Settled};

/// Ends an attempt whose recipients all have the same outcome.
pub fn finish_all(work: Deliver, outcome: &Outcome, facts: SessionFacts) {
    let outcomes = work.recipients.iter().map(|(index, _)| (*index, outcome.clone())).collect();
    let address = |(_, recipient): &(u32, Recipient)| recipient.address.to_string();
    let last = Settled {
        envelope: work.envelope,
        attempt: work.attempt,
        destination: work.destination,
        outcomes: work.recipients.iter().map(|r| (address(r), outcome.clone())).collect(),
        facts,
    };
    let finished = Finished { lease: work.lease, outcomes, fault: None, last: Some(last) };
    work.finished_to.do_send(finished);
}
