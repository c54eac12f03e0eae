//! What is configured is what servers meet.

use openssl::symm::Cipher as KeyCipher;

use super::*;
use crate::tls::trial::{Issued, Key, Met, Peer, Recipe, TrialFile, domain, meet};
use crate::tls::{ClientTls, Demand};

const DEMANDS: [Demand<'static>; 2] = [Demand::Opportunistic, Demand::Pkix];

fn rsa_leaf() -> Issued {
    Recipe { key: Key::Rsa(2048), ..Recipe::default() }.self_signed()
}

async fn met(settings: &TlsSettings, peer: &Peer<'_>, demand: Demand<'_>) -> Met {
    let client = ClientTls::with(settings).unwrap();
    meet(&client, peer, Some(&domain("mx.example.test")), demand).await
}

fn named<T: Copy>(names: &[(&str, T)], wanted: &[&str]) -> Vec<T> {
    let one = |name: &&str| names.iter().find(|(known, _)| known == name).unwrap().1;
    wanted.iter().map(one).collect()
}

fn ciphers(wanted: &[&str]) -> TlsSettings {
    TlsSettings { ciphers: named(Cipher::NAMES, wanted), ..TlsSettings::default() }
}

#[tokio::test]
async fn versions_are_those_that_are_allowed() {
    use Version::{Tls10, Tls11, Tls12, Tls13};
    let leaf = rsa_leaf();
    for (oldest, newest, server, anything, proof) in [
        (Tls12, Tls12, Tls12, true, true),
        (Tls12, Tls12, Tls13, false, false),
        (Tls12, Tls12, Tls11, false, false),
        (Tls13, Tls13, Tls13, true, true),
        (Tls13, Tls13, Tls12, false, false),
        (Tls10, Tls13, Tls10, true, false), // where a proof is wanted nothing below 1.2 is taken
        (Tls10, Tls11, Tls10, true, false),
        (Tls10, Tls11, Tls12, false, true), // and there it stays at 1.2
        (Tls11, Tls13, Tls10, false, false),
    ] {
        let versions = Versions::new(oldest, newest);
        let settings = TlsSettings { versions, ..TlsSettings::default() };
        let peer = Peer::new(&leaf, &[]).only(server.number());
        for (demand, takes) in DEMANDS.into_iter().zip([anything, proof]) {
            let facts = met(&settings, &peer, demand).await.facts;
            let case = format!("{oldest:?} to {newest:?}, {server:?}, {demand:?}: {facts:?}");
            assert_eq!(facts.is_ok(), takes, "{case}");
        }
    }
    assert_eq!(Versions::new(Tls13, Tls12), None);
}

#[tokio::test]
async fn ciphers_are_those_that_are_named_in_that_order() {
    let leaf = rsa_leaf();
    let peer = Peer::new(&leaf, &[]).only(SslVersion::TLS1_2);
    for (names, spoken) in [
        (&["RSA-WITH-AES256-GCM-SHA384"][..], Some("AES256-GCM-SHA384")),
        (
            &["ECDHE-RSA-WITH-CHACHA20-POLY1305", "ECDHE-RSA-WITH-AES128-GCM-SHA256"],
            Some("ECDHE-RSA-CHACHA20-POLY1305"),
        ),
        (
            &["ECDHE-RSA-WITH-AES128-GCM-SHA256", "ECDHE-RSA-WITH-CHACHA20-POLY1305"],
            Some("ECDHE-RSA-AES128-GCM-SHA256"),
        ),
        (&["ECDHE-ECDSA-WITH-AES128-GCM-SHA256"], None), // the certificate is of another kind
    ] {
        for demand in DEMANDS {
            let facts = met(&ciphers(names), &peer, demand).await.facts;
            let cipher = facts.as_ref().ok().map(|facts| facts.cipher.as_str());
            assert_eq!(cipher, spoken, "{names:?}, {demand:?}: {facts:?}");
        }
    }
    // RFC 8446 §9.1: TLS 1.3 has ciphers of its own, which stay.
    let newer = Peer::new(&leaf, &[]).only(SslVersion::TLS1_3);
    let facts = met(&ciphers(&["RSA-WITH-AES256-GCM-SHA384"]), &newer, Demand::Pkix).await.facts;
    assert_eq!(facts.unwrap().version, "TLSv1.3");
}

#[tokio::test]
async fn what_the_library_does_not_have_is_not_replaced_by_something_else() {
    let missing: Vec<Cipher> =
        Cipher::NAMES.iter().map(|(_, cipher)| *cipher).filter(|c| !c.is_available()).collect();
    let settings = TlsSettings { ciphers: missing.clone(), ..TlsSettings::default() };
    if missing.is_empty() {
        return; // this library has them all
    }
    let leaf = rsa_leaf();
    for demand in DEMANDS {
        let older = met(&settings, &Peer::new(&leaf, &[]).only(SslVersion::TLS1_2), demand).await;
        assert!(older.facts.is_err());
        let newer = met(&settings, &Peer::new(&leaf, &[]).only(SslVersion::TLS1_3), demand).await;
        assert!(newer.facts.is_ok());
    }
    // One that is there among them is used.
    let mut mixed = ciphers(&["ECDHE-RSA-WITH-AES128-GCM-SHA256"]);
    mixed.ciphers.splice(0..0, missing);
    let older = met(&mixed, &Peer::new(&leaf, &[]).only(SslVersion::TLS1_2), Demand::Pkix).await;
    assert_eq!(older.facts.unwrap().cipher, "ECDHE-RSA-AES128-GCM-SHA256");
}

#[test]
fn what_is_modern_is_available() {
    let modern = |name: &str| ["GCM", "CHACHA20"].iter().any(|part| name.contains(part));
    for (name, cipher) in Cipher::NAMES {
        assert!(cipher.is_available() || !modern(name), "{name}");
    }
    assert_eq!(Cipher::NAMES.len(), 22);
    assert!(ErrorStack::get().errors().is_empty());
}

#[tokio::test]
async fn curves_are_those_that_are_named() {
    let leaf = rsa_leaf();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (ours, theirs, meets) in [
            (&["p256"][..], "P-256", true),
            (&["p256"], "P-384:X25519", false),
            (&["p384"], "P-384", true),
            (&["p521"], "P-521", true),
            (&["X25519"], "X25519", true),
            (&["X25519"], "P-256", false),
            (&["p521", "p256"], "P-256", true),
        ] {
            let curves = named(Curve::NAMES, ours);
            let settings = TlsSettings { curves, ..TlsSettings::default() };
            let peer =
                Peer { ciphers: "ECDHE", curves: theirs, ..Peer::new(&leaf, &[]).only(version) };
            for demand in DEMANDS {
                let facts = met(&settings, &peer, demand).await.facts;
                assert_eq!(facts.is_ok(), meets, "{ours:?} and {theirs}, {demand:?}: {facts:?}");
            }
        }
    }
}

