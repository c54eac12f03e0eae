//! What each class of demands takes, and what it finds out.

use openssl::dh::Dh;
use openssl::hash::MessageDigest;
use openssl::ssl::SslVersion;

use posthaste_mail::certificate::Reason;

use super::*;
use crate::tls::trial::{EXPIRED, Issued, Key, Peer, Recipe, domain, meet, record, trusting};

struct Pki {
    root: Issued,
    client: ClientTls,
}

fn pki() -> Pki {
    let root = Recipe { key: Key::Rsa(2048), ..Recipe::ca("root") }.self_signed();
    let client = trusting(&[&root.certificate]);
    Pki { root, client }
}

fn mx() -> Domain {
    domain("mx.example.test")
}

/// All but DANE, which cannot be asked for without records.
const WITHOUT_RECORDS: [Demand<'static>; 2] = [Demand::Opportunistic, Demand::Pkix];

#[tokio::test]
async fn pkix_wants_chain_date_and_name() {
    let Pki { root, client } = pki();
    let stranger = Recipe::ca("stranger").self_signed();
    let not_yet = Recipe { days: (1, 30), ..Recipe::default() };
    let only_common_name =
        Recipe { common_name: "mx.example.test", names: &[], ..Recipe::default() };
    let other = Recipe { names: &["other.test"], ..Recipe::default() };
    let wildcard = Recipe { names: &["*.example.test"], ..Recipe::default() };
    let expired = Recipe { days: EXPIRED, ..Recipe::default() };
    let small = Recipe { key: Key::Rsa(1024), ..Recipe::default() };
    for (leaf, expected) in [
        (Recipe::default().issued_by(&root), None),
        (wildcard.issued_by(&root), None),
        (expired.issued_by(&root), Some(Reason::Expired)),
        (not_yet.issued_by(&root), Some(Reason::Other)),
        (other.issued_by(&root), Some(Reason::NameMismatch)),
        (only_common_name.issued_by(&root), Some(Reason::NameMismatch)), // RFC 8461 §4.1
        (Recipe::default().issued_by(&stranger), Some(Reason::NotTrusted)),
        (Recipe::default().self_signed(), Some(Reason::NotTrusted)),
        (small.issued_by(&root), Some(Reason::Other)),
    ] {
        let peer = Peer::new(&leaf, &[]);
        let (host, dane) = (mx(), [record(3, 1, 1, &leaf.certificate)]);
        let with_records = Demand::Dane { base: &host, names: &[], records: &dane };
        for demand in [Demand::Opportunistic, Demand::Pkix, with_records] {
            let facts = meet(&client, &peer, Some(&host), demand).await.facts.unwrap();
            assert_eq!(facts.mistrust, expected, "{demand:?}: {facts}");
            assert_eq!(facts.pkix.is_ok(), expected.is_none());
            // The one verdict has nothing to do with the other.
            let matched = matches!(facts.dane, DaneVerdict::Matched(_));
            assert_eq!(matched, demand == with_records, "{facts}");
        }
    }
}

#[tokio::test]
async fn an_address_has_no_name_to_prove() {
    let Pki { root, client } = pki();
    let leaf = Recipe::default().issued_by(&root);
    for demand in WITHOUT_RECORDS {
        let met = meet(&client, &Peer::new(&leaf, &[]), None, demand).await;
        assert_eq!(met.facts.unwrap().mistrust, Some(Reason::Other));
        assert_eq!(met.server_name, None);
    }
}

#[tokio::test]
async fn an_address_is_proven_by_an_alternative_name_that_is_one() {
    let Pki { root, client } = pki();
    let here: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    for (names, proven) in [
        (&["127.0.0.1"][..], true),
        (&["mx.example.test", "127.0.0.1"], true),
        (&["127.0.0.2"], false),
        (&["::1"], false),
        (&["mx.example.test"], false),
        (&[], false),
    ] {
        // RFC 6125 §1.7.2: the common name is no address.
        let recipe = Recipe { names, common_name: "127.0.0.1", ..Recipe::default() };
        let leaf = recipe.issued_by(&root);
        let peer = Peer::new(&leaf, &[]);
        let met = meet(&client, &peer, Reference::Address(here), Demand::Pkix).await;
        assert_eq!(met.facts.unwrap().pkix.is_ok(), proven, "{names:?}");
        assert_eq!(met.server_name, None); // RFC 6066 §3
    }
}

#[tokio::test]
async fn the_server_is_asked_for_the_base_domain_or_else_for_the_host() {
    let Pki { root, client } = pki();
    let leaf = Recipe::default().issued_by(&root);
    let peer = Peer::new(&leaf, &[]);
    for demand in WITHOUT_RECORDS {
        let met = meet(&client, &peer, Some(&mx()), demand).await;
        assert_eq!(met.server_name.as_deref(), Some("mx.example.test"));
    }
    let (base, records) = (domain("real.test"), [record(3, 1, 1, &leaf.certificate)]);
    let demand = Demand::Dane { base: &base, names: &[mx()], records: &records };
    let met = meet(&client, &peer, Some(&mx()), demand).await;
    assert_eq!(met.server_name.as_deref(), Some("real.test")); // RFC 7672 §8.1
    assert_eq!(met.facts.unwrap().pkix, Ok(())); // PKIX still wants the name of the host
}

#[tokio::test]
async fn without_a_usable_record_pkix_is_judged() {
    let Pki { root, client } = pki();
    let leaf = Recipe::default().issued_by(&root);
    let (host, records) = (mx(), [record(1, 1, 1, &leaf.certificate)]);
    let demand = Demand::Dane { base: &host, names: &[], records: &records };
    let facts = meet(&client, &Peer::new(&leaf, &[]), Some(&host), demand).await.facts.unwrap();
    assert_eq!((facts.pkix, facts.dane), (Ok(()), DaneVerdict::NoneUsable));
}

/// Level 1: small keys that are pinned will do, weak signatures that are to prove something will not.
#[tokio::test]
async fn weak_certificates_under_dane() {
    let Pki { root, client } = pki();
    let small = Recipe { key: Key::Rsa(1024), ..Recipe::default() }.issued_by(&root);
    let sha1 = Recipe { digest: MessageDigest::sha1, ..Recipe::default() }.issued_by(&root);
    let first_version = Recipe { version: 0, common_name: "mx.example.test", ..Recipe::default() };
    let first_version = first_version.issued_by(&root);
    for (leaf, usage, matches) in [
        (&small, 3, true),
        (&small, 2, true),
        (&sha1, 3, true), // nobody looks at the signature
        (&sha1, 2, false),
        (&first_version, 3, true),
        (&first_version, 2, true),
    ] {
        let named = if usage == 3 { &leaf.certificate } else { &root.certificate };
        let (host, records) = (mx(), [record(usage, 1, 1, named)]);
        let demand = Demand::Dane { base: &host, names: &[], records: &records };
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let peer = Peer::new(leaf, &[&root.certificate]).only(version);
            let facts = meet(&client, &peer, Some(&host), demand).await.facts.unwrap();
            let matched = matches!(facts.dane, DaneVerdict::Matched(_));
            assert_eq!(matched, matches, "{usage} 1 1: {facts}");
        }
    }
}

