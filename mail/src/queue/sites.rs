//! All sites of a queue: how many attempts each has now, and whether another one may begin.
//!
//! A site that has no attempt is remembered while what is known of it means something, and beyond a bound the one that was used least
//! lately is forgotten: losing one costs a few dials.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::queue::site::{Feedback, Rules, Site};
use crate::route::destination::DestinationKey;
use crate::time::Timestamp;

/// Idle sites that are remembered.
pub const MOST_SITES: usize = 20_000;

/// May an attempt begin?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// Not before this.
    Until(Timestamp),
    /// Not before one that runs has ended.
    Full,
}

#[derive(Debug)]
struct Entry {
    site: Site,
    busy: u32,
    limited: Option<Limit>,
    number: u64,
}

/// A limit of ours for a destination has refused.
#[derive(Clone, Copy, Debug)]
struct Limit {
    began: Timestamp,
    until: Timestamp,
    /// A place has to be given back first; else a token is due at `until`, and nothing brings it sooner.
    for_a_place: bool,
}

impl Limit {
    /// Still in the way. A clock that was set back makes no wait longer.
    fn holds(self, now: Timestamp) -> bool {
        self.began <= now && now < self.until
    }
}

#[derive(Debug)]
pub struct Sites {
    rules: Rules,
    most: usize,
    serial: u64,
    sites: HashMap<DestinationKey, Entry>,
    /// Those without an attempt, the longest unused first.
    idle: BTreeMap<u64, DestinationKey>,
    /// Perhaps waiting for a place in a limit of ours.
    limited: BTreeSet<DestinationKey>,
    /// Changed since it was last asked for.
    changed: BTreeSet<DestinationKey>,
}

