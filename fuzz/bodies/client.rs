//! The client machine before a server that says anything, and on a line that may break at any step.
//!
//! The first line of the input is how the client comes, one octet each (others are taken for one of these):
//!
//! - `s` or `l`: SMTP or LMTP;
//! - `o`, `p`, `c` or `-`: with greeting and EHLO first; without them, pipelining; without them, one command at a time and then BDAT, or
//!   DATA;
//! - `t` or `-`: STARTTLS is used when offered, or never;
//! - how many recipients, counted from `0` up in ASCII: `3` is 3, `z` is 74.
//!
//! All other lines are the server's, except that a line beginning with `!` where a reply could begin is an event of the client's next step:
//! `!` the line breaks, `!d` it breaks in the content when the final dot may be out, `!w` the same before the dot and what follows are
//! the server's last words, `!e` both. Where the input ends, the line breaks.
//!
//! A ledger keeps all that was said by both sides and knows nothing of the machine's state; the fates must follow from it.

use std::collections::VecDeque;

use posthaste_mail::outcome::{Cause, Class, Failure, Stage};
use posthaste_mail::wire::client::flow::{Chunks, Flow};
use posthaste_mail::wire::client::opening::{
    Dialect, Opening, OpeningError, OpeningStep, StartTls,
};
use posthaste_mail::wire::client::transaction::{Ending, Fate, Standing, Step, Transaction};
use posthaste_mail::wire::reply::{Reply, ReplyParser};

/// Commands that may be out without a reply: more, and both sides could be writing into full buffers.
const WINDOW: usize = 50;

pub fn run(input: &[u8]) {
    let end = input.iter().position(|octet| *octet == b'\n').unwrap_or(input.len());
    let (head, rest) = input.split_at(end);
    let octet = |place: usize| head.get(place).copied().unwrap_or_default();
    let dialect = if octet(0) == b'l' { Dialect::Lmtp } else { Dialect::Smtp };
    let starttls = if octet(2) == b't' { StartTls::IfOffered } else { StartTls::Skip };
    let people = usize::from(octet(3).wrapping_sub(b'0')) % 128;
    let mut line = Line { rest: rest.get(1..).unwrap_or_default(), parser: ReplyParser::default() };

    let flow = match octet(1) {
        b'o' => match open(&mut line, dialect, starttls) {
            Some(flow) => flow,
            None => return,
        },
        b'p' => Flow::Grouped,
        b'c' => Flow::Chunk,
        _ => Flow::Stepped,
    };
    // As the attempt does: who is told "another transaction" is offered again, while the session is good.
    let mut offered: Vec<usize> = (0..people).collect();
    loop {
        let ending = transact(&mut line, dialect, flow, &offered);
        let mut fates = ending.fates.iter();
        let before = offered.len();
        offered.retain(|_| matches!(fates.next(), Some(Fate::AnotherTransaction(_))));
        if offered.is_empty() || ending.standing != Standing::Good {
            return;
        }
        assert!(offered.len() < before, "asked for ever");
        if ending.needs_reset && !line.reply().is_ok_and(|reply| reply.is_positive()) {
            return;
        }
    }
}

/// The wire, seen from the client.
struct Line<'a> {
    rest: &'a [u8],
    parser: ReplyParser,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Breaks,
    BreaksAfterDot,
    LastWords,
    LastWordsAfterDot,
}

impl Line<'_> {
    fn event(&mut self) -> Option<Event> {
        let line = self.rest.strip_prefix(b"!")?;
        let end = line.iter().position(|octet| *octet == b'\n').map_or(line.len(), |lf| lf + 1);
        let (kind, rest) = line.split_at(end);
        self.rest = rest;
        Some(match kind.first() {
            Some(b'd') => Event::BreaksAfterDot,
            Some(b'w') => Event::LastWords,
            Some(b'e') => Event::LastWordsAfterDot,
            _ => Event::Breaks,
        })
    }

    fn reply(&mut self) -> Result<Reply, Cause> {
        if self.event().is_some() {
            return Err(Cause::TimedOut(Stage::Dot));
        }
        match self.parser.feed(&mut self.rest) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(Cause::Lost(Stage::Dot)),
            Err(_) => Err(Cause::Protocol(Stage::Dot)),
        }
    }
}

