//! What became of a recipient in one attempt, and the one place that maps causes to consequences.
//!
//! A *cause* says what happened; its *consequence* (temporary or permanent, which code) is decided here and nowhere else, by the
//! catalogue below. Unknown means temporary. A fault of our own is temporary and never a reason to bounce.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::level::{MxLevel, TlsLevel};
use crate::status::Enhanced;

/// Where in a session something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Connect,
    Greeting,
    /// EHLO, or HELO after it.
    Ehlo,
    /// The same of LMTP.
    Lhlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// While the content was being sent.
    Content,
    /// After the final dot.
    Dot,
    Rset,
    Quit,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "connecting",
            Stage::Greeting => "greeting",
            Stage::Ehlo => "EHLO",
            Stage::Lhlo => "LHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Auth => "AUTH",
            Stage::Mail => "MAIL",
            Stage::Rcpt => "RCPT",
            Stage::Data => "DATA",
            Stage::Content => "message content",
            Stage::Dot => "end of data",
            Stage::Rset => "RSET",
            Stage::Quit => "QUIT",
        })
    }
}

impl Stage {
    /// What a reply of this stage answers, as the sender of a message may have to tell somebody else.
    pub fn command(self) -> &'static str {
        match self {
            Stage::Connect | Stage::Greeting => "the connection",
            Stage::Mail => "MAIL FROM",
            Stage::Rcpt => "RCPT TO",
            Stage::Content => "message content",
            Stage::Dot => "end of DATA",
            Stage::Ehlo => "EHLO",
            Stage::Lhlo => "LHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Auth => "AUTH",
            Stage::Data => "DATA",
            Stage::Rset => "RSET",
            Stage::Quit => "QUIT",
        }
    }
}

/// What happened. Stored with waiting recipients, counted and shown to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The peer answered with a 4yz or 5yz reply at this stage.
    Refused(Stage),
    /// The peer broke the protocol at this stage.
    Protocol(Stage),
    /// The connection ended at this stage.
    Lost(Stage),
    /// The peer was silent for too long at this stage.
    TimedOut(Stage),
    /// STARTTLS was agreed, and no TLS came of it.
    HandshakeFailed,
    /// Data in the clear between the agreement to STARTTLS and the handshake: somebody else speaks on this line.
    Injected,
    /// No address of any host could be connected to.
    Unreachable,
    /// The final dot was sent and no reply came: the message may have been taken.
    UnknownAfterDot,
    DnsFailed,
    AddressLookupFailed,
    /// The domain, or a mail exchanger, is an alias that leads to no other name.
    AliasLoop,
    NoSuchDomain,
    NullMx,
    NoAddress,
    /// The mail exchanger is ourselves, or the message has been through too many hops.
    Loop,
    BadSender,
    BadRecipient,
    UnqualifiedRecipient,
    AddressLiteral,
    Quarantined,
    SenderNeedsSmtputf8,
    RecipientNeedsSmtputf8,
    TooLarge,
    NeedsEightBitMime,
    /// A policy wants TLS and the session has none.
    TlsMissing,
    /// A policy wants a proven certificate and it is not.
    TlsUnproven,
    MxNotAllowed,
    MxLevelTooLow,
    TlsLevelTooLow,
    RequireTlsImpossible,
    PolicyUnavailable,
    /// TLSA records could not be looked up (RFC 7672 §2.1.1).
    TlsaFailed,
    /// We are to log in, and the server does not offer AUTH, or none of the mechanisms that would do.
    AuthMissing,
    /// The server does not believe that we are who we say.
    CredentialsRefused,
    /// Credentials must not go over this session: it is not encrypted, or nobody knows to whom.
    CredentialsUnsafe,
    /// The client's credentials are to be used, and there are none.
    CredentialsMissing,
    /// Our own credentials were refused: nothing goes this way until an operator has put them right, and that is no attempt.
    RouteHeld,
    /// The `bounce` pipeline or a routing rule refused.
    RejectedByRule,
    /// A limit or a slot of our own: no attempt was made.
    OwnLimit,
    Suspended,
    /// The target is of a kind that cannot take this now.
    TargetUnavailable,
    /// Our own spool, disk, memory or code.
    Internal,
    /// This machine lacks what an attempt needs: descriptors, memory, a reachable name server. No attempt was made.
    OwnResources,
    /// The daemon stopped while the attempt ran.
    Interrupted,
    GaveUp,
    /// The operator ended it.
    Operator,
}

