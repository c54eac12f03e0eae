//! Mail exchangers of a domain: which hosts, in which order (RFC 5321 §5.1, RFC 7505).

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Domain;
use crate::dice::Dice;
use crate::lookup::{Absence, Lookup};
use crate::outcome::{Cause, Failure};
use crate::route::addresses::HostAddresses;

/// More hosts than any honest domain has are cut off, the least preferred first.
const MOST_CANDIDATES: usize = 100;

/// One MX record as it came from DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxRecord {
    pub preference: u16,
    /// The target as text, `.` for the root.
    pub exchange: String,
}

/// A domain that mail is for, and what DNS said of its exchangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    pub domain: Domain,
    /// The name that has the MX records, when the domain is an alias of it. Certificates may name either (RFC 7672 §3.2.2); what belongs
    /// to the domain itself, like its MTA-STS policy, is looked up at the domain (RFC 8461 §3.1).
    pub canonical: Option<Domain>,
    /// The list of exchangers, or the answer that there is none, is signed.
    pub authentic: bool,
    /// There is no MX record: the domain is its own exchanger.
    pub implicit: bool,
}

/// A host to try, with all by which policies about it are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub host: Domain,
    pub preference: u16,
    pub next_hop: Arc<NextHop>,
    /// The name that has the host's addresses, when the host is an alias of it. RFC 5321 §5.1 forbids such exchangers; they exist. Known
    /// once the addresses are.
    pub canonical: Option<Domain>,
    /// The answer with its addresses, of one family at least, is signed. Known once the addresses are.
    pub signed: bool,
}

impl Candidate {
    pub fn new(preference: u16, host: Domain, next_hop: &Arc<NextHop>) -> Candidate {
        let next_hop = Arc::clone(next_hop);
        Candidate { host, preference, next_hop, canonical: None, signed: false }
    }

    /// With what its addresses tell.
    pub fn at(&self, addresses: &HostAddresses) -> Candidate {
        // One family is enough: both belong to the same name, and a denial of the other may come without proof.
        let signed = addresses.authentic_v4 || addresses.authentic_v6;
        Candidate { canonical: addresses.canonical.clone(), signed, ..self.clone() }
    }
}

/// The hosts of a domain in the order of trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchangers {
    pub candidates: Vec<Candidate>,
    pub next_hop: Arc<NextHop>,
    /// We are in the list, by name; we and who is not better than us were left out.
    pub ourselves: bool,
}

/// From the answer to the hosts, or to the reason why there are none.
pub fn exchangers(
    domain: &Domain,
    answer: Lookup<Vec<MxRecord>>,
    our_name: &str,
    dice: &mut Dice,
) -> Result<Exchangers, Failure> {
    match answer {
        Lookup::Failed(why) => {
            Err(Failure::new(Cause::DnsFailed, format!("looking up MX of {domain}: {why}")))
        }
        Lookup::Looping(why) => {
            Err(Failure::new(Cause::AliasLoop, format!("looking up MX of {domain}: {why}")))
        }
        Lookup::Unasked(why) => {
            Err(Failure::new(Cause::OwnResources, format!("looking up MX of {domain}: {why}")))
        }
        Lookup::Absent { absence: Absence::NoSuchName, .. } => {
            Err(Failure::new(Cause::NoSuchDomain, format!("domain {domain} does not exist")))
        }
        // RFC 5321 §5.1: without MX records the domain itself is the only exchanger, with preference 0.
        Lookup::Absent { absence: Absence::NoSuchRecord, authentic } => {
            Ok(implicit(domain, authentic, None))
        }
        Lookup::Found { value, .. } if is_null_mx(&value) => {
            Err(Failure::new(Cause::NullMx, format!("domain {domain} does not accept mail")))
        }
        Lookup::Found { value, authentic, canonical } if value.is_empty() => {
            Ok(implicit(domain, authentic, canonical))
        }
        Lookup::Found { value, authentic, canonical } => {
            let domain = domain.clone();
            let next_hop = Arc::new(NextHop { domain, canonical, authentic, implicit: false });
            let domain = &next_hop.domain;
            let usable: Vec<Candidate> =
                value.iter().filter_map(|record| usable(record, &next_hop)).collect();
            if usable.is_empty() {
                let text = format!("domain {domain} has no usable MX record");
                return Err(Failure::new(Cause::NoAddress, text));
            }
            let ourselves = usable.iter().any(|candidate| is_named(candidate, our_name));
            let candidates = without_ourselves(in_order(usable, dice), our_name);
            if candidates.is_empty() {
                let text = format!("mail for {domain} loops back to this host");
                return Err(Failure::new(Cause::Loop, text));
            }
            Ok(Exchangers { candidates, next_hop, ourselves })
        }
    }
}

