//! One connection for several messages to a destination: how many, for how long, and after what no more.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::daemon::Config;
use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment, Sink};

/// A message is delivered in its first attempt or not at all: retries are far away.
fn start(test: &str, remote: &str) -> Outbound {
    Outbound::start_with(test, &[], |config: &mut Config| {
        config.queue = "initial_retry_time 1h".to_owned();
        config.remote = remote.to_owned();
    })
}

fn idle(outbound: &Outbound) -> usize {
    outbound.shown("session").len()
}

/// A number the pool counts.
fn counted(outbound: &Outbound, name: &str) -> u64 {
    outbound.counted("pool", name)
}

fn wait_for_count(outbound: &Outbound, name: &str, count: u64) {
    wait_until(&format!("the pool has {name}={count}"), SOON, || counted(outbound, name) == count);
}

/// Sends a message and waits until its session lies in the pool.
fn send_and_rest(outbound: &Outbound, to: &str) {
    outbound.send(to);
    wait_until("the session rests", SOON, || idle(outbound) == 1);
}

/// How often a command was said on each connection.
fn said(sink: &Sink, command: &str) -> Vec<usize> {
    let times = |lines: &Vec<String>| lines.iter().filter(|l| l.starts_with(command)).count();
    sink.lines().iter().map(times).collect()
}

fn wait_for_quit(sink: &Sink, connection: usize) {
    wait_until("the peer is told QUIT", SOON, || said(sink, "QUIT")[connection] == 1);
}

fn play(outbound: &Outbound, name: &str) -> Player {
    let domain = "example.test";
    let player = Dialogue::named(name, domain).play(outbound.area.socket(), None);
    outbound.dns.domain(domain, player.sink.address().ip());
    player
}

/// A connection that did not last costs the next message nothing but a dial.
fn assert_next_message_dials(outbound: &Outbound, player: &Player) {
    outbound.send("user@example.test");
    player.sink.wait_for_recipient("user@example.test", SOON); // the first has none: it came by script
    outbound.daemon.wait_until_queue_is_empty(SOON);
    player.assert_followed();
    assert_eq!((player.sink.connections(), player.sink.count()), (2, 2));
}

#[test]
fn ten_messages_share_a_connection_and_the_eleventh_has_another() {
    let outbound = start("reuse_ten", "");
    let sink = outbound.sink("example.test");
    for number in 1..=10 {
        outbound.send(&format!("user{number}@example.test"));
        sink.wait_for(number, SOON);
        if number == 10 {
            break;
        }
        wait_until("ps shows the session with its transactions", SOON, || {
            let sessions = outbound.shown("session");
            sessions.len() == 1 && sessions[0]["transactions"] == number
        });
    }
    wait_for_quit(&sink, 0);
    assert_eq!(idle(&outbound), 0);
    send_and_rest(&outbound, "user11@example.test");
    assert_eq!(said(&sink, "MAIL"), [10, 1]);
    assert_eq!(counted(&outbound, "reused"), 9);

    let session = &outbound.shown("session")[0];
    let address = sink.address().ip().to_string();
    for (member, value) in [
        ("target", "mx"),
        ("destination", "example.test"),
        ("mx", "mx.example.test"),
        ("address", &address),
        ("tls_level", "none"),
    ] {
        assert_eq!(session[member], value, "{session}");
    }
    assert!(session["idle_seconds"].as_u64() <= session["age_seconds"].as_u64(), "{session}");
    let page = outbound.daemon.said(&["ps"]);
    assert!(page.contains("TRANSACTIONS") && page.contains(&address), "{page}");
}

#[test]
fn a_connection_carries_no_more_than_its_server_wants() {
    let outbound = start("reuse_mailmax", "");
    let section = "S: 220 mx.{domain}\nC: EHLO *\nS: 250-mx.{domain}\nS: 250 LIMITS MAILMAX=1\n\
                   C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go ahead\n\
                   ! content\nS: 250 taken\nC: QUIT\n";
    let player = Dialogue::parse("mailmax", &format!("{section}! connection\n{section}"))
        .unwrap()
        .play(outbound.area.socket(), None);
    outbound.dns.domain("example.test", player.sink.address().ip());
    for connections in 1..=2 {
        let id = outbound.send("user@example.test");
        outbound.daemon.wait_for_trace(&id, "delivered", SOON);
        wait_for_quit(&player.sink, connections - 1); // RFC 9422 §4.1
        assert_eq!((player.sink.connections(), idle(&outbound)), (connections, 0));
    }
    player.assert_followed();
}

