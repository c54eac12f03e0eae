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

use crate::address::Domain;
use crate::lookup::Lookup;
use base::Base;
use names::Exchanger;
use record::TlsaRecord;

/// What DANE demands of sessions to one mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// Nothing: other policies decide. Why.
    NotInForce(String),
    /// TLS, and a certificate that matches one of the records.
    Usable {
        /// Where the records are: sent as SNI (RFC 7672 §8.1), and the first name a certificate may carry.
        base: Domain,
        /// The other names it may carry.
        names: Vec<Domain>,
        records: Vec<TlsaRecord>,
    },
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
    exchanger: &Exchanger<'_>,
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
            let sifted = usable::sift(records, decodes);
            match sifted.usable.is_empty() {
                true => Dane::Unusable(sifted.unusable.into_iter().map(|(r, _)| r).collect()),
                false => {
                    let names = names::further_names(&base, exchanger);
                    Dane::Usable { base, names, records: sifted.usable }
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
        let (host, next_hop) = (domain("mx.test"), domain("example.test"));
        let exchanger = Exchanger {
            host: &host,
            next_hop: &next_hop,
            canonical: None,
            authentic: true,
            implicit: false,
        };
        inquire(&exchanger, &[domain("real.test"), host.clone()], answers, |_| true)
    }

    #[test]
    fn records_that_can_be_used_make_a_demand() {
        let good = record(3, 1, 1, &[7; 32]);
        let answers = [signed(&[record(1, 1, 1, &[7; 32]), good.clone()])];
        let Inquiry::Done(Dane::Usable { base, names, records }) = at_mx(&answers) else {
            panic!("{:?}", at_mx(&answers));
        };
        assert_eq!((base, records), (domain("real.test"), vec![good]));
        assert_eq!(names, [domain("mx.test"), domain("example.test")]);
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
