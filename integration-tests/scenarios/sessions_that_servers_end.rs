//! Real servers that want another session: for a client that nobody knows yet, and after so many messages.

use crate::harness::area::Area;
use crate::harness::certificates::self_signed;
use crate::harness::exim::{self, Exim};
use crate::harness::mounts;
use crate::harness::outbound::{Outbound, SOON};
use crate::harness::postfix::{self, Postfix};
use crate::harness::process::wait_until;

/// A message is delivered in its first attempt or not at all: retries are far away.
fn start(test: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
    })
}

/// postscreen says 450 to all recipients of an unknown client's first session, however many messages come in it.
#[test]
fn who_was_put_off_once_comes_in_another_session() {
    let area = Area::new("ended_by_postscreen");
    if !area.needs(&[postfix::PROGRAM]) || !area.needs_root(postfix::PROGRAM) {
        return;
    }
    let outbound = start("ended_by_postscreen");
    let (postfix, screened) = Postfix::screened(&outbound.area, "example.test");
    outbound.dns.domain("example.test", screened.ip());
    let id = outbound.send("one@example.test");
    outbound.daemon.wait_for_trace(&id, "450 4.3.2", SOON);
    wait_until("postscreen knows us", SOON, || postfix.log().contains("PASS NEW"));
    let id = outbound.send("two@example.test");
    outbound.daemon.wait_for_trace(&id, "delivered", SOON);
    postfix.mailbox.wait_for(1, SOON);
}

#[test]
fn a_server_that_counts_messages_gets_another_session() {
    let area = Area::new("ended_by_exim");
    if !area.needs(&[exim::PROGRAM]) || !mounts::can_be_made(&area) {
        return;
    }
    let outbound = start("ended_by_exim");
    let certificate = self_signed(&["mx.example.test"]);
    let exim = Exim::counting(&outbound.area, "example.test", &certificate, 2);
    outbound.dns.domain("example.test", exim.address().ip());
    for number in 0..5 {
        let id = outbound.send(&format!("user{number}@example.test"));
        outbound.daemon.wait_for_trace(&id, "delivered", SOON);
    }
}
