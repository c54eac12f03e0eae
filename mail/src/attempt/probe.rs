//! What a delivery would meet now, without mail: the same exchangers, addresses, sessions and verdict, and QUIT in place of MAIL.
//!
//! 1. The way is gone as an attempt goes it, within its bounds and to the first session; from this comes the verdict.
//! 2. Then come the hosts and addresses that the attempt did not need, within wider bounds, because people want to know of them.
//!
//! A delivery may be faster: it takes an idle session of its destination if there is one, and asks nobody.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::address::Domain;
use crate::admin::finding::{
    AddressLine, AddressStanding, ContactLine, ExchangersLine, Finding, HostLine, PolicyLine,
    PreferenceLine, SessionView, VerdictEnd, VerdictLine,
};
use crate::attempt::ports::{Approach, Peer, ProbePorts, Sessions};
use crate::attempt::remote::{MOST_ADDRESSES, Rules, no_way};
use crate::attempt::walk::{End, Next, OtherFamily, Visitor, Walk, literal, look_up};
use crate::dice::Dice;
use crate::level::TlsLevel;
use crate::lookup::Lookup;
use crate::outcome::{Failure, Outcome, Remote, SessionFacts};
use crate::policy::requirement::{Requirement, Tls};
use crate::route::addresses::{Family, HostAddresses, addresses_of};
use crate::route::destination::DestinationKey;
use crate::route::mx::{Candidate, Exchangers, MxRecord};

/// Addresses that are connected to, those of the attempt included.
const MOST_LOOKED_AT: usize = 10;

/// Where findings go, as they come.
pub type Tell<'a> = &'a mut (dyn FnMut(Finding) + Send);

/// Looks, and tells what it sees.
pub async fn probe<P: ProbePorts>(
    destination: &DestinationKey,
    rules: &Rules,
    ports: &mut P,
    dice: &mut Dice,
    tell: Tell<'_>,
) {
    if let Some(failure) = no_way(destination, rules) {
        tell(Finding::Verdict(refused(failure)));
        return;
    }
    let mut sight = Sight {
        ports,
        tell,
        candidates: Vec::new(),
        implicit: false,
        known: HashMap::new(),
        required: HashSet::new(),
        in_attempt: true,
    };
    let mut walk = Walk::new(MOST_ADDRESSES);
    let mut first = Look { until: Until::Session, reached: None };
    let found = match destination {
        DestinationKey::Domain(domain) => {
            let found = look_up(domain, &rules.our_name, &mut sight, dice).await;
            sight.exchangers(domain, &found);
            match found {
                Ok(found) => {
                    walk.exchangers(domain, &found, &mut first, &mut sight).await;
                    Some((domain, found))
                }
                Err(failure) => {
                    walk.troubles.push(failure.into());
                    None
                }
            }
        }
        DestinationKey::Literal(address) => {
            walk.literal(*address, &mut first, &mut sight).await;
            None
        }
        // `no_way` has said so.
        DestinationKey::Unqualified | DestinationKey::Target(_) => None,
    };
    let verdict = match first.reached {
        Some((remote, facts)) => VerdictLine {
            end: VerdictEnd::Session,
            remote: Some(remote),
            facts: Some(facts),
            failure: None,
        },
        None => refused(walk.verdict(&[]).failure),
    };
    (sight.tell)(Finding::Verdict(verdict));
    // Our own fault would spoil all the others as well.
    if let Some((domain, mut found)) = found.filter(|_| !walk.is_called_off()) {
        sight.in_attempt = false;
        // RFC 5321 §5.1: nobody at or behind our own place, by whatever we were known there.
        found.candidates.retain(|c| walk.ourselves.is_none_or(|place| c.preference < place));
        let mut rest = Walk::new(MOST_LOOKED_AT);
        rest.tried = walk.tried;
        let mut all = Look { until: Until::End, reached: None };
        rest.exchangers(domain, &found, &mut all, &mut sight).await;
    }
}

/// The end of an attempt without a session.
fn refused(failure: Failure) -> VerdictLine {
    let end = match failure.clone().outcome() {
        Outcome::Failed(_) => VerdictEnd::Failed,
        Outcome::Postponed(_) => VerdictEnd::Postponed,
        // Nothing was sent, so nothing can be unknown or delivered.
        Outcome::Deferred(_) | Outcome::Unknown(_) | Outcome::Delivered(_) => VerdictEnd::Deferred,
    };
    VerdictLine { end, remote: failure.remote.clone(), facts: None, failure: Some(failure) }
}

/// How far a look goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Session,
    End,
}

/// Takes leave of every session at once.
struct Look {
    until: Until,
    reached: Option<(Remote, SessionFacts)>,
}

impl<P: ProbePorts> Visitor<Sight<'_, P>> for Look {
    fn goes_on(&self) -> bool {
        self.until == Until::End || self.reached.is_none()
    }

    fn has_room(&self) -> bool {
        true
    }

    fn is_done_with(&self, _: &str) -> bool {
        false
    }

    fn is_unanswered(&self) -> bool {
        self.reached.is_none()
    }

    async fn session(
        &mut self,
        session: P::Session,
        _: OtherFamily,
        sight: &mut Sight<'_, P>,
    ) -> End {
        self.reached.get_or_insert_with(|| (session.remote(), session.facts()));
        sight.ports.leave(session).await;
        End::Over(Next::Address)
    }
}

/// The world as the walk sees it, with every first sight told and remembered.
struct Sight<'a, P> {
    ports: &'a mut P,
    tell: Tell<'a>,
    candidates: Vec<Candidate>,
    implicit: bool,
    /// What was looked up already.
    known: HashMap<Domain, Lookup<HostAddresses>>,
    /// Hosts whose policies were told.
    required: HashSet<String>,
    in_attempt: bool,
}

