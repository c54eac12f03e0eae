//! Why something in the queue does not move: one reason at a time, the first that would have to change.
//!
//! A reason knows since when it holds, until when if that is known, and what would change it; the words for people are made here, so that
//! every door says the same.

use crate::outcome::Failure;
use crate::queue::record::Hold;
use crate::queue::site::Death;
use crate::route::destination::DestinationKey;
use crate::route::servers;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// An attempt runs.
    Delivering {
        attempt: u32,
        since: Timestamp,
    },
    /// Its host has not answered for long; it waits without a slot.
    Awaiting {
        attempt: u32,
        since: Timestamp,
    },
    /// The end of an attempt is being written down.
    Settling,
    Held(Hold),
    /// Other queues have to take the same message first.
    Undecided,
    /// The next attempt is not due.
    Retry {
        attempts: u32,
        last: Option<(Timestamp, Failure)>,
        due: Timestamp,
    },
    /// The target rests after too many panics.
    Suspended {
        target: String,
    },
    /// The servers of the target do not know who we are, and nobody logs in for a while.
    RouteHeld {
        target: String,
        held: servers::Held,
    },
    /// The target it was rerouted to is not in the configuration.
    TargetMissing {
        target: String,
    },
    Draining,
    /// Nobody dials this destination now.
    Dead(Death),
    /// A limit of ours for this destination has no room.
    DestinationLimit {
        until: Timestamp,
    },
    /// Another limit of ours, in words.
    OtherLimit {
        limit: String,
        until: Timestamp,
    },
    /// As many attempts run as the destination takes well.
    WindowFull {
        running: u32,
        window: u32,
    },
    /// The host does not answer, and one attempt at a time waits for it.
    Silent,
    /// `max_parallelism` attempts run.
    NoSlot {
        slots: usize,
    },
    /// Nothing is in its way.
    Turn,
    /// Nothing waits.
    Idle,
}

