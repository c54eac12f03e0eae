//! The counters of one scope, by key.
//!
//! A key whose buckets are full and that nobody holds says nothing, so it is forgotten after a while. There are never more than
//! `MAX_KEYS`: beyond, the place of the unheld key that is full soonest is taken, which is an idle one if there is any, and else the
//! one whose memory limits least. Who sends much is not forgotten because many others send little.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::Key;
use super::bucket::{Bucket, Rate};
use super::line::{Kind, Line};
use crate::time::Timestamp;

/// Keys remembered in one scope.
pub const MAX_KEYS: usize = 20_010;

/// A key is remembered at least this long.
const SHORTEST_MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Counters {
    rates: Vec<Rate>,
    /// The least of the `concurrency` lines: every holder counts in each of them.
    most_held: Option<u64>,
    /// How long an idle key is remembered.
    memory: Duration,
    keys: HashMap<Key, Counter>,
    /// The keys that nobody holds, by the moment their buckets are full.
    unheld: BTreeSet<(Timestamp, Key)>,
}

#[derive(Debug)]
struct Counter {
    held: u64,
    /// One for each of `rates`.
    buckets: Vec<Bucket>,
    /// When all buckets are full; without buckets, when it was last taken.
    full_at: Timestamp,
}

/// Why a key cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not before a token is due.
    Until(Timestamp),
    /// All places are taken.
    Taken,
}

impl Counters {
    /// `None` when the lines limit nothing.
    pub fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Option<Counters> {
        let (mut rates, mut most_held) = (Vec::new(), None::<u64>);
        for line in lines {
            match &line.kind {
                Kind::Unlimited => {}
                Kind::Rate(rate) => rates.push(rate.clone()),
                Kind::Concurrency(max) => {
                    most_held = Some(most_held.map_or(*max, |least| least.min(*max)));
                }
            }
        }
        if rates.is_empty() && most_held.is_none() {
            return None;
        }
        let longest = rates.iter().map(Rate::period).max().unwrap_or_default();
        let memory = longest.max(SHORTEST_MEMORY);
        let (keys, unheld) = (HashMap::new(), BTreeSet::new());
        Some(Counters { rates, most_held, memory, keys, unheld })
    }

