//! What a session with an exchanger has to be like: a function of what is configured, what was found out, and what the message wants.
//!
//! Known before the dial, so that no plaintext session is opened where none may be used, and asked again of every session that comes
//! from the pool. Levels are maxima, so the order in which policies are looked at cannot matter; the local one looks last.

use std::sync::Arc;

use crate::envelope::TlsWish;
use crate::level::{MxLevel, TlsLevel};
use crate::outcome::{Cause, Failure, Stage};
use crate::policy::facts::{Listed, MxFacts, Sts};
use crate::policy::settings::Policies;
use crate::tlsa::{Dane, Tlsa};

/// What a session must have, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What is known of the exchanger's place in the list.
    pub mx: MxLevel,
    pub tls: Tls,
    /// TLSA records decide about the certificate: they are to be shown to the handshake.
    pub dane: Option<Arc<Tlsa>>,
    /// RFC 8689: the server has to offer REQUIRETLS, or may be excused.
    pub requiretls: Offer,
    /// What each configured policy says of the host, for the log.
    pub said: Option<String>,
    /// What it was made of, for reports.
    pub facts: MxFacts,
}

/// How well the channel has to be protected. The texts name the policy that wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// TLS if it can be had.
    Optional,
    Encrypted(Demand),
    /// With a certificate proven by PKIX for the exchanger's name, or by DANE.
    Authenticated(Demand),
}

/// Who demands it, and which failure follows where it is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Mtasts,
    Dane,
    Local,
    RequireTls,
    /// `require_tls` of a target that has its servers in the configuration, or their `tls:`.
    Configured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The message does not want it.
    Unwanted,
    /// `relaxed_requiretls yes`.
    Excused,
    /// `relaxed_requiretls no`.
    Needed,
}

impl Requirement {
    /// Nothing is known of the host, and nothing demanded.
    pub fn none() -> Requirement {
        Requirement {
            mx: MxLevel::None,
            tls: Tls::Optional,
            dane: None,
            requiretls: Offer::Unwanted,
            said: None,
            facts: MxFacts::none(),
        }
    }
}

impl Demand {
    /// As it is told to people.
    pub fn name(self) -> &'static str {
        match self {
            Demand::Mtasts => "MTA-STS",
            Demand::Dane => "DANE",
            Demand::Local => "local policy",
            Demand::Configured => "the configuration",
            Demand::RequireTls => "REQUIRETLS",
        }
    }

    /// Without TLS. A message that requires TLS of a server that offers none fails for good (RFC 8689 §4.2.1); everything else can be
    /// repaired.
    fn unencrypted(self) -> Cause {
        match self {
            Demand::Mtasts | Demand::Dane | Demand::Configured => Cause::TlsMissing,
            Demand::Local => Cause::TlsLevelTooLow,
            Demand::RequireTls => Cause::RequireTlsImpossible,
        }
    }

    /// With a certificate that proves nothing: published and wrong, so it can be repaired.
    fn unproven(self) -> Cause {
        match self {
            Demand::Mtasts | Demand::Dane | Demand::RequireTls | Demand::Configured => {
                Cause::TlsUnproven
            }
            Demand::Local => Cause::TlsLevelTooLow,
        }
    }
}

