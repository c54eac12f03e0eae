//! Content that a server may choke on: octets above 127 where 8BITMIME is not offered, and lines above 998 octets.

use crate::harness::daemon::Config;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::sink::{Manners, Sink};

fn start(test: &str, remote: &str) -> Outbound {
    Outbound::start_with(test, &[], |config: &mut Config| {
        config.queue = "initial_retry_time 1h\nbounce {\n deliver_to &mx\n}".to_owned();
        config.remote = remote.to_owned();
    })
}

/// Its header is ASCII: one in UTF-8 would need SMTPUTF8.
fn send(outbound: &Outbound, message: &Message) {
    outbound.daemon.send(SENDER, &["user@example.test"], message.bytes());
}

fn without_eight_bit(outbound: &Outbound) -> Sink {
    let manners = Manners { keywords: vec!["SIZE 0"], ..Manners::default() };
    Sink::with(outbound.area.socket(), manners)
}

fn counted(outbound: &Outbound, name: &str) -> u64 {
    outbound.counted("target.remote", name)
}

#[test]
fn unannounced_eight_bit_content_is_sent_as_it_is_and_counted() {
    let outbound = start("eight_bit_sent", "");
    let sink = without_eight_bit(&outbound);
    outbound.dns.domain("example.test", sink.address().ip());
    let message = Message::eight_bit("eight");
    send(&outbound, &message);
    let arrived = sink.wait_for_recipient("user@example.test", SOON);
    message.assert_arrived(&arrived.content, &["received"]);
    assert!(!arrived.from.contains("BODY="), "{}", arrived.from);
    assert_eq!(counted(&outbound, "eight_bit_unannounced"), 1);
    send(&outbound, &Message::plain("seven", 1000));
    sink.wait_for(2, SOON);
    assert_eq!(counted(&outbound, "eight_bit_unannounced"), 1); // that one was no trouble
}

#[test]
fn strict_8bit_asks_the_next_exchanger_and_then_tells_the_sender() {
    let outbound = start("eight_bit_strict", "strict_8bit yes");
    let sink = without_eight_bit(&outbound);
    let better = outbound.lone_sink(); // this one offers 8BITMIME
    outbound.dns.host("old.test", &[sink.address().ip()]).host("new.test", &[better.1]);
    outbound.dns.mx("example.test", &[(10, "old.test"), (20, "new.test")]);
    let message = Message::eight_bit("eight");
    send(&outbound, &message);
    let arrived = better.0.wait_for_recipient("user@example.test", SOON);
    message.assert_arrived(&arrived.content, &["received"]);
    assert!(arrived.from.contains("BODY=8BITMIME"), "{}", arrived.from);

    outbound.dns.mx("alone.test", &[(10, "old.test")]);
    outbound.daemon.send(SENDER, &["user@alone.test"], message.bytes());
    outbound.assert_notified("user@alone.test", "5.6.3");
    outbound.daemon.send(SENDER, &["user@alone.test"], Message::plain("seven", 1000).bytes());
    sink.wait_for_recipient("user@alone.test", SOON);
    assert_eq!((sink.count(), counted(&outbound, "eight_bit_unannounced")), (1, 0));
}

#[test]
fn long_lines_are_sent_as_they_are_and_counted() {
    let outbound = start("long_lines", "");
    let sink = outbound.sink("example.test");
    let message = Message::long_lines("long");
    send(&outbound, &message);
    let arrived = sink.wait_for_recipient("user@example.test", SOON);
    message.assert_arrived(&arrived.content, &["received"]);
    assert_eq!(counted(&outbound, "long_lines"), 1);
    assert_eq!(counted(&outbound, "eight_bit_unannounced"), 0);
}
