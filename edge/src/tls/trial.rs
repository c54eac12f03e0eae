//! A small PKI, and servers that show its certificates, for the tests of this folder.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::dh::Dh;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{
    NameType, Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion,
};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{DuplexStream, duplex};

use posthaste_mail::address::Domain;
use posthaste_mail::tlsa::record::TlsaRecord;

use super::{ClientTls, Demand, HandshakeError, Reference, TlsFacts, TlsStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    P256,
    Rsa(u32),
}

/// A certificate to be made; the default is a leaf for `mx.example.test` that nothing is wrong with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe<'a> {
    pub common_name: &'a str,
    pub names: &'a [&'a str],
    pub is_ca: bool,
    pub key: Key,
    /// The digest under the issuer's signature.
    pub digest: fn() -> MessageDigest,
    /// 2 is X.509v3; 0 is v1, which has no extensions.
    pub version: i32,
    /// From and until when it holds, in days from now.
    pub days: (i64, i64),
}

impl Default for Recipe<'_> {
    fn default() -> Self {
        Recipe {
            common_name: "leaf",
            names: &["mx.example.test"],
            is_ca: false,
            key: Key::P256,
            digest: MessageDigest::sha256,
            version: 2,
            days: (-2, 30),
        }
    }
}

pub(super) const EXPIRED: (i64, i64) = (-30, -1);

#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Recipe<'_> {
    pub(super) fn ca(name: &str) -> Recipe<'_> {
        Recipe { common_name: name, names: &[], is_ca: true, ..Recipe::default() }
    }

    pub(super) fn self_signed(&self) -> Issued {
        self.signed(None)
    }

    pub(super) fn issued_by(&self, issuer: &Issued) -> Issued {
        self.signed(Some(issuer))
    }

    fn signed(&self, issuer: Option<&Issued>) -> Issued {
        let key = match self.key {
            Key::P256 => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
            }
            Key::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
        };
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, self.common_name).unwrap();
        let name = name.build();
        let mut serial = BigNum::new().unwrap();
        serial.rand(127, MsbOption::MAYBE_ZERO, false).unwrap();
        let (from, until) = self.days;
        let day = |days: i64| Asn1Time::from_unix(now() + days * 86_400).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_version(self.version).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        let issuer_name = issuer.map_or(&*name, |i| i.certificate.subject_name());
        builder.set_issuer_name(issuer_name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&day(from)).unwrap();
        builder.set_not_after(&day(until)).unwrap();
        if self.version == 2 {
            let mut constraints = BasicConstraints::new();
            constraints.critical();
            if self.is_ca {
                constraints.ca();
            }
            builder.append_extension(constraints.build().unwrap()).unwrap();
            if !self.names.is_empty() {
                let mut alternatives = SubjectAlternativeName::new();
                for name in self.names {
                    match name.parse::<std::net::IpAddr>() {
                        Ok(_) => alternatives.ip(name),
                        Err(_) => alternatives.dns(name),
                    };
                }
                let context = builder.x509v3_context(None, None);
                let extension = alternatives.build(&context).unwrap();
                builder.append_extension(extension).unwrap();
            }
        }
        builder.sign(issuer.map_or(&key, |i| &i.key), (self.digest)()).unwrap();
        Issued { certificate: builder.build(), key }
    }
}

fn now() -> i64 {
    #[allow(clippy::disallowed_methods)] // certificates are judged by the library's clock
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// What a record with this selector is about.
pub(super) fn selected(certificate: &X509, selector: u8) -> Vec<u8> {
    match selector {
        0 => certificate.to_der().unwrap(),
        _ => certificate.public_key().unwrap().public_key_to_der().unwrap(),
    }
}

/// The record that names this certificate.
pub(super) fn record(usage: u8, selector: u8, matching: u8, certificate: &X509) -> TlsaRecord {
    let whole = selected(certificate, selector);
    let data = match matching {
        0 => whole,
        1 => hash(MessageDigest::sha256(), &whole).unwrap().to_vec(),
        _ => hash(MessageDigest::sha512(), &whole).unwrap().to_vec(),
    };
    TlsaRecord { usage, selector, matching, data }
}

/// A server; the default speaks whatever the client likes best.
pub(super) struct Peer<'a> {
    pub leaf: &'a Issued,
    /// What it sends behind the leaf, in this order.
    pub sent: Vec<&'a X509>,
    pub oldest: SslVersion,
    pub newest: SslVersion,
    pub ciphers: &'a str,
    pub dh: Option<Dh<openssl::pkey::Params>>,
    pub curves: &'a str,
    /// It wants a certificate of this authority from its clients.
    pub wants: Option<&'a X509>,
}

