//! Where idle sessions lie: by key, each in its place, the one used longest ago in front.
//!
//! Generic, because the sessions themselves are elsewhere: each is held by a task that watches its peer.

use std::collections::{BTreeMap, HashMap};

use crate::pool::PoolKey;
use crate::time::Timestamp;

/// Where one session lies. Places are ordered by last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub last_used: Timestamp,
    /// Never given twice, so that news of a session that left long ago names nobody.
    pub serial: u64,
}

/// How many sessions may lie here.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub of_key: usize,
    pub in_all: usize,
}

#[derive(Debug)]
pub struct Shelf<T> {
    by_key: HashMap<PoolKey, BTreeMap<Place, T>>,
    by_place: BTreeMap<Place, PoolKey>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf { by_key: HashMap::new(), by_place: BTreeMap::new() }
    }
}

impl<T> Shelf<T> {
    /// Puts a session by. Where there is no room for it, those used longest ago have to go and are returned: perhaps this one itself.
    #[must_use]
    pub fn put(&mut self, key: PoolKey, place: Place, item: T, room: Room) -> Vec<T> {
        self.by_place.insert(place, key.clone());
        let mut leaving = Vec::new();
        let lying = self.by_key.entry(key).or_default();
        lying.insert(place, item);
        let too_many = lying.len().saturating_sub(room.of_key);
        let first: Vec<Place> = lying.keys().take(too_many).copied().collect();
        leaving.extend(first.into_iter().filter_map(|place| self.remove(place)));
        while self.len() > room.in_all {
            let Some(first) = self.by_place.keys().next().copied() else { break };
            leaving.extend(self.remove(first));
        }
        leaving
    }

    /// The one used last: it is the most likely to be good.
    pub fn take(&mut self, key: &PoolKey) -> Option<T> {
        let place = *self.by_key.get(key)?.keys().next_back()?;
        self.remove(place)
    }

    pub fn remove(&mut self, place: Place) -> Option<T> {
        let key = self.by_place.remove(&place)?;
        let lying = self.by_key.get_mut(&key)?;
        let item = lying.remove(&place);
        if lying.is_empty() {
            self.by_key.remove(&key);
        }
        item
    }

    pub fn len(&self) -> usize {
        self.by_place.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PoolKey, &T)> {
        self.by_key.iter().flat_map(|(key, lying)| lying.values().map(move |item| (key, item)))
    }

    /// Everything, and leaves nothing.
    pub fn clear(&mut self) -> Vec<T> {
        self.by_place.clear();
        self.by_key.drain().flat_map(|(_, lying)| lying.into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Class;
    use crate::route::destination::DestinationKey;

    const ROOMY: Room = Room { of_key: 10, in_all: 100 };

    fn key(name: &str) -> PoolKey {
        PoolKey {
            target: "mx".to_string(),
            destination: DestinationKey::Target(name.to_string()),
            local: Vec::new(),
            class: Class::default(),
        }
    }

    fn place(serial: u64) -> Place {
        Place { last_used: Timestamp::from_secs(serial), serial }
    }

    /// Sessions are called by their serial.
    fn shelf(sessions: &[(&str, u64)]) -> Shelf<u64> {
        let mut shelf = Shelf::default();
        for (name, serial) in sessions {
            assert!(shelf.put(key(name), place(*serial), *serial, ROOMY).is_empty());
        }
        shelf
    }

    #[test]
    fn the_one_used_last_is_taken_first_and_once() {
        let mut shelf = shelf(&[("a", 1), ("b", 2), ("a", 3)]);
        let unused = Place { last_used: Timestamp::from_secs(2), serial: 4 };
        assert!(shelf.put(key("a"), unused, 4, ROOMY).is_empty());
        assert_eq!(shelf.len(), 4);
        let order: Vec<_> = std::iter::from_fn(|| shelf.take(&key("a"))).collect();
        assert_eq!(order, [3, 4, 1]);
        assert_eq!((shelf.take(&key("b")), shelf.len()), (Some(2), 0));
        assert!(shelf.is_empty() && shelf.by_key.is_empty());
    }

    #[test]
    fn a_key_has_room_for_so_many_and_keeps_the_newest() {
        let mut shelf = shelf(&[("a", 5), ("b", 1), ("a", 7)]);
        let room = Room { of_key: 2, ..ROOMY };
        assert_eq!(shelf.put(key("a"), place(8), 8, room), [5]);
        assert_eq!(shelf.put(key("a"), place(3), 3, room), [3]); // used longest ago itself
        assert_eq!((shelf.take(&key("a")), shelf.take(&key("a"))), (Some(8), Some(7)));
    }

    #[test]
    fn when_all_is_full_the_one_used_longest_ago_goes_whosever_it_is() {
        let mut shelf = shelf(&[("a", 2), ("b", 1), ("c", 3)]);
        let room = Room { in_all: 3, ..ROOMY };
        assert_eq!(shelf.put(key("a"), place(4), 4, room), [1]);
        assert_eq!(shelf.take(&key("b")), None);
        assert_eq!(shelf.len(), 3);
    }

    #[test]
    fn what_has_left_is_not_found_again() {
        let mut shelf = shelf(&[("a", 1), ("a", 2)]);
        assert_eq!(shelf.remove(place(2)), Some(2));
        assert_eq!(shelf.remove(place(2)), None);
        assert_eq!(shelf.iter().map(|(_, item)| *item).collect::<Vec<_>>(), [1]);
        assert_eq!(shelf.clear(), [1]);
        assert_eq!((shelf.take(&key("a")), shelf.len()), (None, 0));
    }
}
