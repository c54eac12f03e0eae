//! A peer that hangs costs its own mail time, and nobody else's: with four slots and three such peers the fourth peer's mail goes on.

use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;

use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::process::wait_until;

/// Where they hang, for much longer than the test lasts: waited for an answer ...
const ANSWERS: [(&str, &str); 3] = [
    ("mail", "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL*\n! hang\n"),
    (
        "dot",
        "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\n\
         ! content\n! hang\n",
    ),
    (
        "drip",
        "S: 220 mx\nC: EHLO *\nD: 250-what can be had here is a long list, and read to you very slowly, so \
         take a seat while you wait for the end of it, which is not near\n! hang\n",
    ),
];

/// ... or for the greeting, or for room for more content.
const NO_ROOM: [(&str, &str); 3] = [
    ("greeting", "! hang\n"),
    (
        "content",
        "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\n\
         ! stall\n",
    ),
    (
        "slow-content",
        "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\n\
         ! read 1000000\n! stall\n",
    ),
];

/// More than the buffers between two sockets hold.
const LARGE: usize = 12_000_000;

fn play(outbound: &Outbound, (name, script): (&str, &str), size: usize) -> Player {
    let player = Dialogue::parse(name, script).unwrap().play(outbound.area.socket(), None);
    let domain = format!("{name}.test");
    outbound.dns.domain(&domain, player.sink.address().ip());
    let message = Message::plain(name, size);
    outbound.daemon.send(SENDER, &[&format!("user@{domain}")], message.bytes());
    player
}

fn assert_a_slot_is_left(test: &str, hanging: [(&str, &str); 3], size: usize) {
    let outbound = Outbound::start_with(test, &[], |config| {
        config.queue = config.queue.replace("max_parallelism 64", "max_parallelism 4");
    });
    let peers = hanging.map(|hanging| play(&outbound, hanging, size));
    for player in &peers {
        wait_until("the peer hangs", SOON, || player.sink.connections() > 0);
    }
    let sink = outbound.sink("lively.test");
    for number in 0..30 {
        outbound.send(&format!("user{number}@lively.test"));
    }
    sink.wait_for(30, SOON);
    wait_until("only what hangs is left", SOON, || outbound.daemon.queued().len() == peers.len());
    assert!(sink.copies().into_values().all(|copies| copies == 1));
    assert_eq!(outbound.home.count(), 0);
    for player in &peers {
        assert_eq!(player.sink.connections(), 1);
        player.assert_followed();
    }
}

#[test]
fn three_peers_that_do_not_answer_leave_a_slot_for_the_fourth() {
    assert_a_slot_is_left("one_slot_answers", ANSWERS, 1000);
}

#[test]
fn three_peers_that_take_no_content_leave_a_slot_for_the_fourth() {
    assert_a_slot_is_left("one_slot_content", NO_ROOM, LARGE);
}

#[test]
fn many_messages_for_peers_that_fall_silent_leave_slots_to_the_living() {
    let outbound = Outbound::start_with("one_slot_many", &[], |config| {
        config.queue = config.queue.replace("max_parallelism 64", "max_parallelism 4");
    });
    let peers = [ANSWERS[0], ANSWERS[1]].map(|hanging| play(&outbound, hanging, 1000));
    for (name, _) in [ANSWERS[0], ANSWERS[1]] {
        for number in 0..10 {
            outbound.send(&format!("user{number}@{name}.test"));
        }
    }
    wait_until("all slots are taken", SOON, || {
        peers.iter().map(|player| player.sink.connections()).sum::<usize>() >= 4
    });
    let sink = outbound.sink("lively.test");
    for number in 0..10 {
        outbound.send(&format!("user{number}@lively.test"));
    }
    // Patience lasts ten seconds; no timeout of theirs comes within minutes.
    sink.wait_for(10, AFTER_RETRIES);
    assert!(sink.copies().into_values().all(|copies| copies == 1));
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn one_silent_exchanger_of_many_domains_takes_no_slots() {
    let outbound = Outbound::start_with("one_slot_exchanger", &[], |config| {
        config.queue = config.queue.replace("max_parallelism 64", "max_parallelism 4");
    });
    let (name, script) = NO_ROOM[0];
    let silent = Dialogue::parse(name, script).unwrap().play(outbound.area.socket(), None);
    outbound.dns.host("mx.silent.test", &[silent.sink.address().ip()]);
    for number in 0..60 {
        let domain = format!("d{number}.test");
        outbound.dns.mx(&domain, &[(10, "mx.silent.test")]);
        outbound.send(&format!("user@{domain}"));
    }
    wait_until("all slots are taken", SOON, || silent.sink.connections() >= 4);
    let sink = outbound.sink("lively.test");
    outbound.send("user@lively.test");
    // Ten seconds of patience, once for all of them.
    sink.wait_for(1, Duration::from_secs(30));
    assert!(silent.sink.connections() < 20, "{} connections", silent.sink.connections());
    assert_eq!((outbound.daemon.queued().len(), outbound.home.count()), (60, 0));
}

#[test]
fn name_servers_that_do_not_answer_take_no_slots() {
    let outbound = Outbound::start_with("one_slot_dns", &[], |config| {
        config.queue = config.queue.replace("max_parallelism 64", "max_parallelism 2");
    });
    for name in ["a", "b"] {
        outbound.dns.is_silent(&format!("{name}.test"), RecordType::MX);
        for number in 0..3 {
            outbound.send(&format!("user{number}@{name}.test"));
        }
    }
    wait_until("both are looked up", SOON, || {
        ["a.test", "b.test"].iter().all(|name| outbound.dns.was_asked(name, RecordType::MX))
    });
    let sink = outbound.sink("lively.test");
    outbound.send("user@lively.test");
    // A lookup may take half a minute; a slot is lent to it for ten seconds.
    sink.wait_for(1, SOON);
    assert_eq!(outbound.home.count(), 0);
}
