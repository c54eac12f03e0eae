//! What goes over the wire, for operators: live for those who follow, and the last session that failed of each destination.
//!
//! `Recording` listens to one session. What is kept is bounded in every direction: octets of a session (`transcript`), destinations
//! (`MOST_DESTINATIONS`), lines that a follower may be behind. Losing it costs nobody a message; it survives the actors.

mod failed;
mod recording;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use posthaste_edge::clock::Clock;
use posthaste_mail::admin::wire::{FailedSession, SessionOf, WireLine};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::outcome::Remote;

use failed::{Failed, Kept};
pub use recording::Recording;

/// Destinations whose last failed session is kept. With 4 KB each this is a few megabytes.
const MOST_DESTINATIONS: usize = 1000;
/// A follower that is further behind misses lines rather than holding up sessions.
const FOLLOWER_BACKLOG: usize = 4096;

#[derive(Debug)]
pub struct Wire {
    clock: Clock,
    followers: broadcast::Sender<WireLine>,
    failed: Mutex<Failed>,
    sessions: AtomicU64,
}

impl Wire {
    pub fn new(clock: Clock) -> Wire {
        Wire {
            clock,
            followers: broadcast::Sender::new(FOLLOWER_BACKLOG),
            failed: Mutex::new(Failed::new(MOST_DESTINATIONS)),
            sessions: AtomicU64::new(0),
        }
    }

    /// A session begins, with the dialling.
    pub fn record(
        self: &Arc<Wire>,
        target: &str,
        destination: String,
        remote: Remote,
        message: EnvelopeId,
    ) -> Arc<Recording> {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let of = SessionOf {
            session,
            target: target.to_string(),
            destination,
            mx: remote.host,
            address: remote.address.unwrap_or_default(),
        };
        Arc::new(Recording::new(Arc::clone(self), of, message))
    }

    /// Lines of all sessions, from now on.
    pub fn follow(&self) -> broadcast::Receiver<WireLine> {
        self.followers.subscribe()
    }

    /// The last session to this destination that failed.
    pub fn last_failed(&self, destination: &str) -> Option<FailedSession> {
        self.failed().find(destination).map(Kept::shown)
    }

    /// All that are kept and wanted, the oldest first.
    pub fn all_failed(
        &self,
        wanted: impl Fn(&SessionOf, EnvelopeId) -> bool,
    ) -> Vec<FailedSession> {
        let failed = self.failed();
        failed.iter().filter(|kept| wanted(&kept.of, kept.id)).map(Kept::shown).collect()
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
