//! Dovecot as a peer: takes mail by LMTP over TCP, TLS and a Unix socket, a verdict for each recipient, and shows it over IMAP octet by
//! octet.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::client::{Client, Reply};
use crate::harness::connection::stuffed;
use crate::harness::dovecot::{self, Dovecot};
use crate::harness::message::{Message, id_of};

const SOON: Duration = Duration::from_secs(20);

fn say(client: &mut Client, line: &str) -> Reply {
    client.say(line).unwrap()
}

#[test]
fn dovecot_has_a_verdict_for_each_recipient() {
    let area = Area::new("dovecot_verdicts");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let (mut client, _) = Client::connect(dovecot.lmtp()).unwrap();
    let offers = say(&mut client, "LHLO client.test").text();
    for keyword in ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "STARTTLS"] {
        assert!(offers.contains(keyword), "{offers}");
    }
    assert_eq!(say(&mut client, "STARTTLS").code, 220);
    client.connection().connect_tls("dovecot.test").unwrap();
    assert_eq!(say(&mut client, "LHLO client.test").code, 250);
    let sent = Message::all_kinds("verdicts");
    for message in &sent {
        assert_eq!(say(&mut client, "MAIL FROM:<sender@sender.test> BODY=8BITMIME").code, 250);
        for (user, code) in [("ann", 250), ("nobody", 550), ("full", 250), ("busy", 250)] {
            let reply = say(&mut client, &format!("RCPT TO:<{user}@dovecot.test>"));
            assert_eq!(reply.code, code, "{reply:?}");
        }
        assert_eq!(say(&mut client, "DATA").code, 354);
        client.send(&stuffed(message.bytes())).unwrap();
        for (code, status) in [(250, "2.0.0"), (552, "5.2.2"), (452, "4.2.2")] {
            let reply = client.reply().unwrap();
            assert!(reply.is(code, status), "{reply:?}");
        }
    }
    let arrived = dovecot.wait_for("ann", sent.len(), SOON);
    for message in &sent {
        let same = arrived.iter().find(|content| id_of(content) == message.id()).unwrap();
        message.assert_arrived(same, &dovecot::ADDED);
    }
    assert_eq!((dovecot.inbox("full").len(), dovecot.inbox("busy").len()), (0, 0));
}

#[test]
fn dovecot_listens_at_a_unix_socket_and_within_tls() {
    let area = Area::new("dovecot_sockets");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let mut socket = UnixStream::connect(dovecot.lmtp_socket()).unwrap();
    socket.write_all(b"QUIT\r\n").unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("220 dovecot.test") && said.contains("\r\n221 "), "{said}");

    let mut connection = crate::harness::connection::Connection::to(dovecot.lmtps()).unwrap();
    connection.connect_tls("dovecot.test").unwrap();
    let greeting = connection.read_line().unwrap().unwrap();
    assert!(greeting.starts_with(b"220 dovecot.test"), "{greeting:?}");
    assert!(UnixStream::connect(dovecot.auth_socket()).is_ok());
}
