//! The player of dialogues, against a client that follows them and one that does not.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::connection::Connection;
use crate::harness::dialogue::Dialogue;
use crate::harness::process::wait_until;

const FIRST_BUSY: &str = "
# Busy at first, then a server like any other.
S: 220 mx.example.test ESMTP
C: EHLO *
S: 250-mx.example.test
S: 250 SIZE
C: MAIL FROM:<*>*
S: 451 4.3.2 later
C? RSET
C? QUIT
! close
! connection
S: 220 mx.example.test ESMTP
! serve
";

fn dialogue(text: &str) -> Dialogue {
    Dialogue::parse("example", text).unwrap()
}

#[test]
fn each_connection_has_its_section() {
    let area = Area::new("dialogue_sections");
    let player = dialogue(FIRST_BUSY).play(area.socket(), None);
    let mut client = Client::greeted(player.sink.address());
    assert!(client.say("MAIL FROM:<a@b.test>").unwrap().is(451, "4.3.2"));
    client.send(b"QUIT\r\n").unwrap();
    for _ in 0..2 {
        let mut client = Client::greeted(player.sink.address());
        let reply = client.transact("a@b.test", &["c@d.test"], b"x\r\n").unwrap();
        assert_eq!(reply.code, 250);
    }
    assert_eq!((player.sink.connections(), player.sink.count()), (3, 2));
    player.assert_followed();
}

#[test]
fn leaving_the_script_is_noticed() {
    let area = Area::new("dialogue_deviation");
    let player = dialogue(FIRST_BUSY).play(area.socket(), None);
    let mut client = Client::greeted(player.sink.address());
    client.send(b"VRFY root\r\n").unwrap();
    wait_until("it is noticed", crate::harness::connection::PATIENCE, || {
        !player.deviations().is_empty()
    });
    let deviation = &player.deviations()[0];
    assert!(deviation.starts_with("example.smtp:7: expected \"MAIL FROM:<*>*\""), "{deviation}");
}

#[test]
fn connections_end_as_told() {
    let area = Area::new("dialogue_ends");
    let play = |text: &str| dialogue(text).play(area.socket(), None);

    let closing = play("S: 220 hello\n! close\n");
    let (mut client, _) = Client::connect(closing.sink.address()).unwrap();
    assert_eq!(client.reply().unwrap_err().kind(), ErrorKind::UnexpectedEof);

    let resetting = play("S: 220 hello\n! reset\n");
    let (mut client, _) = Client::connect(resetting.sink.address()).unwrap();
    assert_eq!(client.say("EHLO x").unwrap_err().kind(), ErrorKind::ConnectionReset);

    let endless = play("! forever 250-more\\r\\n\n");
    let mut connection = Connection::to(endless.sink.address()).unwrap();
    for _ in 0..1000 {
        assert_eq!(connection.read_line().unwrap().unwrap(), b"250-more");
    }
    drop(connection);

    let taking = play("! read 3\nS: 250 three\nC: rest\nS: 250 ok\n! close\n");
    let mut connection = Connection::to(taking.sink.address()).unwrap();
    connection.write(b"onerest\r\n").unwrap();
    assert_eq!(connection.read_line().unwrap().unwrap(), b"250 three");
    assert_eq!(connection.read_line().unwrap().unwrap(), b"250 ok");
    taking.assert_followed();

    let dripping = play("D: 220\n! close\n");
    let start = Instant::now();
    let mut connection = Connection::to(dripping.sink.address()).unwrap();
    assert_eq!(connection.read_line().unwrap().unwrap(), b"220");
    assert!(start.elapsed() >= Duration::from_secs(1)); // six octets

    let babbling = play("B: \\x00\\xff220 what\\n\n! hang\n");
    let mut connection = Connection::to(babbling.sink.address()).unwrap();
    assert_eq!(connection.read_line().unwrap().unwrap(), b"\x00\xff220 what");
}

#[test]
fn a_dialogue_may_speak_tls() {
    let area = Area::new("dialogue_tls");
    let text = "S: 220 hi\nC: EHLO *\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! starttls\n\
                C: EHLO *\nS: 421 4.3.2 not today\n! close\n";
    let certificate = Authority::new().leaf(&["mx.example.test"]);
    let player = dialogue(text).play(area.socket(), Some(certificate.acceptor()));
    let mut client = Client::greeted(player.sink.address());
    assert_eq!(client.say("STARTTLS").unwrap().code, 220);
    client.connection().connect_tls("mx.example.test").unwrap();
    assert!(client.say("EHLO client.test").unwrap().is(421, "4.3.2"));
    player.assert_followed();
}

#[test]
fn content_is_recorded_before_it_is_refused() {
    let area = Area::new("dialogue_content");
    let text = "S: 220 hi\nC: EHLO *\nS: 250 hi\nC: MAIL FROM:*\nS: 250 ok\nC: RCPT TO:*\nS: 250 ok\n\
                C: DATA\nS: 354 go\n! content\nS: 554 5.6.0 no\n";
    let player = dialogue(text).play(area.socket(), None);
    let mut client = Client::greeted(player.sink.address());
    let reply = client.transact("a@b.test", &["c@d.test"], b".x\r\n").unwrap();
    assert!(reply.is(554, "5.6.0"));
    assert_eq!(client.say("QUIT").unwrap().code, 221);
    assert_eq!(player.sink.transactions()[0].content, b".x\r\n");
    player.assert_followed();
}
