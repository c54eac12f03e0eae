//! A peer may offer an extension and then not know it. What it refuses with 5yz is its word and ends the matter; what it loses or answers
//! out of step is no word at all.

use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::sink::Manners;
use crate::harness::trial::Stage::Ehlo;
use crate::harness::trial::{self, Trial, small, trial};

/// PIPELINING is offered, and what comes in one flight is not taken as it was sent (RFC 2920 §3.1).
const PIPELINING: &[Trial] = &[
    trial(
        "flushed", // what lay behind MAIL is thrown away
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\n! hang",
        "deferred 4.4.2",
        2,
        1,
    ),
    trial(
        "half-flushed", // DATA is lost
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 ok\nS: 250 ok\n! hang",
        "deferred 4.4.2",
        2,
        1,
    ),
    trial(
        "mail-refused", // the answers behind it mean nothing, and are read
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\n\
         S: 550 5.7.1 not from you\nS: 503 5.5.1 MAIL first\nS: 503 5.5.1 RCPT first",
        "failed 5.7.1",
        1,
        0,
    ),
    trial(
        "mail-deferred",
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\n\
         S: 451 4.7.1 greylisted\nS: 550 5.5.1 MAIL first\nS: 554 5.5.1 no recipients\n\
         C? RSET\nC? QUIT\n! close",
        "deferred 4.7.1",
        2,
        1,
    ),
    trial(
        "data-granted", // nobody was taken: a lone dot, and the refusal of the recipient counts
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\n\
         S: 250 ok\nS: 550 5.1.1 nobody\nS: 354 go ahead\nC: .\nS: 250 2.0.0 taken\nC? QUIT\n! close",
        "failed 5.1.1",
        1,
        0,
    ),
    trial(
        "one-too-many", // whose answer is the last one?
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\n\
         S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go ahead\n! hang",
        "deferred 4.5.0",
        2,
        1,
    ),
    trial(
        "busy-within", // RFC 5321 §3.8: 421 may come at any place
        Ehlo,
        "S: 250-mx\nS: 250 PIPELINING\nC: MAIL*\nC: RCPT*\nC: DATA\n\
         S: 250 ok\nS: 421 4.3.2 busy\n! close",
        "deferred 4.3.2",
        2,
        1,
    ),
];

/// What is said of the content, and of its size.
const PARAMETERS: &[Trial] = &[
    trial(
        "size-at-mail", // no limit is announced, and one is applied
        Ehlo,
        "S: 250-mx\nS: 250 SIZE 0\nC: MAIL FROM:<*> SIZE=*\nS: 552 5.3.4 too big",
        "failed 5.3.4",
        1,
        0,
    ),
    trial(
        "size-at-dot",
        Ehlo,
        "S: 250-mx\nS: 250 SIZE 100000000\nC: MAIL FROM:<*> SIZE=*\nS: 250 ok\nC: RCPT*\nS: 250 ok\n\
         C: DATA\nS: 354 go ahead\n! content\nS: 552 5.3.4 too big",
        "failed 5.3.4",
        1,
        1,
    ),
    trial(
        "size-full", // RFC 1870 §6.3: for want of room, which is not the size of the message
        Ehlo,
        "S: 250-mx\nS: 250 SIZE 0\nC: MAIL FROM:<*> SIZE=*\nS: 452 4.3.1 no room\nC? QUIT\n! close",
        "deferred 4.3.1",
        2,
        1,
    ),
    trial("size-small", Ehlo, "S: 250-mx\nS: 250 SIZE 100\nC? QUIT\n! close", "failed 5.3.4", 1, 0),
    trial(
        "size-no-number",
        Ehlo,
        "S: 250-mx\nS: 250-SIZE many\nS: 250-\\\nS: 250 LIMITS RCPTMAX=0 MAILMAX=none\nC: MAIL*\nS: 250 ok\n\
         C: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go ahead\n! content\nS: 250 taken",
        "delivered",
        1,
        1,
    ),
    trial(
        "body-refused",
        Ehlo,
        "S: 250-mx\nS: 250 8BITMIME\nC: MAIL FROM:<*> BODY=*\nS: 555 5.5.4 BODY is unknown",
        "failed 5.5.4",
        1,
        0,
    ),
    trial(
        "body-later",
        Ehlo,
        "S: 250-mx\nS: 250 8BITMIME\nC: MAIL FROM:<*> BODY=*\nS: 451 4.5.0 what?\nC? QUIT\n! close",
        "deferred 4.5.0",
        2,
        1,
    ),
];

