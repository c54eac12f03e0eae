//! A target that falls too often rests: what is rerouted to it waits, nothing is counted, and it goes there once the target is back.

use serde_json::{Value, json};

use crate::harness::outbound::{Outbound, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

/// More than a target may fall within a minute (`root/intensity.rs`).
const TOO_OFTEN: usize = 6;

#[test]
fn what_is_rerouted_to_a_resting_target_waits_for_it() {
    let mut outbound = Outbound::start_with("suspended_targets", &["--debug-faults"], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
        config.global.push_str("\ndummy nothing { }");
    });
    let later = |at, _: &str| (at == Moment::Rcpt).then(|| "450 4.2.1 come back".to_owned());
    let busy = Manners { answer: Box::new(later), ..Manners::default() };
    let _busy = outbound.sink_with("busy.test", busy);
    let id = outbound.send("bob@busy.test");
    outbound.daemon.wait_for_trace(&id, "retry", SOON);

    // The words wait in its mailbox while it is restarted.
    for _ in 0..TOO_OFTEN {
        let fallen = outbound.daemon.operator().call("debug.panic", json!({"name": "nothing"}));
        assert!(fallen.unwrap().result.is_ok());
    }
    wait_until("the target rests", SOON, || outbound.daemon.said(&["ps"]).contains("suspended"));
    outbound.daemon.said(&["queue", "reroute", "nothing", &id, "--yes"]);
    let batch = |outbound: &Outbound| -> Value {
        let shown = outbound.daemon.said(&["queue", "show", &id, "--json"]);
        serde_json::from_str::<Value>(&shown).unwrap()["message"]["batches"][0].take()
    };
    wait_until("it is put off", SOON, || {
        let waiting = batch(&outbound);
        waiting["reason"] == "suspended" && waiting["state"] == "waiting"
    });
    let waiting = batch(&outbound);
    assert_eq!(waiting["attempts"], 1, "{waiting}"); // the one at the beginning
    assert!(waiting["last_failure"].as_str().unwrap().contains("nothing panicked too often"));

    // It is back sooner with the daemon than by itself.
    outbound.daemon.restart(&outbound.area);
    outbound.daemon.said(&["queue", "retry", &id]);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(outbound.home.count(), 0);
}
