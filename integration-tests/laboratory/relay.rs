//! The daemon with an endpoint, a queue and a target for each stance; messages go in, and what came of them is read in its history.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::area::Area;
use crate::harness::certificates::self_signed;
use crate::harness::client::Client;
use crate::harness::daemon::Daemon;
use crate::harness::message::Message;
use crate::harness::process::wait_until;
use crate::published::SENDERS;
use crate::row::Wish;
use crate::stance::{self, Stance};

/// From the end of DATA to the outcome of an attempt: every row and all servers are at it at once.
const SOON: Duration = Duration::from_secs(60);
/// Many ask at once, and the daemon has other things to do.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

pub struct Relay {
    pub daemon: Daemon,
    listeners: BTreeMap<Stance, SocketAddr>,
    /// Held by who probes: the daemon bounds how many may do so at once.
    probing: Mutex<()>,
}

impl Relay {
    /// `port` is that of mail exchangers and policy hosts, `roots` are their trusted authorities.
    pub fn start(area: &Area, port: u16, resolver: SocketAddr, roots: &Path) -> Relay {
        let listeners = BTreeMap::from(stance::ALL.map(|stance| (stance, area.socket())));
        let (chain, key) = self_signed(&["mx.sender.test"]).write(area, "listener");
        let place = (area.path(), port, resolver);
        let text = stance::configuration(place, &listeners, [roots, &chain, &key]);
        let daemon = Daemon::start(area, &text);
        // Before that no mail is failed for want of signatures.
        wait_until("the resolver is known to validate", SOON, || {
            daemon.log().contains("the resolver validates")
        });
        Relay { daemon, listeners, probing: Mutex::new(()) }
    }

    /// Hands a message over by SMTP within TLS. It is marked with `X-Test-Id: MARK`.
    pub fn send(
        &self,
        stance: Stance,
        wish: Wish,
        recipient: &str,
        mark: &str,
    ) -> Result<(), String> {
        let mut client = Client::greeted(self.listeners[&stance]);
        assert_eq!(client.say("STARTTLS").unwrap().code, 220);
        client.connection().connect_tls("mx.sender.test").unwrap();
        assert_eq!(client.say("EHLO client.test").unwrap().code, 250);
        let parameter = match wish {
            Wish::Required | Wish::RequiredAndWaived => " REQUIRETLS",
            Wish::Unsaid | Wish::Waived | Wish::Misspelt => "",
        };
        let field = match wish {
            Wish::Waived | Wish::RequiredAndWaived => "TLS-Required: No\r\n",
            Wish::Misspelt => "TLS-Required: Yes\r\n",
            Wish::Unsaid | Wish::Required => "",
        };
        let message = Message::plain(mark, 1000);
        let content = [field.as_bytes(), message.bytes()].concat();
        let from = format!("<{mark}@{SENDERS}>{parameter}");
        let to = [format!("<{recipient}>")];
        let reply = client.transact_as(&from, &to, &content).unwrap();
        match reply.code {
            250 => Ok(()),
            _ => Err(format!("the daemon does not take the message: {reply:?}")),
        }
    }

    /// The outcomes of messages to the recipient, oldest first.
    pub fn outcomes(&self, recipient: &str) -> Vec<Outcome> {
        let (_, domain) = recipient.split_once('@').unwrap();
        let answer = self.daemon.operator().call("trace", json!({ "domain": domain })).unwrap();
        let events = answer.notifications.into_iter().map(|mut told| told["item"].take());
        let ours = |event: &Value| event["event"] == "outcome" && event["recipient"] == recipient;
        events.filter(ours).map(|event| Outcome::of(&event)).collect()
    }

    /// Waits for that many outcomes, and gives the last of them.
    pub fn outcome(&self, recipient: &str, number: usize) -> Outcome {
        let mut found = None;
        wait_until(&format!("outcome {number} for {recipient}"), SOON, || {
            found = self.outcomes(recipient).into_iter().nth(number - 1);
            if found.is_none() {
                sleep(BETWEEN_LOOKS);
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// What a probe of the domain says would come of a message, as an outcome.
    pub fn probe(&self, stance: Stance, domain: &str) -> Outcome {
        let _turn = self.probing.lock().unwrap();
        let params = json!({ "domain": domain, "target": stance.target() });
        let answer = self.daemon.operator().call("probe", params).unwrap();
        let findings = answer.notifications.into_iter().map(|mut told| told["item"].take());
        let mut verdicts =
            findings.filter_map(|mut finding| finding.get_mut("verdict").map(Value::take));
        let verdict = verdicts.next().unwrap_or_else(|| panic!("no verdict: {:?}", answer.result));
        let word = match verdict["end"].as_str() {
            Some("session") => "delivered",
            other => other.unwrap_or_default(),
        };
        Outcome::from_parts(word, &verdict["failure"], &verdict["facts"])
    }

    /// Whether the daemon logged that it could not have the domain's policy, for this reason.
    pub fn missed(&self, domain: &str, cause: &str) -> bool {
        let ours = format!("\"domain\":\"{domain}\"");
        let is_it = |line: &str| {
            line.contains("MTA-STS policy could not be fetched")
                && line.contains(&ours)
                && line.contains(cause)
        };
        self.daemon.log().lines().any(is_it)
    }

    /// What the daemon logged of sessions with exchangers of the domain.
    pub fn sessions(&self, domain: &str) -> Vec<String> {
        let log = self.daemon.log();
        let ours = format!("\"domain\":\"{domain}\"");
        let lines = log.lines().filter(|line| line.contains("\"session\"") && line.contains(&ours));
        lines.map(str::to_owned).collect()
    }
}

/// What came of an attempt, as the history tells it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `delivered`, `deferred`, `failed`.
    pub word: String,
    pub status: String,
    pub text: String,
    /// The levels.
    pub mx: String,
    pub tls: String,
}

impl Outcome {
    fn of(event: &Value) -> Outcome {
        let (word, detail) = event["outcome"]
            .as_object()
            .and_then(|outcome| outcome.iter().next())
            .unwrap_or_else(|| panic!("no outcome: {event}"));
        Outcome::from_parts(word, detail, &event["facts"])
    }

    /// `detail` is a receipt or a failure, `facts` are those of the session.
    fn from_parts(word: &str, detail: &Value, facts: &Value) -> Outcome {
        let digits = detail["status"].as_array().into_iter().flatten();
        let digits: Vec<String> = digits.map(Value::to_string).collect();
        let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Outcome {
            word: word.to_owned(),
            status: digits.join("."),
            text: said(&detail["text"]),
            mx: said(&facts["mx_level"]),
            tls: said(&facts["tls_level"]),
        }
    }
}
