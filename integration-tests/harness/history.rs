//! What became of messages, as the daemon's history tells it.

use serde_json::{Value, json};

use crate::harness::daemon::Daemon;

/// What one attempt came to for one recipient.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub recipient: String,
    /// `deferred 4.4.2`, `failed 5.7.1`, `delivered`, `unknown`.
    pub verdict: String,
    /// The reason that is given, or the server's last word.
    pub text: String,
    /// `none`, `encrypted` or `authenticated`.
    pub tls_level: String,
}

/// Those of an attempt, counted from 1, as they came to be.
pub fn outcomes(daemon: &Daemon, id: &str, attempt: u64) -> Vec<Outcome> {
    let answer = daemon.operator().call("trace", json!({ "id": id })).unwrap();
    let events = answer.notifications.into_iter().map(|mut told| told["item"].take());
    events.filter(|event| is_outcome(event, id, attempt)).map(|event| Outcome::of(&event)).collect()
}

pub fn is_outcome(event: &Value, id: &str, attempt: u64) -> bool {
    event["id"] == id && event["event"] == "outcome" && event["attempt"] == attempt
}

/// Word and status; of one that was taken and of one that nobody knows only the word.
pub fn verdict(event: &Value) -> String {
    let Some((word, detail)) = event["outcome"].as_object().and_then(|o| o.iter().next()) else {
        return event.to_string();
    };
    if word == "delivered" || word == "unknown" {
        return word.clone();
    }
    let part = |place: usize| detail["status"][place].to_string();
    format!("{word} {}.{}.{}", part(0), part(1), part(2))
}

impl Outcome {
    fn of(event: &Value) -> Outcome {
        let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let detail = event["outcome"].as_object().and_then(|outcome| outcome.values().next());
        Outcome {
            recipient: said(&event["recipient"]),
            verdict: verdict(event),
            text: detail.map(|detail| said(&detail["text"])).unwrap_or_default(),
            tls_level: said(&event["facts"]["tls_level"]),
        }
    }
}
