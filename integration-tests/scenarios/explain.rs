//! `posthaste explain`: why it is not moving, since when, until when, and what would change it.

use serde_json::Value;

use crate::harness::dialogue::Dialogue;
use crate::harness::outbound::{Outbound, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

/// Explanations of an id or a destination.
fn explained(outbound: &Outbound, what: &str) -> Vec<Value> {
    let said = outbound.daemon.said(&["explain", "--json", what]);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_for_reason(outbound: &Outbound, what: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    wait_until(&format!("{what} waits for {reason}"), SOON, || {
        last = explained(outbound, what).pop().unwrap_or_default();
        last["reason"] == reason
    });
    last
}

fn slow_retries(test: &str, remote: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = config.queue.replace("initial_retry_time 1s", "initial_retry_time 40m");
        config.queue = config.queue.replace("max_retry_time 2s", "max_retry_time 40m");
        config.remote.push_str(remote);
    })
}

#[test]
fn a_message_says_what_it_waits_for() {
    let outbound = slow_retries("explain_message", "\nlimits {\n    source rate 2 1h\n}");
    let answer =
        |moment, _: &str| (moment == Moment::Rcpt).then(|| "450 4.2.2 mailbox busy".to_string());
    let manners = Manners { answer: Box::new(answer), ..Manners::default() };
    let _later = outbound.sink_with("later.test", manners);
    let id = outbound.send("user@later.test");
    let told = wait_for_reason(&outbound, &id, "retry");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("waits for attempt 2") && text.contains("mailbox busy"), "{told}");
    assert!(told["until"].as_str() > told["since"].as_str(), "{told}");
    assert_eq!(told["remedy"], format!("posthaste queue retry --id {id}"));

    let held = outbound.send("user@later.test");
    wait_for_reason(&outbound, &held, "retry");
    outbound.daemon.said(&["queue", "hold", "--id", &held, "--reason", "customer asked"]);
    let told = wait_for_reason(&outbound, &held, "held");
    assert!(told["text"].as_str().unwrap().contains("customer asked"), "{told}");

    // The sender's domain has spent its two.
    let limited = outbound.send("user@lively.test");
    let told = wait_for_reason(&outbound, &limited, "own-limit");
    assert!(told["text"].as_str().unwrap().contains("source sender.test of mx"), "{told}");
    assert_eq!(told["attempts"], 0);
    assert_eq!(told["site"]["waiting"], 1, "{told}");

    // The domain says of the first of them what it says itself, also when that is far off; and how many are held.
    let told = explained(&outbound, "later.test").remove(0);
    assert_eq!(told["reason"], "retry", "{told}");
    assert!(told["text"].as_str().unwrap().contains("mailbox busy"), "{told}");
    assert_eq!((&told["site"]["waiting"], &told["site"]["held"]), (&2.into(), &1.into()));
    outbound.daemon.said(&["queue", "hold", "--id", &id, "--reason", "the other one"]);
    assert_eq!(explained(&outbound, "later.test")[0]["reason"], "held");
    let told = explained(&outbound, "lively.test").remove(0);
    assert_eq!((&told["reason"], &told["site"]["waiting"]), (&"own-limit".into(), &1.into()));

    let text = outbound.daemon.said(&["explain", &held]);
    assert!(text.contains("to change it") && text.contains("queue release"), "{text}");
    outbound.daemon.said(&["queue", "drop", "--id", &held, "--yes"]);
    let gone = outbound.daemon.cli(&["explain", &held]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("posthaste trace"));
}

#[test]
fn a_destination_says_that_nobody_dials_it() {
    let outbound = slow_retries("explain_destination", "");
    let player = Dialogue::parse("closed", "! close\n").unwrap().play(outbound.area.socket(), None);
    outbound.dns.domain("dead.test", player.sink.address().ip());
    for number in 0..10 {
        outbound.send(&format!("user{number}@dead.test"));
    }
    let told = wait_for_reason(&outbound, "dead.test", "dead-site");
    assert!(told["text"].as_str().unwrap().contains("nobody dials"), "{told}");
    assert!(told["until"].as_str() > told["since"].as_str(), "{told}");
    assert!(told["remedy"].as_str().unwrap().contains("posthaste probe dead.test"), "{told}");
    wait_until("the attempts are over", SOON, || {
        explained(&outbound, "dead.test")[0]["site"]["running"] == 0
    });
    let waiting = explained(&outbound, "dead.test")[0]["site"]["waiting"].clone();
    assert!(waiting.as_u64().unwrap() >= 5, "{waiting}");
    // A message of it says the same.
    let untried = outbound.daemon.batches().into_iter().find(|b| b["attempts"] == 0).unwrap();
    let told = explained(&outbound, untried["id"].as_str().unwrap());
    assert_eq!(told[0]["reason"], "dead-site");
    // Nobody has heard of others.
    let unknown = outbound.daemon.cli(&["explain", "elsewhere.test"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(outbound.daemon.cli(&["explain", "no domain"]).status.code(), Some(1));
}
