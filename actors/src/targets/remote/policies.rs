//! What policies have to do with a session: what they demand of it before it is made, whether they still do when it is used again, and what
//! is told of how it came out.

use std::net::IpAddr;

use posthaste_edge::session::Session;
use posthaste_edge::tls::Demand;
use posthaste_mail::address::Domain;
use posthaste_mail::certificate::{DaneVerdict, Reason};
use posthaste_mail::envelope::TlsWish;
use posthaste_mail::outcome::{Cause, Failure};
use posthaste_mail::policy::InForce;
use posthaste_mail::policy::facts::{MxFacts, Sts};
use posthaste_mail::policy::proof::Proof;
use posthaste_mail::policy::requirement::{Requirement, Tls, requirement};
use posthaste_mail::policy::tlsrpt::{End, Shown, TlsAttempt, verdicts};
use posthaste_mail::route::mx::Candidate;
use posthaste_mail::sts::StsAnswer;
use posthaste_mail::tlsa::Dane;

use crate::targets::remote::account;
use crate::targets::remote::caller::Caller;

/// Whom an attempt at TLS is about.
pub struct Attempted<'a> {
    pub exchanger: &'a Candidate,
    pub facts: &'a MxFacts,
    /// Known if it was dialled.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// What a session with this exchanger has to be like, or why it may not be used; `None` for an address literal.
    pub async fn require(&self, exchanger: Option<&Candidate>) -> Result<Requirement, Failure> {
        let facts = self.facts(exchanger).await;
        let required = requirement(&self.network.policies, &facts, self.wish);
        if let (Err(failure), Some(exchanger)) = (&required, exchanger) {
            self.counters.refused_by_policy.add_one();
            if failure.cause == Cause::MxNotAllowed {
                self.network.sts_violated(&exchanger.next_hop.domain);
            }
            self.tell_tls(
                &Attempted { exchanger, facts: &facts, address: None },
                None,
                Err(failure),
            );
        }
        required
    }

    async fn facts(&self, exchanger: Option<&Candidate>) -> MxFacts {
        // RFC 7672 §2.2 and RFC 8461 §3 speak of domains.
        let Some(exchanger) = exchanger else { return MxFacts::none() };
        let policies = &self.network.policies;
        let sts = async {
            let answer = self.sts(&exchanger.next_hop.domain).await;
            answer.map_or(Sts::Absent, |answer| Sts::of(answer, &exchanger.host, self.attempt))
        };
        let dane = async {
            match policies.dane {
                true => self.network.dane(exchanger).await,
                false => Dane::NotInForce("not configured".to_string()),
            }
        };
        let (sts, dane) = tokio::join!(sts, dane);
        let resolver_fault = self.network.resolver_fault.borrow().clone();
        MxFacts { authentic: exchanger.next_hop.authentic, resolver_fault, sts, dane }
    }

    /// The policy of the domain that this is all about, asked for once.
    pub async fn sts(&self, domain: &Domain) -> Option<&StsAnswer> {
        self.sts.get_or_init(|| self.network.sts(domain)).await.as_ref()
    }

    /// What holds now for a session that was made before.
    pub async fn in_force(&self, proof: Proof) -> InForce {
        let again = async {
            let exchanger = match &proof.exchanger {
                Some(exchanger) if self.network.policies.dane => {
                    Some(self.network.again(exchanger).await?)
                }
                as_before => as_before.clone(),
            };
            // A session that is passed over is no attempt at one: nobody is told.
            let facts = self.facts(exchanger.as_ref()).await;
            requirement(&self.network.policies, &facts, self.wish)
        };
        InForce { address: self.network.address_use(proof.address), requirement: again.await }
    }

    /// Before mail fails for its policy, the domain is asked whether there is a newer one.
    pub fn violated(&self, exchanger: Option<&Candidate>) {
        if let Some(exchanger) = exchanger {
            self.network.sts_violated(&exchanger.next_hop.domain);
        }
    }

    /// What came of TLS, under each policy of the domain, for reports and whoever reads the log. Where the message waives its protection
    /// nobody failed to give it (RFC 8689 §4.2.2).
    pub fn tell_tls(
        &self,
        attempted: &Attempted<'_>,
        session: Option<&Session>,
        end: Result<(), &Failure>,
    ) {
        let policies = &self.network.policies;
        if self.wish == TlsWish::Waived && policies.requiretls.may_be_waived {
            return;
        }
        let tls = session.and_then(Session::tls);
        match tls.map(|tls| &tls.dane) {
            Some(DaneVerdict::Matched(_)) => self.counters.dane_matched.add_one(),
            Some(DaneVerdict::Refused(_)) => self.counters.dane_refused.add_one(),
            Some(DaneVerdict::NotAsked | DaneVerdict::NoneUsable) | None => {}
        }
        let end = match end {
            Err(failure) => End::Failure(failure),
            Ok(()) => End::Session(tls.map(|tls| {
                Shown {
                    pkix: tls
                        .pkix
                        .as_ref()
                        .err()
                        .map(|why| (tls.mistrust.unwrap_or(Reason::Other), why.as_str())),
                    dane: &tls.dane,
                }
            })),
        };
        let Attempted { exchanger, facts, address } = *attempted;
        let sts = self.sts.get().and_then(Option::as_ref);
        let attempt = TlsAttempt {
            local: session.and_then(Session::local_address),
            host: exchanger.host.clone(),
            name: session.map(|session| session.capabilities().name.clone()),
            address,
            verdicts: verdicts(policies, exchanger, sts, facts, end),
        };
        account::tls(&self.log, &attempt);
    }
}

/// What the handshake may offer, and is asked to find out.
pub fn demand(requirement: &Requirement) -> Demand<'_> {
    match (&requirement.dane, &requirement.tls) {
        (Some(tlsa), _) => {
            Demand::Dane { base: &tlsa.base, names: &tlsa.names, records: &tlsa.records }
        }
        (None, Tls::Authenticated(_)) => Demand::Pkix,
        (None, Tls::Optional | Tls::Encrypted(_)) => Demand::Opportunistic,
    }
}
