//! A server of `target.smtp` or `target.lmtp` may refuse, hang up, babble or fall silent at any stage. Nothing of it loses a message,
//! bounces one that nobody refused, or sends one twice, except where the server went away after the final dot and may have it.

use openssl::ssl::SslAcceptor;

use crate::harness::area::Area;
use crate::harness::certificates::self_signed;
use crate::harness::dialogue::Dialogue;
use crate::harness::forwarding::{Forwarding, Route};
use crate::harness::message::Message;
use crate::harness::outbound::SOON;
use crate::harness::process::wait_until;
use crate::harness::sink::Sink;
use crate::harness::trial::Stage::*;
use crate::harness::trial::{Trial, trial};

/// Of both protocols. The second connection of an attempt meets an ordinary server.
const EITHER: &[Trial] = &[
    trial("greeting-421", Greeting, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 0),
    trial("greeting-554", Greeting, "S: 554 5.3.2 no mail here", "failed 5.3.2", 1, 0),
    trial("greeting-babble", Greeting, "B: \\x00\\xff?\\r\\n\n! hang", "deferred 4.5.0", 1, 0),
    trial("greeting-close", Greeting, "! close", "deferred 4.4.2", 1, 0),
    trial("hello-421", Ehlo, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 0),
    trial("hello-451", Ehlo, "S: 451 4.3.0 later", "deferred 4.3.0", 1, 0),
    trial("hello-554", Ehlo, "S: 554 5.7.1 not you", "failed 5.7.1", 1, 0),
    trial("hello-babble", Ehlo, "B: welcome\\r\\n\n! hang", "deferred 4.5.0", 1, 0),
    trial("hello-close", Ehlo, "! close", "deferred 4.4.2", 1, 0),
    trial("hello-hang", Ehlo, "! hang", "deferred 4.4.2", 1, 0),
    // What is refused or broken is done without, in the same attempt.
    trial("starttls-454", StartTls, "S: 454 4.7.0 not now", "delivered", 2, 1),
    trial("starttls-554", StartTls, "S: 554 5.7.0 never", "delivered", 2, 1),
    trial("starttls-close", StartTls, "! close", "delivered", 2, 1),
    trial("starttls-hang", StartTls, "! hang", "delivered", 2, 1),
    trial("handshake-close", Handshake, "! read 50\n! close", "delivered", 2, 1),
    trial("handshake-babble", Handshake, "! read 50\nB: no TLS\\r\\n\n! close", "delivered", 2, 1),
    trial("handshake-hang", Handshake, "! hang", "delivered", 2, 1),
    trial("secured-421", Secured, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 0),
    trial("secured-554", Secured, "S: 554 5.7.1 not you", "failed 5.7.1", 1, 0),
    trial("secured-close", Secured, "! close", "deferred 4.4.2", 1, 0),
    trial("mail-421", Mail, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 0),
    trial("mail-451", Mail, "S: 451 4.7.1 greylisted\n! close", "deferred 4.7.1", 1, 0),
    trial("mail-550", Mail, "S: 550 5.7.1 not from you", "failed 5.7.1", 1, 0),
    trial("mail-odd", Mail, "S: 354 go ahead\n! hang", "deferred 4.5.0", 1, 0),
    trial("mail-close", Mail, "! close", "deferred 4.4.2", 1, 0),
    trial("mail-hang", Mail, "! hang", "deferred 4.4.2", 1, 0),
    trial("rcpt-421", Rcpt, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 0),
    trial("rcpt-450", Rcpt, "S: 450 4.2.1 full\n! close", "deferred 4.2.1", 1, 0),
    trial("rcpt-550", Rcpt, "S: 550 5.1.1 nobody", "failed 5.1.1", 1, 0),
    trial("rcpt-close", Rcpt, "! close", "deferred 4.4.2", 1, 0),
    trial("rcpt-hang", Rcpt, "! hang", "deferred 4.4.2", 1, 0),
    trial("data-421", Data, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 0),
    trial("data-451", Data, "S: 451 4.3.1 no room", "deferred 4.3.1", 1, 0),
    trial("data-554", Data, "S: 554 5.5.0 no", "failed 5.5.0", 1, 0),
    trial("data-close", Data, "! close", "deferred 4.4.2", 1, 0),
    trial("data-hang", Data, "! hang", "deferred 4.4.2", 1, 0),
    trial("content-452", Content, "S: 452 4.3.1 no room\n! hang", "deferred 4.3.1", 1, 0),
    trial("dot-421", Dot, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 1, 1),
    trial("dot-452", Dot, "S: 452 4.2.2 full", "deferred 4.2.2", 1, 1),
    trial("dot-552", Dot, "S: 552 5.2.2 full", "failed 5.2.2", 1, 1),
    trial("dot-babble", Dot, "B: thanks\\r\\n\n! hang", "unknown", 1, 1),
    trial("dot-close", Dot, "! close", "unknown", 1, 1),
    trial("dot-half", Dot, "B: 250 2.0.0 tak\n! close", "unknown", 1, 1),
    trial("dot-hang", Dot, "! hang", "unknown", 1, 1),
    trial("dot-taken", Dot, "S: 250 2.0.0 taken\n! close", "delivered", 1, 1),
];

