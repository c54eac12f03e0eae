//! Dialogues as tests: lines of a client, the replies we must send.

use super::{Answer, Event, Server, Step};

/// All that a session showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub output: String,
    /// Events but `Content` and `Refused`, shown by Debug.
    pub events: Vec<String>,
    pub content: Vec<u8>,
    pub closed: bool,
    /// The most the machine held at once.
    pub held: usize,
}

/// The owner of a connection that exists only in memory.
pub(super) struct Driver<F> {
    pub server: Server,
    pub seen: Seen,
    decide: F,
}

/// How an event is answered.
pub(super) enum Reply {
    Accept,
    One(Answer),
    Each(Vec<Answer>),
}

impl<F: FnMut(&Event) -> Reply> Driver<F> {
    pub fn new(server: Server, decide: F) -> Driver<F> {
        Driver { server, seen: Seen::default(), decide }
    }

    /// Runs until the machine wants to read or close.
    pub fn run(&mut self) {
        loop {
            self.seen.held = self.seen.held.max(self.server.held());
            match self.server.advance() {
                Step::Event(event) => self.take(event),
                Step::Answer => panic!("a question was left open"),
                Step::Write => {
                    let output = self.server.take_output();
                    self.seen.output.push_str(&String::from_utf8_lossy(&output));
                }
                Step::Handshake => self.server.tls_started(),
                Step::Read => return,
                Step::Close => {
                    self.seen.closed = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        if event.asks() {
            match (self.decide)(&event) {
                Reply::Accept => self.server.accept(),
                Reply::One(answer) => self.server.answer(answer),
                Reply::Each(answers) => self.server.answer_recipients(answers),
            }
        }
        match event {
            Event::Content(chunk) => self.seen.content.extend(chunk),
            Event::Refused(_) => {}
            other => self.seen.events.push(format!("{other:?}")),
        }
    }

    /// Feeds octets in pieces as long as `cut` says.
    pub fn feed(&mut self, mut octets: &[u8], mut cut: impl FnMut() -> usize) {
        self.run();
        while !octets.is_empty() && !self.seen.closed {
            let piece = octets.get(..cut().clamp(1, octets.len())).unwrap();
            let taken = self.server.feed(piece);
            assert!(taken > 0, "the machine wanted to read");
            octets = octets.get(taken..).unwrap();
            self.run();
        }
    }
}

/// Plays a dialogue: `C:` lines in a row are one packet, `S:` lines are all that comes back. `\r`, `\n`, `\0` and `\\` are escapes;
/// a `C:` line ends with CRLF unless its last character is `~`, which on an `S:` line only shows where it ends. What stands behind
/// ` ##` is a comment.
pub(super) fn play<F: FnMut(&Event) -> Reply>(server: Server, decide: F, script: &str) -> Seen {
    let mut driver = Driver::new(server, decide);
    driver.run();
    let mut packet = Vec::new();
    let mut answered = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.split_once(" ##").map_or(line, |(line, _)| line.trim_end());
        if let Some(text) = line.strip_prefix("C:") {
            assert_eq!(&driver.seen.output[answered..], "", "not expected before {line:?}");
            packet.extend(client_line(text.strip_prefix(' ').unwrap_or(text)));
        } else if let Some(text) = line.strip_prefix("S:") {
            let octets = std::mem::take(&mut packet);
            driver.feed(&octets, || usize::MAX);
            let text = text.strip_prefix(' ').unwrap_or(text);
            let expected = format!("{}\r\n", text.strip_suffix('~').unwrap_or(text));
            let rest = &driver.seen.output[answered..];
            let (reply, _) = rest.split_at(rest.find("\r\n").map_or(rest.len(), |end| end + 2));
            assert_eq!(reply, expected, "in {script}");
            answered += reply.len();
        } else {
            panic!("neither C: nor S:: {line}");
        }
    }
    driver.feed(&packet, || usize::MAX);
    assert_eq!(&driver.seen.output[answered..], "", "more than expected in {script}");
    driver.seen
}

fn client_line(text: &str) -> Vec<u8> {
    let (text, end) = match text.strip_suffix('~') {
        Some(text) => (text, ""),
        None => (text, "\r\n"),
    };
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let shown = match c {
            '\\' => match chars.next() {
                Some('r') => '\r',
                Some('n') => '\n',
                Some('0') => '\0',
                other => other.unwrap_or('\\'),
            },
            _ => c,
        };
        octets.extend(shown.to_string().bytes());
    }
    octets.extend(end.bytes());
    octets
}
