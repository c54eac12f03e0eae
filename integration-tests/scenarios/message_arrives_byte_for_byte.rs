//! What clients hand over is what the mail exchanger gets, below one Received field of ours: real clients, real DNS, real Postfix.

use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::message::{Message, id_of};
use crate::harness::postfix::{self, Postfix};
use crate::harness::zone::{self, Lab, Zones};
use crate::harness::{smtp_source, swaks};

const FROM: &str = "sender@sender.test";
const TO: &str = "user@example.test";

#[test]
fn message_arrives_byte_for_byte() {
    let area = Area::new("message_arrives");
    let clients = [postfix::PROGRAM, swaks::PROGRAM, smtp_source::PROGRAM];
    if !area.needs(&[&clients[..], &zone::PROGRAMS[..]].concat())
        || !area.needs_root(postfix::PROGRAM)
    {
        return;
    }
    let certificate = Authority::new().leaf(&["mx.example.test"]);
    let postfix = Postfix::start(&area, "example.test", &certificate);
    let records = format!("@ MX 10 mx\nmx A {}", postfix.address().ip());
    let lab = Lab::start(&area, Zones::new().signed("example.test", &records));
    let config = Config::new(&area, lab.resolver());
    let daemon = Daemon::start(&area, &config.text());

    let mut sent = Vec::new();
    for message in Message::all_kinds("swaks") {
        let output = swaks::send(&area, config.listen, FROM, TO, &message, &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{message:?}:\n{said}");
        sent.push(message);
    }
    for message in Message::all_kinds("source") {
        sent.push(smtp_source::send(&area, config.listen, FROM, TO, &message));
    }

    let arrived = postfix.mailbox.wait_for(sent.len(), Duration::from_secs(60));
    assert_eq!(arrived.len(), sent.len(), "duplicates");
    for message in &sent {
        let same = arrived.iter().find(|content| id_of(content) == message.id());
        let same = same.unwrap_or_else(|| panic!("{} is missing", message.id()));
        let added = message.assert_arrived(same, &postfix::ADDED);
        assert_eq!(added.matches("by mx.sender.test").count(), 1, "our Received field: {added}");
        assert_eq!(added.matches("Received:").count(), 2, "one of ours, one of Postfix: {added}");
    }
    // Opportunistic TLS: what is offered is used.
    assert!(postfix.log().contains("TLS connection established from"), "{}", postfix.log());
    daemon.wait_until_queue_is_empty(Duration::from_secs(20));
}
