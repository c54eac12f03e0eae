//! A certificate authority of the test's own, and leaves good and bad.

use std::path::PathBuf;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslVersion};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use crate::harness::area::Area;

const DAY: i64 = 24 * 60 * 60;

/// A key and its certificate, with the chain above it.
#[derive(Clone)]
pub struct Certificate {
    key: PKey<Private>,
    leaf: X509,
    chain: Vec<X509>,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
enum Validity {
    Now,
    UntilYesterday,
}

pub struct Authority {
    root: Certificate,
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("Test Root")
    }

    /// One that vouches for itself, by another name.
    pub fn named(name: &str) -> Authority {
        Authority { root: issue(None, &[name], Validity::Now, Role::Authority) }
    }

    /// One that this one vouches for.
    pub fn below(&self, name: &str) -> Authority {
        Authority { root: issue(Some(&self.root), &[name], Validity::Now, Role::Authority) }
    }

    /// A good leaf for the names; for other names it is the wrong one.
    pub fn leaf(&self, names: &[&str]) -> Certificate {
        issue(Some(&self.root), names, Validity::Now, Role::Server)
    }

    pub fn expired(&self, names: &[&str]) -> Certificate {
        issue(Some(&self.root), names, Validity::UntilYesterday, Role::Server)
    }

    /// Writes the root as PEM, for `root_ca`.
    pub fn write(&self, area: &Area) -> PathBuf {
        area.write("root-ca.pem", self.root.leaf.to_pem().unwrap())
    }

    pub fn root(&self) -> &X509 {
        &self.root.leaf
    }
}

/// A leaf that vouches for itself.
pub fn self_signed(names: &[&str]) -> Certificate {
    issue(None, names, Validity::Now, Role::Server)
}

impl Certificate {
    /// A server with this certificate, for a sink or a dialogue.
    pub fn acceptor(&self) -> SslAcceptor {
        self.builder().build()
    }

    /// A server that knows no TLS newer than 1.1, which RFC 8996 forbids.
    pub fn outdated_acceptor(&self) -> SslAcceptor {
        let mut builder = self.builder();
        builder.clear_options(SslOptions::NO_TLSV1_1);
        builder.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        builder.build()
    }

    /// A server whose handshakes all fail: it has no cipher that anybody offers.
    pub fn broken_acceptor(&self) -> SslAcceptor {
        let mut builder = self.builder();
        builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        builder.set_cipher_list("PSK").unwrap();
        builder.build()
    }

    fn builder(&self) -> SslAcceptorBuilder {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        builder.set_private_key(&self.key).unwrap();
        builder.set_certificate(&self.leaf).unwrap();
        for above in &self.chain {
            builder.add_extra_chain_cert(above.clone()).unwrap();
        }
        builder
    }

    /// Writes `NAME.pem` (leaf, then chain) and `NAME.key`.
    pub fn write(&self, area: &Area, name: &str) -> (PathBuf, PathBuf) {
        let (chain, key) = self.pem();
        (area.write(&format!("{name}.pem"), chain), area.write(&format!("{name}.key"), key))
    }

    /// The chain, leaf first, and the key.
    pub fn pem(&self) -> (Vec<u8>, Vec<u8>) {
        let mut chain = self.leaf.to_pem().unwrap();
        for above in &self.chain {
            chain.extend(above.to_pem().unwrap());
        }
        (chain, self.key.private_key_to_pem_pkcs8().unwrap())
    }

    /// The data of a `3 1 1` TLSA record: SHA-256 of the public key.
    pub fn key_digest(&self) -> Vec<u8> {
        sha256(&self.key.public_key_to_der().unwrap()).to_vec()
    }

    pub fn leaf(&self) -> &X509 {
        &self.leaf
    }

    /// What stands above the leaf, the root last, as far as a server sends it.
    pub fn above(&self) -> &[X509] {
        &self.chain
    }

    /// The same, with only so many of those above the leaf sent.
    #[must_use]
    pub fn sending(mut self, above: usize) -> Certificate {
        self.chain.truncate(above);
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Authority,
    Server,
}

fn issue(
    issuer: Option<&Certificate>,
    names: &[&str],
    validity: Validity,
    role: Role,
) -> Certificate {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, names[0]).unwrap();
    let subject = subject.build();

    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap(); // X.509 v3
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::MAYBE_ZERO, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&*subject, |above| above.leaf.subject_name())).unwrap();
    builder.set_pubkey(&key).unwrap();
    let now = now();
    let (first, last) = match validity {
        Validity::Now => (now - DAY, now + 30 * DAY),
        Validity::UntilYesterday => (now - 30 * DAY, now - DAY),
    };
    builder.set_not_before(&Asn1Time::from_unix(first).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(last).unwrap()).unwrap();
    if role == Role::Authority {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap();
        builder.append_extension(usage).unwrap();
    } else {
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            alternatives.dns(name);
        }
        let above = issuer.map(|above| &*above.leaf);
        let extension = alternatives.build(&builder.x509v3_context(above, None)).unwrap();
        builder.append_extension(extension).unwrap();
    }
    let signer = issuer.map_or(&key, |above| &above.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    let chain = issuer
        .map(|above| std::iter::once(&above.leaf).chain(&above.chain).cloned().collect())
        .unwrap_or_default();
    Certificate { key, leaf: builder.build(), chain }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
