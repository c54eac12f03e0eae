//! A server that plays a script, for peers that misbehave in an exact way.
//!
//! A dialogue file (`integration-tests/dialogues/NAME.smtp`) has one step a line:
//!
//! | step | meaning |
//! |---|---|
//! | `# why` | a comment |
//! | `S: text` | the server says the line, CRLF added |
//! | `B: text` | the server says exactly these bytes; `\r \n \t \0 \\ \xHH` as in Rust |
//! | `D: text` | the server says the line, an octet every fifth of a second |
//! | `C: pattern` | the client must say a line like this; `*` is any text, letter case is not compared |
//! | `C? pattern` | the client may say this; another line is held against the next step |
//! | `! content` | the client must send message content up to the lone dot; it is recorded, not yet acknowledged |
//! | `! chunk` | the client must send message content by `BDAT N LAST`; it is recorded, not yet acknowledged |
//! | `! read N` | N octets of whatever the client sends are taken, and not recorded |
//! | `! starttls` | the TLS handshake, with the certificate given to the player |
//! | `! serve` | from here on an ordinary server that accepts everything |
//! | `! close` | the connection ends in order |
//! | `! reset` | the connection is torn down when the client speaks next |
//! | `! hang` | silence until the client goes away |
//! | `! stall` | silence, and what the client sends is left unread, until the player ends |
//! | `! forever text` | the server says these bytes (as for `B:`) again and again until the client goes away |
//! | `! connection` | what follows is for the next connection; the last section serves all further ones |
//!
//! After the last step QUIT gets 221, RSET and NOOP get 250, and any other command is a deviation. `{domain}` stands for the name
//! given to the player.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use openssl::ssl::SslAcceptor;

use crate::harness::connection::Connection;
use crate::harness::session::{Dialect, Greeting, Session};
use crate::harness::sink::{Manners, Record, Sink, Transaction};

/// Between the octets of a line that drips.
const DRIP: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Say(Vec<u8>),
    Drip(Vec<u8>),
    Forever(Vec<u8>),
    Expect(String),
    Allow(String),
    Content,
    Chunk,
    Read(usize),
    StartTls,
    Serve,
    Close,
    Reset,
    Hang,
    Stall,
}

/// A parsed dialogue: one list of steps for each connection.
#[derive(Clone, Debug)]
pub struct Dialogue {
    name: String,
    sections: Vec<Vec<(usize, Step)>>,
}

impl Dialogue {
    /// Reads `integration-tests/dialogues/NAME.smtp`.
    pub fn named(name: &str, domain: &str) -> Dialogue {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration-tests/dialogues");
        let file = folder.join(format!("{name}.smtp"));
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Dialogue::parse(name, &text.replace("{domain}", domain))
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// Fails with `NAME:LINE: message`.
    pub fn parse(name: &str, text: &str) -> Result<Dialogue, String> {
        let mut sections = vec![Vec::new()];
        for (number, line) in (1..).zip(text.lines()) {
            let bytes = |text: &str| {
                unescaped(text).ok_or_else(|| format!("{name}:{number}: unknown escape"))
            };
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            let step = match (mark, rest.trim()) {
                ("", _) => continue,
                (comment, _) if comment.starts_with('#') => continue,
                ("S:", _) => Step::Say(format!("{rest}\r\n").into_bytes()),
                ("B:", _) => Step::Say(bytes(rest)?),
                ("D:", _) => Step::Drip(format!("{rest}\r\n").into_bytes()),
                ("C:", pattern) => Step::Expect(pattern.to_owned()),
                ("C?", pattern) => Step::Allow(pattern.to_owned()),
                ("!", "connection") => {
                    sections.push(Vec::new());
                    continue;
                }
                ("!", "content") => Step::Content,
                ("!", "chunk") => Step::Chunk,
                ("!", "starttls") => Step::StartTls,
                ("!", "serve") => Step::Serve,
                ("!", "close") => Step::Close,
                ("!", "reset") => Step::Reset,
                ("!", "hang") => Step::Hang,
                ("!", "stall") => Step::Stall,
                ("!", said) if said.starts_with("forever ") => Step::Forever(bytes(&said[8..])?),
                ("!", some) if some.starts_with("read ") => match some[5..].parse() {
                    Ok(count) => Step::Read(count),
                    Err(_) => return Err(format!("{name}:{number}: not a number: {line}")),
                },
                _ => return Err(format!("{name}:{number}: not a step: {line}")),
            };
            sections.last_mut().unwrap().push((number, step));
        }
        Ok(Dialogue { name: name.to_owned(), sections })
    }

    /// Plays it at the address.
    pub fn play(self, address: SocketAddr, tls: Option<SslAcceptor>) -> Player {
        let deviations = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&deviations);
        let name = self.name.clone();
        let sink = Sink::serving(address, move |connection, number, record| {
            let steps = &self.sections[(number - 1).min(self.sections.len() - 1)];
            let part = Part { connection, number, record, tls: tls.as_ref(), held: None };
            let place = part.play(steps);
            if let Err(Deviation { line, what }) = place {
                noted.lock().unwrap().push(format!("{}.smtp:{line}: {what}", self.name));
            }
            Ok(())
        });
        Player { name, sink, deviations }
    }
}

