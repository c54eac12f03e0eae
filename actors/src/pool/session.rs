//! A session as it lies in the pool, with what was true when it was made.

use posthaste_edge::session::Session;
use posthaste_mail::outcome::{Remote, SessionFacts};
use posthaste_mail::time::Timestamp;

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
