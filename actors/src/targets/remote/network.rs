//! What all attempts of one target share: how the world is reached, and what of it may be.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient as Address;
use tokio::sync::watch;

use posthaste_edge::dial::LocalAddresses;
use posthaste_edge::dns::{Families, Resolver};
use posthaste_edge::session::Timeouts;
use posthaste_edge::tls::{ClientTls, decodes};
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::mailing::EightBit;
use posthaste_mail::lookup::Lookup;
use posthaste_mail::outcome::Failure;
use posthaste_mail::policy::AddressUse;
use posthaste_mail::policy::settings::Policies;
use posthaste_mail::route::addresses::{HostAddresses, Missing, addresses_of};
use posthaste_mail::route::mx::{Candidate, MxRecord};
use posthaste_mail::sts::StsAnswer;
use posthaste_mail::tlsa::applies::{Applies, applies};
use posthaste_mail::tlsa::{Dane, Inquiry, inquire};

use crate::carriage::Outfit;
use crate::carriage::counters::Counters;
use crate::carriage::reuse;
use crate::carriage::unchunked::Unchunked;
use crate::messages::policy::{StsPolicyFor, StsViolated};
use crate::messages::pool::{CheckIn, CheckOut};
use crate::targets::remote::broken_tls::BrokenTls;
use crate::targets::remote::hosts::HostMemory;
use crate::wire::Wire;

/// For the answer of a cache, which itself gives a policy host 30 seconds and DNS as many.
const STS_LIMIT: Duration = Duration::from_secs(90);

/// The cache of an `mtasts` block, as deliveries reach it.
#[derive(Clone)]
pub struct StsCache {
    pub policy: Address<StsPolicyFor>,
    pub violated: Address<StsViolated>,
}

pub struct Network {
    pub target: String,
    pub resolver: Resolver,
    /// Why it cannot say what is signed, as was found out last.
    pub resolver_fault: watch::Receiver<Option<String>>,
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
    pub broken_tls: Arc<BrokenTls>,
    /// `mx_auth`.
    pub policies: Policies,
    /// `mtasts`.
    pub sts: Option<StsCache>,
    /// What came of its deliveries' sessions.
    pub counters: Arc<Counters>,
}

impl Network {
    /// What the carriage of its attempts needs of it.
    pub fn outfit(&self) -> Outfit<'_> {
        Outfit {
            counters: &self.counters,
            unchunked: &self.unchunked,
            eight_bit: self.eight_bit,
            reuse_limit: self.reuse_limit,
            pool_out: &self.pool_out,
            pool_in: &self.pool_in,
        }
    }

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

    /// The domain's MTA-STS policy. Without `mtasts` nobody is asked.
    pub async fn sts(&self, domain: &Domain) -> Option<StsAnswer> {
        let cache = self.sts.as_ref()?;
        let domain = domain.clone();
        Some(StsPolicyFor { domain }.ask(&cache.policy, STS_LIMIT).await)
    }

    /// RFC 8461 §5.1: before mail fails for a policy, it is looked whether there is a newer one.
    pub fn sts_violated(&self, domain: &Domain) {
        if let Some(cache) = &self.sts {
            cache.violated.do_send(StsViolated { domain: domain.clone() });
        }
    }

    /// What the exchanger's TLSA records demand.
    pub async fn dane(&self, exchanger: &Candidate) -> Dane {
        let mut alias = None;
        let names = loop {
            match applies(exchanger, alias.as_ref()) {
                Applies::No(why) => return Dane::NotInForce(why),
                Applies::AskAlias => alias = Some(self.resolver.alias(&exchanger.host).await),
                Applies::LookUp(names) => break names,
                Applies::Failed(why) => return Dane::Failed(why),
                Applies::Unasked(why) => return Dane::Unasked(why),
            }
        };
        let mut answers = Vec::new();
        loop {
            match inquire(exchanger, &names, &answers, decodes) {
                Inquiry::Ask(name) => answers.push(self.resolver.tlsa(&name).await),
                Inquiry::Done(dane) => return dane,
            }
        }
    }

    /// The exchanger with what its addresses say today.
    pub async fn again(&self, exchanger: &Candidate) -> Result<Candidate, Failure> {
        let answer = self.addresses(&exchanger.host).await;
        let found = addresses_of(&exchanger.host, answer, exchanger.next_hop.implicit)?;
        Ok(exchanger.at(&found))
    }

    pub fn address_use(&self, address: IpAddr) -> AddressUse {
        reuse::address_use(&self.local, self.families, address, self.is_own(address))
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
