//! The client side: one handshake that accepts any certificate, by the rules of what is demanded, and its verdicts.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncWrite};

use posthaste_mail::address::Domain;
use posthaste_mail::certificate::{DaneVerdict, Mistrust};
use posthaste_mail::tlsa::record::TlsaRecord;

use super::roots::{AUTH_LEVEL, Files, Roots, name_rules};
use super::settings::{Strength, TlsSettings};
use super::verdict::{self, TlsFacts};
use super::{TlsStream, WebTls, dane};

/// What is going to be asked of the certificate, and so what the handshake may offer. Whether it is fulfilled is for the policies to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand<'a> {
    /// Nothing. Any TLS is better than none: old versions and small keys are taken (RFC 7435 §3), modern servers still land on TLS 1.3.
    Opportunistic,
    /// A chain to a trusted root, and the host's name: an enforced MTA-STS policy, REQUIRETLS, a local minimum. TLS 1.2 at least.
    Pkix,
    /// A match with one of these usable records. TLS 1.2 at least.
    Dane {
        /// SNI, and the first name a certificate may carry.
        base: &'a Domain,
        /// The others.
        names: &'a [Domain],
        records: &'a [TlsaRecord],
    },
}

/// Whom the certificate has to name for PKIX (RFC 6125 §1.8: the reference identity). A name is sent as SNI as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// Nothing is asked for, and so nothing can be proven.
    None,
    Name(&'a Domain),
    /// An iPAddress among its alternative names.
    Address(IpAddr),
}

impl<'a> From<Option<&'a Domain>> for Reference<'a> {
    fn from(host: Option<&'a Domain>) -> Reference<'a> {
        host.map_or(Reference::None, Reference::Name)
    }
}

/// The handshake failed; the reason as the library gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeError {
    pub text: String,
    /// The fault is ours (no memory, a context that cannot be made), not the peer's.
    pub local: bool,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Contexts made once and shared by all sessions of a target, one for each class of demands.
#[derive(Clone)]
pub struct ClientTls(Arc<Contexts>);

struct Contexts {
    opportunistic: SslContext,
    pkix: SslContext,
    /// It has no roots: the records alone say whom to believe.
    dane: SslContext,
    roots: Roots,
    web: WebTls,
    has_identity: bool,
}

impl ClientTls {
    /// `roots`: PEM files in place of the system's store. Reads files: call it at start.
    pub fn new(roots: &[&Path]) -> Result<ClientTls, String> {
        let roots: Vec<PathBuf> = roots.iter().map(|file| file.to_path_buf()).collect();
        ClientTls::with(&TlsSettings { roots, ..TlsSettings::default() })
    }

    /// Reads the files that the settings name: call it at start. The error says which file, or what of the settings cannot be had.
    pub fn with(settings: &TlsSettings) -> Result<ClientTls, String> {
        let root_files: Vec<&Path> = settings.roots.iter().map(PathBuf::as_path).collect();
        let files = Files::new(&root_files);
        let said = |e: ErrorStack| e.to_string();
        let mut opportunistic = any_tls(settings)?;
        files.load(&mut opportunistic)?;
        let opportunistic = opportunistic.build();
        let mut pkix = sound_tls(settings)?;
        files.load(&mut pkix)?;
        let mut dane = sound_tls(settings)?;
        dane::enable(&mut dane).map_err(said)?;
        let roots = Roots::of(&opportunistic);
        let (pkix, dane) = (pkix.build(), dane.build());
        let web = WebTls::new(&root_files)?;
        let has_identity = settings.identity.is_some();
        Ok(ClientTls(Arc::new(Contexts { opportunistic, pkix, dane, roots, web, has_identity })))
    }

    /// Servers that ask for a certificate are shown one.
    pub fn has_identity(&self) -> bool {
        self.0.has_identity
    }

    /// The same roots, for web servers.
    pub fn web(&self) -> &WebTls {
        &self.0.web
    }

