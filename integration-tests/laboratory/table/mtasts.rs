//! MTA-STS (RFC 8461): modes, matching, and what a session has to be like.

use crate::policy::Record::*;
use crate::row::{Row, Zone, signed, unsigned};
use crate::server::Server::*;
use crate::stance::Stance::*;
use crate::tlsa::Of::*;

#[rustfmt::skip] // a row is a sentence
pub fn rows() -> Vec<Row> {
    vec![
        unsigned("enforce").at(Good).sts("enforce").delivered("mtasts", "authenticated"),
        signed("enforce-signed").at(Good).sts("enforce").delivered("dnssec", "authenticated"),
        unsigned("enforce-exim").at(EximGood).sts("enforce").delivered("mtasts", "authenticated"),
        unsigned("enforce-intermediate").at(Chained).sts("enforce").delivered("mtasts", "authenticated"),
        unsigned("enforce-implicit").at(Good).implicit().sts("enforce")
            .delivered("mtasts", "authenticated"),
        signed("only-mtasts").at(Good).sts("enforce").under(OnlyMtasts).delivered("mtasts", "authenticated"),
        signed("only-mtasts-mismatch").at(Good).tlsa("3 1 1", Another).sts("enforce").under(OnlyMtasts)
            .delivered("mtasts", "authenticated"),
        signed("only-dane-not-listed").at(SelfSigned).tlsa("3 1 1", Leaf).sts("enforce")
            .listing(&["mx.elsewhere.test"]).under(OnlyDane).delivered("none", "authenticated"),
        unsigned("mtasts-not-configured").at(Plain).sts("enforce").under(Open).delivered("none", "none"),
        // What falls short.
        unsigned("enforce-no-tls").at(Plain).sts("enforce").deferred("4.7.4", "MTA-STS"),
        unsigned("enforce-starttls-refused").at(Refusing).sts("enforce").deferred("4.7.4", "MTA-STS"),
        unsigned("enforce-handshake-fails").at(Broken).sts("enforce").deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-too-old").at(TooOld).sts("enforce").deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-self-signed").at(SelfSigned).sts("enforce").deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-expired").at(Expired).sts("enforce").deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-wrong-name").at(WrongName).sts("enforce").deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-unknown-authority").at(Private).sts("enforce").deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-exim-self-signed").at(EximSelfSigned).sts("enforce").deferred("4.7.5", "MTA-STS"),
        // RFC 8461 §4.2: the host's name, not one that the policy lists besides.
        unsigned("enforce-mail-domain").at(MailDomain).sts("enforce").listing(&["mx1.{d}", "{d}"])
            .deferred("4.7.5", "MTA-STS"),
        unsigned("enforce-alias").at(Good).alias_into(Zone::Unsigned).sts("enforce")
            .delivered("mtasts", "authenticated"),
        unsigned("enforce-alias-listed").at(Good).alias_into(Zone::Unsigned).sts("enforce")
            .listing(&["real1.{d}"]).deferred("4.7.0", "MTA-STS"),
        // RFC 8461 §4.1: a wildcard is one label.
        unsigned("enforce-pattern").at(Good).sts("enforce").listing(&["*.{d}"])
            .delivered("mtasts", "authenticated"),
        unsigned("enforce-pattern-above").at(Good).sts("enforce").listing(&["*.unsigned.test"])
            .deferred("4.7.0", "MTA-STS"),
        unsigned("enforce-pattern-implicit").at(Good).implicit().sts("enforce").listing(&["*.{d}"])
            .deferred("4.7.0", "MTA-STS"),
        unsigned("enforce-not-listed").at(Good).sts("enforce").listing(&["mx.elsewhere.test"])
            .deferred("4.7.0", "MTA-STS"),
        signed("enforce-not-listed-signed").at(Good).sts("enforce").listing(&["mx.elsewhere.test"])
            .deferred("4.7.0", "MTA-STS"),
        unsigned("enforce-next-listed").at(Good).at(Chained).sts("enforce").listing(&["mx2.{d}"])
            .delivered("mtasts", "authenticated"),
        unsigned("enforce-next-proven").at(SelfSigned).at(Good).sts("enforce")
            .delivered("mtasts", "authenticated"),
        // Testing tells and hinders nobody.
        unsigned("testing").at(Good).sts("testing").delivered("mtasts", "authenticated"),
        unsigned("testing-no-tls").at(Plain).sts("testing").delivered("mtasts", "none"),
        unsigned("testing-self-signed").at(SelfSigned).sts("testing").delivered("mtasts", "encrypted"),
        unsigned("testing-expired").at(Expired).sts("testing").delivered("mtasts", "encrypted"),
        unsigned("testing-wrong-name").at(WrongName).sts("testing").delivered("mtasts", "encrypted"),
        unsigned("testing-too-old").at(TooOld).sts("testing").delivered("mtasts", "encrypted"),
        unsigned("testing-handshake-fails").at(Broken).sts("testing").delivered("mtasts", "none"),
        unsigned("testing-starttls-refused").at(Refusing).sts("testing").delivered("mtasts", "none"),
        unsigned("testing-not-listed").at(Good).sts("testing").listing(&["mx.elsewhere.test"])
            .delivered("none", "authenticated"),
        unsigned("mode-none").at(Plain).sts("none").delivered("none", "none"),
        unsigned("mode-none-not-listed").at(Good).sts("none").listing(&["mx.elsewhere.test"])
            .delivered("none", "authenticated"),
        unsigned("mode-none-self-signed").at(SelfSigned).sts("none").delivered("none", "encrypted"),
        // The record: what is no record counts for nothing, two are as none.
        unsigned("record-two").at(Plain).sts("enforce").record(Two).delivered("none", "none"),
        unsigned("record-without-id").at(Plain).sts("enforce").record(WithoutId).delivered("none", "none"),
        unsigned("record-missing").at(Plain).sts("enforce").record(Missing).delivered("none", "none"),
        unsigned("record-beside-another").at(Plain).sts("enforce").record(BesideAnother)
            .deferred("4.7.4", "MTA-STS"),
        unsigned("record-alias").at(Plain).sts("enforce").record(ByAlias).deferred("4.7.4", "MTA-STS"),
        signed("record-bogus").at(Good).sts("enforce").bogus("_mta-sts", "TXT")
            .deferred("4.4.3", "MTA-STS"),
    ]
}
