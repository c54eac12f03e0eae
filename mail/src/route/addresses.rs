//! Addresses of a host: two lookups, one for each family, put into one list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::Domain;
use crate::lookup::Lookup;
use crate::outcome::{Cause, Failure};

/// What is known of a host's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// In the order of trial.
    pub list: Vec<IpAddr>,
    /// Whether the AAAA and the A answer were authentic. What one of them says is no proof for the addresses of the other.
    pub authentic_v6: bool,
    pub authentic_v4: bool,
    /// There may be addresses that were not tried: that all others refuse is not the last word.
    pub missing: Option<Missing>,
    /// The name that has the addresses, when the host is an alias of it: filled in by `addresses_of`.
    pub canonical: Option<Domain>,
}

/// A family of addresses that could not be looked up, while the other one could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub family: Family,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv6,
    Ipv4,
}

impl Family {
    /// An address of this family that is nobody's.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::Ipv6 => "IPv6",
            Family::Ipv4 => "IPv4",
        })
    }
}

impl HostAddresses {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the answer that named this address was authentic (RFC 7672 §2.2.2 wants to know before it asks for TLSA).
    pub fn is_authentic(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.authentic_v4,
            IpAddr::V6(_) => self.authentic_v6,
        }
    }

    /// What to hold against a host whose other addresses are not known.
    pub fn trouble(&self, host: &Domain) -> Option<Failure> {
        let Missing { family, why } = self.missing.as_ref()?;
        let text = format!("looking up {family} addresses of {host}: {why}");
        Some(Failure::new(Cause::AddressLookupFailed, text))
    }

    /// Both answers into one: alternating, IPv6 first. One family is enough, and what kept the other away is remembered.
    pub fn of(v6: Lookup<Vec<IpAddr>>, v4: Lookup<Vec<IpAddr>>) -> Lookup<HostAddresses> {
        match (v6, v4) {
            (
                Lookup::Found { value: six, authentic: authentic_v6, canonical: of_six },
                Lookup::Found { value: four, authentic: authentic_v4, canonical: of_four },
            ) => {
                let value = HostAddresses {
                    list: alternating(six, four),
                    authentic_v6,
                    authentic_v4,
                    ..HostAddresses::default()
                };
                let canonical = of_six.or(of_four);
                Lookup::Found { value, authentic: authentic_v6 && authentic_v4, canonical }
            }
            (Lookup::Found { value, authentic, canonical }, other) => {
                let missing = missing(Family::Ipv4, &other);
                let value = HostAddresses {
                    list: value,
                    authentic_v6: authentic,
                    missing,
                    ..HostAddresses::default()
                };
                Lookup::Found { value, authentic, canonical }
            }
            (other, Lookup::Found { value, authentic, canonical }) => {
                let missing = missing(Family::Ipv6, &other);
                let value = HostAddresses {
                    list: value,
                    authentic_v4: authentic,
                    missing,
                    ..HostAddresses::default()
                };
                Lookup::Found { value, authentic, canonical }
            }
            // Without any address what is not known outweighs what is known to be absent.
            (Lookup::Looping(why), _) | (_, Lookup::Looping(why)) => Lookup::Looping(why),
            (Lookup::Failed(why), _) | (_, Lookup::Failed(why)) => Lookup::Failed(why),
            (Lookup::Unasked(why), _) | (_, Lookup::Unasked(why)) => Lookup::Unasked(why),
            (Lookup::Absent { absence, authentic }, Lookup::Absent { .. }) => {
                Lookup::Absent { absence, authentic }
            }
        }
    }
}

/// From the answer to the addresses of an exchanger, or to the reason why there are none. `implicit`: it is the domain itself.
pub fn addresses_of(
    host: &Domain,
    answer: Lookup<HostAddresses>,
    implicit: bool,
) -> Result<HostAddresses, Failure> {
    match answer {
        Lookup::Found { value, canonical, .. } if !value.is_empty() => {
            Ok(HostAddresses { canonical, ..value })
        }
        Lookup::Found { .. } | Lookup::Absent { .. } => {
            let text = match implicit {
                true => format!("{host} has neither MX nor address records"),
                false => format!("MX host {host} has no address"),
            };
            Err(Failure::new(Cause::NoAddress, text))
        }
        Lookup::Failed(why) => Err(looking_up(host, Cause::AddressLookupFailed, &why)),
        Lookup::Looping(why) => Err(looking_up(host, Cause::AliasLoop, &why)),
        Lookup::Unasked(why) => Err(looking_up(host, Cause::OwnResources, &why)),
    }
}

fn looking_up(host: &Domain, cause: Cause, why: &str) -> Failure {
    Failure::new(cause, format!("looking up addresses of {host}: {why}"))
}