    /// One handshake that accepts any certificate. `host` is the exchanger: the name that PKIX wants, and SNI unless DANE has its own.
    pub async fn handshake<'a, S>(
        &self,
        stream: S,
        host: impl Into<Reference<'a>>,
        demand: Demand<'_>,
    ) -> Result<(TlsStream<S>, TlsFacts), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = host.into();
        let ours = |e: ErrorStack| HandshakeError { text: e.to_string(), local: true };
        let (ssl, asked) = self.session(host, demand).map_err(ours)?;
        let mut tls = TlsStream::new(ssl, stream).map_err(ours)?;
        Pin::new(&mut tls)
            .connect()
            .await
            .map_err(|e| HandshakeError { text: reason(&e), local: false })?;
        let facts = self.facts(&tls, host, asked);
        Ok((tls, facts))
    }

    fn session(&self, host: Reference<'_>, demand: Demand<'_>) -> Result<(Ssl, Asked), ErrorStack> {
        let contexts = &self.0;
        match demand {
            Demand::Opportunistic => Ok((named(&contexts.opportunistic, host)?, Asked::Pkix)),
            Demand::Pkix => Ok((named(&contexts.pkix, host)?, Asked::Pkix)),
            Demand::Dane { base, names, records } => {
                let mut ssl = Ssl::new(&contexts.dane)?;
                match dane::prepare(&mut ssl, base, names, records)? {
                    // Without any record the engine would have nothing to say, and something else has to be found out.
                    0 => Ok((named(&contexts.pkix, host)?, Asked::DaneInVain)),
                    _ => Ok((ssl, Asked::Dane)),
                }
            }
        }
    }

    fn facts<S>(&self, tls: &TlsStream<S>, host: Reference<'_>, asked: Asked) -> TlsFacts {
        let ssl = tls.ssl();
        let pkix = match (host, asked) {
            // RFC 8996 §2 and §3: TLS below 1.2 keeps nobody out who is in the middle.
            _ if !matches!(ssl.version2(), Some(SslVersion::TLS1_2 | SslVersion::TLS1_3)) => {
                Err(verdict::other(&format!("{} is too old to prove anything", ssl.version_str())))
            }
            (Reference::None, _) => Err(verdict::other("an address has no name to prove")),
            (_, Asked::Pkix | Asked::DaneInVain) => verdict::of_handshake(ssl),
            (Reference::Name(host), Asked::Dane) => self.0.roots.judge(ssl, host),
            (Reference::Address(_), Asked::Dane) => Err(verdict::other("records have no address")),
        };
        let dane = match asked {
            Asked::Pkix => DaneVerdict::NotAsked,
            Asked::DaneInVain => DaneVerdict::NoneUsable,
            Asked::Dane => by_dane(verdict::of_handshake(ssl), || dane::matched(ssl)),
        };
        TlsFacts::new(ssl, pkix, dane)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// Whether the library can read the certificate or key that a record without digest consists of. That it consists of nothing else is known
/// from the record's usability.
pub fn decodes(record: &TlsaRecord) -> bool {
    let decodes = match record.is_of_certificate() {
        true => {
            X509::from_der(&record.data).and_then(|certificate| certificate.public_key()).is_ok()
        }
        false => PKey::public_key_from_der(&record.data).is_ok(),
    };
    drop(ErrorStack::get());
    decodes
}

/// What the verdict of the handshake is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Pkix,
    Dane,
    DaneInVain,
}

fn by_dane(
    verdict: Result<(), Mistrust>,
    matched: impl FnOnce() -> Option<posthaste_mail::certificate::DaneMatch>,
) -> DaneVerdict {
    match verdict {
        Err(why) => DaneVerdict::Refused(why),
        Ok(()) => match matched() {
            Some(found) => DaneVerdict::Matched(found),
            None => DaneVerdict::Refused(verdict::other("the library does not say what matched")),
        },
    }
}

fn named(context: &SslContext, host: Reference<'_>) -> Result<Ssl, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    match host {
        Reference::None => {}
        Reference::Name(host) => {
            // RFC 8461 §7.1: SNI is the name of the exchanger; addresses have none (RFC 6066 §3).
            ssl.set_hostname(host.ascii())?;
            let param = ssl.param_mut();
            param.set_auth_level(AUTH_LEVEL);
            param.set_hostflags(name_rules());
            param.set_host(host.ascii())?;
        }
        Reference::Address(address) => {
            let param = ssl.param_mut();
            param.set_auth_level(AUTH_LEVEL);
            param.set_ip(address)?;
        }
    }
    Ok(ssl)
}

fn any_tls(settings: &TlsSettings) -> Result<SslContextBuilder, String> {
    let mut builder = base().map_err(|e| e.to_string())?;
    settings.apply(&mut builder, Strength::Any)?;
    // Servers without RFC 5746 exist; there is nothing to renegotiate here.
    builder.set_options(SslOptions::from_bits_retain(0x4));
    Ok(builder)
}

fn sound_tls(settings: &TlsSettings) -> Result<SslContextBuilder, String> {
    let mut builder = base().map_err(|e| e.to_string())?;
    settings.apply(&mut builder, Strength::Sound)?;
    Ok(builder)
}

/// RFC 7672 §3.1.1 and plain sense: every session is judged by its own handshake, so none is resumed.
fn base() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    Ok(builder)
}

fn reason(error: &openssl::ssl::Error) -> String {
    let library =
        error.ssl_error().and_then(|stack| stack.errors().first().and_then(|e| e.reason()));
    match (library, error.io_error()) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(io)) => io.to_string(),
        (None, None) => "connection closed during the handshake".to_string(),
    }
}

#[cfg(test)]
mod tests;
