//! What is demanded of a session before mail goes over it.
//!
//! One judge for sessions just made and for sessions taken from the pool: it is given what the session proved when it was opened and what
//! is in force at this moment, and asks nobody. So a kept session never escapes a rule that came after it.

pub mod facts;
pub mod proof;
pub mod requirement;
pub mod settings;

use crate::level::{MxLevel, TlsLevel};
use crate::outcome::{Cause, Failure};
use proof::Proof;

/// What holds at the moment of judging, as far as it concerns one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    pub address: AddressUse,
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

/// How far a session that passed is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    pub mx: MxLevel,
    pub tls: TlsLevel,
}

/// May mail go over this session now?
pub fn judge(proof: &Proof, now: InForce) -> Result<Levels, Failure> {
    let address = proof.address;
    match now.address {
        AddressUse::Allowed => Ok(Levels { mx: proof.mx_level, tls: proof.channel.level() }),
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
    use super::*;

    fn proof(channel: Channel) -> Proof {
        let address = "192.0.2.1".parse().unwrap();
        Proof { address, local: None, mx_level: MxLevel::Mtasts, channel }
    }

    fn judged(address: AddressUse) -> Result<Levels, Cause> {
        judge(&proof(Channel::Proven), InForce { address }).map_err(|failure| failure.cause)
    }

    #[test]
    fn the_levels_are_those_that_were_proven() {
        let tls =
            |channel| judge(&proof(channel), InForce { address: AddressUse::Allowed }).unwrap();
        let levels = |tls| Levels { mx: MxLevel::Mtasts, tls };
        assert_eq!(tls(Channel::Proven), levels(TlsLevel::Authenticated));
        assert_eq!(tls(Channel::Unproven("self-signed".into())), levels(TlsLevel::Encrypted));
        assert_eq!(tls(Channel::Clear), levels(TlsLevel::None));
        assert_eq!(tls(Channel::ClearAfterFailure), levels(TlsLevel::None));
    }

    #[test]
    fn an_address_that_may_not_be_used_any_more_is_refused() {
        assert_eq!(judged(AddressUse::Ours), Err(Cause::Loop));
        assert_eq!(judged(AddressUse::OtherFamily), Err(Cause::Unreachable));
    }
}
