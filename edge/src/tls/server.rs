//! The server side: certificates from files, or made on the spot.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    NameType, SniError, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslOptions,
    SslSessionCacheMode, SslVersion,
};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncRead, AsyncWrite};

use super::TlsStream;

/// A certificate cannot be used; what and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTlsError(pub String);

impl fmt::Display for ServerTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerTlsError {}

#[derive(Clone, Debug)]
pub struct ServerTls(Arc<SslContext>);

impl ServerTls {
    /// `tls file CERT KEY...`: the first pair is the default, SNI selects among all. Blocks on files.
    pub fn from_files(pairs: &[(&Path, &Path)]) -> Result<ServerTls, ServerTlsError> {
        let mut contexts = Vec::new();
        for (certificate, key) in pairs {
            let mut builder = base()?;
            builder
                .set_certificate_chain_file(certificate)
                .map_err(|e| said(&format!("reading certificate {}", certificate.display()), &e))?;
            builder
                .set_private_key_file(key, SslFiletype::PEM)
                .map_err(|e| said(&format!("reading key {}", key.display()), &e))?;
            builder
                .check_private_key()
                .map_err(|e| said(&format!("key {} is another one's", key.display()), &e))?;
            contexts.push(builder.build());
        }
        select_by_name(pairs, contexts)
    }

    /// `tls self_signed NAME...`: an ECDSA P-256 certificate for a week, new at every start.
    pub fn self_signed(names: &[&str]) -> Result<ServerTls, ServerTlsError> {
        let (certificate, key) = make(names).map_err(|e| said("making a certificate", &e))?;
        let mut builder = base()?;
        builder.set_certificate(&certificate).map_err(|e| said("using the certificate", &e))?;
        builder.set_private_key(&key).map_err(|e| said("using the key", &e))?;
        Ok(ServerTls(Arc::new(builder.build())))
    }

    /// The handshake of a client that has said STARTTLS, or of a `tls://` listener.
    pub async fn handshake<S>(&self, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = Ssl::new(&self.0).map_err(|e| e.to_string())?;
        let mut tls = TlsStream::new(ssl, stream).map_err(|e| e.to_string())?;
        Pin::new(&mut tls).accept().await.map_err(|e| e.to_string())?;
        Ok(tls)
    }
}

fn said(doing: &str, error: &dyn fmt::Display) -> ServerTlsError {
    ServerTlsError(format!("{doing}: {error}"))
}

fn base() -> Result<SslContextBuilder, ServerTlsError> {
    let make = || -> Result<SslContextBuilder, openssl::error::ErrorStack> {
        let mut builder = SslContextBuilder::new(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1))?;
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
        Ok(builder)
    };
    make().map_err(|e| said("setting up TLS", &e))
}

/// Several pairs: the one whose certificate names what the client asked for, else the first.
fn select_by_name(
    pairs: &[(&Path, &Path)],
    mut contexts: Vec<SslContext>,
) -> Result<ServerTls, ServerTlsError> {
    if contexts.is_empty() {
        return Err(ServerTlsError("no certificate is named".to_string()));
    }
    if contexts.len() == 1 {
        return Ok(ServerTls(Arc::new(contexts.remove(0))));
    }
    let mut builder = base()?;
    if let Some((certificate, key)) = pairs.first() {
        builder.set_certificate_chain_file(certificate).map_err(|e| said("reading", &e))?;
        builder.set_private_key_file(key, SslFiletype::PEM).map_err(|e| said("reading", &e))?;
    }
    builder.set_servername_callback(move |ssl, _| {
        let Some(name) = ssl.servername(NameType::HOST_NAME).map(str::to_ascii_lowercase) else {
            return Ok(());
        };
        let names_it = |c: &&SslContext| c.certificate().is_some_and(|cert| carries(cert, &name));
        match contexts.iter().find(names_it) {
            Some(context) => ssl.set_ssl_context(context).map_err(|_| SniError::ALERT_FATAL),
            None => Ok(()),
        }
    });
    Ok(ServerTls(Arc::new(builder.build())))
}

fn carries(certificate: &openssl::x509::X509Ref, name: &str) -> bool {
    let Some(names) = certificate.subject_alt_names() else { return false };
    names.iter().filter_map(|n| n.dnsname()).any(|entry| match entry.strip_prefix("*.") {
        Some(parent) => {
            name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => entry.eq_ignore_ascii_case(name),
    })
}

fn make(names: &[&str]) -> Result<(X509, PKey<Private>), openssl::error::ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, names.first().copied().unwrap_or("localhost"))?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(7)?.as_ref())?;
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        if name.parse::<std::net::IpAddr>().is_ok() {
            alternatives.ip(name);
        } else {
            alternatives.dns(name);
        }
    }
    let extension = alternatives.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(extension)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build(), key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ClientTls, Demand};
    use posthaste_mail::address::Domain;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn both_sides_meet_and_the_certificate_proves_nothing() {
        let server = ServerTls::self_signed(&["mx.test", "127.0.0.1"]).unwrap();
        let client = ClientTls::new(&[]).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serve = async {
            let mut tls = server.handshake(far).await.unwrap();
            tls.write_all(b"hi").await.unwrap();
        };
        let ask = async {
            let host = Domain::parse("mx.test").unwrap();
            let (mut tls, facts) =
                client.handshake(near, Some(&host), Demand::Opportunistic).await.unwrap();
            let mut said = [0; 2];
            tls.read_exact(&mut said).await.unwrap();
            (said, facts)
        };
        let ((), (said, facts)) = tokio::join!(serve, ask);
        assert_eq!(&said, b"hi");
        assert_eq!(facts.version, "TLSv1.3");
        assert!(facts.pkix.is_err(), "self-signed");
    }

    #[tokio::test]
    async fn a_peer_that_speaks_no_tls() {
        let client = ClientTls::new(&[]).unwrap();
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(b"554 what is that\r\n").await.unwrap();
        let error = client.handshake(near, None, Demand::Opportunistic).await.err().unwrap();
        assert!(!error.local, "{error}");
    }

    #[test]
    fn files_that_do_not_exist_are_named() {
        let missing = Path::new("/nonexistent/cert.pem");
        let error = ServerTls::from_files(&[(missing, missing)]).err().unwrap();
        assert!(error.0.contains("/nonexistent/cert.pem"), "{error}");
    }
}
