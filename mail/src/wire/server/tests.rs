//! Whole sessions as dialogues.

use super::dialogue::{Driver, Reply, Seen, play};
use super::*;
use crate::address::Domain;
use crate::dice::Dice;
use crate::status::Enhanced;

fn settings(dialect: Dialect) -> Settings {
    let mut settings = Settings::new(dialect, Domain::parse("mx.example.org").unwrap());
    settings.max_message_size = Some(100);
    settings.max_recipients = 2;
    settings
}

fn smtp() -> Settings {
    settings(Dialect::Smtp)
}

/// Refuses what has `bad` in its address, wrong passwords, and content of messages from `poor`.
fn decide() -> impl FnMut(&Event) -> Reply {
    let mut poor = false;
    move |event| match event {
        Event::Mail(mail) => {
            poor = mail.from.as_str().starts_with("poor");
            if mail.from.as_str().starts_with("bad") { no(5, 1, 8) } else { Reply::Accept }
        }
        Event::Rcpt(rcpt) if rcpt.to.local().starts_with("bad") => no(5, 1, 1),
        Event::Rcpt(rcpt) if rcpt.to.local().starts_with("busy") => no(4, 2, 1),
        Event::DataBegins if poor => no(4, 3, 1),
        Event::Auth(credentials) if credentials.password.expose() != "secret" => {
            Reply::One(Answer::new(535, Enhanced(5, 7, 8), "Wrong"))
        }
        _ => Reply::Accept,
    }
}

fn no(class: u8, subject: u16, detail: u16) -> Reply {
    let code = if class == 5 { 550 } else { 450 };
    Reply::One(Answer::new(code, Enhanced(class, subject, detail), "No"))
}

fn talk(settings: Settings, script: &str) -> Seen {
    play(Server::new(settings), decide(), script)
}

/// A dialogue behind greeting and EHLO, whose replies other tests look at.
fn after_ehlo(settings: Settings, script: &str) -> Seen {
    let mut server = Server::new(settings);
    let word = match server.transport().base {
        crate::trace::Base::Lmtp => "LHLO a\r\n",
        _ => "EHLO a\r\n",
    };
    let mut opening = Driver::new(server, decide());
    opening.feed(word.as_bytes(), || usize::MAX);
    server = opening.server;
    play(server, decide(), script)
}

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
fn the_fourth_syntax_error_in_a_row_ends_the_session() {
    let seen = after_ehlo(
        smtp(),
        "C: FOO
         S: 500 5.5.2 Command unrecognized
         C: DATA now
         S: 501 5.5.4 DATA takes no parameters
         C: MAIL FROM:a@example.org
         S: 501 5.5.4 Syntax: MAIL FROM:<address>
         C: NOOP                              ## counts from the start again
         S: 250 2.0.0 OK
         C: FOO\\nBAR
         S: 500 5.5.2 Lines must end with CRLF
         C: FOO\\rBAR
         S: 500 5.5.2 Bare CR in command line
         C: MAIL FROM:<a@example.org> X=1
         S: 555 5.5.4 Parameter is not known or not offered here
         C: GET / HTTP/1.1
         C: QUIT
         S: 500 5.5.2 Command unrecognized
         S: 421 4.7.0 Too many errors, closing",
    );
    assert!(seen.closed);
}

#[test]
fn overlong_lines_are_skipped() {
    let long = "x".repeat(100_000);
    after_ehlo(
        smtp(),
        &format!(
            "C: {long}
             S: 500 5.5.2 Command line too long
             C: NOOP
             S: 250 2.0.0 OK"
        ),
    );
}

#[test]
fn sizes_and_counts() {
    after_ehlo(
        smtp(),
        "C: MAIL FROM:<a@example.org> SIZE=101
         S: 552 5.3.4 Message is too big
         C: MAIL FROM:<a@example.org> SIZE=100
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<c@example.org>
         S: 250 2.1.5 Recipient accepted
         S: 250 2.1.5 Recipient accepted
         S: 452 4.5.3 Too many recipients
         C: DATA
         S: 354 End data with <CR><LF>.<CR><LF>
         C: 0123456789012345678901234567890123456789
         C: 0123456789012345678901234567890123456789
         C: 0123456789012345678901234567890123456789
         C: MAIL FROM:<evil@example.org>
         C: .
         C: NOOP
         S: 552 5.3.4 Message is too big
         S: 250 2.0.0 OK
         C: DATA                        ## the transaction is over
         S: 503 5.5.1 Say MAIL first",
    );
}

