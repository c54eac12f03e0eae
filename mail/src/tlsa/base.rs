//! The base domain: the name whose TLSA records are in force (RFC 7672 §2.2.3).

use crate::address::Domain;
use crate::lookup::Lookup;

use super::record::TlsaRecord;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// This one has not been asked.
    Ask(Domain),
    /// No name has records that are signed.
    None(String),
    At {
        base: Domain,
        /// At least one.
        records: Vec<TlsaRecord>,
    },
    Failed(String),
    Unasked(String),
}

/// The first of the names whose answer is in force. `answers`: those that are there, in the same order. That the TLSA name itself is an
/// alias changes nothing: the base domain is the name before it (RFC 7671 §7), and the answer is authentic only if every step is.
pub fn base_domain(names: &[Domain], answers: &[Lookup<Vec<TlsaRecord>>]) -> Base {
    let mut answers = answers.iter();
    for name in names {
        match answers.next() {
            None => return Base::Ask(name.clone()),
            Some(Lookup::Found { value, authentic: true, .. }) if !value.is_empty() => {
                return Base::At { base: name.clone(), records: value.clone() };
            }
            // RFC 7672 §2.1.1: what is not signed says nothing, and a denial, signed or not, leaves nothing to obey.
            Some(Lookup::Found { .. } | Lookup::Absent { .. }) => {}
            // RFC 7672 §2.1.2: an answer that was suppressed must not look like none.
            Some(Lookup::Failed(why) | Lookup::Looping(why)) => {
                return Base::Failed(format!("looking up TLSA of {name}: {why}"));
            }
            Some(Lookup::Unasked(why)) => {
                return Base::Unasked(format!("looking up TLSA of {name}: {why}"));
            }
        }
    }
    match names.last() {
        Some(name) => Base::None(format!("{name} has no signed TLSA record")),
        None => Base::None("no name to ask for TLSA".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::Absence;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn found(authentic: bool) -> Lookup<Vec<TlsaRecord>> {
        let record = TlsaRecord { usage: 3, selector: 1, matching: 1, data: vec![7; 32] };
        let canonical = Some(domain("tlsa.elsewhere.test")); // never the base domain
        Lookup::Found { value: vec![record], authentic, canonical }
    }

    fn base(answers: &[Lookup<Vec<TlsaRecord>>]) -> String {
        match base_domain(&[domain("real.test"), domain("mx.test")], answers) {
            Base::Ask(name) => format!("ask {name}"),
            Base::At { base, .. } => format!("at {base}"),
            Base::None(_) => "none".to_string(),
            Base::Failed(_) => "failed".to_string(),
            Base::Unasked(_) => "unasked".to_string(),
        }
    }

    #[test]
    fn the_first_name_with_signed_records() {
        let denied = |authentic| Lookup::Absent { absence: Absence::NoSuchRecord, authentic };
        assert_eq!(base(&[]), "ask real.test");
        assert_eq!(base(&[found(true)]), "at real.test");
        assert_eq!(base(&[found(true), found(true)]), "at real.test");
        for nothing in [found(false), denied(true), denied(false)] {
            assert_eq!(base(std::slice::from_ref(&nothing)), "ask mx.test");
            assert_eq!(base(&[nothing.clone(), found(true)]), "at mx.test");
            assert_eq!(base(&[nothing.clone(), found(false)]), "none");
            assert_eq!(base(&[nothing.clone(), Lookup::Failed("SERVFAIL".into())]), "failed");
            assert_eq!(base(&[nothing, Lookup::Unasked("no socket".into())]), "unasked");
        }
        let empty = Lookup::Found { value: vec![], authentic: true, canonical: None };
        assert_eq!(base(&[empty.clone(), empty]), "none");
    }

    #[test]
    fn after_a_failure_no_other_name_is_asked() {
        assert_eq!(base(&[Lookup::Failed("SERVFAIL".into()), found(true)]), "failed");
        assert_eq!(base(&[Lookup::Looping("circle".into()), found(true)]), "failed");
        assert_eq!(base(&[Lookup::Unasked("no socket".into()), found(true)]), "unasked");
    }

    #[test]
    fn without_names_there_is_nothing() {
        assert!(matches!(base_domain(&[], &[]), Base::None(_)));
    }
}
