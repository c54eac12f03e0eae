//! `posthaste spool`: refused while a daemon has the spool; what is exported and imported goes on where it was.

use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::sink::{Manners, Moment};

#[test]
fn mail_moves_from_one_spool_to_another() {
    let mut outbound = Outbound::start("spool_by_hand");
    let busy = Manners {
        answer: Box::new(|moment, _| (moment == Moment::Mail).then(|| "450 4.3.2 later".into())),
        ..Manners::default()
    };
    let first = outbound.sink_with("there.test", busy);
    let small = outbound.send("small@there.test");
    let content = Message::plain("large", 1_500_000);
    let large = outbound.daemon.send(SENDER, &["large@there.test"], content.bytes());
    outbound.daemon.wait_for_trace(&small, "4.3.2", SOON);
    outbound.daemon.wait_for_trace(&large, "4.3.2", SOON);

    let config = outbound.area.file("posthaste.conf");
    let config = config.to_str().unwrap();
    let spool = |outbound: &Outbound, words: &[&str]| {
        let words = [&["--config", config, "spool"], words].concat();
        let output = outbound.daemon.cli(&words);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = spool(&outbound, &["check"]);
    assert!(code == Some(75) && text.contains("is held by process"), "{code:?} {text}");
    outbound.daemon.terminate();

    let (code, text) = spool(&outbound, &["check"]);
    assert!(code == Some(0) && text.contains("2 messages") && text.contains("sound"), "{text}");
    let (code, text) = spool(&outbound, &["check", "--queue", "nowhere"]);
    assert!(code == Some(1) && text.contains("no queue nowhere"), "{text}");
    let (code, text) = spool(&outbound, &["export", "mail.jsonl"]);
    assert!(code == Some(0) && text.contains("2 messages"), "{text}");
    let (code, text) = spool(&outbound, &["rebuild"]);
    assert!(code == Some(0) && text.contains("2 messages"), "{text}");

    // A file that is cut short puts in what is whole and says where it ends.
    let export = std::fs::read_to_string(outbound.area.file("mail.jsonl")).unwrap();
    let (short, _) = export.trim_end().rsplit_once('\n').unwrap();
    outbound.area.write("short.jsonl", short);
    outbound.area.write("odd.jsonl", "no json\n");
    std::fs::remove_dir_all(outbound.area.file("state/outbound")).unwrap();
    let (code, text) = spool(&outbound, &["import", "short.jsonl"]);
    assert!(code == Some(1) && text.contains("ends within a message"), "{text}");
    let (code, text) = spool(&outbound, &["import", "odd.jsonl"]);
    assert!(code == Some(1) && text.contains("line 1:"), "{text}");
    let (code, text) = spool(&outbound, &["import", "mail.jsonl"]);
    assert!(code == Some(0) && text.contains("1 messages, 1 were there already"), "{text}");

    drop(first);
    let second = outbound.sink("there.test");
    outbound.daemon.restart(&outbound.area);
    second.wait_for_recipient("small@there.test", SOON);
    let arrived = second.wait_for_recipient("large@there.test", SOON);
    content.assert_arrived(&arrived.content, &["Received", "Return-Path", "Date", "Message-ID"]);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(second.count(), 2);
}
