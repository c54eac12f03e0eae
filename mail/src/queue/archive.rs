//! A queue outside of its spool: JSON lines that `spool export` writes and `spool import` reads.
//!
//! A title, then for each message one line with all that is known of it, followed by its content in pieces of base64. Members are only
//! ever added; a higher version is not read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Recipient};
use crate::queue::record::{Accepted, BatchRecord, JournalEntry, RecipientRecord};

pub const VERSION: u32 = 1;
/// Octets of content in one line.
pub const PIECE: usize = 48 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What follows is of this queue.
    Queue {
        name: String,
        version: u32,
    },
    Message(Box<Archived>),
    /// The next piece of the message's content, in base64.
    Content(String),
}

impl Line {
    /// A piece of content, `PIECE` octets at most.
    pub fn content(piece: &[u8]) -> Line {
        Line::Content(STANDARD.encode(piece))
    }
}

/// The octets of a piece of content.
pub fn decoded(piece: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(piece).map_err(|e| e.to_string())
}

/// All that is stored for an envelope but its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    pub envelope: Envelope,
    /// Octets of content.
    pub length: u64,
    /// Batches that wait.
    pub batches: Vec<ArchivedBatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedBatch {
    pub record: BatchRecord,
    /// In the order of their numbers.
    pub recipients: Vec<RecipientRecord>,
    /// What an attempt learned that was not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<(u32, JournalEntry)>,
}

impl Archived {
    /// The message as it is accepted anew, its batches numbered from 0.
    pub fn accepted(&self) -> Accepted {
        let recipients = |batch: &ArchivedBatch| -> Vec<Recipient> {
            batch.recipients.iter().map(|record| record.recipient.clone()).collect()
        };
        Accepted {
            envelope: self.envelope.clone(),
            batches: self
                .batches
                .iter()
                .map(|batch| (batch.record.destination.clone(), recipients(batch)))
                .collect(),
            undecided: false,
        }
    }
}
