//! The content of one message on its way in: read once, kept once, in memory or in a file.

use std::io;

use posthaste_edge::body::Body;
use posthaste_edge::buffer::{BodyWriter, BufferDir};
use posthaste_mail::address::Domain;
use posthaste_mail::envelope::{EnvelopeId, MessageFlags};
use posthaste_mail::header::submission::{check, missing_fields};
use posthaste_mail::header::{Header, HeaderEnd, Scanner};
use posthaste_mail::outcome::one_line;
use posthaste_mail::status::Enhanced;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::server::Answer;

/// What is demanded of the content.
#[derive(Clone, Debug)]
pub struct Demands {
    /// `max_header_size`, octets.
    pub max_header_size: usize,
    /// `max_received`: more Received fields than this are a loop.
    pub max_received: usize,
    pub submission: Submission,
    pub hostname: Domain,
}

/// What is done for messages of our own users (RFC 6409 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// The message comes from somebody else's server: it is left as it is.
    No,
    /// Message-ID and Date are added when they are missing.
    Complete,
    /// The same, and the header's syntax is checked.
    Check,
}

/// Takes the content in pieces.
pub struct Incoming {
    demands: Demands,
    id: EnvelopeId,
    now: Timestamp,
    /// Our trace field, which goes first.
    received: String,
    scanner: Scanner,
    writer: Option<BodyWriter>,
    /// The beginning, until the header is complete.
    head: Vec<u8>,
    begun: bool,
    fault: Option<Answer>,
}

/// A message that is ready to be stored.
#[derive(Debug)]
pub struct Complete {
    pub body: Body,
    pub message_id: Option<String>,
}

impl Incoming {
    pub fn new(
        demands: &Demands,
        buffer: &BufferDir,
        id: EnvelopeId,
        received: String,
        now: Timestamp,
    ) -> Incoming {
        Incoming {
            scanner: Scanner::new(demands.max_header_size),
            demands: demands.clone(),
            id,
            now,
            received,
            writer: Some(buffer.writer()),
            head: Vec::new(),
            begun: false,
            fault: None,
        }
    }

    /// The next piece. A failure is remembered, and the rest is thrown away.
    pub async fn take(&mut self, piece: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        self.scanner.feed(piece);
        if self.begun {
            self.write(piece).await;
            return;
        }
        self.head.extend_from_slice(piece);
        match self.scanner.header() {
            None => {}
            Some((_, HeaderEnd::TooBig)) => {
                self.fail(Answer::new(552, Enhanced(5, 3, 4), "Message header is too big"));
            }
            Some((header, end)) => {
                let front = front(&self.demands, &self.received, header, end, self.id, self.now);
                self.begin(front).await;
            }
        }
    }

    async fn begin(&mut self, front: String) {
        self.begun = true;
        let head = std::mem::take(&mut self.head);
        self.write(front.as_bytes()).await;
        self.write(&head).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(e) = writer.write(bytes).await {
            self.fail(unwritable(&e));
        }
    }

    fn fail(&mut self, answer: Answer) {
        self.fault = Some(answer);
        // What was buffered goes away with the writer.
        self.writer = None;
        self.head = Vec::new();
    }

    /// All pieces are in. `flags` learns what the content shows.
    pub async fn finish(mut self, flags: &mut MessageFlags) -> Result<Complete, Answer> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let scan = std::mem::replace(&mut self.scanner, Scanner::new(0)).finish();
        if scan.end == HeaderEnd::TooBig {
            return Err(Answer::new(552, Enhanced(5, 3, 4), "Message header is too big"));
        }
        if !self.begun {
            let front =
                front(&self.demands, &self.received, &scan.header, scan.end, self.id, self.now);
            self.begin(front).await;
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
        }
        // RFC 5321 §6.3: too many trace fields are a loop.
        if scan.header.received_count() > self.demands.max_received {
            return Err(Answer::new(
                554,
                Enhanced(5, 4, 6),
                "Too many hops, this looks like a loop",
            ));
        }
        if self.demands.submission == Submission::Check {
            check(&scan.header).map_err(Answer::from)?;
        }
        scan.mark(flags);
        let message_id = scan.header.message_id().map(|id| one_line(&id)).or_else(|| {
            (self.demands.submission != Submission::No)
                .then(|| format!("<{}@{}>", self.id, self.demands.hostname))
        });
        let writer = self.writer.take().ok_or_else(Answer::internal_fault)?;
        let body = writer.finish().await.map_err(|e| unwritable(&e))?;
        Ok(Complete { body, message_id })
    }
}