/// Who understands no EHLO may understand HELO.
const OF_SMTP: &[Trial] = &[
    trial("helo-fine", Helo, "S: 250 mx.{domain}\n! serve", "delivered", 1, 1),
    trial("helo-550", Helo, "S: 550 5.7.1 not you", "failed 5.7.1", 1, 0),
    trial("helo-close", Helo, "! close", "deferred 4.4.2", 1, 0),
];

/// Who understands no LHLO is no server of LMTP, and is told neither EHLO nor HELO (RFC 2033 §4.1).
const OF_LMTP: &[Trial] = &[
    trial("lhlo-500", Ehlo, "S: 500 5.5.1 what?\nC? QUIT\n! close", "failed 5.5.1", 1, 0),
    trial("lhlo-502", Ehlo, "S: 502 5.5.1 what?\nC? QUIT\n! close", "failed 5.5.1", 1, 0),
];

/// One message after the other, each to a server that is there for it alone.
fn run(test: &str, module: &'static str, tables: [&[Trial]; 2]) {
    let area = Area::new(test);
    let tls = self_signed(&["mx.test"]).acceptor();
    let server = area.socket();
    let lines = format!(
        "targets tcp://{server}
        attempt_starttls yes
        conn_max_idle_count 0
        command_timeout 1s
        submission_timeout 1s"
    );
    let forwarding = Forwarding::start(&area, &[Route::new("only", module, lines)]);
    let (mut faults, mut failed, mut waiting) = (Vec::new(), 0, 0);
    for trial in tables.concat() {
        faults.extend(meet(&forwarding, server, &tls, module, &trial));
        // Once it behaves again it is used again, at once. (After a row of failures the destination would rest.)
        let _ordinary = Sink::start(server);
        let next = Message::plain(&format!("after-{}", trial.name), 1000);
        assert_eq!(forwarding.attempt("only", "user@next.test", &next), "delivered");
        failed += usize::from(trial.first.starts_with("failed"));
        waiting += usize::from(["deferred", "unknown"].iter().any(|w| trial.first.starts_with(w)));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(forwarding.daemon.queued().len(), waiting, "what waits");
    wait_until("who was refused for good is told", SOON, || forwarding.home.count() == failed);
}

fn meet(
    forwarding: &Forwarding,
    server: std::net::SocketAddr,
    tls: &SslAcceptor,
    module: &str,
    trial: &Trial,
) -> Vec<String> {
    let domain = format!("{}.test", trial.name);
    let ordinary = "\n! connection\nS: 220 mx.{domain} ESMTP\n! serve\n";
    let mut script = (trial.at.script() + trial.does + ordinary).replace("{domain}", &domain);
    if module == "lmtp" {
        script = script.replace("EHLO", "LHLO");
    }
    let dialogue = Dialogue::parse(trial.name, &script).unwrap();
    let player = dialogue.play(server, Some(tls.clone()));
    let to = format!("user@{domain}");
    let id = forwarding.send("only", &[&to], &Message::plain(trial.name, 1000));
    let outcome = forwarding.first_outcomes(&id, &[&to]).remove(0);
    let sink = &player.sink;
    let found = (&*outcome.verdict, sink.connections(), sink.count());
    let mut faults = player.deviations();
    if found != (trial.first, trial.connections, trial.contents) {
        faults.push(format!("{}: {found:?}: {}", trial.name, outcome.text));
    }
    faults
}

#[test]
fn a_server_of_smtp_may_fail_at_any_stage() {
    run("forward_stages_smtp", "smtp", [EITHER, OF_SMTP]);
}

#[test]
fn a_server_of_lmtp_may_fail_at_any_stage() {
    run("forward_stages_lmtp", "lmtp", [EITHER, OF_LMTP]);
}

/// (name, what is said after the dot, what comes of each of the three recipients that were accepted).
const REPLIES: &[(&str, &str, [&str; 3])] = &[
    ("all", "S: 250 a\nS: 250 b\nS: 250 c", ["delivered", "delivered", "delivered"]),
    (
        "mixed",
        "S: 250 a\nS: 452 4.2.2 b\nS: 552 5.2.2 c",
        ["delivered", "deferred 4.2.2", "failed 5.2.2"],
    ),
    (
        "turned",
        "S: 550 5.7.1 a\nS: 250 b\nS: 451 4.3.0 c",
        ["failed 5.7.1", "delivered", "deferred 4.3.0"],
    ),
    (
        "lines",
        "S: 250-a\nS: 250 a\nS: 450-4.2.0 b\nS: 450 4.2.0 b\nS: 250 c",
        ["delivered", "deferred 4.2.0", "delivered"],
    ),
    // The first ones stand, of the others nobody knows.
    ("one", "S: 250 a\n! close", ["delivered", "unknown", "unknown"]),
    ("two", "S: 550 5.7.1 a\nS: 250 b\n! close", ["failed 5.7.1", "delivered", "unknown"]),
    ("half", "S: 250 a\nB: 250 b\n! close", ["delivered", "unknown", "unknown"]),
    ("babble", "S: 250 a\nB: \\xff\\r\\n\n! hang", ["delivered", "unknown", "unknown"]),
    ("silent", "S: 250 a\nS: 250 b\n! hang", ["delivered", "delivered", "unknown"]),
    // One too many is nobody's.
    (
        "four",
        "S: 250 a\nS: 250 b\nS: 250 c\nS: 550 5.0.0 d",
        ["delivered", "delivered", "delivered"],
    ),
    // What answers nothing makes the replies behind it somebody else's.
    ("stray", "S: 354 more\nS: 250 a\nS: 550 b\nS: 250 c", ["unknown", "unknown", "unknown"]),
    ("later", "S: 250 a\nS: 354 b\nS: 250 c\n! hang", ["delivered", "unknown", "unknown"]),
    ("wait", "S: 250 a\nS: 150 b\nS: 250 b\n! hang", ["delivered", "unknown", "unknown"]),
    ("torn", "S: 250 a\nB: 250-b\\r\\n550 b\\r\\n\nS: 250 c", ["delivered", "unknown", "unknown"]),
    // It says of itself that it goes: whoever is left has its reason.
    (
        "goodbye",
        "S: 250 a\nS: 421 4.3.2 bye\n! close",
        ["delivered", "deferred 4.3.2", "deferred 4.3.2"],
    ),
];

/// RFC 2033 §4.2: "in the order in which the RCPT commands were issued", and none for who was refused.
#[test]
fn each_reply_after_the_dot_is_for_the_recipient_at_its_place() {
    let area = Area::new("forward_replies");
    let server = area.socket();
    let lines = format!("targets tcp://{server}\nconn_max_idle_count 0\nsubmission_timeout 1s");
    let forwarding = Forwarding::start(&area, &[Route::new("only", "lmtp", lines)]);
    for (name, replies, verdicts) in REPLIES {
        let script = format!(
            "S: 220 mx LMTP\nC: LHLO mx.sender.test\nS: 250 mx\nC: MAIL*\nS: 250 ok\n\
             C: RCPT TO:<a@x.test>*\nS: 250 ok\nC: RCPT TO:<no@x.test>*\nS: 550 5.1.1 nobody\n\
             C: RCPT TO:<b@x.test>*\nS: 250 ok\nC: RCPT TO:<c@x.test>*\nS: 250 ok\n\
             C: DATA\nS: 354 go ahead\n! content\n{replies}\n"
        );
        let player = Dialogue::parse(name, &script).unwrap().play(server, None);
        let to = ["a@x.test", "no@x.test", "b@x.test", "c@x.test"];
        let id = forwarding.send("only", &to, &Message::plain(name, 1000));
        let outcomes = forwarding.first_outcomes(&id, &to);
        let found: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.verdict).collect();
        let [a, b, c] = *verdicts;
        assert_eq!(found, [a, "failed 5.1.1", b, c], "{name}");
        player.assert_followed();
    }
}

