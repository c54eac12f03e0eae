//! A host that does not even finish the TCP handshake: `connect_timeout` ends it, the next address is dialled, and its slot serves others.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::area::Area;
use crate::harness::listener;
use crate::harness::outbound::{Outbound, SOON};

/// More connections than a listener keeps for a program that never takes one.
const MOST: usize = 1000;

/// Nobody takes its connections, and no more fit in: the kernel answers nothing to the next one.
struct Hanging {
    address: IpAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Hanging {
    fn start(area: &Area) -> Hanging {
        let listener = listener::tcp(area.socket());
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while waiting.len() < MOST {
            match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                    break;
                }
            }
        }
        assert!(waiting.len() < MOST, "the queue of {address} has no end");
        Hanging { address: address.ip(), _listener: listener, _waiting: waiting }
    }
}

fn start(test: &str, remote: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = "max_parallelism 1\ninitial_retry_time 1h".to_owned();
        config.remote = remote.to_owned();
    })
}

#[test]
fn the_next_address_is_dialled_when_its_time_is_over() {
    let outbound = start("connect_next", "connect_timeout 2s");
    let hanging = Hanging::start(&outbound.area);
    let (sink, alive) = outbound.lone_sink();
    outbound.dns.mx("hosts.test", &[(10, "mx1.test"), (20, "mx2.test")]);
    outbound.dns.host("mx1.test", &[hanging.address]).host("mx2.test", &[alive]);
    let begun = Instant::now();
    outbound.send("user@hosts.test");
    sink.wait_for_recipient("user@hosts.test", SOON);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    // Addresses of one host, each with its own time.
    outbound.dns.mx("addresses.test", &[(10, "mx3.test")]);
    outbound.dns.host("mx3.test", &[hanging.address, alive]);
    outbound.send("user@addresses.test");
    sink.wait_for_recipient("user@addresses.test", SOON);
    outbound.daemon.wait_until_queue_is_empty(SOON);
}

#[test]
fn where_nobody_else_is_the_mail_waits_and_the_slot_is_free() {
    let outbound = start("connect_alone", "connect_timeout 2s");
    let hanging = Hanging::start(&outbound.area);
    outbound.dns.domain("hanging.test", hanging.address);
    let sink = outbound.sink("lively.test");
    let id = outbound.send("user@hanging.test");
    outbound.daemon.wait_for_trace(&id, "attempt", SOON);
    outbound.send("user@lively.test");
    let trace = outbound.daemon.wait_for_trace(&id, "4.4.1", SOON);
    assert!(trace.contains("connection timed out"), "{trace}");
    sink.wait_for_recipient("user@lively.test", SOON);
    assert_eq!(outbound.daemon.queued(), [id]);
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn a_dial_of_five_minutes_gives_its_slot_back_after_ten_seconds() {
    let outbound = start("connect_patience", "");
    let hanging = Hanging::start(&outbound.area);
    outbound.dns.domain("hanging.test", hanging.address);
    let sink = outbound.sink("lively.test");
    let id = outbound.send("user@hanging.test");
    outbound.daemon.wait_for_trace(&id, "attempt", SOON);
    outbound.send("user@lively.test");
    sink.wait_for_recipient("user@lively.test", SOON);
    assert_eq!(outbound.daemon.queued(), [id]); // still dialling
}
