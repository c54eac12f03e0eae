//! Answers kept for as long as DNS allows, within bounds.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RecordType};

use posthaste_mail::time::Timestamp;

use super::Answer;

const MOST_ENTRIES: usize = 50_000;
const LONGEST_POSITIVE: Duration = Duration::from_secs(3600);
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<(Name, RecordType), Entry>>);

struct Entry {
    answer: Answer,
    until: Timestamp,
}

impl Cache {
    pub(super) fn get(&self, name: &Name, kind: RecordType, now: Timestamp) -> Option<Answer> {
        let entries = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = entries.get(&(name.clone(), kind))?;
        (now < entry.until).then(|| entry.answer.clone())
    }

    /// Failures are not kept: the servers may be back with the next question.
    pub(super) fn put(&self, name: &Name, kind: RecordType, answer: &Answer, now: Timestamp) {
        let life = match answer {
            Answer::Records { life, .. } => (*life).min(LONGEST_POSITIVE),
            Answer::Absent { life, .. } => (*life).min(LONGEST_NEGATIVE),
            Answer::Failed(_) | Answer::Unasked(_) => Duration::ZERO,
        };
        if life.is_zero() {
            return;
        }
        let mut entries = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if entries.len() >= MOST_ENTRIES {
            entries.retain(|_, entry| now < entry.until);
        }
        if entries.len() >= MOST_ENTRIES {
            entries.clear(); // full of living entries: starting anew is bounded work, and DNS has them all
        }
        let entry = Entry { answer: answer.clone(), until: now.plus(life) };
        entries.insert((name.clone(), kind), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::lookup::Absence;

    #[test]
    fn kept_for_its_life_and_no_longer() {
        let cache = Cache::default();
        let name = Name::from_ascii("example.org.").unwrap();
        let absent = |life| Answer::Absent {
            absence: Absence::NoSuchName,
            authentic: false,
            life: Duration::from_secs(life),
        };
        let at = Timestamp::from_secs;
        cache.put(&name, RecordType::MX, &absent(10), at(100));
        assert!(cache.get(&name, RecordType::MX, at(109)).is_some());
        assert!(cache.get(&name, RecordType::MX, at(110)).is_none());
        assert!(cache.get(&name, RecordType::A, at(101)).is_none());
        cache.put(&name, RecordType::A, &absent(0), at(100));
        assert!(cache.get(&name, RecordType::A, at(100)).is_none()); // TTL 0 is for one use
        cache.put(&name, RecordType::A, &Answer::Failed("x".into()), at(100));
        assert!(cache.get(&name, RecordType::A, at(100)).is_none());
        cache.put(&name, RecordType::A, &absent(1_000_000), at(100));
        assert!(cache.get(&name, RecordType::A, at(401)).is_none()); // capped
    }
}
