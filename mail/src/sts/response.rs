//! What a policy host sends, before it is read as a policy (RFC 8461 §3.3), and all that can go wrong until there is one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::policy::PolicyError;
use crate::outcome::one_line;
use crate::time::Timestamp;

/// The path of every policy.
pub const PATH: &str = "/.well-known/mta-sts.txt";
/// RFC 8461 §3.3 suggests this bound.
pub const LONGEST: usize = 64 * 1024;

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The policy host has no address, or none that may be asked.
    NoAddress(String),
    /// Its address could not be looked up.
    Dns(String),
    /// No connection.
    Connect(String),
    /// No TLS, for another reason than the certificate.
    Handshake(String),
    /// The certificate leads to no trusted root, is not valid now, or does not carry the name.
    Certificate(String),
    /// No answer by HTTP, or one that breaks off.
    Http(String),
    /// RFC 8461 §3.3: only 200 is a policy; redirects are not followed.
    Status(u16),
    MediaType(String),
    TooLong,
    TimedOut,
    /// As if it had: other fetches have waited for its addresses in vain, so they had to speak at once, or some of them, and did not. What
    /// was met there, and when they have their time again.
    Silent {
        told: String,
        until: Timestamp,
    },
    /// It was fetched, and is none.
    Policy(PolicyError),
    /// A fault of our own, which says nothing about the domain.
    Ours(String),
}

/// RFC 8460 §4.3.2.2: what a report calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultType {
    StsPolicyFetchError,
    StsPolicyInvalid,
    StsWebpkiInvalid,
}

impl FetchError {
    /// `None` for what no report tells: it is ours.
    pub fn result_type(&self) -> Option<ResultType> {
        match self {
            FetchError::NoAddress(_)
            | FetchError::Dns(_)
            | FetchError::Connect(_)
            | FetchError::Handshake(_)
            | FetchError::Http(_)
            | FetchError::Status(_)
            | FetchError::TooLong
            | FetchError::TimedOut
            | FetchError::Silent { .. } => Some(ResultType::StsPolicyFetchError),
            FetchError::Certificate(_) => Some(ResultType::StsWebpkiInvalid),
            FetchError::MediaType(_) | FetchError::Policy(_) => Some(ResultType::StsPolicyInvalid),
            FetchError::Ours(_) => None,
        }
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResultType::StsPolicyFetchError => "sts-policy-fetch-error",
            ResultType::StsPolicyInvalid => "sts-policy-invalid",
            ResultType::StsWebpkiInvalid => "sts-webpki-invalid",
        })
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::NoAddress(why) => write!(f, "policy host: {why}"),
            FetchError::Dns(why) => write!(f, "looking up the policy host: {why}"),
            FetchError::Connect(why) => write!(f, "connecting to the policy host: {why}"),
            FetchError::Handshake(why) => write!(f, "TLS with the policy host: {why}"),
            FetchError::Certificate(why) => write!(f, "certificate of the policy host: {why}"),
            FetchError::Http(why) => write!(f, "HTTP with the policy host: {why}"),
            FetchError::Status(code) => write!(f, "policy host answered with status {code}"),
            FetchError::MediaType(what) => write!(f, "policy is {what} and not text/plain"),
            FetchError::TooLong => write!(f, "policy is longer than {} KiB", LONGEST / 1024),
            FetchError::TimedOut => f.write_str("policy host took too long"),
            FetchError::Silent { told, .. } => {
                write!(f, "policy host is silent, as other fetches have found out: {told}")
            }
            FetchError::Policy(why) => write!(f, "reading the policy: {why}"),
            FetchError::Ours(why) => write!(f, "fetching the policy: {why}"),
        }
    }
}

impl std::error::Error for FetchError {}

/// May the body be read as a policy? `media_types` are the values of all Content-Type fields.
pub fn judge_head(status: u16, media_types: &[&[u8]]) -> Result<(), FetchError> {
    // RFC 8461 §3.3: only 200; "HTTP 3xx redirects MUST NOT be followed".
    if status != 200 {
        return Err(FetchError::Status(status));
    }
    // RFC 8461 §3.3: senders should check that it is text/plain, against hosts that serve what their users send them.
    match media_types {
        [one] if is_plain_text(one) => Ok(()),
        [one] => Err(FetchError::MediaType(shown(one))),
        [] => Err(FetchError::MediaType("of no type".to_string())),
        [_, ..] => Err(FetchError::MediaType("of several types".to_string())),
    }
}

/// RFC 9110 §8.3.1: type and subtype without regard to case; parameters do not matter here.
fn is_plain_text(value: &[u8]) -> bool {
    let essence = value.split(|octet| *octet == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}

/// What a stranger wrote, short and in one line.
fn shown(value: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(value).chars().take(80).collect();
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, types: &[&str]) -> Result<(), FetchError> {
        let types: Vec<&[u8]> = types.iter().map(|text| text.as_bytes()).collect();
        judge_head(status, &types)
    }

    #[test]
    fn only_200_is_a_policy() {
        assert_eq!(head(200, &["text/plain"]), Ok(()));
        for status in [100, 201, 204, 206, 301, 302, 304, 307, 308, 404, 410, 500, 503] {
            assert_eq!(head(status, &["text/plain"]), Err(FetchError::Status(status)));
        }
    }

    #[test]
    fn only_plain_text_is_a_policy() {
        for good in ["TEXT/Plain", "text/plain; charset=utf-8", "text/plain;x", " text/plain ;"] {
            assert_eq!(head(200, &[good]), Ok(()), "{good}");
        }
        for bad in
            ["text/html", "text/plainer", "text/", "", "application/octet-stream", "text /plain"]
        {
            assert_eq!(head(200, &[bad]), Err(FetchError::MediaType(bad.to_string())));
        }
        assert!(head(200, &[]).is_err());
        assert!(head(200, &["text/plain", "text/html"]).is_err()); // whom should one believe?
    }

    #[test]
    fn every_failure_but_ours_is_reported_as_one_of_three() {
        let named = |error: FetchError| error.result_type().map(|kind| kind.to_string());
        let is = |error, name: &str| assert_eq!(named(error).as_deref(), Some(name));
        is(FetchError::Status(404), "sts-policy-fetch-error");
        is(FetchError::TimedOut, "sts-policy-fetch-error");
        let silent = FetchError::Silent { told: String::new(), until: Timestamp::ZERO };
        is(silent, "sts-policy-fetch-error");
        is(FetchError::Certificate("expired".into()), "sts-webpki-invalid");
        is(FetchError::Policy(PolicyError::Mode), "sts-policy-invalid");
        is(FetchError::MediaType("text/html".into()), "sts-policy-invalid");
        assert_eq!(named(FetchError::Ours("no descriptors".into())), None);
        let json = serde_json::to_value(ResultType::StsWebpkiInvalid).unwrap();
        assert_eq!(json, "sts-webpki-invalid");
    }

    #[test]
    fn strangers_do_not_write_our_log() {
        let error = head(200, &[&format!("a\r\nb{}", "x".repeat(1000))]).unwrap_err().to_string();
        assert!(!error.contains(['\r', '\n']) && error.len() < 200, "{error}");
    }
}
