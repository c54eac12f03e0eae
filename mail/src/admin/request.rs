//! What an operator asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeId};
use crate::outcome::one_line;
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

    /// For batches that were found by their ids.
    #[must_use]
    pub fn without_ids(&self) -> Filter {
        Filter {
            queue: self.queue.clone(),
            id: Vec::new(),
            from: self.from.clone(),
            to: self.to.clone(),
            domain: self.domain.clone(),
            reason: self.reason.clone(),
            older: self.older,
            tries: self.tries,
            held: self.held,
        }
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

/// What a verb does to the batches that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    Retry,
    Hold { because: String },
    Release,
    Fail,
    Drop,
    Reroute { target: String },
}

impl Verb {
    /// `queue.hold` and its like.
    pub fn method(&self) -> &'static str {
        match self {
            Verb::Retry => "queue.retry",
            Verb::Hold { .. } => "queue.hold",
            Verb::Release => "queue.release",
            Verb::Fail => "queue.fail",
            Verb::Drop => "queue.drop",
            Verb::Reroute { .. } => "queue.reroute",
        }
    }

    /// What it did, in a word.
    pub fn done(&self) -> &'static str {
        match self {
            Verb::Retry => "tried again now",
            Verb::Hold { .. } => "held",
            Verb::Release => "released",
            Verb::Fail => "failed",
            Verb::Drop => "dropped",
            Verb::Reroute { .. } => "rerouted",
        }
    }

    /// It cannot be undone, or sends mail elsewhere.
    pub fn is_destructive(&self) -> bool {
        match self {
            Verb::Retry | Verb::Hold { .. } | Verb::Release => false,
            Verb::Fail | Verb::Drop | Verb::Reroute { .. } => true,
        }
    }
}

/// A request to change what matches: the members of a filter, and beside them `count_only`, `because` of `queue.hold` and `target` of
/// `queue.reroute`.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    pub verb: Verb,
    pub filter: Filter,
    /// Nothing is changed: how many batches would be?
    pub count_only: bool,
}

impl Act {
    /// Reads the parameters of a method; `None` when it is no such method. A member that is not known is refused, because without it
    /// more would match than is meant.
    pub fn read(method: &str, params: &serde_json::Value) -> Option<Result<Act, String>> {
        let mut members = match params {
            serde_json::Value::Object(members) => members.clone(),
            serde_json::Value::Null => serde_json::Map::new(),
            _ => return Some(Err("parameters are an object".to_string())),
        };
        let mut text = |name: &str| match members.remove(name) {
            Some(serde_json::Value::String(text)) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(format!("{name} is a text that is not empty")),
            None => Err(format!("missing field `{name}`")),
        };
        let verb = match method {
            "queue.retry" => Ok(Verb::Retry),
            // It is stored with every batch, and shown in one line.
            "queue.hold" => text("because").map(|why| Verb::Hold { because: one_line(&why) }),
            "queue.release" => Ok(Verb::Release),
            "queue.fail" => Ok(Verb::Fail),
            "queue.drop" => Ok(Verb::Drop),
            "queue.reroute" => text("target").map(|target| Verb::Reroute { target }),
            _ => return None,
        };
        let count_only = match members.remove("count_only") {
            None => Ok(false),
            Some(serde_json::Value::Bool(only)) => Ok(only),
            Some(_) => Err("count_only is true or false".to_string()),
        };
        let filter = serde_json::from_value(serde_json::Value::Object(members));
        let filter: Result<Filter, String> = filter.map_err(|e| e.to_string());
        Some(verb.and_then(|verb| Ok(Act { verb, filter: filter?, count_only: count_only? })))
    }

    /// The parameters that `read` understands.
    pub fn params(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut params = serde_json::to_value(&self.filter)?;
        let more = match &self.verb {
            Verb::Hold { because } => Some(("because", because)),
            Verb::Reroute { target } => Some(("target", target)),
            Verb::Retry | Verb::Release | Verb::Fail | Verb::Drop => None,
        };
        if let Some(members) = params.as_object_mut() {
            members.extend(more.map(|(name, text)| (name.to_string(), text.clone().into())));
            if self.count_only {
                members.insert("count_only".to_string(), true.into());
            }
        }
        Ok(params)
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

/// `explain`: a queue id, or a destination as `queue.list` names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explain {
    pub what: String,
}

/// `sts.list`, and with a domain `sts.show`, `sts.refresh` and `sts.forget`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Name of the cache; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// A domain, or an address literal in its brackets.
    pub domain: String,
    /// The `target.remote` that looks; without it the only one.
    #[serde(default)]
    pub target: Option<String>,
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
    use serde_json::json;

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
            rerouted: None,
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

    #[test]
    fn acts_read_back() {
        let filter = Filter { domain: Some("x.test".into()), tries: Some(2), ..Filter::default() };
        for verb in [
            Verb::Retry,
            Verb::Hold { because: "customer asked".into() },
            Verb::Release,
            Verb::Fail,
            Verb::Drop,
            Verb::Reroute { target: "relay".into() },
        ] {
            let act = Act { verb, filter: filter.clone(), count_only: true };
            let params = act.params().unwrap();
            assert_eq!(Act::read(act.verb.method(), &params), Some(Ok(act)));
        }
        let all = Act { verb: Verb::Drop, filter: Filter::default(), count_only: false };
        assert_eq!(Act::read("queue.drop", &serde_json::Value::Null), Some(Ok(all)));
        assert_eq!(Act::read("queue.list", &json!({})), None);
        let long = json!({ "because": format!("a\r\nb{}", "x".repeat(5000)) });
        let Some(Ok(Act { verb: Verb::Hold { because }, .. })) = Act::read("queue.hold", &long)
        else {
            panic!()
        };
        assert!(because.starts_with("a  bx") && because.len() == 1000);
    }

    #[test]
    fn acts_that_could_mean_more_than_was_said_are_refused() {
        let refused = |method: &str, params: serde_json::Value| {
            Act::read(method, &params).unwrap().unwrap_err()
        };
        assert!(refused("queue.drop", json!({"domian": "x.test"})).contains("domian"));
        assert!(refused("queue.drop", json!({"because": "x"})).contains("because"));
        assert!(refused("queue.fail", json!({"target": "x"})).contains("target"));
        assert!(refused("queue.hold", json!({"domain": "x.test"})).contains("because"));
        assert!(refused("queue.hold", json!({"because": " "})).contains("because"));
        assert!(refused("queue.reroute", json!({"target": 7})).contains("target"));
        assert!(refused("queue.drop", json!({"count_only": "no"})).contains("count_only"));
        assert!(refused("queue.drop", json!(["x.test"])).contains("object"));
    }
}
