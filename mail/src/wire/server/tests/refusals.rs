//! What is refused: syntax, sizes, smuggling, scripts.

use super::super::dialogue::{Reply, play};
use super::super::*;
use super::*;

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
