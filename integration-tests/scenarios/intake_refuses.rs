//! What the way in refuses: smuggled messages, commands in front of TLS, and messages that are too large.

use crate::harness::certificates::self_signed;
use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};

/// Ends of data that are none (RFC 5321 §2.3.8, §4.1.1.4), with which a careless server would find a second message in the content.
const FALSE_ENDS: [&str; 6] = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n"];

#[test]
fn smuggled_messages_are_refused() {
    let outbound = Outbound::start("smuggling");
    let sink = outbound.sink("example.test");
    for (number, end) in FALSE_ENDS.iter().enumerate() {
        let mut client = Client::greeted(outbound.listen());
        for line in ["MAIL FROM:<sender@sender.test>", "RCPT TO:<user@example.test>"] {
            assert_eq!(client.say(line).unwrap().code, 250);
        }
        assert_eq!(client.say("DATA").unwrap().code, 354);
        let content = format!(
            "Subject: {number}\r\n\r\nharmless{end}MAIL FROM:<smuggled@sender.test>\r\n\
             RCPT TO:<victim@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\ngotcha\r\n.\r\n"
        );
        client.send(content.as_bytes()).unwrap();
        // One reply for one message, and no: CR and LF come only together (RFC 5321 §2.3.8). The session may go on.
        let reply = client.reply().unwrap();
        assert_eq!(reply.code / 100, 5, "{end:?}: {reply:?}");
        if let Ok(next) = client.say("NOOP") {
            assert!(next.code == 250 || next.code == 421, "{end:?}: {next:?}");
        }
    }
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(sink.count(), 0);
}

#[test]
fn commands_sent_before_tls_are_not_carried_into_it() {
    let certificate = self_signed(&["mx.sender.test"]);
    let outbound = Outbound::start_with("starttls_injection", &[], |config| {
        let file = |extension: &str| config.area.join(format!("listener.{extension}"));
        let (chain, key) = (file("pem"), file("key"));
        config.global = format!("tls file {} {}", chain.display(), key.display());
        let (pem, secret) = certificate.pem();
        std::fs::write(chain, pem).unwrap();
        std::fs::write(key, secret).unwrap();
    });
    let mut client = Client::greeted(outbound.listen());
    client.send(b"STARTTLS\r\nMAIL FROM:<injected@sender.test>\r\nRSET\r\n").unwrap();
    // RFC 3207 §4.2: nothing obtained before TLS may count. Refusing the command or hanging up is as good as forgetting.
    let Ok(reply) = client.reply() else { return };
    if reply.code != 220 {
        return assert_eq!(reply.code / 100, 5, "{reply:?}");
    }
    if client.connection().connect_tls("mx.sender.test").is_err() {
        return;
    }
    // Were the injected commands carried over, their replies would come first.
    let reply = client.say("EHLO client.test").unwrap();
    assert!(reply.text().contains("SIZE"), "the reply to something else: {reply:?}");
    let reply = client.say("RCPT TO:<user@example.test>").unwrap();
    assert_eq!(reply.code / 100, 5, "there is a sender that nobody gave: {reply:?}");
}

#[test]
fn tls_on_the_way_in() {
    let certificate = self_signed(&["mx.sender.test"]);
    let outbound = Outbound::start_with("tls_listener", &[], |config| {
        let (chain, key) = (config.area.join("listener.pem"), config.area.join("listener.key"));
        config.global = format!("tls file {} {}", chain.display(), key.display());
        let (pem, secret) = certificate.pem();
        std::fs::write(chain, pem).unwrap();
        std::fs::write(key, secret).unwrap();
    });
    let sink = outbound.sink("example.test");
    let mut client = Client::greeted(outbound.listen());
    assert_eq!(client.say("STARTTLS").unwrap().code, 220);
    client.connection().connect_tls("mx.sender.test").unwrap();
    let capabilities = client.say("EHLO client.test").unwrap();
    assert!(!capabilities.text().contains("STARTTLS"), "{capabilities:?}");
    let message = Message::plain("tls", 1000);
    let reply = client.transact(SENDER, &["user@example.test"], message.bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrived = sink.wait_for_recipient("user@example.test", SOON);
    let added = message.assert_arrived(&arrived.content, &["Received"]);
    assert!(added.contains("with ESMTPS"), "{added}"); // RFC 3848
}

#[test]
fn too_large_is_refused_before_and_after_the_content() {
    let outbound = Outbound::start_with("size_refused", &[], |config| {
        config.smtp = "max_message_size 10K".to_owned();
    });
    let mut client = Client::greeted(outbound.listen());
    let capabilities = client.say("EHLO client.test").unwrap();
    assert!(capabilities.text().contains("SIZE 10240"), "{capabilities:?}");
    // RFC 1870 §6.1: announced size.
    let reply = client.say("MAIL FROM:<sender@sender.test> SIZE=20000").unwrap();
    assert!(reply.is(552, "5.3.4"), "{reply:?}");
    // RFC 1870 §6.3: not announced, found out.
    let recipients = ["user@example.test"];
    let large = Message::plain("large", 20_000);
    let reply = client.transact(SENDER, &recipients, large.bytes()).unwrap();
    assert!(reply.is(552, "5.3.4"), "{reply:?}");
    // The session goes on, and the limit itself is within it (with room for our Received field).
    let sink = outbound.sink("example.test");
    let small = Message::plain("small", 9_000);
    let reply = client.transact(SENDER, &recipients, small.bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrived = sink.wait_for_recipient("user@example.test", SOON);
    small.assert_arrived(&arrived.content, &["Received"]);
    assert_eq!(sink.count(), 1);
}
