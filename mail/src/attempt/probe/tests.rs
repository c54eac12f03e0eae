use super::*;
use crate::attempt::ports::Introduction;
use crate::attempt::remote::tests::{Line, World, ip, mx, now, two, v6};
use crate::level::{MxLevel, TlsLevel};
use crate::lookup::Absence;
use crate::outcome::{Cause, Stage};
use crate::policy::settings::{LocalPolicy, Policies};
use crate::wire::client::transaction::Standing;

impl ProbePorts for World {
    fn introduction(&self, line: &Line) -> Introduction {
        let greeting = format!("{} ready", line.host);
        Introduction { greeting, name: line.host.clone(), ..Introduction::default() }
    }
    async fn leave(&mut self, _: Line) {
        self.released.push(Standing::Good);
    }
}

fn rules(allow_address_literal: bool) -> Rules {
    Rules { our_name: "me.test".into(), allow_address_literal }
}

fn look(world: &mut World, destination: &DestinationKey) -> Vec<Finding> {
    let mut told = Vec::new();
    let mut tell = |finding| told.push(finding);
    now(probe(destination, &rules(true), world, &mut Dice::new(1), &mut tell));
    told
}

fn example() -> DestinationKey {
    DestinationKey::Domain(Domain::parse("example.org").unwrap())
}

fn verdict_of(told: &[Finding]) -> VerdictLine {
    let mut verdicts = told.iter().filter_map(|finding| match finding {
        Finding::Verdict(verdict) => Some(verdict.clone()),
        _ => None,
    });
    let verdict = verdicts.next().expect("a verdict");
    assert_eq!(verdicts.next(), None, "one verdict");
    verdict
}

/// What was told, a word a finding; `+` and `-` are contacts of the attempt, `(+)` and `(-)` those beside it.
fn words(told: &[Finding]) -> Vec<String> {
    let word = |finding: &Finding| match finding {
        Finding::Exchangers(line) => format!("mx {}", line.hosts.len()),
        Finding::Host(line) => format!("{} {}", line.host, line.addresses.len()),
        Finding::Policies(line) => format!("{} {}", line.host, line.tls_level),
        Finding::Contact(line) => {
            let sign = if line.failure.is_none() { "+" } else { "-" };
            match line.in_attempt {
                true => format!("{sign}{}", line.address),
                false => format!("({sign}){}", line.address),
            }
        }
        Finding::Verdict(line) => format!("{:?}", line.end),
        Finding::Stopped { why } => why.clone(),
    };
    told.iter().map(word).collect()
}

fn no(_: IpAddr) -> Result<(), Failure> {
    Err(Failure::refused(Stage::Greeting, 554, None, "no mail here"))
}

fn dead(_: IpAddr) -> Result<(), Failure> {
    Err(Failure::new(Cause::Unreachable, "refused"))
}

#[test]
fn the_verdict_comes_with_the_first_session_and_the_rest_behind_it() {
    let mut world = two();
    let told = look(&mut world, &example());
    let expected = ["mx 2", "mx1.test 1", "+192.0.2.1", "Session", "mx2.test 1", "(+)192.0.2.2"];
    assert_eq!(words(&told), expected);
    let verdict = verdict_of(&told);
    assert_eq!(verdict.remote.unwrap().host, "mx1.test");
    assert!(world.transactions.is_empty() && world.outcomes.is_empty()); // no mail, nothing settled
    assert_eq!(world.released.len(), 2); // both were taken leave of
    let Finding::Contact(line) = &told[2] else { panic!() };
    assert_eq!(line.session.as_ref().unwrap().greeting, "mx1.test ready");
}

type Make = fn() -> World;

