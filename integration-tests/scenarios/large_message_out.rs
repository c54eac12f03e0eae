//! A message of 30 MB goes out piece by piece, with and without TLS, and after a break once more and whole.

use crate::harness::certificates::self_signed;
use crate::harness::dialogue::{Dialogue, Player};
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

const STARTTLS: &str =
    "S: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go ahead\n! starttls\nC: EHLO *\n";

/// An exchanger that goes away in the middle of the content, and takes all of it the next time.
fn broken_off(outbound: &Outbound, domain: &str, starttls: &str) -> Player {
    let opening = format!("S: 220 mx\nC: EHLO *\n{starttls}");
    let script = format!(
        "{opening}S: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go ahead\n\
         ! read 10000000\n! close\n! connection\n{opening}S: 250 mx\n! serve\n"
    );
    let tls = self_signed(&[&format!("mx.{domain}")]).acceptor();
    let dialogue = Dialogue::parse(domain, &script).unwrap();
    let player = dialogue.play(outbound.area.socket(), Some(tls));
    outbound.dns.domain(domain, player.sink.address().ip());
    player
}

#[test]
fn thirty_megabytes_go_out_in_little_memory_and_whole() {
    let outbound = Outbound::start_with("large_message_out", &[], |config| {
        config.smtp = "max_message_size 64M".to_owned();
    });
    let plain = outbound.sink("plain.test");
    let tls = Some(self_signed(&["mx.secure.test"]).acceptor());
    let secure = outbound.sink_with("secure.test", Manners { tls, ..Manners::default() });
    let broken = broken_off(&outbound, "broken.test", "");
    let broken_secure = broken_off(&outbound, "broken-secure.test", STARTTLS);

    let message = Message::plain("large", 30_000_000);
    let to = ["plain.test", "secure.test", "broken.test", "broken-secure.test"]
        .map(|domain| format!("user@{domain}"));
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
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
    assert_eq!(arrived(&broken.sink, AFTER_RETRIES).tls, None);
    assert!(arrived(&broken_secure.sink, AFTER_RETRIES).tls.is_some());
    for player in [&broken, &broken_secure] {
        player.assert_followed();
        assert_eq!(player.sink.connections(), 2);
    }
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(outbound.home.count(), 0);
    let after = peak(&outbound);
    outbound
        .area
        .report(&format!("peak memory: {before} MB at start, {after} MB after 30 MB to four"));
    assert!(after < before + 20, "{after} MB");
}
