//! Chains of every shape against every record that could be about them, and sets of records: the engine's verdict is compared with that of
//! a slow oracle, which knows no more than RFC 7671 and RFC 7672 say.
//!
//! For DANE-EE the oracle compares octets of the leaf, which it takes apart by itself. For DANE-TA it has the library verify the chain with
//! each certificate that matches as the only anchor, once for each name. What it does not judge are dates of anchors: `tests` has them.

use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::ssl::SslVersion;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use posthaste_mail::certificate::DaneVerdict;
use posthaste_mail::dice::Dice;

use super::*;
use crate::tls::Demand;
use crate::tls::trial::{EXPIRED, Issued, Peer, Recipe, domain, meet, record, trusting};

/// SNI and further name of every case.
const NAMES: [&str; 2] = ["mx.example.test", "example.test"];

struct Shape {
    what: &'static str,
    leaf: Issued,
    sent: Vec<Issued>,
    /// Sent or not: records may be about them.
    known: Vec<Issued>,
}

fn shapes() -> Vec<Shape> {
    let root = Recipe::ca("root").self_signed();
    let upper = Recipe::ca("upper").issued_by(&root);
    let lower = Recipe::ca("lower").issued_by(&upper);
    let stranger = Recipe::ca("stranger").self_signed();
    let leaf = Recipe::default().issued_by(&lower);
    let mut shapes = Vec::new();
    let mut add = |what, leaf: &Issued, sent: &[&Issued], known: &[&Issued]| {
        let owned = |list: &[&Issued]| list.iter().map(|issued| (*issued).clone()).collect();
        let (sent, known) = (owned(sent), owned(known));
        shapes.push(Shape { what, leaf: leaf.clone(), sent, known });
    };
    let all = [&root, &upper, &lower, &stranger];
    add("whole chain", &leaf, &[&lower, &upper, &root], &all);
    add("root left out", &leaf, &[&lower, &upper], &all);
    add("only the issuer", &leaf, &[&lower], &all);
    add("leaf alone", &leaf, &[], &all);
    add("upside down", &leaf, &[&root, &upper, &lower], &all);
    add("a gap", &leaf, &[&lower, &root], &all);
    add("issuer left out", &leaf, &[&upper, &root], &all);
    add("a stranger among them", &leaf, &[&lower, &stranger, &upper, &root], &all);
    add("leaf sent twice", &leaf, &[&leaf, &lower, &upper, &root], &all);
    let made = |recipe: Recipe<'_>, issuer| recipe.issued_by(issuer);
    let next_hop = made(Recipe { names: &["example.test"], ..Recipe::default() }, &lower);
    add("names the next hop", &next_hop, &[&lower, &upper, &root], &all);
    let wildcard = made(Recipe { names: &["*.example.test"], ..Recipe::default() }, &lower);
    add("wildcard", &wildcard, &[&lower, &upper, &root], &all);
    let other = made(Recipe { names: &["other.test"], ..Recipe::default() }, &lower);
    add("another name", &other, &[&lower, &upper, &root], &all);
    let bare = Recipe { common_name: "mx.example.test", names: &[], ..Recipe::default() };
    add("common name only", &made(bare, &lower), &[&lower, &upper, &root], &all);
    let expired = made(Recipe { days: EXPIRED, ..Recipe::default() }, &lower);
    add("expired", &expired, &[&lower, &upper, &root], &all);
    let old = made(Recipe { days: EXPIRED, ..Recipe::ca("old") }, &root);
    let below = made(Recipe::default(), &old);
    add("expired in the middle", &below, &[&old, &root], &[&root, &stranger]);
    let short = made(Recipe::default(), &root);
    add("straight below the root", &short, &[&root], &all);
    let forged = made(Recipe::default(), &leaf);
    add("issued by a leaf", &forged, &[&leaf, &lower, &upper, &root], &all);
    let foreign = made(Recipe::default(), &stranger);
    add("real ones sent along", &foreign, &[&leaf, &lower, &upper, &root], &all[..3]);
    let own = Recipe::default().self_signed();
    add("self-signed", &own, &[], &all);
    add("self-signed, real ones sent along", &own, &[&leaf, &lower, &upper, &root], &all);
    // The same name and another key: only the signature tells them apart.
    let impostor = Recipe::ca("lower").self_signed();
    let below = made(Recipe::default(), &impostor);
    add("an issuer's name borrowed", &below, &[&lower, &upper, &root], &all);
    shapes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ee,
    Ta,
    Refused,
}

/// Every record that could be about the shape, and whom it names.
fn records(shape: &Shape) -> Vec<(TlsaRecord, String)> {
    let mut records = Vec::new();
    let mut add = |usage, selector, matching, certificate: &X509| {
        let whom = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next();
        let whom = whom.map(|entry| entry.data().to_string().unwrap().to_string());
        let told = format!("{usage} {selector} {matching} of {}", whom.unwrap_or_default());
        records.push((record(usage, selector, matching, certificate), told));
    };
    let leaf = &shape.leaf.certificate;
    for matching in 0..3 {
        for selector in 0..2 {
            add(3, selector, matching, leaf);
            if matching > 0 {
                add(2, selector, matching, leaf);
            }
            for issued in &shape.known {
                add(2, selector, matching, &issued.certificate);
            }
        }
        for issued in &shape.known {
            add(3, 1, matching, &issued.certificate);
        }
    }
    records
}

mod oracle {
    use super::*;

