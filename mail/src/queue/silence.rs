//! Destinations whose hosts did not answer.
//!
//! A silent host costs whoever dials it minutes. The first attempt that meets one gives its slot back and waits in a set of its own;
//! from then on, until somebody is heard, the destination is tried by one attempt at a time and only from that set, so that dead
//! hosts, however many, take slots from nobody else. This is kept in memory only.

use std::collections::{BTreeMap, HashMap};

use crate::outcome::{Cause, Failure, Outcome};
use crate::queue::record::BatchId;
use crate::route::destination::DestinationKey;

/// Silent destinations that are remembered; the one that was heard of least lately is forgotten first.
pub const MOST_SILENT: usize = 20_000;

/// What an attempt says about the host at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Somebody spoke.
    Heard,
    /// Nobody was asked.
    NotAsked,
    /// There was nobody to speak to.
    Nobody,
}

impl Answer {
    pub fn of(outcomes: &[(u32, Outcome)]) -> Answer {
        let of_one = |outcome: &Outcome| match outcome {
            Outcome::Delivered(_) | Outcome::Unknown(_) => Answer::Heard,
            Outcome::Postponed(_) => Answer::NotAsked,
            Outcome::Deferred(failure) | Outcome::Failed(failure) if spoke(failure) => {
                Answer::Heard
            }
            Outcome::Deferred(_) | Outcome::Failed(_) => Answer::Nobody,
        };
        let answers: Vec<Answer> = outcomes.iter().map(|(_, outcome)| of_one(outcome)).collect();
        if answers.contains(&Answer::Heard) {
            Answer::Heard
        } else if answers.iter().all(|answer| *answer == Answer::NotAsked) {
            Answer::NotAsked
        } else {
            Answer::Nobody
        }
    }
}

fn spoke(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::Refused(_) | Cause::Protocol(_))
}

#[derive(Debug)]
pub struct Silence {
    most: usize,
    serial: u64,
    silent: HashMap<DestinationKey, Silent>,
    by_age: BTreeMap<u64, DestinationKey>,
}

#[derive(Debug)]
struct Silent {
    number: u64,
    /// The one attempt that waits for its host.
    flight: Option<BatchId>,
    /// Another one was answered meanwhile.
    heard: bool,
}

impl Silence {
    pub fn new(most: usize) -> Silence {
        Silence { most, serial: 0, silent: HashMap::new(), by_age: BTreeMap::new() }
    }

    pub fn is_silent(&self, key: &DestinationKey) -> bool {
        self.silent.get(key).is_some_and(|silent| !silent.heard)
    }

    /// The attempt that waits for a host of this destination.
    pub fn flight(&self, key: &DestinationKey) -> Option<BatchId> {
        self.silent.get(key)?.flight
    }

    /// This destination is silent; says which one was forgotten for it.
    pub fn note(
        &mut self,
        key: &DestinationKey,
        flight: Option<BatchId>,
    ) -> Option<DestinationKey> {
        self.serial += 1;
        let silent = Silent { number: self.serial, flight, heard: false };
        self.by_age.insert(self.serial, key.clone());
        if let Some(before) = self.silent.insert(key.clone(), silent) {
            self.by_age.remove(&before.number);
        }
        if self.silent.len() <= self.most {
            return None;
        }
        let (_, oldest) = self.by_age.pop_first()?;
        self.silent.remove(&oldest);
        Some(oldest)
    }

    /// Somebody spoke. The attempt that waits is still the only one that may.
    pub fn hear(&mut self, key: &DestinationKey) {
        match self.silent.get_mut(key) {
            Some(silent) if silent.flight.is_some() => silent.heard = true,
            Some(_) => self.forget(key),
            None => {}
        }
    }

    /// An attempt is over.
    pub fn end(&mut self, key: &DestinationKey, batch: BatchId) {
        let Some(silent) = self.silent.get_mut(key) else { return };
        if silent.flight == Some(batch) {
            silent.flight = None;
            if silent.heard {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: &DestinationKey) {
        if let Some(silent) = self.silent.remove(key) {
            self.by_age.remove(&silent.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::EnvelopeId;
    use crate::outcome::Stage;

    fn key(name: &str) -> DestinationKey {
        DestinationKey::Target(name.to_string())
    }

    #[test]
    fn the_longest_silent_is_forgotten_first() {
        let mut silence = Silence::new(2);
        assert_eq!(silence.note(&key("a"), None), None);
        assert_eq!(silence.note(&key("b"), None), None);
        assert_eq!(silence.note(&key("a"), None), None); // once more: now b is the oldest
        assert_eq!(silence.note(&key("c"), None), Some(key("b")));
        silence.hear(&key("a"));
        assert!(!silence.is_silent(&key("a")) && silence.is_silent(&key("c")));
        assert_eq!(silence.by_age.len(), 1);
    }

    #[test]
    fn one_waits_even_when_others_are_answered() {
        let batch = BatchId { envelope: EnvelopeId::from_bytes([1; 16]), index: 0 };
        let mut silence = Silence::new(2);
        silence.note(&key("a"), Some(batch));
        silence.hear(&key("a"));
        assert_eq!((silence.is_silent(&key("a")), silence.flight(&key("a"))), (false, Some(batch)));
        silence.end(&key("a"), batch);
        assert!(silence.silent.is_empty() && silence.by_age.is_empty());
    }

    #[test]
    fn one_word_is_an_answer() {
        let nobody = (0, Failure::new(Cause::TimedOut(Stage::Connect), "").outcome());
        let limit = (1, Failure::new(Cause::OwnLimit, "").outcome());
        let refused = (2, Failure::refused(Stage::Rcpt, 450, None, "later").outcome());
        assert_eq!(Answer::of(&[]), Answer::NotAsked);
        assert_eq!(Answer::of(std::slice::from_ref(&limit)), Answer::NotAsked);
        assert_eq!(Answer::of(&[limit, nobody.clone()]), Answer::Nobody);
        assert_eq!(Answer::of(&[nobody, refused]), Answer::Heard);
    }
}