#[test]
fn smuggling_is_refused_and_its_commands_are_not_obeyed() {
    for ending in ["\\n.\\n~", "\\n.", "\\r.", ".\\n~", "\\r.\\r~", ".\\r"] {
        let seen = after_ehlo(
            smtp(),
            &format!(
                "C: MAIL FROM:<a@example.org>
                 C: RCPT TO:<b@example.org>
                 C: DATA
                 S: 250 2.1.0 Sender accepted
                 S: 250 2.1.5 Recipient accepted
                 S: 354 End data with <CR><LF>.<CR><LF>
                 C: x
                 C: y{ending}
                 C: MAIL FROM:<evil@example.org>
                 C: .
                 S: 550 5.6.11 Bare {} in message
                 C: NOOP
                 S: 250 2.0.0 OK",
                if ending.contains("\\n") { "LF" } else { "CR" }
            ),
        );
        assert!(seen.events.iter().any(|e| e.starts_with("Spoilt")), "{ending}");
        assert!(!seen.events.iter().any(|e| e.contains("evil")), "{ending}");
    }
}

#[test]
fn internationalized_addresses() {
    after_ehlo(
        smtp(),
        "C: MAIL FROM:<ä@example.org>
         S: 550 5.6.7 Address needs SMTPUTF8
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<ä@example.org>
         S: 553 5.6.7 Address needs SMTPUTF8
         C: RSET
         S: 250 2.0.0 Reset
         C: MAIL FROM:<ä@example.org> SMTPUTF8
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<ö@münchen.example>
         S: 250 2.1.5 Recipient accepted",
    );
}

#[test]
fn replies_are_in_utf8_only_where_the_client_said_smtputf8() {
    let server = Server::new(smtp());
    let grumble = |_: &Event| Reply::One(Answer::new(250, Enhanced(2, 1, 0), "Schön"));
    play(
        server,
        grumble,
        "S: 220 mx.example.org ESMTP Posthaste
         C: HELO a
         S: 250 mx.example.org
         C: MAIL FROM:<a@example.org> SMTPUTF8
         S: 250 2.1.0 Schön
         C: RCPT TO:<b@example.org>
         S: 250 2.1.0 Schön
         C: RSET
         S: 250 2.0.0 Reset
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sch?n",
    );
}

#[test]
fn chunks_make_a_message() {
    let seen = after_ehlo(
        smtp(),
        "C: MAIL FROM:<a@example.org>
         C: RCPT TO:<b@example.org>
         C: BDAT 5
         C: a\\r\\n.\\r~
         C: BDAT 0
         C: BDAT 3 LAST
         C: \\n.b~
         C: NOOP
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 250 2.0.0 Chunk taken
         S: 250 2.0.0 Chunk taken
         S: 250 2.0.0 Accepted
         S: 250 2.0.0 OK
         C: BDAT 4 LAST               ## nothing is left to add to
         C: NOOP~
         C: NOOP
         S: 503 5.5.1 Say MAIL first
         S: 250 2.0.0 OK",
    );
    assert_eq!(seen.content, b"a\r\n.\r\n.b");
}

#[test]
fn refused_chunks_are_swallowed() {
    after_ehlo(
        smtp(),
        "C: MAIL FROM:<a@example.org>
         C: RCPT TO:<bad@example.org>
         C: BDAT 6
         C: QUIT\\r\\n~
         C: BDAT 6 LAST
         C: QUIT\\r\\n~
         C: NOOP
         S: 250 2.1.0 Sender accepted
         S: 550 5.1.1 No
         S: 503 5.5.1 No recipient was accepted
         S: 503 5.5.1 An earlier chunk was refused
         S: 250 2.0.0 OK
         C: MAIL FROM:<poor@example.org>    ## DataBegins is refused
         C: RCPT TO:<b@example.org>
         C: BDAT 6
         C: QUIT\\r\\n~
         C: RCPT TO:<b@example.org>
         C: DATA
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 450 4.3.1 No
         S: 503 5.5.1 Say MAIL first
         S: 503 5.5.1 DATA after BDAT
         S: 250 2.1.0 Sender accepted",
    );
}

#[test]
fn chunks_obey_size_and_line_ends() {
    let big = "x".repeat(101);
    after_ehlo(
        smtp(),
        &format!(
            "C: MAIL FROM:<a@example.org>
             C: RCPT TO:<b@example.org>
             C: BDAT 101
             C: {big}~
             C: BDAT 1 LAST
             C: x~
             S: 250 2.1.0 Sender accepted
             S: 250 2.1.5 Recipient accepted
             S: 552 5.3.4 Message is too big
             S: 503 5.5.1 An earlier chunk was refused
             C: MAIL FROM:<a@example.org>
             C: RCPT TO:<b@example.org>
             C: BDAT 3 LAST
             C: a\\nb~
             S: 250 2.1.0 Sender accepted
             S: 250 2.1.5 Recipient accepted
             S: 550 5.6.11 Bare LF in message
             C: MAIL FROM:<a@example.org>
             C: RCPT TO:<b@example.org>
             C: BDAT 2 LAST
             C: a\\r~
             S: 250 2.1.0 Sender accepted
             S: 250 2.1.5 Recipient accepted
             S: 550 5.6.11 Bare CR in message
             C: MAIL FROM:<a@example.org> BODY=BINARYMIME
             S: 501 5.5.4 BODY=BINARYMIME is not supported"
        ),
    );
}

