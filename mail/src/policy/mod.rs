//! What is demanded of a session before mail goes over it.
//!
//! One judge for sessions just made and for sessions taken from the pool: it is given what the session proved when it was opened and what
//! is in force at this moment, and asks nobody. So a kept session never escapes a rule that came after it.

pub mod facts;
pub mod proof;
pub mod requirement;
pub mod settings;
pub mod tlsrpt;

use crate::level::{MxLevel, TlsLevel};
use crate::outcome::{Cause, Failure};
use proof::Proof;
use requirement::Requirement;

/// What holds at the moment of judging, as far as it concerns one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub address: AddressUse,
    /// What the policies demand of a session with this host, or why it may not be used at all.
    pub requirement: Result<Requirement, Failure>,
}

/// Whether mail may go to the address at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressUse {
    Allowed,
    /// It is one of our own, or loopback.
    Ours,
    /// `force_ipv4`, or `local_ip` without an address of the family.
    OtherFamily,
}

/// How far a session that passed is trusted, and what the policies said of its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    pub mx: MxLevel,
    pub tls: TlsLevel,
    pub said: Option<String>,
}

/// May mail go over this session now?
pub fn judge(proof: &Proof, now: InForce) -> Result<Levels, Failure> {
    let address = proof.address;
    match now.address {
        AddressUse::Allowed => {
            let requirement = now.requirement?;
            let tls = requirement.meets(&proof.shown())?;
            Ok(Levels { mx: requirement.mx, tls, said: requirement.said })
        }
        // RFC 5321 §5.1: mail that is sent to ourselves goes round for ever.
        AddressUse::Ours => {
            let text = format!("{address} is this host or a loopback address");
            Err(Failure::new(Cause::Loop, text))
        }
        AddressUse::OtherFamily => {
            let text = format!("{address} is of an address family that is not used");
            Err(Failure::new(Cause::Unreachable, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::proof::Channel;
    use super::requirement::{Certificate, Demand, Tls};
    use super::*;

    fn proof(channel: Channel) -> Proof {
        let address = "192.0.2.1".parse().unwrap();
        Proof { address, local: None, exchanger: None, channel, offers_requiretls: false }
    }

    fn certificate(pkix: Result<(), &str>) -> Channel {
        let pkix = pkix.map_err(str::to_string);
        Channel::Encrypted(Certificate { pkix, dane: None, sound: true })
    }

    fn proven() -> Channel {
        certificate(Ok(()))
    }

    fn unproven() -> Channel {
        certificate(Err("self-signed"))
    }

    fn judged(address: AddressUse) -> Result<Levels, Cause> {
        let now = InForce { address, requirement: Ok(Requirement::none()) };
        judge(&proof(proven()), now).map_err(|failure| failure.cause)
    }

    #[test]
    fn the_levels_are_those_that_were_proven() {
        let tls = |channel| {
            let requirement = Requirement { mx: MxLevel::Mtasts, ..Requirement::none() };
            let now = InForce { address: AddressUse::Allowed, requirement: Ok(requirement) };
            judge(&proof(channel), now).unwrap()
        };
        let levels = |tls| Levels { mx: MxLevel::Mtasts, tls, said: None };
        assert_eq!(tls(proven()), levels(TlsLevel::Authenticated));
        assert_eq!(tls(unproven()), levels(TlsLevel::Encrypted));
        assert_eq!(tls(Channel::Clear), levels(TlsLevel::None));
        assert_eq!(tls(Channel::ClearAfterFailure), levels(TlsLevel::None));
    }

    #[test]
    fn an_address_that_may_not_be_used_any_more_is_refused() {
        assert_eq!(judged(AddressUse::Ours), Err(Cause::Loop));
        assert_eq!(judged(AddressUse::OtherFamily), Err(Cause::Unreachable));
    }

    #[test]
    fn a_session_that_falls_short_of_what_is_demanded_is_refused() {
        let tls = Tls::Encrypted(Demand::Local);
        let demands = || InForce {
            address: AddressUse::Allowed,
            requirement: Ok(Requirement { tls: tls.clone(), ..Requirement::none() }),
        };
        let cause = |channel| judge(&proof(channel), demands()).map_err(|failure| failure.cause);
        assert_eq!(cause(Channel::Clear), Err(Cause::TlsLevelTooLow));
        assert!(cause(unproven()).is_ok());
        let refused = Failure::new(Cause::MxLevelTooLow, "no");
        let now = InForce { address: AddressUse::Allowed, requirement: Err(refused.clone()) };
        assert_eq!(judge(&proof(proven()), now), Err(refused));
    }
}