/// Where nobody was accepted there is nothing to send (RFC 2033 §4.2).
#[test]
fn no_content_is_sent_when_no_recipient_was_accepted() {
    let area = Area::new("forward_nobody");
    let server = area.socket();
    let lines = format!("targets tcp://{server}\nconn_max_idle_count 0");
    let forwarding = Forwarding::start(&area, &[Route::new("only", "lmtp", lines)]);
    let asked =
        "C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 550 5.1.1 nobody\nC: RCPT*\nS: 450 4.2.0 later\n";
    for (name, script) in [
        ("stepwise", format!("S: 250 mx\n{asked}")), // DATA would be a deviation
        // DATA is on its way before the answers are, and to be refused.
        (
            "at-once",
            format!("S: 250-mx\nS: 250 PIPELINING\n{asked}C: DATA\nS: 503 5.5.1 to whom?\n"),
        ),
    ] {
        let script = format!("S: 220 mx LMTP\nC: LHLO mx.sender.test\n{script}");
        let player = Dialogue::parse(name, &script).unwrap().play(server, None);
        let to = ["a@x.test", "b@x.test"];
        let id = forwarding.send("only", &to, &Message::plain(name, 1000));
        let outcomes = forwarding.first_outcomes(&id, &to);
        let found: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.verdict).collect();
        assert_eq!(found, ["failed 5.1.1", "deferred 4.2.0"], "{name}");
        player.assert_followed();
        assert_eq!(player.sink.count(), 0, "{name}");
    }
}
