//! What operators see of sessions: live, and the last one that failed of each destination; never content.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::certificates::Authority;
use crate::harness::daemon::binary;
use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::{Process, wait_until};
use crate::harness::sink::{Manners, Moment};

/// In header and body of every message: it must show nowhere.
const MARK: &str = "between-sender-and-recipient";

fn start(test: &str) -> Outbound {
    Outbound::start_with(test, &["--debug-faults"], |config| {
        config.remote = "conn_reuse_limit 1000".to_owned();
        config.queue = "initial_retry_time 1h
            bounce {
                deliver_to &mx
            }"
        .to_owned();
    })
}

fn send(outbound: &Outbound, to: &str) -> String {
    let text = format!("Subject: {MARK}\r\n\r\n.{MARK}\r\n");
    outbound.daemon.send(SENDER, &[to], text.as_bytes())
}

fn play(outbound: &Outbound, name: &str, domain: &str) -> Player {
    let player = Dialogue::named(name, domain).play(outbound.area.socket(), None);
    outbound.dns.domain(domain, player.sink.address().ip());
    player
}

/// The last session to the domain that failed.
fn failed(outbound: &Outbound, domain: &str) -> Value {
    let shown = outbound.daemon.said(&["trace", "--domain", domain, "--wire", "--json"]);
    assert!(!shown.contains(MARK), "{shown}");
    serde_json::from_str(&shown).unwrap_or_else(|why| panic!("{why}: {shown}"))
}

/// Its lines, without their times.
fn lines(session: &Value) -> Vec<String> {
    let lines = session["lines"].as_array().unwrap().iter();
    lines.map(|line| format!("{}: {}", line["speaker"], line["text"]).replace('"', "")).collect()
}

/// Waits until a session to the domain lies in the pool: the next message has that one.
fn rests(outbound: &Outbound, domain: &str) {
    wait_until("the session rests", SOON, || {
        let shown = outbound.daemon.said(&["ps", "--json"]);
        shown.lines().any(|line| line.contains("\"session\":") && line.contains(domain))
    });
}

fn follow(outbound: &Outbound, name: &str, words: &[&str]) -> Process {
    let mut verb = Command::new(binary());
    verb.args(["trace", "--follow", "--wire"]).args(words);
    verb.env("POSTHASTE_SOCKET", outbound.daemon.socket());
    Process::start(&outbound.area, name, &mut verb)
}

#[test]
fn a_refused_recipient_leaves_the_transcript_of_its_session() {
    let outbound = start("wire_refused");
    let player = play(&outbound, "permfail-rcpt", "example.test");
    let id = send(&outbound, "user@example.test");
    outbound.assert_notified("user@example.test", "5.1.1");
    let session = failed(&outbound, "EXAMPLE.test");
    let address = player.sink.address().ip().to_string();
    for (member, value) in [
        ("id", id.as_str()),
        ("target", "mx"),
        ("destination", "example.test"),
        ("mx", "mx.example.test"),
        ("address", &address),
    ] {
        assert_eq!(session[member], value, "{session}");
    }
    assert_eq!(session["failure"]["code"], 550, "{session}");
    let lines = lines(&session);
    assert!(lines[0].starts_with(&format!("note: connected to {address}:")), "{lines:?}");
    let said: Vec<&str> = lines[1..].iter().map(String::as_str).take(9).collect();
    assert_eq!(
        said,
        [
            "peer: 220 mx.example.test ESMTP",
            "us: EHLO mx.sender.test",
            "peer: 250-mx.example.test",
            "peer: 250-8BITMIME",
            "peer: 250 ENHANCEDSTATUSCODES",
            "us: MAIL FROM:<sender@sender.test> BODY=7BIT",
            "peer: 250 2.0.0 ok",
            "us: RCPT TO:<user@example.test>",
            "peer: 550 5.1.1 no such user",
        ]
    );

    let page = outbound.daemon.said(&["trace", "--domain", "example.test", "--wire"]);
    assert!(page.contains(&format!("{id} to example.test by mx, mx.example.test [{address}]")));
    assert!(page.contains("refused, ") && page.contains(" ms < 550 5.1.1 no such user"), "{page}");
    assert!(outbound.daemon.said(&["trace", &id, "--wire"]).contains("no such user"));
    // The notification was delivered: nothing is kept of that.
    let none = outbound.daemon.cli(&["trace", "--domain", "sender.test", "--wire"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0));
}

