//! Addresses beyond ASCII. A domain goes out in A-labels and needs nothing of the server; a local part needs SMTPUTF8 (RFC 6531), or the
//! sender is told 5.6.7.

use hickory_resolver::proto::rr::RecordType;

use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Sink};

/// `münchen.test`.
const MUENCHEN: &str = "xn--mnchen-3ya.test";

fn offering_smtputf8() -> Manners {
    let mut manners = Manners::default();
    manners.keywords.push("SMTPUTF8");
    manners
}

fn send(outbound: &Outbound, to: &[&str]) {
    outbound.daemon.send(SENDER, to, Message::plain("international", 1000).bytes());
}

/// The lines that begin with the command.
fn commands(sink: &Sink, command: &str) -> Vec<String> {
    sink.lines().concat().into_iter().filter(|line| line.starts_with(command)).collect()
}

#[test]
fn a_domain_is_looked_up_and_sent_in_a_labels() {
    for manners in [Manners::default(), offering_smtputf8()] {
        let outbound = Outbound::start("idn_domain");
        let sink = outbound.sink_with(MUENCHEN, manners);
        send(&outbound, &["user@münchen.test", "other@MÜNCHEN.test"]);
        let message = sink.wait_for(1, SOON).remove(0);
        let to = [format!("<user@{MUENCHEN}>"), format!("<other@{MUENCHEN}>")];
        assert_eq!(message.to, to, "one domain, one transaction");
        assert!(!message.from.contains("SMTPUTF8"), "nothing needs it: {}", message.from);
        assert!(outbound.dns.was_asked(MUENCHEN, RecordType::MX));
        outbound.daemon.wait_until_queue_is_empty(SOON);
        assert_eq!((sink.count(), outbound.home.count()), (1, 0));
    }
}

#[test]
fn a_local_part_beyond_ascii_goes_with_smtputf8() {
    let outbound = Outbound::start("idn_local_part");
    let sink = outbound.sink_with(MUENCHEN, offering_smtputf8());
    send(&outbound, &["jürgen@münchen.test", "user@münchen.test"]);
    let message = sink.wait_for(1, SOON).remove(0);
    assert!(message.from.contains(" SMTPUTF8"), "{}", message.from);
    assert_eq!(message.to.len(), 2);
    assert!(message.to[0].starts_with("<jürgen@"), "{:?}", message.to);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn without_smtputf8_only_that_recipient_fails() {
    let outbound = Outbound::start("idn_not_offered");
    let sink = outbound.sink(MUENCHEN);
    send(&outbound, &["jürgen@münchen.test", "user@münchen.test"]);
    let message = sink.wait_for(1, SOON).remove(0);
    assert_eq!(message.to, [format!("<user@{MUENCHEN}>")]);
    assert!(commands(&sink, "RCPT").iter().all(|line| line.is_ascii()));
    wait_until("the sender is told", SOON, || outbound.home.count() == 1);
    let told = outbound.home.transactions()[0].text();
    assert!(told.contains("Status: 5.6.7"), "{told}");
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((sink.count(), outbound.home.count()), (1, 1));
}
