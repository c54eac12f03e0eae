//! Whether a host is asked for TLSA, and at which names.
//!
//! Asked are only hosts whose addresses are signed: below unsigned names there can be no signed TLSA, and there are name servers that
//! break on the question (RFC 7672 §2.2.2). Whether the MX answer was signed does not matter here: it decides whom a certificate may name
//! and how much the host is worth, see `names` and the MX level.

use crate::address::Domain;
use crate::lookup::Lookup;
use crate::route::mx::Candidate;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applies {
    No(String),
    /// The host is an alias that leads out of what is signed. Ask for the CNAME record itself, and come again with the answer.
    AskAlias,
    /// Base domains in the order of trial (RFC 7672 §2.2.3), at most two.
    LookUp(Vec<Domain>),
    /// Nobody knows: not a reason to do without (RFC 7672 §2.1.2).
    Failed(String),
    /// The same, by a fault of our own.
    Unasked(String),
}

/// `exchanger`: one whose addresses are known, or it would not be tried. `alias`: the answer to a question for its CNAME record, when it
/// was asked.
pub fn applies(exchanger: &Candidate, alias: Option<&Lookup<Domain>>) -> Applies {
    let host = &exchanger.host;
    let canonical = exchanger.canonical.as_ref().filter(|canonical| *canonical != host);
    if exchanger.signed {
        return Applies::LookUp(canonical.into_iter().chain([host]).cloned().collect());
    }
    if canonical.is_none() {
        return Applies::No(format!("the addresses of {host} are not signed"));
    }
    // RFC 7672 §2.2.2: an alias that is signed itself may have records of its own, wherever it leads.
    match alias {
        None => Applies::AskAlias,
        Some(Lookup::Found { authentic: true, .. }) => Applies::LookUp(vec![host.clone()]),
        Some(Lookup::Found { .. } | Lookup::Absent { .. }) => {
            Applies::No(format!("neither the alias {host} nor its addresses are signed"))
        }
        Some(Lookup::Failed(why) | Lookup::Looping(why)) => {
            Applies::Failed(format!("looking up the alias {host}: {why}"))
        }
        Some(Lookup::Unasked(why)) => {
            Applies::Unasked(format!("looking up the alias {host}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lookup::Absence;
    use crate::route::mx::NextHop;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn four(signed: bool, canonical: Option<&str>) -> Candidate {
        let (domain, canonical) = (domain("example.test"), canonical.map(domain));
        let (authentic, implicit) = (true, false);
        let next_hop = NextHop { domain, canonical: None, authentic, implicit };
        let host = self::domain("mx.test");
        Candidate { canonical, signed, ..Candidate::new(10, host, &Arc::new(next_hop)) }
    }

    fn asked(exchanger: &Candidate, alias: Option<&Lookup<Domain>>) -> Applies {
        applies(exchanger, alias)
    }

    fn names(names: &[&str]) -> Applies {
        Applies::LookUp(names.iter().map(|name| domain(name)).collect())
    }

    #[test]
    fn signed_addresses_are_asked_the_end_of_the_aliases_first() {
        assert_eq!(asked(&four(true, None), None), names(&["mx.test"]));
        assert_eq!(asked(&four(true, Some("real.test")), None), names(&["real.test", "mx.test"]));
        // A resolver that keeps odd case makes no alias of it.
        assert_eq!(asked(&four(true, Some("MX.Test")), None), names(&["mx.test"]));
    }

    #[test]
    fn unsigned_addresses_are_not_asked() {
        for canonical in [None, Some("MX.test")] {
            let end = asked(&four(false, canonical), None);
            assert!(matches!(end, Applies::No(_)), "{end:?}");
        }
    }

    #[test]
    fn a_signed_alias_to_unsigned_addresses_is_asked_alone() {
        let addresses = four(false, Some("real.test"));
        assert_eq!(asked(&addresses, None), Applies::AskAlias);
        let alias =
            |authentic| Lookup::Found { value: domain("real.test"), authentic, canonical: None };
        assert_eq!(asked(&addresses, Some(&alias(true))), names(&["mx.test"]));
        for unsigned in [alias(false), Lookup::absent(Absence::NoSuchRecord)] {
            let end = asked(&addresses, Some(&unsigned));
            assert!(matches!(end, Applies::No(_)), "{end:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_not_absent() {
        let addresses = four(false, Some("real.test"));
        for failed in [Lookup::Failed("SERVFAIL".into()), Lookup::Looping("circle".into())] {
            let end = asked(&addresses, Some(&failed));
            assert!(matches!(end, Applies::Failed(_)), "{end:?}");
        }
        let end = asked(&addresses, Some(&Lookup::Unasked("no socket".into())));
        assert!(matches!(end, Applies::Unasked(_)), "{end:?}");
    }
}
