//! `TLS-Required: No` (RFC 8689 §3): delivery before protection, if `requiretls_override` lets the sender say so.

use crate::row::Wish::*;
use crate::row::{Row, signed, unsigned};
use crate::server::Server::*;
use crate::stance::Stance::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    let waived = vec![
        signed("waived-good").at(Good).delivered("dnssec", "authenticated"),
        unsigned("waived-no-tls").at(Plain).delivered("none", "none"),
        signed("waived-mismatch").at(SelfSigned).tlsa("3 1 1", Another).delivered("dnssec", "encrypted"),
        signed("waived-no-tls-dane").at(Plain).tlsa("3 1 1", Another).delivered("dnssec", "none"),
        signed("waived-handshake-fails-dane").at(Broken).tlsa("3 1 1", Another).delivered("dnssec", "none"),
        signed("waived-unknown").at(SelfSigned).tlsa("3 1 1", Another).bogus("_25._tcp.mx1", "TLSA")
            .delivered("dnssec", "encrypted"),
        unsigned("waived-enforce").at(Plain).sts("enforce").delivered("mtasts", "none"),
        unsigned("waived-enforce-self-signed").at(SelfSigned).sts("enforce")
            .delivered("mtasts", "encrypted"),
        unsigned("waived-not-listed").at(Good).sts("enforce").listing(&["mx.elsewhere.test"])
            .delivered("none", "authenticated"),
        unsigned("waived-minimum-tls").at(Plain).under(MinAuthenticated).delivered("none", "none"),
        unsigned("waived-minimum-mx").at(Good).under(MinDnssec).delivered("none", "authenticated"),
        unsigned("waived-minimum-encrypted").at(Broken).under(OnlyEncrypted).delivered("none", "none"),
        // It is no policy of TLS that these come from.
        signed("waived-bogus").at(Good).bogus("", "MX").deferred("4.4.3", ""),
        // Not obeyed.
        signed("unwaivable-mismatch").at(Good).tlsa("3 1 1", Another).under(Unwaivable)
            .deferred("4.7.5", "DANE"),
        unsigned("unwaivable-enforce").at(Plain).sts("enforce").under(Unwaivable)
            .deferred("4.7.4", "MTA-STS"),
        unsigned("unwaivable-good").at(Good).under(Unwaivable).delivered("none", "authenticated"),
    ];
    let mut rows: Vec<Row> = waived.into_iter().map(|row| row.wishing(Waived)).collect();
    rows.extend([
        // No value that RFC 8689 §5 knows.
        signed("waived-misspelt").at(Good).tlsa("3 1 1", Another).wishing(Misspelt)
            .deferred("4.7.5", "DANE"),
        // RFC 8689 §4.2.2: beside REQUIRETLS the field is ignored.
        signed("waived-and-required").at(RequireTls).wishing(RequiredAndWaived)
            .delivered("dnssec", "authenticated"),
        unsigned("waived-and-required-unsigned").at(RequireTls).wishing(RequiredAndWaived)
            .failed("5.7.30", "REQUIRETLS"),
        signed("waived-and-required-mismatch").at(RequireTls).tlsa("3 1 1", Another)
            .wishing(RequiredAndWaived).deferred("4.7.5", "DANE"),
    ]);
    rows
}
