//! `queue hold|release|fail|drop|reroute`: each shown by its effect, on a peer that defers and on the sender's mailbox.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::harness::message::Message;
use crate::harness::notification::Notification;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment, Sink};

const ADMIN: &str = "changed by an operator";

/// Puts every recipient off.
fn busy() -> Manners {
    let later = |at, _: &str| (at == Moment::Rcpt).then(|| "450 4.2.1 come back".to_owned());
    Manners { answer: Box::new(later), ..Manners::default() }
}

/// A second way out for whoever is rerouted.
fn relay(outbound: &mut crate::harness::daemon::Config) {
    let port = outbound.mx_port;
    outbound.global.push_str(&format!(
        "\ntarget.remote relay {{
            port {port}
            allow_loopback_mx yes
            conn_max_idle_count 0
        }}
        target.queue other {{
            target &relay
        }}
        dummy nothing {{ }}"
    ));
}

fn start(test: &str, patience: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = format!(
            "{patience}
            bounce {{
                deliver_to &mx
            }}"
        );
        relay(config);
    })
}

/// Retries come after an hour: nothing moves by itself.
const AN_HOUR: &str = "initial_retry_time 1h";
/// Retries come after a second, again and again.
const A_SECOND: &str = "initial_retry_time 1s\nretry_time_scale 1.0\nmax_tries 100000";

fn said(output: &Output) -> (Option<i32>, String) {
    let both = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code(), String::from_utf8_lossy(&both).into_owned())
}

fn batch(outbound: &Outbound, id: &str) -> Value {
    let shown = outbound.daemon.said(&["queue", "show", id, "--json"]);
    serde_json::from_str::<Value>(&shown).unwrap()["message"]["batches"][0].take()
}

/// Sends a message and waits until its first attempt is over.
fn deferred(outbound: &Outbound, to: &str) -> String {
    let id = outbound.send(to);
    outbound.daemon.wait_for_trace(&id, "retry", SOON);
    id
}

#[test]
fn held_mail_rests_until_it_is_released() {
    let mut outbound = start("verbs_hold", A_SECOND);
    let sink = outbound.sink_with("busy.test", busy());
    let id = deferred(&outbound, "bob@busy.test");
    let hold = ["queue", "hold", &id, "--reason", "the customer asked"];
    let text = outbound.daemon.said(&hold);
    assert!(text.contains("1 matched, 1 held"), "{text}");
    // Held at once, or at the end of the attempt that runs.
    wait_until("it is held", SOON, || batch(&outbound, &id)["state"] == "held");
    let held = batch(&outbound, &id);
    assert_eq!(held["hold"]["reason"], "the customer asked");
    assert!(held["hold"]["by"].as_str().unwrap().starts_with("uid "), "{held}");
    let tried = sink.connections();
    let others = sink_gets_others(&outbound, "others.test");
    assert_eq!(sink.connections(), tried, "a held batch was tried");
    for words in [&["queue", "show", &id][..], &["queue", "list", "--held"]] {
        let text = outbound.daemon.said(words);
        assert!(text.contains("the customer asked") && text.contains("uid "), "{text}");
    }
    drop(others);

    // It is so after a restart.
    outbound.daemon.restart(&outbound.area);
    assert_eq!(batch(&outbound, &id)["state"], "held");
    let (code, text) = said(&outbound.daemon.cli(&["queue", "retry", &id]));
    assert!(code == Some(0) && text.contains("1 matched, 0 tried again now"), "{text}");
    let tried = sink.connections();
    let text = outbound.daemon.said(&["queue", "release", "--held", "--domain", "busy.test"]);
    assert!(text.contains("1 matched, 1 released"), "{text}");
    wait_until("it is tried again", AFTER_RETRIES, || sink.connections() >= tried + 2);
    assert_eq!(batch(&outbound, &id)["hold"], Value::Null);
    let history = outbound.daemon.said(&["trace", &id]);
    assert!(history.contains("released by uid"), "{history}");
    assert!(outbound.daemon.log().contains(ADMIN));
}

/// Three messages that arrive: time in which something else might have happened.
fn sink_gets_others(outbound: &Outbound, domain: &str) -> Sink {
    let sink = outbound.sink(domain);
    for number in 1..=3 {
        outbound.send(&format!("b{number}@{domain}"));
        sink.wait_for(number, SOON);
        std::thread::sleep(Duration::from_secs(1)); // a retry time each
    }
    sink
}