/// Worlds in which an attempt ends in all kinds of ways.
const WORLDS: &[Make] = &[
    two,
    || World { connect: Box::new(no), ..two() },
    || World { connect: Box::new(dead), ..two() },
    || World { connect: Box::new(|a| if a == ip(1) { no(a) } else { dead(a) }), ..two() },
    || World { connect: Box::new(|a| if a == ip(1) { dead(a) } else { Ok(()) }), ..two() },
    || World { connect: Box::new(no), missing_family: true, ..two() },
    || World { mx: Lookup::Failed("SERVFAIL".into()), ..two() },
    || World { mx: Lookup::Looping("circle".into()), ..two() },
    || World { mx: Lookup::Unasked("no server".into()), ..two() },
    || World { mx: Lookup::absent(Absence::NoSuchName), ..two() },
    || World { mx: Lookup::absent(Absence::NoSuchRecord), ..two() },
    || World { mx: mx(&[(0, ".")]), ..two() },
    || World { mx: mx(&[(10, "me.test.")]), ..two() },
    || World { mx: mx(&[(10, "mx1.test."), (20, "me.test.")]), connect: Box::new(dead), ..two() },
    || World { addresses: Box::new(|_| Lookup::absent(Absence::NoSuchRecord)), ..two() },
    || World { addresses: Box::new(|_| Lookup::Failed("timeout".into())), ..two() },
    || World {
        addresses: Box::new(|_| Lookup::found((1..=9).map(ip).collect())),
        connect: Box::new(no),
        ..two()
    },
    || World {
        addresses: Box::new(|_| Lookup::found((1..=9).map(ip).collect())),
        connect: Box::new(dead),
        ..two()
    },
    // The sixth address would answer: an attempt does not come that far.
    || World {
        addresses: Box::new(|_| Lookup::found((1..=9).map(ip).collect())),
        connect: Box::new(|a| if a == ip(6) { Ok(()) } else { dead(a) }),
        ..two()
    },
    // Nor to the fifth, whose place is kept for the other family.
    || World {
        addresses: Box::new(|host| match host {
            "mx1.test" => Lookup::found((1..=6).map(v6).collect()),
            _ => Lookup::found(vec![ip(1)]),
        }),
        connect: Box::new(|a| if a == v6(5) { Ok(()) } else { dead(a) }),
        ..two()
    },
    || World { resting: vec![ip(1)], ..two() },
    || World { resting: vec![ip(1)], connect: Box::new(dead), ..two() },
    || World { own: vec![ip(1)], ..two() },
    || World { own: vec![ip(2)], connect: Box::new(dead), ..two() },
    || World { unusable: vec![ip(1), ip(2)], ..two() },
    || World { connect: Box::new(|_| Err(Failure::new(Cause::Loop, "it is us"))), ..two() },
    || World {
        connect: Box::new(|_| Err(Failure::new(Cause::OwnResources, "no descriptors"))),
        ..two()
    },
];

#[test]
fn the_verdict_is_the_end_of_an_attempt() {
    for (place, make) in WORLDS.iter().enumerate() {
        let attempted = make().run();
        let mut world = make();
        let told = look(&mut world, &example());
        let verdict = verdict_of(&told);
        let end = match verdict.end {
            VerdictEnd::Session => "delivered",
            VerdictEnd::Deferred => "deferred",
            VerdictEnd::Failed => "failed",
            VerdictEnd::Postponed => "postponed",
        };
        let outcome = &attempted.outcomes[0].1;
        assert_eq!(end, outcome.word(), "world {place}: {told:?}");
        assert_eq!(verdict.failure.as_ref(), outcome.failure(), "world {place}");
        // It went the same way, and further.
        assert_eq!(
            world.dialled[..attempted.dialled.len()],
            attempted.dialled[..],
            "world {place}"
        );
        let looked_at: std::collections::HashSet<_> = world.dialled.iter().collect();
        assert_eq!(looked_at.len(), world.dialled.len(), "world {place}: twice to one address");
        assert!(world.dialled.len() <= MOST_LOOKED_AT, "world {place}");
    }
}

#[test]
fn what_an_attempt_has_no_room_for_is_looked_at_behind_the_verdict() {
    let all = || -> World {
        World {
            addresses: Box::new(|_| {
                Lookup::found((1..=6).map(v6).chain((1..=9).map(ip)).collect())
            }),
            connect: Box::new(dead),
            ..two()
        }
    };
    let told = words(&look(&mut all(), &example()));
    let verdict = told.iter().position(|word| word == "Deferred").unwrap();
    let contacts = |words: &[String]| words.iter().filter(|w| w.contains("-")).count();
    assert_eq!((contacts(&told[..verdict]), contacts(&told[verdict..])), (5, 5), "{told:?}");
    // Hosts are told once.
    assert_eq!(told.iter().filter(|word| word.starts_with("mx1.test")).count(), 1);
}

