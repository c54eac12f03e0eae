//! The other mail servers there are: Exim with STARTTLS by GnuTLS, and OpenSMTPD in the clear. What was sent is what arrives, once for
//! each recipient; one is refused for good and told so, one for now and kept.

use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::self_signed;
use crate::harness::client::Client;
use crate::harness::exim::{self, Exim};
use crate::harness::maildir::Maildir;
use crate::harness::message::{Message, id_of};
use crate::harness::mounts;
use crate::harness::opensmtpd::{self, OpenSmtpd};
use crate::harness::outbound::{Outbound, SENDER};

/// One attempt for each destination: what is refused for now stays in the queue.
fn once(test: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = "initial_retry_time 1h
            bounce {
                deliver_to &mx
            }"
        .to_owned();
    })
}

fn ready(test: &str, program: &str) -> bool {
    let area = Area::new(test);
    area.needs(&[program]) && mounts::can_be_made(&area)
}

/// Each message to two mailboxes, the last one also to `reject` and `defer`.
fn send(outbound: &Outbound, messages: &[Message]) {
    let mut client = Client::greeted(outbound.listen());
    for (number, message) in (1..).zip(messages) {
        let mut to = vec!["one@example.test", "two@example.test"];
        if number == messages.len() {
            to.extend(["reject@example.test", "defer@example.test"]);
        }
        assert_eq!(client.transact(SENDER, &to, message.bytes()).unwrap().code, 250);
    }
}

/// `delivered_to` is the field in which the exchanger names the recipient; `added` are all the fields it puts on top.
fn assert_arrived(mailbox: &Maildir, sent: &[Message], delivered_to: &str, added: &[&str]) {
    let arrived = mailbox.wait_for(sent.len() * 2, Duration::from_secs(60));
    assert_eq!(arrived.len(), sent.len() * 2, "copies");
    for message in sent {
        let copies: Vec<_> = arrived.iter().filter(|copy| id_of(copy) == message.id()).collect();
        let mut to: Vec<String> = Vec::new();
        for copy in copies {
            let fields = message.assert_arrived(copy, added);
            let name = |line: &str| line.strip_prefix(delivered_to).map(|to| to.trim().to_owned());
            to.extend(fields.lines().filter_map(name));
        }
        to.sort();
        assert_eq!(to, ["one@example.test", "two@example.test"], "{}", message.id());
    }
}

/// The two recipients that did not get the last message.
fn assert_told(outbound: &Outbound) {
    outbound.assert_notified("reject@example.test", "5.1.1");
    let waiting = outbound.daemon.queued();
    assert_eq!(waiting.len(), 1, "only the message to defer@ waits");
    let shown = outbound.daemon.said(&["queue", "show", &waiting[0]]);
    assert!(shown.contains("defer@example.test") && shown.contains("4.2.1"), "{shown}");
    assert_eq!(outbound.home.count(), 1, "what waits is told nobody");
}

#[test]
fn exim_gets_what_was_sent_over_starttls() {
    if !ready("exim_starttls", exim::PROGRAM) {
        return;
    }
    let outbound = once("exim_starttls");
    let certificate = self_signed(&["mx.example.test"]);
    let exim = Exim::start(&outbound.area, "example.test", &certificate);
    outbound.dns.domain("example.test", exim.address().ip());
    let sent = Message::all_kinds("exim");
    send(&outbound, &sent);
    assert_arrived(&exim.mailbox, &sent, "Envelope-to:", &exim::ADDED);
    assert_told(&outbound);
    let log = exim.log();
    let came: Vec<&str> = log.lines().filter(|line| line.contains(" <= ")).collect();
    assert_eq!(came.len(), sent.len(), "one transaction a message: {log}");
    assert!(came.iter().all(|line| line.contains(" P=esmtps X=TLS1.")), "{log}");
}

#[test]
fn opensmtpd_gets_what_was_sent_in_the_clear() {
    if !ready("opensmtpd", opensmtpd::PROGRAM) {
        return;
    }
    let outbound = once("opensmtpd");
    let smtpd = OpenSmtpd::start(&outbound.area, "example.test");
    outbound.dns.domain("example.test", smtpd.address().ip());
    let sent = Message::all_kinds("opensmtpd");
    send(&outbound, &sent);
    assert_arrived(&smtpd.mailbox, &sent, "Delivered-To:", &opensmtpd::ADDED);
    assert_told(&outbound);
    assert_eq!(smtpd.log().matches(" smtp message ").count(), sent.len(), "{}", smtpd.log());
}
