//! What happened to which message: the last events in memory, and a stream for those who follow.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::broadcast;

use posthaste_edge::clock::Clock;
use posthaste_mail::admin::answer::{Event, TraceEvent};
use posthaste_mail::envelope::EnvelopeId;

/// Events kept. At about 300 octets each this is a few megabytes.
const MOST_EVENTS: usize = 20_000;
/// A follower that is further behind misses events rather than holding up deliveries.
const FOLLOWER_BACKLOG: usize = 4096;

pub struct Trace {
    clock: Clock,
    events: Mutex<VecDeque<TraceEvent>>,
    followers: broadcast::Sender<TraceEvent>,
}

impl Trace {
    pub fn new(clock: Clock) -> Trace {
        let followers = broadcast::Sender::new(FOLLOWER_BACKLOG);
        Trace { clock, events: Mutex::new(VecDeque::new()), followers }
    }

    pub fn note(&self, queue: &str, id: EnvelopeId, event: Event) {
        let at = self.clock.now();
        let event = TraceEvent { at, time: at.rfc3339(), id, queue: queue.to_string(), event };
        // Nobody follows: nothing to do.
        if self.followers.receiver_count() > 0 {
            let _ = self.followers.send(event.clone());
        }
        let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if events.len() >= MOST_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// The remembered events that are wanted, oldest first.
    pub fn history(&self, wanted: impl Fn(&TraceEvent) -> bool) -> Vec<TraceEvent> {
        let events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        events.iter().filter(|e| wanted(e)).cloned().collect()
    }

    pub fn follow(&self) -> broadcast::Receiver<TraceEvent> {
        self.followers.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::dice::Dice;
    use posthaste_mail::time::Timestamp;

    #[tokio::test]
    async fn history_is_bounded_and_followers_see_what_comes() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let trace = Trace::new(clock.clone());
        let id = |n| EnvelopeId::new(Timestamp::from_secs(n), &mut Dice::new(n));
        trace.note("q", id(1), Event::Removed);
        let mut follower = trace.follow();
        trace.note("q", id(2), Event::Removed);
        assert_eq!(trace.history(|e| e.id == id(1)).len(), 1);
        assert_eq!(follower.recv().await.unwrap().id, id(2));
        (0..MOST_EVENTS).for_each(|_| trace.note("q", id(3), Event::Removed));
        assert_eq!(trace.history(|_| true).len(), MOST_EVENTS);
        assert!(trace.history(|e| e.id == id(1)).is_empty());
    }
}
