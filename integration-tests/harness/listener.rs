//! Sockets for the test's own servers.
//!
//! An address that is free may seem to be taken for a moment: a child that another test is starting has a copy of every socket of this
//! process, also of those that were just closed, until it has become another program.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// After that somebody else has it.
const LONGEST: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

pub fn tcp(address: SocketAddr) -> TcpListener {
    patiently(|| TcpListener::bind(address))
}

pub fn udp(address: SocketAddr) -> UdpSocket {
    patiently(|| UdpSocket::bind(address))
}

fn patiently<S>(bind: impl Fn() -> io::Result<S>) -> S {
    let end = Instant::now() + LONGEST;
    loop {
        match bind() {
            Err(why) if why.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(LOOK);
            }
            bound => return bound.unwrap(),
        }
    }
}
