//! Whom a certificate may name to be accepted by a DANE-TA record.

use crate::address::Domain;
use crate::route::mx::Candidate;

/// The names beside the base domain, each once (RFC 7672 §3.2.2).
pub fn further_names(base: &Domain, exchanger: &Candidate) -> Vec<Domain> {
    let next_hop = &exchanger.next_hop;
    let mut names: Vec<Domain> = Vec::new();
    let mut add = |name: &Domain| {
        if name != base && !names.contains(name) {
            names.push(name.clone());
        }
    };
    add(&exchanger.host);
    // RFC 7672 §3.2.2: without MX records the domain takes the place of the exchanger, which `host` is already. Behind an unsigned MX
    // answer anybody can put a host of his own: that its certificate names the next hop would prove nothing of the host.
    if next_hop.authentic && !next_hop.implicit {
        add(&next_hop.domain);
        if let Some(canonical) = &next_hop.canonical {
            add(canonical);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::route::mx::NextHop;

    fn names(base: &str, authentic: bool, implicit: bool) -> Vec<String> {
        let of = |text: &str| Domain::parse(text).unwrap();
        let domain = of("alias.test");
        let host = if implicit { domain.clone() } else { of("mx.test") };
        let canonical = Some(of("example.test"));
        let next_hop = Arc::new(NextHop { domain, canonical, authentic, implicit });
        let exchanger = Candidate::new(10, host, &next_hop);
        further_names(&of(base), &exchanger).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_signed_mx_answer_vouches_for_the_domain() {
        assert_eq!(names("real.test", true, false), ["mx.test", "alias.test", "example.test"]);
        assert_eq!(names("mx.test", true, false), ["alias.test", "example.test"]);
        assert_eq!(names("example.test", true, false), ["mx.test", "alias.test"]); // each once
    }

    #[test]
    fn behind_an_unsigned_one_only_the_host_counts() {
        assert_eq!(names("real.test", false, false), ["mx.test"]);
        assert!(names("mx.test", false, false).is_empty());
    }

    #[test]
    fn without_mx_the_domain_is_the_host() {
        for authentic in [true, false] {
            assert_eq!(names("real.test", authentic, true), ["alias.test"]);
            assert!(names("alias.test", authentic, true).is_empty());
        }
    }
}
