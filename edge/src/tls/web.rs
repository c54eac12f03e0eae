//! TLS to web servers: the certificate has to be proven, or there is no session.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_native_tls::{Protocol, TlsConnector, TlsStream};
use native_tls::Certificate;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncWrite};

use posthaste_mail::address::Domain;

pub type WebStream<S> = TlsStream<S>;

/// SSL_R_CERTIFICATE_VERIFY_FAILED (openssl/sslerr.h).
const VERIFY_FAILED: i32 = 134;

/// Why there is no session; the reason as the library gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebTlsError {
    /// It leads to no trusted root, is not valid now, or does not carry the name.
    Certificate(String),
    Handshake(String),
    /// A fault of ours.
    Ours(String),
}

impl fmt::Display for WebTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebTlsError::Certificate(why)
            | WebTlsError::Handshake(why)
            | WebTlsError::Ours(why) => f.write_str(why),
        }
    }
}

/// Whom we trust.
#[derive(Clone)]
pub struct WebTls {
    /// In place of the system's.
    roots: Vec<Certificate>,
}

impl WebTls {
    /// `roots`: PEM files in place of the system's store. Reads files: call it at start.
    pub fn new(roots: &[&Path]) -> Result<WebTls, String> {
        let mut all = Vec::new();
        for file in roots {
            let failed = |e: &dyn fmt::Display| format!("reading {}: {e}", file.display());
            let pem = std::fs::read(file).map_err(|e| failed(&e))?;
            let found = Certificate::stack_from_pem(&pem).map_err(|e| failed(&e))?;
            if found.is_empty() {
                return Err(failed(&"no certificate in it"));
            }
            all.extend(found);
        }
        Ok(WebTls { roots: all })
    }

    /// One handshake; `host` is sent as SNI and has to be in the certificate.
    pub async fn handshake<S>(&self, stream: S, host: &Domain) -> Result<WebStream<S>, WebTlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = native_tls::TlsConnector::builder();
        // RFC 8461 §3.3 wants TLS 1.2 or newer.
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        builder.disable_built_in_roots(!self.roots.is_empty());
        for root in &self.roots {
            builder.add_root_certificate(root.clone());
        }
        let (connector, name) = (TlsConnector::from(builder), host.ascii().to_string());
        let connecting = async move { connector.connect(name.as_str(), stream).await };
        let tls = begun_elsewhere(Box::pin(connecting)).await?;
        match carries(&tls, host) {
            Ok(true) => Ok(tls),
            Ok(false) => {
                let why = format!("{host} is none of its alternative names");
                Err(WebTlsError::Certificate(why))
            }
            Err(why) => Err(WebTlsError::Certificate(why)),
        }
    }
}

type Connecting<S> = Pin<Box<dyn Future<Output = Result<WebStream<S>, native_tls::Error>> + Send>>;

/// The library makes a connector for every handshake and reads the system's roots each time, which takes some 90 ms of the thread that
/// polls first: a thread that may block. After that the handshake goes on like any other.
async fn begun_elsewhere<S>(mut connecting: Connecting<S>) -> Result<WebStream<S>, WebTlsError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begin = tokio::task::spawn_blocking(move || {
        let first = connecting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        (connecting, first)
    });
    let end = match begin.await {
        Ok((_, Poll::Ready(end))) => end,
        Ok((connecting, Poll::Pending)) => connecting.await,
        Err(e) => return Err(WebTlsError::Ours(e.to_string())),
    };
    end.map_err(|e| cause(&e))
}

fn cause(error: &native_tls::Error) -> WebTlsError {
    let text = error.to_string();
    let stack = error.source().and_then(|source| source.downcast_ref::<ErrorStack>());
    let rejected =
        stack.is_some_and(|stack| stack.errors().iter().any(|e| e.reason_code() == VERIFY_FAILED));
    if rejected { WebTlsError::Certificate(text) } else { WebTlsError::Handshake(text) }
}

/// RFC 8461 §3.3: a DNS-ID, so the common name does not count, which the library takes when there are no alternative names. RFC 6125
/// §6.4.3: a wildcard is the whole of the leftmost label.
fn carries<S>(tls: &WebStream<S>, host: &Domain) -> Result<bool, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let leaf = tls.peer_certificate().map_err(|e| e.to_string())?;
    let der = leaf.ok_or("there is none")?.to_der().map_err(|e| e.to_string())?;
    let leaf = X509::from_der(&der).map_err(|e| e.to_string())?;
    let below = host.ascii().split_once('.').map(|(_, rest)| rest);
    let names = leaf.subject_alt_names();
    let carries = names.iter().flatten().filter_map(|name| name.dnsname()).any(|name| {
        match name.strip_prefix("*.") {
            Some(rest) => below.is_some_and(|below| below.eq_ignore_ascii_case(rest)),
            None => name.eq_ignore_ascii_case(host.ascii()),
        }
    });
    Ok(carries)
}
