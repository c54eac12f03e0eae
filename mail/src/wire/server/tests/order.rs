//! The usual order, and other orders.

use super::super::dialogue::{Reply, play};
use super::super::*;
use super::*;

#[test]
fn one_message_from_greeting_to_quit() {
    let seen = talk(
        smtp(),
        "S: 220 mx.example.org ESMTP Posthaste
         C: EHLO client.example
         S: 250-mx.example.org
         S: 250-PIPELINING
         S: 250-8BITMIME
         S: 250-ENHANCEDSTATUSCODES
         S: 250-CHUNKING
         S: 250-DSN
         S: 250-SMTPUTF8
         S: 250-SIZE 100
         S: 250 LIMITS RCPTMAX=2
         C: MAIL FROM:<a@example.org> SIZE=10
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<b@example.net>
         S: 250 2.1.5 Recipient accepted
         C: DATA
         S: 354 End data with <CR><LF>.<CR><LF>
         C: Subject: x
         C:
         C: ..stuffed
         C: .
         S: 250 2.0.0 Accepted
         C: QUIT
         S: 221 2.0.0 Bye",
    );
    assert_eq!(seen.content, b"Subject: x\r\n\r\n.stuffed\r\n");
    assert!(seen.closed);
    let names: Vec<&str> =
        seen.events.iter().map(|e| e.split([' ', '(']).next().unwrap()).collect();
    assert_eq!(names, ["Hello", "Mail", "Rcpt", "DataBegins", "DataEnds", "Quit"]);
}

#[test]
fn commands_of_one_packet_are_answered_in_order() {
    after_ehlo(
        smtp(),
        "C: MAIL FROM:<a@example.org>
         C: RCPT TO:<bad@example.net>
         C: RCPT TO:<busy@example.net>
         C: RCPT TO:<b@example.net>
         C: DATA
         C: x
         C: .          ## content may not be sent yet, but sent it is read as content
         C: NOOP
         S: 250 2.1.0 Sender accepted
         S: 550 5.1.1 No
         S: 450 4.2.1 No
         S: 250 2.1.5 Recipient accepted
         S: 354 End data with <CR><LF>.<CR><LF>
         S: 250 2.0.0 Accepted
         S: 250 2.0.0 OK",
    );
}

#[test]
fn replies_of_one_packet_leave_in_one_piece() {
    let mut server = Server::new(smtp());
    assert!(matches!(server.advance(), Step::Write));
    let _ = server.take_output();
    assert_eq!(server.feed(b"NOOP\r\nNOOP\r\nRSET\r\n"), 18);
    assert!(matches!(server.advance(), Step::Event(Event::Reset)));
    assert!(matches!(server.advance(), Step::Write));
    assert_eq!(server.take_output(), b"250 2.0.0 OK\r\n250 2.0.0 OK\r\n250 2.0.0 Reset\r\n");
    assert!(matches!(server.advance(), Step::Read));
}

#[test]
fn order_of_commands() {
    talk(
        smtp(),
        "S: 220 mx.example.org ESMTP Posthaste
         C: MAIL FROM:<a@example.org>
         S: 503 5.5.1 Introduce yourself first
         C: RCPT TO:<b@example.org>
         S: 503 5.5.1 Say MAIL first
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: HELO client.example
         S: 250 mx.example.org
         C: MAIL FROM:<bad@example.org>
         S: 550 5.1.8 No
         C: RCPT TO:<b@example.org>
         S: 503 5.5.1 Say MAIL first
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted
         C: MAIL FROM:<a@example.org>
         S: 503 5.5.1 A transaction is open already
         C: DATA
         S: 503 5.5.1 No recipient was accepted
         C: RCPT TO:<bad@example.org>
         S: 550 5.1.1 No
         C: DATA
         S: 503 5.5.1 No recipient was accepted
         C: RSET
         S: 250 2.0.0 Reset
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted
         C: HELO again.example
         S: 250 mx.example.org
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted",
    );
}

#[test]
fn small_commands() {
    after_ehlo(
        smtp(),
        "C: NOOP whatever
         S: 250 2.0.0 OK
         C: VRFY ann
         S: 252 2.5.0 Not verified, but mail is taken
         C: EXPN list
         S: 502 5.5.1 EXPN is not implemented
         C: HELP
         S: 214 2.0.0 See RFC 5321
         C: STARTTLS
         S: 502 5.5.1 STARTTLS is not available
         C: AUTH PLAIN
         S: 502 5.5.1 AUTH is not available",
    );
}

#[test]
fn each_dialect_has_its_own_hello() {
    talk(
        smtp(),
        "S: 220 mx.example.org ESMTP Posthaste
         C: LHLO a
         S: 500 5.5.1 This is SMTP, use EHLO",
    );
    talk(
        settings(Dialect::Lmtp),
        "S: 220 mx.example.org LMTP Posthaste
         C: EHLO a
         S: 500 5.5.1 This is LMTP, use LHLO
         C: HELO a
         S: 500 5.5.1 This is LMTP, use LHLO",
    );
}

#[test]
fn refused_data_ends_the_transaction() {
    after_ehlo(
        smtp(),
        "C: MAIL FROM:<poor@example.org>
         C: RCPT TO:<b@example.org>
         C: DATA
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 450 4.3.1 No
         S: 250 2.1.0 Sender accepted",
    );
}

#[test]
fn a_421_ends_the_session() {
    let away = |_: &Event| Reply::One(Answer::new(421, Enhanced(4, 3, 2), "Shutting down"));
    let seen = play(
        Server::new(smtp()),
        away,
        "S: 220 mx.example.org ESMTP Posthaste
         C: HELO a
         S: 250 mx.example.org
         C: MAIL FROM:<a@example.org>
         C: NOOP
         S: 421 4.3.2 Shutting down",
    );
    assert!(seen.closed);
    let mut server = Server::new(smtp());
    let _ = server.take_output();
    server.give_up(&Answer::new(421, Enhanced(4, 4, 2), "Idle for too long"));
    assert!(matches!(server.advance(), Step::Write));
    assert_eq!(server.take_output(), b"421 4.4.2 Idle for too long\r\n");
    assert!(matches!(server.advance(), Step::Close));
    assert_eq!(Server::turn_away(&Answer::new(554, Enhanced(5, 7, 1), "No")), b"554 5.7.1 No\r\n");
}

#[test]
fn answers_without_a_question_change_nothing() {
    let mut server = Server::new(smtp());
    let _ = server.take_output();
    server.accept();
    server.answer(Answer::internal_fault());
    server.answer_recipients(vec![Answer::ok("x")]);
    server.tls_started();
    assert!(matches!(server.advance(), Step::Read));
    assert!(server.take_output().is_empty());
}
