//! The client side: opportunistic sessions to mail exchangers.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use openssl::x509::verify::X509CheckFlags;
use tokio::io::{AsyncRead, AsyncWrite};

use posthaste_mail::address::Domain;

use super::TlsStream;

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    pub version: String,
    pub cipher: String,
    /// The chain leads to a trusted root and the certificate names the host: `Ok`, or the reason why not.
    pub pkix: Result<(), String>,
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, ", self.version, self.cipher)?;
        match &self.pkix {
            Ok(()) => f.write_str("certificate proven"),
            Err(why) => write!(f, "certificate not proven: {why}"),
        }
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

/// Contexts made once and shared by all sessions of a target.
#[derive(Clone, Debug)]
pub struct ClientTls {
    opportunistic: Arc<SslContext>,
}

impl ClientTls {
    /// `roots`: PEM files in place of the system's store. Reads files: call it at start.
    pub fn new(roots: &[&Path]) -> Result<ClientTls, String> {
        let context = opportunistic(roots).map_err(|e| e.to_string())?;
        Ok(ClientTls { opportunistic: Arc::new(context) })
    }

    /// One handshake that accepts any certificate. `host` is sent as SNI and is the name the certificate has to carry to be proven.
    pub async fn handshake<S>(
        &self,
        stream: S,
        host: Option<&Domain>,
    ) -> Result<(TlsStream<S>, TlsFacts), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ours =
            |e: openssl::error::ErrorStack| HandshakeError { text: e.to_string(), local: true };
        let mut ssl = Ssl::new(&self.opportunistic).map_err(ours)?;
        if let Some(host) = host {
            // RFC 7672 §8.1, RFC 8461 §7.1: SNI is the name of the exchanger; addresses have none (RFC 6066 §3).
            ssl.set_hostname(host.ascii()).map_err(ours)?;
            let param = ssl.param_mut();
            // RFC 8461 §4.1: a DNS-ID, not the common name; RFC 6125 §6.4.3: a wildcard is a whole label.
            param.set_hostflags(
                X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT,
            );
            param.set_host(host.ascii()).map_err(ours)?;
        }
        let mut tls = TlsStream::new(ssl, stream).map_err(ours)?;
        Pin::new(&mut tls)
            .connect()
            .await
            .map_err(|e| HandshakeError { text: reason(&e), local: false })?;
        let facts = facts(&tls, host.is_some());
        Ok((tls, facts))
    }
}

/// Any TLS is better than none where nothing demands more: old versions and small keys are taken (RFC 7435 §3), modern servers still
/// land on TLS 1.3.
fn opportunistic(roots: &[&Path]) -> Result<SslContext, Box<dyn std::error::Error>> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_cipher_list("DEFAULT:@SECLEVEL=0")?;
    builder.set_security_level(0);
    builder.set_min_proto_version(Some(SslVersion::TLS1))?;
    // Servers without RFC 5746 exist; there is nothing to renegotiate here.
    builder.set_options(SslOptions::from_bits_retain(0x4));
    if roots.is_empty() {
        builder.set_default_verify_paths()?;
    }
    for file in roots {
        builder.set_ca_file(file).map_err(|e| format!("reading {}: {e}", file.display()))?;
    }
    Ok(builder.build())
}

fn facts<S>(tls: &TlsStream<S>, named: bool) -> TlsFacts {
    let ssl = tls.ssl();
    let verdict = ssl.verify_result();
    let pkix = if !named {
        Err("an address has no name to prove".to_string())
    } else if verdict == openssl::x509::X509VerifyResult::OK {
        Ok(())
    } else {
        Err(verdict.error_string().to_string())
    };
    TlsFacts {
        version: ssl.version_str().to_string(),
        cipher: ssl.current_cipher().map_or("", |c| c.name()).to_string(),
        pkix,
    }
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