    pub fn counts_holders(&self) -> bool {
        self.most_held.is_some()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether `take` may be called.
    pub fn look(&self, key: &Key, now: Timestamp) -> Result<(), Refusal> {
        let Some(counter) = self.keys.get(key) else {
            // Everything is there for a new key, except when every key that could make room is held.
            let room = self.keys.len() < MAX_KEYS || !self.unheld.is_empty();
            return if room { Ok(()) } else { Err(Refusal::Taken) };
        };
        let due = self.rates.iter().zip(&counter.buckets).filter_map(|(r, b)| r.due(b, now)).max();
        match (due, self.most_held) {
            (Some(due), _) => Err(Refusal::Until(due)),
            (None, Some(most)) if counter.held >= most => Err(Refusal::Taken),
            (None, _) => Ok(()),
        }
    }

    /// Takes what `look` found to be there.
    pub fn take(&mut self, key: &Key, now: Timestamp) {
        let known = self.keys.remove(key);
        let mut counter = match known {
            Some(counter) => {
                self.unheld.remove(&(counter.full_at, key.clone()));
                counter
            }
            None => {
                self.make_room();
                let buckets = self.rates.iter().map(|rate| rate.full(now)).collect();
                Counter { held: 0, buckets, full_at: now }
            }
        };
        let mut full_at = now;
        for (rate, bucket) in self.rates.iter().zip(&mut counter.buckets) {
            rate.take(bucket, now);
            full_at = full_at.max(rate.full_at(bucket));
        }
        counter.full_at = full_at;
        match self.most_held {
            Some(_) => counter.held = counter.held.saturating_add(1),
            None => {
                self.unheld.insert((full_at, key.clone()));
            }
        }
        self.keys.insert(key.clone(), counter);
    }

    /// Gives one place back. A held key is never forgotten, so it is there.
    pub fn release(&mut self, key: &Key) {
        let Some(counter) = self.keys.get_mut(key).filter(|counter| counter.held > 0) else {
            return;
        };
        counter.held -= 1;
        if counter.held == 0 {
            self.unheld.insert((counter.full_at, key.clone()));
        }
    }

    /// Forgets keys that have been full and unheld long enough.
    pub fn forget_idle(&mut self, now: Timestamp) {
        while self.unheld.first().is_some_and(|(full_at, _)| full_at.plus(self.memory) <= now) {
            self.forget_first();
        }
    }

    fn make_room(&mut self) {
        if self.keys.len() >= MAX_KEYS {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.unheld.pop_first() {
            self.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limit::Scope;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn key(number: usize) -> Key {
        Key::Name(Arc::from(format!("{number}.example")))
    }

    fn counters(lines: &[Line]) -> Counters {
        Counters::of(lines.iter()).unwrap()
    }

    fn rate(burst: i64, secs: u64) -> Line {
        Line::rate(Scope::Source, burst, Duration::from_secs(secs)).unwrap()
    }

    fn concurrency(max: i64) -> Line {
        Line::concurrency(Scope::Source, max).unwrap()
    }

    #[test]
    fn idle_keys_are_forgotten_after_the_period_and_a_minute_at_least() {
        let mut short = counters(&[rate(1, 10)]);
        short.take(&key(1), at(0)); // full at 10
        short.forget_idle(at(69));
        assert_eq!(short.len(), 1);
        short.forget_idle(at(70));
        assert_eq!(short.len(), 0);
        let mut long = counters(&[rate(2, 600)]);
        long.take(&key(1), at(0)); // full at 300
        long.forget_idle(at(899));
        assert_eq!(long.len(), 1);
        long.forget_idle(at(900));
        assert_eq!((long.len(), long.unheld.len()), (0, 0));
    }

    #[test]
    fn held_keys_are_remembered() {
        let mut counters = counters(&[concurrency(1)]);
        counters.take(&key(1), at(0));
        counters.forget_idle(at(100_000));
        assert_eq!(counters.look(&key(1), at(100_000)), Err(Refusal::Taken));
        counters.release(&key(1));
        assert_eq!(counters.look(&key(1), at(100_000)), Ok(()));
        counters.forget_idle(at(100_000));
        assert_eq!(counters.len(), 0);
        counters.release(&key(1)); // once too often
        assert_eq!(counters.look(&key(1), at(100_000)), Ok(()));
    }

    #[test]
    fn a_full_house_of_idle_keys_makes_room() {
        let mut counters = counters(&[rate(10, 10)]);
        for number in 0..MAX_KEYS {
            counters.take(&key(number), at(0));
        }
        for _ in 0..9 {
            counters.take(&key(7), at(0)); // has spent everything
        }
        assert!(matches!(counters.look(&key(7), at(0)), Err(Refusal::Until(_))));
        for number in MAX_KEYS..2 * MAX_KEYS - 1 {
            assert_eq!(counters.look(&key(number), at(0)), Ok(()));
            counters.take(&key(number), at(0));
        }
        assert_eq!((counters.len(), counters.unheld.len()), (MAX_KEYS, MAX_KEYS));
        // All others came and went; who sends much is still known.
        assert!(matches!(counters.look(&key(7), at(0)), Err(Refusal::Until(_))));
    }

    #[test]
    fn a_full_house_of_held_keys_refuses() {
        let mut counters = counters(&[concurrency(2)]);
        for number in 0..MAX_KEYS {
            counters.take(&key(number), at(0));
        }
        assert_eq!(counters.look(&key(MAX_KEYS), at(0)), Err(Refusal::Taken));
        assert_eq!(counters.look(&key(0), at(0)), Ok(()));
        counters.release(&key(5));
        assert_eq!(counters.look(&key(MAX_KEYS), at(0)), Ok(()));
        counters.take(&key(MAX_KEYS), at(0));
        assert_eq!(counters.len(), MAX_KEYS);
    }

    #[test]
    fn the_least_of_several_counts_holds() {
        let mut counters = counters(&[concurrency(5), concurrency(0), concurrency(2)]);
        counters.take(&key(1), at(0));
        assert_eq!(counters.look(&key(1), at(0)), Ok(()));
        counters.take(&key(1), at(0));
        assert_eq!(counters.look(&key(1), at(0)), Err(Refusal::Taken));
        assert!(Counters::of([concurrency(0), rate(0, 1)].iter()).is_none());
    }
}
