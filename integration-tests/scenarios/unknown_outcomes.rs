//! A peer that goes away after the final dot may have the message: it waits long, is counted, and an operator sees why.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::dialogue::Dialogue;
use crate::harness::outbound::{Outbound, SOON};
use crate::harness::process::wait_until;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[test]
fn what_may_have_been_taken_is_not_sent_again_soon() {
    let outbound = Outbound::start_with("unknown_waits", &[], |config| {
        // Whatever else fails is tried again after a second.
        config.queue = "initial_retry_time 1s
            retry_time_scale 1.0
            bounce {
                deliver_to &mx
            }"
        .to_owned();
    });
    let player = Dialogue::named("close-dot", "example.test").play(outbound.area.socket(), None);
    outbound.dns.domain("example.test", player.sink.address().ip());
    let id = outbound.send("user@example.test");
    wait_until("it was sent", SOON, || player.sink.connections() == 1);
    let status = || json(&outbound.daemon.said(&["status", "--json"]));
    wait_until("it is counted", SOON, || status()["queues"][0]["unknown"] == 1);
    let listed = json(outbound.daemon.said(&["queue", "list", "--json"]).trim());
    assert_eq!(listed["reason"], "unknown-after-dot", "{listed}");
    assert_eq!(listed["attempts"], 1);
    let found = outbound.daemon.said(&["queue", "list", "--reason", "unknown-after-dot"]);
    assert!(found.contains(&id) && found.contains("unknown-after-dot"), "{found}");
    let shown = outbound.daemon.said(&["queue", "show", &id]);
    assert!(shown.contains("unknown-after-dot"), "{shown}");
    let actors = outbound.daemon.said(&["ps", "--json"]);
    assert!(actors.contains("[\"unknown\",1]"), "{actors}");
    // An hour, where an ordinary failure would have been tried three times by now.
    sleep(Duration::from_secs(4));
    assert_eq!(player.sink.connections(), 1);
    let arrived = listed["arrived"].as_str().unwrap();
    let due = listed["due"].as_str().unwrap();
    let wait = (minutes(due) - minutes(arrived)).rem_euclid(24 * 60);
    assert!(wait >= 59, "{arrived} {due}");
    assert_eq!(outbound.daemon.queued(), [id]);
    player.assert_followed();
}

/// Minutes since midnight.
fn minutes(moment: &str) -> i64 {
    let part = |range: std::ops::Range<usize>| moment[range].parse::<i64>().unwrap();
    part(11..13) * 60 + part(14..16)
}
