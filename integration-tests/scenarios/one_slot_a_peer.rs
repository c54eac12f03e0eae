//! A peer that hangs costs its own mail time, and nobody else's: with four slots and three such peers the fourth peer's mail goes on.

use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::outbound::{Outbound, SOON};
use crate::harness::process::wait_until;

/// Where they hang, for much longer than the test lasts.
const HANGING: [(&str, &str); 3] = [
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

fn play(outbound: &Outbound, (name, script): (&str, &str)) -> Player {
    let player = Dialogue::parse(name, script).unwrap().play(outbound.area.socket(), None);
    let domain = format!("{name}.test");
    outbound.dns.domain(&domain, player.sink.address().ip());
    outbound.send(&format!("user@{domain}"));
    player
}

#[test]
fn three_peers_that_hang_leave_a_slot_for_the_fourth() {
    let outbound = Outbound::start_with("one_slot_a_peer", &[], |config| {
        config.queue = config.queue.replace("max_parallelism 64", "max_parallelism 4");
    });
    let peers = HANGING.map(|hanging| play(&outbound, hanging));
    for player in &peers {
        wait_until("the peer hangs", SOON, || !player.sink.lines().concat().is_empty());
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