/// What stands before the content as received.
fn front(
    demands: &Demands,
    received: &str,
    header: &Header,
    end: HeaderEnd,
    id: EnvelopeId,
    now: Timestamp,
) -> String {
    let mut front = received.to_string();
    if demands.submission != Submission::No {
        front += &missing_fields(header, id, &demands.hostname, now);
    }
    // Content that begins with its body needs the line that ends our fields.
    if end == HeaderEnd::NotAField && header.as_bytes().is_empty() {
        front += "\r\n";
    }
    front
}

/// A full disk is 452 (RFC 5321 §4.2.2); every other fault of ours is 451.
fn unwritable(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Answer::new(452, Enhanced(4, 3, 1), "Insufficient system storage")
        }
        _ => Answer::internal_fault(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use posthaste_mail::dice::Dice;

    struct Case {
        content: &'static str,
        submission: Submission,
        max_header_size: usize,
    }

    impl Default for Case {
        fn default() -> Case {
            Case {
                content: "Subject: x\r\nFrom: a@b.test\r\n\r\nhello\r\n",
                submission: Submission::No,
                max_header_size: 1000,
            }
        }
    }

    impl Case {
        async fn run(&self, piece: usize) -> Result<(String, MessageFlags), u16> {
            // A folder of its own: whoever opens one removes what lies in it.
            static RUNS: AtomicU32 = AtomicU32::new(0);
            let run = RUNS.fetch_add(1, Ordering::Relaxed);
            let name = format!("posthaste-content-{}-{run}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            let buffer = BufferDir::open(&dir).unwrap();
            let demands = Demands {
                max_header_size: self.max_header_size,
                max_received: 2,
                submission: self.submission,
                hostname: Domain::parse("mx.test").unwrap(),
            };
            let id = EnvelopeId::new(Timestamp::ZERO, &mut Dice::new(1));
            let received = "Received: by mx.test\r\n".to_string();
            let mut incoming = Incoming::new(&demands, &buffer, id, received, Timestamp::ZERO);
            for piece in self.content.as_bytes().chunks(piece) {
                incoming.take(piece).await;
            }
            let mut flags = MessageFlags::default();
            let end = match incoming.finish(&mut flags).await {
                Ok(done) => {
                    let all = done.body.read_at(0, 1 << 20).unwrap();
                    Ok((String::from_utf8(all).unwrap(), flags))
                }
                Err(answer) => Err(answer.code()),
            };
            std::fs::remove_dir_all(&dir).unwrap();
            end
        }
    }

    #[tokio::test]
    async fn the_trace_field_goes_first_and_the_rest_is_untouched() {
        for piece in [1, 7, 1000] {
            let (text, flags) = Case::default().run(piece).await.unwrap();
            let expected = "Received: by mx.test\r\nSubject: x\r\nFrom: a@b.test\r\n\r\nhello\r\n";
            assert_eq!(text, expected);
            assert!(!flags.eight_bit);
        }
        let headless = Case { content: "no header here\r\n", ..Case::default() };
        assert_eq!(
            headless.run(3).await.unwrap().0,
            "Received: by mx.test\r\n\r\nno header here\r\n"
        );
        let empty = Case { content: "", ..Case::default() };
        assert_eq!(empty.run(3).await.unwrap().0, "Received: by mx.test\r\n");
    }

    #[tokio::test]
    async fn submission_adds_what_is_missing_and_refuses_what_is_wrong() {
        let (text, _) =
            Case { submission: Submission::Check, ..Case::default() }.run(5).await.unwrap();
        assert!(text.contains("Message-ID: <") && text.contains("Date: "), "{text}");
        let no_from = Case {
            content: "Subject: x\r\n\r\n",
            submission: Submission::Check,
            ..Case::default()
        };
        assert_eq!(no_from.run(100).await.unwrap_err(), 554);
    }

    #[tokio::test]
    async fn loops_and_big_headers_are_refused() {
        let content = "Received: a\r\nReceived: b\r\nReceived: c\r\n\r\n";
        assert_eq!(Case { content, ..Case::default() }.run(4).await.unwrap_err(), 554);
        assert_eq!(Case { max_header_size: 10, ..Case::default() }.run(4).await.unwrap_err(), 552);
    }

    #[tokio::test]
    async fn eight_bit_content_is_marked() {
        let content = "Subject: x\r\n\r\nä\r\n";
        let (_, flags) = Case { content, ..Case::default() }.run(2).await.unwrap();
        assert!(flags.eight_bit && !flags.utf8_header);
    }
}
