//! One session of a forwarder for several messages, over every kind of connection.

use crate::harness::area::Area;
use crate::harness::dovecot::Dovecot;
use crate::harness::forwarding::{Forwarding, Route};
use crate::harness::message::Message;
use crate::harness::outbound::SOON;
use crate::harness::process::wait_until;
use crate::harness::sink::Sink;
use crate::harness::smarthost::Smarthost;

const ANN: &str = "ann@example.test";

/// Each one goes when the session of the one before rests, and `ps` counts them.
fn send_ten(forwarding: &Forwarding, route: &str) {
    for number in 1..=10 {
        let message = Message::plain(&format!("{route}-{number}"), 1000);
        assert_eq!(forwarding.attempt(route, ANN, &message), "delivered");
        let rests = if number == 10 { 0 } else { 1 };
        wait_until(&format!("{rests} sessions rest after message {number}"), SOON, || {
            let idle = forwarding.idle();
            idle.len() == rests && idle.iter().all(|session| session["transactions"] == number)
        });
    }
}

#[test]
fn ten_messages_share_a_session_of_smtp_that_has_logged_in() {
    let area = Area::new("forward_reuse_smtp");
    let Some(host) = Smarthost::start(&area) else { return };
    let lines = host.places("targets tls://{only-login}\nauth login ann op3n-s3same");
    let forwarding =
        Forwarding::start_with(&area, &host.trust(), &[Route::new("ten", "smtp", lines)]);
    host.publish(&forwarding.dns);
    send_ten(&forwarding, "ten");
    assert_eq!(host.mailbox().wait_for(10, SOON).len(), 10);
    let log = host.log();
    let at_the_door = |what: &str| {
        log.lines()
            .filter(|line| line.contains(" only-login.test/smtpd[") && line.contains(what))
            .count()
    };
    assert_eq!(at_the_door(": connect from"), 1, "{log}");
}

#[test]
fn ten_messages_share_a_session_of_lmtp_over_a_unix_socket() {
    let area = Area::new("forward_reuse_lmtp");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let before = dovecot.log().matches("Connect from local").count();
    let lines = format!("targets unix:{}", dovecot.lmtp_socket().display());
    let forwarding = Forwarding::start(&area, &[Route::new("ten", "lmtp", lines)]);
    send_ten(&forwarding, "ten");
    assert_eq!(dovecot.wait_for("ann", 10, SOON).len(), 10);
    let log = dovecot.log();
    assert_eq!(log.matches("Connect from local").count(), before + 1, "{log}");
}

#[test]
fn nothing_is_kept_where_the_configuration_says_so() {
    let area = Area::new("forward_reuse_none");
    let sink = Sink::start(area.socket());
    for directive in ["conn_reuse_limit 0", "conn_max_idle_count 0", "conn_max_idle_time 0"] {
        let place = Area::new("forward_reuse_none_daemon");
        let lines = format!("targets tcp://{}\n{directive}", sink.address());
        let forwarding = Forwarding::start(&place, &[Route::new("none", "smtp", lines)]);
        let before = sink.connections();
        for name in ["one", "two"] {
            let message = Message::plain(name, 1000);
            assert_eq!(forwarding.attempt("none", ANN, &message), "delivered");
        }
        assert_eq!(sink.connections() - before, 2, "{directive}");
        assert_eq!(forwarding.idle().len(), 0, "{directive}");
    }
}