impl<P: ProbePorts> Sight<'_, P> {
    fn exchangers(&mut self, domain: &Domain, found: &Result<Exchangers, Failure>) {
        let mut line = ExchangersLine {
            domain: domain.to_string(),
            canonical: None,
            authentic: false,
            implicit: false,
            ourselves: false,
            hosts: Vec::new(),
            failure: None,
        };
        match found {
            Ok(found) => {
                let next_hop = &found.next_hop;
                line.canonical = next_hop.canonical.as_ref().map(Domain::to_string);
                line.authentic = next_hop.authentic;
                line.implicit = next_hop.implicit;
                line.ourselves = found.ourselves;
                line.hosts = found.candidates.iter().map(preference).collect();
                self.candidates.clone_from(&found.candidates);
                self.implicit = next_hop.implicit;
            }
            Err(failure) => line.failure = Some(failure.clone()),
        }
        (self.tell)(Finding::Exchangers(line));
    }

    fn host(&mut self, host: &Domain, answer: &Lookup<HostAddresses>) {
        let candidate = self.candidates.iter().find(|candidate| candidate.host == *host);
        let mut line = HostLine {
            preference: candidate.map_or(0, |candidate| candidate.preference),
            host: host.to_string(),
            canonical: None,
            addresses: Vec::new(),
            failure: None,
        };
        match addresses_of(host, answer.clone(), self.implicit) {
            Ok(found) => {
                line.canonical = found.canonical.as_ref().map(Domain::to_string);
                line.addresses = found.list.iter().map(|a| self.address(*a, &found)).collect();
                line.failure = found.trouble(host);
            }
            Err(failure) => line.failure = Some(failure),
        }
        (self.tell)(Finding::Host(line));
    }

    fn address(&self, address: IpAddr, found: &HostAddresses) -> AddressLine {
        let family = if address.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 };
        AddressLine {
            address: address.to_string(),
            family: family.to_string(),
            authentic: found.is_authentic(address),
            standing: match address {
                _ if self.ports.is_own(address) => AddressStanding::Ours,
                _ if !self.ports.is_usable(address) => AddressStanding::OtherFamily,
                _ if self.ports.rests(address) => AddressStanding::Resting,
                _ => AddressStanding::Usable,
            },
        }
    }
}

/// `None` if nobody demands anything, nor has anything to say.
fn policies(candidate: &Candidate, required: &Result<Requirement, Failure>) -> Option<PolicyLine> {
    let host = candidate.host.to_string();
    let requirement = match required {
        Ok(requirement) => requirement,
        Err(failure) => {
            let failure = Some(failure.clone());
            return Some(PolicyLine { host, failure, ..PolicyLine::default() });
        }
    };
    let (tls_level, by) = match requirement.tls {
        Tls::Optional => (TlsLevel::None, None),
        Tls::Encrypted(by) => (TlsLevel::Encrypted, Some(by)),
        Tls::Authenticated(by) => (TlsLevel::Authenticated, Some(by)),
    };
    let tlsa = requirement.dane.as_ref();
    let line = PolicyLine {
        host,
        said: requirement.said.clone(),
        tls_level,
        demanded_by: by.map(|by| by.name().to_string()),
        tlsa_base: tlsa.map(|tlsa| tlsa.base.to_string()),
        tlsa: tlsa.map_or_else(Vec::new, |t| t.records.iter().map(ToString::to_string).collect()),
        failure: None,
    };
    (line.said.is_some() || by.is_some()).then_some(line)
}

fn preference(candidate: &Candidate) -> PreferenceLine {
    PreferenceLine { preference: candidate.preference, host: candidate.host.to_string() }
}

impl<P: ProbePorts> Sessions for Sight<'_, P> {
    type Session = P::Session;
}

impl<P: ProbePorts> Approach for Sight<'_, P> {
    async fn mx(&mut self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        self.ports.mx(domain).await
    }

    async fn addresses(&mut self, host: &Domain) -> Lookup<HostAddresses> {
        if let Some(answer) = self.known.get(host) {
            return answer.clone();
        }
        let answer = self.ports.addresses(host).await;
        self.host(host, &answer);
        self.known.insert(host.clone(), answer.clone());
        answer
    }

    async fn require(&mut self, candidate: Option<&Candidate>) -> Result<Requirement, Failure> {
        let required = self.ports.require(candidate).await;
        if let Some(line) = candidate.and_then(|candidate| policies(candidate, &required))
            && self.required.insert(line.host.clone())
        {
            (self.tell)(Finding::Policies(line));
        }
        required
    }

    async fn connect(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
    ) -> Result<P::Session, Failure> {
        let reached = self.ports.connect(candidate, address, requirement).await;
        let host = candidate.map_or_else(|| literal(address), |c| c.host.to_string());
        (self.tell)(Finding::Contact(ContactLine {
            host,
            address: address.to_string(),
            in_attempt: self.in_attempt,
            failure: reached.as_ref().err().cloned(),
            session: reached.as_ref().ok().map(|session| {
                let (introduction, facts) = (self.ports.introduction(session), session.facts());
                SessionView {
                    local_address: introduction.local.map(|local| local.to_string()),
                    greeting: introduction.greeting,
                    name: introduction.name,
                    extensions: introduction.extensions,
                    plaintext_fallback: facts.is_fallback(),
                    facts,
                }
            }),
        }));
        reached
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.ports.is_own(address)
    }

    fn is_silent(&self, address: IpAddr) -> bool {
        self.ports.is_silent(address)
    }

    fn rests(&self, address: IpAddr) -> bool {
        self.ports.rests(address)
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        self.ports.is_usable(address)
    }
}

#[cfg(test)]
mod tests;
