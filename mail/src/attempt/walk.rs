//! The way through the exchangers of a domain: which host comes next, which of its addresses, and where the way ends.
//!
//! What is done in a session is the visitor's affair. A delivery offers its recipients; a probe only looks. Both go the same way.

use std::future::Future;
use std::net::IpAddr;

use crate::address::Domain;
use crate::attempt::ports::Approach;
use crate::attempt::verdict::{Coverage, Said, verdict};
use crate::dice::Dice;
use crate::lookup::Lookup;
use crate::outcome::{Cause, Class, Failure, Outcome, Remote, SessionFacts};
use crate::policy::requirement::Requirement;
use crate::route::addresses::addresses_of;
use crate::route::mx::{Candidate, Exchangers, exchangers};

/// Exchangers of one preference whose addresses are looked up.
const MOST_OF_A_KIND: usize = 10;

/// Whoever goes the way.
pub trait Visitor<A: Approach>: Send {
    /// Is there anything left to ask for?
    fn goes_on(&self) -> bool;

    /// May there be another session?
    fn has_room(&self) -> bool;

    /// The host has answered already: it is not asked again.
    fn is_done_with(&self, host: &str) -> bool;

    /// Nobody has said anything yet about what is asked for.
    fn is_unanswered(&self) -> bool;

    /// A session was reached. Where to from here?
    fn session(
        &mut self,
        session: A::Session,
        other: OtherFamily,
        ports: &mut A,
    ) -> impl Future<Output = End> + Send;
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Another one to the same address is wanted: this one may carry no more, or content has to be sent in another way.
    Again,
    Over(Next),
}

/// Where the walk goes on when an address is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Address,
    /// The host's next address, of the family that was not used.
    AddressOfOtherFamily,
    Host,
    /// RFC 5321 §5.1: no exchanger at or behind our own place may be tried.
    Nobody,
}

/// Whether the host has an address of the other family that was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherFamily {
    Present,
    Absent,
}

/// The name of a host that was given by its address.
pub fn literal(address: IpAddr) -> String {
    format!("[{address}]")
}

/// The exchangers of a domain, in the order of trial.
pub async fn look_up<A: Approach>(
    domain: &Domain,
    our_name: &str,
    ports: &mut A,
    dice: &mut Dice,
) -> Result<Exchangers, Failure> {
    let answer = ports.mx(domain).await;
    exchangers(domain, answer, our_name, dice)
}

/// How far the way was gone, and what was met on it.
#[derive(Debug)]
pub struct Walk {
    most_addresses: usize,
    /// What went wrong before a session was there.
    pub troubles: Vec<Said>,
    pub tried: Vec<IpAddr>,
    /// Of those the ones that fell short of what is demanded of the host they were tried as: by another host's name they may do.
    misnamed: Vec<IpAddr>,
    /// The preference at which we were met ourselves, by address or by what the server calls itself.
    pub ourselves: Option<u16>,
    /// Hosts that were tried, for the notification.
    hosts: usize,
    /// An address of the family that had all tries so far, kept back for the other family.
    spare: Option<(Candidate, IpAddr)>,
    /// Addresses that took no connection lately: they are tried when nobody else is left.
    resting: Vec<(Candidate, IpAddr)>,
    coverage: Coverage,
    /// Called off by ourselves: nobody else may be asked.
    stop: bool,
}

impl Walk {
    pub fn new(most_addresses: usize) -> Walk {
        Walk {
            most_addresses,
            troubles: Vec::new(),
            tried: Vec::new(),
            misnamed: Vec::new(),
            ourselves: None,
            hosts: 0,
            spare: None,
            resting: Vec::new(),
            coverage: Coverage::Whole,
            stop: false,
        }
    }

    /// One failure from all that was met; `said` about the recipient it is for.
    pub fn verdict(&self, said: &[Said]) -> Said {
        verdict(said, &self.troubles, self.coverage, self.hosts)
    }

    pub fn is_called_off(&self) -> bool {
        self.stop
    }

    fn goes_on<A: Approach>(&self, visitor: &impl Visitor<A>) -> bool {
        !self.stop && visitor.goes_on()
    }

    /// Somebody else could be asked: may it be now?
    fn may_ask<A: Approach>(&mut self, visitor: &impl Visitor<A>) -> bool {
        if !self.goes_on(visitor) {
            return false;
        }
        let room = visitor.has_room() && self.tried.len() < self.most_addresses;
        if !room {
            self.coverage = Coverage::Partial;
        }
        room
    }

