//! The bodies of the fuzz targets with a stable compiler: over the seeds, their beginnings, and some thousand mutations of them by our own
//! dice. A test of `mail`, so that CI runs what `make fuzz` runs for longer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests live outside the package: a broken invariant is a failed test"
)]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use posthaste_mail::dice::Dice;

#[path = "bodies/client.rs"]
mod client;
#[path = "bodies/reply.rs"]
mod reply;
#[path = "bodies/sts_policy.rs"]
mod sts_policy;
#[path = "bodies/sts_record.rs"]
mod sts_record;
#[path = "bodies/tlsa.rs"]
mod tlsa;

const LONGEST: usize = 4096;

#[test]
fn replies_do_not_depend_on_the_cut() {
    over("reply", 3_000, reply::run);
}

#[test]
fn fates_follow_from_what_was_said() {
    over("client", 20_000, client::run);
}

#[test]
fn demands_follow_from_what_was_found() {
    over("tlsa", 10_000, tlsa::run);
}

#[test]
fn sts_records_are_read_as_their_grammar_says() {
    over("sts_record", 20_000, sts_record::run);
}

#[test]
fn sts_policies_are_read_as_their_grammar_says() {
    over("sts_policy", 20_000, sts_policy::run);
}

fn over(target: &str, rounds: usize, run: fn(&[u8])) {
    let seeds = seeds(target);
    for (name, seed) in &seeds {
        for end in (0..=seed.len()).step_by(1 + seed.len() / 200) {
            told(name, &seed[..end], run);
        }
        told(name, seed, run);
    }
    let mut dice = Dice::new(62);
    for round in 0..rounds {
        let (name, seed) = &seeds[dice.below(seeds.len())];
        let mut input = seed.clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut input, &seeds[dice.below(seeds.len())].1, &mut dice);
        }
        input.truncate(LONGEST);
        told(&format!("{name}, round {round}"), &input, run);
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(room)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(seeds.len() > 5, "where are the seeds of {target}?");
    seeds
}

/// Shows the input when the body panics; saved to a file it is what `cargo fuzz run` takes.
fn told(name: &str, input: &[u8], run: fn(&[u8])) {
    if let Err(fault) = panic::catch_unwind(AssertUnwindSafe(|| run(input))) {
        eprintln!("{name}: \"{}\"", input.escape_ascii());
        panic::resume_unwind(fault);
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let place = dice.below(input.len() + 1);
    let end = place + dice.below(input.len() - place + 1).min(40);
    match dice.below(6) {
        0 => {
            input.drain(place..end);
        }
        1 => input.extend_from_within(place..end),
        2 => {
            let from = dice.below(other.len() + 1);
            let piece = &other[from..from + dice.below(other.len() - from + 1)];
            input.splice(place..place, piece.iter().copied());
        }
        3 => {
            let piece = b"!d\n!w\n\r\n421 x\n-250 354 ";
            let from = dice.below(piece.len());
            input.splice(place..place, piece[from..].iter().copied().take(1 + dice.below(6)));
        }
        4 => {
            // Another code of the same reply.
            if let Some(octet) = input.get_mut(place).filter(|octet| octet.is_ascii_digit()) {
                *octet = b"0123459"[dice.below(7)];
            }
        }
        _ => {
            if let Some(octet) = input.get_mut(place) {
                *octet = dice.below(256) as u8;
            }
        }
    }
}
