//! Listeners, and whoever stands at the other end.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::RecvFlags;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A socket's name in the file system; goes away with the listener.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Who the other end of a Unix socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
}

impl Listener {
    /// `None` is every address of both families.
    pub fn tcp(address: Option<IpAddr>, port: u16) -> io::Result<Listener> {
        let ip = address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        match bind(SocketAddr::new(ip, port)) {
            // A machine without IPv6: all there is is IPv4.
            Err(_) if address.is_none() => bind(SocketAddr::from(([0, 0, 0, 0], port))),
            other => other,
        }
        .map(Listener::Tcp)
    }

    /// A file that another process left behind is replaced; one somebody listens on is not.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Listener> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = format!("{} is in use by another process", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                std::fs::remove_file(path)?;
            }
            Ok(_) => {
                let text = format!("{} exists and is not a socket", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        let file = SocketFile(path.to_path_buf());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(Listener::Unix(listener, file))
    }

    /// The next connection and the address it comes from, if it has one.
    pub async fn accept(&self) -> io::Result<(Connection, Option<IpAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Connection::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Connection::Unix(stream), None))
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Connection {
    /// Credentials of a local peer.
    pub fn credentials(&self) -> Option<Credentials> {
        match self {
            Connection::Tcp(_) => None,
            Connection::Unix(stream) => {
                let found = stream.peer_cred().ok()?;
                Some(Credentials { uid: found.uid(), gid: found.gid() })
            }
        }
    }

    /// Our own end, if it has an address.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Connection::Tcp(stream) => stream.local_addr().ok(),
            Connection::Unix(_) => None,
        }
    }

    /// Ready when there is something to read, or the other end is gone. Nothing is read.
    pub fn poll_disturbed(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut octet = [0; 1];
        match self {
            // Octets, the end and a broken line are all the same here.
            Connection::Tcp(stream) => {
                stream.poll_peek(context, &mut ReadBuf::new(&mut octet)).map(drop)
            }
            Connection::Unix(stream) => loop {
                if stream.poll_read_ready(context).is_pending() {
                    return Poll::Pending;
                }
                let peek = || {
                    rustix::net::recv(stream, &mut octet, RecvFlags::PEEK).map_err(io::Error::from)
                };
                match stream.try_io(Interest::READABLE, peek) {
                    // It was not ready after all; now the runtime knows.
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            },
        }
    }
}

impl From<TcpStream> for Connection {
    fn from(stream: TcpStream) -> Connection {
        Connection::Tcp(stream)
    }
}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Connection {
        Connection::Unix(stream)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Connection::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Connection::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Connection::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Connection::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The user this process runs as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// One line of at most `most` octets, LF included; `Ok(None)` at the end of the stream.
pub async fn read_line<R: tokio::io::AsyncBufRead + Unpin>(
    reader: &mut R,
    most: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(if line.is_empty() { None } else { Some(line) });
        }
        let end = available.iter().position(|b| *b == b'\n').map(|at| at + 1);
        let take = end.unwrap_or(available.len());
        if line.len() + take > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "line is too long"));
        }
        line.extend_from_slice(available.get(..take).unwrap_or_default());
        reader.consume(take);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let mut reader = tokio::io::BufReader::new(&b"one\ntwo"[..]);
        assert_eq!(read_line(&mut reader, 10).await.unwrap().unwrap(), b"one\n");
        assert_eq!(read_line(&mut reader, 10).await.unwrap().unwrap(), b"two");
        assert_eq!(read_line(&mut reader, 10).await.unwrap(), None);
        let mut reader = tokio::io::BufReader::new(&b"much too long\n"[..]);
        assert!(read_line(&mut reader, 5).await.is_err());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = std::env::temp_dir().join(format!("posthaste-socket-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Listener::unix(&path, 0o660).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(Listener::unix(&path, 0o660).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "data").unwrap();
        assert!(Listener::unix(&path, 0o660).is_err()); // not ours to remove
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
