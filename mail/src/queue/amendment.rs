//! What an operator does to a batch that waits: (record, amendment, now) -> record.
//!
//! The spool asks on its writing thread, with the record as it is then, so that nothing is decided on what a listing showed a moment
//! ago. What ends a batch is in `ledger::finish`. An attempt is never interrupted: a batch under lease can be marked as held, and nothing
//! else.

use std::collections::HashMap;

use crate::admin::request::Filter;
use crate::envelope::Route;
use crate::queue::record::{BatchRecord, Hold, RecipientRecord};
use crate::route::destination::{DestinationKey, Splitting};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// Due now.
    Retry,
    /// Off the schedule until it is released; at the end of its attempt, when there is one.
    Hold {
        reason: String,
        by: String,
    },
    /// Back on the schedule, at the time it had there.
    Release,
    Reroute(Reroute),
}

/// Another way out than the queue's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reroute {
    pub target: String,
    /// How that target groups recipients.
    pub splitting: Splitting,
    /// The queue's own target: leading there undoes what was done before.
    pub own: String,
}

/// What is to be done, and to which batches: a filter is asked again when it is done.
#[derive(Clone, Debug)]
pub struct Order<T> {
    pub what: T,
    pub which: Filter,
}

/// Why a batch that was found is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There is nothing to change.
    AsItWas,
    /// Somebody attempts it.
    Delivering,
    /// It is no longer one of those that are meant.
    Unmatched,
}

/// What came of an amendment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amended {
    pub end: Result<(), Kept>,
    /// Where the schedule has the batch, and the batches that were split off.
    pub scheduled: Option<Timestamp>,
}

impl Amendment {
    /// The batch as it is afterwards. `route` is the envelope's; the destination after `Reroute` follows from `split`.
    pub fn apply(
        &self,
        batch: &BatchRecord,
        route: &Route,
        now: Timestamp,
    ) -> Result<BatchRecord, Kept> {
        if batch.is_undecided() {
            return Err(Kept::AsItWas);
        }
        match self {
            Amendment::Retry => {
                waits(batch)?;
                if batch.hold.is_some() || batch.due <= now {
                    return Err(Kept::AsItWas);
                }
                Ok(BatchRecord { due: now, ..batch.clone() })
            }
            Amendment::Hold { reason, by } => {
                if batch.hold.is_some() {
                    return Err(Kept::AsItWas);
                }
                let hold = Hold { reason: reason.clone(), by: by.clone(), since: now };
                Ok(BatchRecord { hold: Some(hold), ..batch.clone() })
            }
            Amendment::Release => {
                // What the spool holds has nobody left that could be tried: its recipients cannot be read.
                if batch.hold.is_none() || batch.is_held_by_spool() {
                    return Err(Kept::AsItWas);
                }
                let due = if batch.lease.is_some() { batch.due } else { batch.due.max(now) };
                Ok(BatchRecord { hold: None, due, ..batch.clone() })
            }
            Amendment::Reroute(reroute) => {
                waits(batch)?;
                let natural = match route {
                    Route::Target => &reroute.own,
                    Route::Bounce { target } | Route::Rerouted { target } => target,
                };
                let rerouted = (reroute.target != *natural).then(|| reroute.target.clone());
                if rerouted == batch.rerouted {
                    return Err(Kept::AsItWas);
                }
                // The time it had was about the other way.
                Ok(BatchRecord { rerouted, due: now, ..batch.clone() })
            }
        }
    }
}

/// Nobody attempts it.
pub fn waits(batch: &BatchRecord) -> Result<(), Kept> {
    if batch.lease.is_some() { Err(Kept::Delivering) } else { Ok(()) }
}

type Recipients = Vec<(u32, RecipientRecord)>;

