//! Postfix as a peer: takes mail over STARTTLS and keeps it byte for byte.

use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::message::{Message, id_of};
use crate::harness::postfix::{self, Postfix};
use crate::harness::swaks;

#[test]
fn postfix_keeps_what_swaks_sends_over_starttls() {
    let area = Area::new("postfix_keeps");
    let ready = area.needs(&[postfix::PROGRAM, swaks::PROGRAM])
        && area.needs_root(postfix::PROGRAM)
        && swaks::speaks_tls(&area);
    if !ready {
        return;
    }
    let certificate = Authority::new().leaf(&["mx.example.test"]);
    let postfix = Postfix::start(&area, "example.test", &certificate);
    let sent = Message::all_kinds("swaks");
    for message in &sent {
        let output = swaks::send(
            &area,
            postfix.address(),
            "sender@sender.test",
            "user@example.test",
            message,
            &["--tls"],
        );
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{message:?}:\n{said}");
        assert!(said.contains("TLS started"), "{said}");
    }
    let arrived = postfix.mailbox.wait_for(sent.len(), Duration::from_secs(30));
    for message in &sent {
        let same = arrived.iter().find(|content| id_of(content) == message.id()).unwrap();
        message.assert_arrived(same, &postfix::ADDED);
    }

    let mut client = Client::greeted(postfix.address());
    assert!(client.say("MAIL FROM:<sender@sender.test>").unwrap().is(250, "2.1.0"));
    assert!(client.say("RCPT TO:<reject@example.test>").unwrap().is(550, "5.1.1"));
    assert!(client.say("RCPT TO:<defer@example.test>").unwrap().is(450, "4.2.1"));
}