#[test]
fn the_sender_hears_of_what_was_failed_and_not_of_what_was_dropped() {
    let outbound = start("verbs_end", AN_HOUR);
    let _sink = outbound.sink_with("busy.test", busy());
    let failed = deferred(&outbound, "failed@busy.test");
    let dropped = deferred(&outbound, "dropped@busy.test");
    let kept = deferred(&outbound, "kept@busy.test");

    // Without --yes nothing is done.
    for verb in ["fail", "drop"] {
        let (code, text) = said(&outbound.daemon.cli(&["queue", verb, "--domain", "busy.test"]));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("3 matched, 3 would be"), "{text}");
    }
    assert_eq!(outbound.daemon.queued().len(), 3);

    let text = outbound.daemon.said(&["queue", "drop", "--to", "dropped@", "--yes"]);
    assert!(text.contains("1 matched, 1 dropped"), "{text}");
    let text = outbound.daemon.said(&["queue", "fail", &failed, "--yes"]);
    assert!(text.contains("1 matched, 1 failed"), "{text}");
    let message = outbound.assert_notified("failed@busy.test", "5.7.0");
    let told = Notification::read(&message.content);
    let about = told.about("failed@busy.test");
    assert_eq!(about.get("Action"), "failed");
    let why = about.get("Diagnostic-Code");
    assert!(why.contains("ended by the operator") && why.contains("450 4.2.1 come back"), "{why}");
    assert!(told.text.contains("ended by the operator"), "{}", told.text);
    wait_until("the notification has left", SOON, || outbound.daemon.queued().len() == 1);
    assert_eq!(outbound.daemon.queued(), [kept]);
    assert_eq!(outbound.home.count(), 1); // one, and none for the dropped one
    let history = outbound.daemon.said(&["trace", &dropped]);
    assert!(history.contains("dropped by uid") && history.contains("removed"), "{history}");
    let log = outbound.daemon.log();
    assert!(log.contains("operator request") && log.contains("queue.drop"), "{log}");

    // Of a message without sender nobody is told.
    let null = outbound.daemon.send("", &["null@busy.test"], Message::plain("null", 100).bytes());
    outbound.daemon.wait_for_trace(&null, "retry", SOON);
    outbound.daemon.said(&["queue", "fail", &null, "--yes"]);
    wait_until("it is gone", SOON, || outbound.daemon.queued().len() == 1);
    assert!(outbound.daemon.log().contains("nobody is told of a failure"));
    assert_eq!(outbound.home.count(), 1);
}

#[test]
fn what_is_being_delivered_is_left_alone() {
    let outbound = start("verbs_lease", AN_HOUR);
    let slow = Manners {
        answer: Box::new(|at, _| {
            if at == Moment::Rcpt {
                std::thread::sleep(Duration::from_secs(4));
            }
            (at == Moment::Rcpt).then(|| "450 4.2.1 come back".to_owned())
        }),
        ..Manners::default()
    };
    let sink = outbound.sink_with("slow.test", slow);
    let id = outbound.send("bob@slow.test");
    wait_until("it is being delivered", SOON, || batch(&outbound, &id)["state"] == "delivering");
    for verb in [&["fail"][..], &["drop"], &["reroute", "relay"]] {
        let words = [&["queue"], verb, &[&id, "--yes"]].concat();
        let text = outbound.daemon.said(&words);
        assert!(text.contains("1 matched, 0 ") && text.contains("1 delivering now"), "{text}");
    }
    let text = outbound.daemon.said(&["queue", "hold", &id]);
    assert!(text.contains("1 matched, 1 held"), "{text}");
    let marked = batch(&outbound, &id);
    assert!(marked["state"] == "delivering" && marked["hold"].is_object(), "{marked}");
    wait_until("it is held at the end", SOON, || batch(&outbound, &id)["state"] == "held");
    assert_eq!((sink.connections(), batch(&outbound, &id)["attempts"].as_u64()), (1, Some(1)));
    outbound.daemon.said(&["queue", "drop", &id, "--yes"]);
    assert!(outbound.daemon.has_nothing_left());
}

