//! Policy hosts that say nothing.
//!
//! A host that takes connections and never speaks costs whoever asks it half a minute, and one host may have the policies of a thousand
//! domains. So fetches that wait are known: one that has not heard a word for five seconds makes its address a silent one, and for a
//! minute it has to speak to the others within a second. That is well before the ten seconds for which a delivery may wait in a slot, or
//! the next ones would be there before it is known.
//!
//! That is hearsay, and a policy that could not be had demands nothing (RFC 8461 §3.3, unless an older one is kept). Whether a host
//! speaks may depend on the name it is asked for, and names are chosen by strangers. Therefore each is asked all the same, only that nobody
//! spoke at all counts, any word at the address ends it, and a domain that was put off by hearsay waits for itself the next time, ten
//! seconds (`freshness::Failed`): a host that speaks within these loses it a minute at most, however often others renew the hearsay.
//! Nor is anybody silent while we are busy ourselves and have not asked him. A refusal is not remembered: it costs no time to hear it
//! again.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Timestamp;

/// A fetch that has heard nothing for so long makes the address a silent one.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);
/// For so long after that it is told to others.
pub const HEARSAY: Duration = Duration::from_secs(60);
/// Addresses that are remembered: the one that fell silent first is forgotten first.
pub const MOST: usize = 20_000;

/// What a fetch makes of the word of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearsay {
    /// A silent address has to speak at once.
    Believed,
    /// It has as long as any address has behind which there are others.
    Ignored,
}

/// All addresses that fetches of one cache have to do with.
#[derive(Debug, Default)]
pub struct SilentHosts {
    serial: u64,
    /// Since when each fetch under way has heard nothing; those that have are not in it.
    waiting: HashMap<IpAddr, HashMap<u64, Timestamp>>,
    silent: HashMap<IpAddr, (u64, Timestamp)>,
    by_age: BTreeMap<u64, IpAddr>,
}

impl SilentHosts {
    /// Until when others are told that the address is silent; `None` when it is not known to be.
    pub fn until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.waiting.get(&address).into_iter().flat_map(HashMap::values);
        let waits = waiting.filter_map(|since| silent_until(*since, now)).max();
        let noted = self.silent.get(&address).map(|(_, until)| *until);
        // A clock that was set back must not make it longer.
        waits
            .into_iter()
            .chain(noted)
            .max()
            .filter(|until| now < *until)
            .map(|until| until.min(now.plus(HEARSAY)))
    }

    /// A fetch dials the address; the number is to be told with what comes of it.
    pub fn begin(&mut self, address: IpAddr, now: Timestamp) -> u64 {
        self.serial += 1;
        self.waiting.entry(address).or_default().insert(self.serial, now);
        self.serial
    }

    /// A fetch is connected, and has not said a word itself.
    pub fn rests(&mut self, address: IpAddr, fetch: u64) {
        self.leave(address, fetch);
    }

    /// It has, and waits for the answer.
    pub fn waits(&mut self, address: IpAddr, fetch: u64, now: Timestamp) {
        self.waiting.entry(address).or_default().insert(fetch, now);
    }

    /// A fetch heard a word. Whoever waits at the same address waits from now.
    pub fn spoke(&mut self, address: IpAddr, fetch: u64, now: Timestamp) {
        self.leave(address, fetch);
        if let Some(waiting) = self.waiting.get_mut(&address) {
            waiting.values_mut().for_each(|since| *since = now);
        }
        self.forget(address);
    }

    /// It heard none within its time.
    pub fn fell_silent(&mut self, address: IpAddr, fetch: u64, now: Timestamp) {
        if let Some(since) = self.leave(address, fetch) {
            let until = silent_until(since, now).unwrap_or(now.plus(HEARSAY));
            self.note(address, until, now);
        }
    }

    /// It is over, and it was not the address that ended it, unless that was silent for long.
    pub fn end(&mut self, address: IpAddr, fetch: u64, now: Timestamp) {
        if let Some(until) = self.leave(address, fetch).and_then(|since| silent_until(since, now)) {
            self.note(address, until, now);
        }
    }

    fn leave(&mut self, address: IpAddr, fetch: u64) -> Option<Timestamp> {
        let waiting = self.waiting.get_mut(&address)?;
        let since = waiting.remove(&fetch);
        if waiting.is_empty() {
            self.waiting.remove(&address);
        }
        since
    }

    fn note(&mut self, address: IpAddr, until: Timestamp, now: Timestamp) {
        let until = self.until(address, now).map_or(until, |before| before.max(until));
        self.forget(address);
        self.serial += 1;
        self.silent.insert(address, (self.serial, until));
        self.by_age.insert(self.serial, address);
        if self.silent.len() > MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.silent.remove(&oldest);
        }
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some((number, _)) = self.silent.remove(&address) {
            self.by_age.remove(&number);
        }
    }
}

