//! Many unfriendly peers at once, each playing a short script to a message of its own, and what must come of every one of them.
//!
//! Whatever the peer does, the message comes through at last, unless the peer refused it for good: only then is the sender told.

use std::thread::sleep;
use std::time::{Duration, Instant};

use openssl::ssl::SslAcceptor;
use serde_json::Value;

use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::history::{self, verdict};
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};

/// How far the first connection goes before the peer shows itself. Without PIPELINING, so that each command has its own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Connected.
    Greeting,
    /// EHLO was said.
    Ehlo,
    /// HELO was said, after EHLO was not understood.
    Helo,
    /// STARTTLS was said.
    StartTls,
    /// STARTTLS was granted: the next octets are the client's part of the handshake.
    Handshake,
    /// EHLO was said again, within TLS.
    Secured,
    Mail,
    Rcpt,
    Data,
    /// DATA was granted: the next octets are content.
    Content,
    /// The final dot was sent.
    Dot,
    /// CHUNKING was offered and the recipient accepted: the next octets are a chunk.
    Chunking,
    /// CHUNKING was offered, and the content came by BDAT.
    Chunk,
    /// The message was taken, and the session is used once more: `again` sends such a pair.
    Rset,
    /// The message was taken, and the client takes its leave.
    Quit,
}

impl Stage {
    /// The dialogue up to there.
    pub fn script(self) -> String {
        let (before, steps) = match self {
            Stage::Greeting => return String::new(),
            Stage::Ehlo => (Stage::Greeting, "S: 220 mx.{domain} ESMTP\nC: EHLO mx.sender.test\n"),
            Stage::Helo => (Stage::Ehlo, "S: 502 5.5.1 what?\nC: HELO mx.sender.test\n"),
            Stage::StartTls => (Stage::Ehlo, "S: 250-mx.{domain}\nS: 250 STARTTLS\nC: STARTTLS\n"),
            Stage::Handshake => (Stage::StartTls, "S: 220 2.0.0 go ahead\n"),
            Stage::Secured => (Stage::Handshake, "! starttls\nC: EHLO mx.sender.test\n"),
            Stage::Chunking => (
                Stage::Ehlo,
                "S: 250-mx.{domain}\nS: 250 CHUNKING\nC: MAIL FROM:<*>*\nS: 250 2.1.0 ok\nC: RCPT*\nS: 250 ok\n",
            ),
            Stage::Mail => (Stage::Ehlo, "S: 250 mx.{domain}\nC: MAIL FROM:<*>*\n"),
            Stage::Rcpt => (Stage::Mail, "S: 250 2.1.0 ok\nC: RCPT TO:<user@{domain}>*\n"),
            Stage::Data => (Stage::Rcpt, "S: 250 2.1.5 ok\nC: DATA\n"),
            Stage::Content => (Stage::Data, "S: 354 go ahead\n"),
            Stage::Dot => (Stage::Content, "! content\n"),
            Stage::Chunk => (Stage::Chunking, "! chunk\n"),
            Stage::Rset => (Stage::Dot, "S: 250 2.0.0 taken\nC: RSET\n"),
            Stage::Quit => (Stage::Dot, "S: 250 2.0.0 taken\nC: QUIT\n"),
        };
        before.script() + steps
    }
}

/// One peer and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Of the peer; its domain is `NAME.test`.
    pub name: &'static str,
    pub at: Stage,
    /// Steps of a dialogue. The connections after the ones it names meet an ordinary server.
    pub does: &'static str,
    /// `deferred 4.4.2`, `failed 5.7.1`, `delivered`, `unknown`: what the first attempt comes to.
    pub first: &'static str,
    /// Over all attempts.
    pub connections: usize,
    /// How often the peer got the whole content.
    pub contents: usize,
}

/// A row of a table of trials.
pub const fn trial(
    name: &'static str,
    at: Stage,
    does: &'static str,
    first: &'static str,
    connections: usize,
    contents: usize,
) -> Trial {
    Trial { name, at, does, first, connections, contents }
}