fn missing(family: Family, answer: &Lookup<Vec<IpAddr>>) -> Option<Missing> {
    match answer {
        Lookup::Failed(why) | Lookup::Looping(why) | Lookup::Unasked(why) => {
            Some(Missing { family, why: why.clone() })
        }
        Lookup::Found { .. } | Lookup::Absent { .. } => None,
    }
}

fn alternating(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return merged,
            (one, other) => merged.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::Absence;

    fn six(last: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])
    }

    fn four(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn found(addresses: &[IpAddr]) -> Lookup<Vec<IpAddr>> {
        Lookup::found(addresses.to_vec())
    }

    fn failed() -> Lookup<Vec<IpAddr>> {
        Lookup::Failed("SERVFAIL".to_string())
    }

    fn absent() -> Lookup<Vec<IpAddr>> {
        Lookup::absent(Absence::NoSuchRecord)
    }

    fn value(answer: Lookup<HostAddresses>) -> HostAddresses {
        match answer {
            Lookup::Found { value, .. } => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn families_alternate() {
        let both = HostAddresses::of(found(&[six(1), six(2)]), found(&[four(1), four(2), four(3)]));
        let both = value(both);
        assert_eq!(both.list, [six(1), four(1), six(2), four(2), four(3)]);
        assert_eq!(both.missing, None);
    }

    #[test]
    fn one_family_is_enough_and_the_other_is_remembered() {
        for (unknown, known) in [
            (failed(), "SERVFAIL"),
            (Lookup::Looping("circle".to_string()), "circle"),
            (Lookup::Unasked("no server".to_string()), "no server"),
        ] {
            let without = |family| Some(Missing { family, why: known.to_string() });
            let only = value(HostAddresses::of(unknown.clone(), found(&[four(1)])));
            assert_eq!(only.list, [four(1)]);
            assert_eq!(only.missing, without(Family::Ipv6));
            let only = value(HostAddresses::of(found(&[six(1)]), unknown));
            assert_eq!(only.list, [six(1)]);
            assert_eq!(only.missing, without(Family::Ipv4));
            let trouble = only.trouble(&Domain::parse("mx.test").unwrap()).unwrap();
            assert_eq!((trouble.code, trouble.status.to_string().as_str()), (451, "4.4.4"));
            assert_eq!(trouble.text, format!("looking up IPv4 addresses of mx.test: {known}"));
        }
        let only = value(HostAddresses::of(absent(), found(&[four(1)])));
        assert_eq!((only.list, only.missing), (vec![four(1)], None)); // absent is known
    }

    #[test]
    fn without_addresses_the_unknown_outweighs_the_absent() {
        let looping: Lookup<Vec<IpAddr>> = Lookup::Looping("circle".to_string());
        let unasked: Lookup<Vec<IpAddr>> = Lookup::Unasked("no server".to_string());
        let of = HostAddresses::of;
        assert_eq!(of(failed(), absent()), Lookup::Failed("SERVFAIL".to_string()));
        assert_eq!(of(absent(), failed()), Lookup::Failed("SERVFAIL".to_string()));
        assert_eq!(of(absent(), looping), Lookup::Looping("circle".to_string()));
        assert_eq!(of(unasked.clone(), failed()), Lookup::Failed("SERVFAIL".to_string()));
        assert_eq!(of(unasked, absent()), Lookup::Unasked("no server".to_string()));
        assert_eq!(of(absent(), absent()), Lookup::absent(Absence::NoSuchRecord));
    }

    #[test]
    fn each_family_is_as_authentic_as_its_own_answer() {
        let signed = |addresses: &[IpAddr]| Lookup::Found {
            value: addresses.to_vec(),
            authentic: true,
            canonical: Some(Domain::parse("real.test").unwrap()),
        };
        let answer = HostAddresses::of(signed(&[six(1)]), found(&[four(1)]));
        assert!(matches!(&answer, Lookup::Found { authentic: false, canonical: Some(name), .. }
            if name.ascii() == "real.test"));
        let host = Domain::parse("mx.test").unwrap();
        let named = addresses_of(&host, answer.clone(), false).unwrap();
        assert_eq!(named.canonical, Domain::parse("real.test").ok());
        let mixed = value(answer);
        assert!(mixed.is_authentic(six(1)) && !mixed.is_authentic(four(1)));
        let mixed = value(HostAddresses::of(failed(), signed(&[four(1)])));
        assert!(mixed.is_authentic(four(1)) && !mixed.is_authentic(six(1)));
        let mixed = value(HostAddresses::of(signed(&[six(1)]), absent()));
        assert!(mixed.is_authentic(six(1)) && !mixed.is_authentic(four(1)));
    }
}
