//! What all attempts of one target share: how the world is reached, and what of it may be.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient as Address;

use posthaste_edge::dial::LocalAddresses;
use posthaste_edge::dns::{Families, Resolver};
use posthaste_edge::session::Timeouts;
use posthaste_edge::tls::ClientTls;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::mailing::EightBit;
use posthaste_mail::envelope::TlsWish;
use posthaste_mail::lookup::Lookup;
use posthaste_mail::outcome::Failure;
use posthaste_mail::policy::facts::MxFacts;
use posthaste_mail::policy::proof::Proof;
use posthaste_mail::policy::requirement::{Requirement, requirement};
use posthaste_mail::policy::settings::Policies;
use posthaste_mail::policy::{AddressUse, InForce};
use posthaste_mail::route::addresses::{HostAddresses, Missing};
use posthaste_mail::route::mx::MxRecord;

use crate::messages::pool::{CheckIn, CheckOut};
use crate::targets::remote::counters::Counters;
use crate::targets::remote::hosts::HostMemory;
use crate::targets::remote::reuse;
use crate::targets::remote::unchunked::Unchunked;
use crate::wire::Wire;

pub struct Network {
    pub target: String,
    pub resolver: Resolver,
    pub tls: ClientTls,
    pub our_name: String,
    pub port: u16,
    pub local: LocalAddresses,
    pub families: Families,
    pub allow_loopback: bool,
    /// Addresses of this machine, read at start.
    pub own_addresses: Vec<IpAddr>,
    pub hosts: Arc<HostMemory>,
    pub connect_timeout: Duration,
    /// `conn_reuse_limit`: transactions of one connection.
    pub reuse_limit: u32,
    pub timeouts: Timeouts,
    pub pool_out: Address<CheckOut>,
    pub pool_in: Address<CheckIn>,
    pub wire: Arc<Wire>,
    /// `strict_8bit`.
    pub eight_bit: EightBit,
    pub unchunked: Unchunked,
    /// `mx_auth`.
    pub policies: Policies,
    /// What came of its deliveries' sessions.
    pub counters: Arc<Counters>,
}

impl Network {
    /// Where signatures count, an answer that there is no MX is asked for with its proof.
    pub async fn mx(&self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        match self.policies.dnssec {
            true => self.resolver.mx_or_proof(domain).await,
            false => self.resolver.mx(domain).await,
        }
    }

    pub async fn addresses(&self, host: &Domain) -> Lookup<HostAddresses> {
        let mut found = self.resolver.addresses(host, self.families).await;
        // A host without IPv4 may still have an address: that we may not use it is no reason to say that there is none, and to bounce.
        if self.families == Families::OnlyIpv4 && matches!(found, Lookup::Absent { .. }) {
            found = self.resolver.addresses(host, Families::Both).await;
        }
        found.map(|found| {
            let found = missing_only_what_is_used(found, self.local);
            let list = self.hosts.prefer(host.ascii(), found.list);
            HostAddresses { list, ..found }
        })
    }

    /// What a session with a host has to be like. `authentic`: the list it stands in is signed.
    pub fn requirement(&self, authentic: bool, wish: TlsWish) -> Result<Requirement, Failure> {
        let facts = MxFacts { authentic, ..MxFacts::none() };
        requirement(&self.policies, &facts, wish)
    }

    /// The same judge sees sessions just made and those of the pool, by the rules of this moment.
    pub fn in_force(&self, proof: &Proof, wish: TlsWish) -> InForce {
        let Proof { address, authentic, .. } = *proof;
        let is_own = self.is_own(address);
        let address = reuse::address_use(&self.local, self.families, address, is_own);
        InForce { address, requirement: self.requirement(authentic, wish) }
    }

    pub fn is_usable(&self, address: IpAddr) -> bool {
        let usable = reuse::address_use(&self.local, self.families, address, false);
        usable == AddressUse::Allowed
    }

    pub fn is_own(&self, address: IpAddr) -> bool {
        if self.allow_loopback {
            return false;
        }
        let address = address.to_canonical(); // ::ffff:127.0.0.1 is loopback too
        address.is_loopback()
            || address.is_unspecified()
            || address.is_multicast()
            || self.own_addresses.contains(&address)
    }
}

/// Nobody waits for addresses that `local_ip` would not let us dial.
fn missing_only_what_is_used(found: HostAddresses, local: LocalAddresses) -> HostAddresses {
    let is_used = |missing: &Missing| local.for_peer(missing.family.unspecified()).is_ok();
    HostAddresses { missing: found.missing.filter(is_used), ..found }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use posthaste_mail::route::addresses::Family;

    use super::*;

    #[test]
    fn a_family_that_may_not_be_dialled_is_not_missed() {
        let only_four = LocalAddresses { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
        for (family, local, missed) in [
            (Family::Ipv6, only_four, false),
            (Family::Ipv4, only_four, true),
            (Family::Ipv6, LocalAddresses::default(), true), // the system chooses
        ] {
            let missing = Some(Missing { family, why: "SERVFAIL".to_string() });
            let found = HostAddresses { missing, ..HostAddresses::default() };
            assert_eq!(missing_only_what_is_used(found, local).missing.is_some(), missed);
        }
    }
}
