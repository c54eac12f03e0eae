//! What a handshake showed, and what the certificate is worth.

use std::fmt;

use openssl::ssl::SslRef;
use openssl::x509::X509VerifyResult;

use posthaste_mail::certificate::{DaneVerdict, Mistrust, Reason};

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    pub version: String,
    pub cipher: String,
    /// The chain leads to a trusted root and the certificate names the host: `Ok`, or the reason why not.
    pub pkix: Result<(), String>,
    /// Of what kind that reason is.
    pub mistrust: Option<Reason>,
    pub dane: DaneVerdict,
}

impl TlsFacts {
    pub(super) fn new(ssl: &SslRef, pkix: Result<(), Mistrust>, dane: DaneVerdict) -> TlsFacts {
        TlsFacts {
            version: ssl.version_str().to_string(),
            cipher: ssl.current_cipher().map_or("", |c| c.name()).to_string(),
            mistrust: pkix.as_ref().err().map(|mistrust| mistrust.reason),
            pkix: pkix.map_err(|mistrust| mistrust.text),
            dane,
        }
    }
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, ", self.version, self.cipher)?;
        match &self.pkix {
            Ok(()) => f.write_str("certificate proven")?,
            Err(why) => write!(f, "certificate not proven: {why}")?,
        }
        match &self.dane {
            DaneVerdict::NotAsked => Ok(()),
            asked => write!(f, ", {asked}"),
        }
    }
}

/// The verdict of the handshake itself.
pub(super) fn of_handshake(ssl: &SslRef) -> Result<(), Mistrust> {
    // Without a certificate the library has nothing against it.
    if ssl.peer_certificate().is_none() {
        return Err(other("there is no certificate"));
    }
    of_result(ssl.verify_result())
}

pub(super) fn of_result(result: X509VerifyResult) -> Result<(), Mistrust> {
    // The numbers of X509_STORE_CTX_get_error(3), of which the crate names none but the first.
    let reason = match result.as_raw() {
        0 => return Ok(()),
        10 => Reason::Expired,
        62 => Reason::NameMismatch,
        // No issuer, a bad signature, self-signed, no issuer at hand, no CA.
        2 | 7 | 18 | 19 | 20 | 21 | 24 | 27 | 28 | 79 => Reason::NotTrusted,
        65 => Reason::NoRecordMatches,
        _ => Reason::Other,
    };
    Err(Mistrust { reason, text: result.error_string().to_string() })
}

pub(super) fn other(text: &str) -> Mistrust {
    Mistrust { reason: Reason::Other, text: text.to_string() }
}