#[test]
fn data_and_chunks_do_not_mix() {
    after_ehlo(
        smtp(),
        "C: MAIL FROM:<a@example.org>
         C: RCPT TO:<b@example.org>
         C: BDAT 1
         C: x~
         C: DATA
         C: RCPT TO:<c@example.org>
         C: MAIL FROM:<a@example.org>
         C: BDAT 1 LAST
         C: y~
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 250 2.0.0 Chunk taken
         S: 503 5.5.1 DATA after BDAT
         S: 503 5.5.1 Say MAIL first
         S: 503 5.5.1 A transaction is open already
         S: 250 2.0.0 Accepted",
    );
}

#[test]
fn reset_drops_chunks() {
    let seen = after_ehlo(
        smtp(),
        "C: MAIL FROM:<a@example.org>
         C: RCPT TO:<b@example.org>
         C: BDAT 1
         C: x~
         C: RSET
         C: BDAT 1 LAST
         C: y~
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 250 2.0.0 Chunk taken
         S: 250 2.0.0 Reset
         S: 503 5.5.1 Say MAIL first",
    );
    assert!(!seen.events.contains(&"DataEnds".to_string()));
}

#[test]
fn a_chunk_of_unknown_size_ends_the_session() {
    let seen = after_ehlo(
        smtp(),
        "C: BDAT many
         C: NOOP
         S: 501 5.5.4 Syntax: BDAT size [LAST]
         S: 421 4.7.0 Chunk of unknown size, closing",
    );
    assert!(seen.closed);
}

fn with_tls(dialect: Dialect) -> Settings {
    let mut settings = settings(dialect);
    settings.tls = Tls::Offered;
    settings.mechanisms = vec![Mechanism::Plain, Mechanism::Login];
    settings
}

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
fn lmtp_answers_every_recipient() {
    let each = |event: &Event| match event {
        Event::Rcpt(rcpt) if rcpt.to.local() == "bad" => no(5, 1, 1),
        Event::DataEnds => {
            let about = crate::address::Mailbox::parse("b@example.org").unwrap();
            Reply::Each(vec![
                Answer::ok("Stored").about(&about),
                Answer::new(452, Enhanced(4, 2, 2), "Full").about(&about),
            ])
        }
        _ => Reply::Accept,
    };
    let mut settings = settings(Dialect::Lmtp);
    settings.max_recipients = 5;
    let mut driver = Driver::new(Server::new(settings), each);
    driver.feed(b"LHLO a\r\n", || usize::MAX);
    play(
        driver.server,
        each,
        "C: MAIL FROM:<a@example.org>
         C: DATA
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<bad@example.org>
         C: RCPT TO:<b@example.org>       ## twice, and it counts twice
         C: RCPT TO:<c@example.org>       ## the driver forgot this one
         C: DATA
         S: 250 2.1.0 Sender accepted
         S: 503 5.5.1 No recipient was accepted
         S: 250 2.1.5 Recipient accepted
         S: 550 5.1.1 No
         S: 250 2.1.5 Recipient accepted
         S: 250 2.1.5 Recipient accepted
         S: 354 End data with <CR><LF>.<CR><LF>
         C: x
         C: .
         S: 250 2.0.0 <b@example.org> Stored
         S: 452 4.2.2 <b@example.org> Full
         S: 451 4.3.0 Internal fault, try again later
         C: MAIL FROM:<a@example.org>
         S: 250 2.1.0 Sender accepted",
    );
}

