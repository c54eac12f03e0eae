//! Counting peers: smtp-source and our own source, smtp-sink and our own sink, each against each.

use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::message::{Message, id_of};
use crate::harness::process::wait_until;
use crate::harness::sink::Sink;
use crate::harness::smtp_sink::{self, SmtpSink};
use crate::harness::smtp_source::{self, SmtpSource};
use crate::harness::source::{Load, Source};

const DEADLINE: Duration = Duration::from_secs(30);

fn load(server: std::net::SocketAddr) -> Load {
    Load {
        server,
        from: "sender@sender.test".to_owned(),
        domain: "example.test".to_owned(),
        messages: 200,
        sessions: 8,
        size: 2000,
        deadline: DEADLINE,
    }
}

#[test]
fn smtp_sink_counts_what_smtp_source_sends() {
    let area = Area::new("smtp_sink_counts");
    if !area.needs(&[smtp_sink::PROGRAM, smtp_source::PROGRAM]) {
        return;
    }
    let sink = SmtpSink::start(&area, &[]);
    let source = SmtpSource {
        server: sink.address(),
        from: "sender@sender.test",
        to: "user@example.test",
        messages: 100,
        sessions: 5,
        length: 1500,
    };
    source.run();
    wait_until("100 are counted", DEADLINE, || sink.counts().messages == 100);
    let mut recipients = sink.recipients();
    recipients.sort();
    recipients.dedup();
    assert_eq!(recipients.len(), 100);
    assert!(recipients.iter().all(|address| address.ends_with("user@example.test")));
}

#[test]
fn smtp_sink_gets_what_our_source_sends() {
    let area = Area::new("smtp_sink_gets");
    if !area.needs(&[smtp_sink::PROGRAM]) {
        return;
    }
    let sink = SmtpSink::start(&area, &[]);
    let tally = Source::start(&load(sink.address())).finish();
    assert_eq!((tally.acknowledged.len(), tally.broken), (200, 0));
    wait_until("200 are counted", DEADLINE, || sink.counts().messages == 200);
    let mut recipients = sink.recipients();
    recipients.sort();
    assert!(recipients.iter().eq(tally.acknowledged.iter()));
}

#[test]
fn our_sink_keeps_every_byte_of_smtp_source() {
    let area = Area::new("our_sink_keeps");
    if !area.needs(&[smtp_source::PROGRAM]) {
        return;
    }
    let sink = Sink::start(area.socket());
    let (from, to) = ("sender@sender.test", "user@example.test");
    let kinds = Message::all_kinds("source");
    let sent = kinds.iter().map(|kind| smtp_source::send(&area, sink.address(), from, to, kind));
    let sent: Vec<Message> = sent.collect();
    let arrived = sink.wait_for(sent.len(), DEADLINE);
    for message in &sent {
        let same = arrived.iter().find(|one| id_of(&one.content) == message.id()).unwrap();
        assert_eq!(message.assert_arrived(&same.content, &[]), "");
        assert!(same.is_for("user@example.test") && same.from.starts_with("<sender@sender.test>"));
    }
}

#[test]
fn our_sink_gets_what_our_source_sends() {
    let area = Area::new("our_sink_gets");
    let sink = Sink::start(area.socket());
    let tally = Source::start(&load(sink.address())).finish();
    assert_eq!((tally.acknowledged.len(), sink.count(), sink.connections()), (200, 200, 8));
}