#[tokio::test]
async fn old_servers_are_good_enough_where_nothing_is_demanded() {
    let Pki { root, client } = pki();
    let rsa = Recipe { key: Key::Rsa(2048), ..Recipe::default() };
    let modern = rsa.issued_by(&root);
    let leaf = |recipe: Recipe<'_>| recipe.issued_by(&root);
    let sha1 = leaf(Recipe { digest: MessageDigest::sha1, ..rsa });
    let md5 = leaf(Recipe { digest: MessageDigest::md5, ..rsa });
    let first_version = leaf(Recipe { version: 0, ..rsa });
    let small = leaf(Recipe { key: Key::Rsa(1024), ..rsa });
    let tiny = leaf(Recipe { key: Key::Rsa(512), ..rsa });
    let expired = leaf(Recipe { days: EXPIRED, ..rsa });
    let with = |leaf, version, ciphers| Peer { ciphers, ..Peer::new(leaf, &[]).only(version) };
    let dh = |dh: Dh<_>| Peer { dh: Some(dh), ..with(&modern, SslVersion::TLS1_2, "kDHE") };
    let (one, two, three) = (SslVersion::TLS1, SslVersion::TLS1_2, SslVersion::TLS1_3);
    for (what, peer, opportunistic, sound) in [
        ("TLS 1.3", with(&modern, three, "ALL"), true, true),
        ("ECDHE", with(&modern, two, "kECDHE"), true, true),
        ("RSA key exchange", with(&modern, two, "kRSA"), true, true),
        ("DHE 2048", dh(Dh::get_2048_256().unwrap()), true, true),
        ("DHE 1024", dh(Dh::get_1024_160().unwrap()), true, true),
        ("TLS 1.1", with(&modern, SslVersion::TLS1_1, "kECDHE"), true, false),
        ("TLS 1.0", with(&modern, one, "kECDHE"), true, false),
        ("TLS 1.0 AES128-SHA", with(&modern, one, "AES128-SHA"), true, false),
        ("SHA-1", with(&sha1, two, "ALL"), true, true),
        ("MD5", with(&md5, two, "ALL"), true, true),
        ("X.509v1", with(&first_version, two, "ALL"), true, true),
        ("RSA-1024", with(&small, two, "ALL"), true, true),
        ("RSA-512", with(&tiny, two, "kRSA"), true, true),
        ("expired", with(&expired, two, "ALL"), true, true),
        ("anonymous", with(&modern, two, "aNULL"), false, false),
    ] {
        let (host, records) = (mx(), [record(3, 1, 1, &peer.leaf.certificate)]);
        let dane = Demand::Dane { base: &host, names: &[], records: &records };
        for (demand, takes) in
            [(Demand::Opportunistic, opportunistic), (Demand::Pkix, sound), (dane, sound)]
        {
            let facts = meet(&client, &peer, Some(&host), demand).await.facts;
            assert_eq!(facts.is_ok(), takes, "{what}, {demand:?}: {facts:?}");
            // RFC 8996: they keep nobody out who is in the middle.
            let old = what.starts_with("TLS 1.0") || what.starts_with("TLS 1.1");
            let proven = facts.as_ref().is_ok_and(|facts| facts.pkix.is_ok());
            assert!(!(old && proven), "{what}: {facts:?}");
            assert!(facts.err().is_none_or(|e| !e.local), "{what}: not our fault");
        }
    }
}

