//! REQUIRETLS (RFC 8689): a host whose name is known securely, TLS, a proven certificate, and the extension itself.

use crate::policy::Served;
use crate::row::{Row, Wish, signed, unsigned};
use crate::server::Server::*;
use crate::stance::Stance::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    let all = vec![
        signed("required").at(RequireTls).delivered("dnssec", "authenticated"),
        unsigned("required-enforce").at(RequireTls).sts("enforce").delivered("mtasts", "authenticated"),
        unsigned("required-testing").at(RequireTls).sts("testing").delivered("mtasts", "authenticated"),
        signed("required-dane").at(RequireTlsSelfSigned).tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("required-starttls-refused").at(Refusing).deferred("4.7.4", "REQUIRETLS"),
        signed("required-strict").at(RequireTls).under(Strict).delivered("dnssec", "authenticated"),
        // Not offered: the word of `relaxed_requiretls`.
        signed("required-relaxed").at(Good).delivered("dnssec", "authenticated"),
        signed("required-relaxed-says-nothing").at(Witness).saying("RET=HDRS")
            .delivered("dnssec", "authenticated"),
        signed("required-relaxed-exim").at(EximGood).delivered("dnssec", "authenticated"),
        unsigned("required-relaxed-enforce").at(Good).sts("enforce").delivered("mtasts", "authenticated"),
        signed("required-relaxed-dane").at(SelfSigned).tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("required-strict-not-offered").at(Good).under(Strict).failed("5.7.30", "REQUIRETLS"),
        signed("required-strict-exim").at(EximGood).under(Strict).failed("5.7.30", "REQUIRETLS"),
        signed("required-strict-next").at(Good).at(RequireTls).under(Strict)
            .delivered("dnssec", "authenticated"),
        // Nothing that could be repaired by waiting.
        unsigned("required-unsigned").at(RequireTls).failed("5.7.30", "REQUIRETLS"),
        unsigned("required-mode-none").at(RequireTls).sts("none").failed("5.7.30", "REQUIRETLS"),
        unsigned("required-testing-not-listed").at(RequireTls).sts("testing")
            .listing(&["mx.elsewhere.test"]).failed("5.7.30", "REQUIRETLS"),
        signed("required-no-tls").at(Plain).failed("5.7.30", "REQUIRETLS"),
        unsigned("required-no-tls-testing").at(Plain).sts("testing").failed("5.7.30", "REQUIRETLS"),
        signed("required-open").at(RequireTls).under(Open).failed("5.7.30", "REQUIRETLS"),
        signed("required-only-dane").at(RequireTls).tlsa("3 1 1", Leaf).under(OnlyDane)
            .failed("5.7.30", "REQUIRETLS"),
        // Published, and wrong today.
        signed("required-self-signed").at(RequireTlsSelfSigned).deferred("4.7.5", "REQUIRETLS"),
        signed("required-expired").at(RequireTlsExpired).deferred("4.7.5", "REQUIRETLS"),
        unsigned("required-testing-self-signed").at(RequireTlsSelfSigned).sts("testing")
            .deferred("4.7.5", "REQUIRETLS"),
        signed("required-unusable").at(RequireTlsSelfSigned).tlsa("1 1 1", Leaf).deferred("4.7.5", "REQUIRETLS"),
        signed("required-mismatch").at(RequireTls).tlsa("3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("required-handshake-fails").at(Broken).deferred("4.7.5", "REQUIRETLS"),
        signed("required-too-old").at(TooOld).deferred("4.7.5", "REQUIRETLS"),
        signed("required-no-tls-dane").at(Plain).tlsa("3 1 1", Another).deferred("4.7.4", "DANE"),
        unsigned("required-no-tls-enforce").at(Plain).sts("enforce").deferred("4.7.4", "MTA-STS"),
        unsigned("required-not-listed").at(RequireTls).sts("enforce").listing(&["mx.elsewhere.test"])
            .deferred("4.7.0", "MTA-STS"),
        signed("required-unknown").at(RequireTls).tlsa("3 1 1", Leaf).bogus("_25._tcp.mx1", "TLSA")
            .deferred("4.7.5", "TLSA"),
        signed("required-bogus").at(RequireTls).bogus("", "MX").deferred("4.4.3", ""),
        unsigned("required-policy-not-found").at(RequireTls).sts("enforce").served(Served::NotFound)
            .deferred("4.4.3", "MTA-STS"),
        signed("required-next-repairable").at(Plain).at(RequireTlsSelfSigned).deferred("4.7.5", "REQUIRETLS"),
        signed("required-next").at(RequireTlsSelfSigned).at(RequireTls)
            .delivered("dnssec", "authenticated"),
    ];
    all.into_iter().map(|row| row.wishing(Wish::Required)).collect()
}
