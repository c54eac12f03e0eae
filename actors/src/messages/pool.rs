//! Idle sessions, lent and returned.

use actix::Message;

use posthaste_mail::route::destination::DestinationKey;

use crate::pool::session::Idle;

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
