//! Records that are signed and of no use: TLS is demanded and no more (RFC 7672 §2.2, §3.1.3).

use crate::row::{Row, signed};
use crate::server::Server::*;
use crate::stance::Stance::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        signed("usage-0").at(Private).tlsa("0 0 1", Root).delivered("dnssec", "encrypted"),
        signed("usage-1").at(SelfSigned).tlsa("1 1 1", Leaf).delivered("dnssec", "encrypted"),
        signed("usage-1-wrong").at(SelfSigned).tlsa("1 1 1", Another).delivered("dnssec", "encrypted"),
        signed("usage-1-good").at(Good).tlsa("1 1 1", Another).delivered("dnssec", "authenticated"),
        signed("usage-9").at(SelfSigned).tlsa("9 1 1", Leaf).delivered("dnssec", "encrypted"),
        signed("selector-9").at(SelfSigned).tlsa("3 9 1", Leaf).delivered("dnssec", "encrypted"),
        signed("matching-9").at(SelfSigned).tlsa("3 1 9", Leaf).delivered("dnssec", "encrypted"),
        signed("digest-short").at(SelfSigned).tlsa("3 1 1", Short).delivered("dnssec", "encrypted"),
        signed("anchor-undecodable").at(SelfSigned).tlsa("2 0 0", Garbage)
            .delivered("dnssec", "encrypted"),
        signed("usage-0-exim").at(EximSelfSigned).tlsa("0 0 1", Another).delivered("dnssec", "encrypted"),
        signed("usage-0-no-tls").at(Plain).tlsa("0 0 1", Another).deferred("4.7.4", "DANE"),
        signed("usage-1-handshake-fails").at(Broken).tlsa("1 1 1", Leaf).deferred("4.7.5", "DANE"),
        // One usable record, and it is about that one.
        signed("usage-1-and-wrong").at(SelfSigned).tlsa("1 1 1", Leaf).tlsa("3 1 1", Another)
            .deferred("4.7.5", "DANE"),
        signed("usage-1-and-right").at(SelfSigned).tlsa("1 1 1", Another).tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("usage-1-not-enough").at(SelfSigned).tlsa("1 1 1", Leaf).under(MinAuthenticated)
            .deferred("4.7.1", "local policy"),
    ]
}
