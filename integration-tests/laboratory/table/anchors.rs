//! DANE-TA(2): the record names who vouches for the certificate, which has to be valid and to carry the right name (RFC 7672 §3.1.2).

use crate::row::{Row, Zone, signed, unsigned};
use crate::server::Server::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        signed("ta-key-sha256").at(Private).tlsa("2 1 1", Issuer).delivered("dnssec", "authenticated"),
        signed("ta-key-sha512").at(Private).tlsa("2 1 2", Issuer).delivered("dnssec", "authenticated"),
        signed("ta-sha256").at(Private).tlsa("2 0 1", Issuer).delivered("dnssec", "authenticated"),
        signed("ta-root").at(Private).tlsa("2 0 1", Root).delivered("dnssec", "authenticated"),
        signed("ta-root-key").at(Private).tlsa("2 1 1", Root).delivered("dnssec", "authenticated"),
        signed("ta-root-sha512").at(Private).tlsa("2 0 2", Root).delivered("dnssec", "authenticated"),
        signed("ta-trusted").at(Chained).tlsa("2 1 1", Issuer).delivered("dnssec", "authenticated"),
        signed("ta-exim").at(EximPrivate).tlsa("2 1 1", Issuer).delivered("dnssec", "authenticated"),
        // RFC 7671 §5.2.2: an anchor that is in the record need not be sent.
        signed("ta-full-not-sent").at(PrivateShort).tlsa("2 0 0", Root)
            .delivered("dnssec", "authenticated"),
        signed("ta-key-full-not-sent").at(PrivateShort).tlsa("2 1 0", Root)
            .delivered("dnssec", "authenticated"),
        signed("ta-digest-not-sent").at(PrivateShort).tlsa("2 0 1", Root)
            .deferred("4.7.5", "DANE"),
        signed("ta-wrong").at(Private).tlsa("2 1 1", Another).deferred("4.7.5", "DANE"),
        signed("ta-exim-wrong").at(EximPrivate).tlsa("2 0 1", Another).deferred("4.7.5", "DANE"),
        signed("ta-expired").at(PrivateExpired).tlsa("2 1 1", Issuer).deferred("4.7.5", "DANE"),
        signed("ta-wrong-name").at(PrivateWrongName).tlsa("2 1 1", Issuer).deferred("4.7.5", "DANE"),
        // The leaf is no anchor.
        signed("ta-names-the-leaf").at(Private).tlsa("2 0 1", Leaf).deferred("4.7.5", "DANE"),
        signed("ta-of-self-signed").at(SelfSigned).tlsa("2 0 1", Leaf).deferred("4.7.5", "DANE"),
        signed("ta-no-tls").at(Plain).tlsa("2 1 1", Another).deferred("4.7.4", "DANE"),
        // Either kind is enough.
        signed("ta-right-ee-wrong").at(Private).tlsa("3 1 1", Another).tlsa("2 1 1", Issuer)
            .delivered("dnssec", "authenticated"),
        signed("ta-wrong-ee-right").at(Private).tlsa("3 1 1", Leaf).tlsa("2 1 1", Another)
            .delivered("dnssec", "authenticated"),
        // RFC 7672 §3.2.2: the domain of the mail is a reference name, if its list of exchangers is signed.
        signed("ta-for-mail-domain").at(MailDomain).tlsa("2 1 1", Issuer)
            .delivered("dnssec", "authenticated"),
        unsigned("ta-for-mail-domain-unsigned").at(MailDomain).in_zone(Zone::Signed).tlsa("2 1 1", Issuer)
            .deferred("4.7.5", "DANE"),
        unsigned("ta-for-host-unsigned-list").at(Private).in_zone(Zone::Signed).tlsa("2 1 1", Issuer)
            .delivered("none", "authenticated"),
    ]
}
