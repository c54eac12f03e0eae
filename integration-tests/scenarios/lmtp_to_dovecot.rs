//! LMTP to a real Dovecot, by TCP and over a Unix socket, read back over IMAP.

use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::dovecot::{self, Dovecot};
use crate::harness::forwarding::Forwarding;
use crate::harness::message::{Message, id_of};
use crate::harness::outbound::{SENDER, SOON};

#[test]
fn every_kind_of_message_arrives_byte_for_byte_by_tcp_and_by_unix_socket() {
    let area = Area::new("lmtp_arrives");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    for (way, target) in [
        ("tcp", format!("tcp://{}", dovecot.lmtp())),
        ("unix", format!("unix:{}", dovecot.lmtp_socket().display())),
    ] {
        let place = Area::new(&format!("lmtp_arrives_by_{way}"));
        let forwarding = Forwarding::start(&place, "lmtp", &format!("targets {target}"));
        let sent = Message::all_kinds(way);
        for message in &sent {
            forwarding.daemon.send(SENDER, &["ann@example.test"], message.bytes());
        }
        forwarding.daemon.wait_until_queue_is_empty(Duration::from_secs(60));
        let arrived = dovecot.inbox("ann");
        for message in &sent {
            let same = arrived.iter().find(|content| id_of(content) == message.id());
            message.assert_arrived(same.unwrap(), &dovecot::ADDED);
        }
    }
}

#[test]
fn each_recipient_has_its_own_reply_after_the_dot() {
    let area = Area::new("lmtp_each");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let target = format!("targets unix:{}", dovecot.lmtp_socket().display());
    let forwarding = Forwarding::start(&area, "lmtp", &target);
    let everybody = ["ann", "nobody", "full", "zoe"].map(|user| format!("{user}@example.test"));
    let to: Vec<&str> = everybody.iter().map(String::as_str).collect();
    let message = Message::plain("each", 5000);
    let id = forwarding.daemon.send(SENDER, &to, message.bytes());
    for user in ["ann", "zoe"] {
        let arrived = dovecot.wait_for(user, 1, SOON);
        message.assert_arrived(&arrived[0], &dovecot::ADDED);
    }
    // One that is refused at RCPT, one after the dot; nobody is sent a second copy for them.
    let trace = forwarding.daemon.wait_for_trace(&id, "5.2.2", SOON);
    let refused = |user: &str, status: &str| {
        let line =
            |line: &&str| line.contains(&format!("{user}@example.test")) && line.contains(status);
        assert!(trace.lines().any(|l| line(&l)), "{user} {status}:\n{trace}");
    };
    refused("nobody", "5.1.1");
    refused("full", "5.2.2");
    forwarding.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((dovecot.inbox("ann").len(), dovecot.inbox("full").len()), (1, 0));
}

#[test]
fn a_socket_that_is_not_there_yet_is_waited_for() {
    let area = Area::new("lmtp_later");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let socket = area.file("dovecot/lmtp.sock");
    let forwarding =
        Forwarding::start(&area, "lmtp", &format!("targets unix:{}", socket.display()));
    let message = Message::plain("later", 1000);
    let id = forwarding.daemon.send(SENDER, &["ann@example.test"], message.bytes());
    let trace = forwarding.daemon.wait_for_trace(&id, "4.4.1", SOON);
    assert!(trace.contains("lmtp.sock"), "{trace}");
    let dovecot = Dovecot::start(&area);
    assert_eq!(dovecot.lmtp_socket(), socket);
    let arrived = dovecot.wait_for("ann", 1, Duration::from_secs(60));
    message.assert_arrived(&arrived[0], &dovecot::ADDED);
}
