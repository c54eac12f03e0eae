//! Nothing is demanded: TLS if it can be had, levels as they are reached.

use crate::row::{Row, Zone, row, signed, unsigned};
use crate::server::Server::*;
use crate::stance::Stance::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        unsigned("no-tls").at(Plain).delivered("none", "none"),
        unsigned("good").at(Good).delivered("none", "authenticated"),
        unsigned("intermediate").at(Chained).delivered("none", "authenticated"),
        unsigned("wildcard").at(Wildcard).delivered("none", "authenticated"),
        unsigned("self-signed").at(SelfSigned).delivered("none", "encrypted"),
        unsigned("expired").at(Expired).delivered("none", "encrypted"),
        unsigned("wrong-name").at(WrongName).delivered("none", "encrypted"),
        unsigned("unknown-authority").at(Private).delivered("none", "encrypted"),
        unsigned("exim-good").at(EximGood).delivered("none", "authenticated"),
        unsigned("exim-self-signed").at(EximSelfSigned).delivered("none", "encrypted"),
        // RFC 7435 §3: where nothing is demanded old TLS is better than none.
        unsigned("tls-old").at(TooOld).delivered("none", "encrypted"),
        // A handshake that fails, and STARTTLS that is refused, leave the message in the clear where nothing demands more.
        unsigned("handshake-fails").at(Broken).delivered("none", "none"),
        unsigned("starttls-refused").at(Refusing).delivered("none", "none"),
        signed("signed-good").at(Good).delivered("dnssec", "authenticated"),
        signed("signed-self-signed").at(SelfSigned).delivered("dnssec", "encrypted"),
        signed("signed-no-tls").at(Plain).delivered("dnssec", "none"),
        // RFC 5321 §5.1: signed as well is that there is no MX.
        signed("signed-implicit").at(Good).implicit().delivered("dnssec", "authenticated"),
        unsigned("unsigned-implicit").at(Good).implicit().delivered("none", "authenticated"),
        // The list is signed; where its host lies is another matter.
        signed("host-unsigned").at(Good).in_zone(Zone::Unsigned).delivered("dnssec", "authenticated"),
        unsigned("host-signed").at(Good).in_zone(Zone::Signed).delivered("none", "authenticated"),
        // Without `dnssec` nobody asks.
        signed("dnssec-not-configured").at(Good).under(Open).delivered("none", "authenticated"),
        // Falsified and expired are not the same as not signed.
        signed("bogus-list").at(Good).bogus("", "MX").deferred("4.4.3", ""),
        signed("bogus-address").at(Good).bogus("mx1", "A").deferred("4.4.4", ""),
        row("stale-signatures", Zone::Expired).at(Good).deferred("4.4.3", ""),
        signed("bogus-list-and-no-policies").at(Good).bogus("", "MX").under(Open).deferred("4.4.3", ""),
        signed("next-of-bogus-address").at(Plain).at(Good).bogus("mx1", "A")
            .delivered("dnssec", "authenticated"),
    ]
}
