//! Idle sessions, lent and returned.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use posthaste_edge::session::Session;
use posthaste_mail::admin::answer::SessionLine;
use posthaste_mail::outcome::{Remote, SessionFacts};
use posthaste_mail::policy::proof::Proof;
use posthaste_mail::pool::PoolKey;
use posthaste_mail::time::Timestamp;

use crate::wire::Recording;

/// A session as it lies in the pool, with what was true when it was made.
#[derive(Debug)]
pub struct Idle {
    pub session: Session,
    pub remote: Remote,
    pub facts: SessionFacts,
    pub proof: Proof,
    pub opened: Timestamp,
    /// The end of its last transaction; being lent and returned unused is no use.
    pub last_used: Timestamp,
    /// Transactions made.
    pub transactions: u32,
    /// What operators are shown of it goes on with whoever has it next.
    pub recording: Arc<Recording>,
}

/// Delivery task -> Pool: an idle session, if there is one. No answer: dial.
#[derive(Debug)]
pub struct CheckOut {
    pub key: PoolKey,
}

impl Message for CheckOut {
    type Result = Option<Claim>;
}

/// The right to one session: it is on its way from the task that watched over it. An error instead of it: its peer or its time was
/// faster, ask again. A claim that is dropped ends the session.
pub type Claim = oneshot::Receiver<Box<Idle>>;

/// Delivery task -> Pool: keep this for the next one, or take leave of it. Losing it closes the connection, which is safe.
#[derive(Debug)]
pub struct CheckIn {
    pub key: PoolKey,
    pub session: Box<Idle>,
    pub wish: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Keep,
    /// It is in step, so the peer is owed a QUIT; nobody has to wait for that.
    Part,
}

impl Message for CheckIn {
    type Result = ();
}

/// Admin -> Pool: what lies there.
#[derive(Clone, Copy, Debug)]
pub struct ShowPool;

impl Message for ShowPool {
    type Result = Vec<SessionLine>;
}