/// What a wait since then makes of the address. It is counted from when the silence was long enough, not from when somebody gave up.
fn silent_until(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (now.since(since) >= SILENT_AFTER).then(|| since.plus(SILENT_AFTER + HEARSAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_long_wait_is_told_while_it_lasts_and_a_minute_on() {
        let mut hosts = SilentHosts::default();
        let fetch = hosts.begin(address(1), at(0));
        assert_eq!(hosts.until(address(1), at(4)), None);
        assert_eq!(hosts.until(address(1), at(5)), Some(at(65)));
        assert_eq!(hosts.until(address(2), at(5)), None); // it is about one address
        hosts.end(address(1), fetch, at(30)); // by the time limit of the fetch
        assert_eq!(hosts.until(address(1), at(64)), Some(at(65)));
        assert_eq!(hosts.until(address(1), at(65)), None);
    }

    #[test]
    fn who_is_called_off_early_says_nothing_and_who_waited_in_vain_does() {
        let mut hosts = SilentHosts::default();
        let fetch = hosts.begin(address(1), at(0));
        hosts.end(address(1), fetch, at(4));
        assert_eq!(hosts.until(address(1), at(4)), None);
        assert!(hosts.waiting.is_empty());
        let fetch = hosts.begin(address(1), at(20));
        hosts.fell_silent(address(1), fetch, at(24)); // its time is over by another clock
        assert_eq!(hosts.until(address(1), at(24)), Some(at(84)));
        hosts.end(address(1), fetch, at(99)); // once is enough
        assert_eq!(hosts.until(address(1), at(99)), None);
    }

    #[test]
    fn nobody_is_silent_who_was_not_asked() {
        let mut hosts = SilentHosts::default();
        let fetch = hosts.begin(address(1), at(0));
        hosts.rests(address(1), fetch);
        assert_eq!(hosts.until(address(1), at(60)), None);
        hosts.waits(address(1), fetch, at(60));
        assert_eq!(hosts.until(address(1), at(64)), None);
        assert_eq!(hosts.until(address(1), at(65)), Some(at(125)));
        let called_off = hosts.begin(address(2), at(0));
        hosts.rests(address(2), called_off);
        hosts.end(address(2), called_off, at(30));
        assert_eq!(hosts.until(address(2), at(30)), None);
    }

    #[test]
    fn a_word_at_the_address_ends_it() {
        let mut hosts = SilentHosts::default();
        let (slow, first) = (hosts.begin(address(1), at(0)), hosts.begin(address(1), at(0)));
        hosts.end(address(1), first, at(20));
        assert!(hosts.until(address(1), at(20)).is_some());
        let other = hosts.begin(address(1), at(21));
        hosts.spoke(address(1), other, at(21));
        assert_eq!(hosts.until(address(1), at(25)), None); // also the slow one has waited since then only
        assert_eq!(hosts.until(address(1), at(26)), Some(at(86)));
        hosts.spoke(address(1), slow, at(27));
        assert_eq!(hosts.until(address(1), at(90)), None);
        assert!(hosts.waiting.is_empty() && hosts.silent.is_empty() && hosts.by_age.is_empty());
    }

    #[test]
    fn it_is_never_told_for_longer_than_a_minute() {
        let mut hosts = SilentHosts::default();
        let fetch = hosts.begin(address(1), at(1000));
        hosts.fell_silent(address(1), fetch, at(1010));
        // The clock was set back.
        assert_eq!(hosts.until(address(1), at(0)), Some(at(60)));
        let _waits = hosts.begin(address(2), at(0));
        assert_eq!(hosts.until(address(2), at(20)), Some(at(65)));
        assert_eq!(hosts.until(address(2), at(65)), None); // longer than any fetch lasts
    }

    #[test]
    fn bounded() {
        let mut hosts = SilentHosts::default();
        for number in 0..MOST as u32 + 10 {
            let address = IpAddr::from(number.to_be_bytes());
            let fetch = hosts.begin(address, at(0));
            hosts.fell_silent(address, fetch, at(10));
        }
        assert_eq!((hosts.silent.len(), hosts.by_age.len()), (MOST, MOST));
        assert!(hosts.until(IpAddr::from([0; 4]), at(10)).is_none());
        assert!(hosts.until(IpAddr::from((MOST as u32).to_be_bytes()), at(10)).is_some());
    }
}
