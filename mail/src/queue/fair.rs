//! Whose turn it is: destinations in a ring, one batch each time round.
//!
//! A destination with a hundred thousand batches and one with a single batch get the same share of the slots while both wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

#[derive(Debug)]
pub struct Fair<K, V> {
    lines: HashMap<K, VecDeque<V>>,
    ring: VecDeque<K>,
    /// Destinations that are passed over for now.
    parked: HashSet<K>,
    len: usize,
}

impl<K, V> Default for Fair<K, V> {
    fn default() -> Fair<K, V> {
        Fair { lines: HashMap::new(), ring: VecDeque::new(), parked: HashSet::new(), len: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Fair<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push(&mut self, key: K, value: V) {
        self.len += 1;
        let line = self.lines.entry(key.clone()).or_default();
        line.push_back(value);
        if line.len() == 1 && !self.parked.contains(&key) {
            self.ring.push_back(key);
        }
    }

    /// The next one, of the destination whose turn it is.
    pub fn pop(&mut self) -> Option<(K, V)> {
        let key = self.ring.pop_front()?;
        let line = self.lines.get_mut(&key)?;
        let value = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.lines.remove(&key);
        } else {
            self.ring.push_back(key.clone());
        }
        Some((key, value))
    }

    /// Takes out what is meant, parked or not; says for each of them which destination it was of.
    pub fn take_out(&mut self, is_meant: impl Fn(&V) -> bool) -> Vec<K> {
        let mut taken = Vec::new();
        self.lines.retain(|key, line| {
            let before = line.len();
            line.retain(|value| !is_meant(value));
            taken.extend(std::iter::repeat_n(key.clone(), before - line.len()));
            !line.is_empty()
        });
        self.ring.retain(|key| self.lines.contains_key(key));
        self.len -= taken.len();
        taken
    }

    /// Passes over a destination until `unpark`.
    pub fn park(&mut self, key: &K) {
        if self.parked.insert(key.clone()) {
            self.ring.retain(|k| k != key);
        }
    }

    pub fn unpark(&mut self, key: &K) {
        if self.parked.remove(key) && self.lines.contains_key(key) {
            self.ring.push_back(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(fair: &mut Fair<&'static str, u32>) -> Vec<(&'static str, u32)> {
        std::iter::from_fn(|| fair.pop()).collect()
    }

    #[test]
    fn a_long_line_does_not_hold_up_a_short_one() {
        let mut fair = Fair::default();
        (0..1000).for_each(|i| fair.push("big", i));
        fair.push("small", 0);
        assert_eq!(fair.pop(), Some(("big", 0)));
        assert_eq!(fair.pop(), Some(("small", 0)));
        assert_eq!(fair.len(), 999);
    }

    #[test]
    fn everything_comes_out_once_in_order_of_its_line() {
        let mut fair = Fair::default();
        for (key, value) in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2)] {
            fair.push(key, value);
        }
        assert_eq!(drained(&mut fair), [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2)]);
        assert!(fair.is_empty());
        fair.push("a", 3);
        assert_eq!(drained(&mut fair), [("a", 3)]);
    }

    #[test]
    fn what_is_taken_out_leaves_no_gap() {
        let mut fair = Fair::default();
        for (key, value) in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("d", 1), ("d", 2)] {
            fair.push(key, value);
        }
        fair.park(&"d");
        let mut taken = fair.take_out(|value| *value == 1);
        taken.sort();
        assert_eq!(taken, ["a", "b", "c", "d"]);
        assert_eq!(fair.len(), 2);
        fair.push("b", 3);
        fair.unpark(&"d");
        assert_eq!(drained(&mut fair), [("a", 2), ("b", 3), ("d", 2)]);
        assert!(fair.is_empty() && fair.take_out(|_| true).is_empty());
    }

    #[test]
    fn parked_destinations_are_passed_over() {
        let mut fair = Fair::default();
        fair.push("a", 1);
        fair.park(&"a");
        fair.park(&"b");
        fair.push("a", 2);
        fair.push("b", 1);
        assert_eq!(fair.pop(), None);
        assert_eq!(fair.len(), 3);
        fair.unpark(&"a");
        assert_eq!(drained(&mut fair), [("a", 1), ("a", 2)]);
        fair.unpark(&"b");
        fair.unpark(&"c");
        assert_eq!(drained(&mut fair), [("b", 1)]);
    }
}
