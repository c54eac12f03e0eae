//! What is known of addresses: which took no connection lately, and by which family a host was reached.
//!
//! An address that did not answer rests: five minutes, and twice as long each time it fails again, up to an hour. So long
//! it stands behind all others, and until somebody gets through one delivery at a time tries it. Ten thousand domains behind one dead exchanger then cost one
//! dial, not ten thousand.
//!
//! As long as nobody has failed yet, an address that takes connections and says nothing looks well, for minutes. So dials that wait are known,
//! too: one that has waited for ten seconds makes the address silent, and whoever holds a slot does not dial it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Failure;
use crate::time::Timestamp;

const FIRST_REST: Duration = Duration::from_secs(300);
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// A dial that has waited so long for an answer makes the address a silent one.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Addresses, and hosts, that are remembered.
pub const MOST: usize = 20_000;

/// An address that took no connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The first time in a row.
    pub since: Timestamp,
    pub until: Timestamp,
    pub rest: Duration,
    pub why: Failure,
}

/// May an address be dialled? A dial has a number, by which its end is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    Go(u64),
    /// By this delivery only: it finds out for the others.
    Probe(u64),
    /// Another delivery finds out, about what was known so far.
    Wait(Option<Failing>),
    /// Another delivery has waited so long, and a slot is not for waiting.
    Silent(Duration),
}

/// What somebody who is about to dial may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A slot, that others want.
    Slot,
    /// Time only.
    Patience,
}

/// Dials of one address that have no end yet.
#[derive(Debug, Default)]
struct Dialling {
    /// Since when each of them has had no answer.
    since: HashMap<u64, Timestamp>,
    /// Somebody was answered meanwhile.
    answered: bool,
}

#[derive(Debug)]
struct Entry {
    failing: Failing,
    probed: bool,
    number: u64,
}

/// All hosts of one target.
#[derive(Debug, Default)]
pub struct Hosts {
    serial: u64,
    failing: HashMap<IpAddr, Entry>,
    /// As many as there are deliveries at most.
    dialling: HashMap<IpAddr, Dialling>,
    by_age: BTreeMap<u64, IpAddr>,
    /// Hosts whose last session was over IPv4. IPv6 is what is tried first anyway.
    over_v4: HashMap<String, u64>,
    v4_by_age: BTreeMap<u64, String>,
    changed: BTreeSet<IpAddr>,
}

impl Hosts {
    pub fn new() -> Hosts {
        Hosts::default()
    }

    /// What an earlier life has left.
    pub fn remember(&mut self, address: IpAddr, failing: Failing, now: Timestamp) {
        if is_past(&failing, now) {
            self.changed.insert(address);
        } else if !self.failing.contains_key(&address) {
            self.set(address, failing);
        }
    }

    /// The address did not answer lately, or lets somebody wait for its answer: others first.
    pub fn rests(&self, address: IpAddr, now: Timestamp) -> bool {
        let resting = |failing: &Failing| now < failing.until && !is_past(failing, now);
        self.failing.get(&address).is_some_and(|entry| resting(&entry.failing))
            || self.silence(address, now).is_some()
    }

    /// How long the address has let somebody wait, if that is long.
    pub fn silence(&self, address: IpAddr, now: Timestamp) -> Option<Duration> {
        let since = self.dialling.get(&address)?.since.values().min()?;
        Some(now.since(*since)).filter(|silence| *silence >= SILENT_AFTER)
    }

    pub fn failing(&self, address: IpAddr, now: Timestamp) -> Option<&Failing> {
        self.failing.get(&address).map(|e| &e.failing).filter(|failing| !is_past(failing, now))
    }

    /// Somebody is about to dial.
    pub fn begin(&mut self, address: IpAddr, means: Means, now: Timestamp) -> Leave {
        let silence = self.silence(address, now);
        if let (Means::Slot, Some(silence)) = (means, silence) {
            return Leave::Silent(silence);
        }
        if self.failing.get(&address).is_some_and(|entry| is_past(&entry.failing, now)) {
            self.forget(address);
        }
        if let Some(entry) = self.failing.get_mut(&address) {
            if entry.probed {
                return Leave::Wait(Some(entry.failing.clone()));
            }
            entry.probed = true;
            return Leave::Probe(self.dials(address, now));
        }
        // Where others are answered nobody has to wait for their word.
        let quiet = |dialling: &Dialling| !dialling.answered || silence.is_some();
        if means == Means::Patience && self.dialling.get(&address).is_some_and(quiet) {
            return Leave::Wait(None);
        }
        Leave::Go(self.dials(address, now))
    }

