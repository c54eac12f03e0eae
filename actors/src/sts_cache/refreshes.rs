//! Which policy is fetched anew when.

use std::collections::{BTreeSet, HashMap};

use posthaste_mail::address::Domain;
use posthaste_mail::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Refreshes {
    at: HashMap<Domain, Timestamp>,
    order: BTreeSet<(Timestamp, Domain)>,
}

impl Refreshes {
    pub fn get(&self, domain: &Domain) -> Option<Timestamp> {
        self.at.get(domain).copied()
    }

    /// At this time and no other; `None`: not at all.
    pub fn set(&mut self, domain: &Domain, at: Option<Timestamp>) {
        if let Some(before) = self.at.remove(domain) {
            self.order.remove(&(before, domain.clone()));
        }
        if let Some(at) = at {
            self.at.insert(domain.clone(), at);
            self.order.insert((at, domain.clone()));
        }
    }

    /// Takes the first that is due.
    pub fn take_due(&mut self, now: Timestamp) -> Option<Domain> {
        let (_, domain) = self.order.first().filter(|(at, _)| *at <= now)?.clone();
        self.set(&domain, None);
        Some(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_due_comes_first_and_once() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let at = Timestamp::from_secs;
        let mut refreshes = Refreshes::default();
        refreshes.set(&domain("a.test"), Some(at(30)));
        refreshes.set(&domain("b.test"), Some(at(20)));
        refreshes.set(&domain("c.test"), Some(at(10)));
        refreshes.set(&domain("c.test"), Some(at(40))); // put off
        refreshes.set(&domain("d.test"), Some(at(10)));
        refreshes.set(&domain("d.test"), None);
        assert_eq!(refreshes.get(&domain("c.test")), Some(at(40)));
        assert_eq!(refreshes.take_due(at(19)), None);
        assert_eq!(refreshes.take_due(at(30)), Some(domain("b.test")));
        assert_eq!(refreshes.take_due(at(30)), Some(domain("a.test")));
        assert_eq!(refreshes.take_due(at(30)), None);
        assert_eq!(refreshes.get(&domain("a.test")), None);
    }
}
