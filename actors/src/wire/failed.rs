//! The last session that failed of each destination; of too many destinations, those that failed last.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use posthaste_mail::admin::wire::{FailedSession, SessionOf};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::outcome::Failure;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::transcript::Excerpt;

/// What a peer has said stays so long against sessions in which it says nothing.
const DIALOGUE_STAYS: Duration = Duration::from_secs(60 * 60);

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub at: Timestamp,
    pub id: EnvelopeId,
    pub of: SessionOf,
    pub failure: Failure,
    pub excerpt: Excerpt,
}

impl Kept {
    /// It says less about the destination than what is kept of it.
    fn is_poorer_than(&self, former: &Kept) -> bool {
        // After the clock was set back nobody knows how old that is.
        let is_recent = former.at <= self.at && self.at.since(former.at) < DIALOGUE_STAYS;
        is_recent && former.excerpt.is_dialogue() && !self.excerpt.is_dialogue()
    }

    pub fn shown(&self) -> FailedSession {
        FailedSession {
            at: self.at,
            time: self.at.rfc3339(),
            id: self.id,
            of: self.of.clone(),
            failure: self.failure.clone(),
            lines: self.excerpt.lines(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Failed {
    most: usize,
    by_destination: HashMap<String, u64>,
    /// In the order in which they failed.
    in_order: BTreeMap<u64, Kept>,
    next: u64,
}

impl Failed {
    pub fn new(most: usize) -> Failed {
        Failed { most, by_destination: HashMap::new(), in_order: BTreeMap::new(), next: 0 }
    }

    pub fn put(&mut self, kept: Kept) {
        if self.find(&kept.of.destination).is_some_and(|former| kept.is_poorer_than(former)) {
            return;
        }
        let place = self.next;
        self.next += 1;
        let former = self.by_destination.insert(kept.of.destination.clone(), place);
        if let Some(former) = former {
            self.in_order.remove(&former);
        }
        self.in_order.insert(place, kept);
        if self.in_order.len() > self.most
            && let Some((_, oldest)) = self.in_order.pop_first()
        {
            self.by_destination.remove(&oldest.of.destination);
        }
    }

    /// The rest of what was said, if no other session has failed since.
    pub fn complete(&mut self, of: &SessionOf, excerpt: &Excerpt) {
        let place = self.by_destination.get(&of.destination);
        let kept = place.and_then(|place| self.in_order.get_mut(place));
        if let Some(kept) = kept.filter(|kept| kept.of.session == of.session) {
            kept.excerpt = excerpt.clone();
        }
    }

    pub fn find(&self, destination: &str) -> Option<&Kept> {
        self.in_order.get(self.by_destination.get(destination)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.in_order.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::dice::Dice;
    use posthaste_mail::outcome::Cause;
    use posthaste_mail::wire::transcript::Transcript;

    fn failure(session: u64, destination: &str) -> Kept {
        let of = SessionOf {
            session,
            target: "mx".to_string(),
            destination: destination.to_string(),
            mx: String::new(),
            address: String::new(),
        };
        Kept {
            at: Timestamp::from_secs(session),
            id: EnvelopeId::from_bytes([0; 16]),
            of,
            failure: Failure::new(Cause::Unreachable, "nobody there"),
            excerpt: Excerpt::default(),
        }
    }

    #[test]
    fn bounded_by_destinations_and_those_that_failed_last_stay() {
        let mut failed = Failed::new(10);
        let mut dice = Dice::new(5);
        for session in 0..1000 {
            let destination = format!("{}.test", dice.below(15));
            failed.put(failure(session, &destination));
            assert_eq!(failed.find(&destination).unwrap().of.session, session);
            assert!(failed.in_order.len() <= 10);
            assert_eq!(failed.in_order.len(), failed.by_destination.len());
        }
        for session in 1000..1010 {
            failed.put(failure(session, &format!("new{session}.test")));
        }
        let left: Vec<u64> = failed.iter().map(|kept| kept.of.session).collect();
        assert_eq!(left, (1000..1010).collect::<Vec<u64>>());
        assert!(failed.find("1.test").is_none());
    }

    #[test]
    fn only_the_session_that_is_kept_is_completed() {
        let mut failed = Failed::new(10);
        let (first, second) = (failure(1, "a.test"), failure(2, "a.test"));
        failed.put(first.clone());
        let mut whole = Transcript::default();
        whole.note(7, format_args!("closed"), &mut |_| {});
        failed.complete(&first.of, whole.excerpt());
        assert_eq!(failed.find("a.test").unwrap().excerpt.lines().len(), 1);
        failed.put(second);
        failed.complete(&first.of, whole.excerpt());
        assert!(failed.find("a.test").unwrap().excerpt.lines().is_empty());
    }

    #[test]
    fn silence_replaces_a_dialogue_only_when_that_is_old() {
        let (dialogue_at, hour) = (1_000, 60 * 60);
        let mut said = Transcript::default();
        said.received(7, b"554 go away\r\n", &mut |_| {});
        let dialogue = Kept { excerpt: said.excerpt().clone(), ..failure(dialogue_at, "a.test") };
        for (at, left) in [
            (dialogue_at + 1, dialogue_at),
            (dialogue_at + hour - 1, dialogue_at),
            (dialogue_at + hour, dialogue_at + hour),
            (dialogue_at - 1, dialogue_at - 1), // the clock was set back
        ] {
            let mut failed = Failed::new(10);
            failed.put(dialogue.clone());
            failed.put(failure(at, "a.test"));
            assert_eq!(failed.find("a.test").unwrap().of.session, left, "{at}");
            // Another dialogue replaces whatever there is.
            failed.put(Kept { excerpt: said.excerpt().clone(), ..failure(at + 1, "a.test") });
            assert_eq!(failed.find("a.test").unwrap().of.session, at + 1);
            assert_eq!(failed.in_order.len(), 1);
        }
    }
}