/// Hands a small message over, as most trials want it.
pub fn small(outbound: &Outbound, recipient: &str) -> String {
    outbound.daemon.send(SENDER, &[recipient], Message::plain(recipient, 1000).bytes())
}

/// A message goes before and leaves its session idle, long enough that its peer is asked whether it is there.
pub fn again(outbound: &Outbound, recipient: &str) -> String {
    let first = small(outbound, recipient);
    outbound.daemon.wait_for_trace(&first, "delivered", SOON);
    sleep(Duration::from_millis(2500));
    small(outbound, recipient)
}

/// Meets all peers at once and compares; fails with everything that is not as told. `send` hands over the message to the recipient and
/// gives its queue id. The queue must be empty at `deadline`.
pub fn run(
    outbound: &Outbound,
    tls: Option<&SslAcceptor>,
    trials: &[Trial],
    send: fn(&Outbound, recipient: &str) -> String,
    deadline: Duration,
) {
    let visits: Vec<Visit> =
        trials.iter().map(|trial| Visit::begin(outbound, tls, trial, send)).collect();
    let end = Instant::now() + deadline;
    while !outbound.daemon.queued().is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(50));
    }
    let history = outbound.daemon.operator().call("trace", Value::Null).unwrap().notifications;
    let history: Vec<&Value> = history.iter().map(|told| &told["item"]).collect();
    let faults: Vec<String> = visits.iter().flat_map(|visit| visit.faults(&history)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    // A listing may end before a notification that is made while it is read.
    outbound.daemon.wait_until_queue_is_empty(SOON);
    let failed: Vec<&Trial> =
        trials.iter().filter(|trial| trial.first.starts_with("failed")).collect();
    for trial in &failed {
        let (_, status) = trial.first.split_once(' ').unwrap();
        outbound.assert_notified(&format!("user@{}.test", trial.name), status);
    }
    let told = outbound.home.transactions();
    assert_eq!(told.len(), failed.len(), "told of what was not refused for good: {told:#?}");
}

struct Visit {
    trial: Trial,
    id: String,
    player: Player,
}

impl Visit {
    fn begin(
        outbound: &Outbound,
        tls: Option<&SslAcceptor>,
        trial: &Trial,
        send: fn(&Outbound, recipient: &str) -> String,
    ) -> Visit {
        let domain = format!("{}.test", trial.name);
        let script =
            trial.at.script() + trial.does + "\n! connection\nS: 220 mx.{domain} ESMTP\n! serve\n";
        let dialogue = Dialogue::parse(trial.name, &script.replace("{domain}", &domain)).unwrap();
        let player = dialogue.play(outbound.area.socket(), tls.cloned());
        outbound.dns.domain(&domain, player.sink.address().ip());
        let id = send(outbound, &format!("user@{domain}"));
        Visit { trial: *trial, id, player }
    }

    fn faults(&self, history: &[&Value]) -> Vec<String> {
        let Trial { name, first, connections, contents, .. } = self.trial;
        let mut faults = Vec::new();
        let mut expect = |what: &str, found: String, wanted: String| {
            if found != wanted {
                faults.push(format!("{name}: {what}: {found} instead of {wanted}"));
            }
        };
        expect("first attempt", self.first_outcome(history), first.to_owned());
        let sink = &self.player.sink;
        expect("connections", sink.connections().to_string(), connections.to_string());
        expect("contents", sink.count().to_string(), contents.to_string());
        for deviation in self.player.deviations() {
            faults.push(format!("{deviation}; client said {:?}", sink.lines()));
        }
        faults
    }

    fn first_outcome(&self, history: &[&Value]) -> String {
        let first = |event: &&&Value| history::is_outcome(event, &self.id, 1);
        history.iter().find(first).map_or_else(|| "none".to_owned(), |event| verdict(event))
    }
}
