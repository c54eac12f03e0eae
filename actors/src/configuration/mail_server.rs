//! A configuration of a whole mail server, in the language's full width: what of it this version does not take.

use std::path::Path;

use posthaste_config::Severity;

use crate::{Options, check};

#[test]
fn of_a_whole_mail_server_only_these_are_missing() {
    let server = "../config/src/testdata/mail-server.conf";
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(server);
    let checked = check(&Options { config, ..Options::default() });
    assert!(!checked.ok);
    let errors: Vec<String> = checked
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| {
            let place = problem.at.to_string();
            let line = place.rsplit(':').next().unwrap_or_default();
            // What OpenSSL adds differs from version to version.
            let text = problem.text.split(": error:").next().unwrap_or_default();
            format!("{line}: {text}")
        })
        .collect();
    assert_eq!(
        errors,
        [
            "8: tls: reading certificate /srv/keys/mail.example.net/chain.pem", // not there
            "24: unknown module sql_table",
            "31: module storage.imapsql is not implemented",
            "63: dmarc: DMARC is not supported by this version, only `dmarc no`",
            "64: check: checks are not supported by this version",
            "85: check: checks are not supported by this version",
            "96: modify: unknown directive dkim",
            "129: module imap is not implemented",
        ]
    );
}
