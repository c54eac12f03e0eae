//! DANE-EE(3): the record names the server's certificate, and nothing else about it counts (RFC 7672 §3.1.1).

use crate::row::{Row, Zone, signed, unsigned};
use crate::server::Server::*;
use crate::stance::Stance::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        signed("ee-key-sha256").at(SelfSigned).tlsa("3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-key-sha512").at(SelfSigned).tlsa("3 1 2", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-key-full").at(SelfSigned).tlsa("3 1 0", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-sha256").at(SelfSigned).tlsa("3 0 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-sha512").at(SelfSigned).tlsa("3 0 2", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-full").at(SelfSigned).tlsa("3 0 0", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-good").at(Good).tlsa("3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-expired").at(Expired).tlsa("3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-wrong-name").at(WrongName).tlsa("3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-unknown-authority").at(Private).tlsa("3 0 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-exim").at(EximSelfSigned).tlsa("3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("ee-implicit").at(SelfSigned).implicit().tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        // RFC 7671 §8.1: a key is changed by publishing both.
        signed("ee-rollover").at(SelfSigned).tlsa("3 1 1", Another).tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        // A good certificate is no excuse.
        signed("ee-key-sha256-wrong").at(Good).tlsa("3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("ee-key-sha512-wrong").at(Good).tlsa("3 1 2", Another).deferred("4.7.5", "DANE"),
        signed("ee-sha256-wrong").at(Good).tlsa("3 0 1", Another).deferred("4.7.5", "DANE"),
        signed("ee-full-wrong").at(Good).tlsa("3 0 0", Another).deferred("4.7.5", "DANE"),
        signed("ee-exim-wrong").at(EximGood).tlsa("3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("ee-self-signed-wrong").at(SelfSigned).tlsa("3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("ee-names-the-issuer").at(Private).tlsa("3 1 1", Issuer).deferred("4.7.5", "DANE"),
        // RFC 7672 §2.2: no TLS, no delivery.
        signed("ee-no-tls").at(Plain).tlsa("3 1 1", Another).deferred("4.7.4", "DANE"),
        signed("ee-starttls-refused").at(Refusing).tlsa("3 1 1", Another).deferred("4.7.4", "DANE"),
        signed("ee-handshake-fails").at(Broken).tlsa("3 1 1", Leaf).deferred("4.7.5", "DANE"),
        signed("ee-tls-too-old").at(TooOld).tlsa("3 1 1", Leaf).deferred("4.7.5", "DANE"),
        // RFC 7671 §9: of digests only the strongest counts, if it is well-formed.
        signed("ee-strongest-is-wrong").at(SelfSigned).tlsa("3 1 1", Leaf).tlsa("3 1 2", Another)
            .deferred("4.7.5", "DANE"),
        signed("ee-strongest-is-right").at(SelfSigned).tlsa("3 1 1", Another).tlsa("3 1 2", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("ee-strongest-is-short").at(SelfSigned).tlsa("3 1 1", Leaf).tlsa("3 1 2", Short)
            .delivered("dnssec", "authenticated"),
        signed("ee-strongest-of-each-selector").at(SelfSigned).tlsa("3 0 2", Another).tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        // Each host has its own records.
        signed("next-of-wrong").at(SelfSigned).tlsa("3 1 1", Another).at(Good)
            .delivered("dnssec", "authenticated"),
        signed("next-of-no-tls").at(Plain).tlsa("3 1 1", Another).at(SelfSigned).tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("next-of-unknown").at(SelfSigned).tlsa("3 1 1", Leaf).bogus("_25._tcp.mx1", "TLSA").at(Good)
            .delivered("dnssec", "authenticated"),
        // RFC 7672 §2.1.1: not to know is no reason to go on.
        signed("tlsa-bogus").at(Good).tlsa("3 1 1", Leaf).bogus("_25._tcp.mx1", "TLSA")
            .deferred("4.7.5", "TLSA"),
        signed("tlsa-fails").at(Good).lame_tlsa().deferred("4.7.5", "TLSA"),
        // What is not signed is not believed.
        unsigned("tlsa-unsigned").at(SelfSigned).tlsa("3 1 1", Another).delivered("none", "encrypted"),
        signed("tlsa-of-unsigned-host").at(SelfSigned).in_zone(Zone::Unsigned).tlsa("3 1 1", Another)
            .delivered("dnssec", "encrypted"),
        // RFC 7672 §2.2.1: the host is known, and who named it is not.
        unsigned("unsigned-list").at(SelfSigned).in_zone(Zone::Signed).tlsa("3 1 1", Leaf)
            .delivered("none", "authenticated"),
        unsigned("unsigned-list-wrong").at(Good).in_zone(Zone::Signed).tlsa("3 1 1", Another)
            .deferred("4.7.5", "DANE"),
        unsigned("unsigned-list-no-tls").at(Plain).in_zone(Zone::Signed).tlsa("3 1 1", Another)
            .deferred("4.7.4", "DANE"),
        // As it is configured.
        signed("only-dane").at(SelfSigned).tlsa("3 1 1", Leaf).under(OnlyDane)
            .delivered("none", "authenticated"),
        signed("only-dane-wrong").at(Good).tlsa("3 1 1", Another).under(OnlyDane).deferred("4.7.5", "DANE"),
        signed("dane-not-configured").at(SelfSigned).tlsa("3 1 1", Another).under(Open)
            .delivered("none", "encrypted"),
    ]
}
