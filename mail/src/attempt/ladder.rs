//! From TLS to plaintext: when a failed handshake may fall back.
//!
//! There is one handshake and no unverified rung: what the certificate proves is judged afterwards. Plaintext is tried once, on a new
//! connection to the same address, and only when nothing in force wants TLS (RFC 7435 §3).

use crate::outcome::{Cause, Failure, Stage};

/// What the policies in force want of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsDemand {
    /// TLS if the server offers it, else plaintext.
    #[default]
    Opportunistic,
    /// No session without TLS.
    Encrypted,
}

/// May this failure be answered with a plaintext session?
pub fn may_fall_back(demand: TlsDemand, failure: &Failure) -> bool {
    match demand {
        TlsDemand::Encrypted => false,
        TlsDemand::Opportunistic => match failure.cause {
            Cause::HandshakeFailed => true,
            Cause::Refused(stage) | Cause::Lost(stage) | Cause::TimedOut(stage) => {
                stage == Stage::StartTls
            }
            // Neither a reply that is none nor octets that somebody put in front of the handshake: that is no server without TLS.
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_starttls_troubles_fall_back_and_only_without_demand() {
        let lost = |stage| Failure::new(Cause::Lost(stage), "closed");
        assert!(may_fall_back(TlsDemand::Opportunistic, &lost(Stage::StartTls)));
        assert!(!may_fall_back(TlsDemand::Encrypted, &lost(Stage::StartTls)));
        assert!(!may_fall_back(TlsDemand::Opportunistic, &lost(Stage::Ehlo)));
        assert!(!may_fall_back(TlsDemand::Opportunistic, &lost(Stage::Greeting)));
        let handshake = Failure::new(Cause::HandshakeFailed, "no shared cipher");
        assert!(may_fall_back(TlsDemand::Opportunistic, &handshake));
        for cause in [Cause::Injected, Cause::Protocol(Stage::StartTls)] {
            assert!(!may_fall_back(TlsDemand::Opportunistic, &Failure::new(cause, "?")));
        }
        let internal = Failure::new(Cause::Internal, "out of files");
        assert!(!may_fall_back(TlsDemand::Opportunistic, &internal)); // our fault never lowers security
    }
}