impl Sites {
    pub fn new(rules: Rules, most: usize) -> Sites {
        Sites {
            rules,
            most,
            serial: 0,
            sites: HashMap::new(),
            idle: BTreeMap::new(),
            limited: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// What an earlier life has left.
    pub fn remember(&mut self, key: DestinationKey, site: Site, now: Timestamp) {
        if self.sites.contains_key(&key) {
            return;
        }
        if site.is_stale(self.rules, now) {
            self.changed.insert(key);
            return;
        }
        self.open(&key, site);
        self.rest(&key);
    }

    pub fn gate(&self, key: &DestinationKey, now: Timestamp) -> Gate {
        let Some(entry) = self.sites.get(key) else { return Gate::Open };
        let dead = entry.site.death(self.rules, now).map(|death| death.until);
        let limited = entry.limited.filter(|limit| limit.holds(now)).map(|limit| limit.until);
        match dead.max(limited) {
            Some(until) => Gate::Until(until),
            None if entry.busy >= entry.site.window() => Gate::Full,
            None => Gate::Open,
        }
    }

    /// An attempt begins.
    pub fn begin(&mut self, key: &DestinationKey, now: Timestamp) {
        let rules = self.rules;
        if self.sites.get(key).is_some_and(|e| e.busy == 0 && e.site.is_stale(rules, now)) {
            self.forget(key);
        }
        if !self.sites.contains_key(key) {
            self.open(key, Site::new(rules, now));
        }
        if let Some(entry) = self.sites.get_mut(key) {
            entry.busy = entry.busy.saturating_add(1);
            self.idle.remove(&entry.number);
        }
        self.limited.remove(key);
    }

    /// An attempt is over.
    pub fn end(&mut self, key: &DestinationKey, feedback: &Feedback, now: Timestamp) {
        let Some(entry) = self.sites.get_mut(key) else { return };
        entry.busy = entry.busy.saturating_sub(1);
        // Whatever it held of our limits is free.
        if entry.limited.take().is_some() {
            self.limited.remove(key);
        }
        let troubled = entry.site.is_troubled();
        entry.site.hear(feedback, entry.busy, self.rules, now);
        // What goes well is as good as unknown after a restart.
        if troubled || entry.site.is_troubled() {
            self.changed.insert(key.clone());
        }
        if entry.busy == 0 {
            self.rest(key);
        }
    }

    /// A limit of ours allows no attempt for this destination before `until`, or before a place is given back.
    pub fn limit(
        &mut self,
        key: &DestinationKey,
        until: Timestamp,
        for_a_place: bool,
        now: Timestamp,
    ) {
        if !self.sites.contains_key(key) {
            self.open(key, Site::new(self.rules, now));
            self.rest(key);
        }
        if let Some(entry) = self.sites.get_mut(key) {
            entry.limited = Some(Limit { began: now, until, for_a_place });
            if for_a_place {
                self.limited.insert(key.clone());
            }
        }
    }

    /// Somebody has given a place of this destination back.
    pub fn unlimit(&mut self, key: &DestinationKey) {
        if self.limited.remove(key)
            && let Some(entry) = self.sites.get_mut(key)
        {
            entry.limited.take_if(|limit| limit.for_a_place);
        }
    }

    /// Places may have been given back anywhere: those that wait for one, to be looked at.
    pub fn unlimit_all(&mut self) -> Vec<DestinationKey> {
        let limited = self.limited.iter().cloned().collect();
        for key in std::mem::take(&mut self.limited) {
            if let Some(entry) = self.sites.get_mut(&key) {
                entry.limited.take_if(|limit| limit.for_a_place);
            }
        }
        limited
    }

    /// The operator wants it tried, whatever is known of it.
    pub fn revive(&mut self, key: &DestinationKey, now: Timestamp) {
        if let Some(entry) = self.sites.get_mut(key) {
            entry.site = Site::new(self.rules, now);
            entry.limited = None;
            self.changed.insert(key.clone());
        }
    }

    fn open(&mut self, key: &DestinationKey, site: Site) {
        self.serial += 1;
        let entry = Entry { site, busy: 0, limited: None, number: self.serial };
        self.sites.insert(key.clone(), entry);
    }

    /// One without an attempt stands at the end of those that may be forgotten.
    fn rest(&mut self, key: &DestinationKey) {
        self.serial += 1;
        let Some(entry) = self.sites.get_mut(key) else { return };
        self.idle.remove(&entry.number);
        entry.number = self.serial;
        self.idle.insert(self.serial, key.clone());
        if self.idle.len() > self.most
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            let gone = self.sites.remove(&oldest);
            self.limited.remove(&oldest);
            if gone.is_some_and(|entry| entry.site.is_troubled()) {
                self.changed.insert(oldest);
            }
        }
    }

    fn forget(&mut self, key: &DestinationKey) {
        if let Some(entry) = self.sites.remove(key) {
            self.idle.remove(&entry.number);
            self.limited.remove(key);
            if entry.site.is_troubled() {
                self.changed.insert(key.clone());
            }
        }
    }

    /// Idle sites of which nothing is known that means something are let go, some at a time.
    pub fn tidy(&mut self, now: Timestamp) {
        for _ in 0..TIDY {
            let Some((_, key)) = self.idle.first_key_value() else { return };
            let key = key.clone();
            let stale = |entry: &Entry| entry.site.is_stale(self.rules, now);
            if self.sites.get(&key).is_none_or(stale) {
                self.forget(&key);
            } else {
                return;
            }
        }
    }

    /// What changed since the last call, for the disk; `None` for one that is forgotten.
    pub fn changes(&mut self) -> Vec<(DestinationKey, Option<Site>)> {
        let site = |key: &DestinationKey| self.sites.get(key).map(|entry| entry.site.clone());
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| (key.clone(), site(&key))).collect()
    }

    pub fn view(&self, key: &DestinationKey, now: Timestamp) -> View {
        let rules = self.rules;
        let Some(entry) = self.sites.get(key) else {
            return View {
                site: Site::new(rules, now),
                busy: 0,
                limited: None,
                known: false,
                rules,
            };
        };
        let limited = entry.limited.filter(|limit| limit.holds(now)).map(|limit| limit.until);
        View { site: entry.site.clone(), busy: entry.busy, limited, known: true, rules }
    }

    /// Sites that are dead now.
    pub fn dead(&self, now: Timestamp) -> usize {
        self.sites.values().filter(|e| e.site.death(self.rules, now).is_some()).count()
    }

    pub fn len(&self) -> usize {
        self.sites.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }
}

/// Sites looked at in one tidying.
const TIDY: usize = 100;

