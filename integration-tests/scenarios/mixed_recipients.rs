//! One message for several recipients of a domain, each with a fate of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment, Sink};

const TO: [&str; 3] = ["taken@example.test", "late@example.test", "never@example.test"];

/// Takes `taken`, refuses `never` for good and `late` for now, as often as `late_again` says yes.
fn mixed(late_again: impl Fn() -> bool + Send + Sync + 'static) -> Manners {
    let answer = move |at, line: &str| match () {
        () if at == Moment::Rcpt && line.contains("<never@") => {
            Some("550 5.1.1 no such user".to_owned())
        }
        () if at == Moment::Rcpt && line.contains("<late@") && late_again() => {
            Some("450 4.2.1 come back".to_owned())
        }
        () => None,
    };
    Manners { answer: Box::new(answer), ..Manners::default() }
}

fn once(test: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = "initial_retry_time 1h
            bounce {
                deliver_to &mx
            }"
        .to_owned();
    })
}

fn send(outbound: &Outbound) -> String {
    outbound.daemon.send(SENDER, &TO, Message::plain("mixed", 1000).bytes())
}

/// How often each of `TO` was named to the sink.
fn named(sink: &Sink) -> [usize; 3] {
    let lines = sink.lines().concat();
    TO.map(|to| lines.iter().filter(|line| line.contains(&format!("RCPT TO:<{to}>"))).count())
}

#[test]
fn only_who_was_deferred_is_tried_again() {
    let outbound = Outbound::start("mixed_recipients");
    let first = AtomicBool::new(true);
    let sink =
        outbound.sink_with("example.test", mixed(move || first.swap(false, Ordering::Relaxed)));
    send(&outbound);
    outbound.assert_notified(TO[2], "5.1.1");
    sink.wait_for_recipient(TO[1], AFTER_RETRIES);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(named(&sink), [1, 2, 1]);
    assert_eq!(sink.copies().into_values().collect::<Vec<_>>(), [1, 1], "{:?}", sink.copies());
    assert_eq!(outbound.home.count(), 1);
}

#[test]
fn who_was_deferred_is_offered_to_the_next_exchanger() {
    let outbound = once("mixed_next_exchanger");
    let first = outbound.sink_with("unused.test", mixed(|| true));
    let (second, second_address) = outbound.lone_sink();
    outbound.dns.mx("example.test", &[(10, "a.test"), (20, "b.test")]);
    outbound.dns.host("a.test", &[first.address().ip()]).host("b.test", &[second_address]);
    send(&outbound);
    second.wait_for_recipient(TO[1], SOON);
    outbound.assert_notified(TO[2], "5.1.1");
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((named(&first), named(&second)), ([1, 1, 1], [0, 1, 0]));
    assert_eq!((first.count(), second.count(), outbound.home.count()), (1, 1, 1));
}

#[test]
fn who_was_deferred_waits_when_the_next_exchanger_is_down() {
    let outbound = once("mixed_exchanger_down");
    let first = outbound.sink_with("unused.test", mixed(|| true));
    outbound.dns.mx("example.test", &[(10, "a.test"), (20, "b.test")]);
    let nobody = outbound.area.address().into();
    outbound.dns.host("a.test", &[first.address().ip()]).host("b.test", &[nobody]);
    let id = send(&outbound);
    outbound.assert_notified(TO[2], "5.1.1");
    wait_until("late@ waits", SOON, || outbound.daemon.queued() == [id.clone()]);
    let shown = outbound.daemon.said(&["queue", "show", &id]);
    assert!(shown.contains("4.2.1"), "the answer of a server tells more: {shown}");
    assert_eq!((first.count(), outbound.home.count()), (1, 1));
}

/// `user0@example.test` and so on, handed over in one transaction.
fn send_to_many(outbound: &Outbound, count: usize) -> Vec<String> {
    let to: Vec<String> = (0..count).map(|number| format!("user{number}@example.test")).collect();
    let names: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut client = Client::greeted(outbound.listen());
    let message = Message::plain("many", 1000);
    assert_eq!(client.transact(SENDER, &names, message.bytes()).unwrap().code, 250);
    to
}

/// In one attempt, everybody once.
fn assert_all_have_it(outbound: &Outbound, sink: &Sink, to: &[String]) {
    wait_until("everybody has it", AFTER_RETRIES, || sink.copies().len() >= to.len());
    outbound.daemon.wait_until_queue_is_empty(SOON);
    let copies = sink.copies();
    assert_eq!(copies.len(), to.len());
    assert!(to.iter().all(|to| copies[to] == 1), "{copies:?}");
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn at_most_a_hundred_recipients_go_in_one_transaction() {
    let outbound = once("many_recipients");
    let sink = outbound.sink("example.test");
    let to = send_to_many(&outbound, 250);
    assert_all_have_it(&outbound, &sink, &to);
    let sizes: Vec<usize> = sink.transactions().iter().map(|message| message.to.len()).collect();
    assert_eq!(sizes, [100, 100, 50]); // RFC 5321 §4.5.3.1.8
}

#[test]
fn a_server_that_takes_fewer_at_once_gets_more_transactions() {
    let outbound = once("fewer_at_once");
    let room = AtomicUsize::new(0);
    let answer = move |at, _: &str| {
        match at {
            Moment::Mail => room.store(60, Ordering::Relaxed),
            // RFC 5321 §4.5.3.1.10.
            Moment::Rcpt if room.load(Ordering::Relaxed) == 0 => {
                return Some("452 4.5.3 too many recipients".to_owned());
            }
            Moment::Rcpt => drop(room.fetch_sub(1, Ordering::Relaxed)),
            Moment::Greeting | Moment::Ehlo | Moment::Data | Moment::Dot => {}
        }
        None
    };
    let manners = Manners { answer: Box::new(answer), ..Manners::default() };
    let sink = outbound.sink_with("example.test", manners);
    let to = send_to_many(&outbound, 250);
    assert_all_have_it(&outbound, &sink, &to);
    assert!(sink.transactions().iter().all(|message| message.to.len() <= 60));
    assert_eq!(sink.connections(), 1);
}

#[test]
fn who_is_named_twice_gets_one_copy() {
    let outbound = once("named_twice");
    let sink = outbound.sink("example.test");
    // Letter case matters in the local part alone (RFC 5321 §2.4).
    let to = ["user@example.test", "user@EXAMPLE.test", "user@example.test", "User@example.test"];
    let id = outbound.daemon.send(SENDER, &to, Message::plain("twice", 1000).bytes());
    outbound.daemon.wait_until_queue_is_empty(SOON);
    let copies = sink.copies();
    let of = |address| copies.get(address).copied();
    assert_eq!(
        (of("user@example.test"), of("User@example.test")),
        (Some(1), Some(1)),
        "{copies:?}"
    );
    assert_eq!((copies.len(), sink.count()), (2, 1), "{copies:?}");
    // Each of those named is answered for.
    let history = outbound.daemon.said(&["trace", &id]);
    assert_eq!(history.matches(" outbound delivered ").count(), to.len(), "{history}");
    assert_eq!(outbound.home.count(), 0);
}
