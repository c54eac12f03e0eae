//! When a session may be kept, for whom, and when it may be used again.

pub mod shelf;

use std::net::IpAddr;
use std::time::Duration;

use crate::envelope::TlsWish;
use crate::policy::proof::{Channel, Proof};
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

/// What a kept session is good for. Only an equal key finds it, so whatever could make it weaker than asked for belongs in here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    pub target: String,
    /// The next hop.
    pub destination: DestinationKey,
    /// `local_ip`: where we come from is part of what a peer knows us by.
    pub local: Vec<IpAddr>,
    pub class: Class,
}

/// What a message wants of its session beyond the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    pub tls: TlsWish,
    /// Whom we are to the server, when we log in.
    pub credentials: Option<String>,
}

impl Class {
    /// Do messages of this class share sessions?
    pub fn shares(&self) -> bool {
        match self.tls {
            TlsWish::Unsaid => true,
            // RFC 8689 §4.2.1 asks for proof in the very session: each such message gets a fresh one.
            // RFC 8689 §4.2.2 lets the policies be ignored: what was reached without them is not for anybody else.
            TlsWish::Required | TlsWish::Waived => false,
        }
    }
}

/// May a session be put by for another message? Only those that would be made again in the same way.
pub fn may_be_kept(key: &PoolKey, proof: &Proof) -> bool {
    key.class.shares() && proof.channel != Channel::ClearAfterFailure
}

/// `conn_reuse_limit`, `conn_max_idle_count`, `conn_max_idle_time`; 0 for any of them keeps nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Transactions in total over one session.
    pub most_transactions: u32,
    /// Idle sessions of one destination.
    pub most_idle: usize,
    /// From the last use.
    pub longest_idle: Duration,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping { most_transactions: 10, most_idle: 10, longest_idle: Duration::from_secs(150) }
    }
}

impl Keeping {
    /// How long a session may still wait for its next use; `None`: it may not be used again.
    ///
    /// Besides the directives there is a limit of age (Postfix `smtp_connection_reuse_time_limit`), which keeps the slowest host of a
    /// destination from collecting all sessions.
    pub fn time_left(
        &self,
        transactions: u32,
        opened: Timestamp,
        last_used: Timestamp,
        now: Timestamp,
    ) -> Option<Duration> {
        let nothing = self.most_idle == 0 || self.longest_idle.is_zero();
        if nothing || transactions >= self.most_transactions {
            return None;
        }
        let oldest = Duration::from_secs(300).max(self.longest_idle * 2);
        let idle = self.longest_idle.checked_sub(now.since(last_used))?;
        let age = oldest.checked_sub(now.since(opened))?;
        Some(idle.min(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::requirement::Certificate;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn left(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn ten_transactions_in_total() {
        let keeping = Keeping::default();
        assert_eq!(keeping.time_left(9, at(1000), at(1000), at(1000)), left(150));
        assert_eq!(keeping.time_left(10, at(1000), at(1000), at(1000)), None);
    }

    #[test]
    fn neither_idle_nor_old() {
        let keeping = Keeping::default();
        assert_eq!(keeping.time_left(1, at(1000), at(1000), at(1100)), left(50));
        assert_eq!(keeping.time_left(1, at(1000), at(1000), at(1151)), None);
        assert_eq!(keeping.time_left(1, at(1000), at(1290), at(1290)), left(10)); // its age ends first
        assert_eq!(keeping.time_left(1, at(1000), at(1300), at(1301)), None);
    }

    #[test]
    fn zero_keeps_nothing() {
        for keeping in [
            Keeping { most_transactions: 0, ..Keeping::default() },
            Keeping { most_idle: 0, ..Keeping::default() },
            Keeping { longest_idle: Duration::ZERO, ..Keeping::default() },
        ] {
            assert_eq!(keeping.time_left(0, at(1000), at(1000), at(1000)), None);
        }
    }

    fn key(tls: TlsWish) -> PoolKey {
        PoolKey {
            target: "mx".to_string(),
            destination: DestinationKey::Literal("192.0.2.1".parse().unwrap()),
            local: Vec::new(),
            class: Class { tls, credentials: None },
        }
    }

    fn proof(channel: Channel) -> Proof {
        let address = "192.0.2.1".parse().unwrap();
        Proof { address, local: None, exchanger: None, channel, offers_requiretls: false }
    }

    #[test]
    fn whatever_could_be_weaker_has_another_key() {
        let usual = key(TlsWish::Unsaid);
        let other = |change: fn(&mut PoolKey)| {
            let mut key = usual.clone();
            change(&mut key);
            key
        };
        for key in [
            other(|key| key.target = "relay".to_string()),
            other(|key| key.destination = DestinationKey::Unqualified),
            other(|key| key.local = vec!["192.0.2.7".parse().unwrap()]),
            other(|key| key.class.tls = TlsWish::Waived),
            other(|key| key.class.tls = TlsWish::Required),
            other(|key| key.class.credentials = Some("user".to_string())),
        ] {
            assert_ne!(key, usual);
        }
    }

    #[test]
    fn only_sessions_of_the_usual_kind_are_kept() {
        let certificate = |pkix| Channel::Encrypted(Certificate { pkix, dane: None, sound: true });
        for channel in [Channel::Clear, certificate(Err(String::new())), certificate(Ok(()))] {
            assert!(may_be_kept(&key(TlsWish::Unsaid), &proof(channel.clone())));
            assert!(!may_be_kept(&key(TlsWish::Waived), &proof(channel.clone())));
            assert!(!may_be_kept(&key(TlsWish::Required), &proof(channel)));
        }
        assert!(!may_be_kept(&key(TlsWish::Unsaid), &proof(Channel::ClearAfterFailure)));
    }
}
