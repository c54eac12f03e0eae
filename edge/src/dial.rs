//! One connection to one address, by TCP from the right local address, or to a Unix socket, within its time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// `local_ip`: at most one address a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddresses {
    pub v4: Option<std::net::Ipv4Addr>,
    pub v6: Option<std::net::Ipv6Addr>,
}

impl LocalAddresses {
    /// The address to bind for a peer; `Err` when one family is set and the peer is of the other.
    pub fn for_peer(&self, peer: IpAddr) -> Result<Option<IpAddr>, NoLocalAddress> {
        match (peer, self.v4, self.v6) {
            (_, None, None) => Ok(None),
            (IpAddr::V4(_), Some(v4), _) => Ok(Some(IpAddr::V4(v4))),
            (IpAddr::V6(_), _, Some(v6)) => Ok(Some(IpAddr::V6(v6))),
            (IpAddr::V4(_), None, Some(_)) | (IpAddr::V6(_), Some(_), None) => Err(NoLocalAddress),
        }
    }
}

/// `local_ip` names no address of the peer's family, or this machine has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLocalAddress;

#[derive(Debug)]
pub enum DialError {
    NoLocalAddress,
    TimedOut,
    /// Refused, unreachable, reset.
    Peer(io::Error),
    /// Our own machine could not even try: no descriptors, no memory, no such local address.
    Local(io::Error),
}

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DialError::NoLocalAddress => f.write_str("no local address of this family"),
            DialError::TimedOut => f.write_str("connection timed out"),
            DialError::Peer(e) | DialError::Local(e) => write!(f, "{e}"),
        }
    }
}

pub async fn dial(
    peer: SocketAddr,
    local: &LocalAddresses,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    let from = local.for_peer(peer.ip()).map_err(|_| DialError::NoLocalAddress)?;
    let socket = match peer {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(|e| match is_family_unknown(&e) {
        true => DialError::NoLocalAddress,
        false => DialError::Local(e),
    })?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0)).map_err(DialError::Local)?;
    }
    let stream = tokio::time::timeout(limit, socket.connect(peer))
        .await
        .map_err(|_| DialError::TimedOut)?
        .map_err(|e| match e {
            e if from.is_none() && has_no_source(&e, peer) => DialError::NoLocalAddress,
            e if is_local(&e) => DialError::Local(e),
            e => DialError::Peer(e),
        })?;
    // Small writes that wait for each other's acknowledgement would cost 40 ms each.
    stream.set_nodelay(true).map_err(DialError::Peer)?;
    Ok(stream)
}

/// A socket that is not there, or not for us, is a server that is not there: nobody knows here who was to make it.
pub async fn dial_unix(path: &Path, limit: Duration) -> Result<UnixStream, DialError> {
    tokio::time::timeout(limit, UnixStream::connect(path))
        .await
        .map_err(|_| DialError::TimedOut)?
        .map_err(|e| if is_want(&e) { DialError::Local(e) } else { DialError::Peer(e) })
}

/// A firewall or a route that forbids the way is none of these: it speaks of the peer's address, whoever publishes it. If that were
/// our own fault, mail for an exchanger on a forbidden network would never be given up.
fn is_local(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, OutOfMemory};
    matches!(error.kind(), AddrInUse | AddrNotAvailable | OutOfMemory) || is_want(error)
}

/// The kernel has no sockets of this family.
fn is_family_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// `AddrNotAvailable` of a connection means that all ports are in use, or that this machine has no address of the family, as where IPv6 is
/// switched off. That is no want that passes: another address of the host may do. UDP has ports of its own, and its connection sends
/// nothing.
fn has_no_source(error: &io::Error, peer: SocketAddr) -> bool {
    let unspecified: IpAddr = match peer {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let lacks = |e: io::Error| e.kind() == io::ErrorKind::AddrNotAvailable;
    error.kind() == io::ErrorKind::AddrNotAvailable
        && std::net::UdpSocket::bind((unspecified, 0))
            .and_then(|socket| socket.connect(peer))
            .is_err_and(lacks)
}

/// This machine lacks descriptors, buffers or memory.
pub(crate) fn is_want(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|want| error.raw_os_error() == Some(want.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_address_of_the_same_family() {
        let v4 = LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None };
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(v4.for_peer(peer("192.0.2.9")), Ok(Some(peer("192.0.2.1"))));
        assert_eq!(v4.for_peer(peer("2001:db8::9")), Err(NoLocalAddress));
        assert_eq!(LocalAddresses::default().for_peer(peer("2001:db8::9")), Ok(None));
    }

    #[tokio::test]
    async fn a_unix_socket_that_is_not_there_is_a_server_that_is_not_there() {
        let nowhere = Path::new("/nonexistent/lmtp.sock");
        let end = dial_unix(nowhere, Duration::from_secs(5)).await;
        assert!(matches!(end, Err(DialError::Peer(_))));
    }

    #[tokio::test]
    async fn nobody_listens() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let end = dial(free, &LocalAddresses::default(), Duration::from_secs(5)).await;
        assert!(matches!(end, Err(DialError::Peer(_))));
    }

    #[test]
    fn what_forbids_the_way_to_an_address_is_not_our_own_want() {
        use rustix::io::Errno;
        // A route of the kind `prohibit`, and a firewall's rule for what goes out.
        for forbidden in [Errno::ACCESS, Errno::PERM] {
            assert!(!is_local(&io::Error::from_raw_os_error(forbidden.raw_os_error())));
        }
        assert!(is_local(&io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())));
    }

    /// All ports in use is a want of ours; it is told from a family without address by asking for a source.
    #[test]
    fn a_family_with_an_address_has_a_source() {
        let taken = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let peer = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 25));
        assert!(!has_no_source(&taken, peer) && is_local(&taken));
        assert!(!has_no_source(&io::ErrorKind::ConnectionRefused.into(), peer));
    }
}
