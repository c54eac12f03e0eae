//! DANE and MTA-STS together: neither takes anything from the other (RFC 8461 §2).

use crate::row::{Row, Zone, signed, unsigned};
use crate::server::Server::*;
use crate::tlsa::Of::*;

const ELSEWHERE: &[&str] = &["mx.elsewhere.test"];

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        signed("match-enforce").at(Good).tlsa("3 1 1", Leaf).sts("enforce")
            .delivered("dnssec", "authenticated"),
        // What DANE proves need not be proven to the trusted authorities.
        signed("match-enforce-self-signed").at(SelfSigned).tlsa("3 1 1", Leaf).sts("enforce")
            .delivered("dnssec", "authenticated"),
        signed("match-enforce-expired").at(Expired).tlsa("3 0 1", Leaf).sts("enforce")
            .delivered("dnssec", "authenticated"),
        signed("match-testing").at(SelfSigned).tlsa("3 1 1", Leaf).sts("testing")
            .delivered("dnssec", "authenticated"),
        signed("match-testing-not-listed").at(SelfSigned).tlsa("3 1 1", Leaf).sts("testing")
            .listing(ELSEWHERE).delivered("dnssec", "authenticated"),
        unsigned("match-enforce-unsigned-list").at(SelfSigned).in_zone(Zone::Signed)
            .tlsa("3 1 1", Leaf).sts("enforce").delivered("mtasts", "authenticated"),
        signed("ta-enforce").at(Private).tlsa("2 1 1", Issuer).sts("enforce")
            .delivered("dnssec", "authenticated"),
        // The list of hosts is another matter than their certificates.
        signed("match-enforce-not-listed").at(Good).tlsa("3 1 1", Leaf).sts("enforce")
            .listing(ELSEWHERE).deferred("4.7.0", "MTA-STS"),
        // And what DANE refuses no policy allows.
        signed("mismatch-enforce").at(Good).tlsa("3 1 1", Another).sts("enforce")
            .deferred("4.7.5", "DANE"),
        signed("mismatch-testing").at(Good).tlsa("3 1 1", Another).sts("testing")
            .deferred("4.7.5", "DANE"),
        signed("mismatch-mode-none").at(Good).tlsa("3 1 1", Another).sts("none")
            .deferred("4.7.5", "DANE"),
        signed("no-tls-both").at(Plain).tlsa("3 1 1", Another).sts("enforce").deferred("4.7.4", "DANE"),
        // Unusable records leave it to the policy.
        signed("unusable-enforce").at(Good).tlsa("1 1 1", Another).sts("enforce")
            .delivered("dnssec", "authenticated"),
        signed("unusable-enforce-self-signed").at(SelfSigned).tlsa("1 1 1", Leaf).sts("enforce")
            .deferred("4.7.5", "MTA-STS"),
        signed("unusable-testing").at(SelfSigned).tlsa("1 1 1", Leaf).sts("testing")
            .delivered("dnssec", "encrypted"),
        signed("unusable-testing-no-tls").at(Plain).tlsa("1 1 1", Another).sts("testing")
            .deferred("4.7.4", "DANE"),
        // As do records that are not signed.
        unsigned("unsigned-tlsa-enforce").at(Good).tlsa("3 1 1", Another).sts("enforce")
            .delivered("mtasts", "authenticated"),
        // No good certificate takes the place of records that nobody can look up.
        signed("unknown-enforce").at(Good).tlsa("3 1 1", Leaf).sts("enforce")
            .bogus("_25._tcp.mx1", "TLSA").deferred("4.7.5", "TLSA"),
        signed("unknown-testing").at(Good).tlsa("3 1 1", Leaf).sts("testing")
            .bogus("_25._tcp.mx1", "TLSA").deferred("4.7.5", "TLSA"),
    ]
}
