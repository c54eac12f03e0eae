//! What an operator asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeId};
use crate::queue::record::BatchRecord;
use crate::time::Timestamp;

/// JSON-RPC 2.0, one object a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub jsonrpc: String,
    #[serde(default)]
    pub id: serde_json::Value,
    pub method: String,
    #[serde(default)]
    pub params: serde_json::Value,
}

/// Which batches are meant. Everything given has to match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Name of the queue; without it all.
    pub queue: Option<String>,
    pub id: Vec<EnvelopeId>,
    /// Part of the sender's address.
    pub from: Option<String>,
    /// Part of a recipient's address.
    pub to: Option<String>,
    /// The destination, exactly.
    pub domain: Option<String>,
    /// Part of the last failure: its word, code or text.
    pub reason: Option<String>,
    /// In the queue for at least so many seconds.
    pub older: Option<u64>,
    /// Attempts made, at least.
    pub tries: Option<u32>,
    pub held: bool,
}

impl Filter {
    /// Does it match everything?
    pub fn is_empty(&self) -> bool {
        *self == Filter { queue: self.queue.clone(), ..Filter::default() }
    }

    pub fn wants_queue(&self, name: &str) -> bool {
        self.queue.as_ref().is_none_or(|wanted| wanted == name)
    }

    pub fn matches(
        &self,
        envelope: &Envelope,
        batch: &BatchRecord,
        recipients: &[&str],
        now: Timestamp,
    ) -> bool {
        let part = |whole: &str, part: &str| whole.to_lowercase().contains(&part.to_lowercase());
        let reason = |wanted: &String| {
            batch.last_failure.as_ref().is_some_and(|failure| {
                failure.cause.word() == wanted || part(&failure.to_string(), wanted)
            })
        };
        (self.id.is_empty() || self.id.contains(&envelope.id))
            && self.from.as_ref().is_none_or(|from| part(envelope.from.as_str(), from))
            && self.to.as_ref().is_none_or(|to| recipients.iter().any(|r| part(r, to)))
            && self
                .domain
                .as_ref()
                .is_none_or(|domain| batch.destination.to_string().eq_ignore_ascii_case(domain))
            && self.reason.as_ref().is_none_or(reason)
            && self
                .older
                .is_none_or(|secs| now.since(envelope.arrived) >= Duration::from_secs(secs))
            && self.tries.is_none_or(|tries| batch.attempts >= tries)
            && (!self.held || batch.hold.is_some())
    }
}

/// `send`: a message by the operator's socket. The content follows the request line, exactly `length` octets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Send {
    /// Empty for the null sender.
    pub from: String,
    pub to: Vec<String>,
    /// The queue to take it; without it the only one, or the first in the file.
    #[serde(default)]
    pub target: Option<String>,
    pub length: u64,
    #[serde(default)]
    pub notify: Option<String>,
    #[serde(default)]
    pub ret: Option<String>,
    #[serde(default)]
    pub envid: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    pub id: Option<EnvelopeId>,
    pub domain: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Debug {
    pub on: bool,
    #[serde(default)]
    pub target: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Shutdown {
    /// Seconds that running deliveries may take.
    pub drain: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::remote::tests::envelope;
    use crate::outcome::{Cause, Failure};
    use crate::route::destination::DestinationKey;

    #[test]
    fn everything_given_has_to_match() {
        let batch = BatchRecord {
            destination: DestinationKey::Domain(
                crate::address::Domain::parse("example.org").unwrap(),
            ),
            arrived: Timestamp::ZERO,
            due: Timestamp::ZERO,
            attempts: 3,
            lease: None,
            hold: None,
            last_attempt: None,
            last_failure: Some(Failure::new(Cause::Unreachable, "connection refused")),
        };
        let is = |filter: Filter| {
            filter.matches(&envelope(), &batch, &["b@example.org"], Timestamp::from_secs(100))
        };
        let text = |t: &str| Some(t.to_string());
        assert!(is(Filter::default()));
        assert!(is(Filter { from: text("SENDER.test"), to: text("b@"), ..Filter::default() }));
        assert!(!is(Filter { from: text("sender.test"), to: text("c@"), ..Filter::default() }));
        assert!(is(Filter { domain: text("Example.org"), ..Filter::default() }));
        assert!(!is(Filter { domain: text("example"), ..Filter::default() })); // exactly
        assert!(is(Filter { reason: text("unreachable"), ..Filter::default() }));
        assert!(is(Filter { reason: text("4.4.1"), ..Filter::default() }));
        assert!(is(Filter { older: Some(100), tries: Some(3), ..Filter::default() }));
        assert!(!is(Filter { older: Some(101), ..Filter::default() }));
        assert!(!is(Filter { tries: Some(4), ..Filter::default() }));
        assert!(!is(Filter { held: true, ..Filter::default() }));
    }
}