/// What follows from a cause for the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Temporary,
    Permanent,
}

impl Cause {
    /// Code, enhanced code and class when the cause did not bring a reply of its own.
    pub fn consequence(self) -> (u16, Enhanced, Class) {
        use Class::{Permanent, Temporary};
        match self {
            // Without a reply in hand these are line faults.
            Cause::Refused(_) => (451, Enhanced(4, 0, 0), Temporary),
            Cause::Protocol(_) => (451, Enhanced(4, 5, 0), Temporary),
            Cause::Lost(_) | Cause::TimedOut(_) => (451, Enhanced(4, 4, 2), Temporary),
            // RFC 3463 §3.8: cryptographic failure.
            Cause::HandshakeFailed => (451, Enhanced(4, 7, 5), Temporary),
            Cause::Injected => (451, Enhanced(4, 5, 0), Temporary),
            Cause::Unreachable => (451, Enhanced(4, 4, 1), Temporary),
            Cause::UnknownAfterDot => (451, Enhanced(4, 4, 2), Temporary),
            Cause::DnsFailed => (451, Enhanced(4, 4, 3), Temporary),
            Cause::AddressLookupFailed | Cause::AliasLoop => (451, Enhanced(4, 4, 4), Temporary),
            Cause::NoSuchDomain => (550, Enhanced(5, 1, 2), Permanent),
            // RFC 7505 §4: 556 5.1.10.
            Cause::NullMx => (556, Enhanced(5, 1, 10), Permanent),
            Cause::NoAddress => (550, Enhanced(5, 4, 4), Permanent),
            Cause::Loop => (554, Enhanced(5, 4, 6), Permanent),
            Cause::BadSender => (501, Enhanced(5, 1, 7), Permanent),
            Cause::BadRecipient => (501, Enhanced(5, 1, 3), Permanent),
            Cause::UnqualifiedRecipient => (550, Enhanced(5, 1, 1), Permanent),
            Cause::AddressLiteral => (550, Enhanced(5, 1, 2), Permanent),
            Cause::Quarantined => (550, Enhanced(5, 7, 0), Permanent),
            // RFC 6531 §3.5.
            Cause::SenderNeedsSmtputf8 => (550, Enhanced(5, 6, 7), Permanent),
            Cause::RecipientNeedsSmtputf8 => (553, Enhanced(5, 6, 7), Permanent),
            Cause::TooLarge => (552, Enhanced(5, 3, 4), Permanent),
            Cause::NeedsEightBitMime => (554, Enhanced(5, 6, 3), Permanent),
            // RFC 7672 §2.2 and RFC 8461 §5.1: what can be repaired is delayed, not bounced.
            Cause::TlsMissing => (451, Enhanced(4, 7, 4), Temporary),
            Cause::TlsUnproven | Cause::TlsaFailed => (451, Enhanced(4, 7, 5), Temporary),
            Cause::MxNotAllowed => (451, Enhanced(4, 7, 0), Temporary),
            Cause::MxLevelTooLow => (451, Enhanced(4, 7, 0), Temporary),
            Cause::TlsLevelTooLow => (451, Enhanced(4, 7, 1), Temporary),
            // RFC 8689 §4.2.1.
            Cause::RequireTlsImpossible => (550, Enhanced(5, 7, 30), Permanent),
            Cause::PolicyUnavailable => (451, Enhanced(4, 4, 3), Temporary),
            Cause::RouteHeld => (451, Enhanced(4, 7, 8), Temporary),
            Cause::AuthMissing | Cause::CredentialsMissing => (451, Enhanced(4, 7, 0), Temporary),
            // RFC 4954 §6 has 5.7.8 and 5.7.11: what an operator can repair sends no mail back.
            Cause::CredentialsRefused => (451, Enhanced(4, 7, 8), Temporary),
            Cause::CredentialsUnsafe => (451, Enhanced(4, 7, 11), Temporary),
            Cause::RejectedByRule => (554, Enhanced(5, 7, 0), Permanent),
            Cause::OwnLimit => (451, Enhanced(4, 4, 5), Temporary),
            Cause::Suspended => (451, Enhanced(4, 3, 2), Temporary),
            Cause::TargetUnavailable => (451, Enhanced(4, 3, 0), Temporary),
            Cause::Internal | Cause::OwnResources => (451, Enhanced(4, 3, 0), Temporary),
            Cause::Interrupted => (451, Enhanced(4, 3, 2), Temporary),
            Cause::GaveUp => (451, Enhanced(4, 4, 7), Temporary),
            Cause::Operator => (554, Enhanced(5, 7, 0), Permanent),
        }
    }

