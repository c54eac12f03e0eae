//! What an operator is told. Members are only ever added.

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeId};
use crate::level::TlsLevel;
use crate::outcome::{Failure, Outcome, SessionFacts};
use crate::time::Timestamp;

/// The first line of every connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Greeting {
    pub posthaste: String,
    pub protocol: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub uptime_seconds: u64,
    /// Counts the configurations loaded by this process.
    pub generation: u64,
    pub hostname: String,
    pub state_dir: String,
    pub queues: Vec<QueueLine>,
    /// What is wrong now, in words; empty when all is well.
    pub wrong: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct QueueLine {
    pub queue: String,
    pub target: String,
    pub envelopes: u64,
    pub batches: u64,
    pub bytes: u64,
    pub running: u64,
    pub max_parallelism: u64,
    pub oldest_age_seconds: Option<u64>,
    pub accepted: u64,
    pub delivered: u64,
    pub failed: u64,
    pub deferred: u64,
    /// Recipients whose attempt ended after the dot without a reply: they may have the message.
    #[serde(default)]
    pub unknown: u64,
    /// Failures nobody could be told of: the sender is null, or the `bounce` pipeline takes no notification for it.
    #[serde(default)]
    pub untold: u64,
}

/// One actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildLine {
    pub name: String,
    pub kind: String,
    /// `running`, `restarting`, `suspended`, `stopped`.
    pub state: String,
    pub restarts: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<String>,
    /// What the actor counts of itself.
    pub counters: Vec<(String, u64)>,
    /// The actor answered within a second.
    pub answers: bool,
}

/// One delivery in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryLine {
    pub queue: String,
    pub id: EnvelopeId,
    pub destination: String,
    pub recipients: u64,
    pub attempt: u32,
    /// What it does just now (`attempt::phase`).
    pub phase: String,
    #[serde(default)]
    pub phase_seconds: u64,
    /// The host it is with, or looks up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mx: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The host was silent for long, and the slot is used by somebody else.
    #[serde(default)]
    pub patient: bool,
    /// Since the attempt began.
    pub seconds: u64,
}

/// One session that nobody uses now, kept for the next message to its destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionLine {
    pub target: String,
    pub destination: String,
    pub mx: String,
    pub address: String,
    pub tls_level: TlsLevel,
    /// Made so far.
    pub transactions: u32,
    /// Since the last of them.
    pub idle_seconds: u64,
    /// Since the connection was made.
    pub age_seconds: u64,
}

/// A policy of MTA-STS, as a cache has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsLine {
    /// The `mx_auth` block whose cache it is.
    pub cache: String,
    pub domain: String,
    /// `enforce`, `testing`, `none`.
    pub mode: String,
    pub mx: Vec<String>,
    /// Of the record it was fetched by.
    pub id: String,
    pub fetched: String,
    pub expires: String,
    /// To the day.
    pub last_used: String,
    /// It demands nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// When it is fetched anew unasked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
    /// Why a newer one could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// The same with its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsView {
    #[serde(flatten)]
    pub line: StsLine,
    pub text: String,
}

/// Why something does not move.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explanation {
    pub queue: String,
    /// Of a message; without it the destination as a whole is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EnvelopeId>,
    pub destination: String,
    /// The domain that was asked for, where its mail waits for a target that has other mail as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Who waits, of a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// `delivering`, `awaiting`, `settling`, `held`, `undecided`, `retry`, `suspended`, `route-held`, `target-missing`, `draining`,
    /// `dead-site`, `own-limit`, `window-full`, `silent-host`, `no-slot`, `turn`, `idle`.
    pub reason: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    pub site: SiteLine,
    /// The forwarder that it goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarder: Option<ForwarderLine>,
}

/// What a `target.smtp` or `target.lmtp` knows of its servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwarderLine {
    pub target: String,
    /// Our credentials were refused, and nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<RouteHoldLine>,
    /// In the order of the configuration.
    pub servers: Vec<ServerLine>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHoldLine {
    /// The first refusal since they were taken last.
    pub since: String,
    /// When they are shown again.
    pub until: String,
    /// What the server said last.
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLine {
    pub server: String,
    /// `ready`; `resting`, there was no session with it; `silent`, somebody waits for it. All but `ready` are asked after the others.
    pub standing: String,
    /// Of a silent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Of a resting one, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A destination as a queue knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SiteLine {
    /// Attempts under way.
    pub running: u64,
    /// How many at once are good for it.
    pub window: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_until: Option<String>,
    /// Batches that wait: of a destination all that were found on disk, of a message those that are near their turn.
    pub waiting: u64,
    /// Of these, held by an operator.
    #[serde(default)]
    pub held: u64,
    pub more_on_disk: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<String>,
}

/// One batch that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchLine {
    pub queue: String,
    pub id: EnvelopeId,
    pub from: String,
    pub destination: String,
    pub recipients: Vec<String>,
    pub size: u64,
    pub arrived: String,
    pub attempts: u32,
    /// `waiting`, `delivering`, `held`.
    pub state: String,
    pub due: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// The last failure in a word, as `--reason` takes it: `unreachable`, `unknown-after-dot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a held batch, and of one that will be held when its attempt ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldLine>,
    /// The target an operator chose in place of the queue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerouted: Option<String>,
    /// That target is not in the configuration: the batch waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub target_missing: bool,
}

/// An operator's stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLine {
    pub reason: String,
    /// `uid 1000`.
    pub by: String,
    pub since: String,
}

/// All that is known of one message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MessageView {
    pub queue: String,
    pub envelope: Envelope,
    pub batches: Vec<BatchLine>,
    pub recipients: Vec<RecipientLine>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecipientLine {
    pub address: String,
    pub batch: u32,
    /// `waiting`, `delivered`, `failed`, `dropped`.
    pub standing: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Affected {
    /// Batches that the filter matched.
    pub matched: u64,
    /// Batches that were changed, or would be.
    pub changed: u64,
    /// Batches that are being delivered now and were left alone.
    #[serde(default)]
    pub delivering: u64,
    /// Batches that could not be changed now; they are as they were.
    #[serde(default)]
    pub failed: u64,
    /// Why, of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Affected {
    pub fn add(&mut self, other: Affected) {
        self.matched += other.matched;
        self.changed += other.changed;
        self.delivering += other.delivering;
        self.failed += other.failed;
        self.why = self.why.take().or(other.why);
    }
}

/// Something that happened to a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TraceEvent {
    pub at: Timestamp,
    /// `at` for people.
    pub time: String,
    pub id: EnvelopeId,
    pub queue: String,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Accepted {
        from: String,
        recipients: u64,
        size: u64,
        destinations: Vec<String>,
    },
    Attempt {
        destination: String,
        attempt: u32,
        recipients: u64,
    },
    Outcome {
        recipient: String,
        destination: String,
        attempt: u32,
        outcome: Outcome,
        facts: SessionFacts,
    },
    Retry {
        destination: String,
        attempts: u32,
        due: String,
        recipients: u64,
    },
    Ended {
        recipient: String,
        end: String,
        text: String,
    },
    /// An operator changed it; `act` is the verb.
    Operator {
        destination: String,
        act: String,
        by: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
    },
    Removed,
}

impl Event {
    /// The destination, for those that have one.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Event::Attempt { destination, .. }
            | Event::Outcome { destination, .. }
            | Event::Retry { destination, .. }
            | Event::Operator { destination, .. } => Some(destination),
            Event::Accepted { .. } | Event::Ended { .. } | Event::Removed => None,
        }
    }
}