impl Reason {
    /// A constant word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Reason::Delivering { .. } => "delivering",
            Reason::Awaiting { .. } => "awaiting",
            Reason::Settling => "settling",
            Reason::Held(_) => "held",
            Reason::Undecided => "undecided",
            Reason::Retry { .. } => "retry",
            Reason::Suspended { .. } => "suspended",
            Reason::RouteHeld { .. } => "route-held",
            Reason::TargetMissing { .. } => "target-missing",
            Reason::Draining => "draining",
            Reason::Dead(_) => "dead-site",
            Reason::DestinationLimit { .. } | Reason::OtherLimit { .. } => "own-limit",
            Reason::WindowFull { .. } => "window-full",
            Reason::Silent => "silent-host",
            Reason::NoSlot { .. } => "no-slot",
            Reason::Turn => "turn",
            Reason::Idle => "idle",
        }
    }

    pub fn since(&self) -> Option<Timestamp> {
        match self {
            Reason::Delivering { since, .. } | Reason::Awaiting { since, .. } => Some(*since),
            Reason::Held(hold) => Some(hold.since),
            Reason::Retry { last, .. } => last.as_ref().map(|(at, _)| *at),
            Reason::Dead(death) => Some(death.since),
            Reason::RouteHeld { held, .. } => Some(held.since),
            _ => None,
        }
    }

    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Reason::Retry { due, .. } => Some(*due),
            Reason::Dead(death) => Some(death.until),
            Reason::RouteHeld { held, .. } => Some(held.until),
            Reason::DestinationLimit { until } | Reason::OtherLimit { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// What happens, in a sentence without a full stop.
    pub fn text(&self) -> String {
        match self {
            Reason::Delivering { attempt, .. } => format!("attempt {attempt} runs"),
            Reason::Awaiting { attempt, .. } => {
                format!("attempt {attempt} waits for a host that does not answer, without a slot")
            }
            Reason::Settling => "the end of an attempt is being written down".to_string(),
            Reason::Held(hold) => format!("held by {}: {}", hold.by, hold.reason),
            Reason::Undecided => "other queues have not taken the same message yet".to_string(),
            Reason::Retry { attempts: 0, last: Some((_, failure)), .. } => {
                format!("waits to be tried; no attempt was made: {failure}")
            }
            Reason::Retry { attempts, last, .. } => {
                let next = attempts.saturating_add(1);
                let why = last.as_ref().map(|(_, failure)| format!("; the last one: {failure}"));
                format!("waits for attempt {next}{}", why.unwrap_or_default())
            }
            Reason::Suspended { target } => {
                format!("target {target} panicked too often and is suspended")
            }
            Reason::RouteHeld { target, held } => {
                format!("target {target} is held, its credentials were refused: {}", held.words())
            }
            Reason::TargetMissing { target } => {
                format!("target {target}, where it was rerouted to, is not in the configuration")
            }
            Reason::Draining => "the daemon is stopping, and begins no attempt".to_string(),
            Reason::Dead(death) => {
                format!("too many attempts in a row got no session, so nobody dials: {}", death.why)
            }
            Reason::DestinationLimit { .. } => {
                "the target's limit for this destination has no room".to_string()
            }
            Reason::OtherLimit { limit, .. } => format!("the limit \"{limit}\" has no room"),
            Reason::WindowFull { running, window } => {
                format!("{running} attempts run, and the destination takes {window} at once well")
            }
            Reason::Silent => {
                "its host does not answer; one attempt at a time waits for it".to_string()
            }
            Reason::NoSlot { slots } => format!("all {slots} slots of max_parallelism are taken"),
            Reason::Turn => "nothing is in its way: its turn comes".to_string(),
            Reason::Idle => "nothing waits for it".to_string(),
        }
    }

    /// What an operator could do about it. `which` selects it: `--id ID` or `--domain D`.
    pub fn remedy(&self, which: &str, destination: &DestinationKey) -> Option<String> {
        match self {
            Reason::Held(_) => Some(format!("posthaste queue release {which}")),
            Reason::Retry { .. } => Some(format!("posthaste queue retry {which}")),
            Reason::Dead(_) => Some(match destination {
                DestinationKey::Domain(domain) => format!(
                    "posthaste probe {domain} shows what is wrong; posthaste queue retry {which} tries now"
                ),
                _ => format!("posthaste queue retry {which} tries now"),
            }),
            Reason::DestinationLimit { .. } | Reason::OtherLimit { .. } => {
                Some("`limits` of the target".to_string())
            }
            Reason::NoSlot { .. } => Some("`max_parallelism` of the queue".to_string()),
            Reason::TargetMissing { .. } => {
                Some(format!("posthaste queue reroute TARGET {which} --yes"))
            }
            Reason::RouteHeld { target, .. } => Some(format!(
                "`auth` of {target}, or the account at its server; then a restart, and posthaste queue retry {which}"
            )),
            Reason::Suspended { .. } => Some("posthaste ps tells of its last fault".to_string()),
            Reason::Delivering { .. }
            | Reason::Awaiting { .. }
            | Reason::Settling
            | Reason::Undecided
            | Reason::Draining
            | Reason::WindowFull { .. }
            | Reason::Silent
            | Reason::Turn
            | Reason::Idle => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cause;

    #[test]
    fn a_reason_says_since_when_until_when_and_what_would_change_it() {
        let (since, until) = (Timestamp::from_secs(10), Timestamp::from_secs(310));
        let why = Failure::new(Cause::Unreachable, "connecting to 192.0.2.1:25: refused");
        let dead = Reason::Dead(Death { since, until, why: why.clone() });
        let key = DestinationKey::Domain(crate::address::Domain::parse("dead.test").unwrap());
        assert_eq!((dead.since(), dead.until()), (Some(since), Some(until)));
        assert!(dead.text().ends_with("451 4.4.1 connecting to 192.0.2.1:25: refused"));
        let remedy = dead.remedy("--domain dead.test", &key).unwrap();
        assert!(remedy.contains("probe dead.test") && remedy.contains("retry --domain dead.test"));
        let last = Some((since, why));
        let retry = Reason::Retry { attempts: 2, last: last.clone(), due: until };
        assert!(retry.text().starts_with("waits for attempt 3; the last one: 451 4.4.1"));
        let untried = Reason::Retry { attempts: 0, last, due: until };
        assert!(untried.text().contains("no attempt was made"));
        assert_eq!(Reason::Turn.remedy("--id x", &key), None);
        let why = Failure::new(Cause::RouteHeld, "535 5.7.8 no");
        let held = servers::Held { since, until, why };
        let held = Reason::RouteHeld { target: "relay".into(), held };
        assert_eq!((held.since(), held.until()), (Some(since), Some(until)));
        assert!(held.text().contains("target relay") && held.text().ends_with("535 5.7.8 no"));
        // The hold ends with the process, the schedule does not.
        let remedy = held.remedy("--id x", &key).unwrap();
        assert!(remedy.starts_with("`auth` of relay") && remedy.ends_with("queue retry --id x"));
    }
}