#[test]
fn nobody_at_or_behind_our_own_place_is_looked_at() {
    let equal =
        || World { mx: mx(&[(10, "mx1.test."), (10, "mx2.test."), (20, "mx3.test.")]), ..two() };
    let mut world = World { own: vec![ip(2)], ..equal() };
    look(&mut world, &example());
    assert!(world.dialled.is_empty(), "{:?}", world.dialled);
    // Nor when the server says that it is us.
    let us = |_| Err(Failure::new(Cause::Loop, "the server calls itself me.test, as we do"));
    let mut world = World { connect: Box::new(us), ..equal() };
    look(&mut world, &example());
    assert_eq!(world.dialled.len(), 1, "{:?}", world.dialled);
}

#[test]
fn hosts_are_told_with_their_real_names_and_what_their_addresses_are_good_for() {
    let real = Domain::parse("real.test").ok();
    let mut world = World {
        mx: Lookup::Found {
            value: vec![MxRecord { preference: 7, exchange: "mx1.test.".into() }],
            authentic: true,
            canonical: Domain::parse("other.test").ok(),
        },
        addresses: Box::new(move |_| Lookup::Found {
            value: vec![v6(1), ip(1)],
            authentic: true,
            canonical: real.clone(),
        }),
        unusable: vec![v6(1)],
        missing_family: true,
        ..two()
    };
    let told = look(&mut world, &example());
    let Finding::Exchangers(line) = &told[0] else { panic!() };
    assert_eq!((line.canonical.as_deref(), line.authentic), (Some("other.test"), true));
    let Finding::Host(line) = &told[1] else { panic!() };
    assert_eq!((line.preference, line.canonical.as_deref()), (7, Some("real.test")));
    let standing: Vec<_> = line.addresses.iter().map(|a| (a.family.as_str(), a.standing)).collect();
    assert_eq!(
        standing,
        [("IPv6", AddressStanding::OtherFamily), ("IPv4", AddressStanding::Usable)]
    );
    assert!(line.failure.as_ref().unwrap().text.contains("SERVFAIL"));
}

#[test]
fn an_address_literal_is_looked_at_if_mail_may_go_there() {
    let literal = DestinationKey::Literal(ip(1));
    let mut world = two();
    assert_eq!(words(&look(&mut world, &literal)), ["+192.0.2.1", "Session"]);
    let mut told = Vec::new();
    let mut tell = |finding| told.push(finding);
    now(probe(&literal, &rules(false), &mut world, &mut Dice::new(1), &mut tell));
    let verdict = verdict_of(&told);
    assert_eq!(
        (verdict.end, verdict.failure.unwrap().cause),
        (VerdictEnd::Failed, Cause::AddressLiteral)
    );
    assert_eq!(world.dialled.len(), 1);
}

#[test]
fn what_policies_demand_of_a_host_is_told_before_it_is_dialled() {
    let local = LocalPolicy { min_tls: TlsLevel::Encrypted, min_mx: MxLevel::None };
    let policies = Policies { local, ..Policies::default() };
    let told = words(&look(&mut World { policies, ..World::default() }, &example()));
    assert_eq!(told, ["mx 1", "mx1.test 1", "mx1.test encrypted", "+192.0.2.1", "Session"]);
    let local = LocalPolicy { min_tls: TlsLevel::None, min_mx: MxLevel::Dnssec };
    let policies = Policies { local, ..Policies::default() };
    let told = look(&mut World { policies, ..World::default() }, &example());
    let refused = told.iter().find_map(|finding| match finding {
        Finding::Policies(line) => line.failure.as_ref(),
        _ => None,
    });
    assert_eq!(refused.unwrap().cause, Cause::MxLevelTooLow);
}

#[test]
fn findings_read_back() {
    let mut world =
        World { connect: Box::new(|a| if a == ip(1) { dead(a) } else { Ok(()) }), ..two() };
    for finding in look(&mut world, &example()) {
        let text = serde_json::to_string(&finding).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&text).unwrap(), finding, "{text}");
    }
}