/// A dialogue being played.
pub struct Player {
    name: String,
    pub sink: Sink,
    deviations: Arc<Mutex<Vec<String>>>,
}

impl Player {
    /// Where clients have left the script so far, as `FILE:LINE: what happened`.
    pub fn deviations(&self) -> Vec<String> {
        self.deviations.lock().unwrap().clone()
    }

    /// Fails when a client has left the script, with all its lines.
    pub fn assert_followed(&self) {
        let deviations = self.deviations();
        let lines = self.sink.lines();
        assert!(deviations.is_empty(), "{}: {deviations:#?}\nclient said {lines:#?}", self.name);
    }
}

struct Deviation {
    line: usize,
    what: String,
}

/// One connection on its way through its section.
struct Part<'a> {
    connection: Connection,
    number: usize,
    record: &'a Record,
    tls: Option<&'a SslAcceptor>,
    /// A line that an optional step did not want.
    held: Option<String>,
}

impl Part<'_> {
    fn play(mut self, steps: &[(usize, Step)]) -> Result<(), Deviation> {
        let mut last = 0;
        for (number, step) in steps {
            last = *number;
            let broken =
                |error: io::Error| Deviation { line: last, what: format!("{step:?}: {error}") };
            match step {
                // A client that has gone is met at the next line expected of it, if any is.
                Step::Say(bytes) => drop(self.connection.write(bytes)),
                Step::Drip(bytes) => {
                    for octet in bytes {
                        sleep(DRIP);
                        if self.connection.write(&[*octet]).is_err() {
                            return Ok(());
                        }
                    }
                }
                Step::Forever(bytes) => {
                    while self.connection.write(bytes).is_ok() {}
                    return Ok(());
                }
                Step::Read(count) => drop(self.connection.read_octets(*count).map_err(broken)?),
                Step::Expect(pattern) => {
                    let line = self.next_line().map_err(broken)?;
                    if !line.as_deref().is_some_and(|line| matches(pattern, line)) {
                        let what = format!("expected {pattern:?}, got {line:?}");
                        return Err(Deviation { line: last, what });
                    }
                }
                Step::Allow(pattern) => {
                    // The client may as well have gone.
                    let line = self.next_line().unwrap_or_default();
                    self.held = line.filter(|line| !matches(pattern, line));
                }
                Step::Content => {
                    let content = self.connection.read_content().map_err(broken)?;
                    self.record.transaction(self.unacknowledged(content));
                }
                Step::Chunk => {
                    let line = self.next_line().map_err(broken)?;
                    let Some(size) = line.as_deref().and_then(last_chunk) else {
                        let what = format!("expected BDAT N LAST, got {line:?}");
                        return Err(Deviation { line: last, what });
                    };
                    let content = self.connection.read_octets(size).map_err(broken)?;
                    self.record.transaction(self.unacknowledged(content));
                }
                Step::StartTls => {
                    let acceptor = self.tls.expect("a certificate for a dialogue with starttls");
                    self.connection.accept_tls(acceptor).map_err(broken)?;
                }
                Step::Serve => {
                    let Part { connection, number, record, .. } = self;
                    let (manners, dialect) = (Manners::default(), Dialect::Smtp);
                    let _ = Session { connection, manners: &manners, record, number, dialect }
                        .run(Greeting::Given);
                    return Ok(());
                }
                Step::Close => {
                    self.connection.close();
                    return Ok(());
                }
                Step::Reset => {
                    self.record.let_go();
                    self.connection.reset();
                    return Ok(());
                }
                Step::Hang => {
                    self.connection.hang();
                    return Ok(());
                }
                Step::Stall => {
                    while !self.record.is_over() {
                        sleep(DRIP);
                    }
                    return Ok(());
                }
            }
        }
        self.epilogue(last)
    }

    fn epilogue(&mut self, last: usize) -> Result<(), Deviation> {
        while let Ok(Some(line)) = self.next_line() {
            let reply = match line.to_ascii_uppercase().as_str() {
                "QUIT" => "221 2.0.0 bye",
                "RSET" | "NOOP" => "250 2.0.0 ok",
                _ => {
                    return Err(Deviation { line: last, what: format!("after the end: {line:?}") });
                }
            };
            let _ = self.connection.write_line(reply);
            if reply.starts_with("221") {
                self.connection.close();
            }
        }
        Ok(())
    }

    fn next_line(&mut self) -> io::Result<Option<String>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let line = self.connection.read_line()?;
        Ok(line.map(|line| {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.record.line(&line);
            line
        }))
    }

    fn unacknowledged(&self, content: Vec<u8>) -> Transaction {
        Transaction {
            helo: String::new(),
            from: String::new(),
            to: Vec::new(),
            content,
            tls: self.connection.encrypted(),
            asked_name: self.connection.asked_name(),
            connection: self.number,
        }
    }
}

