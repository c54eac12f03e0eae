//! The two security scales of a session.
//!
//! Both are ordered and only ever raised: what several policies find is combined with `max`, so their order cannot matter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How sure we are that the host is one the recipient domain named.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum MxLevel {
    #[default]
    None,
    /// The host matches the domain's MTA-STS policy, in any mode (RFC 8461).
    Mtasts,
    /// The MX answer was signed and validated.
    Dnssec,
}

/// How well the session is protected.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum TlsLevel {
    #[default]
    None,
    /// Encrypted, the peer's certificate proves nothing.
    Encrypted,
    /// Encrypted, and the certificate is proven by PKIX or by DANE.
    Authenticated,
}

impl fmt::Display for MxLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MxLevel::None => "none",
            MxLevel::Mtasts => "mtasts",
            MxLevel::Dnssec => "dnssec",
        })
    }
}

impl fmt::Display for TlsLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsLevel::None => "none",
            TlsLevel::Encrypted => "encrypted",
            TlsLevel::Authenticated => "authenticated",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered() {
        assert!(MxLevel::None < MxLevel::Mtasts && MxLevel::Mtasts < MxLevel::Dnssec);
        assert!(
            TlsLevel::None < TlsLevel::Encrypted && TlsLevel::Encrypted < TlsLevel::Authenticated
        );
    }
}
