//! What an endpoint offers and allows.

use crate::address::Domain;

use super::auth::Mechanism;

/// Which protocol the listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Smtp,
    /// SMTP from our own users (RFC 6409).
    Submission,
    Lmtp,
}

/// How the session stands to TLS when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// No TLS on this listener.
    Absent,
    /// STARTTLS is offered (RFC 3207).
    Offered,
    /// The connection is TLS from its first octet (RFC 8314 §3), or has become so.
    Active,
}

/// What the session demands about authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Whoever authenticates may, nobody must.
    Optional,
    /// MAIL is refused before (RFC 4954 §6, reply 530).
    Required,
}

/// The settings of one endpoint, as far as the protocol is concerned.
#[derive(Clone, Debug)]
pub struct Settings {
    pub dialect: Dialect,
    /// `hostname`: the name in the greeting.
    pub hostname: Domain,
    pub tls: Tls,
    /// `max_message_size`, default 32M: octets of a message, header included; `None` is no limit.
    pub max_message_size: Option<u64>,
    /// `max_recipients`, default 20000: recipients of one transaction.
    pub max_recipients: u32,
    /// `smtp_max_line_length`, default 4000: octets of one line of content, CRLF not counted; `None` is no limit.
    pub max_line_length: Option<u64>,
    /// `auth`, `sasl_login`: the mechanisms offered, in this order; none switches AUTH off.
    pub mechanisms: Vec<Mechanism>,
    pub authentication: Authentication,
    /// `insecure_auth no` (the default): AUTH is neither announced nor taken before TLS.
    pub auth_needs_tls: bool,
    /// Announce DSN (RFC 3461) and take its parameters.
    pub dsn: bool,
    /// Announce REQUIRETLS (RFC 8689) once TLS is active.
    pub requiretls: bool,
}

impl Settings {
    /// The defaults of the directives: no TLS, no authentication, DSN and REQUIRETLS offered.
    pub fn new(dialect: Dialect, hostname: Domain) -> Settings {
        Settings {
            dialect,
            hostname,
            tls: Tls::Absent,
            max_message_size: Some(32 << 20),
            max_recipients: 20_000,
            max_line_length: Some(4000),
            mechanisms: Vec::new(),
            authentication: Authentication::Optional,
            auth_needs_tls: true,
            dsn: true,
            requiretls: true,
        }
    }
}