#[test]
fn an_idle_connection_is_ended_after_its_time() {
    let outbound = start("reuse_expiry", "conn_max_idle_time 1");
    let sink = outbound.sink("example.test");
    outbound.send("one@example.test");
    sink.wait_for(1, SOON);
    let delivered = Instant::now();
    wait_for_quit(&sink, 0);
    // A little less than a second, because the sink knows of the message before the daemon does.
    assert!(delivered.elapsed() > Duration::from_millis(900), "{:?}", delivered.elapsed());
    wait_for_count(&outbound, "expired", 1);
    outbound.send("two@example.test");
    sink.wait_for(2, SOON);
    assert_eq!(sink.connections(), 2);
}

#[test]
fn a_connection_the_peer_closed_costs_no_attempt() {
    let outbound = start("reuse_closed", "");
    let player = play(&outbound, "close-idle");
    outbound.send("user@example.test");
    wait_until("the end is noticed without anybody asking", SOON, || {
        player.sink.count() == 1 && idle(&outbound) == 0 && outbound.daemon.has_nothing_left()
    });
    assert_next_message_dials(&outbound, &player);
    assert_eq!(counted(&outbound, "reused"), 0);
}

#[test]
fn a_goodbye_that_waits_in_an_idle_connection_ends_it() {
    let outbound = start("reuse_goodbye", "");
    let player = play(&outbound, "goodbye-idle");
    outbound.send("user@example.test");
    wait_until("the goodbye is noticed", SOON, || {
        player.sink.count() == 1 && idle(&outbound) == 0 && outbound.daemon.has_nothing_left()
    });
    assert_next_message_dials(&outbound, &player);
    assert_eq!(said(&player.sink, "QUIT")[0], 0); // 421 was the last word
}

#[test]
fn a_peer_that_refuses_rset_is_left_alone() {
    let outbound = start("reuse_refused_rset", "");
    let player = play(&outbound, "refused-rset");
    send_and_rest(&outbound, "user@example.test");
    std::thread::sleep(Duration::from_millis(1100)); // who has just answered is not asked
    assert_next_message_dials(&outbound, &player);
}

#[test]
fn a_destination_keeps_so_many_and_no_more() {
    let outbound = start("reuse_cap", "conn_max_idle_count 1");
    let both = Barrier::new(2);
    let together = Manners {
        answer: Box::new(move |moment, _| {
            if moment == Moment::Dot {
                both.wait(); // so that neither can use the other's connection
            }
            None
        }),
        ..Manners::default()
    };
    let sink = outbound.sink_with("example.test", together);
    outbound.send("one@example.test");
    outbound.send("two@example.test");
    sink.wait_for(2, SOON);
    wait_until("one of them is told QUIT", SOON, || said(&sink, "QUIT").iter().sum::<usize>() == 1);
    assert_eq!((idle(&outbound), sink.connections()), (1, 2));
}

#[test]
fn what_failed_after_data_is_not_used_again() {
    let outbound = start("reuse_failed_data", "");
    let seen = AtomicUsize::new(0);
    // Each connection carries one message only, so the number of DATA is that of the connection.
    let failing = Manners {
        answer: Box::new(move |moment, _| match moment {
            Moment::Data if seen.fetch_add(1, Ordering::SeqCst) == 0 => {
                Some("451 4.3.0 not now".to_owned())
            }
            Moment::Dot if seen.load(Ordering::SeqCst) == 2 => {
                Some("554 5.6.0 not this one".to_owned())
            }
            _ => None,
        }),
        ..Manners::default()
    };
    let sink = outbound.sink_with("example.test", failing);
    for (name, told) in [("one", "4.3.0"), ("two", "5.6.0"), ("three", "delivered")] {
        let id = outbound.send(&format!("{name}@example.test"));
        outbound.daemon.wait_for_trace(&id, told, SOON);
    }
    assert_eq!(said(&sink, "MAIL"), [1, 1, 1]);
    // Each was in step, so its peer was told.
    wait_for_quit(&sink, 0);
    wait_for_quit(&sink, 1);
}

