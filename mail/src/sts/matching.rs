//! Exchangers and the `mx` lines of a policy (RFC 8461 §4.1).

use std::fmt;

use crate::address::Domain;

/// One `mx` of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MxPattern {
    Host(Domain),
    /// `*.` and this: any one label in front of it.
    Below(Domain),
}

impl MxPattern {
    /// A name in A-labels, or `*.` and a name (RFC 8461 §3.2, `sts-policy-mx`). Everything else is none.
    pub fn parse(text: &str) -> Option<MxPattern> {
        match text.strip_prefix("*.") {
            Some(rest) => name(rest).map(MxPattern::Below),
            None => name(text).map(MxPattern::Host),
        }
    }

    /// The name is the one in the MX record, or the domain itself where there is none: not what it is an alias of.
    pub fn allows(&self, host: &Domain) -> bool {
        match self {
            MxPattern::Host(name) => host == name,
            // RFC 8461 §4.1: a wildcard covers exactly one label, the leftmost.
            MxPattern::Below(name) => {
                host.ascii().split_once('.').is_some_and(|(_, rest)| rest == name.ascii())
            }
        }
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MxPattern::Host(name) => write!(f, "{name}"),
            MxPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// May the host be one of these?
pub fn allows(patterns: &[MxPattern], host: &Domain) -> bool {
    patterns.iter().any(|pattern| pattern.allows(host))
}

/// A domain name in A-labels (RFC 8461 §3.2 has no others); one dot at its end is dropped.
fn name(text: &str) -> Option<Domain> {
    let ascii = text.is_ascii() && !text.contains('*');
    let name = Domain::parse(text).ok().filter(|_| ascii)?;
    // An address is no name: no top level domain is a number (RFC 3696 §2).
    let top = name.ascii().rsplit('.').next()?;
    (!top.bytes().all(|octet| octet.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(pattern: &str, host: &str) -> bool {
        MxPattern::parse(pattern).unwrap().allows(&Domain::parse(host).unwrap())
    }

    fn allows(pattern: &str, host: &str) {
        assert!(is_allowed(pattern, host), "{pattern} {host}");
    }

    fn refuses(pattern: &str, host: &str) {
        assert!(!is_allowed(pattern, host), "{pattern} {host}");
    }

    #[test]
    fn a_name_is_itself() {
        allows("mx.example.com", "mx.example.com");
        allows("MX.Example.COM", "mx.example.com");
        allows("mx.example.com.", "mx.example.com"); // dots at the end mean nothing
        allows("mx.example.com", "mx.example.com.");
        allows("xn--mnchen-3ya.example", "münchen.example");
        refuses("example.com", "mx.example.com");
        refuses("mx.example.com", "example.com");
        refuses("mx.example.com", "mx.example.co");
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        allows("*.example.com", "mx.example.com");
        allows("*.EXAMPLE.com", "MX.example.com");
        refuses("*.example.com", "example.com"); // no label
        refuses("*.example.com", "a.mx.example.com"); // two labels
        refuses("*.example.com", "mxexample.com");
        refuses("*.example.com", "mx.example.com.example.org");
        allows("*.com", "example.com");
    }

    #[test]
    fn what_is_no_pattern() {
        for text in [
            "",
            ".",
            "*",
            "*.",
            "**.example.com",
            "*mx.example.com",
            "mx*.example.com",
            "mx.*.com",
            "*.*.com",
            "a..com",
            "192.0.2.1",
            "*.0.2.1",
            "[192.0.2.1]",
            "2001:db8::1",
            "münchen.example",
            "mx.example.com:25",
            "mx example.com",
            ".example.com",
            "*. example.com",
            "mx.example.com..",
        ] {
            assert_eq!(MxPattern::parse(text), None, "{text:?}");
        }
        assert_eq!(MxPattern::parse("*.Example.com.").unwrap().to_string(), "*.example.com");
    }

    #[test]
    fn one_of_several_is_enough() {
        let patterns = ["a.test", "*.b.test"].map(|text| MxPattern::parse(text).unwrap());
        let is = |host: &str| super::allows(&patterns, &Domain::parse(host).unwrap());
        assert!(is("a.test") && is("mx.b.test") && !is("c.test") && !is("b.test"));
        assert!(!super::allows(&[], &Domain::parse("a.test").unwrap()));
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = crate::dice::Dice::new(41);
        let letters = ['*', '.', 'a', 'B', '-', '1', 'ä', ':', '[', ' ', '\0'];
        for _ in 0..50_000 {
            let text: String =
                (0..dice.below(12)).map(|_| letters[dice.below(letters.len())]).collect();
            if let Some(pattern) = MxPattern::parse(&text) {
                assert_eq!(MxPattern::parse(&pattern.to_string()), Some(pattern));
            }
        }
    }
}
