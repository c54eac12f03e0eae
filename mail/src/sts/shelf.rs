//! The policies that are kept, within bounds: those used last.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::freshness::Entry;
use crate::address::Domain;
use crate::time::Timestamp;

/// How much is kept. What is in it is chosen by strangers, so octets are counted as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub entries: usize,
    pub octets: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { entries: 100_000, octets: 128 << 20 }
    }
}

#[derive(Debug, Default)]
pub struct Shelf {
    entries: BTreeMap<Domain, Arc<Entry>>,
    /// By last use, the longest unused first.
    order: BTreeSet<(Timestamp, Domain)>,
    octets: usize,
    room: Room,
}

impl Shelf {
    pub fn new(room: Room) -> Shelf {
        Shelf { room, ..Shelf::default() }
    }

    pub fn get(&self, domain: &Domain) -> Option<&Arc<Entry>> {
        self.entries.get(domain)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// By name, from behind `after`.
    pub fn iter(&self, after: Option<&Domain>) -> impl Iterator<Item = (&Domain, &Arc<Entry>)> {
        self.entries.range((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The longest unused.
    pub fn oldest(&self) -> Option<(&Domain, &Arc<Entry>)> {
        self.entries.get_key_value(&self.order.first()?.1)
    }

    /// Takes one more, or one in place of another. What had to leave for it is given back; the new one stays.
    pub fn put(&mut self, domain: Domain, entry: Arc<Entry>) -> Vec<Domain> {
        self.remove(&domain);
        let mut left = Vec::new();
        while self.is_too_full(octets(&entry)) {
            let Some((_, oldest)) = self.order.first().cloned() else { break };
            self.remove(&oldest);
            left.push(oldest);
        }
        self.octets += octets(&entry);
        self.order.insert((entry.last_used, domain.clone()));
        self.entries.insert(domain, entry);
        left
    }

    pub fn remove(&mut self, domain: &Domain) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(domain)?;
        self.order.remove(&(entry.last_used, domain.clone()));
        self.octets = self.octets.saturating_sub(octets(&entry));
        Some(entry)
    }

    fn is_too_full(&self, more: usize) -> bool {
        self.entries.len() >= self.room.entries || self.octets + more > self.room.octets
    }
}

/// About what an entry takes: its text, its patterns read, its places in both lists.
fn octets(entry: &Entry) -> usize {
    const FIXED: usize = 600;
    let patterns: usize = entry.policy.mx.iter().map(|mx| 80 + mx.to_string().len()).sum();
    FIXED + entry.text.len() + patterns
}

#[cfg(test)]
mod tests {
    use super::super::freshness::tests::entry;
    use super::*;

    fn domain(number: usize) -> Domain {
        Domain::parse(&format!("d{number}.test")).unwrap()
    }

    fn used(at: u64) -> Arc<Entry> {
        Arc::new(entry("1", 60, Timestamp::from_secs(at)))
    }

    #[test]
    fn the_longest_unused_leaves_first() {
        let mut shelf = Shelf::new(Room { entries: 3, octets: 1 << 20 });
        for (number, at) in [(1, 10), (2, 30), (3, 20)] {
            assert!(shelf.put(domain(number), used(at)).is_empty());
        }
        assert!(shelf.put(domain(1), used(40)).is_empty()); // one that is there already, used again
        assert_eq!(shelf.put(domain(4), used(50)), [domain(3)]);
        assert_eq!(shelf.put(domain(5), used(5)), [domain(2)]); // the new one stays
        assert_eq!(shelf.put(domain(6), used(60)), [domain(5)]);
        let names: Vec<&Domain> = shelf.iter(None).map(|(domain, _)| domain).collect();
        assert_eq!(names, [&domain(1), &domain(4), &domain(6)]);
        assert_eq!(shelf.iter(Some(&domain(4))).count(), 1);
        assert_eq!(shelf.oldest().unwrap().0, &domain(1));
        assert!(shelf.get(&domain(1)).is_some() && shelf.get(&domain(2)).is_none());
        assert!(shelf.remove(&domain(1)).is_some() && shelf.remove(&domain(1)).is_none());
    }

    #[test]
    fn bounded_by_octets() {
        let one = octets(&used(1));
        let mut shelf = Shelf::new(Room { entries: 1000, octets: 10 * one });
        for number in 0..100 {
            shelf.put(domain(number), used(number as u64 + 1));
            let sum: usize = shelf.iter(None).map(|(_, entry)| octets(entry)).sum();
            assert_eq!(shelf.octets, sum);
        }
        assert_eq!((shelf.len(), shelf.order.len()), (10, 10));
        assert!(shelf.get(&domain(90)).is_some() && shelf.get(&domain(89)).is_none());
    }
}
