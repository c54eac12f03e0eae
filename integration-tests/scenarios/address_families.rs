//! Exchangers that have only IPv6, and those that have both families: where one does not answer, the other does.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use crate::harness::outbound::{Outbound, SOON};
use crate::harness::sink::Sink;

/// There is one IPv6 loopback address, and the port is the test's own.
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// One attempt must do. `None`, and a word about it, where there is no IPv6.
fn started(test: &str) -> Option<Outbound> {
    let outbound = Outbound::start_with(test, &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
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