#[test]
fn lmtp_refuses_content_once_for_every_recipient() {
    after_ehlo(
        settings(Dialect::Lmtp),
        "C: MAIL FROM:<a@example.org>
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<c@example.org>
         C: DATA
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 250 2.1.5 Recipient accepted
         S: 354 End data with <CR><LF>.<CR><LF>
         C: a\\0b
         C: .
         S: 550 5.6.0 NUL in message
         S: 550 5.6.0 NUL in message
         C: MAIL FROM:<a@example.org>
         C: RCPT TO:<b@example.org>
         C: RCPT TO:<c@example.org>
         C: BDAT 1
         C: \\n~
         C: BDAT 1 LAST
         C: x~
         S: 250 2.1.0 Sender accepted
         S: 250 2.1.5 Recipient accepted
         S: 250 2.1.5 Recipient accepted
         S: 550 5.6.11 Bare LF in message
         S: 503 5.5.1 An earlier chunk was refused
         S: 503 5.5.1 An earlier chunk was refused",
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

#[test]
fn any_cut_of_the_stream_says_the_same() {
    let streams: [(Settings, &[u8]); 3] = [
        (
            smtp(),
            b"EHLO a\r\nMAIL FROM:<a@example.org> ENVID=x+2By\r\nRCPT TO:<b@example.org> NOTIFY=NEVER\r\nRCPT TO:<bad@example.org>\r\nDATA\r\n\
              Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\nNOOP\nNOOP\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n\
              BDAT 7\r\nab\r\n.\r\nBDAT 4\r\nQUITBDAT 2 LAST\r\n\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n\
              x\n.\r\ny\r\n.\r\nRSET\r\nVRFY a\r\nQUIT\r\n",
        ),
        (
            settings(Dialect::Lmtp),
            b"LHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\na\r\nRSET\r\n\
              MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nRCPT TO:<d@example.org>\r\nDATA\r\n.\r\nFOO\r\n",
        ),
        (
            {
                let mut settings = with_tls(Dialect::Submission);
                settings.tls = Tls::Active;
                settings.authentication = Authentication::Required;
                settings
            },
            b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nAUTH LOGIN\r\nYW5u\r\nc2VjcmV0\r\nMAIL FROM:<a@example.org> REQUIRETLS\r\n\
              RCPT TO:<b@example.org>\r\nDATA\r\nFrom: a@example.org\r\n\r\n\r\n.\r\nQUIT\r\n",
        ),
    ];
    let mut dice = Dice::new(121);
    for (settings, stream) in streams {
        let mut at_once = Driver::new(Server::new(settings.clone()), decide());
        at_once.feed(stream, || usize::MAX);
        for round in 0..200 {
            let most = 1 + round % 20;
            let mut cut = Driver::new(Server::new(settings.clone()), decide());
            cut.feed(stream, || 1 + dice.below(most));
            assert_eq!(
                Seen { held: 0, ..cut.seen },
                Seen {
                    held: 0,
                    output: at_once.seen.output.clone(),
                    events: at_once.seen.events.clone(),
                    content: at_once.seen.content.clone(),
                    closed: at_once.seen.closed,
                }
            );
        }
    }
}

#[test]
fn parsers_take_any_bytes() {
    let words: [&[u8]; 31] = [
        b"EHLO a\r\n",
        b"LHLO a\r\n",
        b"MAIL FROM:<a@b.example>",
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<b@b.example>\r\n",
        b"RCPT TO:<bad@b.example>\r\n",
        b"DATA\r\n",
        b"BDAT 3\r\n",
        b"BDAT 5 LAST\r\n",
        b"BDAT 99999999999\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN YW5u\r\n",
        b"AGFubgBzZWNyZXQ=\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"\r\n.\r\n",
        b"\0",
        b"\xff\xc3",
        b" SIZE=5",
        b" SMTPUTF8",
        b" ORCPT=utf-8;\\x{E4}",
        b"<",
        b"abc",
        b"*\r\n",
        &[b'x'; 5000],
    ];
    let mut dice = Dice::new(131);
    for round in 0..4000 {
        let mut settings = match round % 3 {
            0 => settings(Dialect::Lmtp),
            1 => with_tls(Dialect::Smtp),
            _ => with_tls(Dialect::Submission),
        };
        if dice.below(2) == 0 {
            settings.tls = Tls::Active;
        }
        let mut driver = Driver::new(Server::new(settings), decide());
        let mut fed = 0;
        for _ in 0..dice.below(60) {
            let word = words[dice.below(words.len())];
            fed += word.len();
            driver.feed(word, || 1 + dice.below(3000));
        }
        assert!(driver.seen.held <= 32 << 10, "{}", driver.seen.held);
        assert!(driver.seen.output.len() <= 4096 + fed * 60);
        assert!(driver.seen.content.len() <= fed);
        for line in driver.seen.output.split_inclusive("\r\n") {
            let line = line.strip_suffix("\r\n").expect("a whole line");
            assert!(!line.contains(['\r', '\n', '\0']));
            assert!(line.as_bytes().iter().take(3).all(u8::is_ascii_digit), "{line:?}");
        }
    }
}

#[test]
fn a_flood_of_commands_is_answered_in_bounded_memory() {
    let mut driver = Driver::new(Server::new(smtp()), decide());
    driver.feed(&b"EHLO a\r\n".repeat(20_000), || usize::MAX);
    assert!(driver.seen.held <= 32 << 10, "{}", driver.seen.held);
    assert!(driver.seen.output.ends_with("250 LIMITS RCPTMAX=2\r\n"));
}