/// Files of a certificate that an authority issued to us.
struct Ours {
    authority: Issued,
    certificate: TrialFile,
    key: TrialFile,
}

impl Ours {
    fn new() -> Ours {
        let authority = Recipe::ca("clients").self_signed();
        let middle = Recipe::ca("middle").issued_by(&authority);
        let recipe = Recipe { common_name: "relay.example.test", ..Recipe::default() };
        let own = recipe.issued_by(&middle);
        let chain = [own.certificate.to_pem().unwrap(), middle.certificate.to_pem().unwrap()];
        Ours {
            authority,
            certificate: TrialFile::new(&chain.concat()),
            key: TrialFile::new(&own.key.private_key_to_pem_pkcs8().unwrap()),
        }
    }

    fn identity(&self) -> Identity {
        let path = |file: &TrialFile| file.path().to_path_buf();
        Identity { certificate: path(&self.certificate), key: path(&self.key) }
    }
}

fn with(identity: Identity) -> TlsSettings {
    TlsSettings { identity: Some(identity), ..TlsSettings::default() }
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown_with_its_chain_to_who_asks() {
    let (leaf, ours) = (rsa_leaf(), Ours::new());
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let quiet = Peer::new(&leaf, &[]).only(version);
        let asks = || Peer {
            wants: Some(&ours.authority.certificate),
            ..Peer::new(&leaf, &[]).only(version)
        };
        for demand in DEMANDS {
            let shown = met(&with(ours.identity()), &asks(), demand).await;
            assert!(shown.facts.is_ok());
            assert_eq!(shown.client, Ok(Some("relay.example.test".to_string())));
            // Nobody who does not ask learns who we are.
            let hidden = met(&with(ours.identity()), &quiet, demand).await;
            assert_eq!(hidden.client, Ok(None));
            // Without one there is no session; with TLS 1.3 the client learns it after its handshake (RFC 8446 §4.4.2.4).
            let nameless = met(&TlsSettings::default(), &asks(), demand).await;
            assert!(nameless.client.is_err());
        }
        // DANE has nothing to do with who we are.
        let record = crate::tls::trial::record(3, 1, 1, &leaf.certificate);
        let (host, records) = (domain("mx.example.test"), [record]);
        let demand = Demand::Dane { base: &host, names: &[], records: &records };
        let shown = met(&with(ours.identity()), &asks(), demand).await;
        assert_eq!(shown.client, Ok(Some("relay.example.test".to_string())));
    }
}

