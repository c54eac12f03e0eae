//! Every kind of record against every kind of chain, with TLS 1.2 and 1.3: leaf, intermediate and root, as servers send them and as
//! they should not.

use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslMethod, SslVersion};

use posthaste_mail::certificate::DaneVerdict;

use super::*;
use crate::tls::trial::{EXPIRED, Issued, Peer, Recipe, domain, meet, record, trusting};
use crate::tls::{ClientTls, Demand};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Proven by DANE-EE, or by DANE-TA.
    Ee,
    Ta,
    Refused,
    /// The engine takes none of the records.
    Unused,
}
use Verdict::{Ee, Refused, Ta, Unused};

struct Pki {
    root: Issued,
    intermediate: Issued,
    leaf: Issued,
    /// Of somebody else.
    stranger: Issued,
    strangers_leaf: Issued,
    client: ClientTls,
}

fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let root = Recipe::ca("root").self_signed();
        let intermediate = Recipe::ca("intermediate").issued_by(&root);
        let leaf = Recipe::default().issued_by(&intermediate);
        let stranger = Recipe::ca("stranger").self_signed();
        let strangers_leaf = Recipe::default().issued_by(&stranger);
        // No verdict of DANE may depend on trusted roots: those of the chains are not among them.
        let client = trusting(&[&stranger.certificate]);
        Pki { root, intermediate, leaf, stranger, strangers_leaf, client }
    })
}

/// A handshake; the default is with leaf and intermediate of the PKI, for `mx.example.test`.
struct Scenario<'a> {
    leaf: &'a Issued,
    sent: Vec<&'a Issued>,
    base: &'a str,
    names: &'a [&'a str],
    records: Vec<TlsaRecord>,
}

impl Default for Scenario<'_> {
    fn default() -> Self {
        let pki = pki();
        Scenario {
            leaf: &pki.leaf,
            sent: vec![&pki.intermediate],
            base: "mx.example.test",
            names: &[],
            records: vec![],
        }
    }
}

impl Scenario<'_> {
    async fn verdicts(&self) -> Vec<DaneVerdict> {
        let (base, names) = (domain(self.base), self.names.iter().map(|n| domain(n)));
        let names: Vec<Domain> = names.collect();
        let demand = Demand::Dane { base: &base, names: &names, records: &self.records };
        let sent: Vec<_> = self.sent.iter().map(|issued| &issued.certificate).collect();
        let mut verdicts = Vec::new();
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let peer = Peer::new(self.leaf, &sent).only(version);
            let met = meet(&pki().client, &peer, Some(&base), demand).await;
            verdicts.push(met.facts.unwrap().dane);
            assert!(ErrorStack::get().errors().is_empty());
        }
        verdicts
    }

    #[track_caller]
    fn is(&self, expected: Verdict) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for verdict in runtime.block_on(self.verdicts()) {
            let short = match &verdict {
                DaneVerdict::Matched(found) if found.record.usage == DANE_EE => Ee,
                DaneVerdict::Matched(_) => Ta,
                DaneVerdict::Refused(_) => Refused,
                DaneVerdict::NoneUsable | DaneVerdict::NotAsked => Unused,
            };
            assert_eq!(short, expected, "{verdict}");
        }
    }
}

const DANE_EE: u8 = 3;

fn with(records: Vec<TlsaRecord>) -> Scenario<'static> {
    Scenario { records, ..Scenario::default() }
}

#[test]
fn the_leaf_in_every_form() {
    let leaf = &pki().leaf.certificate;
    for (selector, matching) in [(1, 1), (0, 1), (1, 2), (0, 2), (0, 0), (1, 0)] {
        let records = vec![record(3, selector, matching, leaf)];
        with(records.clone()).is(Ee);
        Scenario { sent: vec![], records, ..Scenario::default() }.is(Ee); // leaf alone
    }
    let own = Recipe::default().self_signed();
    let records = vec![record(3, 1, 1, &own.certificate)];
    Scenario { leaf: &own, sent: vec![], records, ..Scenario::default() }.is(Ee);
}

#[test]
fn an_authority_that_is_sent() {
    let (root, intermediate) = (&pki().root, &pki().intermediate);
    with(vec![record(2, 1, 1, &intermediate.certificate)]).is(Ta);
    for (selector, matching) in [(0, 1), (1, 2), (1, 1), (0, 2), (0, 0), (1, 0)] {
        let records = vec![record(2, selector, matching, &root.certificate)];
        let sent = vec![intermediate, root];
        Scenario { sent, records: records.clone(), ..Scenario::default() }.is(Ta);
        let sent = vec![root, intermediate]; // out of order
        Scenario { sent, records, ..Scenario::default() }.is(Ta);
    }
}

