//! What the attempts and probes of one target count, from the start of the daemon. They run as tasks of their own, so the numbers are
//! shared; they outlive a restart of the actor, which shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_edge::dial::DialError;
use posthaste_mail::level::{MxLevel, TlsLevel};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A new one gets a field here and a line in `shown`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions that could carry mail: made for it, and taken from the pool.
    pub opened: Counter,
    pub reused: Counter,
    /// Of those that were made: in the clear, because TLS had failed. Normal are a few a day; many mean somebody stands in between.
    pub plaintext_fallbacks: Counter,
    /// Connections that were refused, not answered in time, and that failed in another way.
    pub dials_refused: Counter,
    pub dials_timed_out: Counter,
    pub dials_failed: Counter,
    pub handshakes_failed: Counter,
    /// Sessions that were made and could carry mail, by their levels.
    pub mx_none: Counter,
    pub mx_mtasts: Counter,
    pub mx_dnssec: Counter,
    pub tls_none: Counter,
    pub tls_encrypted: Counter,
    pub tls_authenticated: Counter,
    /// Certificates that match TLSA records, and that do not.
    pub dane_matched: Counter,
    pub dane_refused: Counter,
    /// Exchangers and sessions that policies did not let be used.
    pub refused_by_policy: Counter,
    /// 8-bit content sent to servers without 8BITMIME. Where it grows and recipients complain about broken letters, `strict_8bit` tells
    /// which server it was.
    pub eight_bit_unannounced: Counter,
    /// Contents sent with a line above 998 octets (RFC 5322 §2.1.1). A server may refuse or cut such lines.
    pub long_lines: Counter,
}

impl Counters {
    /// A session that can carry mail.
    pub fn session_made(&self, mx: MxLevel, tls: TlsLevel) {
        self.opened.add_one();
        match mx {
            MxLevel::None => self.mx_none.add_one(),
            MxLevel::Mtasts => self.mx_mtasts.add_one(),
            MxLevel::Dnssec => self.mx_dnssec.add_one(),
        }
        match tls {
            TlsLevel::None => self.tls_none.add_one(),
            TlsLevel::Encrypted => self.tls_encrypted.add_one(),
            TlsLevel::Authenticated => self.tls_authenticated.add_one(),
        }
    }

    /// A connection that did not come about.
    pub fn dial_failed(&self, error: &DialError) {
        use std::io::ErrorKind::{ConnectionRefused, TimedOut};
        match error {
            DialError::TimedOut => self.dials_timed_out.add_one(),
            DialError::Peer(e) if e.kind() == TimedOut => self.dials_timed_out.add_one(),
            DialError::Peer(e) if e.kind() == ConnectionRefused => self.dials_refused.add_one(),
            DialError::Peer(_) | DialError::NoLocalAddress | DialError::Local(_) => {
                self.dials_failed.add_one();
            }
        }
    }

    /// By name, in the order of showing.
    pub fn shown(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("opened", self.opened.value()),
            ("reused", self.reused.value()),
            ("plaintext_fallbacks", self.plaintext_fallbacks.value()),
            ("dials_refused", self.dials_refused.value()),
            ("dials_timed_out", self.dials_timed_out.value()),
            ("dials_failed", self.dials_failed.value()),
            ("handshakes_failed", self.handshakes_failed.value()),
            ("mx_none", self.mx_none.value()),
            ("mx_mtasts", self.mx_mtasts.value()),
            ("mx_dnssec", self.mx_dnssec.value()),
            ("tls_none", self.tls_none.value()),
            ("tls_encrypted", self.tls_encrypted.value()),
            ("tls_authenticated", self.tls_authenticated.value()),
            ("dane_matched", self.dane_matched.value()),
            ("dane_refused", self.dane_refused.value()),
            ("refused_by_policy", self.refused_by_policy.value()),
            ("eight_bit_unannounced", self.eight_bit_unannounced.value()),
            ("long_lines", self.long_lines.value()),
        ]
    }
}
