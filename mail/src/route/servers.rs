//! What is known of the servers that a target has in its configuration: which of them were down lately, and whether they know who we are.
//!
//! A server that took no connection, or has let a delivery wait for ten seconds, stands behind the others for a minute. Nobody is
//! left out for it: where all are down all are tried. Forgetting all this costs a few dials.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Timestamp;

/// How long a server stands behind the others.
const REST: Duration = Duration::from_secs(60);
/// A dial that has waited so long says that nobody is there.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// After credentials were refused they are not shown again for so long: who is tried again and again locks accounts.
const HOLD: Duration = Duration::from_secs(300);

/// Servers are known by their place in the list.
#[derive(Debug, Default)]
pub struct Servers {
    resting: HashMap<usize, Timestamp>,
    /// Dials without an answer, by number: to whom, and since when.
    dialling: HashMap<u64, (usize, Timestamp)>,
    serial: u64,
    held: Option<Timestamp>,
}

impl Servers {
    pub fn rests(&self, place: usize, now: Timestamp) -> bool {
        let silent = |(whom, since): &(usize, Timestamp)| {
            *whom == place && now.since(*since) >= SILENT_AFTER
        };
        self.resting.get(&place).is_some_and(|until| now < *until)
            || self.dialling.values().any(silent)
    }

    /// Somebody is about to dial. The number tells of its end.
    pub fn begin(&mut self, place: usize, now: Timestamp) -> u64 {
        self.serial += 1;
        self.dialling.insert(self.serial, (place, now));
        self.serial
    }

    /// The dial is over, however it ended.
    pub fn end(&mut self, dial: u64) {
        self.dialling.remove(&dial);
    }

    pub fn failed(&mut self, place: usize, now: Timestamp) {
        self.resting.insert(place, now.plus(REST));
    }

    /// Somebody is there.
    pub fn answered(&mut self, place: usize) {
        self.resting.remove(&place);
    }

    /// Our credentials were refused.
    pub fn hold(&mut self, now: Timestamp) {
        self.held = Some(now.plus(HOLD));
    }

    /// Until when nobody logs in.
    pub fn held(&self, now: Timestamp) -> Option<Timestamp> {
        self.held.filter(|until| now < *until)
    }

    /// They were taken.
    pub fn known(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn who_was_down_rests_for_a_minute() {
        let mut servers = Servers::default();
        assert!(!servers.rests(0, at(100)));
        servers.failed(0, at(100));
        assert!(servers.rests(0, at(159)) && !servers.rests(1, at(159)));
        assert!(!servers.rests(0, at(160)));
        servers.failed(0, at(200));
        servers.answered(0);
        assert!(!servers.rests(0, at(201)));
    }

    #[test]
    fn who_lets_somebody_wait_is_not_waited_for_by_all() {
        let mut servers = Servers::default();
        let dial = servers.begin(1, at(100));
        assert!(!servers.rests(1, at(109)));
        assert!(servers.rests(1, at(110)) && !servers.rests(0, at(110)));
        servers.end(dial);
        assert!(!servers.rests(1, at(110)));
    }

    #[test]
    fn refused_credentials_are_kept_back_for_a_while() {
        let mut servers = Servers::default();
        assert_eq!(servers.held(at(100)), None);
        servers.hold(at(100));
        assert_eq!(servers.held(at(399)), Some(at(400)));
        assert_eq!(servers.held(at(400)), None);
        servers.hold(at(500));
        servers.known();
        assert_eq!(servers.held(at(501)), None);
    }
}
