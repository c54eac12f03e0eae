//! Mailboxes read over IMAP (RFC 9051), with as much of it as that takes.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::harness::connection::Connection;

/// Messages of the tests are smaller.
const LARGEST: usize = 64 << 20;

pub struct Imap {
    connection: Connection,
}

impl Imap {
    /// Connects and logs in.
    pub fn login(address: SocketAddr, user: &str, password: &str) -> io::Result<Imap> {
        let mut imap = Imap { connection: Connection::to(address)? };
        imap.line()?;
        imap.command(&format!("LOGIN {user} {password}"))?;
        Ok(imap)
    }

    /// All messages of the inbox in the order of their arrival, octet by octet.
    pub fn inbox(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let count = |line: &String| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok();
        let (lines, _) = self.command("EXAMINE INBOX")?;
        let count: usize = lines.iter().find_map(count).unwrap_or_default();
        match count {
            0 => Ok(Vec::new()), // "1:*" of nothing is an error
            _ => Ok(self.command("FETCH 1:* BODY.PEEK[]")?.1),
        }
    }

    /// The lines before the final one, and the literals in them. Fails when the final one is not OK.
    fn command(&mut self, text: &str) -> io::Result<(Vec<String>, Vec<Vec<u8>>)> {
        self.connection.write_line(&format!("t {text}"))?;
        let (mut lines, mut literals) = (Vec::new(), Vec::new());
        loop {
            let line = self.line()?;
            if line.starts_with("t OK") {
                return Ok((lines, literals));
            }
            if line.starts_with("t ") {
                return Err(io::Error::other(format!("{text}: {line}")));
            }
            if let Some(size) = literal(&line) {
                if size > LARGEST {
                    return Err(io::Error::other(format!("a literal too large: {line}")));
                }
                literals.push(self.connection.read_octets(size)?);
            }
            lines.push(line);
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let line = self.connection.read_line()?.ok_or(ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

/// The size of the octets that follow the line (RFC 9051 §4.3).
fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}