/// A site as an operator sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub site: Site,
    pub busy: u32,
    pub limited: Option<Timestamp>,
    /// Something is remembered of it.
    pub known: bool,
    pub rules: Rules,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { widest: u32::MAX, rest: Duration::from_secs(300) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Cause, Failure};

    const RULES: Rules = Rules { widest: 10, rest: Duration::from_secs(300) };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn key(name: &str) -> DestinationKey {
        DestinationKey::Target(name.to_string())
    }

    fn bad() -> Feedback {
        Feedback::Bad(Box::new(Failure::new(Cause::Unreachable, "refused")))
    }

    fn kill(sites: &mut Sites, key: &DestinationKey, now: Timestamp) {
        for _ in 0..5 {
            sites.begin(key, now);
            sites.end(key, &bad(), now);
        }
    }

    #[test]
    fn no_more_than_the_window_at_once() {
        let mut sites = Sites::new(RULES, 10);
        for _ in 0..5 {
            assert_eq!(sites.gate(&key("a"), at(0)), Gate::Open);
            sites.begin(&key("a"), at(0));
        }
        assert_eq!(sites.gate(&key("a"), at(0)), Gate::Full);
        sites.end(&key("a"), &Feedback::Good, at(1));
        assert_eq!(sites.gate(&key("a"), at(1)), Gate::Open); // four run, six may
    }

    #[test]
    fn the_dead_rest_and_are_tried_again() {
        let mut sites = Sites::new(RULES, 10);
        kill(&mut sites, &key("a"), at(0));
        assert_eq!(sites.gate(&key("a"), at(299)), Gate::Until(at(300)));
        assert_eq!((sites.gate(&key("a"), at(300)), sites.dead(at(299))), (Gate::Open, 1));
        assert_eq!(sites.gate(&key("b"), at(0)), Gate::Open);
        sites.revive(&key("a"), at(10));
        assert_eq!(sites.gate(&key("a"), at(10)), Gate::Open);
    }

    #[test]
    fn a_limit_of_ours_ends_with_its_time_or_with_an_attempt() {
        let mut sites = Sites::new(RULES, 10);
        sites.limit(&key("a"), at(20), false, at(5));
        assert_eq!(sites.gate(&key("a"), at(19)), Gate::Until(at(20)));
        // Places that are given back bring no token, and a clock set back no longer wait.
        sites.unlimit(&key("a"));
        assert!(sites.unlimit_all().is_empty());
        assert_eq!(sites.gate(&key("a"), at(19)), Gate::Until(at(20)));
        assert_eq!(sites.gate(&key("a"), at(4)), Gate::Open);
        sites.limit(&key("b"), at(20), true, at(5));
        sites.unlimit(&key("b"));
        assert_eq!(sites.gate(&key("b"), at(6)), Gate::Open);
        assert_eq!(sites.gate(&key("a"), at(20)), Gate::Open);
        sites.begin(&key("a"), at(1));
        sites.end(&key("a"), &Feedback::Nothing, at(2));
        assert_eq!(sites.gate(&key("a"), at(2)), Gate::Open);
    }

    #[test]
    fn idle_ones_are_forgotten_and_busy_ones_never() {
        let mut sites = Sites::new(RULES, 2);
        sites.begin(&key("busy"), at(0));
        for name in ["a", "b", "c"] {
            kill(&mut sites, &key(name), at(1));
        }
        assert_eq!((sites.len(), sites.gate(&key("a"), at(2))), (3, Gate::Open));
        assert!(matches!(sites.gate(&key("c"), at(2)), Gate::Until(_)));
        sites.tidy(at(200));
        assert_eq!(sites.len(), 3);
        sites.tidy(at(700));
        assert_eq!(sites.len(), 1);
        sites.end(&key("busy"), &Feedback::Nothing, at(700));
        sites.tidy(at(1400));
        assert!(sites.is_empty() && sites.idle.is_empty());
    }

    #[test]
    fn what_changed_outlives_the_process() {
        let mut sites = Sites::new(RULES, 10);
        kill(&mut sites, &key("a"), at(0));
        let mut changes = sites.changes();
        assert_eq!((changes.len(), sites.changes().len()), (1, 0));
        let (key, site) = changes.remove(0);
        let text = serde_json::to_string(&site).unwrap();
        let site: Option<Site> = serde_json::from_str(&text).unwrap();
        let mut anew = Sites::new(RULES, 10);
        anew.remember(key.clone(), site.clone().unwrap(), at(100));
        assert_eq!(anew.gate(&key, at(100)), Gate::Until(at(300)));
        let mut late = Sites::new(RULES, 10);
        late.remember(key.clone(), site.unwrap(), at(900));
        assert!(late.is_empty());
    }
}
