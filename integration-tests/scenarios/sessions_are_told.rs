//! Each exchanger that was asked has a line in the log, whether its session was used or why it was not; and `ps` counts them.

use serde_json::Value;

use crate::harness::certificates::self_signed;
use crate::harness::dialogue::Dialogue;
use crate::harness::outbound::{Outbound, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Sink};

fn lines(outbound: &Outbound, domain: &str) -> Vec<Value> {
    let log = outbound.daemon.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["msg"] == "session" && line["domain"] == domain).collect()
}

/// What the target counts of its sessions.
fn counters(outbound: &Outbound) -> Vec<(String, u64)> {
    let said = outbound.daemon.said(&["ps", "--json"]);
    let items = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut targets = items.filter(|item| item["actor"]["name"] == "mx");
    serde_json::from_value(targets.next().unwrap()["actor"]["counters"].take()).unwrap()
}

#[test]
fn every_exchanger_has_a_line_and_is_counted() {
    let outbound = Outbound::start_with("sessions_are_told", &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned(); // in one attempt
        config.global.push_str("\nlog json stderr");
    });
    let dns = &outbound.dns;
    let refusing =
        Dialogue::named("permfail-greeting", "a.test").play(outbound.area.socket(), None);
    let manners =
        Manners { tls: Some(self_signed(&["other.test"]).acceptor()), ..Manners::default() };
    let taking = Sink::with(outbound.area.socket(), manners);
    dns.mx("example.test", &[(10, "dead.test"), (20, "refusing.test"), (30, "taking.test")]);
    dns.host("dead.test", &[outbound.area.address().into()]); // nobody listens there
    dns.host("refusing.test", &[refusing.sink.address().ip()]);
    dns.host("taking.test", &[taking.address().ip()]);

    let id = outbound.send("user@example.test");
    taking.wait_for_recipient("user@example.test", SOON);
    let told = lines(&outbound, "example.test");
    let [dead, refused, taken] = &told[..] else { panic!("{told:#?}") };
    assert!(told.iter().all(|line| line["msg_id"] == id.as_str()), "{told:#?}");
    assert_eq!(
        (&dead["remote_server"], &dead["reason"]),
        (&"dead.test".into(), &"unreachable".into())
    );
    assert_eq!((&refused["smtp_code"], &refused["smtp_enchcode"]), (&554.into(), &"5.3.2".into()));
    assert_eq!(refused["remote_server"], "refusing.test");
    assert_eq!(taken["remote_addr"], taking.address().ip().to_string());
    assert_eq!((&taken["mx_level"], &taken["tls_level"]), (&"none".into(), &"encrypted".into()));
    assert!(taken["tls_err"].as_str().unwrap().contains("self"), "{taken}");
    assert!(taken["tls_version"].as_str().unwrap().starts_with("TLSv1"), "{taken}");
    assert!(taken["local_addr"].as_str().unwrap().starts_with("127."), "{taken}");
    assert_eq!(taken["reused"], false);
    let history = outbound.daemon.wait_for_trace(&id, "delivered", SOON);
    assert!(history.contains("certificate not proven: self"), "{history}");

    // Again, by the same session.
    outbound.send("another@example.test");
    taking.wait_for_recipient("another@example.test", SOON);
    wait_until("the reused session is told", SOON, || lines(&outbound, "example.test").len() == 4);
    assert_eq!(lines(&outbound, "example.test")[3]["reused"], true);

    // TLS is offered and broken.
    let broken =
        Dialogue::named("broken-starttls", "broken.test").play(outbound.area.socket(), None);
    dns.domain("broken.test", broken.sink.address().ip());
    outbound.send("user@broken.test");
    broken.sink.wait_for(1, SOON);
    let told = lines(&outbound, "broken.test");
    let [clear] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(clear["tls_level"], "none");
    assert!(clear["tls_err"].as_str().unwrap().contains("TLS handshake failed"), "{clear}");

    // Somebody calls himself as we do. Here that is no loop, because loopback may be delivered to.
    let script = "S: 220 mx.sender.test ESMTP\n! serve\n";
    let mirror = Dialogue::parse("mirror", script).unwrap().play(outbound.area.socket(), None);
    dns.domain("mirror.test", mirror.sink.address().ip());
    outbound.send("user@mirror.test");
    mirror.sink.wait_for(1, SOON);
    assert!(outbound.daemon.log().contains("server greets with our own name"));

    let counted = counters(&outbound);
    for (name, value) in [
        ("attempts", 4),
        ("opened", 3),
        ("reused", 1),
        ("plaintext_fallbacks", 1),
        ("dials_refused", 1),
        ("dials_timed_out", 0),
        ("handshakes_failed", 1),
    ] {
        assert!(counted.contains(&(name.to_owned(), value)), "{name}: {counted:?}");
    }
}