#[test]
fn an_authority_that_is_not_sent() {
    let (root, intermediate) = (&pki().root.certificate, &pki().intermediate.certificate);
    // RFC 7672 §3.1.2: of a digest nobody can make the certificate.
    for (selector, matching) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
        with(vec![record(2, selector, matching, root)]).is(Refused);
    }
    // RFC 7671 §5.2.2, §5.2.3: certificate or bare key are in the record.
    for selector in [0, 1] {
        with(vec![record(2, selector, 0, root)]).is(Ta);
        let records = vec![record(2, selector, 0, intermediate)];
        Scenario { sent: vec![], records, ..Scenario::default() }.is(Ta);
    }
}

#[test]
fn one_of_several_is_enough() {
    let Pki { leaf, intermediate, strangers_leaf, .. } = pki();
    let wrong = record(3, 1, 1, &strangers_leaf.certificate);
    with(vec![wrong.clone()]).is(Refused);
    with(vec![wrong.clone(), record(2, 1, 1, &intermediate.certificate)]).is(Ta);
    with(vec![wrong.clone(), record(3, 1, 1, &leaf.certificate)]).is(Ee); // the old key and the new one
    with(vec![record(3, 1, 1, &leaf.certificate), wrong]).is(Ee);
}

#[test]
fn an_expired_leaf_is_good_for_dane_ee_only() {
    let expired = Recipe { days: EXPIRED, ..Recipe::default() }.issued_by(&pki().intermediate);
    let leaf = &expired;
    let records = vec![record(3, 1, 1, &leaf.certificate)];
    Scenario { leaf, records, ..Scenario::default() }.is(Ee); // RFC 7672 §3.1.1
    let records = vec![record(2, 1, 1, &pki().intermediate.certificate)];
    Scenario { leaf, records, ..Scenario::default() }.is(Refused);
}

#[test]
fn a_wrong_name_is_good_for_dane_ee_only() {
    let base = "other.test";
    let records = vec![record(3, 1, 1, &pki().leaf.certificate)];
    Scenario { base, records, ..Scenario::default() }.is(Ee); // RFC 7672 §3.1.1
    let records = vec![record(2, 1, 1, &pki().intermediate.certificate)];
    Scenario { base, records, ..Scenario::default() }.is(Refused);
}

#[test]
fn names_that_a_certificate_below_an_authority_may_carry() {
    let Pki { intermediate, .. } = pki();
    let records = vec![record(2, 1, 1, &intermediate.certificate)];
    let named = |common_name, names, base, further| {
        let leaf = Recipe { common_name, names, ..Recipe::default() }.issued_by(intermediate);
        let records = records.clone();
        (leaf, move |leaf: &Issued, expected| {
            Scenario { leaf, base, names: further, records, ..Scenario::default() }.is(expected);
        })
    };
    let check = |common_name, names, base, further, expected| {
        let (leaf, is) = named(common_name, names, base, further);
        is(&leaf, expected);
    };
    let mx = "mx.example.test";
    check("leaf", &["*.example.test"], mx, &[], Ta);
    check("leaf", &["*.test"], mx, &[], Refused); // a wildcard is one label
    check("leaf", &["m*.example.test"], mx, &[], Refused); // and a whole one
    check("leaf", &["example.test"], mx, &["example.test"], Ta); // the next hop
    check("leaf", &["example.test"], mx, &[], Refused);
    check("leaf", &["MX.Example.Test"], mx, &[], Ta);
    check(mx, &[], mx, &[], Ta); // RFC 7672 §3.2.3: the common name, without any DNS name
    check(mx, &["other.test"], mx, &[], Refused); // beside one it does not count
}

#[test]
fn records_that_smtp_has_no_use_for() {
    let Pki { root, leaf, .. } = pki();
    let (root, leaf) = (&root.certificate, &leaf.certificate);
    with(vec![record(0, 0, 1, root), record(1, 1, 1, leaf)]).is(Unused); // RFC 7672 §3.1.3
    let good = record(3, 1, 1, leaf);
    let short = TlsaRecord { data: good.data[..31].to_vec(), ..good.clone() };
    let selector = TlsaRecord { selector: 9, ..good.clone() };
    let matching = TlsaRecord { matching: 9, ..good.clone() };
    with(vec![short.clone()]).is(Unused);
    with(vec![selector.clone()]).is(Unused);
    with(vec![matching.clone()]).is(Unused);
    let garbled = TlsaRecord { data: vec![0x30, 0x82, 1, 2, 3], ..record(2, 0, 0, root) };
    with(vec![garbled.clone()]).is(Unused);
    let all = [short, selector, matching, garbled, record(1, 1, 1, leaf)];
    with(all.to_vec()).is(Unused);
    with([&all[..], &[good]].concat()).is(Ee);
}

