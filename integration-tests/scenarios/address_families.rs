//! Exchangers that have only IPv6, and those that have both families: where one does not answer, the other does. And where we come from:
//! `local_ip`, `force_ipv4`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use hickory_resolver::proto::rr::RecordType;

use crate::harness::outbound::{Outbound, SOON};
use crate::harness::sink::Sink;

/// There is one IPv6 loopback address, and the port is the test's own.
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// One attempt must do. `None`, and a word about it, where there is no IPv6.
fn started(test: &str) -> Option<Outbound> {
    started_with(test, "")
}

/// `remote` are directives of `target.remote`.
fn started_with(test: &str, remote: &str) -> Option<Outbound> {
    let outbound = Outbound::start_with(test, &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
        config.remote = remote.to_owned();
    });
    let six = TcpListener::bind((SIX, 0)).is_ok();
    (six || outbound.area.skip("IPv6")).then_some(outbound)
}

fn sink_over_six(outbound: &Outbound) -> Sink {
    Sink::start(SocketAddr::new(SIX, outbound.area.port()))
}

fn deliver(outbound: &Outbound, sink: &Sink) {
    outbound.dns.mx("example.test", &[(10, "mx.example.test")]);
    outbound.send("user@example.test");
    sink.wait_for_recipient("user@example.test", SOON);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((sink.count(), sink.connections(), outbound.home.count()), (1, 1, 0));
}

#[test]
fn an_exchanger_may_have_ipv6_only() {
    let Some(outbound) = started("ipv6_only") else { return };
    let sink = sink_over_six(&outbound);
    outbound.dns.host("mx.example.test", &[SIX]);
    deliver(&outbound, &sink);
}

#[test]
fn ipv6_comes_first_of_two_families() {
    let Some(outbound) = started("ipv6_first") else { return };
    let sink = sink_over_six(&outbound);
    let (other, four) = outbound.lone_sink();
    outbound.dns.host("mx.example.test", &[four, SIX]);
    deliver(&outbound, &sink);
    assert_eq!(other.connections(), 0);
}

#[test]
fn ipv4_is_tried_where_ipv6_does_not_answer() {
    let Some(outbound) = started("ipv6_refuses") else { return };
    let (sink, four) = outbound.lone_sink();
    outbound.dns.host("mx.example.test", &[SIX, four]); // nobody listens at the first
    deliver(&outbound, &sink);
}

#[test]
fn ipv6_is_tried_where_ipv4_does_not_answer() {
    let Some(outbound) = started("ipv4_refuses") else { return };
    let sink = sink_over_six(&outbound);
    outbound.dns.mx("example.org", &[(10, "four.test"), (20, "six.test")]);
    outbound.dns.host("four.test", &[outbound.area.address().into()]).host("six.test", &[SIX]);
    outbound.send("user@example.org");
    sink.wait_for_recipient("user@example.org", SOON);
}

#[test]
fn local_ip_is_where_we_come_from() {
    let Some(outbound) = started_with("local_ip_both", "local_ip 127.0.0.77 ::1") else { return };
    let (four, address) = outbound.lone_sink();
    let six = sink_over_six(&outbound);
    outbound.dns.domain("four.test", address).domain("six.test", SIX);
    outbound.send("user@four.test");
    outbound.send("user@six.test");
    four.wait_for_recipient("user@four.test", SOON);
    six.wait_for_recipient("user@six.test", SOON);
    assert_eq!(four.callers(), [Ipv4Addr::new(127, 0, 0, 77)]);
    assert_eq!(six.callers(), [SIX]);
}

#[test]
fn without_local_ip_the_system_chooses() {
    let outbound = Outbound::start("local_ip_none");
    let sink = outbound.sink("example.test");
    outbound.send("user@example.test");
    sink.wait_for_recipient("user@example.test", SOON);
    assert_ne!(sink.callers(), [Ipv4Addr::new(127, 0, 0, 77)]);
}

#[test]
fn a_family_without_local_ip_is_passed_over() {
    let Some(outbound) = started_with("local_ip_four", "local_ip 127.0.0.77") else { return };
    let six = sink_over_six(&outbound);
    let (four, address) = outbound.lone_sink();
    outbound.dns.host("mx.example.test", &[SIX, address]);
    deliver(&outbound, &four);
    assert_eq!(four.callers(), [Ipv4Addr::new(127, 0, 0, 77)]);
    // Nothing else is there: it waits, and nobody is dialled.
    outbound.dns.domain("six.test", SIX);
    let id = outbound.send("user@six.test");
    let trace = outbound.daemon.wait_for_trace(&id, "4.4.1", SOON);
    assert!(trace.contains("of a family that we may use"), "{trace}");
    assert_eq!(six.connections(), 0);

    // The other way round.
    let Some(outbound) = started_with("local_ip_six", "local_ip ::1") else { return };
    let six = sink_over_six(&outbound);
    let (four, address) = outbound.lone_sink();
    outbound.dns.host("mx.example.test", &[SIX, address]);
    deliver(&outbound, &six);
    outbound.dns.domain("four.test", address);
    let id = outbound.send("user@four.test");
    outbound.daemon.wait_for_trace(&id, "4.4.1", SOON);
    assert_eq!((six.callers(), four.connections()), (vec![SIX], 0));
}

#[test]
fn a_local_ip_that_is_not_ours_blames_nobody() {
    // 192.0.2.0/24 is for documentation: no machine has it.
    let outbound = Outbound::start_with("local_ip_foreign", &[], |config| {
        config.remote = "local_ip 192.0.2.77".to_owned();
    });
    let sink = outbound.sink("example.test");
    let id = outbound.send("user@example.test");
    outbound.daemon.wait_for_trace(&id, "postponed", SOON);
    assert_eq!((sink.connections(), outbound.daemon.queued()), (0, vec![id]));
}

#[test]
fn a_local_ip_that_has_gone_leaves_the_other_family() {
    let Some(outbound) = started_with("local_ip_gone", "local_ip 127.0.0.77 2001:db8::77") else {
        return;
    };
    let six = sink_over_six(&outbound);
    let (four, address) = outbound.lone_sink();
    outbound.dns.host("mx.example.test", &[SIX, address]);
    deliver(&outbound, &four);
    assert_eq!(six.connections(), 0);
}

#[test]
fn force_ipv4_leaves_ipv6_alone() {
    let Some(outbound) = started_with("force_ipv4", "force_ipv4 yes") else { return };
    let six = sink_over_six(&outbound);
    let (four, address) = outbound.lone_sink();
    outbound.dns.host("mx.example.test", &[SIX, address]);
    deliver(&outbound, &four);
    assert!(!outbound.dns.was_asked("mx.example.test", RecordType::AAAA));
    // A host that has nothing else waits: it is our rule that keeps us from it.
    outbound.dns.domain("six.test", SIX);
    let id = outbound.send("user@six.test");
    let trace = outbound.daemon.wait_for_trace(&id, "4.4.1", SOON);
    assert!(trace.contains("of a family that we may use"), "{trace}");
    assert_eq!(six.connections(), 0);
    // Where there is really none, that is told.
    outbound.dns.mx("none.test", &[(10, "mx.none.test")]).host("mx.none.test", &[]);
    let id = outbound.send("user@none.test");
    outbound.daemon.wait_for_trace(&id, "5.4.4", SOON);
}
