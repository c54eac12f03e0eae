//! Answers kept for as long as DNS allows, within bounds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;

use posthaste_mail::time::Timestamp;

use super::Answer;

const MOST_ENTRIES: usize = 50_000;
/// Entries differ in size by a factor of some hundreds, and what they hold is chosen by strangers.
const MOST_OCTETS: usize = 32 << 20;
const LONGEST_POSITIVE: Duration = Duration::from_secs(3600);
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);
/// RFC 2308 §7 allows five minutes. Short, because a repair should be seen; but with a dead server every delivery would pay for its
/// silence again.
const FAILURE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<(Name, RecordType), Entry>,
    octets: usize,
}

struct Entry {
    answer: Answer,
    since: Timestamp,
    life: Duration,
    octets: usize,
}

impl Entry {
    /// A clock that was set back makes no answer live longer: that may be years, and the answer a failure.
    fn lives(&self, now: Timestamp) -> bool {
        self.since <= now && now.since(self.since) < self.life
    }
}

impl Cache {
    pub(super) fn get(&self, name: &Name, kind: RecordType, now: Timestamp) -> Option<Answer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.entries.get(&(name.clone(), kind))?;
        entry.lives(now).then(|| entry.answer.clone())
    }

    /// That nobody could be asked is not kept: it says nothing of the name, and ends with the fault of our own.
    pub(super) fn put(&self, name: &Name, kind: RecordType, answer: &Answer, now: Timestamp) {
        let life = match answer {
            Answer::Records { life, .. } => (*life).min(LONGEST_POSITIVE),
            Answer::Absent { life, .. } => (*life).min(LONGEST_NEGATIVE),
            Answer::Failed(_) | Answer::Looping(_) => FAILURE,
            Answer::Unasked(_) => Duration::ZERO,
        };
        if life.is_zero() {
            return;
        }
        let octets = octets(name, answer);
        let entry = Entry { answer: answer.clone(), since: now, life, octets };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.make_room(octets, now);
        kept.octets += octets;
        if let Some(old) = kept.entries.insert((name.clone(), kind), entry) {
            kept.octets -= old.octets; // was counted when it was put
        }
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }
}

impl Kept {
    fn make_room(&mut self, wanted: usize, now: Timestamp) {
        if self.has_room(wanted) {
            return;
        }
        self.entries.retain(|_, entry| entry.lives(now));
        self.octets = self.entries.values().map(|entry| entry.octets).sum();
        if !self.has_room(wanted) {
            *self = Kept::default(); // full of living entries: starting anew is bounded work, and DNS has them all
        }
    }

    fn has_room(&self, wanted: usize) -> bool {
        self.entries.len() < MOST_ENTRIES && self.octets + wanted <= MOST_OCTETS
    }
}