/// The size in `BDAT N LAST`.
pub fn last_chunk(line: &str) -> Option<usize> {
    line.strip_prefix("BDAT ")?.strip_suffix(" LAST")?.parse().ok()
}

/// `*` stands for any text; letter case does not matter.
fn matches(pattern: &str, line: &str) -> bool {
    let (pattern, line) = (pattern.to_ascii_lowercase(), line.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            bytes.extend(letter.to_string().into_bytes());
            continue;
        }
        bytes.push(match rest.next()? {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, line) in [
            ("EHLO *", "ehlo mx.example"), // letter case is not compared
            ("*", ""),                     // nothing is text too
            ("MAIL FROM:<*>*", "MAIL FROM:<a@b.test> SIZE=10"),
            ("a*b*c", "a1b2c"),
        ] {
            assert!(matches(pattern, line), "{pattern} does not match {line}");
        }
        for (pattern, line) in [
            ("QUIT", "QUIT now"), // no star, no more text
            ("EHLO *", "EHLO"),   // the blank is part of it
            ("a*b*c", "acb"),
            ("ab*ba", "aba"), // the ends must not overlap
        ] {
            assert!(!matches(pattern, line), "{pattern} matches {line}");
        }
    }

    #[test]
    fn a_bad_step_is_named_with_its_line() {
        let error = |text: &str| Dialogue::parse("x", text).unwrap_err();
        assert_eq!(error("# fine\nS: 220 hi\n! explode\n"), "x:3: not a step: ! explode");
        assert_eq!(error("C QUIT\n"), "x:1: not a step: C QUIT");
        assert_eq!(error("B: \\q\n"), "x:1: unknown escape");
        assert_eq!(error("! forever \\q\n"), "x:1: unknown escape");
        assert_eq!(error("! read much\n"), "x:1: not a number: ! read much");
    }

    #[test]
    fn sections_are_for_one_connection_each() {
        let dialogue =
            Dialogue::parse("x", "S: 421 no\n! close\n! connection\nS: 220 yes\n").unwrap();
        assert_eq!(dialogue.sections.len(), 2);
        assert_eq!(dialogue.sections[1], [(4, Step::Say(b"220 yes\r\n".to_vec()))]);
    }

    #[test]
    fn every_dialogue_file_can_be_read() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration-tests/dialogues");
        for file in crate::harness::process::files(&folder) {
            Dialogue::named(file.file_stem().unwrap().to_str().unwrap(), "example.test");
        }
    }
}
