//! The power goes at any moment, again and again: what was acknowledged is there, what ended stays ended, and nothing is set back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use posthaste_mail::dice::Dice;
use posthaste_mail::outcome::{Cause, Failure};
use posthaste_mail::queue::ledger::{NotLeasable, Report};
use posthaste_mail::queue::record::JournalEntry;
use posthaste_mail::queue::schedule::Plan;

use super::disk::{DiskSpool, Fault};
use super::suite::*;
use super::{Ending, Spool, SpoolError};
use crate::body::Body;

/// What is known of a message by its acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Handed over, no answer.
    Perhaps,
    /// There, with at least so many attempts written down.
    Waits {
        attempts: u32,
    },
    /// Its end was handed over, no answer.
    EndsPerhaps,
    Ended,
}

struct Load {
    dice: Dice,
    known: HashMap<u64, Known>,
    next: u64,
    large: Vec<u64>,
    boot: u64,
}

impl Load {
    /// One thing that happens; without waiting for the answer, now and then. `Err` when the spool is broken.
    async fn step(&mut self, spool: &DiskSpool) -> Result<(), SpoolError> {
        let waiting: Vec<u64> = self.in_state(|known| matches!(known, Known::Waits { .. }));
        if waiting.len() < 3 || self.dice.below(2) == 0 {
            return self.accept(spool).await;
        }
        let seed = waiting[self.dice.below(waiting.len())];
        self.attempt(spool, seed).await
    }

    fn in_state(&self, wanted: impl Fn(Known) -> bool) -> Vec<u64> {
        let mut found: Vec<u64> =
            self.known.iter().filter(|(_, k)| wanted(**k)).map(|(seed, _)| *seed).collect();
        found.sort_unstable();
        found
    }

    async fn accept(&mut self, spool: &DiskSpool) -> Result<(), SpoolError> {
        self.next += 1;
        let seed = self.next;
        let body = match self.dice.below(40) {
            0 => {
                self.large.push(seed);
                Body::memory(content(seed, 1_100_000))
            }
            _ => body(seed),
        };
        let ticket = spool.accept(message(seed, &[1]), body);
        self.known.insert(seed, Known::Perhaps);
        if self.dice.below(8) > 0 {
            ticket.await?;
            self.known.insert(seed, Known::Waits { attempts: 0 });
        }
        Ok(())
    }

    async fn attempt(&mut self, spool: &DiskSpool, seed: u64) -> Result<(), SpoolError> {
        let (id, plan) = (batch(seed, 0), Plan::default());
        // Far enough ahead that everything is due.
        let now = later(1_000_000 * (1 + self.next));
        let taken = spool.take(id, terms(self.boot, now), plan.clone(), seed).await?;
        let taken = match taken {
            Ok(taken) => taken,
            Err(NotLeasable::Abandoned(lease)) => {
                let fault = Some(Failure::new(Cause::Interrupted, "the power went"));
                let report = Report { lease, outcomes: Vec::new(), fault };
                spool.settle(report, plan, now, seed).await?;
                return Ok(());
            }
            // Nobody has waited for the end of the last one.
            Err(NotLeasable::Leased) => return Ok(()),
            Err(other) => panic!("{other:?}"),
        };
        let attempts = taken.batch.attempts;
        self.known.insert(seed, Known::Waits { attempts });
        if self.dice.below(4) == 0 {
            spool.journal(id, vec![(0, JournalEntry::DotSent)]).await?;
        }
        let (ends, outcome) = match self.dice.below(3) {
            0 => (false, soft()),
            1 => (true, ok()),
            _ => (true, hard()),
        };
        let notified = matches!(outcome, posthaste_mail::outcome::Outcome::Failed(_));
        self.next += 1;
        let notice = self.next;
        let make = move |_: Ending<'_>| match notified {
            true => vec![(message(notice, &[1]), body(notice))],
            false => Vec::new(),
        };
        let report = report(&taken, vec![(0, outcome)]);
        let ticket = spool.settle_with(report, plan, now, seed, Box::new(make));
        if ends {
            self.known.insert(seed, Known::EndsPerhaps);
        }
        if notified {
            self.known.insert(notice, Known::Perhaps);
        }
        if self.dice.below(8) > 0 {
            ticket.await?;
            if ends {
                self.known.insert(seed, Known::Ended);
            }
            if notified {
                self.known.insert(notice, Known::Waits { attempts: 0 });
            }
        }
        Ok(())
    }

    /// Looks at a spool after a cut, and takes what it says of what was uncertain for the truth.
    fn compare(&mut self, spool: &DiskSpool) {
        for (seed, known) in &mut self.known {
            let stored = spool.load(id(*seed)).unwrap();
            *known = match (*known, stored) {
                (Known::Ended | Known::EndsPerhaps | Known::Perhaps, None) => Known::Ended,
                (Known::Ended, Some(_)) => panic!("{seed} had ended"),
                (Known::Waits { .. }, None) => panic!("{seed} is lost"),
                (was, Some(stored)) => {
                    let attempts = stored.batches[0].1.attempts;
                    let least = if let Known::Waits { attempts } = was { attempts } else { 0 };
                    assert!(attempts >= least, "{seed} was set back from {least} to {attempts}");
                    let length = match self.large.contains(seed) {
                        true => 1_100_000,
                        false => 300 + *seed as usize % 100,
                    };
                    assert!(content_of(spool, *seed) == content(*seed, length), "body of {seed}");
                    Known::Waits { attempts }
                }
            };
        }
        let all = spool.envelopes(None, usize::MAX).unwrap().len();
        assert_eq!(all, self.in_state(|known| matches!(known, Known::Waits { .. })).len());
    }
}

