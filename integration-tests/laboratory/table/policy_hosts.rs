//! A policy that is announced and cannot be had is none (RFC 8461 §5.1): each of these domains has an exchanger without TLS, which an
//! enforced policy would not let have the message.

use crate::policy::Served::*;
use crate::row::{Row, signed, unsigned};
use crate::server::Server::Plain;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    let none = |name, served, cause| {
        let row = unsigned(name).at(Plain).sts("enforce").served(served);
        row.unfetched(cause).delivered("none", "none")
    };
    vec![
        none("policy-not-found", NotFound, "status 404"),
        // RFC 8461 §3.3: redirects are not followed.
        none("policy-redirected", Redirected, "status 301"),
        none("policy-as-html", AsHtml, "text/html"),
        none("policy-host-expired", ExpiredCertificate, "certificate has expired"),
        none("policy-host-wrong-name", WrongName, "certificate of the policy host"),
        none("policy-host-self-signed", SelfSigned, "self-signed certificate"),
        none("policy-oversized", Oversized, "longer than 64 KiB"),
        none("policy-malformed", Malformed, "mode is none of"),
        none("policy-host-down", Down, "Connection refused"),
        none("policy-host-nowhere", Nowhere, "does not exist"),
        // RFC 8461 §8.2: the host may be somebody else's.
        unsigned("policy-host-alias").at(Plain).sts("enforce").served(ByAlias)
            .deferred("4.7.4", "MTA-STS"),
        // A policy host needs no signatures, and where they are wrong it has no address.
        signed("policy-host-bogus").at(Plain).sts("enforce").bogus("mta-sts", "A")
            .unfetched("looking up the policy host").delivered("dnssec", "none"),
    ]
}
