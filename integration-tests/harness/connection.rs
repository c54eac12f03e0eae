//! One SMTP connection, either end, in the clear or encrypted: lines, content and raw bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use openssl::ssl::{SslAcceptor, SslConnector, SslFiletype, SslMethod, SslStream, SslVerifyMode};

/// No wait of a peer is longer than this.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// More than any test sends in one line.
const LONGEST_LINE: usize = 1 << 20;

enum Stream {
    Plain(TcpStream),
    Encrypted(Box<SslStream<TcpStream>>),
    /// A handshake failed or is under way.
    Closed,
}

pub struct Connection {
    stream: Stream,
    /// Read and not yet asked for.
    waiting: Vec<u8>,
}

impl Connection {
    pub fn over(stream: TcpStream) -> Connection {
        // Without this each small write waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Connection { stream: Stream::Plain(stream), waiting: Vec::new() }
    }

    pub fn to(address: SocketAddr) -> io::Result<Connection> {
        Ok(Connection::over(TcpStream::connect_timeout(&address, PATIENCE)?))
    }

    /// TLS version, when encrypted.
    pub fn encrypted(&self) -> Option<String> {
        match &self.stream {
            Stream::Encrypted(stream) => Some(stream.ssl().version_str().to_owned()),
            Stream::Plain(_) | Stream::Closed => None,
        }
    }

    /// The name the client asked for in the handshake.
    pub fn asked_name(&self) -> Option<String> {
        match &self.stream {
            Stream::Encrypted(stream) => {
                stream.ssl().servername(openssl::ssl::NameType::HOST_NAME).map(str::to_owned)
            }
            Stream::Plain(_) | Stream::Closed => None,
        }
    }

    /// A line without its end (CRLF or LF); `None` at the end of the stream.
    pub fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.waiting.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            if self.waiting.len() > LONGEST_LINE {
                return Err(io::Error::new(ErrorKind::InvalidData, "endless line"));
            }
            if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// Message content up to the lone dot, with the doubled dots undone and every other byte as it came.
    pub fn read_content(&mut self) -> io::Result<Vec<u8>> {
        // RFC 5321 §4.1.1.4: only CRLF.CRLF ends the content.
        let mut raw = b"\r\n".to_vec();
        let mut searched = 0;
        let end = loop {
            raw.append(&mut self.waiting);
            if let Some(found) = find(&raw[searched..], b"\r\n.\r\n") {
                break searched + found;
            }
            searched = raw.len().saturating_sub(4);
            if !self.read_more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        self.waiting = raw.split_off(end + 5);
        raw.truncate(end + 2);
        // RFC 5321 §4.5.2.
        let mut content = Vec::with_capacity(raw.len());
        for (place, byte) in raw.iter().enumerate() {
            if *byte != b'.' || !raw[..place].ends_with(b"\r\n") {
                content.push(*byte);
            }
        }
        content.drain(..2);
        Ok(content)
    }

    /// Takes so many octets of whatever comes.
    pub fn read_octets(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        loop {
            let taken = self.waiting.len().min(count - octets.len());
            octets.extend(self.waiting.drain(..taken));
            if octets.len() == count {
                return Ok(octets);
            }
            if !self.read_more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Encrypted(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Closed => Err(ErrorKind::NotConnected.into()),
        }
    }

    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\r\n").as_bytes())
    }

    /// The server's side of a handshake.
    pub fn accept_tls(&mut self, acceptor: &SslAcceptor) -> io::Result<()> {
        let plain = self.take_plain()?;
        let encrypted =
            acceptor.accept(plain).map_err(|error| io::Error::other(error.to_string()))?;
        self.stream = Stream::Encrypted(Box::new(encrypted));
        Ok(())
    }

    /// The client's side of a handshake; any certificate will do.
    pub fn connect_tls(&mut self, name: &str) -> io::Result<()> {
        self.connect_tls_as(name, None)
    }

    /// The same as a client that shows this certificate, which lies there with its key.
    pub fn connect_tls_as(
        &mut self,
        name: &str,
        identity: Option<&(PathBuf, PathBuf)>,
    ) -> io::Result<()> {
        let plain = self.take_plain()?;
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_verify(SslVerifyMode::NONE);
        if let Some((chain, key)) = identity {
            connector.set_certificate_chain_file(chain)?;
            connector.set_private_key_file(key, SslFiletype::PEM)?;
        }
        let encrypted = connector
            .build()
            .connect(name, plain)
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.stream = Stream::Encrypted(Box::new(encrypted));
        Ok(())
    }

    /// Ends the connection in order.
    pub fn close(&mut self) {
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Plain(stream) => drop(stream.shutdown(Shutdown::Both)),
            Stream::Encrypted(mut stream) => {
                let _ = stream.shutdown();
                let _ = stream.get_ref().shutdown(Shutdown::Both);
            }
            Stream::Closed => {}
        }
    }

    /// Ends the connection while the peer's next bytes lie unread, which makes the kernel answer them with a reset.
    pub fn reset(&mut self) {
        if let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Closed) {
            let _ = stream.peek(&mut [0]);
        }
    }

    /// Says nothing until the peer goes away.
    pub fn hang(&mut self) {
        while let Ok(true) = self.read_more() {
            self.waiting.clear();
        }
    }

    /// The socket itself, for a handshake elsewhere.
    pub fn take_plain(&mut self) -> io::Result<TcpStream> {
        match std::mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Plain(stream) => Ok(stream),
            Stream::Encrypted(_) | Stream::Closed => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn read_more(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut piece)?,
            Stream::Encrypted(stream) => stream.read(&mut piece)?,
            Stream::Closed => 0,
        };
        self.waiting.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }
}

/// Where `needle` begins.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Content as it goes over the wire: dots doubled, a CRLF at the end, the lone dot.
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 64);
    for (place, byte) in content.iter().enumerate() {
        if *byte == b'.' && (place == 0 || content[..place].ends_with(b"\r\n")) {
            wire.push(b'.');
        }
        wire.push(*byte);
    }
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}
