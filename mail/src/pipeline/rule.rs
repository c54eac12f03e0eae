//! A rule of `source` and `destination`: one address or one domain.
//!
//! No wildcards, no subdomains, no expressions. Both sides are compared without regard to case, trailing dot and script (Punycode or
//! Unicode). Quoting counts: `"a"@x` and `a@x` differ.

use crate::address::{AddressError, Domain, Host, Mailbox};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// With an `@`, or `postmaster`, which stands for itself without domain (RFC 5321 §4.5.1).
    Address(AddressKey),
    Host(Host),
}

/// An address in comparison form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey {
    local: String,
    host: Host,
}

impl AddressKey {
    pub fn of(mailbox: &Mailbox) -> AddressKey {
        AddressKey { local: mailbox.local().to_lowercase(), host: mailbox.host().clone() }
    }
}

impl Rule {
    pub fn parse(text: &str) -> Result<Rule, AddressError> {
        if text.contains('@') || text.eq_ignore_ascii_case("postmaster") {
            return Ok(Rule::Address(AddressKey::of(&Mailbox::parse(text)?)));
        }
        if text.starts_with('[') {
            // A literal is a host like any other: the parser of addresses knows its two forms (RFC 5321 §4.1.3).
            let mailbox = Mailbox::parse(&format!("x@{text}"))?;
            return Ok(Rule::Host(mailbox.host().clone()));
        }
        Domain::parse(text).map(Host::Domain).map(Rule::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        Rule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn rules_are_equal_in_comparison_form() {
        for (one, other) in [
            ("Example.ORG.", "example.org"),
            ("xn--mnchen-3ya.example", "MÜNCHEN.example"),
            ("Ann@Example.org.", "ann@example.org"),
            ("Ä@xn--mnchen-3ya.example", "ä@münchen.example"),
            ("Postmaster", "postmaster"),
            ("[IPv6:2001:DB8::1]", "[IPv6:2001:db8:0::1]"),
            ("a@[ipv6:2001:db8::1]", "A@[IPv6:2001:db8:0::1]"),
        ] {
            assert_eq!(rule(one), rule(other), "{one} {other}");
        }
        for (one, other) in [
            ("example.org", "sub.example.org"),
            ("\"a\"@example.org", "a@example.org"),
            ("postmaster", "postmaster@example.org"),
            ("postmaster@example.org", "example.org"),
        ] {
            assert_ne!(rule(one), rule(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_rule() {
        for bad in [
            "",
            ".",
            ".example.org",
            "a..b",
            "*.example.org",
            "@example.org",
            "a@",
            "a b",
            "xn--a.org",
            "[1.2.3]",
            "[1.2.3.4",
            "a@b@",
            "<a@b>",
        ] {
            assert!(Rule::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Rule::parse(&format!("{}.org", "a".repeat(64))).is_err());
    }
}
