//! What is stored for an envelope.
//!
//! Every record is JSON behind a format version; members are only ever added, and a reader takes missing ones as absent.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeId, Recipient};
use crate::outcome::{Failure, Outcome, Receipt};
use crate::queue::lease::Lease;
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

/// One envelope's share for one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId {
    pub envelope: EnvelopeId,
    pub index: u32,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.envelope, self.index)
    }
}

/// A place in the schedule.
pub type Place = (Timestamp, BatchId);

/// One line of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Timestamp,
    pub batch: BatchId,
    pub destination: DestinationKey,
}

/// Where the content of an envelope lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyPlace {
    /// In a segment shared with others.
    Segment { segment: u64, offset: u64, length: u64 },
    /// In a file of its own, named by the envelope id.
    File { length: u64 },
}

impl BodyPlace {
    pub fn length(&self) -> u64 {
        match self {
            BodyPlace::Segment { length, .. } | BodyPlace::File { length } => *length,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeRecord {
    pub envelope: Envelope,
    pub body: BodyPlace,
}

/// An operator's stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub reason: String,
    pub by: String,
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    pub destination: DestinationKey,
    pub arrived: Timestamp,
    /// When the next attempt may begin; while leased, when it may if nobody reports (the provisional due time).
    pub due: Timestamp,
    /// Attempts that reached DNS or a peer.
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<Timestamp>,
    /// Why the batch still waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The target an operator chose for it; `None`: the way its envelope names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerouted: Option<String>,
}

/// Where one recipient stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Waiting,
    Delivered {
        at: Timestamp,
        receipt: Receipt,
    },
    Failed {
        at: Timestamp,
        failure: Failure,
    },
    /// Taken off by the operator, without notification.
    Dropped {
        at: Timestamp,
    },
}

impl Standing {
    pub fn is_waiting(&self) -> bool {
        matches!(self, Standing::Waiting)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRecord {
    pub recipient: Recipient,
    pub standing: Standing,
    /// The last failure of a recipient that still waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// When the sender was told that this recipient has to wait: once is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warned: Option<Timestamp>,
}

impl RecipientRecord {
    pub fn new(recipient: Recipient) -> RecipientRecord {
        RecipientRecord { recipient, standing: Standing::Waiting, last_failure: None, warned: None }
    }
}

/// What a delivery task writes down before it tells anyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// The final dot went out; from here on silence means *unknown*.
    DotSent,
    Settled(Outcome),
}

impl BatchRecord {
    /// Never attempted, and due at once.
    pub fn new(destination: DestinationKey, arrived: Timestamp) -> BatchRecord {
        BatchRecord {
            destination,
            arrived,
            due: arrived,
            attempts: 0,
            lease: None,
            hold: None,
            last_attempt: None,
            last_failure: None,
            rerouted: None,
        }
    }

    /// Not accepted yet: the other queues of the same message have not answered.
    pub fn is_undecided(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.by == UNDECIDED)
    }

    /// Nobody of it can be tried: recipients that cannot be read are all that is left.
    pub fn is_held_by_spool(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.by == SPOOL)
    }
}

/// Who holds a message that is not accepted yet.
pub const UNDECIDED: &str = "intake";
/// Who holds a batch with recipients that cannot be read.
pub const SPOOL: &str = "spool";

/// A newly accepted envelope, split and ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub envelope: Envelope,
    pub batches: Vec<(DestinationKey, Vec<Recipient>)>,
    /// Other queues have to take the same message before anybody hears of it: it waits for the decision, off the schedule.
    #[serde(default)]
    pub undecided: bool,
}

impl Accepted {
    pub fn recipients(&self) -> usize {
        self.batches.iter().map(|(_, recipients)| recipients.len()).sum()
    }
}