#[test]
fn no_attempt_waits_for_the_answer_to_quit() {
    let outbound = start("reuse_slow_quit", "");
    let player = play(&outbound, "slow-quit-after-refusal");
    let asked = Instant::now();
    let id = outbound.send("user@example.test");
    outbound.daemon.wait_for_trace(&id, "4.3.0", SOON);
    let taken = asked.elapsed();
    assert!(taken < Duration::from_secs(4), "{taken:?}"); // the farewell takes five seconds
    wait_for_quit(&player.sink, 0);
    player.assert_followed();
}

#[test]
fn who_answers_out_of_step_is_left_without_a_word() {
    let outbound = start("reuse_out_of_step", "");
    let player = play(&outbound, "out-of-step-data");
    let id = outbound.send("user@example.test");
    outbound.daemon.wait_for_trace(&id, "4.5.0", SOON);
    player.assert_followed(); // it expects the end of the connection, and no QUIT
    assert_eq!(said(&player.sink, "QUIT"), [0]);
}

#[test]
fn a_connection_is_for_one_destination() {
    let outbound = start("reuse_destinations", "");
    let sink = outbound.sink("example.test");
    outbound.dns.domain("other.test", sink.address().ip());
    send_and_rest(&outbound, "user@example.test");
    outbound.send("user@other.test");
    sink.wait_for(2, SOON);
    wait_until("both rest", SOON, || idle(&outbound) == 2);
    assert_eq!(sink.connections(), 2);
}

#[test]
fn a_message_that_waives_tls_shares_no_connection() {
    let outbound = start("reuse_waived", "");
    let sink = outbound.sink("example.test");
    send_and_rest(&outbound, "usual@example.test");
    // RFC 8689 §3.
    let plain = Message::plain("waived", 1000);
    let content = [b"TLS-Required: No\r\n", plain.bytes()].concat();
    outbound.daemon.send(SENDER, &["waived@example.test"], &content);
    sink.wait_for(2, SOON);
    wait_for_quit(&sink, 1);
    assert_eq!((sink.connections(), idle(&outbound)), (2, 1));
    outbound.send("usual@example.test");
    sink.wait_for(3, SOON);
    assert_eq!(said(&sink, "MAIL"), [2, 1]);
}

#[test]
fn a_connection_without_tls_for_want_of_a_handshake_is_not_kept() {
    let outbound = start("reuse_fallback", "");
    let player = play(&outbound, "closed-starttls");
    outbound.send("user@example.test");
    wait_until("it is delivered in the clear", SOON, || player.sink.count() == 1);
    wait_for_quit(&player.sink, 1);
    assert_eq!(idle(&outbound), 0);
}

#[test]
fn stopping_takes_leave_of_every_peer() {
    let mut outbound = start("reuse_stop", "");
    let player = play(&outbound, "slow-quit");
    send_and_rest(&outbound, "user@example.test");
    let asked = Instant::now();
    assert_eq!(outbound.daemon.terminate(), Some(0));
    let taken = asked.elapsed();
    // Long enough for the peer's answer, and not for ever.
    assert!((Duration::from_secs(1)..Duration::from_secs(6)).contains(&taken), "{taken:?}");
    player.assert_followed();
}

#[test]
fn nothing_is_kept_where_the_configuration_says_so() {
    for (number, directive) in
        ["conn_reuse_limit 0", "conn_max_idle_count 0", "conn_max_idle_time 0"].iter().enumerate()
    {
        let outbound = start(&format!("reuse_none_{number}"), directive);
        let sink = outbound.sink("example.test");
        outbound.send("user@example.test");
        sink.wait_for(1, SOON);
        wait_for_quit(&sink, 0);
        assert_eq!(idle(&outbound), 0, "{directive}");
    }
}