    /// An address literal: there is nobody else.
    pub async fn literal<A: Approach, V: Visitor<A>>(
        &mut self,
        address: IpAddr,
        visitor: &mut V,
        ports: &mut A,
    ) {
        if self.goes_on(visitor) && !visitor.is_done_with(&literal(address)) {
            self.address(None, address, OtherFamily::Absent, visitor, ports).await;
        }
    }

    pub async fn exchangers<A: Approach, V: Visitor<A>>(
        &mut self,
        domain: &Domain,
        found: &Exchangers,
        visitor: &mut V,
        ports: &mut A,
    ) {
        for equals in found.candidates.chunk_by(|a, b| a.preference == b.preference) {
            if equals.iter().all(|c| visitor.is_done_with(c.host.ascii())) {
                continue;
            }
            if !self.may_ask(visitor) {
                return;
            }
            if self.equals(equals, found.next_hop.implicit, visitor, ports).await == Next::Nobody {
                self.ourselves = equals.first().map(|candidate| candidate.preference);
                break;
            }
        }
        if let Some((candidate, address)) = self.spare.take()
            && self.may_ask(visitor)
        {
            self.address(Some(&candidate), address, OtherFamily::Absent, visitor, ports).await;
        }
        let mut resting = std::mem::take(&mut self.resting);
        // Who is silent may end the attempt: nobody is left unasked for that.
        resting.sort_by_key(|(_, address)| ports.is_silent(*address));
        for (candidate, address) in resting {
            let host = candidate.host.ascii();
            // Those before our own place may take it, however often they did not.
            let barred = self.ourselves.is_some_and(|place| candidate.preference >= place);
            if barred || visitor.is_done_with(host) || !self.may_ask(visitor) {
                continue;
            }
            let absent = OtherFamily::Absent;
            let next = self.address(Some(&candidate), address, absent, visitor, ports).await;
            if next == Next::Nobody {
                self.ourselves = Some(candidate.preference);
            }
        }
        if (found.ourselves || self.ourselves.is_some()) && visitor.is_unanswered() {
            self.ends_with_ourselves(domain);
        }
    }

    /// RFC 5321 §5.1: we are in the list, and nobody better took the message.
    fn ends_with_ourselves(&mut self, domain: &Domain) {
        let without_address = |said: &Said| said.failure.cause == Cause::NoAddress;
        if self.troubles.iter().all(without_address) {
            let end = match self.troubles.first() {
                None => {
                    let text = format!("mail for {domain} loops back to this host");
                    Failure::new(Cause::Loop, text)
                }
                // A better one is there, and its zone may be mended: that is no loop yet.
                Some(first) => Failure::new(Cause::AddressLookupFailed, first.failure.text.clone()),
            };
            self.troubles = vec![end.into()];
        }
    }

    /// Exchangers of one preference. Their addresses come first: if one is ours, none of them is tried.
    async fn equals<A: Approach, V: Visitor<A>>(
        &mut self,
        equals: &[Candidate],
        implicit: bool,
        visitor: &mut V,
        ports: &mut A,
    ) -> Next {
        let mut hosts = Vec::new();
        if equals.len() > MOST_OF_A_KIND {
            self.coverage = Coverage::Partial;
        }
        for candidate in equals.iter().take(MOST_OF_A_KIND) {
            let answer = ports.addresses(&candidate.host).await;
            if let Lookup::Found { value, .. } = &answer
                && value.list.iter().any(|address| ports.is_own(*address))
            {
                return Next::Nobody;
            }
            hosts.push((candidate, answer));
        }
        for (candidate, answer) in hosts {
            let host = &candidate.host;
            if !self.goes_on(visitor) {
                break;
            }
            if visitor.is_done_with(host.ascii()) {
                continue;
            }
            match addresses_of(host, answer, implicit) {
                Ok(found) => {
                    let candidate = candidate.at(&found);
                    if self.host(&candidate, &found.list, visitor, ports).await == Next::Nobody {
                        return Next::Nobody;
                    }
                    // Addresses that are not known cannot be asked: whoever is left without a verdict waits for them.
                    if let Some(trouble) = found.trouble(host).filter(|_| self.goes_on(visitor)) {
                        self.troubles.push(trouble.into());
                    }
                }
                Err(failure) => self.troubles.push(failure.into()),
            }
        }
        Next::Host
    }