#[tokio::test]
async fn certificate_and_key_may_be_one_file() {
    let (leaf, ours) = (rsa_leaf(), Ours::new());
    let read = |file: &TrialFile| std::fs::read(file.path()).unwrap();
    let both = TrialFile::new(&[read(&ours.key), read(&ours.certificate)].concat());
    let path = both.path().to_path_buf();
    let peer = Peer { wants: Some(&ours.authority.certificate), ..Peer::new(&leaf, &[]) };
    let identity = Identity { certificate: path.clone(), key: path };
    let shown = met(&with(identity), &peer, Demand::Pkix).await;
    assert_eq!(shown.client, Ok(Some("relay.example.test".to_string())));
}

#[test]
fn files_that_are_no_identity_are_named() {
    let ours = Ours::new();
    let said = |identity: Identity| ClientTls::with(&with(identity)).err().unwrap();
    let empty = TrialFile::new(b"");
    let own = ours.identity();
    let no_certificate = Identity { certificate: empty.path().into(), ..own.clone() };
    assert!(said(no_certificate).starts_with("reading certificate "));
    let no_key = Identity { key: empty.path().into(), ..own.clone() };
    assert!(said(no_key).starts_with("reading key "));
    let missing = Identity { key: "/nonexistent/key.pem".into(), ..own.clone() };
    assert!(said(missing).starts_with("reading key /nonexistent/key.pem: "));
    let strange = Ours::new();
    let mixed = Identity { key: strange.key.path().into(), ..own.clone() };
    assert!(said(mixed).contains("is not that of certificate"));
    // Nobody is there to be asked for a passphrase.
    let key = Recipe::default().self_signed().key;
    let locked = key.private_key_to_pem_pkcs8_passphrase(KeyCipher::aes_128_cbc(), b"secret");
    let locked = TrialFile::new(&locked.unwrap());
    assert!(said(Identity { key: locked.path().into(), ..own }).starts_with("reading key "));
}

#[test]
fn roots_without_a_certificate_are_refused() {
    let empty = TrialFile::new(b"no certificate\n");
    let settings = TlsSettings { roots: vec![empty.path().into()], ..TlsSettings::default() };
    let error = ClientTls::with(&settings).err().unwrap();
    assert!(error.contains(&empty.path().display().to_string()), "{error}");
}
