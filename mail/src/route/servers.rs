//! What is known of the servers that a target has in its configuration: which of them were down lately, and whether they know who we are.
//!
//! A server with which there was no session, and one that has let a delivery wait for ten seconds, stands behind the others for a minute:
//! whether it is away, busy, or has lost its certificate, the next message need not find it out again. Nobody is left out for it: where all are down all are tried. Forgetting all this costs a few dials.

use std::collections::HashMap;
use std::time::Duration;

use crate::outcome::Failure;
use crate::time::Timestamp;

/// How long a server stands behind the others.
const REST: Duration = Duration::from_secs(60);
/// A dial that has waited so long says that nobody is there.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// After credentials were refused they are not shown again for so long: who is tried again and again locks accounts.
pub const HOLD: Duration = Duration::from_secs(300);
/// And then by one alone, who has so long to come back with the answer.
const PROVING: Duration = Duration::from_secs(30);

/// Servers are known by their place in the list.
#[derive(Debug, Default)]
pub struct Servers {
    resting: HashMap<usize, Resting>,
    /// Dials without an answer, by number: to whom, and since when.
    dialling: HashMap<u64, (usize, Timestamp)>,
    serial: u64,
    held: Option<Held>,
}

#[derive(Debug)]
struct Resting {
    until: Timestamp,
    why: String,
}

/// Our credentials were refused, and nobody logs in for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The first refusal since they were taken last.
    pub since: Timestamp,
    pub until: Timestamp,
    /// The latest, in the server's words.
    pub why: Failure,
}

impl Held {
    /// Who said what.
    pub fn words(&self) -> String {
        match &self.why.remote {
            Some(remote) => format!("{}: {}", remote.host, self.why.text),
            None => self.why.text.clone(),
        }
    }
}

/// How a server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// There was no session with it: until then the others come first.
    Resting {
        until: Timestamp,
        why: String,
    },
    /// Somebody has been waiting for it since then: the others come first.
    Silent {
        since: Timestamp,
    },
}

impl Servers {
    pub fn standing(&self, place: usize, now: Timestamp) -> Standing {
        let resting = self.resting.get(&place).filter(|resting| is_ahead(resting.until, REST, now));
        if let Some(Resting { until, why }) = resting {
            return Standing::Resting { until: *until, why: why.clone() };
        }
        let of_it = self.dialling.values().filter(|(whom, _)| *whom == place);
        match of_it.map(|(_, since)| *since).min() {
            Some(since) if now.since(since) >= SILENT_AFTER => Standing::Silent { since },
            Some(_) | None => Standing::Ready,
        }
    }

    pub fn rests(&self, place: usize, now: Timestamp) -> bool {
        self.standing(place, now) != Standing::Ready
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

    /// There was no session with it.
    pub fn failed(&mut self, place: usize, now: Timestamp, why: &str) {
        self.resting.insert(place, Resting { until: now.plus(REST), why: why.to_string() });
    }

    /// There is a session with it.
    pub fn answered(&mut self, place: usize) {
        self.resting.remove(&place);
    }

    /// Our credentials were refused.
    pub fn hold(&mut self, now: Timestamp, why: Failure) {
        let since = self.held.as_ref().map_or(now, |held| held.since);
        self.held = Some(Held { since, until: now.plus(HOLD), why });
    }

    /// Until when nobody logs in, and why.
    pub fn held(&self, now: Timestamp) -> Option<&Held> {
        self.held.as_ref().filter(|held| is_ahead(held.until, HOLD, now))
    }

    /// May an attempt log in? After a refusal the first that comes may, and the others wait for what it meets.
    pub fn may_log_in(&mut self, now: Timestamp) -> Result<(), Held> {
        match &mut self.held {
            Some(held) if is_ahead(held.until, HOLD, now) => Err(held.clone()),
            Some(held) => {
                held.until = now.plus(PROVING);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// They were taken.
    pub fn known(&mut self) {
        self.held = None;
    }
}

/// The end of a span that has begun and lasts. A clock that was set back makes none longer.
fn is_ahead(until: Timestamp, span: Duration, now: Timestamp) -> bool {
    now < until && until.since(now) <= span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cause;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn refused(text: &str) -> Failure {
        Failure::new(Cause::CredentialsRefused, text)
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_last_longer() {
        let mut servers = Servers::default();
        servers.failed(0, at(10_000), "refused");
        servers.hold(at(10_000), refused("no"));
        assert!(servers.rests(0, at(10_000)) && servers.held(at(10_000)).is_some());
        assert!(servers.may_log_in(at(10_000)).is_err());
        assert!(!servers.rests(0, at(5_000)) && servers.held(at(5_000)).is_none());
        assert!(servers.may_log_in(at(5_000)).is_ok());
    }

    #[test]
    fn who_was_down_rests_for_a_minute() {
        let mut servers = Servers::default();
        assert!(!servers.rests(0, at(100)));
        servers.failed(0, at(100), "refused");
        assert!(servers.rests(0, at(159)) && !servers.rests(1, at(159)));
        let resting = Standing::Resting { until: at(160), why: "refused".into() };
        assert_eq!(servers.standing(0, at(159)), resting);
        assert!(!servers.rests(0, at(160)));
        servers.failed(0, at(200), "refused");
        servers.answered(0);
        assert!(!servers.rests(0, at(201)));
    }

    #[test]
    fn who_lets_somebody_wait_is_not_waited_for_by_all() {
        let mut servers = Servers::default();
        let dial = servers.begin(1, at(100));
        assert!(!servers.rests(1, at(109)));
        assert!(servers.rests(1, at(110)) && !servers.rests(0, at(110)));
        servers.begin(1, at(108));
        assert_eq!(servers.standing(1, at(110)), Standing::Silent { since: at(100) });
        servers.end(dial);
        assert!(!servers.rests(1, at(110)));
    }

    #[test]
    fn refused_credentials_are_kept_back_for_a_while() {
        let mut servers = Servers::default();
        assert_eq!(servers.held(at(100)), None);
        assert_eq!(servers.may_log_in(at(100)), Ok(()));
        servers.hold(at(100), refused("535 no"));
        let held = Held { since: at(100), until: at(400), why: refused("535 no") };
        assert_eq!(servers.held(at(399)), Some(&held));
        assert_eq!(servers.may_log_in(at(399)), Err(held));
        assert_eq!(servers.held(at(400)), None);
        servers.hold(at(500), refused("535 no"));
        servers.known();
        assert_eq!(servers.held(at(501)), None);
    }

    #[test]
    fn one_alone_finds_out_whether_they_are_taken_again() {
        let mut servers = Servers::default();
        servers.hold(at(100), refused("535 no"));
        assert_eq!(servers.may_log_in(at(400)), Ok(()));
        assert_eq!(servers.may_log_in(at(400)).unwrap_err().until, at(430));
        // It is still the same trouble.
        servers.hold(at(405), refused("535 still no"));
        let held = Held { since: at(100), until: at(705), why: refused("535 still no") };
        assert_eq!(servers.held(at(500)), Some(&held));
        // Who never comes back is not waited for.
        assert_eq!(servers.may_log_in(at(705)), Ok(()));
        assert_eq!(servers.may_log_in(at(735)), Ok(()));
        servers.known();
        assert_eq!(servers.may_log_in(at(736)), Ok(()));
        assert_eq!(servers.may_log_in(at(736)), Ok(()));
    }
}
