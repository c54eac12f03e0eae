//! STARTTLS and AUTH.

use super::super::dialogue::{Driver, Reply, play};
use super::super::*;
use super::*;

#[test]
fn tls_begins_anew() {
    after_ehlo(
        with_tls(Dialect::Smtp),
        "C: MAIL FROM:<a@example.org> REQUIRETLS
         S: 555 5.5.4 Parameter is not known or not offered here
         C: STARTTLS
         S: 220 2.0.0 Ready to start TLS
         C: MAIL FROM:<a@example.org>       ## what was said in the clear is forgotten
         S: 503 5.5.1 Introduce yourself first
         C: EHLO a
         S: 250-mx.example.org
         S: 250-PIPELINING
         S: 250-8BITMIME
         S: 250-ENHANCEDSTATUSCODES
         S: 250-CHUNKING
         S: 250-DSN
         S: 250-AUTH PLAIN LOGIN
         S: 250-SMTPUTF8
         S: 250-REQUIRETLS
         S: 250-SIZE 100
         S: 250 LIMITS RCPTMAX=2
         C: STARTTLS
         S: 503 5.5.1 TLS is active already
         C: MAIL FROM:<a@example.org> REQUIRETLS
         S: 250 2.1.0 Sender accepted",
    );
}

#[test]
fn commands_behind_starttls_end_the_session() {
    let seen = after_ehlo(
        with_tls(Dialect::Smtp),
        "C: STARTTLS
         C: MAIL FROM:<evil@example.org>
         S: 503 5.5.1 Data in the clear behind STARTTLS",
    );
    assert!(seen.closed);
    assert!(seen.events.is_empty());
}

#[test]
fn octets_in_the_clear_while_the_handshake_is_due_end_the_session() {
    let mut driver = Driver::new(Server::new(with_tls(Dialect::Smtp)), decide());
    driver.feed(b"EHLO a\r\n", || usize::MAX);
    let mut server = driver.server;
    assert_eq!(server.feed(b"STARTTLS\r\n"), 10);
    assert!(matches!(server.advance(), Step::Event(Event::StartTls)));
    assert!(matches!(server.advance(), Step::Answer));
    server.accept();
    assert!(matches!(server.advance(), Step::Write));
    let _ = server.take_output();
    assert!(matches!(server.advance(), Step::Handshake));
    assert_eq!(server.feed(b"NOOP\r\n"), 6);
    assert!(matches!(server.advance(), Step::Close));
    server.tls_started(); // too late
    assert!(matches!(server.advance(), Step::Close));
}

#[test]
fn starttls_may_be_refused() {
    let busy = |_: &Event| Reply::One(Answer::new(454, Enhanced(4, 7, 0), "Not now"));
    play(
        Server::new(with_tls(Dialect::Smtp)),
        busy,
        "S: 220 mx.example.org ESMTP Posthaste
         C: STARTTLS
         S: 503 5.5.1 Introduce yourself first
         C: HELO a
         S: 250 mx.example.org
         C: STARTTLS now
         S: 501 5.5.4 STARTTLS takes no parameters
         C: STARTTLS
         S: 454 4.7.0 Not now
         C: NOOP
         S: 250 2.0.0 OK",
    );
}

#[test]
fn authentication() {
    let mut settings = with_tls(Dialect::Submission);
    settings.authentication = Authentication::Required;
    let mut open = settings.clone();
    open.tls = Tls::Active;
    after_ehlo(
        settings,
        "C: AUTH PLAIN
         S: 538 5.7.11 Encryption required, use STARTTLS
         C: MAIL FROM:<a@example.org>
         S: 530 5.7.0 Authentication required",
    );
    after_ehlo(
        open.clone(),
        "C: AUTH CRAM-MD5
         S: 504 5.5.4 Mechanism is not known
         C: AUTH PLAIN AGFubgB3cm9uZw==
         S: 535 5.7.8 Wrong
         C: AUTH PLAIN =
         S: 501 5.5.2 Malformed authentication response
         C: AUTH PLAIN
         S: 334 ~
         C: *
         S: 501 5.7.0 Authentication cancelled
         C: auth login
         S: 334 VXNlcm5hbWU6
         C: YW5u
         S: 334 UGFzc3dvcmQ6
         C: c2VjcmV0
         S: 235 2.7.0 Authentication succeeded
         C: AUTH PLAIN
         S: 503 5.5.1 Authenticated already
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted
         C: AUTH PLAIN
         S: 503 5.5.1 Authenticated already",
    );
    after_ehlo(
        open,
        "C: AUTH LOGIN YW5u
         S: 334 UGFzc3dvcmQ6
         C: not base64
         S: 501 5.5.2 Malformed authentication response
         C: AUTH LOGIN YW5u
         S: 334 UGFzc3dvcmQ6
         C: a\\nb
         S: 500 5.5.2 Lines must end with CRLF
         C: NOOP
         S: 250 2.0.0 OK",
    );
}

#[test]
fn guessing_passwords_ends() {
    let mut settings = with_tls(Dialect::Smtp);
    settings.tls = Tls::Active;
    let guess = "C: AUTH PLAIN AGFubgB3cm9uZw==\nS: 535 5.7.8 Wrong\n".repeat(5);
    let seen = after_ehlo(
        settings,
        &format!("{guess}S: 421 4.7.0 Too many failed authentications, closing"),
    );
    assert!(seen.closed);
}

#[test]
fn passwords_are_not_printed() {
    let mut settings = with_tls(Dialect::Smtp);
    settings.tls = Tls::Active;
    let mut server = Server::new(settings);
    assert_eq!(server.feed(b"EHLO a\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n"), 37);
    let mut shown = format!("{server:?}");
    while let Step::Event(event) = server.advance() {
        shown.push_str(&format!("{event:?}{server:?}"));
    }
    assert!(shown.contains("Credentials"));
    assert!(
        !shown.contains("secret") && !shown.contains("115, 101, 99") && !shown.contains("AGFub")
    );
}
