//! A peer may refuse, hang up, babble or fall silent at any stage of a session. Nothing of it loses a message, bounces one that nobody
//! refused, or sends one twice, except where the peer went away after the final dot and may have it.

use std::time::Duration;

use crate::harness::area::{Area, long_run};
use crate::harness::certificates::self_signed;
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER};
use crate::harness::trial::Stage::*;
use crate::harness::trial::{self, Trial, again, small, trial};

/// More than the buffers between two sockets hold.
fn large(outbound: &Outbound, recipient: &str) -> String {
    outbound.daemon.send(SENDER, &[recipient], Message::plain(recipient, 12_000_000).bytes())
}

/// The peer says no, or something that is no answer.
const ANSWERS: &[Trial] = &[
    trial("greeting-421", Greeting, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("greeting-450", Greeting, "S: 450 later", "deferred 4.0.0", 2, 1),
    trial("greeting-554", Greeting, "S: 554 5.3.2 no mail here", "failed 5.3.2", 1, 0),
    trial("greeting-521", Greeting, "S: 521 no mail here", "failed 5.0.0", 1, 0), // RFC 7504
    trial("greeting-odd", Greeting, "S: 250 hello\n! hang", "deferred 4.5.0", 2, 1),
    trial("greeting-babble", Greeting, "B: \\x00\\xff?\\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    trial("ehlo-421", Ehlo, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("ehlo-451", Ehlo, "S: 451 4.3.0 later", "deferred 4.3.0", 2, 1),
    trial("ehlo-554", Ehlo, "S: 554 5.7.1 not you", "failed 5.7.1", 1, 0),
    trial("ehlo-odd", Ehlo, "S: 354 what\n! hang", "deferred 4.5.0", 2, 1),
    trial("ehlo-babble", Ehlo, "B: welcome\\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    trial("helo-421", Helo, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("helo-451", Helo, "S: 451 4.3.0 later", "deferred 4.3.0", 2, 1),
    trial("helo-550", Helo, "S: 550 5.7.1 not you", "failed 5.7.1", 1, 0),
    trial("helo-babble", Helo, "B: 25\\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    // Opportunistic TLS: what is refused is done without, in the same attempt.
    trial("starttls-454", StartTls, "S: 454 4.7.0 not now", "delivered", 2, 1),
    trial("starttls-554", StartTls, "S: 554 5.7.0 never", "delivered", 2, 1),
    trial("starttls-421", StartTls, "S: 421 4.3.2 busy\n! close", "delivered", 2, 1),
    trial("starttls-babble", StartTls, "B: \\x16\\x03\\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    trial("secured-421", Secured, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("secured-554", Secured, "S: 554 5.7.1 not you", "failed 5.7.1", 1, 0),
    trial("secured-babble", Secured, "B: \\x00\\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    trial("mail-421", Mail, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("mail-451", Mail, "S: 451 4.7.1 greylisted\n! close", "deferred 4.7.1", 2, 1),
    trial("mail-550", Mail, "S: 550 5.7.1 not from you", "failed 5.7.1", 1, 0),
    trial("mail-503", Mail, "S: 503 5.5.1 EHLO first\n! hang", "deferred 4.5.0", 2, 1),
    trial("mail-odd", Mail, "S: 354 go ahead\n! hang", "deferred 4.5.0", 2, 1),
    trial("mail-babble", Mail, "B: 250\\x0bok\\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    trial("rcpt-421", Rcpt, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("rcpt-450", Rcpt, "S: 450 4.2.1 full\n! close", "deferred 4.2.1", 2, 1),
    trial("rcpt-550", Rcpt, "S: 550 5.1.1 nobody", "failed 5.1.1", 1, 0),
    trial("rcpt-552", Rcpt, "S: 552 too many\n! close", "deferred 4.5.3", 2, 1), // RFC 5321 §4.5.3.1.10
    trial("rcpt-552-full", Rcpt, "S: 552 5.2.2 full", "failed 5.2.2", 1, 0),
    trial("rcpt-odd", Rcpt, "S: 354 go ahead\n! hang", "deferred 4.5.0", 2, 1),
    trial("rcpt-babble", Rcpt, "S: 250-ok\nS: 550 no\n! hang", "deferred 4.5.0", 2, 1),
    trial("data-421", Data, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 1),
    trial("data-451", Data, "S: 451 4.3.1 no room", "deferred 4.3.1", 2, 1),
    trial("data-554", Data, "S: 554 5.5.0 no", "failed 5.5.0", 1, 0),
    // "No valid recipients", after one was accepted: a contradiction, and no verdict.
    trial("data-503", Data, "S: 503 5.5.1 RCPT first", "deferred 4.5.0", 2, 1),
    trial("data-no-rcpt", Data, "S: 554 5.5.1 no valid recipients", "deferred 4.5.0", 2, 1),
    trial("data-odd", Data, "S: 250 ok\n! hang", "deferred 4.5.0", 2, 1),
    trial("data-babble", Data, "B: \\r\\n\n! hang", "deferred 4.5.0", 2, 1),
    // The verdict comes before the content is read.
    trial("content-452", Content, "S: 452 4.3.1 no room\n! hang", "deferred 4.3.1", 2, 1),
    trial("content-554", Content, "S: 554 5.7.1 no\n! hang", "failed 5.7.1", 1, 0),
    trial("dot-421", Dot, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 2),
    trial("dot-452", Dot, "S: 452 4.3.1 no room", "deferred 4.3.1", 2, 2),
    trial("dot-554", Dot, "S: 554 5.6.0 spam", "failed 5.6.0", 1, 1),
    trial("dot-odd", Dot, "S: 354 go ahead\nS: 250 2.0.0 taken\n! hang", "unknown", 2, 2),
    trial("dot-babble", Dot, "B: thanks\\r\\n\n! hang", "unknown", 2, 2),
    trial("chunk-421", Chunk, "S: 421 4.3.2 busy\n! close", "deferred 4.3.2", 2, 2),
    trial("chunk-452", Chunk, "S: 452 4.3.1 no room", "deferred 4.3.1", 2, 2),
    trial("chunk-554", Chunk, "S: 554 5.6.0 spam", "failed 5.6.0", 1, 1),
    trial("chunk-no-rcpt", Chunk, "S: 554 5.5.1 no valid recipients", "deferred 4.5.0", 2, 2),
    // CHUNKING was offered and BDAT is not known: no verdict, and DATA will do, in the same attempt.
    trial("chunk-500", Chunk, "S: 500 5.5.1 what?\n! close", "delivered", 2, 2),
    trial("chunk-502", Chunk, "S: 502 5.5.1 not here\nS: 500 what?\n! hang", "delivered", 2, 2),
    trial("chunk-odd", Chunk, "S: 354 go ahead\n! hang", "unknown", 2, 2),
    trial("chunk-babble", Chunk, "B: thanks\\r\\n\n! hang", "unknown", 2, 2),
];

#[test]
fn a_refusal_at_any_stage_means_what_it_says() {
    let outbound = Outbound::start("stages_answers");
    let tls = self_signed(&["mx.test"]).acceptor();
    trial::run(&outbound, Some(&tls), ANSWERS, small, AFTER_RETRIES);
}

/// The session was kept and is no good: another one, in the same attempt.
const KEPT: &[Trial] = &[
    trial("rset-421", Rset, "S: 421 4.3.2 idle\n! close", "delivered", 2, 2),
    trial("rset-450", Rset, "S: 450 later\nC? QUIT\n! close", "delivered", 2, 2),
    trial("rset-500", Rset, "S: 500 what?\nC? QUIT\n! close", "delivered", 2, 2),
    trial("rset-babble", Rset, "B: \\xff\\r\\n\nC? QUIT\n! close", "delivered", 2, 2),
    trial("rset-half", Rset, "S: 250-ok\n! close", "delivered", 2, 2),
    trial("rset-close", Rset, "! close", "delivered", 2, 2),
    trial("mail-again-close", Rset, "S: 250 ok\nC: MAIL*\n! close", "delivered", 2, 2),
    trial(
        "mail-again-421",
        Rset,
        "S: 250 ok\nC: MAIL*\nS: 421 4.7.0 enough\n! close",
        "delivered",
        2,
        2,
    ),
    // Who counts the messages of a session may mean this one only. The next attempt has one of its own.
    trial(
        "rcpt-again-450",
        Rset,
        "S: 250 ok\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 450 4.3.2 one a session\nC: QUIT\n! close",
        "deferred 4.3.2",
        2,
        2,
    ),
];

#[test]
fn a_session_that_was_kept_for_nothing_costs_no_attempt() {
    let outbound = Outbound::start("stages_kept");
    trial::run(&outbound, None, KEPT, again, AFTER_RETRIES);
}

/// The connection ends.
const ENDS: &[Trial] = &[
    trial("greeting-close", Greeting, "! close", "deferred 4.4.2", 2, 1),
    trial("greeting-half", Greeting, "B: 220 mx\n! close", "deferred 4.4.2", 2, 1),
    trial("ehlo-close", Ehlo, "! close", "deferred 4.4.2", 2, 1),
    trial("ehlo-half", Ehlo, "S: 250-mx\n! close", "deferred 4.4.2", 2, 1),
    trial("helo-close", Helo, "! close", "deferred 4.4.2", 2, 1),
    trial("starttls-close", StartTls, "! close", "delivered", 2, 1),
    // A handshake that fails is done without, in the same attempt.
    trial("handshake-close", Handshake, "! close", "delivered", 2, 1),
    trial("handshake-read", Handshake, "! read 50\n! close", "delivered", 2, 1),
    trial(
        "handshake-half",
        Handshake,
        "! read 50\nB: \\x16\\x03\\x03\\x00\\x7a\\x02\n! close",
        "delivered",
        2,
        1,
    ),
    // And the server may insist: that is about TLS, and not about the mail.
    trial(
        "handshake-530",
        Handshake,
        "! close\n! connection\nS: 220 mx\nC: EHLO*\nS: 250-mx\nS: 250 STARTTLS\nC: MAIL*\n\
         S: 530 5.7.0 Must issue a STARTTLS command first\nC? QUIT\n! close",
        "deferred 4.7.5",
        3,
        1,
    ),
    trial("secured-close", Secured, "! close", "deferred 4.4.2", 2, 1),
    trial("mail-close", Mail, "! close", "deferred 4.4.2", 2, 1),
    trial("mail-half", Mail, "B: 250 2.1.0 o\n! close", "deferred 4.4.2", 2, 1),
    trial("rcpt-close", Rcpt, "! close", "deferred 4.4.2", 2, 1),
    trial("data-close", Data, "! close", "deferred 4.4.2", 2, 1),
    trial("dot-close", Dot, "! close", "unknown", 2, 2),
    trial("dot-half", Dot, "B: 250 2.0.0 tak\n! close", "unknown", 2, 2),
    trial("dot-taken", Dot, "S: 250 2.0.0 taken\n! close", "delivered", 1, 1),
    trial("ehlo-reset", Greeting, "S: 220 mx\n! reset", "deferred 4.4.2", 2, 1),
    trial("rcpt-reset", Mail, "S: 250 ok\n! reset", "deferred 4.4.2", 2, 1),
    trial("data-reset", Rcpt, "S: 250 ok\n! reset", "deferred 4.4.2", 2, 1),
    // Of a small message all is out before its loss shows, the final dot too.
    trial("content-reset", Data, "S: 354 go ahead\n! reset", "unknown", 2, 1),
    trial("chunk-close", Chunk, "! close", "unknown", 2, 2),
    trial("chunk-half", Chunk, "B: 250 2.0.0 tak\n! close", "unknown", 2, 2),
    trial("chunk-taken", Chunk, "S: 250 2.0.0 taken\n! close", "delivered", 1, 1),
];

#[test]
fn a_connection_may_end_at_any_stage() {
    let outbound = Outbound::start("stages_ends");
    let tls = self_signed(&["mx.test"]).acceptor();
    trial::run(&outbound, Some(&tls), ENDS, small, AFTER_RETRIES);
}

/// The connection ends while content is on its way: nobody has the message.
const BREAKS: &[Trial] = &[
    trial("content-close", Content, "! close", "deferred 4.4.2", 2, 1),
    trial("content-read", Content, "! read 3000000\n! close", "deferred 4.4.2", 2, 1),
    trial("content-reset", Content, "! read 1000000\n! reset", "deferred 4.4.2", 2, 1),
];

#[test]
fn a_connection_may_end_within_the_content() {
    let outbound = Outbound::start("stages_breaks");
    trial::run(&outbound, None, BREAKS, large, AFTER_RETRIES);
}

/// As much as goes in one chunk, and more than the peer takes from its socket at once.
fn one_chunk(outbound: &Outbound, recipient: &str) -> String {
    outbound.daemon.send(SENDER, &[recipient], Message::plain(recipient, 60_000).bytes())
}

/// The chunk is one piece with its end: when some of its octets have come, all of them may have.
const BROKEN_CHUNKS: &[Trial] = &[
    trial("chunk-read", Chunking, "C: BDAT * LAST\n! read 1000\n! close", "unknown", 2, 1),
    trial("chunk-reset", Chunking, "C: BDAT * LAST\n! read 1000\n! reset", "unknown", 2, 1),
];

#[test]
fn a_connection_may_end_within_a_chunk() {
    let outbound = Outbound::start("stages_broken_chunks");
    trial::run(&outbound, None, BROKEN_CHUNKS, one_chunk, AFTER_RETRIES);
}

/// The peer says no in mid-content, reads no further, and does not go.
const INTERRUPTIONS: &[Trial] = &[
    trial("within-552", Content, "! read 100000\nS: 552 5.3.4 big\n! stall", "failed 5.3.4", 1, 0),
    trial("within-452", Content, "! read 100000\nS: 452 4.3.1 no\n! stall", "deferred 4.3.1", 2, 1),
    trial("within-421", Content, "! read 100000\nS: 421 4.3.2 no\n! stall", "deferred 4.3.2", 2, 1),
    trial("within-250", Content, "! read 100000\nS: 250 taken\n! stall", "deferred 4.5.0", 2, 1),
    trial(
        "within-tls",
        Secured,
        "S: 250 mx\nC: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go ahead\n\
         ! read 100000\nS: 552 5.3.4 big\n! stall",
        "failed 5.3.4",
        1,
        0,
    ),
];

#[test]
fn a_refusal_within_the_content_is_heard_before_its_end() {
    let outbound = Outbound::start("stages_interruptions");
    let tls = self_signed(&["mx.test"]).acceptor();
    trial::run(&outbound, Some(&tls), INTERRUPTIONS, large, AFTER_RETRIES);
}

/// What the client says at its leave, the peer may answer as it likes: the message is delivered.
const FAREWELLS: &[Trial] = &[
    trial("quit-421", Quit, "S: 421 4.3.2 idle\n! close", "delivered", 1, 1),
    trial("quit-500", Quit, "S: 500 what?", "delivered", 1, 1),
    trial("quit-close", Quit, "! close", "delivered", 1, 1),
    trial("quit-babble", Quit, "B: \\xff\\xff\\r\\n\n! close", "delivered", 1, 1),
    trial("quit-endless", Quit, "! forever bye", "delivered", 1, 1),
    trial("quit-hang", Quit, "! hang", "delivered", 1, 1),
];

#[test]
fn nothing_said_at_the_leave_undoes_a_delivery() {
    let outbound = Outbound::start_with("stages_farewells", &[], |config| {
        config.remote = "conn_max_idle_count 0".to_owned(); // QUIT after each message
    });
    trial::run(&outbound, None, FAREWELLS, small, AFTER_RETRIES);
}

/// The peer says nothing, or takes for ever to say it.
const SILENCES: &[Trial] = &[
    trial("ehlo-hang", Ehlo, "! hang", "deferred 4.4.2", 2, 1),
    trial("ehlo-drip", Ehlo, "D: 250 mx.example.test has all day", "deferred 4.4.2", 2, 1),
    trial("helo-hang", Helo, "! hang", "deferred 4.4.2", 2, 1),
    trial("starttls-hang", StartTls, "! hang", "delivered", 2, 1),
    trial("handshake-hang", Handshake, "! hang", "delivered", 2, 1),
    trial("secured-hang", Secured, "! hang", "deferred 4.4.2", 2, 1),
    trial("mail-hang", Mail, "! hang", "deferred 4.4.2", 2, 1),
    trial("mail-drip", Mail, "D: 250 2.1.0 the sender is fine", "deferred 4.4.2", 2, 1),
    trial("rcpt-hang", Rcpt, "! hang", "deferred 4.4.2", 2, 1),
    trial("rcpt-drip", Rcpt, "D: 250 2.1.5 the recipient is fine", "deferred 4.4.2", 2, 1),
    trial("data-hang", Data, "! hang", "deferred 4.4.2", 2, 1),
    trial("data-drip", Data, "D: 354 go ahead, slowly", "deferred 4.4.2", 2, 1),
    trial("dot-hang", Dot, "! hang", "unknown", 2, 2),
    trial("chunk-hang", Chunk, "! hang", "unknown", 2, 2),
    trial("chunk-drip", Chunk, "D: 250 2.0.0 taken, in the end", "unknown", 2, 2),
    trial("dot-drip", Dot, "D: 250 2.0.0 taken, in the end", "unknown", 2, 2),
];

#[test]
fn silence_ends_at_the_deadline_of_the_command() {
    let outbound = Outbound::start_with("stages_silences", &[], |config| {
        config.remote = "command_timeout 3s\nsubmission_timeout 3s".to_owned();
    });
    let tls = self_signed(&["mx.test"]).acceptor();
    trial::run(&outbound, Some(&tls), SILENCES, small, AFTER_RETRIES);
}

/// The peer never ends its line, or its reply.
const ENDLESS: &[Trial] = &[
    trial("greeting-line", Greeting, "! forever 220 hello ", "deferred 4.5.0", 2, 1),
    trial("greeting-lines", Greeting, "! forever 220-hello\\r\\n", "deferred 4.5.0", 2, 1),
    trial("ehlo-line", Ehlo, "! forever 250-", "deferred 4.5.0", 2, 1),
    trial("ehlo-lines", Ehlo, "! forever 250-X-MORE\\r\\n", "deferred 4.5.0", 2, 1),
    trial("mail-lines", Mail, "! forever 250-ok\\r\\n", "deferred 4.5.0", 2, 1),
    trial("mail-refusal", Mail, "! forever 550-5.7.1 no\\r\\n", "deferred 4.5.0", 2, 1),
    trial("rcpt-lines", Rcpt, "! forever 250-ok\\r\\n", "deferred 4.5.0", 2, 1),
    trial("data-line", Data, "! forever 354", "deferred 4.5.0", 2, 1),
    trial("dot-lines", Dot, "! forever 250-taken\\r\\n", "unknown", 2, 2),
    trial("dot-replies", Dot, "! forever 250 taken\\r\\n", "delivered", 1, 1),
];

#[test]
fn an_endless_reply_is_no_reply() {
    let outbound = Outbound::start("stages_endless");
    trial::run(&outbound, None, ENDLESS, small, AFTER_RETRIES);
}

/// Deadlines that no directive shortens: greeting 5 minutes, content 3 minutes without progress, RSET 20 s.
const LONG_SILENCES: &[Trial] = &[
    trial("greeting-hang", Greeting, "! stall", "deferred 4.4.2", 2, 1),
    trial("content-stall", Content, "! read 100000\n! stall", "deferred 4.4.2", 2, 1),
];

/// The same of a session that was kept.
const LONG_SILENCES_OF_KEPT: &[Trial] = &[trial("rset-hang", Rset, "! stall", "delivered", 2, 2)];

#[test]
fn long_silence_ends_too() {
    if !long_run() {
        Area::new("stages_long_silences").report("minutes, left to POSTHASTE_LONG=1");
        return;
    }
    let outbound = Outbound::start("stages_long_silences");
    trial::run(&outbound, None, LONG_SILENCES, large, Duration::from_secs(8 * 60));
    trial::run(&outbound, None, LONG_SILENCES_OF_KEPT, again, AFTER_RETRIES);
}
