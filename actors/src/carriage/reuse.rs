//! Sessions that are used again: taken from the pool only if they are good today, returned with an exact account of their use.

use std::net::IpAddr;
use std::time::Duration;

use actix::Recipient as Address;

use posthaste_edge::dial::LocalAddresses;
use posthaste_edge::dns::Families;
use posthaste_edge::session::Session;
use posthaste_mail::certificate::DaneVerdict;
use posthaste_mail::envelope::TlsWish;
use posthaste_mail::outcome::SessionFacts;
use posthaste_mail::policy::proof::{Channel, Proof};
use posthaste_mail::policy::requirement::{ByDane, Certificate, Requirement, Tls};
use posthaste_mail::policy::{AddressUse, InForce, Levels, judge};
use posthaste_mail::pool::{Class, PoolKey};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::route::mx::Candidate;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::client::opening::StartTls;

use crate::messages::pool::{CheckIn, CheckOut, Idle, Wish};

/// For the pool's own answer. One that is being restarted holds no delivery: a dial is what it costs.
const POOL_LIMIT: Duration = Duration::from_secs(1);
/// Who answered so lately is there: RSET would cost a busy destination a round trip a message and tell nothing.
const FRESH: Duration = Duration::from_secs(1);
/// For the whole search, so that a destination full of half-dead sessions costs no more than one of them.
const SEARCH_LIMIT: Duration = Duration::from_secs(20);

/// What a session of this attempt has to be equal in.
pub fn key(
    target: &str,
    local: &LocalAddresses,
    destination: DestinationKey,
    tls: TlsWish,
) -> PoolKey {
    let local = [local.v4.map(IpAddr::V4), local.v6.map(IpAddr::V6)];
    PoolKey {
        target: target.to_string(),
        destination,
        local: local.into_iter().flatten().collect(),
        class: Class { tls, credentials: None },
    }
}

/// What the session proved when it was opened to meet a requirement.
pub fn proof(
    session: &Session,
    address: IpAddr,
    exchanger: Option<&Candidate>,
    requirement: &Requirement,
) -> Proof {
    Proof {
        address,
        local: session.local_address(),
        exchanger: exchanger.cloned(),
        channel: channel(session, requirement),
        offers_requiretls: session.capabilities().require_tls,
    }
}

fn channel(session: &Session, requirement: &Requirement) -> Channel {
    let Some(tls) = session.tls() else {
        return match session.starttls() {
            // `target.remote` leaves STARTTLS out only where it has failed.
            StartTls::Skip => Channel::ClearAfterFailure,
            StartTls::IfOffered | StartTls::AtOnce => Channel::Clear,
        };
    };
    let verdict = match &tls.dane {
        DaneVerdict::Matched(_) => Some(Ok(())),
        DaneVerdict::Refused(why) => Some(Err(why.to_string())),
        DaneVerdict::NotAsked | DaneVerdict::NoneUsable => None,
    };
    let shown = requirement.dane.clone().zip(verdict);
    Channel::Encrypted(Certificate {
        pkix: tls.pkix.clone(),
        dane: shown.map(|(tlsa, verdict)| ByDane { tlsa, verdict }),
        sound: matches!(requirement.tls, Tls::Authenticated(_)),
    })
}

/// What holds now for sessions to this address.
pub fn address_use(
    local: &LocalAddresses,
    families: Families,
    address: IpAddr,
    is_ours: bool,
) -> AddressUse {
    let other_family =
        families == Families::OnlyIpv4 && address.is_ipv6() || local.for_peer(address).is_err();
    match (is_ours, other_family) {
        (true, _) => AddressUse::Ours,
        (false, true) => AddressUse::OtherFamily,
        (false, false) => AddressUse::Allowed,
    }
}

/// The pool as an attempt reaches it.
pub struct Lender<'a> {
    pub check_out: &'a Address<CheckOut>,
    pub check_in: &'a Address<CheckIn>,
    pub key: &'a PoolKey,
    pub now: Timestamp,
}

impl Lender<'_> {
    /// An idle session that passes today's policies and whose peer answers. One that does not is closed and leaves no trace in the
    /// attempt: its end says nothing of the host.
    pub async fn lend<F, R>(&self, in_force: F) -> Option<Box<Idle>>
    where
        F: Fn(Proof) -> R,
        R: Future<Output = InForce>,
    {
        if !self.key.class.shares() {
            return None;
        }
        let search = async {
            loop {
                let found = tokio::time::timeout(POOL_LIMIT, self.claim()).await.ok()??;
                // Its peer or its time was faster than we are: the next one.
                let Some(mut idle) = found else { continue };
                match judge(&idle.proof, in_force(idle.proof.clone()).await) {
                    Err(_) => self.give_back(idle, Wish::Part),
                    Ok(levels) if self.answers(&mut idle).await => {
                        idle.facts = at(levels, idle.facts);
                        return Some(idle);
                    }
                    // Closed by being dropped: whoever refuses RSET, or is gone, is owed no QUIT.
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(SEARCH_LIMIT, search).await.ok()?
    }

    /// Is its peer there, and ready for another transaction?
    async fn answers(&self, idle: &mut Idle) -> bool {
        let rested = self.now.since(idle.last_used);
        (rested < FRESH && idle.session.is_ready()) || idle.session.reset().await
    }

    /// `None`: there is no session, or no pool. `Some(None)`: there was one.
    async fn claim(&self) -> Option<Option<Box<Idle>>> {
        let claim = self.check_out.send(CheckOut { key: self.key.clone() }).await.ok().flatten()?;
        Some(claim.await.ok())
    }

    pub fn give_back(&self, session: Box<Idle>, wish: Wish) {
        self.check_in.do_send(CheckIn { key: self.key.clone(), session, wish });
    }
}

/// The facts of a session that was judged.
pub fn at(levels: Levels, facts: SessionFacts) -> SessionFacts {
    SessionFacts { mx_level: levels.mx, tls_level: levels.tls, policies: levels.said, ..facts }
}

/// The account of a session at the moment it was lent.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    pub transactions: u32,
    pub last_used: Timestamp,
}

/// When a session was used last, if it is returned `now`. Without a transaction it was not: else looking at it again and again would keep
/// it for ever, and from its peer's view it was idle all the time.
pub fn last_used(lent: Option<Lent>, transactions: u32, now: Timestamp) -> Timestamp {
    match lent {
        Some(lent) if lent.transactions == transactions => lent.last_used,
        _ => now,
    }
}

#[cfg(test)]
mod tests;