async fn cut_and_cut_again(seed: u64, rounds: u64) {
    let base = Scratch::new();
    let place = |round: u64, what: &str| -> PathBuf { base.path().join(format!("{what}-{round}")) };
    let mut load = Load {
        dice: Dice::new(seed),
        known: HashMap::new(),
        next: seed * 100_000,
        large: Vec::new(),
        boot: 0,
    };
    std::fs::create_dir_all(place(0, "spool")).unwrap();
    for round in 0..rounds {
        let directory = place(round, "spool");
        load.boot = round + 1;
        let spool = DiskSpool::open(&directory, options(), boot(load.boot)).unwrap();
        spool.places.power.record(&place(round, "kept"), &spool.places);
        if load.dice.below(3) > 0 {
            spool.check().unwrap();
            load.compare(&spool);
            assert_consistent(&spool);
        } else {
            // Cut again before the check.
            load.known.values_mut().for_each(|known| {
                if let Known::Perhaps | Known::EndsPerhaps = known {
                    *known = Known::EndsPerhaps;
                }
            });
        }
        let steps = load.dice.below(120);
        for step in 0..steps {
            let last = step + 1 == steps;
            if last && load.dice.below(2) == 0 {
                let torn = Fault::Torn(load.dice.next_u64());
                *spool.shared.fault.lock().unwrap() = Some(torn);
            }
            if load.step(&spool).await.is_err() {
                break;
            }
            if load.dice.below(10) == 0 {
                // A checkpoint may come in between.
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        let next = place(round + 1, "spool");
        spool.places.power.cut(&spool.places, &next, &mut load.dice);
        drop(spool);
        for what in ["spool", "kept"] {
            std::fs::remove_dir_all(place(round, what)).unwrap();
        }
    }
    let spool = DiskSpool::open(&place(rounds, "spool"), options(), boot(rounds + 1)).unwrap();
    let found = spool.check().unwrap();
    let wrong = found.damaged + found.unscheduled + found.missing.len() as u64;
    assert_eq!(wrong, 0, "{found:?}");
    load.compare(&spool);
    assert_consistent(&spool);
}

#[tokio::test]
async fn acknowledged_means_durable() {
    // `make test-long` goes on for some minutes.
    let (seeds, rounds) =
        if std::env::var_os("POSTHASTE_LONG").is_some() { (200, 8) } else { (4, 6) };
    for seed in 1..=seeds {
        cut_and_cut_again(seed, rounds).await;
    }
}
