//! What the sessions of one target came to, counted from the start of the daemon.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Outlives a fall of the actor, and is shared with its tasks.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions that could carry mail: made for it, and taken from the pool.
    pub opened: Count,
    pub reused: Count,
    /// Of those that were made: in the clear, because TLS had failed. Normal are a few a day; many mean somebody stands in between.
    pub plaintext_fallbacks: Count,
    /// Connections that were refused, not answered in time, and that failed in another way.
    pub dials_refused: Count,
    pub dials_timed_out: Count,
    pub dials_failed: Count,
    pub handshakes_failed: Count,
}

impl Counters {
    /// In the order of showing.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("opened", self.opened.value()),
            ("reused", self.reused.value()),
            ("plaintext_fallbacks", self.plaintext_fallbacks.value()),
            ("dials_refused", self.dials_refused.value()),
            ("dials_timed_out", self.dials_timed_out.value()),
            ("dials_failed", self.dials_failed.value()),
            ("handshakes_failed", self.handshakes_failed.value()),
        ]
    }
}
