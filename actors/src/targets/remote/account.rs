//! One line of the log for each session and exchanger, whether it came to be used or not.

use std::net::IpAddr;

use slog::{Logger, debug, info};

use posthaste_mail::address::Domain;
use posthaste_mail::attempt::ports::Peer;
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::policy::tlsrpt::{FailureDetail, TlsAttempt};
use posthaste_mail::route::destination::DestinationKey;

use crate::carriage::live::Live;
use crate::targets::remote::caller::{NoSession, remote};

/// Whose sessions are told of.
pub struct Account<'a> {
    pub log: &'a Logger,
    pub destination: &'a DestinationKey,
    pub id: EnvelopeId,
}

impl Account<'_> {
    /// It can carry mail. The words are maddy's.
    pub fn used(&self, live: &Live) {
        let (remote, facts) = (live.remote(), live.facts());
        info!(self.log, "session";
            "msg_id" => %self.id,
            "domain" => %self.destination,
            "remote_server" => remote.host,
            "remote_addr" => remote.address,
            "local_addr" => live.session.local_address().map(|address| address.to_string()),
            "mx_level" => %facts.mx_level,
            "tls_level" => %facts.tls_level,
            "tls_version" => facts.tls_version,
            "tls_cipher" => facts.tls_cipher,
            "tls_err" => facts.tls_error,
            "policies" => facts.policies,
            "reused" => facts.reused);
    }

    /// It cannot, or there is none.
    pub fn refused(&self, host: Option<&Domain>, address: IpAddr, none: &NoSession) {
        let (failure, remote) = (&none.failure, remote(host, address));
        info!(self.log, "session";
            "msg_id" => %self.id,
            "domain" => %self.destination,
            "remote_server" => remote.host,
            "remote_addr" => remote.address,
            "tls_err" => &none.broken_tls,
            "reason" => failure.cause.word(),
            "smtp_code" => failure.code,
            "smtp_enchcode" => failure.status.to_string(),
            "smtp_msg" => &failure.text);
    }
}

/// What came of an attempt at TLS: a line for each policy of the domain, with what reports are made of (RFC 8460).
pub fn tls(log: &Logger, attempt: &TlsAttempt) {
    for verdict in &attempt.verdicts {
        let shared = slog::o!(
            "policy_type" => verdict.kind.to_string(),
            "policy_domain" => verdict.domain.to_string(),
            "policy" => shown(&verdict.text, " | "),
            "policy_mx" => shown(&verdict.hosts, " "),
            "remote_server" => attempt.host.to_string(),
            "remote_name" => attempt.name.clone(),
            "remote_addr" => attempt.address.map(|address| address.to_string()),
            "local_addr" => attempt.local.map(|address| address.to_string()));
        let log = log.new(shared);
        match &verdict.failure {
            Some(FailureDetail { kind, reason }) => {
                info!(log, "tls"; "result" => %kind, "failure_reason" => reason);
            }
            None => debug!(log, "tls"; "result" => "success"),
        }
    }
}

/// Octets of a policy in a line of the log: it may have 64 KiB, a line for each session that fails it.
const LONGEST_SHOWN: usize = 2000;

/// The first parts of it, and how many are left out.
fn shown(parts: &[String], between: &str) -> String {
    let mut text = String::new();
    for (place, part) in parts.iter().enumerate() {
        if text.len() + between.len() + part.len() > LONGEST_SHOWN {
            return format!("{text}{between}and {} more", parts.len() - place);
        }
        if place > 0 {
            text.push_str(between);
        }
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_fill_the_log() {
        let parts = |count: usize, length: usize| vec!["x".repeat(length); count];
        assert_eq!(shown(&parts(3, 2), " | "), "xx | xx | xx");
        assert_eq!(shown(&[], " "), "");
        let many = shown(&parts(1000, 60), " ");
        assert!(many.len() <= LONGEST_SHOWN + 20, "{}", many.len());
        assert!(many.ends_with("x and 968 more"), "{many}");
        assert_eq!(shown(&parts(1, 70_000), " | "), " | and 1 more");
    }
}