/// The requirement, or why this exchanger may not be used at all.
pub fn requirement(
    policies: &Policies,
    facts: &MxFacts,
    wish: TlsWish,
) -> Result<Requirement, Failure> {
    let mx = mx_level(policies, facts);
    let said = facts.told(policies);
    // RFC 8689 §3: the sender prefers delivery to protection. Levels are still known, and told.
    if wish == TlsWish::Waived && policies.requiretls.may_be_waived {
        let said = said.map(|said| format!("{said}; waived by the message"));
        return Ok(Requirement { mx, said, facts: facts.clone(), ..Requirement::none() });
    }
    let mut tls = Tls::Optional;
    let mut dane = None;
    match &facts.sts {
        // `sts_unavailable_is_not_absent`.
        Sts::Unavailable(why) if policies.mtasts => {
            return Err(Failure::new(Cause::PolicyUnavailable, format!("MTA-STS policy: {why}")));
        }
        Sts::Unasked(why) if policies.mtasts => {
            return Err(Failure::new(Cause::OwnResources, format!("MTA-STS policy: {why}")));
        }
        // RFC 8461 §4.1: whatever DANE says, only listed hosts may be used.
        Sts::Enforce(Listed::No) if policies.mtasts => {
            let text = "not among the hosts of the domain's MTA-STS policy";
            return Err(Failure::new(Cause::MxNotAllowed, text));
        }
        Sts::Enforce(Listed::Yes) if policies.mtasts => {
            tls = Tls::Authenticated(Demand::Mtasts);
        }
        // RFC 8461 §5.1: without a policy that could be fetched mail goes on.
        Sts::Absent | Sts::NotFetched(_) | Sts::Unsettled(_) | Sts::Testing(_) => {}
        // Not configured.
        Sts::Unavailable(_) | Sts::Unasked(_) | Sts::Enforce(_) => {}
    }
    match &facts.dane {
        // RFC 7672 §2.1.1: not knowing is no reason to go on without.
        Dane::Failed(why) if policies.dane => {
            return Err(Failure::new(Cause::TlsaFailed, format!("TLSA records: {why}")));
        }
        Dane::Unasked(why) if policies.dane => {
            return Err(Failure::new(Cause::OwnResources, format!("TLSA records: {why}")));
        }
        // RFC 8461 §2: DANE is not overridden; it is the proof that MTA-STS wants, too.
        Dane::Usable(tlsa) if policies.dane => {
            tls = Tls::Authenticated(Demand::Dane);
            dane = Some(Arc::clone(tlsa));
        }
        // RFC 7672 §2.2: encrypted at least.
        Dane::Unusable(_) if policies.dane => {
            if tls == Tls::Optional {
                tls = Tls::Encrypted(Demand::Dane);
            }
        }
        Dane::NotInForce(_) => {}
        // Not configured.
        Dane::Failed(_) | Dane::Unasked(_) | Dane::Usable(_) | Dane::Unusable(_) => {}
    }
    let mut requiretls = Offer::Unwanted;
    if wish == TlsWish::Required {
        // RFC 8689 §4.2.1: the name of the host was obtained securely.
        if mx < MxLevel::Mtasts {
            return Err(nobody_vouches(policies, facts));
        }
        if !matches!(tls, Tls::Authenticated(_)) {
            tls = Tls::Authenticated(Demand::RequireTls);
        }
        requiretls = if policies.requiretls.relaxed { Offer::Excused } else { Offer::Needed };
    }
    if mx < policies.local.min_mx {
        let text =
            format!("local policy wants MX level {} and this host has {mx}", policies.local.min_mx);
        return Err(Failure::new(Cause::MxLevelTooLow, text));
    }
    tls = match (policies.local.min_tls, tls) {
        (TlsLevel::Authenticated, Tls::Optional | Tls::Encrypted(_)) => {
            Tls::Authenticated(Demand::Local)
        }
        (TlsLevel::Encrypted, Tls::Optional) => Tls::Encrypted(Demand::Local),
        (TlsLevel::None | TlsLevel::Encrypted | TlsLevel::Authenticated, tls) => tls,
    };
    Ok(Requirement { mx, tls, dane, requiretls, said, facts: facts.clone() })
}

/// Why a message that requires TLS cannot go to this host. That nothing vouches for it is for good; that something would, and cannot be
/// had at the moment, is not.
fn nobody_vouches(policies: &Policies, facts: &MxFacts) -> Failure {
    match &facts.sts {
        Sts::NotFetched(why) | Sts::Unsettled(why) if policies.mtasts => {
            Failure::new(Cause::PolicyUnavailable, format!("REQUIRETLS needs it, and {why}"))
        }
        _ if policies.dnssec
            && let Some(why) = &facts.resolver_fault =>
        {
            Failure::new(Cause::PolicyUnavailable, format!("REQUIRETLS needs DNSSEC, and {why}"))
        }
        _ => {
            let text = "REQUIRETLS: neither DNSSEC nor an MTA-STS policy vouches for this host";
            Failure::new(Cause::RequireTlsImpossible, text)
        }
    }
}

