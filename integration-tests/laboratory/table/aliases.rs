//! Hosts and TLSA records that are CNAMEs (RFC 7672 §2.1.3 and §2.2.2, RFC 7671 §7).

use crate::row::{At, Row, Zone, signed, unsigned};
use crate::server::Server::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        signed("tlsa-alias").at(SelfSigned).tlsa("3 1 1", Leaf).tlsa_alias_into(Zone::Signed)
            .delivered("dnssec", "authenticated"),
        signed("tlsa-alias-wrong").at(Good).tlsa("3 1 1", Another).tlsa_alias_into(Zone::Signed)
            .deferred("4.7.5", "DANE"),
        // RFC 7671 §7: every step has to be signed.
        signed("tlsa-alias-unsigned").at(SelfSigned).tlsa("3 1 1", Another).tlsa_alias_into(Zone::Unsigned)
            .delivered("dnssec", "encrypted"),
        signed("host-alias").at(SelfSigned).alias_into(Zone::Signed).tlsa_at(At::Canonical, "3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("host-alias-wrong").at(Good).alias_into(Zone::Signed).tlsa_at(At::Canonical, "3 1 1", Another)
            .deferred("4.7.5", "DANE"),
        // RFC 7672 §2.2.2: first what is behind the alias, then the alias.
        signed("host-alias-initial").at(SelfSigned).alias_into(Zone::Signed)
            .tlsa_at(At::Initial, "3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("host-alias-initial-wrong").at(Good).alias_into(Zone::Signed)
            .tlsa_at(At::Initial, "3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("host-alias-both").at(SelfSigned).alias_into(Zone::Signed)
            .tlsa_at(At::Initial, "3 1 1", Another).tlsa_at(At::Canonical, "3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("host-alias-both-wrong").at(Good).alias_into(Zone::Signed)
            .tlsa_at(At::Initial, "3 1 1", Leaf).tlsa_at(At::Canonical, "3 1 1", Another)
            .deferred("4.7.5", "DANE"),
        // A signed alias that leads to where nothing is signed.
        signed("host-alias-out").at(SelfSigned).alias_into(Zone::Unsigned)
            .tlsa_at(At::Initial, "3 1 1", Leaf).delivered("dnssec", "authenticated"),
        signed("host-alias-out-wrong").at(Good).alias_into(Zone::Unsigned)
            .tlsa_at(At::Initial, "3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("host-alias-out-unsigned-tlsa").at(SelfSigned).alias_into(Zone::Unsigned)
            .tlsa_at(At::Canonical, "3 1 1", Another).delivered("dnssec", "encrypted"),
        // RFC 7672 §3.2.2: either name of the host will do.
        signed("host-alias-ta-initial").at(Private).alias_into(Zone::Signed)
            .tlsa_at(At::Canonical, "2 1 1", Issuer).delivered("dnssec", "authenticated"),
        signed("host-alias-ta-canonical").at(Private).alias_into(Zone::Signed).certified_as_canonical()
            .tlsa_at(At::Canonical, "2 1 1", Issuer).delivered("dnssec", "authenticated"),
        // RFC 7672 §8.1: the server is asked for the name that its records stand at, and else for its own.
        signed("sni-of-canonical").at(Witness).alias_into(Zone::Signed)
            .tlsa_at(At::Canonical, "3 1 1", Leaf).asked_as(At::Canonical).delivered("dnssec", "authenticated"),
        signed("sni-of-initial").at(Witness).alias_into(Zone::Signed)
            .tlsa("3 1 1", Leaf).asked_as(At::Initial).delivered("dnssec", "authenticated"),
        signed("sni-of-signed-alias").at(Witness).alias_into(Zone::Unsigned)
            .tlsa("3 1 1", Leaf).asked_as(At::Initial).delivered("dnssec", "authenticated"),
        signed("sni-without-records").at(Witness).alias_into(Zone::Signed).asked_as(At::Initial)
            .delivered("dnssec", "authenticated"),
        // The domain itself is an alias: RFC 7672 §3.2.2 has either of its names as reference.
        signed("domain-alias").at(SelfSigned).domain_alias().tlsa("3 1 1", Leaf)
            .delivered("dnssec", "authenticated"),
        signed("domain-alias-wrong").at(Good).domain_alias().tlsa("3 1 1", Another).deferred("4.7.5", "DANE"),
        signed("domain-alias-ta").at(MailDomain).domain_alias().tlsa("2 1 1", Issuer)
            .delivered("dnssec", "authenticated"),
        signed("domain-alias-ta-canonical").at(MailDomain).domain_alias().certified_as_canonical()
            .tlsa("2 1 1", Issuer).delivered("dnssec", "authenticated"),
        // RFC 8461 §3: the policy is that of the name behind the @.
        unsigned("domain-alias-enforce").at(Good).domain_alias().sts("enforce")
            .delivered("mtasts", "authenticated"),
        unsigned("domain-alias-not-listed").at(Good).domain_alias().sts("enforce").listing(&["*.real.{d}"])
            .deferred("4.7.0", "MTA-STS"),
        // Without DANE it is the name of the MX record that the certificate has to carry.
        signed("host-alias-pkix").at(Good).alias_into(Zone::Signed).delivered("dnssec", "authenticated"),
        signed("host-alias-pkix-canonical").at(Good).alias_into(Zone::Signed).certified_as_canonical()
            .delivered("dnssec", "encrypted"),
    ]
}