#[test]
fn whatever_ends_a_session_is_told() {
    let mut outbound = start("wire_ends");
    // A host where nobody listens, one that refuses to speak, one that hangs up, and TLS that fails before it goes on without.
    outbound.dns.domain("nobody.test", outbound.area.address().into());
    let _greeting = play(&outbound, "permfail-greeting", "greeting.test");
    let _closed = play(&outbound, "close-data", "closed.test");
    let _tls = play(&outbound, "broken-starttls", "tls.test");
    for domain in ["nobody.test", "greeting.test", "closed.test", "tls.test"] {
        send(&outbound, &format!("user@{domain}"));
    }
    let last = |domain: &str, text: &str| {
        wait_until(&format!("the session to {domain} tells {text}"), SOON, || {
            let shown = outbound.daemon.cli(&["trace", "--domain", domain, "--wire", "--json"]);
            shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains(text)
        });
        lines(&failed(&outbound, domain))
    };
    let nobody = last("nobody.test", "onnection refused");
    assert!(nobody.len() == 1 && nobody[0].starts_with("note: connecting to "), "{nobody:?}");
    let greeting = last("greeting.test", "closed");
    assert!(greeting.iter().any(|line| line == "us: QUIT"), "{greeting:?}");
    let closed = last("closed.test", "the server closed the connection (DATA)");
    assert!(closed.iter().any(|line| line == "us: DATA"), "{closed:?}");
    let tls = last("tls.test", "TLS handshake failed");
    assert!(tls.iter().any(|line| line == "us: STARTTLS"), "{tls:?}");

    // A fall of the actors does not touch it, but it is memory, not history.
    for name in ["mx", "outbound", "admin"] {
        let panicked = outbound.daemon.operator().call("debug.panic", json!({ "name": name }));
        assert!(panicked.unwrap().result.is_ok(), "{name}");
    }
    let all = outbound.daemon.said(&["trace", "--wire", "--json"]);
    assert_eq!(all.lines().count(), 4, "{all}");
    outbound.daemon.restart(&outbound.area);
    assert_eq!(outbound.daemon.said(&["trace", "--wire"]), "");
}

#[test]
fn followers_see_sessions_as_they_happen_and_no_content() {
    let outbound = start("wire_live");
    let authority = Authority::new();
    let secure = Manners {
        tls: Some(authority.leaf(&["mx.secure.test"]).acceptor()),
        answer: Box::new(|at, line| {
            let never = at == Moment::Rcpt && line.contains("<never@");
            never.then(|| "550 5.1.1 no such user".to_owned())
        }),
        ..Manners::default()
    };
    let secure = outbound.sink_with("secure.test", secure);
    let other = outbound.sink("other.test");
    let one = follow(&outbound, "one", &["--domain", "secure.test"]);
    let all = follow(&outbound, "all", &["--json"]);

    // Followers say nothing before there is something: messages go until both have heard of them.
    let mut sent = 0;
    wait_until("both followers are there", SOON, || {
        sent += 1;
        send(&outbound, &format!("first{sent}@secure.test"));
        secure.wait_for(sent, SOON);
        rests(&outbound, "secure.test");
        one.log().contains("250") && all.log().contains("250")
    });
    send(&outbound, "user@other.test");
    other.wait_for(1, SOON);
    let id = send(&outbound, "last@secure.test");
    secure.wait_for(sent + 1, SOON);
    let again = format!("used again, for message {id}");
    wait_until("the last message is seen", SOON, || {
        let told = one.log();
        told.split_once(&again).is_some_and(|(_, rest)| rest.contains("content: "))
    });
    rests(&outbound, "secure.test");
    wait_until("all see the other domain", SOON, || {
        all.log().contains("RCPT TO:<user@other.test>")
    });

    let told = one.log();
    let (_, last) = told.split_once(&again).unwrap();
    let address = secure.address().ip();
    for text in ["MAIL FROM:<sender@sender.test>", "RCPT TO:<last@secure.test>", "DATA"] {
        let line =
            last.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{last}"));
        assert!(line.contains(&format!(" {id} mx.secure.test [{address}] > {text}")), "{line}");
    }
    assert!(!told.contains("other.test") && !told.contains(MARK), "{told}");
    let told = all.log();
    assert!(!told.contains(MARK), "{told}");
    let items: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(items.iter().any(|item| item["destination"] == "other.test"));
    assert!(items.iter().all(|item| item["ms"].is_u64() && item["session"].is_u64()), "{told}");

    // Within TLS as without; and what is kept of the session that fails begins with its opening.
    send(&outbound, "never@secure.test");
    outbound.assert_notified("never@secure.test", "5.1.1");
    let lines = lines(&failed(&outbound, "secure.test"));
    let tls = lines.iter().position(|line| line.starts_with("note: TLS on: TLSv1.3 ")).unwrap();
    assert!(lines[tls].contains("certificate not proven: "), "{lines:?}");
    assert_eq!(lines[tls - 2..tls], ["us: STARTTLS", "peer: 220 2.0.0 go ahead"]);
    assert_eq!(lines[tls + 1], "us: EHLO mx.sender.test");
    assert!(lines.iter().any(|line| line.starts_with("note: content: ")), "{lines:?}");
    assert!(lines.contains(&"peer: 550 5.1.1 no such user".to_owned()), "{lines:?}");
}
