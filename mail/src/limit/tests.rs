use std::time::Duration;

use super::*;
use crate::dice::Dice;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000_000 + millis * 1000)
}

fn rate(scope: Scope, burst: i64, millis: u64) -> Line {
    Line::rate(scope, burst, Duration::from_millis(millis)).unwrap()
}

fn concurrency(scope: Scope, max: i64) -> Line {
    Line::concurrency(scope, max).unwrap()
}

fn ip(text: &str) -> Who<'static> {
    Who { ip: Some(text.parse().unwrap()), ..Who::default() }
}

fn source(domain: &str) -> Who<'_> {
    Who { source: Some(domain), ..Who::default() }
}

fn destination(domain: &str) -> Who<'_> {
    Who { destination: Some(domain), ..Who::default() }
}

/// Whether it is granted; what is held is kept for ever.
fn granted(limits: &mut Limits, who: Who<'_>) -> bool {
    limits.try_acquire(&who, at(0)).map(drop).is_ok()
}

#[test]
fn without_lines_or_with_zeros_everything_is_allowed() {
    for lines in [vec![], vec![rate(Scope::All, 0, 1000), concurrency(Scope::Source, 0)]] {
        let mut limits = Limits::new(lines);
        assert!(limits.is_unlimited());
        for _ in 0..1000 {
            assert!(granted(&mut limits, source("a.example")));
        }
        assert_eq!(limits.keys(), 0);
    }
}

#[test]
fn every_scope_counts_by_its_own_key() {
    type Case = (Scope, Who<'static>, Who<'static>, bool);
    let cases: [Case; 13] = [
        (Scope::All, ip("192.0.2.1"), ip("192.0.2.2"), false),
        (Scope::All, source("a.example"), destination("b.example"), false),
        (Scope::Ip, ip("192.0.2.1"), ip("192.0.2.1"), false),
        (Scope::Ip, ip("192.0.2.1"), ip("192.0.2.2"), true),
        (Scope::Ip, ip("192.0.2.1"), ip("::ffff:192.0.2.1"), false), // the same client
        (Scope::Ip, ip("127.0.0.1"), Who::default(), false),         // unknown is loopback
        (Scope::Source, source("a.example"), source("a.example"), false),
        (Scope::Source, source("a.example"), source("b.example"), true),
        (Scope::Source, Who::default(), source(""), false), // the null sender
        (Scope::Source, Who::default(), source("a.example"), true),
        (Scope::Destination, destination("a.example"), destination("a.example"), false),
        (Scope::Destination, destination("a.example"), destination("b.example"), true),
        (Scope::Destination, Who::default(), Who::default(), true), // no destination, no limit
    ];
    for (scope, first, second, both) in cases {
        for line in [rate(scope, 1, 1000), concurrency(scope, 1)] {
            let mut limits = Limits::new(vec![line]);
            assert!(granted(&mut limits, first));
            assert_eq!(granted(&mut limits, second), both, "{scope} {first:?} {second:?}");
        }
    }
}

#[test]
fn a_refusal_says_whose_and_until_when() {
    let lines = || vec![rate(Scope::All, 1, 4000), rate(Scope::Source, 1, 9000)];
    let both = Who { destination: Some("d.example"), ..source("a.example") };
    let mut limits = Limits::new(lines());
    assert!(granted(&mut limits, both));
    let wait = limits.try_acquire(&both, at(1000)).unwrap_err();
    assert_eq!(wait, Wait { scope: Scope::Source, until: Some(at(9000)) }); // the later one
    let other = limits.try_acquire(&source("b.example"), at(1000)).unwrap_err();
    assert_eq!(other, Wait { scope: Scope::All, until: Some(at(4000)) });
    // A token that is due speaks before a place that somebody must release.
    let mut limits = Limits::new([lines(), vec![concurrency(Scope::Destination, 1)]].concat());
    let held = limits.try_acquire(&both, at(0)).unwrap();
    assert_eq!(limits.try_acquire(&both, at(0)).unwrap_err().until, Some(at(9000)));
    let wait = limits.try_acquire(&both, at(9000)).unwrap_err();
    assert_eq!(wait, Wait { scope: Scope::Destination, until: None });
    limits.release(held);
    assert!(limits.try_acquire(&both, at(9000)).is_ok());
}

#[test]
fn a_refusal_takes_nothing() {
    let lines = vec![
        rate(Scope::All, 2, 3_600_000),
        concurrency(Scope::All, 2),
        concurrency(Scope::Destination, 1),
    ];
    let mut limits = Limits::new(lines);
    let held = limits.try_acquire(&destination("slow.example"), at(0)).unwrap();
    for _ in 0..100 {
        assert!(limits.try_acquire(&destination("slow.example"), at(0)).is_err());
    }
    // The second token and the second place are still there.
    let other = limits.try_acquire(&destination("b.example"), at(0)).unwrap();
    limits.release(held);
    limits.release(other);
    assert!(limits.try_acquire(&destination("b.example"), at(0)).unwrap_err().until.is_some());
}

