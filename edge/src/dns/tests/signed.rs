//! What is signed and what is not: TLSA, aliases, proofs of absence, and servers that say so rightly or wrongly.

use hickory_resolver::proto::rr::rdata::TLSA;

use super::*;

fn tlsa(owner: &str, usage: u8) -> Record {
    record(owner, RData::TLSA(TLSA::new(usage.into(), 1.into(), 1.into(), vec![7; 32])))
}

#[tokio::test]
async fn tlsa_is_as_authentic_as_every_alias_on_the_way() {
    let fake = Fake::signing(
        |asked, kind| {
            assert_eq!(kind, RecordType::TLSA);
            let records = match asked {
                "_25._tcp.mx.test." | "_25._tcp.plain.test." => {
                    vec![tlsa(asked, 3), tlsa(asked, 250)]
                }
                "_25._tcp.alias.test." => {
                    vec![alias(asked, "_25._tcp.mx.test."), tlsa("_25._tcp.mx.test.", 3)]
                }
                "_25._tcp.out.test." => vec![alias(asked, "_25._tcp.plain.test.")],
                "_25._tcp.in.test." => vec![alias(asked, "_25._tcp.mx.test.")],
                "_25._tcp.broken.test." => return (ResponseCode::ServFail, vec![]),
                "_25._tcp.none.test." => vec![],
                _ => return (ResponseCode::NXDomain, vec![]),
            };
            (ResponseCode::NoError, records)
        },
        |asked, _| !matches!(asked, "_25._tcp.plain.test." | "_25._tcp.in.test."),
    );
    let resolver = resolver(&fake, &clock());
    let found = async |base| match resolver.tlsa(&domain(base)).await {
        Lookup::Found { value, authentic, .. } => (value, authentic),
        other => panic!("{base}: {other:?}"),
    };
    let (records, authentic) = found("mx.test").await;
    assert!(authentic && records.len() == 2);
    assert_eq!(records[0].to_string(), format!("3 1 1 {}", "07".repeat(32)));
    assert_eq!(records[1].usage, 250); // kept, to be told that it cannot be used
    assert!(!found("plain.test").await.1);
    assert!(found("alias.test").await.1);
    assert!(!found("out.test").await.1); // signed, and leads to what is not
    assert!(!found("in.test").await.1); // not signed, and leads to what is
    let answer = resolver.tlsa(&domain("broken.test")).await;
    assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
    let answer = resolver.tlsa(&domain("none.test")).await;
    assert!(matches!(answer, Lookup::Absent { absence: Absence::NoSuchRecord, .. }), "{answer:?}");
    let answer = resolver.tlsa(&domain("missing.test")).await;
    assert!(matches!(answer, Lookup::Absent { absence: Absence::NoSuchName, .. }), "{answer:?}");
    let asked = fake.asked();
    let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(57)].join(".");
    let answer = resolver.tlsa(&domain(&long)).await;
    assert_eq!((answer, fake.asked()), (Lookup::absent(Absence::NoSuchName), asked));
}

#[tokio::test]
async fn tlsa_is_forgotten_with_its_ttl() {
    let fake = Fake::start(|asked, _| (ResponseCode::NoError, vec![tlsa(asked, 3)]));
    let clock = clock();
    let resolver = resolver(&fake, &clock);
    for (later, asked) in [(0, 1), (59, 1), (1, 2)] {
        clock.advance(Duration::from_secs(later));
        let answer = resolver.tlsa(&domain("mx.test")).await;
        assert!(matches!(answer, Lookup::Found { authentic: true, .. }), "{answer:?}");
        assert_eq!(fake.asked(), asked);
    }
}

#[tokio::test]
async fn an_alias_is_signed_or_not_wherever_it_leads() {
    let fake = Fake::signing(
        |asked, kind| {
            let records = match (asked, kind) {
                ("signed.test." | "unsigned.test.", RecordType::CNAME) => {
                    vec![alias(asked, "Mx.Elsewhere.test.")]
                }
                ("signed.test.", RecordType::A) => {
                    vec![alias(asked, "mx.elsewhere.test."), four("mx.elsewhere.test.")]
                }
                ("broken.test.", _) => return (ResponseCode::ServFail, vec![]),
                _ => vec![],
            };
            (ResponseCode::NoError, records)
        },
        |asked, kind| asked == "signed.test." && kind == RecordType::CNAME,
    );
    let resolver = resolver(&fake, &clock());
    for (asked, authentic) in [("signed.test", true), ("unsigned.test", false)] {
        let value = domain("mx.elsewhere.test");
        let expected = Lookup::Found { value, authentic, canonical: None };
        assert_eq!(resolver.alias(&domain(asked)).await, expected);
    }
    match resolver.addresses(&domain("signed.test"), Families::OnlyIpv4).await {
        Lookup::Found { value, .. } => assert!(!value.authentic_v4), // which is why the alias is asked for
        other => panic!("{other:?}"),
    }
    let answer = resolver.alias(&domain("mx.test")).await;
    assert_eq!(answer, Lookup::absent(Absence::NoSuchRecord));
    let answer = resolver.alias(&domain("broken.test")).await;
    assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
}