    fn dials(&mut self, address: IpAddr, now: Timestamp) -> u64 {
        self.serial += 1;
        self.dialling.entry(address).or_default().since.insert(self.serial, now);
        self.serial
    }

    /// A dial got an answer on its way to a session, and waits for the next one.
    pub fn goes_on(&mut self, address: IpAddr, dial: u64, now: Timestamp) {
        let dialling = self.dialling.get_mut(&address);
        if let Some(since) = dialling.and_then(|dialling| dialling.since.get_mut(&dial)) {
            *since = now;
        }
    }

    /// A dial is over, however it ended.
    pub fn end(&mut self, address: IpAddr, dial: u64) {
        let Some(dialling) = self.dialling.get_mut(&address) else { return };
        dialling.since.remove(&dial);
        if dialling.since.is_empty() {
            self.dialling.remove(&address);
        }
    }

    /// The probe was called off, and says nothing.
    pub fn gave_up(&mut self, address: IpAddr) {
        if let Some(entry) = self.failing.get_mut(&address) {
            entry.probed = false;
        }
    }

    /// Nobody answered.
    pub fn failed(&mut self, address: IpAddr, why: Failure, now: Timestamp) {
        let failing = match self.failing.get(&address) {
            Some(Entry { failing, .. }) if !is_past(failing, now) => {
                // Of many that dialled at the same time the first has said it.
                let again = failing.until <= now || failing.until.since(now) > failing.rest;
                let probed = self.failing.get(&address).is_some_and(|entry| entry.probed);
                if !again && !probed {
                    return;
                }
                let rest = failing.rest.saturating_mul(2).min(LONGEST_REST);
                Failing { since: failing.since, until: now.plus(rest), rest, why }
            }
            _ => Failing { since: now, until: now.plus(FIRST_REST), rest: FIRST_REST, why },
        };
        self.set(address, failing);
    }

    /// Somebody is there, and has no longer let anybody wait.
    pub fn answered(&mut self, address: IpAddr, now: Timestamp) {
        self.forget(address);
        if let Some(dialling) = self.dialling.get_mut(&address) {
            dialling.answered = true;
            dialling.since.values_mut().for_each(|since| *since = now);
        }
    }

    /// A session was made with this host.
    pub fn reached(&mut self, host: &str, address: IpAddr, now: Timestamp) {
        self.answered(address, now);
        if let Some(number) = self.over_v4.remove(host) {
            self.v4_by_age.remove(&number);
        }
        if address.is_ipv4() {
            self.serial += 1;
            self.over_v4.insert(host.to_string(), self.serial);
            self.v4_by_age.insert(self.serial, host.to_string());
            if self.over_v4.len() > MOST
                && let Some((_, oldest)) = self.v4_by_age.pop_first()
            {
                self.over_v4.remove(&oldest);
            }
        }
    }

    /// IPv6 first, unless the last session with this host was over IPv4; the families alternate as they did.
    pub fn prefer(&self, host: &str, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let four_first =
            self.over_v4.contains_key(host) && addresses.first().is_some_and(IpAddr::is_ipv6);
        if !four_first {
            return addresses;
        }
        let (four, six): (Vec<IpAddr>, Vec<IpAddr>) =
            addresses.into_iter().partition(IpAddr::is_ipv4);
        let (mut four, mut six) = (four.into_iter(), six.into_iter());
        let mut list = Vec::new();
        loop {
            let next = [four.next(), six.next()];
            if next.iter().all(Option::is_none) {
                return list;
            }
            list.extend(next.into_iter().flatten());
        }
    }

    fn set(&mut self, address: IpAddr, failing: Failing) {
        self.forget(address);
        self.serial += 1;
        self.failing.insert(address, Entry { failing, probed: false, number: self.serial });
        self.by_age.insert(self.serial, address);
        self.changed.insert(address);
        if self.failing.len() > MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.failing.remove(&oldest);
            self.changed.insert(oldest);
        }
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some(entry) = self.failing.remove(&address) {
            self.by_age.remove(&entry.number);
            self.changed.insert(address);
        }
    }

    /// What changed since the last call, for the disk; `None` for one that is well.
    pub fn changes(&mut self) -> Vec<(IpAddr, Option<Failing>)> {
        let failing =
            |address: &IpAddr| self.failing.get(address).map(|entry| entry.failing.clone());
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|address| (address, failing(&address))).collect()
    }

    /// Addresses that rest or are to be probed.
    pub fn count(&self) -> usize {
        self.failing.len()
    }
}

