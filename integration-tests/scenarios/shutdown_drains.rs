//! SIGTERM: no new mail, deliveries under way come to their end, exit code 0, and nothing is done twice afterwards.

use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::harness::outbound::{Outbound, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

#[test]
fn shutdown_drains() {
    let mut outbound = Outbound::start("shutdown_drains");
    let (reached, at_dot) = mpsc::channel();
    let (release, may_answer) = mpsc::channel::<()>();
    let (reached, may_answer) = (Mutex::new(reached), Mutex::new(may_answer));
    // The reply to the dot waits until the test says so.
    let manners = Manners {
        answer: Box::new(move |moment, _| {
            if moment == Moment::Dot {
                let _ = reached.lock().unwrap().send(());
                let _ = may_answer.lock().unwrap().recv_timeout(SOON);
            }
            None
        }),
        ..Manners::default()
    };
    let sink = outbound.sink_with("example.test", manners);
    outbound.send("user@example.test");
    at_dot.recv_timeout(SOON).expect("the delivery to reach the dot");

    let listen = outbound.listen();
    outbound.daemon.ask_to_stop();
    wait_until("no new mail is taken", SOON, || TcpStream::connect(listen).is_err());
    assert!(outbound.daemon.is_running(), "the delivery was abandoned");
    release.send(()).unwrap();
    assert_eq!(outbound.daemon.wait_for_exit(SOON), Some(0));
    assert_eq!(sink.count(), 1);

    outbound.daemon.restart(&outbound.area);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(sink.count(), 1, "delivered once more");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut outbound = Outbound::start("second_signal");
    let stuck = Arc::new(Mutex::new(()));
    let held = stuck.lock().unwrap();
    let (reached, at_dot) = mpsc::channel();
    let (gate, reached) = (Arc::clone(&stuck), Mutex::new(reached));
    let manners = Manners {
        answer: Box::new(move |moment, _| {
            if moment == Moment::Dot {
                let _ = reached.lock().unwrap().send(());
                drop(gate.lock());
            }
            None
        }),
        ..Manners::default()
    };
    let sink = outbound.sink_with("example.test", manners);
    outbound.send("user@example.test");
    at_dot.recv_timeout(SOON).expect("the delivery to reach the dot");

    let listen = outbound.listen();
    outbound.daemon.ask_to_stop();
    wait_until("no new mail is taken", SOON, || TcpStream::connect(listen).is_err());
    outbound.daemon.ask_to_stop();
    outbound.daemon.wait_for_exit(SOON);
    drop(held);

    // Nobody had told the daemon that it was delivered: it comes again.
    outbound.daemon.restart(&outbound.area);
    sink.wait_for(2, SOON);
    outbound.daemon.wait_until_queue_is_empty(SOON);
}