#[test]
fn rerouted_mail_takes_another_way_and_waits_for_one_that_is_gone() {
    let mut outbound = start("verbs_reroute", AN_HOUR);
    let sink = outbound.sink_with("busy.test", busy());
    let gone = deferred(&outbound, "gone@busy.test");
    let away = deferred(&outbound, "away@busy.test");
    let back = deferred(&outbound, "back@busy.test");
    let (code, text) = said(&outbound.daemon.cli(&["queue", "reroute", "nowhere", &away, "--yes"]));
    assert!(code == Some(1) && text.contains("no target nowhere; there are: "), "{text}");
    let (code, text) = said(
        &outbound.daemon.cli(&["queue", "reroute", "outbound", "--queue", "outbound", "--yes"]),
    );
    assert!(code == Some(1) && text.contains("itself"), "{text}");
    let (code, text) = said(&outbound.daemon.cli(&["queue", "reroute", "nothing", &away]));
    assert!(code == Some(1) && text.contains("1 would be rerouted"), "{text}");

    // Another queue takes it over; its own target is put off as well, so it waits there.
    outbound.daemon.said(&["queue", "reroute", "other", &away, "--yes"]);
    let there =
        || outbound.daemon.said(&["queue", "list", "--json"]).contains("\"queue\":\"other\"");
    wait_until("it is in the other queue", SOON, there);
    outbound.daemon.said(&["queue", "drop", "--queue", "other", "--yes"]);

    // Held, it does not move before it is released: rerouted and undone, it goes the usual way.
    outbound.daemon.said(&["queue", "hold", &back, &gone]);
    outbound.daemon.said(&["queue", "reroute", "nothing", &back, &gone, "--yes"]);
    assert_eq!(batch(&outbound, &back)["rerouted"], "nothing");
    assert_eq!(batch(&outbound, &back)["destination"], "&nothing");
    outbound.daemon.said(&["queue", "reroute", "mx", &back, "--yes"]);
    let undone = batch(&outbound, &back);
    assert_eq!(
        (&undone["rerouted"], &undone["destination"]),
        (&Value::Null, &Value::from("busy.test"))
    );

    // The target is gone after a restart: nothing is lost, and it is said.
    let without = outbound.config.text().replace("dummy nothing { }", "");
    outbound.area.write("posthaste.conf", &without);
    outbound.daemon.restart(&outbound.area);
    let text = outbound.daemon.said(&["queue", "show", &gone]);
    assert!(text.contains("rerouted to nothing, which is not in the configuration"), "{text}");
    outbound.daemon.said(&["queue", "release", "--held", "--to", "gone@"]);
    wait_until("it is put off", SOON, || {
        let waiting = batch(&outbound, &gone);
        waiting["reason"] == "target-unavailable" && waiting["state"] == "waiting"
    });
    let waiting = batch(&outbound, &gone);
    assert_eq!(waiting["attempts"], 1, "{waiting}"); // the one at the beginning
    let text = waiting["last_failure"].as_str().unwrap();
    assert!(text.contains("nothing, where this was rerouted to"), "{text}");

    // And back again: the dummy takes it.
    outbound.area.write("posthaste.conf", outbound.config.text());
    outbound.daemon.restart(&outbound.area);
    let tried = sink.connections();
    outbound.daemon.said(&["queue", "retry", &gone]);
    wait_until("the dummy has it", SOON, || outbound.daemon.queued() == [back.clone()]);
    assert_eq!((sink.connections(), outbound.home.count()), (tried, 0));
    outbound.daemon.said(&["queue", "release", &back]);
    outbound.daemon.said(&["queue", "retry", &back]);
    wait_until("the usual peer is asked", SOON, || sink.connections() > tried);
}

#[test]
fn a_notification_is_rerouted_and_recipients_are_grouped_anew() {
    let outbound = start("verbs_notification", AN_HOUR);
    let _busy = outbound.sink_with("busy.test", busy());
    // The sender's exchanger is busy: the notification waits.
    let id =
        outbound.daemon.send("ann@busy.test", &["x@busy.test"], Message::plain("x", 100).bytes());
    outbound.daemon.wait_for_trace(&id, "retry", SOON);
    outbound.daemon.said(&["queue", "fail", &id, "--yes"]);
    let notification = || outbound.daemon.queued().first().cloned().filter(|found| *found != id);
    wait_until("there is a notification", SOON, || notification().is_some());
    let notification = notification().unwrap();
    outbound.daemon.wait_for_trace(&notification, "retry", SOON);
    outbound.daemon.said(&["queue", "reroute", "nothing", &notification, "--yes"]);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    let history = outbound.daemon.said(&["trace", &notification]);
    assert!(history.contains("rerouted by uid") && history.contains("&nothing"), "{history}");

    // Three recipients, two domains: one batch for the dummy, held; two for a remote target.
    let to = ["a@busy.test", "b@busy.test", "c@late.test"];
    let _late = outbound.sink_with("late.test", busy());
    let id = outbound.daemon.send(SENDER, &to, Message::plain("three", 100).bytes());
    wait_until("both are put off", SOON, || {
        outbound.daemon.said(&["trace", &id]).matches("retry").count() == 2
    });
    outbound.daemon.said(&["queue", "hold", &id]);
    outbound.daemon.said(&["queue", "reroute", "nothing", &id, "--yes"]);
    let destinations = || -> Vec<String> {
        let shown = outbound.daemon.said(&["queue", "show", &id, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let batches = shown["message"]["batches"].as_array().unwrap();
        batches.iter().map(|b| b["destination"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(destinations(), ["&nothing", "&nothing"]);
    outbound.daemon.said(&["queue", "reroute", "mx", &id, "--yes"]);
    assert_eq!(destinations(), ["busy.test", "late.test"]);
    outbound.daemon.said(&["queue", "drop", &id, "--domain", "busy.test", "--yes"]);
    assert_eq!(destinations(), ["late.test"]);
    let text = outbound.daemon.said(&["queue", "show", &id]);
    assert_eq!(text.matches(" dropped").count(), 5, "{text}"); // two recipients, and the history of both
}
