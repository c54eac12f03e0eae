//! The combination table: every way DANE, MTA-STS, DNSSEC, local minima and the message's wish can meet, against every session.

use super::*;
use crate::address::Domain;
use crate::outcome::Class;
use crate::policy::settings::{LocalPolicy, RequireTls};
use crate::tlsa::record::TlsaRecord;

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
    fn shown(self, dane: &Option<Arc<Tlsa>>) -> Shown {
        let bad = |text: &str| Err(text.to_string());
        let pkix = match self {
            Session::Valid | Session::Both => Ok(()),
            Session::Clear | Session::SelfSigned | Session::Pinned => bad("self-signed"),
        };
        let verdict = match self {
            Session::Pinned | Session::Both => Ok(()),
            Session::Clear | Session::SelfSigned | Session::Valid => bad("no record matches"),
        };
        let dane = dane.clone().map(|tlsa| ByDane { tlsa, verdict });
        let tls = match self {
            Session::Clear => Err("not offered".to_string()),
            _ => Ok(Certificate { pkix, dane, sound: true }),
        };
        Shown { tls, offers_requiretls: false }
    }
}

fn all() -> Policies {
    Policies { mtasts: true, dnssec: true, dane: true, ..Policies::default() }
}

fn not_in_force() -> Dane {
    Dane::NotInForce("no records".into())
}

fn unusable() -> Dane {
    Dane::Unusable(Vec::new())
}

fn usable() -> Dane {
    Dane::Usable(tlsa(7))
}

/// Records that differ by this.
fn tlsa(octet: u8) -> Arc<Tlsa> {
    let base = Domain::parse("mx.example.test").unwrap();
    let record = TlsaRecord { usage: 3, selector: 1, matching: 1, data: vec![octet; 32] };
    Arc::new(Tlsa { base, names: Vec::new(), records: vec![record] })
}

fn facts(dane: Dane, sts: Sts) -> MxFacts {
    MxFacts { sts, dane, ..MxFacts::none() }
}

