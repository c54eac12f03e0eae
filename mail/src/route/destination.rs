//! What the queue groups by: the next hop.
//!
//! Which key a recipient has is the target's affair: `target.remote` takes the domain, forwarders take themselves. A key is a type, not
//! a string, so that later kinds (several source addresses, sites of equal MX sets) have a place.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{Domain, Host, Mailbox};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKey {
    /// Mail exchangers of this domain.
    Domain(Domain),
    /// One address, asked for by `user@[192.0.2.1]`.
    Literal(IpAddr),
    /// `postmaster` without domain: no next hop at all.
    Unqualified,
    /// Whatever this target forwards to.
    Target(String),
}

impl DestinationKey {
    /// The key of a recipient for targets that look up mail exchangers.
    pub fn of_host(recipient: &Mailbox) -> DestinationKey {
        match recipient.host() {
            Host::Domain(domain) => DestinationKey::Domain(domain.clone()),
            Host::Literal(address) => DestinationKey::Literal(*address),
            Host::Unqualified => DestinationKey::Unqualified,
        }
    }
}

impl DestinationKey {
    /// As `Display` writes it; a domain also in U-labels and any case.
    pub fn parse(text: &str) -> Option<DestinationKey> {
        if let Some(name) = text.strip_prefix('&') {
            return (!name.is_empty()).then(|| DestinationKey::Target(name.to_string()));
        }
        if text == "postmaster" {
            return Some(DestinationKey::Unqualified);
        }
        if let Some(literal) = text.strip_prefix('[') {
            let address = literal.strip_suffix(']')?;
            let address = address.strip_prefix("IPv6:").unwrap_or(address);
            return address.parse().ok().map(DestinationKey::Literal);
        }
        Domain::parse(text).ok().map(DestinationKey::Domain)
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DestinationKey::Domain(domain) => f.write_str(domain.ascii()),
            DestinationKey::Literal(address) => write!(f, "[{address}]"),
            DestinationKey::Unqualified => f.write_str("postmaster"),
            DestinationKey::Target(name) => write!(f, "&{name}"),
        }
    }
}

/// How a target maps recipients to keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Splitting {
    ByHost,
    /// Everything together, under the target's name.
    Whole(String),
}

impl Splitting {
    pub fn key(&self, recipient: &Mailbox) -> DestinationKey {
        match self {
            Splitting::ByHost => DestinationKey::of_host(recipient),
            Splitting::Whole(name) => DestinationKey::Target(name.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_read_back() {
        let keys = ["example.org", "[192.0.2.1]", "[2001:db8::1]", "&relay", "postmaster"];
        for key in keys {
            assert_eq!(super::DestinationKey::parse(key).unwrap().to_string(), key);
        }
        let idn = super::DestinationKey::parse("KÖLN.example").unwrap();
        assert_eq!(idn.to_string(), "xn--kln-sna.example");
        for wrong in ["", "&", "[x]", "[192.0.2.1", "a..b", "a b"] {
            assert_eq!(super::DestinationKey::parse(wrong), None, "{wrong}");
        }
    }

    use super::*;

    #[test]
    fn domains_group_without_case_and_script() {
        let key = |text| DestinationKey::of_host(&Mailbox::parse(text).unwrap());
        assert_eq!(key("a@MÜNCHEN.example"), key("b@xn--mnchen-3ya.example."));
        assert_ne!(key("a@example.org"), key("a@sub.example.org"));
        assert_eq!(key("a@[192.0.2.1]").to_string(), "[192.0.2.1]");
        assert_eq!(key("postmaster"), DestinationKey::Unqualified);
    }
}
