//! A raw SMTP client for what well-bred clients do not say.

use std::io;
use std::net::SocketAddr;

use crate::harness::connection::{Connection, stuffed};

/// A reply: the code, and the texts of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Reply {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Whether it is this code and its text begins so (an enhanced code, say).
    pub fn is(&self, code: u16, beginning: &str) -> bool {
        self.code == code && self.lines.first().is_some_and(|line| line.starts_with(beginning))
    }
}

pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> io::Result<(Client, Reply)> {
        let mut client = Client { connection: Connection::to(address)? };
        let greeting = client.reply()?;
        Ok((client, greeting))
    }

    /// Connects and says EHLO; fails the test when that is not welcome.
    pub fn greeted(address: SocketAddr) -> Client {
        let (mut client, greeting) = Client::connect(address).unwrap();
        assert_eq!(greeting.code, 220, "{greeting:?}");
        let reply = client.say("EHLO client.test").unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
        client
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.write(bytes)
    }

    /// Reads one reply, of however many lines.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.connection.read_line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("not a reply: {line}")))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Sends a line and reads the reply.
    pub fn say(&mut self, line: &str) -> io::Result<Reply> {
        self.connection.write_line(line)?;
        self.reply()
    }

    /// MAIL, RCPT, DATA and the content; the reply that decided, which is the last one if all went well.
    pub fn transact(&mut self, from: &str, to: &[&str], content: &[u8]) -> io::Result<Reply> {
        let to: Vec<String> = to.iter().map(|recipient| format!("<{recipient}>")).collect();
        self.transact_as(&format!("<{from}>"), &to, content)
    }

    /// The same with paths as they are: brackets and parameters.
    pub fn transact_as(
        &mut self,
        from: &str,
        to: &[impl std::fmt::Display],
        content: &[u8],
    ) -> io::Result<Reply> {
        let reply = self.say(&format!("MAIL FROM:{from}"))?;
        if reply.code != 250 {
            return Ok(reply);
        }
        for recipient in to {
            let reply = self.say(&format!("RCPT TO:{recipient}"))?;
            if reply.code != 250 {
                return Ok(reply);
            }
        }
        let reply = self.say("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        self.send(&stuffed(content))?;
        self.reply()
    }

    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