    /// Where in a session it happened, if it was in one.
    pub fn stage(self) -> Option<Stage> {
        match self {
            Cause::Refused(stage)
            | Cause::Protocol(stage)
            | Cause::Lost(stage)
            | Cause::TimedOut(stage) => Some(stage),
            Cause::HandshakeFailed | Cause::Injected => Some(Stage::StartTls),
            Cause::AuthMissing | Cause::CredentialsRefused => Some(Stage::Auth),
            Cause::UnknownAfterDot => Some(Stage::Dot),
            _ => None,
        }
    }

    /// A short constant word for listings and counters.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Refused(_) => "refused",
            Cause::Protocol(_) => "protocol",
            Cause::Lost(_) => "connection-lost",
            Cause::TimedOut(_) => "timeout",
            Cause::HandshakeFailed => "tls-handshake",
            Cause::Injected => "injected",
            Cause::Unreachable => "unreachable",
            Cause::UnknownAfterDot => "unknown-after-dot",
            Cause::DnsFailed => "dns",
            Cause::AddressLookupFailed => "address-lookup",
            Cause::AliasLoop => "alias-loop",
            Cause::NoSuchDomain => "no-such-domain",
            Cause::NullMx => "null-mx",
            Cause::NoAddress => "no-address",
            Cause::Loop => "loop",
            Cause::BadSender => "bad-sender",
            Cause::BadRecipient => "bad-recipient",
            Cause::UnqualifiedRecipient => "unqualified-recipient",
            Cause::AddressLiteral => "address-literal",
            Cause::Quarantined => "quarantined",
            Cause::SenderNeedsSmtputf8 => "sender-needs-smtputf8",
            Cause::RecipientNeedsSmtputf8 => "recipient-needs-smtputf8",
            Cause::TooLarge => "too-large",
            Cause::NeedsEightBitMime => "needs-8bitmime",
            Cause::TlsMissing => "tls-missing",
            Cause::TlsUnproven => "tls-unproven",
            Cause::MxNotAllowed => "mx-not-allowed",
            Cause::MxLevelTooLow => "mx-level",
            Cause::TlsLevelTooLow => "tls-level",
            Cause::RequireTlsImpossible => "requiretls",
            Cause::PolicyUnavailable => "policy-unavailable",
            Cause::TlsaFailed => "tlsa-failed",
            Cause::AuthMissing => "auth-missing",
            Cause::CredentialsRefused => "credentials-refused",
            Cause::CredentialsUnsafe => "credentials-unsafe",
            Cause::CredentialsMissing => "credentials-missing",
            Cause::RouteHeld => "route-held",
            Cause::RejectedByRule => "rejected-by-rule",
            Cause::OwnLimit => "own-limit",
            Cause::Suspended => "suspended",
            Cause::TargetUnavailable => "target-unavailable",
            Cause::Internal => "internal",
            Cause::OwnResources => "own-resources",
            Cause::Interrupted => "interrupted",
            Cause::GaveUp => "gave-up",
            Cause::Operator => "operator",
        }
    }
}

/// The host at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// The candidate's name: MX host or configured endpoint.
    pub host: String,
    /// The address connected to, when a connection was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What a session was like. Logged and counted with every outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    pub mx_level: MxLevel,
    pub tls_level: TlsLevel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cipher: Option<String>,
    /// Why the certificate is not proven, or why the session is in the clear although the server offers TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_error: Option<String>,
    /// What each configured policy said of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<String>,
    #[serde(default)]
    pub reused: bool,
}

