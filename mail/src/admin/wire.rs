//! Sessions as an operator sees them: what was said, and for which message. Members are only ever added.

use serde::{Deserialize, Serialize};

use crate::envelope::EnvelopeId;
use crate::outcome::Failure;
use crate::time::Timestamp;
use crate::wire::transcript::Line;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOf {
    /// Counts the sessions of this process.
    pub session: u64,
    pub target: String,
    pub destination: String,
    /// The candidate's name.
    pub mx: String,
    pub address: String,
}

/// A line as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireLine {
    pub at: Timestamp,
    /// `at` for people.
    pub time: String,
    /// The message that the session carries; the last one, while it carries none.
    pub id: EnvelopeId,
    #[serde(flatten)]
    pub of: SessionOf,
    #[serde(flatten)]
    pub line: Line,
}

/// The last session to a destination in which something went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedSession {
    /// When it went wrong.
    pub at: Timestamp,
    pub time: String,
    /// The message it was carrying.
    pub id: EnvelopeId,
    #[serde(flatten)]
    pub of: SessionOf,
    pub failure: Failure,
    /// Bounded: of a long session the beginning and the end.
    pub lines: Vec<Line>,
}
