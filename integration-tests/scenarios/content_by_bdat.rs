//! Where BDAT saves a round trip, content goes by it: byte for byte, with the count of what is sent.

use crate::harness::dialogue::last_chunk;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::sink::{Manners, Sink};

fn sink(outbound: &Outbound, domain: &str, keywords: &[&'static str]) -> Sink {
    let keywords = keywords.to_vec();
    outbound.sink_with(domain, Manners { keywords, bdat: true, ..Manners::default() })
}

fn lines(sink: &Sink, command: &str) -> Vec<String> {
    sink.lines().concat().into_iter().filter(|line| line.starts_with(command)).collect()
}

#[test]
fn every_kind_of_content_arrives_byte_for_byte() {
    let outbound = Outbound::start("bdat_bytes");
    let sink = sink(&outbound, "example.test", &["CHUNKING", "8BITMIME", "SIZE 0"]);
    let messages = Message::all_kinds("bdat");
    for (number, message) in (1..).zip(&messages) {
        let recipient = format!("user{number}@example.test");
        outbound.daemon.send(SENDER, &[&recipient], message.bytes());
        let arrived = sink.wait_for_recipient(&recipient, SOON);
        message.assert_arrived(&arrived.content, &["received"]);
        let size = format!("SIZE={}", arrived.content.len());
        assert!(arrived.from.contains(&size), "{} is not {size}", arrived.from);
    }
    // One message is larger than a chunk: more than one would cost the round trips that BDAT saves.
    let (chunks, by_data) = (lines(&sink, "BDAT"), lines(&sink, "DATA").len());
    assert_eq!((chunks.len(), by_data), (messages.len() - 1, 1));
    let arrived = sink.transactions();
    for (chunk, message) in chunks.iter().zip(&arrived) {
        assert_eq!(last_chunk(chunk), Some(message.content.len()));
    }
    assert_eq!(sink.connections(), 1); // in step after each
}

#[test]
fn data_is_used_where_bdat_saves_nothing_or_was_not_offered() {
    let outbound = Outbound::start("bdat_not_used");
    let pipelined = sink(&outbound, "pipelined.test", &["CHUNKING", "PIPELINING"]);
    let bare = sink(&outbound, "bare.test", &["8BITMIME"]);
    for (sink, recipient) in [(&pipelined, "user@pipelined.test"), (&bare, "user@bare.test")] {
        outbound.send(recipient);
        sink.wait_for_recipient(recipient, SOON);
        assert_eq!((lines(sink, "BDAT").len(), lines(sink, "DATA").len()), (0, 1), "{recipient}");
    }
}
