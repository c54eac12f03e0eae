//! What a session proved when it was opened: all that a policy may ask of it later, when nothing can be asked of the peer again.

use std::net::IpAddr;

use crate::policy::requirement::{Certificate, Shown};
use crate::route::mx::Candidate;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The peer's.
    pub address: IpAddr,
    /// Ours.
    pub local: Option<IpAddr>,
    /// Whom we wanted; `None` for an address literal.
    pub exchanger: Option<Candidate>,
    pub channel: Channel,
    /// RFC 8689 §2: the server offers REQUIRETLS.
    pub offers_requiretls: bool,
}

/// How the session is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The server offers no TLS.
    Clear,
    /// In the clear because TLS had failed at this address. It may work the next time, so this is no session to keep.
    ClearAfterFailure,
    Encrypted(Certificate),
}

impl Proof {
    /// As a requirement looks at it.
    pub fn shown(&self) -> Shown {
        let tls = match &self.channel {
            Channel::Clear => Err("the server offers none".to_string()),
            Channel::ClearAfterFailure => Err("it failed with this server".to_string()),
            Channel::Encrypted(certificate) => Ok(certificate.clone()),
        };
        Shown { tls, offers_requiretls: self.offers_requiretls }
    }
}
