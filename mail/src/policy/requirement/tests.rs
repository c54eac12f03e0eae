//! The combination table: every way DANE, MTA-STS, DNSSEC, local minima and the message's wish can meet, against every session.

use super::*;
use crate::outcome::Class;
use crate::policy::settings::{LocalPolicy, RequireTls};

/// The sessions there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Clear,
    /// PKIX does not prove the certificate; DANE would not either.
    SelfSigned,
    /// PKIX proves it, DANE would not.
    Valid,
    /// DANE proves it, PKIX does not.
    Pinned,
    Both,
}

const SESSIONS: [Session; 5] =
    [Session::Clear, Session::SelfSigned, Session::Valid, Session::Pinned, Session::Both];

impl Session {
    fn shown(self, dane_asked: bool) -> Shown {
        let bad = |text: &str| Err(text.to_string());
        let pkix = match self {
            Session::Valid | Session::Both => Ok(()),
            Session::Clear | Session::SelfSigned | Session::Pinned => bad("self-signed"),
        };
        let dane = match self {
            Session::Pinned | Session::Both => Ok(()),
            Session::Clear | Session::SelfSigned | Session::Valid => bad("no record matches"),
        };
        let tls = match self {
            Session::Clear => Err("not offered".to_string()),
            _ => Ok(Certificate { pkix, dane: dane_asked.then_some(dane) }),
        };
        Shown { tls, offers_requiretls: false }
    }
}

fn all() -> Policies {
    Policies { mtasts: true, dnssec: true, dane: true, ..Policies::default() }
}

fn facts(dane: Dane, sts: Sts) -> MxFacts {
    MxFacts { authentic: false, sts, dane }
}

/// `MX level, TLS level`, or the code that follows.
fn verdict(policies: &Policies, facts: &MxFacts, wish: TlsWish, session: Session) -> String {
    let end = requirement(policies, facts, wish).and_then(|requirement| {
        let tls = requirement.meets(&session.shown(requirement.dane))?;
        Ok((requirement.mx, tls))
    });
    match end {
        Ok((mx, tls)) => format!("{mx} {tls}"),
        Err(failure) => format!("{} {}", failure.code, failure.status),
    }
}

fn row(policies: &Policies, facts: &MxFacts, wish: TlsWish) -> [String; 5] {
    SESSIONS.map(|session| verdict(policies, facts, wish, session))
}

const OPPORTUNISTIC: [&str; 5] =
    ["none none", "none encrypted", "none authenticated", "none encrypted", "none authenticated"];

#[test]
fn the_combination_table() {
    use Listed::{No, Yes};
    let failed = || Dane::Failed("SERVFAIL".into());
    // With DANE in force its verdict is the only one; else PKIX is: `Pinned` shows nothing then.
    let rows: Vec<(Dane, Sts, [&str; 5])> = vec![
        (Dane::NotInForce, Sts::Absent, OPPORTUNISTIC),
        (Dane::NotInForce, Sts::Testing(No), OPPORTUNISTIC),
        (
            Dane::NotInForce,
            Sts::Testing(Yes),
            [
                "mtasts none",
                "mtasts encrypted",
                "mtasts authenticated",
                "mtasts encrypted",
                "mtasts authenticated",
            ],
        ),
        (
            Dane::NotInForce,
            Sts::Enforce(Yes),
            ["451 4.7.4", "451 4.7.5", "mtasts authenticated", "451 4.7.5", "mtasts authenticated"],
        ),
        (Dane::NotInForce, Sts::Enforce(No), ["451 4.7.0"; 5]),
        (
            Dane::Usable,
            Sts::Absent,
            ["451 4.7.4", "451 4.7.5", "451 4.7.5", "none authenticated", "none authenticated"],
        ),
        (
            Dane::Usable,
            Sts::Testing(Yes),
            ["451 4.7.4", "451 4.7.5", "451 4.7.5", "mtasts authenticated", "mtasts authenticated"],
        ),
        (
            Dane::Usable,
            Sts::Enforce(Yes),
            ["451 4.7.4", "451 4.7.5", "451 4.7.5", "mtasts authenticated", "mtasts authenticated"],
        ),
        (Dane::Usable, Sts::Enforce(No), ["451 4.7.0"; 5]),
        (
            Dane::Unusable,
            Sts::Absent,
            [
                "451 4.7.4",
                "none encrypted",
                "none authenticated",
                "none encrypted",
                "none authenticated",
            ],
        ),
        (
            Dane::Unusable,
            Sts::Testing(Yes),
            [
                "451 4.7.4",
                "mtasts encrypted",
                "mtasts authenticated",
                "mtasts encrypted",
                "mtasts authenticated",
            ],
        ),
        (
            Dane::Unusable,
            Sts::Enforce(Yes),
            ["451 4.7.4", "451 4.7.5", "mtasts authenticated", "451 4.7.5", "mtasts authenticated"],
        ),
        (failed(), Sts::Absent, ["451 4.7.5"; 5]),
        (failed(), Sts::Enforce(Yes), ["451 4.7.5"; 5]),
        (Dane::NotInForce, Sts::Unavailable("SERVFAIL".into()), ["451 4.4.3"; 5]),
        (Dane::Usable, Sts::Unavailable("SERVFAIL".into()), ["451 4.4.3"; 5]),
    ];
    for (dane, sts, expected) in rows {
        let facts = facts(dane, sts);
        assert_eq!(row(&all(), &facts, TlsWish::Unsaid), expected, "{facts:?}");
        // The sender waives it: nothing is refused, and levels are as reached.
        let waived = row(&all(), &facts, TlsWish::Waived);
        let tls = waived.each_ref().map(|verdict| verdict.split(' ').nth(1).unwrap().to_string());
        assert_eq!(tls, ["none", "encrypted", "authenticated", "encrypted", "authenticated"]);
        let mut strict = all();
        strict.requiretls.may_be_waived = false;
        assert_eq!(row(&strict, &facts, TlsWish::Waived), expected, "{facts:?}");
    }
}

