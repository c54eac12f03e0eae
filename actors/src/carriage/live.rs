//! A session in use.

use std::sync::Arc;

use posthaste_edge::session::Session;
use posthaste_mail::attempt::mailing::room;
use posthaste_mail::attempt::ports::Peer;
use posthaste_mail::outcome::{Failure, Remote, SessionFacts};
use posthaste_mail::policy::proof::Proof;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::client::transaction::Fate;

use crate::carriage::reuse::Lent;
use crate::wire::Recording;

pub struct Live {
    pub session: Session,
    pub remote: Remote,
    pub facts: SessionFacts,
    pub proof: Proof,
    pub opened: Timestamp,
    pub transactions: u32,
    pub reuse_limit: u32,
    /// How it was when the pool lent it.
    pub lent: Option<Lent>,
    pub recording: Arc<Recording>,
    /// Why the last transaction left recipients for another one.
    pub unfinished: Option<Failure>,
}

impl Live {
    /// An operator is shown the session if it did not take everybody.
    pub fn note_fates(&mut self, fates: &[(u32, Fate)]) {
        self.unfinished = None;
        for (_, fate) in fates {
            match fate {
                Fate::Taken(_) => {}
                Fate::AnotherTransaction(failure) => {
                    self.unfinished.get_or_insert_with(|| failure.clone());
                }
                Fate::Refused(failure) => {
                    self.unfinished = None;
                    self.recording.failed(failure);
                    return;
                }
            }
        }
    }
}

impl Peer for Live {
    fn remote(&self) -> Remote {
        self.remote.clone()
    }

    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn room(&self) -> usize {
        room(self.session.capabilities())
    }

    fn transactions_left(&self) -> u32 {
        let room = |limit: u32| limit.saturating_sub(self.transactions);
        // RFC 9422 §4.1: MAILMAX is what the server takes in one session.
        let offered = self.session.capabilities().mail_max.map_or(u32::MAX, room);
        // Without reuse a connection still carries one.
        room(self.reuse_limit.max(1)).min(offered)
    }

    fn is_reused(&self) -> bool {
        self.facts.reused
    }
}
