//! `limits` of `target.remote`: who has no leave waits, and it is no attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

/// How long a transaction waits for others to be under way beside it.
const GATHERING: Duration = Duration::from_secs(4);

/// Transactions under way in one or more sinks, and the most there were at once.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    /// A server whose transactions are counted and take a while: until so many have been under way at once, or that is not to be.
    fn manners(&self, together: usize) -> Manners {
        let gauge = self.clone();
        let answer = move |moment, _: &str| {
            let (now, most) = &*gauge.0;
            match moment {
                Moment::Mail => {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                }
                Moment::Dot => {
                    let end = Instant::now() + GATHERING;
                    while most.load(Ordering::SeqCst) < together && Instant::now() < end {
                        thread::sleep(Duration::from_millis(10));
                    }
                    thread::sleep(Duration::from_millis(100));
                    now.fetch_sub(1, Ordering::SeqCst);
                }
                _ => {}
            }
            None
        };
        Manners { answer: Box::new(answer), ..Manners::default() }
    }
}

fn limited(test: &str, limits: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.remote.push_str(&format!("\nlimits {{\n{limits}\n}}"));
    })
}

/// No attempt was made for what waits, and nobody was told of a delay.
fn assert_untried(outbound: &Outbound, count: usize) {
    let mut waiting = Vec::new();
    wait_until("only what is limited waits", SOON, || {
        waiting = outbound.daemon.batches();
        waiting.len() == count
    });
    for batch in &waiting {
        assert_eq!(
            (&batch["attempts"], &batch["state"]),
            (&0.into(), &"waiting".into()),
            "{batch}"
        );
    }
}

#[test]
fn a_destination_has_no_more_than_its_concurrency() {
    let outbound = limited("limits_destination", "destination concurrency 2");
    let (narrow, wide) = (Gauge::default(), Gauge::default());
    let first = outbound.sink_with("narrow.test", narrow.manners(2));
    let second = outbound.sink_with("other.test", wide.manners(2));
    for number in 0..12 {
        outbound.send(&format!("user{number}@narrow.test"));
        outbound.send(&format!("user{number}@other.test"));
    }
    first.wait_for(12, AFTER_RETRIES);
    second.wait_for(12, AFTER_RETRIES);
    assert_eq!((narrow.most(), wide.most()), (2, 2));
    assert!(first.copies().into_values().all(|copies| copies == 1));
    assert!(!outbound.daemon.log().contains("deferred"), "{}", outbound.daemon.log());
}

#[test]
fn a_source_that_has_spent_its_rate_holds_up_nobody_else() {
    let outbound = limited("limits_source", "source rate 2 1h");
    let sink = outbound.sink("there.test");
    for number in 0..5 {
        outbound.send(&format!("mine{number}@there.test"));
    }
    sink.wait_for(2, SOON);
    let message = Message::plain("other", 1000);
    outbound.daemon.send("somebody@else.test", &["theirs@there.test"], message.bytes());
    sink.wait_for_recipient("theirs@there.test", SOON);
    assert_untried(&outbound, 3);
    // The operator changes nothing about it.
    outbound.daemon.said_or_nothing(&["queue", "retry", "--domain", "there.test", "--yes"]);
    thread::sleep(Duration::from_secs(2));
    assert_untried(&outbound, 3);
    assert_eq!(sink.count(), 3);
}

#[test]
fn a_rate_spreads_messages_over_time() {
    let outbound = limited("limits_rate", "all rate 2 1s");
    let sink = outbound.sink("there.test");
    let begun = Instant::now();
    for number in 0..8 {
        outbound.send(&format!("user{number}@there.test"));
    }
    sink.wait_for(8, AFTER_RETRIES);
    // Two at once, the other six at two a second.
    assert!(begun.elapsed() >= Duration::from_millis(2900), "{:?}", begun.elapsed());
    assert!(!outbound.daemon.log().contains("deferred"));
    wait_until("the queue is empty", SOON, || outbound.daemon.queued().is_empty());
}

#[test]
fn a_shared_block_counts_for_all_who_name_it() {
    let outbound = Outbound::start_with("limits_shared", &[], |config| {
        config.remote.push_str("\nlimits &common");
        config.global.push_str(&format!(
            "
            limits common {{
                all concurrency 1
            }}
            target.remote second {{
                port {}
                allow_loopback_mx yes
                {}
            }}
            target.queue other {{
                target &second
                max_parallelism 8
            }}\n",
            config.mx_port, config.remote
        ));
    });
    let gauge = Gauge::default();
    let sinks = [
        outbound.sink_with("a.test", gauge.manners(1)),
        outbound.sink_with("b.test", gauge.manners(1)),
    ];
    for number in 0..6 {
        let message = Message::plain(&format!("m{number}"), 500);
        outbound.daemon.send(SENDER, &[&format!("user{number}@a.test")], message.bytes());
        let file = outbound
            .area
            .write(&format!("m{number}.eml"), std::str::from_utf8(message.bytes()).unwrap());
        let to = format!("user{number}@b.test");
        let file = file.to_str().unwrap();
        outbound.daemon.said(&["send", "--target", "other", "--from", SENDER, "--to", &to, file]);
    }
    for sink in &sinks {
        sink.wait_for(6, AFTER_RETRIES);
    }
    assert_eq!(gauge.most(), 1);
}
