//! What `mx_auth` and the two REQUIRETLS directives of a target say.

use crate::level::{MxLevel, TlsLevel};

/// The policies that are configured. Without `mx_auth` there are none: TLS is opportunistic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    pub mtasts: bool,
    pub dnssec: bool,
    pub dane: bool,
    pub local: LocalPolicy,
    pub requiretls: RequireTls,
}

/// `local_policy { min_tls_level ... min_mx_level ... }`; `off` is the default of both, none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalPolicy {
    pub min_tls: TlsLevel,
    pub min_mx: MxLevel,
}

/// `requiretls_override` and `relaxed_requiretls`, both yes by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequireTls {
    /// `TLS-Required: No` switches the policies off for its message (RFC 8689 §3).
    pub may_be_waived: bool,
    /// A server that does not offer REQUIRETLS may have the message all the same, when all else is as it demands.
    pub relaxed: bool,
}

impl Default for RequireTls {
    fn default() -> RequireTls {
        RequireTls { may_be_waived: true, relaxed: true }
    }
}