    async fn host<A: Approach, V: Visitor<A>>(
        &mut self,
        candidate: &Candidate,
        addresses: &[IpAddr],
        visitor: &mut V,
        ports: &mut A,
    ) -> Next {
        let mut usable: Vec<IpAddr> =
            addresses.iter().copied().filter(|address| ports.is_usable(*address)).collect();
        if usable.is_empty() {
            let host = &candidate.host;
            let text = format!("no address of {host} is of a family that we may use");
            self.troubles.push(Failure::new(Cause::Unreachable, text).into());
            return Next::Host;
        }
        self.hosts += 1;
        usable.retain(|address| !self.tried.contains(address) || self.misnamed.contains(address));
        let (resting, usable): (Vec<IpAddr>, Vec<IpAddr>) =
            usable.into_iter().partition(|address| ports.rests(*address));
        self.resting.extend(resting.into_iter().map(|address| (candidate.clone(), address)));
        let mut rest = usable.as_slice();
        let mut family = None;
        while let Some((address, behind)) = rest.split_first() {
            rest = behind;
            if family.is_some_and(|v6| v6 != address.is_ipv6()) {
                continue;
            }
            if !self.may_ask(visitor) {
                break;
            }
            // The others may have taken long.
            if ports.rests(*address) {
                self.resting.push((candidate.clone(), *address));
                continue;
            }
            if self.is_last_of_one_family(*address) {
                if self.spare.is_some() {
                    self.coverage = Coverage::Partial;
                }
                self.spare.get_or_insert_with(|| (candidate.clone(), *address));
                continue;
            }
            let other = match rest.iter().any(|a| a.is_ipv6() != address.is_ipv6()) {
                true => OtherFamily::Present,
                false => OtherFamily::Absent,
            };
            match self.address(Some(candidate), *address, other, visitor, ports).await {
                Next::Address => {}
                Next::AddressOfOtherFamily => family = Some(!address.is_ipv6()),
                Next::Host => break,
                Next::Nobody => return Next::Nobody,
            }
        }
        Next::Host
    }

    /// The last address of an attempt is not one more of a family that had all the others, as long as there may be one of the other.
    fn is_last_of_one_family(&self, address: IpAddr) -> bool {
        self.tried.len() + 1 == self.most_addresses
            && self.tried.iter().all(|tried| tried.is_ipv6() == address.is_ipv6())
    }

    async fn address<A: Approach, V: Visitor<A>>(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        other: OtherFamily,
        visitor: &mut V,
        ports: &mut A,
    ) -> Next {
        if ports.is_own(address) {
            let text = format!("{address} is this host or a loopback address");
            self.troubles.push(Failure::new(Cause::Loop, text).into());
            return Next::Host;
        }
        let requirement = match ports.require(candidate).await {
            Ok(requirement) => requirement,
            Err(failure) => {
                let host = candidate.map_or_else(|| literal(address), |c| c.host.to_string());
                self.troubles.push(failure.at(Remote { host, address: None }).into());
                return Next::Host;
            }
        };
        self.tried.push(address);
        loop {
            match ports.connect(candidate, address, &requirement).await {
                Ok(session) => match visitor.session(session, other, ports).await {
                    // Every session of these decides about one recipient at least, but for one that was misunderstood.
                    End::Again => {}
                    End::Over(next) => return next,
                },
                Err(failure) if failure.cause == Cause::Loop => return Next::Nobody,
                Err(failure) => {
                    // Called off by ourselves: nobody else is asked, and it does not count. What this machine lacks is another matter: an
                    // address of the other family may need nothing of it.
                    self.stop |= matches!(failure.clone().outcome(), Outcome::Postponed(_))
                        && failure.cause != Cause::OwnResources;
                    if is_of_the_name(failure.cause) {
                        self.misnamed.push(address);
                    }
                    // A host that wants no mail wants it at none of its addresses.
                    let answered = matches!(failure.cause, Cause::Refused(_))
                        && failure.class() == Class::Permanent;
                    self.troubles.push(Said { failure, facts: facts_before(&requirement) });
                    return if answered { Next::Host } else { Next::Address };
                }
            }
        }
    }
}

/// What is demanded of a session depends on the host that is wanted: its certificate, its TLSA records, the name said in the handshake.
fn is_of_the_name(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TlsMissing
            | Cause::TlsUnproven
            | Cause::TlsLevelTooLow
            | Cause::RequireTlsImpossible
            | Cause::HandshakeFailed
    )
}

/// What is known of a session that never came to be used: the TLS level stays none, whatever TLS there was.
fn facts_before(requirement: &Requirement) -> SessionFacts {
    let policies = requirement.said.clone();
    SessionFacts { mx_level: requirement.mx, policies, ..SessionFacts::default() }
}
