//! LMTP: replies after the content.

use super::super::dialogue::{Driver, Reply, play};
use super::super::*;
use super::*;

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
