//! A message of 30 MB goes out piece by piece, with and without TLS, and after a break once more and whole.

use crate::harness::certificates::self_signed;
use crate::harness::dialogue::Dialogue;
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::sink::{Manners, Sink};

/// The most memory the daemon ever had, in megabytes.
fn peak(outbound: &Outbound) -> usize {
    let file = format!("/proc/{}/status", outbound.daemon.pid());
    let status = std::fs::read_to_string(file).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[test]
fn thirty_megabytes_go_out_in_little_memory_and_whole() {
    let outbound = Outbound::start_with("large_message_out", &[], |config| {
        config.smtp = "max_message_size 64M".to_owned();
    });
    let plain = outbound.sink("plain.test");
    let tls = Some(self_signed(&["mx.secure.test"]).acceptor());
    let secure = outbound.sink_with("secure.test", Manners { tls, ..Manners::default() });
    let script = "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\n\
                  S: 354 go ahead\n! read 10000000\n! close\n! connection\nS: 220 mx\n! serve\n";
    let broken = Dialogue::parse("broken", script).unwrap().play(outbound.area.socket(), None);
    outbound.dns.domain("broken.test", broken.sink.address().ip());

    let message = Message::plain("large", 30_000_000);
    let to = ["user@plain.test", "user@secure.test", "user@broken.test"];
    let before = peak(&outbound);
    outbound.daemon.send(SENDER, &to, message.bytes());
    let arrived = |sink: &Sink, deadline| {
        let transaction = sink.wait_for(1, deadline).remove(0);
        message.assert_arrived(&transaction.content, &["Received"]);
        assert_eq!(sink.count(), 1);
        transaction
    };
    assert_eq!(arrived(&plain, SOON * 3).tls, None);
    assert!(arrived(&secure, SOON * 3).tls.is_some());
    arrived(&broken.sink, AFTER_RETRIES);
    broken.assert_followed();
    assert_eq!(broken.sink.connections(), 2);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(outbound.home.count(), 0);
    let after = peak(&outbound);
    outbound
        .area
        .report(&format!("peak memory: {before} MB at start, {after} MB after 30 MB to three"));
    assert!(after < before + 30, "{after} MB");
}
