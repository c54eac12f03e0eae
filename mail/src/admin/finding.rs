//! What a probe finds, piece by piece. Members are only ever added.

use serde::{Deserialize, Serialize};

use crate::level::TlsLevel;
use crate::outcome::{Failure, Remote, SessionFacts};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Which hosts the domain names. Of an address literal there is none.
    Exchangers(ExchangersLine),
    /// The addresses of one of them.
    Host(HostLine),
    /// What the policies demand of sessions with it, if any is configured.
    Policies(PolicyLine),
    /// What happened at one address.
    Contact(ContactLine),
    /// What would become of a delivery now. Told once, as soon as it is known; what follows was not needed for it.
    Verdict(VerdictLine),
    /// The probe ended before its end.
    Stopped { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangersLine {
    /// In A-labels.
    pub domain: String,
    /// The name that has the records, when the domain is an alias of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
    /// A resolver whose word counts says that the answer is signed and valid.
    pub authentic: bool,
    /// There is no MX record, and the domain is its own exchanger (RFC 5321 §5.1).
    pub implicit: bool,
    /// We are in the list, by name: the hosts are those before us.
    pub ourselves: bool,
    /// In the order of trial.
    pub hosts: Vec<PreferenceLine>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferenceLine {
    pub preference: u16,
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLine {
    pub preference: u16,
    pub host: String,
    /// The name that has the addresses, when the host is an alias of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
    /// In the order of trial.
    pub addresses: Vec<AddressLine>,
    /// Why there are none, or not those of one family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressLine {
    pub address: String,
    /// `IPv4`, `IPv6`.
    pub family: String,
    pub authentic: bool,
    pub standing: AddressStanding,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLine {
    pub host: String,
    /// What each of them says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// `none`, `encrypted`, `authenticated`: the TLS level that a session needs.
    pub tls_level: TlsLevel,
    /// And who demands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demanded_by: Option<String>,
    /// Where the TLSA records are that decide about the certificate, and they themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlsa_base: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tlsa: Vec<String>,
    /// Why no session may be made at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressStanding {
    Usable,
    /// Loopback, or one of our own: neither this host nor any that is not better may be tried.
    Ours,
    /// `local_ip` has no address of its family.
    OtherFamily,
    /// It took no connection from a delivery lately: all others are tried first.
    Resting,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactLine {
    pub host: String,
    pub address: String,
    /// A delivery would have come here; else it was only looked at.
    pub in_attempt: bool,
    /// Why there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionView>,
}

/// A session that could have carried mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    /// The server's first line.
    pub greeting: String,
    /// What it calls itself in its answer to EHLO or HELO.
    pub name: String,
    /// Those of its extensions that a delivery knows; of the last EHLO, behind STARTTLS if there was one.
    pub extensions: Vec<String>,
    pub facts: SessionFacts,
    /// In the clear, because TLS had failed.
    pub plaintext_fallback: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictLine {
    pub end: VerdictEnd,
    /// Where the message would be offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<SessionFacts>,
    /// What the attempt would end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictEnd {
    /// There is a server to offer the message to; what it says to MAIL and RCPT nobody knows.
    Session,
    Deferred,
    Failed,
    /// A fault of our own: no attempt would be made.
    Postponed,
}