impl SessionFacts {
    /// In the clear, although the server offers TLS: it failed.
    pub fn is_fallback(&self) -> bool {
        self.tls_level == TlsLevel::None && self.tls_error.is_some()
    }
}

/// A failure with all that a notification, a log line and an operator need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub cause: Cause,
    pub code: u16,
    pub status: Enhanced,
    /// The server's own words, or ours when no server spoke. One line, no control characters.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
}

impl Failure {
    /// A failure without a reply: code and class come from the catalogue.
    pub fn new(cause: Cause, text: impl Into<String>) -> Failure {
        let (code, status, _) = cause.consequence();
        Failure { cause, code, status, text: one_line(&text.into()), remote: None }
    }

    /// A failure by a reply: code and text are the server's. A status whose class disagrees with the code is replaced.
    pub fn refused(stage: Stage, code: u16, status: Option<Enhanced>, text: &str) -> Failure {
        let status = status
            .filter(|s| u16::from(s.0) == code / 100)
            .unwrap_or_else(|| Enhanced::of_class(code));
        Failure { cause: Cause::Refused(stage), code, status, text: one_line(text), remote: None }
    }

    #[must_use]
    pub fn at(mut self, remote: Remote) -> Failure {
        self.remote = Some(remote);
        self
    }

    pub fn class(&self) -> Class {
        if self.code >= 500 { Class::Permanent } else { Class::Temporary }
    }

    /// Our own limits, stops and wants are no attempt: nobody was asked.
    pub fn is_no_attempt(&self) -> bool {
        matches!(
            self.cause,
            Cause::OwnLimit
                | Cause::Suspended
                | Cause::Interrupted
                | Cause::OwnResources
                | Cause::RouteHeld
        )
    }

    /// What comes behind the name of the host: what we found out ourselves is not put into its mouth.
    pub fn said(&self) -> &'static str {
        if matches!(self.cause, Cause::Refused(_)) { " said" } else { "" }
    }

    /// The failure as the outcome of an attempt.
    pub fn outcome(self) -> Outcome {
        match (self.cause, self.class()) {
            (Cause::UnknownAfterDot, _) => Outcome::Unknown(self),
            _ if self.is_no_attempt() => Outcome::Postponed(self),
            (_, Class::Temporary) => Outcome::Deferred(self),
            (_, Class::Permanent) => Outcome::Failed(self),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(remote) = &self.remote {
            write!(f, "{}{}: ", remote.host, self.said())?;
        }
        write!(f, "{} {} {}", self.code, self.status, self.text)?;
        match self.cause {
            Cause::Refused(stage) => write!(f, " (in reply to {})", stage.command()),
            _ => Ok(()),
        }
    }
}

/// Text of a peer made fit for one line: controls become spaces, at most 1000 characters (`remote-delivery` rules for reports).
pub fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .take(1000)
        .collect();
    line.truncate(line.trim_end().len());
    line
}

/// A delivery: what the server said to the final dot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Enhanced>,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
    /// The server offered DSN, so the duty to report success went with the message (RFC 3461 §5.2.1).
    #[serde(default)]
    pub dsn_passed_on: bool,
    #[serde(default)]
    pub reach: Reach,
}

/// How far a delivery brought the message. The target says it: whoever asked to hear of success is told the one or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// To the next server (RFC 3461 §5.2.2: `relayed`).
    #[default]
    Server,
    /// To its end: nobody else carries it further (RFC 3461 §5.2.3: `delivered`).
    Mailbox,
}

/// The end of one attempt for one recipient.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Delivered(Receipt),
    /// Temporary: tried again by the plan.
    Deferred(Failure),
    /// Permanent: never tried again.
    Failed(Failure),
    /// No attempt was made (our limit, a suspended target): not counted.
    Postponed(Failure),
    /// The dot was sent and no reply came: counted, and waits long.
    Unknown(Failure),
}

impl Outcome {
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Delivered(_) => None,
            Outcome::Deferred(f)
            | Outcome::Failed(f)
            | Outcome::Postponed(f)
            | Outcome::Unknown(f) => Some(f),
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Delivered(_) => "delivered",
            Outcome::Deferred(_) => "deferred",
            Outcome::Failed(_) => "failed",
            Outcome::Postponed(_) => "postponed",
            Outcome::Unknown(_) => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
