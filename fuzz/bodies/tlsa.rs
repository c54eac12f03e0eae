//! Any records, in any answers, into what DANE makes of them.
//!
//! The input is a row of answers. Each begins with its kind: `s` signed records, `u` unsigned ones, `n` none, `f` failed, `l` looping,
//! `q` nobody could be asked; any other octet counts as `s`. Behind `s` and `u`: how many records (`0` to `9`), and each as usage,
//! selector, matching type (digits, or any octets), the length of its data (`S` 32, `L` 64, any other octet itself), and the data.

use std::sync::Arc;

use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::route::mx::{Candidate, NextHop};
use posthaste_mail::tlsa::record::TlsaRecord;
use posthaste_mail::tlsa::usable::counts;
use posthaste_mail::tlsa::{Dane, Inquiry, inquire};

pub fn run(input: &[u8]) {
    let mut rest = input;
    let mut answers = Vec::new();
    while !rest.is_empty() && answers.len() < 3 {
        answers.push(answer(&mut rest));
    }
    let names = ["real.test", "mx.test"].map(|name| Domain::parse(name).unwrap());
    let [_, host] = &names;
    let next_hop =
        NextHop { domain: host.clone(), canonical: None, authentic: true, implicit: false };
    let exchanger = Candidate::new(10, host.clone(), &Arc::new(next_hop));
    for given in 0..=answers.len() {
        let end = inquire(&exchanger, &names, &answers[..given], decodes);
        agrees(&end, &names, &answers[..given]);
    }
}

/// Stands for the TLS library: it reads some of what looks like DER.
fn decodes(record: &TlsaRecord) -> bool {
    assert!(record.matching == 0 && is_der(&record.data), "asked without need");
    record.data.len().is_multiple_of(2)
}

fn octet(rest: &mut &[u8]) -> u8 {
    let Some((first, behind)) = rest.split_first() else { return 0 };
    *rest = behind;
    *first
}

fn number(rest: &mut &[u8]) -> u8 {
    match octet(rest) {
        digit @ b'0'..=b'9' => digit - b'0',
        other => other,
    }
}

fn answer(rest: &mut &[u8]) -> Lookup<Vec<TlsaRecord>> {
    let authentic = match octet(rest) {
        b'n' => return Lookup::absent(Absence::NoSuchRecord),
        b'f' => return Lookup::Failed("failed".to_string()),
        b'l' => return Lookup::Looping("looping".to_string()),
        b'q' => return Lookup::Unasked("nobody".to_string()),
        b'u' => false,
        _ => true,
    };
    let value = (0..number(rest) % 10).map(|_| record(rest)).collect();
    Lookup::Found { value, authentic, canonical: None }
}

fn record(rest: &mut &[u8]) -> TlsaRecord {
    let (usage, selector, matching) = (number(rest), number(rest), number(rest));
    let length = match octet(rest) {
        b'S' => 32,
        b'L' => 64,
        other => usize::from(other),
    };
    let (data, behind) = rest.split_at(length.min(rest.len()));
    *rest = behind;
    TlsaRecord { usage, selector, matching, data: data.to_vec() }
}

/// RFC 7672 §2.2 told a second time.
fn agrees(end: &Inquiry, names: &[Domain], answers: &[Lookup<Vec<TlsaRecord>>]) {
    for (place, name) in names.iter().enumerate() {
        match (answers.get(place), end) {
            (None, Inquiry::Ask(asked)) => return assert_eq!(asked, name),
            (Some(Lookup::Failed(_) | Lookup::Looping(_)), Inquiry::Done(Dane::Failed(_))) => {
                return;
            }
            (Some(Lookup::Unasked(_)), Inquiry::Done(Dane::Unasked(_))) => return,
            (Some(Lookup::Found { value, authentic: true, .. }), end) if !value.is_empty() => {
                return in_force(end, name, value);
            }
            (Some(Lookup::Absent { .. } | Lookup::Found { .. }), _) => {}
            (answer, end) => panic!("{end:?} from {answer:?}"),
        }
    }
    assert!(matches!(end, Inquiry::Done(Dane::NotInForce(_))), "{end:?} from nothing");
}

fn in_force(end: &Inquiry, name: &Domain, found: &[TlsaRecord]) {
    let usable: Vec<&TlsaRecord> = found.iter().filter(|record| is_usable(record)).collect();
    match end {
        Inquiry::Done(Dane::Usable(tlsa)) => {
            let (mut usable, records) = (usable, &tlsa.records);
            usable.sort_unstable();
            assert_eq!(&tlsa.base, name);
            assert_eq!(records.iter().collect::<Vec<_>>(), usable);
            assert!(records.iter().any(|record| counts(record, records)), "nothing is left");
            for record in records {
                assert!(record.to_string().is_ascii());
            }
        }
        Inquiry::Done(Dane::Unusable(records)) => {
            assert!(usable.is_empty() && records == found, "records were lost");
        }
        other => panic!("{other:?} from signed records"),
    }
}

fn is_usable(record: &TlsaRecord) -> bool {
    let data = &record.data;
    let fits = match record.matching {
        0 => is_der(data) && data.len().is_multiple_of(2),
        1 => data.len() == 32,
        2 => data.len() == 64,
        _ => false,
    };
    fits && [2, 3].contains(&record.usage) && [0, 1].contains(&record.selector)
}

/// Begins as it would have to for its length.
fn is_der(data: &[u8]) -> bool {
    let length = data.len();
    let [.., high, low] = length.saturating_sub(4).to_be_bytes();
    let octet = |behind: usize| u8::try_from(length.checked_sub(behind)?).ok();
    octet(2).is_some_and(|short| short < 128 && data.starts_with(&[0x30, short]))
        || octet(3).is_some_and(|octets| data.starts_with(&[0x30, 0x81, octets]))
        || length >= 4 && data.starts_with(&[0x30, 0x82, high, low])
}