fn implicit(domain: &Domain, authentic: bool, canonical: Option<Domain>) -> Exchangers {
    let domain = domain.clone();
    let next_hop = Arc::new(NextHop { domain, canonical, authentic, implicit: true });
    let candidates = vec![Candidate::new(0, next_hop.domain.clone(), &next_hop)];
    Exchangers { candidates, next_hop, ourselves: false }
}

/// RFC 7505 §3: exactly one record, and its target is the root. The preference should be 0, but any is taken.
fn is_null_mx(records: &[MxRecord]) -> bool {
    matches!(records, [only] if only.exchange == "." || only.exchange.is_empty())
}

/// A record that names a host. The root among others, an address and an impossible name make only themselves unusable.
fn usable(record: &MxRecord, next_hop: &Arc<NextHop>) -> Option<Candidate> {
    let name = record.exchange.strip_suffix('.').unwrap_or(&record.exchange);
    if name.is_empty() || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let host = Domain::parse(name).ok().filter(Domain::can_be_looked_up)?;
    Some(Candidate::new(record.preference, host, next_hop))
}

/// RFC 5321 §5.1: lowest preference first, equal ones in random order. A host named twice is tried once.
fn in_order(mut candidates: Vec<Candidate>, dice: &mut Dice) -> Vec<Candidate> {
    dice.shuffle(&mut candidates);
    candidates.sort_by_key(|c| c.preference); // stable: equal ones stay shuffled
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == MOST_CANDIDATES {
            break;
        }
        if !kept.iter().any(|k| k.host == candidate.host) {
            kept.push(candidate);
        }
    }
    kept
}

/// RFC 5321 §5.1: if we are in the list, we and everyone not better than us are left out.
fn without_ourselves(candidates: Vec<Candidate>, our_name: &str) -> Vec<Candidate> {
    let ours = candidates.iter().find(|candidate| is_named(candidate, our_name));
    match ours.map(|c| c.preference) {
        None => candidates,
        Some(limit) => candidates.into_iter().filter(|c| c.preference < limit).collect(),
    }
}

