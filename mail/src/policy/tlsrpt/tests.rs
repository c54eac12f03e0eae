use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::certificate::{DaneMatch, Mistrust};
use crate::route::mx::NextHop;
use crate::sts::Standing;
use crate::sts::freshness::Entry;
use crate::sts::policy::Policy;
use crate::sts::record::RecordId;
use crate::sts::response::FetchError;
use crate::time::Timestamp;
use crate::tlsa::Tlsa;
use crate::tlsa::record::TlsaRecord;

const TEXT: &str = "version: STSv1\nmode: testing\nmx: *.example.test\nmax_age: 604800\n";

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn at(host: &str) -> Candidate {
    let (domain, authentic, implicit) = (domain("example.test"), true, false);
    let next_hop = NextHop { domain, canonical: None, authentic, implicit };
    Candidate::new(10, self::domain(host), &Arc::new(next_hop))
}

fn policy() -> StsAnswer {
    let now = Timestamp::from_secs(1000);
    let entry = Entry {
        policy: Policy::parse(TEXT.as_bytes()).unwrap(),
        text: TEXT.to_string(),
        id: RecordId::parse("1").unwrap(),
        fetched: now,
        expires: now.plus(Duration::from_secs(604_800)),
        last_used: now,
    };
    StsAnswer::Policy { entry: Arc::new(entry), standing: Standing::Current }
}

fn record() -> TlsaRecord {
    TlsaRecord { usage: 3, selector: 1, matching: 1, data: vec![7; 32] }
}

fn usable() -> Dane {
    let (base, names) = (domain("mx.example.test"), Vec::new());
    Dane::Usable(Arc::new(Tlsa { base, names, records: vec![record()] }))
}

fn matched() -> DaneVerdict {
    DaneVerdict::Matched(DaneMatch { record: record(), depth: 0, name: None })
}

/// `policy domain: result`, of each verdict.
fn told(host: &str, sts: Option<&StsAnswer>, dane: Dane, end: End<'_>) -> Vec<String> {
    let policies = Policies { mtasts: true, dane: true, ..Policies::default() };
    let facts = MxFacts { authentic: true, dane, ..MxFacts::none() };
    let line = |verdict: &Verdict| {
        let failure = verdict.failure.as_ref();
        let result = failure.map_or("success".to_string(), |failure| failure.kind.to_string());
        format!("{} {}: {result}", verdict.kind, verdict.domain)
    };
    verdicts(&policies, &at(host), sts, &facts, end).iter().map(line).collect()
}

fn none() -> Dane {
    Dane::NotInForce("none".to_string())
}

#[test]
fn each_policy_has_a_verdict_of_its_own() {
    let (matched, policy) = (matched(), policy());
    let expired = (Reason::Expired, "certificate has expired");
    let shown = Shown { pkix: Some(expired), dane: &matched };
    let both = told("mx.example.test", Some(&policy), usable(), End::Session(Some(shown)));
    assert_eq!(both, ["sts example.test: certificate-expired", "tlsa mx.example.test: success"]);
    let verdicts = verdicts(
        &Policies { mtasts: true, ..Policies::default() },
        &at("mx.example.test"),
        Some(&policy),
        &MxFacts::none(),
        End::Session(None),
    );
    assert_eq!(verdicts[0].text, TEXT.lines().collect::<Vec<_>>());
    assert_eq!(verdicts[0].hosts, ["*.example.test"]);
}

#[test]
fn certificates_fail_by_their_own_words() {
    let refused = DaneVerdict::Refused(Mistrust {
        reason: Reason::NoRecordMatches,
        text: "no record matches".to_string(),
    });
    let not_asked = DaneVerdict::NotAsked;
    let policy = policy();
    let session = |pkix, dane| End::Session(Some(Shown { pkix, dane }));
    for (reason, name) in [
        (Reason::Expired, "certificate-expired"),
        (Reason::NameMismatch, "certificate-host-mismatch"),
        (Reason::NotTrusted, "certificate-not-trusted"),
        (Reason::Other, "validation-failure"),
    ] {
        let end = session(Some((reason, "why")), &not_asked);
        let told = told("mx.example.test", Some(&policy), none(), end);
        assert_eq!(told, [format!("sts example.test: {name}")]);
    }
    let end = session(None, &refused);
    let dane = told("mx.example.test", None, usable(), end);
    assert_eq!(dane, ["tlsa mx.example.test: validation-failure"]);
    let listed = session(None, &not_asked);
    let other = told("mx.other.test", Some(&policy), none(), listed);
    assert_eq!(other, ["sts example.test: validation-failure"]); // not in the policy
    // Without a policy any certificate will do.
    let any = session(Some((Reason::NotTrusted, "self-signed")), &not_asked);
    assert_eq!(
        told("mx.example.test", None, none(), any),
        ["no-policy-found example.test: success"]
    );
}

#[test]
fn what_kept_a_session_from_tls() {
    let failure = |cause| Failure::new(cause, "why");
    let under =
        |failure: &Failure| told("mx.example.test", None, usable(), End::Failure(failure)).concat();
    let unsupported = "tlsa mx.example.test: starttls-not-supported";
    assert_eq!(under(&failure(Cause::TlsMissing)), unsupported);
    assert_eq!(under(&failure(Cause::Refused(Stage::StartTls))), unsupported);
    let invalid = "tlsa mx.example.test: validation-failure";
    assert_eq!(under(&failure(Cause::HandshakeFailed)), invalid);
    assert_eq!(under(&failure(Cause::TimedOut(Stage::StartTls))), invalid);
    // Nothing of TLS.
    for cause in [Cause::Unreachable, Cause::Refused(Stage::Greeting), Cause::OwnResources] {
        assert_eq!(under(&failure(cause)), "");
    }
    let clear = told("mx.example.test", None, none(), End::Session(None));
    assert_eq!(clear, ["no-policy-found example.test: starttls-not-supported"]);
}

#[test]
fn what_was_wrong_with_the_policies_themselves() {
    let not_asked = DaneVerdict::NotAsked;
    let fine = End::Session(Some(Shown { pkix: None, dane: &not_asked }));
    let not_fetched = |why| StsAnswer::Absent(Absent::NotFetched(why));
    for (why, name) in [
        (FetchError::Status(404), "sts-policy-fetch-error"),
        (FetchError::Certificate("expired".into()), "sts-webpki-invalid"),
    ] {
        let told = told("mx.example.test", Some(&not_fetched(why)), none(), fine);
        assert_eq!(told, [format!("sts example.test: {name}")]);
    }
    let ours = not_fetched(FetchError::Ours("no descriptor".into()));
    let told_of_ours = told("mx.example.test", Some(&ours), none(), fine);
    assert_eq!(told_of_ours, ["no-policy-found example.test: success"]);
    let unusable = told("mx.example.test", None, Dane::Unusable(vec![record()]), fine);
    assert_eq!(unusable, ["tlsa mx.example.test: tlsa-invalid"]);
    let failed = Failure::new(Cause::TlsaFailed, "SERVFAIL");
    let bogus = Dane::Failed("SERVFAIL".into());
    let bogus = told("mx.example.test", None, bogus, End::Failure(&failed));
    assert_eq!(bogus, ["tlsa mx.example.test: dnssec-invalid"]);
}
