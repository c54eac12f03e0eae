//! SIGKILL at every durable step of what an operator orders: it happened whole or not at all, and the message arrives once, the way it was
//! sent last.

use serde_json::Value;

use super::crash_matrix::{DEADLINE, QUEUE, few_or_all};
use crate::harness::outbound::Outbound;
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

/// What is ordered of a message, one after the other, and how it can be seen.
type Order = (&'static [&'static str], fn(&Value) -> bool);
const ORDERS: [Order; 3] = [
    (&["hold"], |batch| batch["hold"].is_object()),
    (&["reroute", "--yes", "relay"], |batch| batch["rerouted"] == "relay"),
    (&["release"], |batch| batch["hold"].is_null()),
];
const RELEASE: usize = 2;

#[test]
fn an_order_happens_whole_or_not_at_all() {
    let mut outbound = Outbound::start_with("crash_of_orders", &[], |config| {
        QUEUE.clone_into(&mut config.queue);
        config.global.push_str(&format!(
            "\ntarget.remote relay {{
                hostname relay.sender.test
                port {}
                allow_loopback_mx yes
            }}",
            config.mx_port
        ));
    });
    // Nobody but the relay is welcome.
    let stranger = |moment: Moment, line: &str| {
        let refused = moment == Moment::Ehlo && !line.contains("relay.sender.test");
        refused.then(|| "450 4.3.2 not you".to_owned())
    };
    let manners = Manners { answer: Box::new(stranger), ..Manners::default() };
    let sink = outbound.sink_with("there.test", manners);
    let few = [
        (0, "staged"),
        (0, "written"),
        (0, "answered"),
        (1, "staged"),
        (1, "synced"),
        (2, "staged"),
        (2, "applied"),
    ];
    let points = few_or_all(&few, 0..ORDERS.len());
    for (count, (order, step)) in (1..).zip(points) {
        die_at(&mut outbound, order, step);
        assert_eq!(sink.count(), count, "order {order}, amend.{step}");
    }
}

fn die_at(outbound: &mut Outbound, order: usize, step: &str) {
    let kill = format!("POSTHASTE_KILL_AT=amend.{step}:{order}");
    // Sooner than a stop, and not a step less of it is durable.
    outbound.daemon.kill9();
    outbound.daemon.start_again(&outbound.area, &["env", &kill]);
    outbound.daemon.wait_until_it_answers(DEADLINE);
    let id = outbound.send("user@there.test");
    outbound.daemon.wait_for_trace(&id, "4.3.2", DEADLINE);
    (0..order).for_each(|earlier| assert!(give(outbound, earlier, &id), "{kill}: {earlier}"));
    // The answer may be on its way already.
    assert!(!give(outbound, order, &id) || step == "answered", "{kill}: somebody answered");
    let daemon = &mut outbound.daemon;
    wait_until(&format!("the daemon dies at {kill}"), DEADLINE, || !daemon.is_running());
    daemon.start_again(&outbound.area, &[]);
    daemon.wait_until_it_answers(DEADLINE);
    let happened = step != "staged";
    let (_, is_done) = ORDERS[order];
    // Once it is released it may be gone.
    if !happened || order != RELEASE {
        assert_eq!(is_done(&batch(outbound, &id)), happened, "{kill}");
    }
    let rest = order + usize::from(happened)..ORDERS.len();
    rest.for_each(|order| assert!(give(outbound, order, &id), "{kill}: then {order}"));
    outbound.daemon.wait_until_queue_is_empty(DEADLINE);
}

/// Gives an order; all but the first once the message rests. False when nobody answers.
fn give(outbound: &Outbound, order: usize, id: &str) -> bool {
    if order > 0 {
        wait_until("it rests", DEADLINE, || batch(outbound, id)["state"] == "held");
    }
    let (words, _) = ORDERS[order];
    outbound.daemon.cli(&[&["queue"], words, &[id]].concat()).status.success()
}

fn batch(outbound: &Outbound, id: &str) -> Value {
    let shown = outbound.daemon.said(&["queue", "show", id, "--json"]);
    serde_json::from_str::<Value>(&shown).unwrap()["message"]["batches"][0].take()
}
