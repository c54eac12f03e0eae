//! Addresses at which TLS was agreed on lately and did not come about, while a session in the clear did.
//!
//! Whoever hangs in the handshake costs `command_timeout`, which each message would pay anew. Only what does not depend on TLS asks here:
//! where a policy wants it the handshake is made. The time is short, because so long one failure keeps mail in the clear.
//!
//! What a server does in the handshake may depend on the name it is asked for, and whoever has a domain can give its exchanger a name of
//! his own and somebody else's address. So it is remembered of a host by its name at its address, and mail for others stays encrypted.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_mail::time::Timestamp;

const REMEMBERED: Duration = Duration::from_secs(300);
/// Addresses remembered, the latest.
const MOST: usize = 1000;

#[derive(Debug)]
struct Entry {
    host: String,
    address: IpAddr,
    since: Timestamp,
    why: String,
}

#[derive(Debug, Default)]
pub struct BrokenTls(Mutex<VecDeque<Entry>>);

impl BrokenTls {
    // A poisoned lock is used on: the list changes by single steps that do not panic.
    fn known(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, host: &str, address: IpAddr, why: String, now: Timestamp) {
        let mut known = self.known();
        known.retain(|entry| !entry.is_of(host, address));
        known.truncate(MOST - 1);
        known.push_front(Entry { host: host.to_string(), address, since: now, why });
    }

    /// TLS works there, or the server will not do without.
    pub fn forget(&self, host: &str, address: IpAddr) {
        self.known().retain(|entry| !entry.is_of(host, address));
    }

    /// What it failed with. A clock that was set back makes nothing last longer.
    pub fn why(&self, host: &str, address: IpAddr, now: Timestamp) -> Option<String> {
        let known = self.known();
        let entry = known.iter().find(|entry| entry.is_of(host, address))?;
        let lasts = entry.since <= now && now.since(entry.since) < REMEMBERED;
        lasts.then(|| entry.why.clone())
    }
}

impl Entry {
    fn is_of(&self, host: &str, address: IpAddr) -> bool {
        self.address == address && self.host == host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MX: &str = "mx.test";

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn address(number: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number])
    }

    #[test]
    fn a_failure_is_remembered_for_five_minutes() {
        let broken = BrokenTls::default();
        broken.note(MX, address(1), "no shared cipher".to_string(), at(0));
        assert_eq!(broken.why(MX, address(1), at(299)).as_deref(), Some("no shared cipher"));
        assert_eq!(broken.why(MX, address(2), at(1)), None);
        assert_eq!(broken.why(MX, address(1), at(300)), None);
        broken.note(MX, address(1), "closed".to_string(), at(300));
        assert_eq!(broken.why(MX, address(1), at(301)).as_deref(), Some("closed"));
        assert_eq!(broken.why(MX, address(1), at(299)), None); // the clock was set back
        broken.forget(MX, address(1));
        assert_eq!(broken.why(MX, address(1), at(301)), None);
    }

    #[test]
    fn the_latest_are_remembered() {
        let broken = BrokenTls::default();
        for number in 0..=MOST as u16 {
            broken.note(MX, address(number), String::new(), at(0));
            broken.note(MX, address(number), String::new(), at(0)); // twice is once
        }
        assert_eq!(broken.why(MX, address(0), at(1)), None);
        assert!(broken.why(MX, address(1), at(1)).is_some());
    }

    #[test]
    fn a_name_that_others_give_to_the_address_takes_no_tls_from_it() {
        let broken = BrokenTls::default();
        broken.note("mx.attacker.test", address(1), "unrecognized name".to_string(), at(0));
        assert_eq!(broken.why(MX, address(1), at(1)), None);
        broken.forget(MX, address(1));
        assert!(broken.why("mx.attacker.test", address(1), at(1)).is_some());
    }
}
