//! BDAT.

use super::*;

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