/// What was announced allows; `None` when no session came of it.
fn open(line: &mut Line<'_>, dialect: Dialect, starttls: StartTls) -> Option<Flow> {
    let mut opening = Opening::new(dialect, "me.test", starttls);
    let mut said = String::new();
    let mut last: Option<Reply> = None;
    // Greeting, EHLO, STARTTLS, handshake, EHLO, HELO: whatever is answered, no more than that.
    for _ in 0..16 {
        match opening.step() {
            Err(_) => unreachable!("our name can be sent"),
            Ok(OpeningStep::Write(command)) => {
                if line.event().is_some() {
                    return None;
                }
                said += std::str::from_utf8(&command).unwrap_or("not text");
            }
            Ok(OpeningStep::Await(stage)) => {
                let reply = line.reply().ok()?;
                let kept = opening.reply(&reply);
                match kept {
                    Err(OpeningError::Failed(failure)) => {
                        assert!(failure.class() == Class::Temporary || reply.is_permanent());
                        return None;
                    }
                    Err(OpeningError::StartTlsRefused(_)) => {
                        assert!(stage == Stage::StartTls && reply.code != 220);
                        return None;
                    }
                    Ok(()) => last = Some(reply),
                }
            }
            Ok(OpeningStep::Handshake) => {
                assert!(starttls == StartTls::IfOffered, "TLS against the driver's word");
                assert!(last.as_ref().is_some_and(|reply| reply.code == 220));
                assert!(said.ends_with("\r\nSTARTTLS\r\n") && !said.contains("[tls]"), "{said}");
                if line.event().is_some() {
                    return None;
                }
                said += "[tls]";
                opening.secured();
            }
            Ok(OpeningStep::Ready) => {
                assert!(last.is_some_and(|reply| reply.is_positive()), "ready without a yes");
                let hello = match dialect {
                    Dialect::Smtp => "EHLO me.test\r\n",
                    Dialect::Lmtp => "LHLO me.test\r\n",
                };
                let helo = format!("{hello}HELO me.test\r\n");
                let secured = format!("{hello}STARTTLS\r\n[tls]{hello}");
                let known = said == hello
                    || (dialect == Dialect::Smtp && said == helo)
                    || (starttls == StartTls::IfOffered && said == secured);
                assert!(known, "{said}");
                let capabilities = opening.capabilities();
                let flow = Flow::of(dialect, &capabilities, 1000, Chunks::Welcome);
                assert!(said != helo || flow == Flow::Stepped, "HELO has no extensions");
                return Some(flow);
            }
        }
    }
    unreachable!("an opening without end: {said}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Mail,
    Rcpt(usize),
    Data,
    Dot,
}

/// What was said in one transaction, by both sides.
struct Ledger {
    dialect: Dialect,
    flow: Flow,
    window: usize,
    unanswered: VecDeque<Written>,
    mail: Option<Reply>,
    /// Of each recipient in the order offered; those behind it were not named.
    rcpt: Vec<Option<Reply>>,
    data: Option<Reply>,
    data_written: bool,
    /// The content's final dot may have reached the server.
    dot_out: bool,
    dots: Vec<Reply>,
    /// A 421 or last words: what the server said instead of an answer.
    farewell: Option<Reply>,
    lost: bool,
}

impl Ledger {
    fn written(&mut self, bytes: &[u8], offered: &[usize]) {
        assert!(bytes.ends_with(b"\r\n"));
        for command in bytes.split_inclusive(|octet| *octet == b'\n') {
            let written = match command {
                b"MAIL\r\n" => {
                    assert!(self.mail.is_none() && self.unanswered.is_empty());
                    Written::Mail
                }
                b"DATA\r\n" => {
                    assert!(!self.data_written, "DATA twice");
                    assert!(self.flow != Flow::Chunk, "DATA and BDAT");
                    self.data_written = true;
                    Written::Data
                }
                b".\r\n" => {
                    assert!(self.accepted().is_empty(), "a lone dot is empty content");
                    assert!(self.data.as_ref().is_some_and(|reply| reply.code == 354));
                    Written::Dot
                }
                rcpt => {
                    assert!(!self.data_written, "RCPT behind DATA");
                    let place = self.rcpt.len();
                    let name = offered.get(place).map(|index| format!("RCPT {index}\r\n"));
                    assert_eq!(name.as_deref().map(str::as_bytes), Some(rcpt), "out of order");
                    self.rcpt.push(None);
                    Written::Rcpt(place)
                }
            };
            self.unanswered.push_back(written);
        }
        assert!(self.unanswered.len() <= self.window, "too much at once");
    }

    fn answered(&mut self, reply: &Reply) {
        let first = self.unanswered.pop_front();
        if reply.code == 421 {
            self.farewell = Some(reply.clone());
            return;
        }
        match first {
            Some(Written::Mail) => self.mail = Some(reply.clone()),
            Some(Written::Rcpt(place)) => self.rcpt[place] = Some(reply.clone()),
            Some(Written::Data) => self.data = Some(reply.clone()),
            Some(Written::Dot) => self.dots.push(reply.clone()),
            None => panic!("a reply was awaited, and nothing asked"),
        }
    }

    /// Places of those the server accepted; nobody where it refused MAIL.
    fn accepted(&self) -> Vec<usize> {
        let yes = |reply: &Option<Reply>| reply.as_ref().is_some_and(Reply::is_positive);
        if !yes(&self.mail) {
            return Vec::new();
        }
        (0..self.rcpt.len()).filter(|place| yes(&self.rcpt[*place])).collect()
    }

    fn chunk(&mut self) {
        assert!(!self.accepted().is_empty(), "content for nobody");
        assert!(self.flow == Flow::Chunk && !self.data_written, "BDAT and DATA");
        assert!(self.unanswered.is_empty() && !self.dot_out);
    }

    fn content(&mut self) {
        assert!(!self.accepted().is_empty(), "content for nobody");
        assert!(self.data.as_ref().is_some_and(|reply| reply.code == 354), "content unasked for");
        assert!(self.unanswered.is_empty() && !self.dot_out);
    }

    fn dot_sent(&mut self) {
        self.dot_out = true;
        let answers = match self.dialect {
            Dialect::Smtp => 1,
            Dialect::Lmtp => self.accepted().len(), // RFC 2033 §4.2
        };
        self.unanswered.extend((0..answers).map(|_| Written::Dot));
    }

    /// The reply to the content, for the recipient at this place.
    fn verdict(&self, place: usize) -> Option<&Reply> {
        if !self.dot_out {
            return None;
        }
        let nth = self.accepted().iter().position(|accepted| *accepted == place)?;
        match self.dialect {
            Dialect::Smtp => self.dots.first(),
            Dialect::Lmtp => self.dots.get(nth),
        }
    }

    fn check(&self, offered: usize, ending: &Ending) {
        assert_eq!(ending.fates.len(), offered, "one fate each");
        let accepted = self.accepted();
        for (place, fate) in ending.fates.iter().enumerate() {
            let verdict = self.verdict(place);
            match fate {
                Fate::Taken(reply) => {
                    assert!(reply.is_positive() && verdict == Some(reply), "taken by nobody");
                }
                Fate::Refused(failure) => {
                    assert!(!verdict.is_some_and(Reply::is_positive), "refused after a yes");
                    self.refusal(place, failure);
                }
                Fate::AnotherTransaction(failure) => {
                    assert!(failure.class() == Class::Temporary && !accepted.is_empty());
                    assert!(!accepted.contains(&place), "accepted, and asked to come again");
                }
            }
            if self.dot_out && accepted.contains(&place) && verdict.is_none() {
                let Fate::Refused(failure) = fate else { panic!("no answer to the dot") };
                let unknown = failure.cause == Cause::UnknownAfterDot;
                let told = self.farewell.is_some();
                assert!(unknown || told, "unanswered is not unknown");
            }
            if verdict.is_some_and(Reply::is_intermediate) {
                let Fate::Refused(failure) = fate else { panic!("asked for more, and taken") };
                assert_eq!(failure.cause, Cause::UnknownAfterDot, "asked for more, and known");
            }
        }
        if self.lost || self.farewell.is_some() {
            assert_eq!(ending.standing, Standing::Broken, "a broken session is spoken in");
        }
        if ending.chunk_unknown {
            assert!(self.flow == Flow::Chunk && self.dots.is_empty() == self.farewell.is_some());
            assert_eq!(ending.standing, Standing::Broken, "what follows are answers to content");
        }
        if ending.standing != Standing::Broken {
            assert!(self.unanswered.is_empty(), "the next command would get an old answer");
            assert!(!self.is_odd(), "nobody knows what the server is answering");
        }
        let data_refused = self.data.as_ref().is_some_and(|reply| reply.code != 354);
        if (data_refused && !accepted.is_empty()) || !self.dots.iter().all(Reply::is_positive) {
            assert_ne!(ending.standing, Standing::Good, "used again after a refused DATA");
        }
        if ending.standing == Standing::Good {
            let open = self.mail.as_ref().is_some_and(Reply::is_positive) && !self.dot_out;
            assert_eq!(ending.needs_reset, open);
        }
    }

    /// A reply that is neither a refusal nor what the command may have.
    fn is_odd(&self) -> bool {
        let intermediate =
            |reply: &Option<Reply>| reply.as_ref().is_some_and(Reply::is_intermediate);
        let mail = self.mail.as_ref().is_some_and(Reply::is_positive);
        let data = self.data.as_ref().is_some_and(|reply| reply.code < 400 && reply.code != 354);
        intermediate(&self.mail)
            || (mail && self.rcpt.iter().any(intermediate))
            || data
            || self.dots.iter().any(Reply::is_intermediate)
    }

    /// Nobody fails for good unless the server said so, of this recipient or of what concerns it.
    fn refusal(&self, place: usize, failure: &Failure) {
        if failure.cause == Cause::UnknownAfterDot {
            assert!(self.dot_out && self.accepted().contains(&place), "unknown, but not sent");
        }
        if failure.class() == Class::Temporary {
            return;
        }
        let accepted = self.accepted().contains(&place);
        let own = self.rcpt.get(place).and_then(Option::as_ref);
        let concerned = [
            self.mail.as_ref(),
            own,
            self.data.as_ref().filter(|_| accepted),
            self.verdict(place),
            self.farewell.as_ref().filter(|_| accepted),
        ];
        let said = concerned.into_iter().flatten().any(|reply| reply.code == failure.code);
        assert!(said, "failed for good by a reply to something else: {failure}");
    }
}

fn transact(line: &mut Line<'_>, dialect: Dialect, flow: Flow, offered: &[usize]) -> Ending {
    let names = offered.iter().map(|index| format!("RCPT {index}\r\n").into_bytes()).collect();
    let mut transaction = Transaction::new(dialect, flow, b"MAIL\r\n".to_vec(), names);
    let mut ledger = Ledger {
        dialect,
        flow,
        window: if flow == Flow::Grouped { WINDOW } else { 1 },
        unanswered: VecDeque::new(),
        mail: None,
        rcpt: Vec::new(),
        data: None,
        data_written: false,
        dot_out: false,
        dots: Vec::new(),
        farewell: None,
        lost: false,
    };
    // One write and one reply for each of MAIL, DATA, the dot and a recipient, who with LMTP is answered twice.
    for _ in 0..3 * offered.len() + 9 {
        let broken = match transaction.step() {
            Step::Hold => panic!("nobody is named one by one"),
            Step::Done => {
                assert_eq!(transaction.step(), Step::Done, "done, and not done");
                let ending = transaction.finish();
                ledger.check(offered.len(), &ending);
                return ending;
            }
            Step::Write(bytes) => match line.event() {
                None => {
                    ledger.written(&bytes, offered);
                    None
                }
                Some(_) => Some(Cause::Lost(transaction.stage())),
            },
            Step::Await(_) => match line.reply() {
                Ok(reply) => {
                    ledger.answered(&reply);
                    transaction.reply(reply);
                    None
                }
                Err(cause) => Some(cause),
            },
            step @ (Step::Content | Step::Chunk) => {
                match step {
                    Step::Chunk => ledger.chunk(),
                    _ => ledger.content(),
                }
                let accepted = ledger.accepted();
                assert_eq!(transaction.accepted(), accepted, "the journal would be wrong");
                let event = line.event();
                if !matches!(event, Some(Event::Breaks | Event::LastWords)) {
                    transaction.dot_sent();
                    ledger.dot_sent();
                }
                match event {
                    None => None,
                    Some(Event::Breaks | Event::BreaksAfterDot) => {
                        Some(Cause::Lost(Stage::Content))
                    }
                    Some(Event::LastWords | Event::LastWordsAfterDot) => match line.reply() {
                        Ok(reply) if reply.code >= 400 => {
                            ledger.lost = true;
                            transaction.refused_within(&reply);
                            ledger.farewell = Some(reply);
                            None
                        }
                        _ => Some(Cause::Lost(Stage::Content)),
                    },
                }
            }
        };
        if let Some(cause) = broken {
            ledger.lost = true;
            transaction.lost(Failure::new(cause, "the line broke"));
        }
    }
    unreachable!("a transaction without end");
}
