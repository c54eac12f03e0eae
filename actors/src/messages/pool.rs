//! Idle sessions, lent and returned.

use actix::Message;

use posthaste_edge::session::Session;
use posthaste_mail::outcome::{Remote, SessionFacts};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

/// A session as it lies in the pool, with what was true when it was made.
#[derive(Debug)]
pub struct Idle {
    pub session: Session,
    pub remote: Remote,
    pub facts: SessionFacts,
    pub opened: Timestamp,
    pub last_used: Timestamp,
    /// Transactions made.
    pub transactions: u32,
}

/// What a pooled session is good for. Nothing weaker than asked for may come back under the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    pub target: String,
    pub destination: DestinationKey,
}

/// Delivery task -> Pool: an idle session, if there is one. No answer: dial.
#[derive(Debug)]
pub struct CheckOut {
    pub key: PoolKey,
}

impl Message for CheckOut {
    type Result = Option<Box<Idle>>;
}

/// Delivery task -> Pool: keep this for the next one. Losing it closes the connection, which is safe.
#[derive(Debug)]
pub struct CheckIn {
    pub key: PoolKey,
    pub session: Box<Idle>,
}

impl Message for CheckIn {
    type Result = ();
}
