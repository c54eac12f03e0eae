//! A site that takes no sessions is not dialled by every message, and takes nobody's time.

use std::time::Duration;

use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SOON};
use crate::harness::process::wait_until;

/// Retries late enough that a dead site rests as long as it does without `initial_retry_time`.
fn start(test: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = config.queue.replace("initial_retry_time 1s", "initial_retry_time 10m");
        config.queue = config.queue.replace("max_retry_time 2s", "max_retry_time 10m");
    })
}

/// Closes every connection at once.
fn closed(outbound: &Outbound, domain: &str) -> Player {
    let player = Dialogue::parse("closed", "! close\n").unwrap().play(outbound.area.socket(), None);
    outbound.dns.domain(domain, player.sink.address().ip());
    player
}

fn untried(outbound: &Outbound) -> usize {
    outbound.daemon.batches().iter().filter(|batch| batch["attempts"] == 0).count()
}

#[test]
fn a_dead_site_is_dialled_by_a_few_and_tried_again_at_the_operators_word() {
    let outbound = start("dead_site");
    let player = closed(&outbound, "dead.test");
    for number in 0..40 {
        outbound.send(&format!("user{number}@dead.test"));
    }
    let few = |dials: usize| (3..=5).contains(&dials);
    wait_until("the site is given up", SOON, || few(player.sink.connections()));
    std::thread::sleep(Duration::from_secs(2));
    let dials = player.sink.connections();
    assert!(few(dials), "{dials} dials");
    assert_eq!(untried(&outbound), 40 - dials);
    // Others are not its hostages.
    let sink = outbound.sink("lively.test");
    outbound.send("user@lively.test");
    sink.wait_for(1, SOON);
    // It outlives the daemon.
    let mut outbound = outbound;
    outbound.daemon.restart(&outbound.area);
    outbound.send("one-more@dead.test");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(player.sink.connections(), dials);
    drop(player);
    // The operator knows that it is back.
    let sink = outbound.sink("dead.test");
    outbound.daemon.said_or_nothing(&["queue", "retry", "--domain", "dead.test", "--yes"]);
    sink.wait_for(41, AFTER_RETRIES);
    wait_until("the queue is empty", SOON, || outbound.daemon.queued().is_empty());
    assert!(sink.copies().into_values().all(|copies| copies == 1));
}