#[test]
fn what_is_not_configured_is_not_obeyed() {
    let facts = MxFacts {
        authentic: true,
        sts: Sts::Enforce(Listed::No),
        dane: Dane::Failed("SERVFAIL".into()),
    };
    assert_eq!(row(&Policies::default(), &facts, TlsWish::Unsaid), OPPORTUNISTIC);
    let only = |dnssec| Policies { dnssec, ..Policies::default() };
    assert_eq!(
        verdict(&only(true), &facts, TlsWish::Unsaid, Session::Valid),
        "dnssec authenticated"
    );
}

#[test]
fn local_minima_come_last() {
    let with = |min_tls, min_mx| Policies { local: LocalPolicy { min_tls, min_mx }, ..all() };
    let plain = facts(Dane::NotInForce, Sts::Absent);
    let tls = with(TlsLevel::Encrypted, MxLevel::None);
    assert_eq!(
        row(&tls, &plain, TlsWish::Unsaid),
        [
            "451 4.7.1",
            "none encrypted",
            "none authenticated",
            "none encrypted",
            "none authenticated"
        ]
    );
    let proven = with(TlsLevel::Authenticated, MxLevel::None);
    assert_eq!(
        row(&proven, &plain, TlsWish::Unsaid),
        ["451 4.7.1", "451 4.7.1", "none authenticated", "451 4.7.1", "none authenticated"]
    );
    // DANE is proof enough, and its own failures keep their names.
    let pinned = facts(Dane::Usable, Sts::Absent);
    assert_eq!(
        row(&proven, &pinned, TlsWish::Unsaid),
        ["451 4.7.4", "451 4.7.5", "451 4.7.5", "none authenticated", "none authenticated"]
    );
    let mx = with(TlsLevel::None, MxLevel::Mtasts);
    assert_eq!(row(&mx, &plain, TlsWish::Unsaid), ["451 4.7.0"; 5]);
    let listed = facts(Dane::NotInForce, Sts::Testing(Listed::Yes));
    assert_eq!(verdict(&mx, &listed, TlsWish::Unsaid, Session::Clear), "mtasts none");
    let signed = MxFacts { authentic: true, ..listed };
    let dnssec = with(TlsLevel::None, MxLevel::Dnssec);
    assert_eq!(verdict(&dnssec, &signed, TlsWish::Unsaid, Session::Clear), "dnssec none");
    // `TLS-Required: No` switches the minima off, too.
    assert_eq!(verdict(&mx, &plain, TlsWish::Waived, Session::Clear), "none none");
}

#[test]
fn requiretls_wants_a_known_host_a_proven_certificate_and_an_offer() {
    let listed = facts(Dane::NotInForce, Sts::Testing(Listed::Yes));
    assert_eq!(
        row(&all(), &listed, TlsWish::Required),
        [
            "550 5.7.30", // no TLS at all: not to be repaired by waiting
            "451 4.7.5",
            "mtasts authenticated",
            "451 4.7.5",
            "mtasts authenticated"
        ]
    );
    let unknown = facts(Dane::Usable, Sts::Absent);
    assert_eq!(row(&all(), &unknown, TlsWish::Required), ["550 5.7.30"; 5]);
    let strict =
        Policies { requiretls: RequireTls { relaxed: false, may_be_waived: true }, ..all() };
    let needed = requirement(&strict, &listed, TlsWish::Required).unwrap();
    let mut shown = Session::Valid.shown(false);
    let refused = needed.meets(&shown).unwrap_err();
    assert_eq!((refused.cause, refused.class()), (Cause::RequireTlsImpossible, Class::Permanent));
    shown.offers_requiretls = true;
    assert_eq!(needed.meets(&shown), Ok(TlsLevel::Authenticated));
}

#[test]
fn more_knowledge_of_the_list_never_lowers_what_is_demanded() {
    // `levels_only_rise`: with one policy more, what was refused stays refused, and what passes has the same level or a higher one.
    let danes = [Dane::NotInForce, Dane::Usable, Dane::Unusable, Dane::Failed("x".into())];
    let stss = [
        Sts::Absent,
        Sts::Unavailable("x".into()),
        Sts::Testing(Listed::Yes),
        Sts::Testing(Listed::No),
        Sts::Enforce(Listed::Yes),
        Sts::Enforce(Listed::No),
    ];
    for dane in &danes {
        for sts in &stss {
            for authentic in [false, true] {
                let facts = MxFacts { authentic, sts: sts.clone(), dane: dane.clone() };
                let without = Policies { dnssec: false, ..all() };
                for session in SESSIONS {
                    let judged = |policies: &Policies| {
                        requirement(policies, &facts, TlsWish::Unsaid)
                            .and_then(|r| Ok((r.mx, r.meets(&session.shown(r.dane))?)))
                    };
                    match (judged(&without), judged(&all())) {
                        (Ok((mx, tls)), Ok((more, same))) => assert!(mx <= more && tls == same),
                        (Err(a), Err(b)) => assert_eq!(a.cause, b.cause),
                        (a, b) => panic!("{facts:?} {session:?}: {a:?} {b:?}"),
                    }
                }
            }
        }
    }
}