#[test]
fn a_source_limit_without_an_ip_limit_refuses_and_releases() {
    let mut limits = Limits::new(vec![concurrency(Scope::Source, 1)]);
    let held = limits.try_acquire(&source("a.example"), at(0)).unwrap();
    assert!(limits.try_acquire(&source("a.example"), at(0)).is_err());
    limits.release(held);
    assert!(granted(&mut limits, source("a.example")));
}

#[test]
fn all_lines_of_a_scope_apply() {
    // Three a second, but no more than four a minute.
    let mut limits = Limits::new(vec![rate(Scope::All, 3, 1000), rate(Scope::All, 4, 60_000)]);
    let mut times = Vec::new();
    for millis in (0..20_000).step_by(100) {
        if limits.try_acquire(&Who::default(), at(millis)).is_ok() {
            times.push(millis);
        }
    }
    assert_eq!(times, [0, 100, 200, 400, 15_000]);
}

#[test]
fn what_other_limits_gave_is_no_danger() {
    let mut one = Limits::new(vec![concurrency(Scope::All, 1), concurrency(Scope::Ip, 1)]);
    let mut two = Limits::new(vec![concurrency(Scope::Source, 1)]);
    let held = one.try_acquire(&Who::default(), at(0)).unwrap();
    two.release(held);
    assert!(granted(&mut two, Who::default()));
    assert!(!granted(&mut two, Who::default()));
}

/// A random walk over few keys against a plain count of holders, and against what the buckets may give.
#[test]
fn never_more_than_the_limits_allow() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let max = 1 + dice.below(4);
        let burst = 1 + dice.below(6);
        let period = 1 + dice.below(3000) as u64;
        let mut limits = Limits::new(vec![
            concurrency(Scope::Destination, max as i64),
            rate(Scope::Destination, burst as i64, period),
            concurrency(Scope::All, 2 * max as i64),
        ]);
        let names = ["a.example", "b.example", "c.example"];
        let mut held: Vec<(usize, Held)> = Vec::new();
        let mut grants: [Vec<u64>; 3] = Default::default();
        let mut now = 0;
        for _ in 0..4000 {
            now += dice.below(100) as u64;
            if dice.below(2) == 0 && !held.is_empty() {
                let (_, done) = held.swap_remove(dice.below(held.len()));
                limits.release(done);
                continue;
            }
            let name = dice.below(names.len());
            match limits.try_acquire(&destination(names[name]), at(now)) {
                Ok(permit) => {
                    held.push((name, permit));
                    grants[name].push(now);
                    assert!(held.iter().filter(|(of, _)| *of == name).count() <= max);
                    assert!(held.len() <= 2 * max);
                }
                Err(Wait { until: Some(due), .. }) => assert!(due > at(now)),
                Err(Wait { until: None, scope }) => {
                    let own = held.iter().filter(|(of, _)| *of == name).count();
                    match scope {
                        Scope::Destination => assert_eq!(own, max),
                        _ => assert_eq!(held.len(), 2 * max),
                    }
                }
            }
        }
        for times in &grants {
            assert!(times.len() > 10);
            for (first, start) in times.iter().enumerate() {
                for (last, end) in times.iter().enumerate().skip(first) {
                    // In every stretch: the burst, and what flows in meanwhile.
                    let over = (last - first + 1).saturating_sub(burst) as u64;
                    assert!(over * period <= (end - start) * burst as u64);
                }
            }
        }
    }
}

#[test]
fn a_million_keys_stay_within_bounds() {
    let mut limits =
        Limits::new(vec![rate(Scope::Source, 5, 3_600_000), concurrency(Scope::Source, 2)]);
    let mut held = Vec::new();
    for number in 0..1_000_000u32 {
        let domain = format!("{number}.example");
        let permit = limits.try_acquire(&source(&domain), at(u64::from(number))).unwrap();
        match number % 1000 {
            0 => held.push(permit),
            _ => limits.release(permit),
        }
        assert!(limits.keys() <= MAX_KEYS);
    }
    assert_eq!(held.len(), 1000);
    held.into_iter().for_each(|permit| limits.release(permit));
    // A day later all is forgotten.
    assert!(limits.try_acquire(&source("a.example"), at(86_400_000)).is_ok());
    assert_eq!(limits.keys(), 1);
}

#[test]
fn any_lines_and_any_questions_are_answered() {
    let mut dice = Dice::new(9);
    for _ in 0..300 {
        let wild = |dice: &mut Dice| dice.next_u64() >> dice.below(64);
        let lines = (0..dice.below(5)).filter_map(|_| {
            let scope = Scope::EVERY[dice.below(4)];
            let (number, nanos) = (wild(&mut dice) as i64, wild(&mut dice));
            match dice.below(2) {
                0 => Line::rate(scope, number, Duration::from_nanos(nanos)).ok(),
                _ => Line::concurrency(scope, number).ok(),
            }
        });
        let mut limits = Limits::new(lines.collect());
        for _ in 0..100 {
            let now = Timestamp::from_micros(wild(&mut dice));
            let name = ["", "a", "é", "b.example"][dice.below(4)];
            let who = Who { source: Some(name), destination: Some(name), ip: None };
            if let Ok(held) = limits.try_acquire(&who, now)
                && dice.below(2) == 0
            {
                limits.release(held);
            }
        }
    }
}