impl<'a> Peer<'a> {
    pub(super) fn new(leaf: &'a Issued, sent: &[&'a X509]) -> Peer<'a> {
        Peer {
            leaf,
            sent: sent.to_vec(),
            oldest: SslVersion::TLS1,
            newest: SslVersion::TLS1_3,
            ciphers: "ALL",
            dh: None,
            curves: "X25519:P-256:P-384:P-521",
            wants: None,
        }
    }

    pub(super) fn only(self, version: SslVersion) -> Peer<'a> {
        Peer { oldest: version, newest: version, ..self }
    }

    fn context(&self) -> SslContext {
        let mut builder = SslContextBuilder::new(SslMethod::tls_server()).unwrap();
        builder.set_security_level(0);
        builder.set_cipher_list(&format!("{}:@SECLEVEL=0", self.ciphers)).unwrap();
        builder.set_min_proto_version(Some(self.oldest)).unwrap();
        builder.set_max_proto_version(Some(self.newest)).unwrap();
        builder.set_certificate(&self.leaf.certificate).unwrap();
        builder.set_private_key(&self.leaf.key).unwrap();
        for certificate in &self.sent {
            builder.add_extra_chain_cert((*certificate).clone()).unwrap();
        }
        if let Some(dh) = &self.dh {
            builder.set_tmp_dh(dh).unwrap();
        }
        builder.set_groups_list(self.curves).unwrap();
        if let Some(authority) = self.wants {
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            builder.cert_store_mut().add_cert(authority.clone()).unwrap();
        }
        builder.build()
    }
}

impl Peer<'_> {
    /// The server's side of a handshake that is known to succeed.
    pub(super) async fn accept(&self, stream: DuplexStream) -> TlsStream<DuplexStream> {
        let mut server = TlsStream::new(Ssl::new(&self.context()).unwrap(), stream).unwrap();
        Pin::new(&mut server).accept().await.unwrap();
        server
    }
}

/// What came of a handshake, the name the client asked for, and what the server made of the client.
pub(super) struct Met {
    pub facts: Result<TlsFacts, HandshakeError>,
    pub server_name: Option<String>,
    /// The common name of the client's certificate, if it showed one; `Err` when the server wanted no session.
    pub client: Result<Option<String>, String>,
}

pub(super) async fn meet<'a>(
    client: &ClientTls,
    peer: &Peer<'_>,
    host: impl Into<Reference<'a>>,
    demand: Demand<'_>,
) -> Met {
    let (near, far) = duplex(256 * 1024);
    let mut server = TlsStream::new(Ssl::new(&peer.context()).unwrap(), far).unwrap();
    let serve = async {
        // Dropped when it is over, so that a client that waits for more sees the end.
        let end = Pin::new(&mut server).accept().await;
        let name = server.ssl().servername(NameType::HOST_NAME).map(str::to_string);
        let shown = server.ssl().peer_certificate().map(|certificate| common_name(&certificate));
        if end.is_err() {
            drop(server);
        }
        (name, end.map(|()| shown).map_err(|e| e.to_string()))
    };
    // The stream is kept until both are done: the server may have tickets to give away.
    let ((server_name, client), met) = tokio::join!(serve, client.handshake(near, host, demand));
    Met { facts: met.map(|(_, facts)| facts), server_name, client }
}

fn common_name(certificate: &X509) -> String {
    let name = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next().unwrap();
    name.data().to_string().unwrap()
}

/// A client that trusts these and nobody else.
pub(super) fn trusting(roots: &[&X509]) -> ClientTls {
    let pem: Vec<u8> = roots.iter().flat_map(|root| root.to_pem().unwrap()).collect();
    let file = TrialFile::new(&pem);
    ClientTls::new(&[file.path()]).unwrap()
}

/// A file that is there as long as this is.
pub(super) struct TrialFile(PathBuf);

impl TrialFile {
    pub(super) fn new(content: &[u8]) -> TrialFile {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("posthaste-tls-{}-{number}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, content).unwrap();
        TrialFile(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TrialFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}
