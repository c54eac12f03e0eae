//! Whom a certificate may name to be accepted by a DANE-TA record.

use crate::address::Domain;

/// A mail exchanger, and how we came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchanger<'a> {
    /// As the MX record has it, before any alias.
    pub host: &'a Domain,
    pub next_hop: &'a Domain,
    /// What the next hop is an alias of, if it is one.
    pub canonical: Option<&'a Domain>,
    /// The MX answer was signed and validated.
    pub authentic: bool,
    /// There is no MX record: the next hop is its own exchanger.
    pub implicit: bool,
}

/// The names beside the base domain, each once (RFC 7672 §3.2.2).
pub fn further_names(base: &Domain, exchanger: &Exchanger<'_>) -> Vec<Domain> {
    let Exchanger { host, next_hop, canonical, authentic, implicit } = *exchanger;
    let mut names: Vec<Domain> = Vec::new();
    let mut add = |name: &Domain| {
        if name != base && !names.contains(name) {
            names.push(name.clone());
        }
    };
    add(host);
    // RFC 7672 §3.2.2: without MX records the domain takes the place of the exchanger, which `host` is already. Behind an unsigned MX
    // answer anybody can put a host of his own: that its certificate names the next hop would prove nothing of the host.
    if authentic && !implicit {
        add(next_hop);
        if let Some(canonical) = canonical {
            add(canonical);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &str, authentic: bool, implicit: bool) -> Vec<String> {
        let of = |text: &str| Domain::parse(text).unwrap();
        let (host, next_hop, canonical) = (of("mx.test"), of("alias.test"), of("example.test"));
        let host = if implicit { &next_hop } else { &host };
        let (next_hop, canonical) = (&next_hop, Some(&canonical));
        let exchanger = Exchanger { host, next_hop, canonical, authentic, implicit };
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
