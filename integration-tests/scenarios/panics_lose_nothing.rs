//! A panic of any actor, under load: the daemon goes on, and every acknowledged message is delivered.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::outbound::Outbound;
use crate::harness::process::wait_until;
use crate::harness::source::{Load, Source};

const DEADLINE: Duration = Duration::from_secs(120);
/// Acknowledgements between one panic and the next, so that each meets a busy daemon.
const STRIDE: usize = 30;

#[test]
fn a_panic_of_each_actor_loses_nothing() {
    let outbound = Outbound::start_with("panics_lose_nothing", &["--debug-faults"], |_| {});
    let sink = outbound.sink("load.test");
    let names = actors(&outbound);
    // Root's own panic ends the process (the service manager starts it again), so it is not among them.
    let names: Vec<&String> =
        names.iter().map(|(name, _)| name).filter(|name| *name != "root").collect();
    assert!(
        names.len() >= 4,
        "a listener, the operator's socket, the queue and the target: {names:?}"
    );

    let load = Load {
        server: outbound.listen(),
        from: "sender@sender.test".to_owned(),
        domain: "load.test".to_owned(),
        messages: STRIDE * (names.len() + 2),
        sessions: 8,
        size: 2000,
        deadline: DEADLINE,
    };
    let source = Source::start(&load);
    for (number, name) in (1..).zip(&names) {
        wait_until("the load goes on", DEADLINE, || source.acknowledged() >= number * STRIDE);
        // The operator's actor may die before it has answered.
        let _ = outbound.daemon.operator().call("debug.panic", json!({"name": name}));
    }
    let tally = source.finish();
    assert_eq!(tally.acknowledged.len(), load.messages);
    let arrived = || {
        let messages = sink.transactions();
        let all = messages.iter().flat_map(|message| &message.to);
        all.map(|to| to.trim_matches(['<', '>']).to_owned()).collect::<BTreeSet<String>>()
    };
    wait_until("all acknowledged messages are delivered", DEADLINE, || {
        arrived().is_superset(&tally.acknowledged)
    });

    wait_until("each is counted as restarted", DEADLINE, || {
        let all = actors(&outbound);
        names.iter().all(|name| all.iter().any(|(actor, restarts)| actor == *name && *restarts > 0))
    });
    let pulse = outbound.daemon.operator().call("status", Value::Null).unwrap();
    assert!(pulse.result.is_ok(), "{pulse:?}");
}

/// Name and restarts of every actor, from wherever `ps` puts its objects with these two members.
fn actors(outbound: &Outbound) -> Vec<(String, u64)> {
    let mut operator = outbound.daemon.operator();
    let answer = operator.call("ps", Value::Null).unwrap();
    let mut found = Vec::new();
    for value in answer.notifications.iter().chain(&answer.result) {
        collect(value, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<(String, u64)>) {
    match value {
        Value::Object(members) => {
            if let (Some(name), Some(restarts)) =
                (value["name"].as_str(), value["restarts"].as_u64())
            {
                found.push((name.to_owned(), restarts));
            }
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
