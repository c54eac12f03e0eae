//! DANE for SMTP: what TLSA records say of a mail exchanger (RFC 6698, 7671, 7672).
//!
//! The way from DNS to a demand: `applies` says from the addresses whether TLSA is asked for at all, and at which names; `base` goes
//! through the answers until one is in force; `usable` leaves out what SMTP has no use for; `names` says whom a certificate may name.
//! Certificates are matched by the TLS library, in `edge/tls`.

pub mod applies;
pub mod base;
pub mod names;
pub mod record;
pub mod usable;

use std::sync::Arc;

use crate::address::Domain;
use crate::lookup::Lookup;
use crate::route::mx::Candidate;
use base::Base;
use record::TlsaRecord;

/// Usable records that are in force, and whom a certificate may name beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// Where the records are: sent as SNI (RFC 7672 §8.1), and the first name a certificate may carry.
    pub base: Domain,
    /// The other names it may carry.
    pub names: Vec<Domain>,
    /// In an order of their own: name servers shuffle them.
    pub records: Vec<TlsaRecord>,
}

/// What DANE demands of sessions to one mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Nothing: other policies decide. Why.
    NotInForce(String),
    /// TLS, and a certificate that matches one of the records.
    Usable(Arc<Tlsa>),
    /// TLS, with any certificate: there are records, and none that can be used (RFC 7672 §2.2).
    Unusable(Vec<TlsaRecord>),
    /// Nobody knows: neither plaintext nor an unproven certificate will do (RFC 7672 §2.1.2). Why.
    Failed(String),
    /// The same, by a fault of our own: nobody could be asked.
    Unasked(String),
}

/// What comes next in asking for the records of a mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Ask for TLSA at this name, and come again with its answer behind the others.
    Ask(Domain),
    Done(Dane),
}

/// From the answers so far, in the order of `names`, to the next question or to the end. `decodes`: whether the TLS library can read
/// the certificate or key that a record without digest consists of.
pub fn inquire(
    exchanger: &Candidate,
    names: &[Domain],
    answers: &[Lookup<Vec<TlsaRecord>>],
    decodes: impl Fn(&TlsaRecord) -> bool,
) -> Inquiry {
    let dane = match base::base_domain(names, answers) {
        Base::Ask(name) => return Inquiry::Ask(name),
        Base::None(why) => Dane::NotInForce(why),
        Base::Failed(why) => Dane::Failed(why),
        Base::Unasked(why) => Dane::Unasked(why),
        Base::At { base, records } => {
            let mut sifted = usable::sift(records, decodes);
            sifted.usable.sort_unstable();
            match sifted.usable.is_empty() {
                true => Dane::Unusable(sifted.unusable.into_iter().map(|(r, _)| r).collect()),
                false => {
                    let names = names::further_names(&base, exchanger);
                    Dane::Usable(Arc::new(Tlsa { base, names, records: sifted.usable }))
                }
            }
        }
    };
    Inquiry::Done(dane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::Absence;
    use crate::route::mx::NextHop;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> TlsaRecord {
        TlsaRecord { usage, selector, matching, data: data.to_vec() }
    }

    fn signed(records: &[TlsaRecord]) -> Lookup<Vec<TlsaRecord>> {
        Lookup::Found { value: records.to_vec(), authentic: true, canonical: None }
    }

    fn at_mx(answers: &[Lookup<Vec<TlsaRecord>>]) -> Inquiry {
        let (authentic, implicit) = (true, false);
        let next_hop =
            NextHop { domain: domain("example.test"), canonical: None, authentic, implicit };
        let exchanger = Candidate::new(10, domain("mx.test"), &Arc::new(next_hop));
        inquire(&exchanger, &[domain("real.test"), domain("mx.test")], answers, |_| true)
    }

    #[test]
    fn records_that_can_be_used_make_a_demand() {
        let good = record(3, 1, 1, &[7; 32]);
        let other = record(2, 0, 1, &[7; 32]);
        let useless = record(1, 1, 1, &[7; 32]);
        let demand = Tlsa {
            base: domain("real.test"),
            names: vec![domain("mx.test"), domain("example.test")],
            records: vec![other.clone(), good.clone()],
        };
        // In whatever order they come.
        for records in [[&useless, &good, &other], [&other, &useless, &good]] {
            let answers = [signed(&records.map(Clone::clone))];
            assert_eq!(at_mx(&answers), Inquiry::Done(Dane::Usable(Arc::new(demand.clone()))));
        }
    }

    #[test]
    fn records_that_cannot_be_used_still_demand_tls() {
        let useless = record(0, 0, 1, &[7; 32]);
        let answers = [signed(std::slice::from_ref(&useless))];
        assert_eq!(at_mx(&answers), Inquiry::Done(Dane::Unusable(vec![useless])));
    }

    #[test]
    fn questions_are_asked_one_after_another() {
        assert_eq!(at_mx(&[]), Inquiry::Ask(domain("real.test")));
        let none = Lookup::absent(Absence::NoSuchName);
        let once = [none.clone()];
        assert_eq!(at_mx(&once), Inquiry::Ask(domain("mx.test")));
        let end = at_mx(&[none.clone(), none]);
        assert!(matches!(end, Inquiry::Done(Dane::NotInForce(_))), "{end:?}");
    }

    #[test]
    fn what_nobody_knows_is_not_absent() {
        for at in 0..2 {
            let mut answers = vec![Lookup::absent(Absence::NoSuchRecord); at];
            answers.push(Lookup::Failed("SERVFAIL".to_string()));
            let end = at_mx(&answers);
            assert!(matches!(end, Inquiry::Done(Dane::Failed(_))), "{end:?}");
            answers[at] = Lookup::Unasked("no descriptor left".to_string());
            let end = at_mx(&answers);
            assert!(matches!(end, Inquiry::Done(Dane::Unasked(_))), "{end:?}");
        }
    }
}