#[tokio::test]
async fn no_session_is_resumed() {
    let Pki { root, client } = pki();
    let leaf = Recipe::default().issued_by(&root);
    let (host, records) = (mx(), [record(3, 1, 1, &leaf.certificate)]);
    let demand = Demand::Dane { base: &host, names: &[], records: &records };
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let peer = Peer::new(&leaf, &[]).only(version);
        for _ in 0..2 {
            let (near, far) = tokio::io::duplex(256 * 1024);
            let (served, tls) =
                tokio::join!(peer.accept(far), client.handshake(near, Some(&host), demand));
            let (tls, _) = tls.unwrap();
            assert!(!tls.ssl().session_reused() && !served.ssl().session_reused());
        }
    }
}

#[test]
fn records_that_are_what_they_hold() {
    let leaf = Recipe::default().self_signed();
    for selector in [0, 1] {
        let good = record(3, selector, 0, &leaf.certificate);
        assert!(decodes(&good));
        let spoilt = |spoil: fn(&mut Vec<u8>)| {
            let mut record = good.clone();
            spoil(&mut record.data);
            record.usability().is_err() || !decodes(&record)
        };
        assert!(spoilt(|data| data.truncate(40)));
        assert!(spoilt(|data| data.push(0)));
        assert!(spoilt(|data| data[0] = 0x31));
        assert!(spoilt(|data| data[4] = 0x31));
        assert!(spoilt(Vec::clear));
        // Neither is the other.
        assert!(!decodes(&TlsaRecord { selector: 1 - selector, ..good.clone() }));
        assert!(ErrorStack::get().errors().is_empty());
    }
}
