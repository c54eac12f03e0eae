//! `local_policy`: each minimum of TLS and MX level with what reaches it and what does not.

use crate::row::{Row, Zone, signed, unsigned};
use crate::server::Server::*;
use crate::stance::Stance::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        unsigned("min-encrypted-no-tls").at(Plain).under(MinEncrypted).deferred("4.7.1", "local policy"),
        unsigned("min-encrypted-handshake-fails").at(Broken).under(MinEncrypted).deferred("4.7.5", "local policy"),
        unsigned("min-encrypted-refused").at(Refusing).under(MinEncrypted).deferred("4.7.1", "local policy"),
        unsigned("min-encrypted-self-signed").at(SelfSigned).under(MinEncrypted)
            .delivered("none", "encrypted"),
        unsigned("min-encrypted-good").at(Good).under(MinEncrypted).delivered("none", "authenticated"),
        unsigned("min-encrypted-alone").at(Plain).under(OnlyEncrypted).deferred("4.7.1", "local policy"),
        unsigned("min-encrypted-next").at(Plain).at(SelfSigned).under(MinEncrypted)
            .delivered("none", "encrypted"),
        unsigned("min-authenticated-no-tls").at(Plain).under(MinAuthenticated)
            .deferred("4.7.1", "local policy"),
        unsigned("min-authenticated-self-signed").at(SelfSigned).under(MinAuthenticated)
            .deferred("4.7.1", "local policy"),
        unsigned("min-authenticated-expired").at(Expired).under(MinAuthenticated)
            .deferred("4.7.1", "local policy"),
        unsigned("min-authenticated-wrong-name").at(WrongName).under(MinAuthenticated)
            .deferred("4.7.1", "local policy"),
        unsigned("min-authenticated-tls-old").at(TooOld).under(MinAuthenticated)
            .deferred("4.7.5", "local policy"),
        unsigned("min-authenticated-good").at(Good).under(MinAuthenticated)
            .delivered("none", "authenticated"),
        unsigned("min-authenticated-exim").at(EximGood).under(MinAuthenticated)
            .delivered("none", "authenticated"),
        signed("min-authenticated-dane").at(SelfSigned).tlsa("3 1 1", Leaf).under(MinAuthenticated)
            .delivered("dnssec", "authenticated"),
        signed("min-authenticated-mismatch").at(Good).tlsa("3 1 1", Another).under(MinAuthenticated)
            .deferred("4.7.5", "DANE"),
        unsigned("min-mtasts-none").at(Good).under(MinMtasts).deferred("4.7.0", "local policy"),
        unsigned("min-mtasts-mode-none").at(Good).sts("none").under(MinMtasts)
            .deferred("4.7.0", "local policy"),
        unsigned("min-mtasts-enforce").at(Good).sts("enforce").under(MinMtasts)
            .delivered("mtasts", "authenticated"),
        unsigned("min-mtasts-testing").at(Plain).sts("testing").under(MinMtasts)
            .delivered("mtasts", "none"),
        unsigned("min-mtasts-not-listed").at(Good).sts("testing").listing(&["mx.elsewhere.test"])
            .under(MinMtasts).deferred("4.7.0", "local policy"),
        signed("min-mtasts-signed").at(Plain).under(MinMtasts).delivered("dnssec", "none"),
        unsigned("min-dnssec-none").at(Good).under(MinDnssec).deferred("4.7.0", "local policy"),
        unsigned("min-dnssec-enforce").at(Good).sts("enforce").under(MinDnssec)
            .deferred("4.7.0", "local policy"),
        // DANE proves the host and not who named it.
        unsigned("min-dnssec-dane").at(SelfSigned).in_zone(Zone::Signed).tlsa("3 1 1", Leaf)
            .under(MinDnssec).deferred("4.7.0", "local policy"),
        signed("min-dnssec-signed").at(Plain).under(MinDnssec).delivered("dnssec", "none"),
        signed("min-dnssec-implicit").at(Good).implicit().under(MinDnssec)
            .delivered("dnssec", "authenticated"),
        signed("min-both").at(Good).under(MinBoth).delivered("dnssec", "authenticated"),
        signed("min-both-dane").at(SelfSigned).tlsa("3 1 1", Leaf).under(MinBoth)
            .delivered("dnssec", "authenticated"),
        signed("min-both-self-signed").at(SelfSigned).under(MinBoth).deferred("4.7.1", "local policy"),
        unsigned("min-both-unsigned").at(Good).sts("enforce").under(MinBoth)
            .deferred("4.7.0", "local policy"),
    ]
}