/// Recipients that wait, by the destinations of another target, in the order of their first appearance.
pub fn split(splitting: &Splitting, recipients: Recipients) -> Vec<(DestinationKey, Recipients)> {
    let mut parts: Vec<(DestinationKey, Recipients)> = Vec::new();
    let mut places = HashMap::new();
    for (index, record) in recipients {
        if !record.standing.is_waiting() {
            continue;
        }
        let key = splitting.key(&record.recipient.address);
        let place = *places.entry(key.clone()).or_insert_with(|| {
            parts.push((key, Vec::new()));
            parts.len() - 1
        });
        if let Some((_, part)) = parts.get_mut(place) {
            part.push((index, record));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Mailbox;
    use crate::dice::Dice;
    use crate::envelope::{EnvelopeId, Recipient};
    use crate::queue::lease::Boot;
    use crate::queue::ledger::{Terms, take};
    use crate::queue::record::{BatchId, SPOOL, Standing, UNDECIDED};
    use crate::queue::schedule::Plan;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn waiting() -> BatchRecord {
        BatchRecord { due: later(60), ..BatchRecord::new(DestinationKey::Unqualified, NOW) }
    }

    fn leased() -> BatchRecord {
        let id = BatchId { envelope: EnvelopeId::new(NOW, &mut Dice::new(1)), index: 0 };
        let boot = Boot { node: "mx".into(), number: 1 };
        let terms = Terms { boot, serial: 1, now: NOW, span: Duration::from_secs(600) };
        let fresh = BatchRecord::new(DestinationKey::Unqualified, NOW);
        take(id, &fresh, &terms, &Plan::default(), &mut Dice::new(1)).unwrap().0
    }

    fn held_by(by: &str) -> BatchRecord {
        let hold = Hold { reason: "why".into(), by: by.into(), since: NOW };
        BatchRecord { hold: Some(hold), ..waiting() }
    }

    fn hold() -> Amendment {
        Amendment::Hold { reason: "why".into(), by: "uid 0".into() }
    }

    fn reroute(target: &str) -> Amendment {
        let splitting = Splitting::Whole(target.into());
        Amendment::Reroute(Reroute { target: target.into(), splitting, own: "mx".into() })
    }

    fn apply(amendment: &Amendment, batch: &BatchRecord) -> Result<BatchRecord, Kept> {
        amendment.apply(batch, &Route::Target, NOW)
    }

    #[test]
    fn retry_moves_only_what_waits() {
        assert_eq!(apply(&Amendment::Retry, &waiting()).unwrap().due, NOW);
        assert_eq!(apply(&Amendment::Retry, &leased()), Err(Kept::Delivering));
        assert_eq!(apply(&Amendment::Retry, &held_by("uid 0")), Err(Kept::AsItWas));
        let due = BatchRecord { due: NOW, ..waiting() };
        assert_eq!(apply(&Amendment::Retry, &due), Err(Kept::AsItWas));
    }

    #[test]
    fn a_hold_says_who_why_and_since_when() {
        let held = apply(&hold(), &waiting()).unwrap();
        let expected = Hold { reason: "why".into(), by: "uid 0".into(), since: NOW };
        assert_eq!((held.hold.clone(), held.due), (Some(expected), later(60)));
        assert_eq!(apply(&hold(), &held), Err(Kept::AsItWas)); // the first word stands
    }

    #[test]
    fn a_running_attempt_is_marked_and_goes_on() {
        let before = leased();
        let marked = apply(&hold(), &before).unwrap();
        assert_eq!((&marked.lease, marked.due), (&before.lease, before.due));
        assert!(marked.hold.is_some());
        // Let go again before it ended: the provisional time stays that of the lease.
        assert_eq!(Amendment::Release.apply(&marked, &Route::Target, later(9_999_999)), Ok(before));
    }

    #[test]
    fn release_gives_back_the_time_it_had() {
        let held = held_by("uid 0");
        assert_eq!(apply(&Amendment::Release, &held).unwrap(), waiting());
        let late = Amendment::Release.apply(&held, &Route::Target, later(100)).unwrap();
        assert_eq!((late.due, late.hold), (later(100), None));
        assert_eq!(apply(&Amendment::Release, &waiting()), Err(Kept::AsItWas));
        assert_eq!(apply(&Amendment::Release, &held_by(SPOOL)), Err(Kept::AsItWas));
    }

    #[test]
    fn what_is_not_accepted_yet_is_none_of_the_operators() {
        for amendment in [Amendment::Retry, hold(), Amendment::Release, reroute("relay")] {
            assert_eq!(apply(&amendment, &held_by(UNDECIDED)), Err(Kept::AsItWas), "{amendment:?}");
        }
    }

    #[test]
    fn a_way_is_chosen_and_undone() {
        let away = apply(&reroute("relay"), &waiting()).unwrap();
        assert_eq!((away.rerouted.as_deref(), away.due), (Some("relay"), NOW));
        assert_eq!(apply(&reroute("relay"), &away), Err(Kept::AsItWas));
        assert_eq!(apply(&reroute("mx"), &away).unwrap().rerouted, None);
        assert_eq!(apply(&reroute("mx"), &waiting()), Err(Kept::AsItWas));
        assert_eq!(apply(&reroute("relay"), &leased()), Err(Kept::Delivering));
        assert!(apply(&reroute("relay"), &held_by("uid 0")).unwrap().hold.is_some());
    }

    #[test]
    fn a_notification_has_a_way_of_its_own_to_go_back_to() {
        let route = Route::Bounce { target: "local".into() };
        let apply = |target: &str, batch: &BatchRecord| reroute(target).apply(batch, &route, NOW);
        let away = apply("mx", &waiting()).unwrap();
        assert_eq!(away.rerouted.as_deref(), Some("mx")); // the queue's target is not its own way
        assert_eq!(apply("local", &away).unwrap().rerouted, None);
        assert_eq!(apply("local", &waiting()), Err(Kept::AsItWas));
    }

    #[test]
    fn recipients_that_wait_are_grouped_for_the_other_target() {
        let person = |index, address: &str| {
            (index, RecipientRecord::new(Recipient::new(Mailbox::parse(address).unwrap())))
        };
        let mut people =
            vec![person(0, "a@one.test"), person(1, "b@two.test"), person(2, "c@ONE.test")];
        let indices = |parts: Vec<(DestinationKey, Recipients)>| -> Vec<(String, Vec<u32>)> {
            let of = |(key, part): (DestinationKey, Recipients)| {
                (key.to_string(), part.into_iter().map(|(i, _)| i).collect())
            };
            parts.into_iter().map(of).collect()
        };
        let by_host = indices(split(&Splitting::ByHost, people.clone()));
        assert_eq!(by_host, [("one.test".into(), vec![0, 2]), ("two.test".into(), vec![1])]);
        people[1].1.standing = Standing::Dropped { at: NOW };
        let whole = indices(split(&Splitting::Whole("relay".into()), people));
        assert_eq!(whole, [("&relay".into(), vec![0, 2])]);
    }
}