/// `MX level, TLS level`, or the code that follows.
fn verdict(policies: &Policies, facts: &MxFacts, wish: TlsWish, session: Session) -> String {
    let end = requirement(policies, facts, wish).and_then(|requirement| {
        let tls = requirement.meets(&session.shown(&requirement.dane))?;
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
        (not_in_force(), Sts::Absent, OPPORTUNISTIC),
        (not_in_force(), Sts::Testing(No), OPPORTUNISTIC),
        (
            not_in_force(),
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
            not_in_force(),
            Sts::Enforce(Yes),
            ["451 4.7.4", "451 4.7.5", "mtasts authenticated", "451 4.7.5", "mtasts authenticated"],
        ),
        (not_in_force(), Sts::Enforce(No), ["451 4.7.0"; 5]),
        (
            usable(),
            Sts::Absent,
            ["451 4.7.4", "451 4.7.5", "451 4.7.5", "none authenticated", "none authenticated"],
        ),
        (
            usable(),
            Sts::Testing(Yes),
            ["451 4.7.4", "451 4.7.5", "451 4.7.5", "mtasts authenticated", "mtasts authenticated"],
        ),
        (
            usable(),
            Sts::Enforce(Yes),
            ["451 4.7.4", "451 4.7.5", "451 4.7.5", "mtasts authenticated", "mtasts authenticated"],
        ),
        (usable(), Sts::Enforce(No), ["451 4.7.0"; 5]),
        (
            unusable(),
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
            unusable(),
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
            unusable(),
            Sts::Enforce(Yes),
            ["451 4.7.4", "451 4.7.5", "mtasts authenticated", "451 4.7.5", "mtasts authenticated"],
        ),
        (failed(), Sts::Absent, ["451 4.7.5"; 5]),
        (failed(), Sts::Enforce(Yes), ["451 4.7.5"; 5]),
        (Dane::Unasked("no socket".into()), Sts::Absent, ["451 4.3.0"; 5]),
        (not_in_force(), Sts::NotFetched("404".into()), OPPORTUNISTIC),
        (not_in_force(), Sts::Unsettled("SERVFAIL".into()), OPPORTUNISTIC),
        (not_in_force(), Sts::Unasked("no socket".into()), ["451 4.3.0"; 5]),
        (not_in_force(), Sts::Unavailable("SERVFAIL".into()), ["451 4.4.3"; 5]),
        (usable(), Sts::Unavailable("SERVFAIL".into()), ["451 4.4.3"; 5]),
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
        ..MxFacts::none()
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
    let plain = facts(not_in_force(), Sts::Absent);
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
    let pinned = facts(usable(), Sts::Absent);
    assert_eq!(
        row(&proven, &pinned, TlsWish::Unsaid),
        ["451 4.7.4", "451 4.7.5", "451 4.7.5", "none authenticated", "none authenticated"]
    );
    let mx = with(TlsLevel::None, MxLevel::Mtasts);
    assert_eq!(row(&mx, &plain, TlsWish::Unsaid), ["451 4.7.0"; 5]);
    let listed = facts(not_in_force(), Sts::Testing(Listed::Yes));
    assert_eq!(verdict(&mx, &listed, TlsWish::Unsaid, Session::Clear), "mtasts none");
    let signed = MxFacts { authentic: true, ..listed };
    let dnssec = with(TlsLevel::None, MxLevel::Dnssec);
    assert_eq!(verdict(&dnssec, &signed, TlsWish::Unsaid, Session::Clear), "dnssec none");
    // `TLS-Required: No` switches the minima off, too.
    assert_eq!(verdict(&mx, &plain, TlsWish::Waived, Session::Clear), "none none");
}

#[test]
fn requiretls_wants_a_known_host_a_proven_certificate_and_an_offer() {
    let listed = facts(not_in_force(), Sts::Testing(Listed::Yes));
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
    let unknown = facts(usable(), Sts::Absent);
    assert_eq!(row(&all(), &unknown, TlsWish::Required), ["550 5.7.30"; 5]);
    // It may be had later, or it may be found out.
    for sts in [Sts::NotFetched("404".into()), Sts::Unsettled("SERVFAIL".into())] {
        assert_eq!(row(&all(), &facts(usable(), sts), TlsWish::Required), ["451 4.4.3"; 5]);
    }
    // A resolver of ours that does not validate makes everything look unsigned: that is no verdict on the domain.
    let resolver_fault = Some("the resolver does not vouch for signatures".to_string());
    let blind = MxFacts { resolver_fault, ..unknown };
    assert_eq!(row(&all(), &blind, TlsWish::Required), ["451 4.4.3"; 5]);
    let without = Policies { dnssec: false, ..all() };
    assert_eq!(row(&without, &blind, TlsWish::Required), ["550 5.7.30"; 5]);
    let strict =
        Policies { requiretls: RequireTls { relaxed: false, may_be_waived: true }, ..all() };
    let needed = requirement(&strict, &listed, TlsWish::Required).unwrap();
    let mut shown = Session::Valid.shown(&None);
    let refused = needed.meets(&shown).unwrap_err();
    assert_eq!((refused.cause, refused.class()), (Cause::RequireTlsImpossible, Class::Permanent));
    shown.offers_requiretls = true;
    assert_eq!(needed.meets(&shown), Ok(TlsLevel::Authenticated));
}

#[test]
fn more_knowledge_of_the_list_never_lowers_what_is_demanded() {
    // `levels_only_rise`: with one policy more, what was refused stays refused, and what passes has the same level or a higher one.
    let failed = [Dane::Failed("x".into()), Dane::Unasked("x".into())];
    let danes = [vec![not_in_force(), usable(), unusable()], failed.to_vec()].concat();
    let stss = [
        Sts::Absent,
        Sts::NotFetched("x".into()),
        Sts::Unsettled("x".into()),
        Sts::Unasked("x".into()),
        Sts::Unavailable("x".into()),
        Sts::Testing(Listed::Yes),
        Sts::Testing(Listed::No),
        Sts::Enforce(Listed::Yes),
        Sts::Enforce(Listed::No),
    ];
    for dane in &danes {
        for sts in &stss {
            for authentic in [false, true] {
                let facts =
                    MxFacts { authentic, sts: sts.clone(), dane: dane.clone(), ..MxFacts::none() };
                let without = Policies { dnssec: false, ..all() };
                for session in SESSIONS {
                    let judged = |policies: &Policies| {
                        requirement(policies, &facts, TlsWish::Unsaid)
                            .and_then(|r| Ok((r.mx, r.meets(&session.shown(&r.dane))?)))
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

#[test]
fn a_kept_session_is_worth_what_today_says() {
    let needs =
        |dane: Dane| requirement(&all(), &facts(dane, Sts::Absent), TlsWish::Unsaid).unwrap();
    let shown = |tlsa: Option<Arc<Tlsa>>, sound| {
        let dane = tlsa.map(|tlsa| ByDane { tlsa, verdict: Ok(()) });
        let tls = Ok(Certificate { pkix: Err("self-signed".into()), dane, sound });
        Shown { tls, offers_requiretls: false }
    };
    let cause = |dane: Dane, shown: Shown| needs(dane).meets(&shown).map_err(|f| f.cause);
    assert_eq!(cause(usable(), shown(Some(tlsa(7)), true)), Ok(TlsLevel::Authenticated));
    for other in [Some(tlsa(8)), None] {
        assert_eq!(cause(usable(), shown(other, true)), Err(Cause::TlsUnproven));
    }
    // Records that are gone prove nothing any more.
    assert_eq!(cause(not_in_force(), shown(Some(tlsa(7)), true)), Ok(TlsLevel::Encrypted));
    // Neither does a handshake that took anything.
    assert_eq!(cause(usable(), shown(Some(tlsa(7)), false)), Err(Cause::TlsUnproven));
}

#[test]
fn whatever_keeps_tls_away_is_temporary_and_has_the_name_of_who_demands_it() {
    let sts = facts(not_in_force(), Sts::Enforce(Listed::Yes));
    let needs = requirement(&all(), &sts, TlsWish::Unsaid).unwrap();
    let no = Failure::refused(Stage::StartTls, 554, None, "no TLS for you");
    let refused = needs.explain(no.clone());
    let told = (refused.cause, refused.class(), refused.text.as_str());
    let text = "MTA-STS demands TLS: no TLS for you";
    assert_eq!(told, (Cause::TlsMissing, Class::Temporary, text));
    let broken = needs.explain(Failure::new(Cause::HandshakeFailed, "no shared cipher"));
    assert_eq!(broken.text, "MTA-STS demands TLS: no shared cipher");
    assert_eq!((broken.code, broken.cause), (451, Cause::HandshakeFailed));
    // What has nothing to do with TLS stays as it is, and so does everything where nobody demands it.
    let busy = Failure::refused(Stage::Greeting, 554, None, "no mail here");
    assert_eq!(needs.explain(busy.clone()), busy);
    assert_eq!(Requirement::none().explain(no.clone()), no);
    let local = LocalPolicy { min_tls: TlsLevel::Encrypted, min_mx: MxLevel::None };
    let local = Policies { local, ..Policies::default() };
    let needs = requirement(&local, &MxFacts::none(), TlsWish::Unsaid).unwrap();
    assert_eq!(needs.explain(no).cause, Cause::TlsLevelTooLow);
}