    pub(super) fn verdict(shape: &Shape, records: &[TlsaRecord]) -> Verdict {
        let counting = |record: &&TlsaRecord| {
            let stronger = |other: &TlsaRecord| {
                other.usage == record.usage
                    && other.selector == record.selector
                    && other.matching == 2
            };
            record.matching != 1 || !records.iter().any(stronger) // RFC 7671 §9
        };
        let counting: Vec<&TlsaRecord> = records.iter().filter(counting).collect();
        let leaf = &shape.leaf.certificate;
        if counting.iter().any(|record| record.usage == 3 && fits(record, leaf)) {
            return Verdict::Ee;
        }
        let mut anchors: Vec<&X509> = Vec::new();
        for record in counting.iter().filter(|record| record.usage == 2) {
            let sent = shape.sent.iter().map(|issued| &issued.certificate);
            anchors.extend(sent.filter(|certificate| fits(record, certificate)));
            // RFC 7671 §5.2.2: a record without digest brings its certificate, or the key of one, along.
            if record.matching == 0 {
                let known = shape.known.iter().map(|issued| &issued.certificate);
                anchors.extend(known.filter(|certificate| fits(record, certificate)));
            }
        }
        let is_leaf = |anchor: &&&X509| anchor.to_der().unwrap() != leaf.to_der().unwrap();
        match anchors.iter().filter(is_leaf).any(|anchor| leads_to(shape, anchor)) {
            true => Verdict::Ta,
            false => Verdict::Refused,
        }
    }

    fn fits(record: &TlsaRecord, certificate: &X509) -> bool {
        let whole = certificate.to_der().unwrap();
        let selected = if record.selector == 0 { &whole[..] } else { public_key(&whole) };
        match record.matching {
            0 => record.data == selected,
            1 => record.data == *hash(MessageDigest::sha256(), selected).unwrap(),
            _ => record.data == *hash(MessageDigest::sha512(), selected).unwrap(),
        }
    }

    /// RFC 5280 §4.1: the seventh part of the first part of a certificate with a version.
    fn public_key(certificate: &[u8]) -> &[u8] {
        let (_, certificate) = parts(certificate).0;
        let (_, mut rest) = parts(certificate).0;
        for _ in 0..6 {
            rest = parts(rest).1;
        }
        parts(rest).0.0
    }

    type Element<'a> = (&'a [u8], &'a [u8]);

    /// DER: the first element, with its head and without, and what is behind it.
    fn parts(der: &[u8]) -> (Element<'_>, &[u8]) {
        let (head, length) = match der[1] {
            short @ 0..=127 => (2, usize::from(short)),
            long => {
                let octets = usize::from(long & 0x7f);
                let length = &der[2..2 + octets];
                (2 + octets, length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)))
            }
        };
        ((&der[..head + length], &der[head..head + length]), &der[head + length..])
    }

    fn leads_to(shape: &Shape, anchor: &X509) -> bool {
        NAMES.iter().any(|name| {
            let mut store = X509StoreBuilder::new().unwrap();
            store.add_cert(anchor.clone()).unwrap();
            let mut param = X509VerifyParam::new().unwrap();
            param.set_flags(X509VerifyFlags::PARTIAL_CHAIN).unwrap();
            param.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
            param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            param.set_host(name).unwrap();
            store.set_param(&param).unwrap();
            let mut sent = Stack::new().unwrap();
            for issued in &shape.sent {
                sent.push(issued.certificate.clone()).unwrap();
            }
            let mut context = X509StoreContext::new().unwrap();
            let leaf = &shape.leaf.certificate;
            context.init(&store.build(), leaf, &sent, |c| c.verify_cert()).unwrap()
        })
    }
}

#[tokio::test]
async fn the_engine_says_what_the_rfcs_say() {
    let shapes = shapes();
    let client = trusting(&[&Recipe::ca("nobody").self_signed().certificate]);
    let names = NAMES.map(domain);
    let mut dice = Dice::new(7672);
    let mut seen = [0; 3];
    for shape in &shapes {
        let single = records(shape);
        let mut sets: Vec<Vec<&(TlsaRecord, String)>> =
            single.iter().map(|one| vec![one]).collect();
        for _ in 0..12 {
            let some = 2 + dice.below(3);
            sets.push((0..some).map(|_| &single[dice.below(single.len())]).collect());
        }
        let sent: Vec<&X509> = shape.sent.iter().map(|issued| &issued.certificate).collect();
        let peer = Peer::new(&shape.leaf, &sent).only(SslVersion::TLS1_3);
        for set in sets {
            let (set, told): (Vec<TlsaRecord>, Vec<&str>) =
                set.into_iter().map(|(record, told)| (record.clone(), told.as_str())).unzip();
            let expected = oracle::verdict(shape, &set);
            let demand = Demand::Dane { base: &names[0], names: &names[1..], records: &set };
            let facts = meet(&client, &peer, Some(&names[0]), demand).await.facts.unwrap();
            let verdict = match &facts.dane {
                DaneVerdict::Matched(found) if found.record.usage == 3 => Verdict::Ee,
                DaneVerdict::Matched(_) => Verdict::Ta,
                DaneVerdict::Refused(_) => Verdict::Refused,
                other => panic!("{}: {other}", shape.what),
            };
            assert_eq!(verdict, expected, "{}: {told:?}: {}", shape.what, facts.dane);
            seen[verdict as usize] += 1;
        }
    }
    // All of them happened, and often.
    assert!(seen.iter().all(|count| *count >= 100), "{seen:?}");
}