fn mx_level(policies: &Policies, facts: &MxFacts) -> MxLevel {
    let listed = matches!(facts.sts, Sts::Testing(Listed::Yes) | Sts::Enforce(Listed::Yes));
    let by_sts = if policies.mtasts && listed { MxLevel::Mtasts } else { MxLevel::None };
    let by_dns = if policies.dnssec && facts.authentic { MxLevel::Dnssec } else { MxLevel::None };
    by_sts.max(by_dns)
}

/// What the session turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `None`: in the clear, and why.
    pub tls: Result<Certificate, String>,
    /// The server offers REQUIRETLS.
    pub offers_requiretls: bool,
}

/// What the certificate proves, each by its own rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub pkix: Result<(), String>,
    /// `None`: no records were shown to the handshake.
    pub dane: Option<ByDane>,
    /// The handshake took nothing less than a demand for proof allows, as an opportunistic one may.
    pub sound: bool,
}

/// What it proves to these records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByDane {
    pub tlsa: Arc<Tlsa>,
    pub verdict: Result<(), String>,
}

impl Certificate {
    /// By the records that are in force now, which need not be those of the handshake.
    fn by_dane(&self, in_force: &Arc<Tlsa>) -> Result<(), String> {
        match &self.dane {
            Some(ByDane { tlsa, verdict }) if tlsa == in_force => verdict.clone(),
            Some(_) => Err("the TLSA records are no longer those of the handshake".to_string()),
            None => Err("the TLSA records were not shown to the handshake".to_string()),
        }
    }
}

impl Requirement {
    /// The TLS level of a session that meets it, or why the session may not be used.
    pub fn meets(&self, shown: &Shown) -> Result<TlsLevel, Failure> {
        let certificate = match (&shown.tls, &self.tls) {
            (Ok(certificate), _) => certificate,
            (Err(_), Tls::Optional) => return Ok(TlsLevel::None),
            (Err(why), Tls::Encrypted(by) | Tls::Authenticated(by)) => {
                let text = format!("{} demands TLS: {why}", by.name());
                return Err(Failure::new(by.unencrypted(), text));
            }
        };
        // RFC 7672 §2.2: usable records decide alone, whatever PKIX says.
        let proven = match &self.dane {
            Some(in_force) => certificate.by_dane(in_force),
            None => certificate.pkix.clone(),
        };
        if let Tls::Authenticated(by) = self.tls {
            let sound = match certificate.sound {
                true => Ok(()),
                false => Err("the handshake was made without such a demand".to_string()),
            };
            if let Err(why) = proven.clone().and(sound) {
                let text = format!("{} demands a proven certificate: {why}", by.name());
                return Err(Failure::new(by.unproven(), text));
            }
        }
        if self.requiretls == Offer::Needed && !shown.offers_requiretls {
            let text = "the server does not offer REQUIRETLS";
            return Err(Failure::new(Cause::RequireTlsImpossible, text));
        }
        Ok(match proven {
            Ok(()) => TlsLevel::Authenticated,
            Err(_) => TlsLevel::Encrypted,
        })
    }

    /// A failure before the session was there, as it looks to who demands TLS. That a server announces STARTTLS and will not have it, in
    /// whatever words, can be repaired, and so can what breaks a handshake (RFC 7672 §2.2, RFC 8461 §5.1).
    pub fn explain(&self, failure: Failure) -> Failure {
        let by = match self.tls {
            Tls::Encrypted(by) | Tls::Authenticated(by) => by,
            Tls::Optional => return failure,
        };
        if failure.cause.stage() != Some(Stage::StartTls) {
            return failure;
        }
        let text = format!("{} demands TLS: {}", by.name(), failure.text);
        let cause = match failure.cause {
            Cause::Refused(_) if by == Demand::Local => Cause::TlsLevelTooLow,
            Cause::Refused(_) => Cause::TlsMissing,
            cause => cause,
        };
        Failure { remote: failure.remote, ..Failure::new(cause, text) }
    }

    /// No session in the clear can meet it.
    pub fn needs_tls(&self) -> bool {
        self.tls != Tls::Optional
    }
}

#[cfg(test)]
mod tests;
