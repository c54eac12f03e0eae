//! What the reply to EHLO or LHLO announces.

use super::auth::Mechanism;
use super::settings::{Settings, Tls};

/// The keyword lines, in the order they are sent. `tls` is the state of the session, not of the listener.
///
/// BINARYMIME is not among them: content goes on by DATA to servers without CHUNKING, which would have to convert it.
pub(super) fn announced(settings: &Settings, tls: Tls) -> Vec<String> {
    let mut lines: Vec<String> = vec![
        "PIPELINING".into(),          // RFC 2920
        "8BITMIME".into(),            // RFC 6152
        "ENHANCEDSTATUSCODES".into(), // RFC 2034
        "CHUNKING".into(),            // RFC 3030
    ];
    if settings.dsn {
        lines.push("DSN".into()); // RFC 3461
    }
    // RFC 3207 §4.2: not announced within TLS.
    if tls == Tls::Offered {
        lines.push("STARTTLS".into());
    }
    if auth_open(settings, tls) {
        // RFC 4954 §3: the mechanisms are parameters of the keyword.
        let names: Vec<&str> = settings.mechanisms.iter().map(|m| Mechanism::name(*m)).collect();
        lines.push(format!("AUTH {}", names.join(" ")));
    }
    lines.push("SMTPUTF8".into()); // RFC 6531
    if requiretls_open(settings, tls) {
        lines.push("REQUIRETLS".into());
    }
    match settings.max_message_size {
        Some(octets) => lines.push(format!("SIZE {octets}")), // RFC 1870 §4
        None => lines.push("SIZE".into()),
    }
    lines.push(format!("LIMITS RCPTMAX={}", settings.max_recipients)); // RFC 9422 §4
    lines
}

/// Whether AUTH may be used now.
pub(super) fn auth_open(settings: &Settings, tls: Tls) -> bool {
    let safe = tls == Tls::Active || !settings.auth_needs_tls;
    safe && !settings.mechanisms.is_empty()
}

/// RFC 8689 §2: REQUIRETLS is announced and taken only within TLS.
pub(super) fn requiretls_open(settings: &Settings, tls: Tls) -> bool {
    settings.requiretls && tls == Tls::Active
}

#[cfg(test)]
mod tests {
    use super::super::settings::Dialect;
    use super::*;
    use crate::address::Domain;

    fn line(change: impl FnOnce(&mut Settings), tls: Tls) -> String {
        let hostname = Domain::parse("mx.example.org").unwrap();
        let mut settings = Settings::new(Dialect::Smtp, hostname);
        change(&mut settings);
        announced(&settings, tls).join(",")
    }

    const ALWAYS: &str = "PIPELINING,8BITMIME,ENHANCEDSTATUSCODES,CHUNKING";
    const TAIL: &str = "SIZE 33554432,LIMITS RCPTMAX=20000";

    #[test]
    fn keywords_in_their_order() {
        assert_eq!(line(|_| {}, Tls::Absent), format!("{ALWAYS},DSN,SMTPUTF8,{TAIL}"));
        assert_eq!(line(|_| {}, Tls::Offered), format!("{ALWAYS},DSN,STARTTLS,SMTPUTF8,{TAIL}"));
        assert_eq!(line(|_| {}, Tls::Active), format!("{ALWAYS},DSN,SMTPUTF8,REQUIRETLS,{TAIL}"));
        assert_eq!(line(|s| s.dsn = false, Tls::Absent), format!("{ALWAYS},SMTPUTF8,{TAIL}"));
        assert!(line(|s| s.max_message_size = None, Tls::Absent).contains(",SIZE,LIMITS"));
    }

    #[test]
    fn auth_waits_for_tls_unless_told_otherwise() {
        let both = |s: &mut Settings| s.mechanisms = vec![Mechanism::Plain, Mechanism::Login];
        assert!(!line(both, Tls::Offered).contains("AUTH"));
        assert!(line(both, Tls::Active).contains(",DSN,AUTH PLAIN LOGIN,SMTPUTF8"));
        let insecure = |s: &mut Settings| {
            s.mechanisms = vec![Mechanism::Plain];
            s.auth_needs_tls = false;
        };
        assert!(line(insecure, Tls::Offered).contains(",STARTTLS,AUTH PLAIN,SMTPUTF8"));
    }
}