fn is_named(candidate: &Candidate, our_name: &str) -> bool {
    candidate.host.ascii().eq_ignore_ascii_case(our_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        Domain::parse("example.org").unwrap()
    }

    fn plan(records: &[(u16, &str)]) -> Result<Exchangers, Failure> {
        let record = |r: &(u16, &str)| MxRecord { preference: r.0, exchange: r.1.to_string() };
        let answer = Lookup::found(records.iter().map(record).collect());
        exchangers(&domain(), answer, "me.test", &mut Dice::new(1))
    }

    fn hosts(records: &[(u16, &str)]) -> Vec<String> {
        plan(records).unwrap().candidates.iter().map(|c| c.host.to_string()).collect()
    }

    fn fails(records: &[(u16, &str)], cause: Cause) {
        assert_eq!(plan(records).unwrap_err().cause, cause, "{records:?}");
    }

    #[test]
    fn lowest_preference_first() {
        assert_eq!(
            hosts(&[(20, "b.test."), (10, "A.test."), (30, "c.test")]),
            ["a.test", "b.test", "c.test"]
        );
    }

    #[test]
    fn the_name_behind_an_alias_is_kept() {
        let real = Domain::parse("real.test").unwrap();
        let value = vec![MxRecord { preference: 10, exchange: "a.test.".into() }];
        let answer = Lookup::Found { value, authentic: true, canonical: Some(real.clone()) };
        let found = exchangers(&domain(), answer, "me.test", &mut Dice::new(1)).unwrap();
        assert_eq!(found.next_hop.canonical, Some(real));
        assert_eq!(plan(&[(10, "a.test.")]).unwrap().next_hop.canonical, None);
    }

    #[test]
    fn equal_preferences_are_shuffled() {
        let records: Vec<MxRecord> =
            (0..8).map(|i| MxRecord { preference: 10, exchange: format!("mx{i}.test.") }).collect();
        let order = |seed| {
            exchangers(&domain(), Lookup::found(records.clone()), "me.test", &mut Dice::new(seed))
                .unwrap()
        };
        assert_ne!(order(1), order(2));
        assert_eq!(order(3), order(3));
    }

    #[test]
    fn null_mx_fails_at_once() {
        fails(&[(0, ".")], Cause::NullMx);
        fails(&[(10, ".")], Cause::NullMx);
        assert_eq!(hosts(&[(0, "."), (10, "a.test.")]), ["a.test"]); // among others: not a null MX
        fails(&[(0, "."), (5, ".")], Cause::NoAddress);
    }

    #[test]
    fn unusable_records_are_left_out_alone() {
        assert_eq!(hosts(&[(5, "192.0.2.1."), (6, "a..b"), (7, "mx_1.test.")]), ["mx_1.test"]);
        fails(&[(5, "192.0.2.1.")], Cause::NoAddress);
        assert_eq!(hosts(&[(5, "-a.test."), (6, "b-.test.")]), ["b-.test"]);
    }

    #[test]
    fn a_host_named_twice_is_tried_once() {
        assert_eq!(
            hosts(&[(20, "a.test."), (10, "a.test."), (15, "b.test.")]),
            ["a.test", "b.test"]
        );
    }

    #[test]
    fn we_and_worse_ones_are_left_out() {
        assert_eq!(
            hosts(&[(10, "a.test."), (20, "Me.test."), (20, "b.test."), (30, "c.test.")]),
            ["a.test"]
        );
        fails(&[(10, "me.test."), (20, "c.test.")], Cause::Loop);
    }

    #[test]
    fn hostile_numbers_are_cut() {
        // The best ones come last in the answer, and are kept.
        let many: Vec<(u16, String)> =
            (0..5000u16).rev().map(|i| (i, format!("mx{i}.test."))).collect();
        let many: Vec<(u16, &str)> = many.iter().map(|(p, h)| (*p, h.as_str())).collect();
        let best: Vec<String> = (0..100).map(|i| format!("mx{i}.test")).collect();
        assert_eq!(hosts(&many), best);
    }

    #[test]
    fn answers_without_records() {
        let ask = |answer| exchangers(&domain(), answer, "me.test", &mut Dice::new(1));
        let own = ask(Lookup::absent(Absence::NoSuchRecord)).unwrap();
        assert!(own.next_hop.implicit && own.candidates[0].host == domain());
        assert_eq!(
            ask(Lookup::absent(Absence::NoSuchName)).unwrap_err().status.to_string(),
            "5.1.2"
        );
        let unasked = ask(Lookup::Unasked("no name server".into())).unwrap_err();
        assert!(unasked.is_no_attempt()); // our own fault never counts
        let failed = ask(Lookup::Failed("SERVFAIL".into())).unwrap_err();
        assert_eq!((failed.code, failed.status.to_string().as_str()), (451, "4.4.3"));
        let looping = ask(Lookup::Looping("the aliases come back".into())).unwrap_err();
        assert_eq!((looping.code, looping.status.to_string().as_str()), (451, "4.4.4"));
    }
}