/// About what an entry takes in memory: its fixed part, names, and for each record its place and its data.
fn octets(name: &Name, answer: &Answer) -> usize {
    let variable = match answer {
        Answer::Records { hops, records, .. } => {
            let data = |record: &RData| record.to_bytes().map_or(0, |bytes| bytes.len());
            let records: usize = records.iter().map(|r| size_of::<RData>() + data(r)).sum();
            records + hops.iter().map(|hop| size_of::<Name>() + hop.len()).sum::<usize>()
        }
        Answer::Failed(why) | Answer::Looping(why) | Answer::Unasked(why) => why.len(),
        Answer::Absent { .. } => 0,
    };
    size_of::<(Name, RecordType)>() + size_of::<Entry>() + name.len() + variable
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::MX;
    use posthaste_mail::lookup::Absence;

    fn absent(life: u64) -> Answer {
        let life = Duration::from_secs(life);
        Answer::Absent { absence: Absence::NoSuchName, authentic: false, life }
    }

    /// The length of life of an answer, tried out second by second.
    fn life(answer: &Answer) -> Option<u64> {
        let (cache, name) = (Cache::default(), Name::from_ascii("example.org.").unwrap());
        cache.put(&name, RecordType::A, answer, Timestamp::from_secs(100));
        let lives =
            |s: &u64| cache.get(&name, RecordType::A, Timestamp::from_secs(100 + s)).is_some();
        assert!(cache.get(&name, RecordType::MX, Timestamp::from_secs(100)).is_none());
        (0..5000).rev().find(lives).map(|last| last + 1)
    }

    #[test]
    fn kept_for_its_life_and_no_longer() {
        let records = |life| Answer::Records {
            hops: vec![],
            records: vec![],
            authentic: true,
            life: Duration::from_secs(life),
        };
        assert_eq!(life(&absent(10)), Some(10));
        assert_eq!(life(&absent(0)), None); // TTL 0 is for one use
        assert_eq!(life(&absent(1_000_000)), Some(300)); // capped
        assert_eq!(life(&records(10)), Some(10));
        assert_eq!(life(&records(1_000_000)), Some(3600)); // capped
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing() {
        let (cache, name) = (Cache::default(), Name::from_ascii("example.org.").unwrap());
        let at = Timestamp::from_secs;
        cache.put(&name, RecordType::MX, &Answer::Failed("SERVFAIL".into()), at(1_000_000));
        assert!(cache.get(&name, RecordType::MX, at(1_000_004)).is_some());
        assert!(cache.get(&name, RecordType::MX, at(999_999)).is_none());
    }

    #[test]
    fn failures_are_kept_for_five_seconds_and_faults_of_our_own_are_not() {
        assert_eq!(life(&Answer::Failed("SERVFAIL".into())), Some(5));
        assert_eq!(life(&Answer::Looping("circle".into())), Some(5));
        assert_eq!(life(&Answer::Unasked("no server".into())), None);
    }

    #[test]
    fn bounded_by_octets_and_by_entries() {
        let cache = Cache::default();
        let now = Timestamp::from_secs(100);
        let host = |i| Name::from_ascii(format!("{}{i}.test.", "long-label.".repeat(20))).unwrap();
        let big = Answer::Records {
            hops: vec![],
            records: (0..100).map(|i| RData::MX(MX::new(i, host(i)))).collect(),
            authentic: false,
            life: Duration::from_secs(60),
        };
        let size = octets(&host(0), &big);
        assert!(size > 100 * 220, "{size}");
        for i in 0..2 * u16::try_from(MOST_OCTETS / size).unwrap() {
            cache.put(&host(i), RecordType::MX, &big, now);
            cache.put(&host(i), RecordType::MX, &big, now); // replaced, not added
            let kept = cache.0.lock().unwrap();
            let sum: usize = kept.entries.values().map(|e| e.octets).sum();
            assert_eq!(kept.octets, sum);
            assert!(sum <= MOST_OCTETS && !kept.entries.is_empty());
        }
        let cache = Cache::default();
        for i in 0..60_000 {
            let name = Name::from_ascii(format!("{i}.test.")).unwrap();
            cache.put(&name, RecordType::MX, &absent(60), now);
        }
        let kept = cache.0.lock().unwrap();
        assert_eq!(kept.entries.len(), 60_000 - MOST_ENTRIES);
    }

    #[test]
    fn the_dead_make_room_for_the_living() {
        let cache = Cache::default();
        let name = |i: usize| Name::from_ascii(format!("{i}.test.")).unwrap();
        for i in 0..MOST_ENTRIES {
            let life = if i < 10 { 60 } else { 1 };
            cache.put(&name(i), RecordType::MX, &absent(life), Timestamp::from_secs(100));
        }
        let later = Timestamp::from_secs(110);
        cache.put(&name(MOST_ENTRIES), RecordType::MX, &absent(60), later);
        assert!(cache.get(&name(0), RecordType::MX, later).is_some());
        assert_eq!(cache.0.lock().unwrap().entries.len(), 11);
    }
}