#[tokio::test]
async fn that_there_is_no_mx_can_be_proven() {
    let fake = Fake::signing(
        |asked, _| match asked {
            "has.test." => (ResponseCode::NoError, vec![mx(asked)]),
            "alias.test." => (ResponseCode::NoError, vec![alias(asked, "signed.test.")]),
            "out.test." => (ResponseCode::NoError, vec![alias(asked, "unsigned.test.")]),
            "missing.test." => (ResponseCode::NXDomain, vec![]),
            "broken.test." => (ResponseCode::ServFail, vec![]),
            _ => (ResponseCode::NoError, vec![]),
        },
        |asked, _| asked != "unsigned.test.",
    );
    let resolver = resolver(&fake, &clock());
    let proven = async |asked| match resolver.mx_or_proof(&domain(asked)).await {
        Lookup::Absent { absence: Absence::NoSuchRecord, authentic } => authentic,
        other => panic!("{asked}: {other:?}"),
    };
    assert!(proven("signed.test").await && proven("alias.test").await);
    assert!(!proven("unsigned.test").await && !proven("out.test").await);
    // All else is as it was told first.
    let answer = resolver.mx_or_proof(&domain("has.test")).await;
    assert!(matches!(answer, Lookup::Found { authentic: true, .. }), "{answer:?}");
    let answer = resolver.mx_or_proof(&domain("missing.test")).await;
    assert!(matches!(answer, Lookup::Absent { absence: Absence::NoSuchName, .. }), "{answer:?}");
    let answer = resolver.mx_or_proof(&domain("broken.test")).await;
    assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
}

/// A proof that is not to be had just now is no proof of the contrary.
#[tokio::test]
async fn a_proof_that_fails_is_a_failed_lookup() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::signing(
        |_, _| match ASKED.fetch_add(1, Ordering::Relaxed) {
            0 => (ResponseCode::NoError, vec![]),
            _ => (ResponseCode::ServFail, vec![]),
        },
        |_, _| true,
    );
    let answer = resolver(&fake, &clock()).mx_or_proof(&domain("signed.test")).await;
    assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
}

fn probes(signed: &[&str], unsigned: &[&str], bogus: &[&str]) -> Probes {
    let all =
        |names: &[&str]| names.iter().filter_map(|name| Probe::domain(&domain(name))).collect();
    Probes { signed: all(signed), unsigned: all(unsigned), bogus: all(bogus) }
}

async fn validation(says: Says, signs: Signs, probes: &Probes) -> Validation {
    resolver(&Fake::signing(says, signs), &clock()).validates(probes).await
}

/// As a server that validates: `signed.test` and the root are signed, `bogus.test` wrongly.
fn validating(asked: &str, _: RecordType) -> (ResponseCode, Vec<Record>) {
    match asked {
        "bogus.test." => (ResponseCode::ServFail, vec![]),
        "." => (ResponseCode::NoError, vec![]),
        _ => (ResponseCode::NoError, vec![four(asked)]),
    }
}

fn signs(asked: &str, _: RecordType) -> bool {
    matches!(asked, "signed.test." | ".")
}

#[tokio::test]
async fn a_server_that_validates_is_known_by_what_it_says_of_known_names() {
    let all = probes(&["signed.test"], &["unsigned.test"], &["bogus.test"]);
    assert_eq!(validation(validating, signs, &all).await, Validation::Yes);
    assert_eq!(validation(validating, signs, &Probes::default()).await, Validation::Yes);
    // One signed name is enough, another may be out of reach or be signed no more.
    let some = probes(&["bogus.test", "unsigned.test", "signed.test"], &[], &[]);
    assert_eq!(validation(validating, signs, &some).await, Validation::Yes);
}

#[tokio::test]
async fn a_server_that_does_not_is_told_by_why() {
    let all = probes(&["signed.test"], &["unsigned.test"], &["bogus.test"]);
    let never = validation(validating, |_, _| false, &all).await;
    assert!(matches!(&never, Validation::No(why) if why.ends_with("without AD bit")), "{never}");
    let always = validation(validating, |_, _| true, &all).await;
    assert!(matches!(&always, Validation::No(why) if why.contains("not signed")), "{always}");
    let gives_all: Says = |asked, _| (ResponseCode::NoError, vec![four(asked)]);
    let bogus = validation(gives_all, signs, &all).await;
    assert!(matches!(&bogus, Validation::No(why) if why.contains("are wrong")), "{bogus}");
    // Nobody on the way to 192.0.2.1 is asked: its word would not count.
    let far = Resolver::new(&["192.0.2.1:53".parse().unwrap()], clock(), Signed::Unneeded).unwrap();
    let far = far.validates(&all).await;
    assert!(matches!(&far, Validation::No(why) if why.contains("not on this machine")), "{far}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_known_to_be_either() {
    let broken: Says = |_, _| (ResponseCode::ServFail, vec![]);
    let end = validation(broken, |_, _| false, &Probes::default()).await;
    assert!(matches!(end, Validation::Unknown(_)), "{end}");
    let nobody = UdpSocket::bind(("127.0.0.1", 0)).unwrap(); // takes questions and answers none
    let silent = nobody.local_addr().unwrap();
    let hasty = Patience { round: Duration::from_millis(200), rounds: 1 };
    let of = |servers: &[SocketAddr]| {
        Resolver::asking(
            each(servers, hasty, Signed::Unneeded).unwrap(),
            None,
            clock(),
            Signed::Unneeded,
        )
        .unwrap()
    };
    let end = of(&[silent]).validates(&Probes::default()).await;
    assert!(matches!(end, Validation::Unknown(_)), "{end}");
    // Nor does it take anything from what another says.
    let (good, bad) = (Fake::signing(validating, signs), Fake::signing(validating, |_, _| false));
    let end = of(&[silent, good.address]).validates(&Probes::default()).await;
    assert_eq!(end, Validation::Yes);
    let end = of(&[good.address, bad.address]).validates(&Probes::default()).await;
    assert!(matches!(end, Validation::No(_)), "{end}");
}