/// A header in UTF-8 needs SMTPUTF8 (RFC 6532 §3).
const SMTPUTF8: &[Trial] = &[
    trial(
        "utf8-refused",
        Ehlo,
        "S: 250-mx\nS: 250-8BITMIME\nS: 250 SMTPUTF8\nC: MAIL FROM:<*>* SMTPUTF8*\n\
         S: 555 5.5.4 SMTPUTF8 is unknown",
        "failed 5.5.4",
        1,
        0,
    ),
    trial(
        "utf8-no-mailbox",
        Ehlo,
        "S: 250-mx\nS: 250-8BITMIME\nS: 250 SMTPUTF8\nC: MAIL FROM:<*>* SMTPUTF8*\nS: 250 ok\nC: RCPT*\n\
         S: 553 5.6.7 not for this mailbox",
        "failed 5.6.7",
        1,
        0,
    ),
    trial(
        "utf8-missing",
        Ehlo,
        "S: 250-mx\nS: 250 8BITMIME\nC? QUIT\n! close",
        "failed 5.6.7",
        1,
        0,
    ),
];

/// The client asked for reports.
const DSN: &[Trial] = &[
    trial(
        "ret-refused",
        Ehlo,
        "S: 250-mx\nS: 250 DSN\nC: MAIL FROM:<*> RET=HDRS ENVID=e1\nS: 555 5.5.4 RET is unknown",
        "failed 5.5.4",
        1,
        0,
    ),
    trial(
        "notify-refused",
        Ehlo,
        "S: 250-mx\nS: 250 DSN\nC: MAIL*\nS: 250 ok\nC: RCPT TO:<*> NOTIFY=FAILURE*\n\
         S: 555 5.5.4 NOTIFY is unknown",
        "failed 5.5.4",
        1,
        0,
    ),
    trial(
        "dsn-not-offered", // nothing is said of it then
        Ehlo,
        "S: 250 mx\nC: MAIL FROM:<sender@sender.test>\nS: 250 ok\nC: RCPT TO:<user@dsn-not-offered.test>\n\
         S: 250 ok\nC: DATA\nS: 354 go ahead\n! content\nS: 250 taken",
        "delivered",
        1,
        1,
    ),
];

fn utf8_header(outbound: &Outbound, recipient: &str) -> String {
    let mut content = "Subject: Grüße aus Köln\r\n".as_bytes().to_vec();
    content.extend_from_slice(Message::plain(recipient, 1000).bytes());
    outbound.daemon.send(SENDER, &[recipient], &content)
}

/// Only SMTP carries wishes for reports; the reply to the dot ends with the queue id.
fn with_wishes(outbound: &Outbound, recipient: &str) -> String {
    let mut client = Client::greeted(outbound.listen());
    let mail = format!("<{SENDER}> RET=HDRS ENVID=e1");
    let to = [format!("<{recipient}> NOTIFY=FAILURE ORCPT=rfc822;{recipient}")];
    let message = Message::plain(recipient, 1000);
    let reply = client.transact_as(&mail, &to, message.bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    reply.text().split_whitespace().last().unwrap().to_owned()
}

#[test]
fn what_was_sent_in_one_flight_may_be_lost() {
    let outbound = Outbound::start_with("lying_pipelining", &[], |config| {
        config.remote = "command_timeout 3s".to_owned();
    });
    trial::run(&outbound, None, PIPELINING, small, AFTER_RETRIES);
}

#[test]
fn a_parameter_may_be_refused_after_all() {
    let outbound = Outbound::start("lying_parameters");
    trial::run(&outbound, None, PARAMETERS, small, AFTER_RETRIES);
}

#[test]
fn smtputf8_may_be_refused_after_all() {
    let outbound = Outbound::start("lying_smtputf8");
    trial::run(&outbound, None, SMTPUTF8, utf8_header, AFTER_RETRIES);
}

#[test]
fn wishes_for_reports_may_be_refused_after_all() {
    let outbound = Outbound::start("lying_dsn");
    trial::run(&outbound, None, DSN, with_wishes, AFTER_RETRIES);
}

#[test]
fn chunking_may_be_unknown_after_all() {
    // The sink answers BDAT with 500, and whatever follows it too. One attempt must do.
    let outbound = Outbound::start_with("lying_chunking", &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
    });
    for (domain, keywords, connections) in [
        ("chunking.test", vec!["CHUNKING", "8BITMIME"], 2),
        ("pipelined.test", vec!["CHUNKING", "PIPELINING", "8BITMIME"], 1), // BDAT would save nothing
    ] {
        let sink = outbound.sink_with(domain, Manners { keywords, ..Manners::default() });
        for number in 1..=2 {
            let recipient = format!("user{number}@{domain}");
            outbound.send(&recipient);
            sink.wait_for_recipient(&recipient, SOON);
            outbound.daemon.wait_until_queue_is_empty(SOON);
        }
        let lines = sink.lines().concat();
        let chunks = lines.iter().filter(|line| line.starts_with("BDAT")).count();
        // It is believed once, and never again.
        assert_eq!((sink.count(), sink.connections(), chunks), (2, connections, connections - 1));
    }
    assert_eq!(outbound.home.count(), 0);
}