#[test]
fn records_that_are_not_taken_leave_no_error_behind() {
    let mut context = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
    enable(&mut context).unwrap();
    let mut ssl = Ssl::new(&context.build()).unwrap();
    let garbled = TlsaRecord { usage: 2, selector: 0, matching: 0, data: vec![0x30, 0x82, 1, 2] };
    let good = record(3, 1, 1, &pki().leaf.certificate);
    let records = [garbled.clone(), garbled, good];
    assert_eq!(prepare(&mut ssl, &domain("mx.example.test"), &[], &records).unwrap(), 1);
    // Or a later, unrelated call would be blamed.
    assert!(ErrorStack::get().errors().is_empty());
}

#[test]
fn of_digests_the_strongest_decides() {
    let Pki { leaf, strangers_leaf, .. } = pki();
    let good = record(3, 1, 1, &leaf.certificate);
    let wrong = record(3, 1, 2, &strangers_leaf.certificate);
    with(vec![good.clone(), wrong.clone()]).is(Refused); // RFC 7671 §9
    with(vec![wrong.clone(), good.clone()]).is(Refused);
    with(vec![good.clone(), TlsaRecord { data: vec![1, 2, 3], ..wrong }]).is(Ee); // it is none
    with(vec![good.clone(), record(3, 0, 2, &strangers_leaf.certificate)]).is(Ee); // another selector
    with(vec![record(3, 1, 0, &leaf.certificate), record(3, 1, 2, &strangers_leaf.certificate)])
        .is(Ee); // what is no digest always counts
}

#[test]
fn the_leaf_is_no_authority() {
    for (selector, matching) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
        with(vec![record(2, selector, matching, &pki().leaf.certificate)]).is(Refused);
    }
}

#[test]
fn expired_authorities() {
    let root = &pki().root;
    let intermediate = Recipe { days: EXPIRED, ..Recipe::ca("intermediate") }.issued_by(root);
    let leaf = Recipe::default().issued_by(&intermediate);
    let records = vec![record(2, 0, 1, &root.certificate)];
    let sent = vec![&intermediate, root];
    Scenario { leaf: &leaf, sent, records, ..Scenario::default() }.is(Refused);
    // Of an anchor itself the engine looks at the date only if it is self-signed; RFC 7671 leaves it open.
    let records = vec![record(2, 0, 1, &intermediate.certificate)];
    let sent = vec![&intermediate, root];
    Scenario { leaf: &leaf, sent, records, ..Scenario::default() }.is(Ta);
    let root = Recipe { days: EXPIRED, ..Recipe::ca("old") }.self_signed();
    let leaf = Recipe::default().issued_by(&root);
    let records = vec![record(2, 0, 1, &root.certificate)];
    Scenario { leaf: &leaf, sent: vec![&root], records, ..Scenario::default() }.is(Refused);
}

/// Three that a careless comparison of "any certificate that is sent" with the records would let in.
#[test]
fn attacks() {
    let Pki { root, intermediate, leaf, stranger, .. } = pki();
    // A leaf is no authority, though its holder can sign with its key.
    let forged = Recipe::default().issued_by(leaf);
    for anchor in [root, intermediate] {
        let records = vec![record(2, 0, 1, &anchor.certificate)];
        let sent = vec![leaf, intermediate, root];
        Scenario { leaf: &forged, sent, records, ..Scenario::default() }.is(Refused);
    }
    // The real authority behind a certificate it has nothing to do with.
    let own = Recipe::default().issued_by(stranger);
    for anchor in [root, intermediate] {
        let records = vec![record(2, 0, 1, &anchor.certificate)];
        let sent = vec![stranger, intermediate, root];
        Scenario { leaf: &own, sent, records, ..Scenario::default() }.is(Refused);
    }
    // The real leaf behind it.
    let records = vec![record(3, 1, 1, &leaf.certificate)];
    Scenario { leaf: &own, sent: vec![leaf, intermediate], records, ..Scenario::default() }
        .is(Refused);
}

#[tokio::test]
async fn what_matched_is_told() {
    let Pki { root, intermediate, leaf, .. } = pki();
    let by = async |records: Vec<TlsaRecord>, sent: Vec<&'static Issued>| {
        let scenario = Scenario { sent, records, ..Scenario::default() };
        match scenario.verdicts().await.remove(0) {
            DaneVerdict::Matched(found) => found,
            other => panic!("{other}"),
        }
    };
    let ee = record(3, 1, 1, &leaf.certificate);
    let found = by(vec![ee.clone()], vec![]).await;
    assert_eq!(found, DaneMatch { record: ee, depth: 0, name: None });
    let ta = record(2, 0, 2, &root.certificate);
    let found = by(vec![ta.clone()], vec![intermediate, root]).await;
    assert_eq!((found.record, found.depth), (ta, 2));
    assert_eq!(found.name.as_deref(), Some("mx.example.test"));
    let key = record(2, 1, 0, &intermediate.certificate);
    let found = by(vec![key.clone()], vec![]).await;
    assert_eq!((found.record, found.depth), (key, 0)); // a bare key signed the leaf
}
