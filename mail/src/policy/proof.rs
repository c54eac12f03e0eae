//! What a session proved when it was opened: all that a policy may ask of it later, when nothing can be asked of the peer again.

use std::net::IpAddr;

use crate::level::TlsLevel;
use crate::policy::requirement::{Certificate, Shown};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The peer's.
    pub address: IpAddr,
    /// Ours.
    pub local: Option<IpAddr>,
    /// The list of exchangers that the host was taken from was signed.
    pub authentic: bool,
    pub channel: Channel,
}

/// How the session is protected, and what the certificate proves by PKIX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The server offers no TLS.
    Clear,
    /// In the clear because TLS had failed at this address. It may work the next time, so this is no session to keep.
    ClearAfterFailure,
    /// Encrypted; why the certificate proves nothing.
    Unproven(String),
    Proven,
}

impl Channel {
    /// As a requirement looks at it.
    pub fn shown(&self) -> Shown {
        let tls = match self {
            Channel::Clear => Err("the server offers none".to_string()),
            Channel::ClearAfterFailure => Err("it failed with this server".to_string()),
            Channel::Unproven(why) => Ok(Certificate { pkix: Err(why.clone()), dane: None }),
            Channel::Proven => Ok(Certificate { pkix: Ok(()), dane: None }),
        };
        Shown { tls, offers_requiretls: false }
    }

    pub fn level(&self) -> TlsLevel {
        match self {
            Channel::Clear | Channel::ClearAfterFailure => TlsLevel::None,
            Channel::Unproven(_) => TlsLevel::Encrypted,
            Channel::Proven => TlsLevel::Authenticated,
        }
    }
}