/// Nobody has asked for so long after its rest that what is known of it says nothing; or the clock was set back.
fn is_past(failing: &Failing, now: Timestamp) -> bool {
    now >= failing.until.plus(LONGEST_REST) || failing.until.since(now) > LONGEST_REST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cause;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn go(hosts: &mut Hosts, address: IpAddr, now: Timestamp) -> u64 {
        match hosts.begin(address, Means::Slot, now) {
            Leave::Go(dial) => dial,
            other => panic!("{other:?}"),
        }
    }

    fn probe(hosts: &mut Hosts, address: IpAddr, now: Timestamp) -> u64 {
        match hosts.begin(address, Means::Slot, now) {
            Leave::Probe(dial) => dial,
            other => panic!("{other:?}"),
        }
    }

    fn refused() -> Failure {
        Failure::new(Cause::Unreachable, "refused")
    }

    #[test]
    fn one_delivery_finds_out_for_the_others() {
        let mut hosts = Hosts::new();
        let address = ip("192.0.2.1");
        // Five dialled at the same moment.
        let dials: Vec<u64> = (0..5).map(|_| go(&mut hosts, address, at(0))).collect();
        for dial in dials {
            hosts.failed(address, refused(), at(1));
            hosts.end(address, dial);
        }
        assert_eq!(hosts.failing(address, at(2)).unwrap().until, at(301));
        assert!(hosts.rests(address, at(2)));
        let probe = self::probe(&mut hosts, address, at(2));
        let waits = hosts.begin(address, Means::Slot, at(2));
        assert!(matches!(waits, Leave::Wait(Some(known)) if known.until == at(301)));
        hosts.gave_up(address);
        hosts.end(address, probe);
        let probe = self::probe(&mut hosts, address, at(3));
        hosts.failed(address, refused(), at(4));
        hosts.end(address, probe);
        assert_eq!(hosts.failing(address, at(5)).unwrap().until, at(604));
        assert_eq!(hosts.failing(address, at(5)).unwrap().since, at(1));
        self::probe(&mut hosts, address, at(900));
        hosts.reached("mx.test", address, at(900));
        go(&mut hosts, address, at(901));
        assert!(!hosts.rests(address, at(901)));
    }

    #[test]
    fn an_address_that_lets_somebody_wait_gets_no_slots() {
        let mut hosts = Hosts::new();
        let address = ip("192.0.2.1");
        let first = go(&mut hosts, address, at(0));
        let second = go(&mut hosts, address, at(9));
        // Who has time waits for the word of the others, even before that is long.
        assert_eq!(hosts.begin(address, Means::Patience, at(9)), Leave::Wait(None));
        assert!(!hosts.rests(address, at(9)) && hosts.rests(address, at(12)));
        let silent = Leave::Silent(Duration::from_secs(12));
        assert_eq!(hosts.begin(address, Means::Slot, at(12)), silent);
        assert_eq!(hosts.begin(address, Means::Patience, at(12)), Leave::Wait(None));
        // It is slow, and not silent.
        hosts.goes_on(address, first, at(13));
        assert!(!hosts.rests(address, at(18)));
        // The second has waited longer now.
        assert!(hosts.rests(address, at(19)));
        hosts.end(address, second);
        assert!(!hosts.rests(address, at(19)) && hosts.rests(address, at(23)));
        hosts.end(address, first);
        assert!(hosts.dialling.is_empty());
        go(&mut hosts, address, at(24));
    }

    #[test]
    fn an_answer_lets_all_others_go() {
        let mut hosts = Hosts::new();
        let address = ip("192.0.2.1");
        let first = go(&mut hosts, address, at(0));
        go(&mut hosts, address, at(1));
        assert!(hosts.rests(address, at(15)));
        hosts.reached("mx.test", address, at(15));
        hosts.end(address, first);
        go(&mut hosts, address, at(15));
        assert!(matches!(hosts.begin(address, Means::Patience, at(15)), Leave::Go(_)));
        // Those that still wait are a new silence.
        assert!(hosts.rests(address, at(25)));
        assert_eq!(hosts.begin(address, Means::Patience, at(25)), Leave::Wait(None));
    }

    #[test]
    fn nobody_spends_a_slot_on_a_probe_that_lasts() {
        let mut hosts = Hosts::new();
        let address = ip("192.0.2.1");
        hosts.failed(address, refused(), at(0));
        probe(&mut hosts, address, at(1));
        assert!(matches!(hosts.begin(address, Means::Slot, at(10)), Leave::Wait(Some(_))));
        assert!(matches!(hosts.begin(address, Means::Slot, at(11)), Leave::Silent(_)));
        assert!(matches!(hosts.begin(address, Means::Patience, at(11)), Leave::Wait(Some(_))));
    }

    #[test]
    fn a_rest_doubles_up_to_an_hour_and_is_forgotten_an_hour_later() {
        let mut hosts = Hosts::new();
        let address = ip("2001:db8::1");
        let mut now = 0;
        for rest in [300, 600, 1200, 2400, 3600, 3600] {
            let begun = hosts.begin(address, Means::Slot, at(now));
            let (Leave::Go(dial) | Leave::Probe(dial)) = begun else { panic!("{begun:?}") };
            hosts.failed(address, refused(), at(now));
            hosts.end(address, dial);
            assert_eq!(hosts.failing(address, at(now)).unwrap().until, at(now + rest));
            now += rest;
        }
        // Its time is over, and still it is tried by one.
        assert!(!hosts.rests(address, at(now)));
        let dial = probe(&mut hosts, address, at(now + 3599));
        hosts.end(address, dial);
        go(&mut hosts, address, at(now + 3600));
        hosts.failed(address, refused(), at(now + 3600));
        assert_eq!(hosts.failing(address, at(now + 3600)).unwrap().rest, FIRST_REST);
    }

    #[test]
    fn the_family_that_reached_a_host_goes_first() {
        let mut hosts = Hosts::new();
        let list = || vec![ip("2001:db8::1"), ip("192.0.2.1"), ip("2001:db8::2"), ip("192.0.2.2")];
        let other = vec![ip("192.0.2.1"), ip("2001:db8::1"), ip("192.0.2.2"), ip("2001:db8::2")];
        assert_eq!(hosts.prefer("mx.test", list()), list());
        hosts.reached("mx.test", ip("192.0.2.2"), at(0));
        assert_eq!(hosts.prefer("mx.test", list()), other);
        assert_eq!(hosts.prefer("mx2.test", list()), list());
        hosts.reached("mx.test", ip("2001:db8::2"), at(0));
        assert_eq!(hosts.prefer("mx.test", list()), list());
        let five = vec![ip("2001:db8::1"), ip("2001:db8::2"), ip("192.0.2.1")];
        hosts.reached("mx.test", ip("192.0.2.1"), at(0));
        let mixed = vec![ip("192.0.2.1"), ip("2001:db8::1"), ip("2001:db8::2")];
        assert_eq!(hosts.prefer("mx.test", five), mixed);
    }

    #[test]
    fn memory_is_bounded_and_outlives_the_process() {
        let mut hosts = Hosts::new();
        for number in 0..u32::try_from(MOST).unwrap() + 10 {
            let address = IpAddr::from(number.to_be_bytes());
            hosts.failed(address, refused(), at(0));
            hosts.reached(&format!("mx{number}.test"), IpAddr::from([1, 1, 1, 1]), at(0));
        }
        assert_eq!((hosts.count(), hosts.by_age.len()), (MOST, MOST));
        assert_eq!((hosts.over_v4.len(), hosts.v4_by_age.len()), (MOST, MOST));
        let mut later = Hosts::new();
        for (address, failing) in hosts.changes() {
            let text = serde_json::to_string(&failing).unwrap();
            if let Some(failing) = serde_json::from_str(&text).unwrap() {
                later.remember(address, failing, at(10));
            }
        }
        assert_eq!(later.count(), MOST);
        let mut much_later = Hosts::new();
        let failing = later.failing(IpAddr::from([0, 0, 1, 0]), at(10)).unwrap().clone();
        much_later.remember(ip("192.0.2.1"), failing, at(100_000));
        assert_eq!((much_later.count(), much_later.changes().len()), (0, 1));
    }
}
