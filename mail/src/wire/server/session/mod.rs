//! The machine itself: what it holds, what it wants next, and what follows from an answer. Commands, security and content have files
//! of their own.

mod commands;
mod content;
mod security;

use std::collections::VecDeque;
use std::fmt;

use crate::status::Enhanced;
use crate::trace::{Base, Transport};

use super::auth::Exchange;
use super::command::Greeting;
use super::data::{Decoder, Framing};
use super::event::{Event, Step};
use super::input::Input;
use super::line::LineReader;
use super::reply::{Answer, Charset, render, render_bare};
use super::settings::{Dialect, Settings, Tls};
use super::transaction::{Phase, Transaction};

/// Octets to read at once: `feed` takes no more between two steps.
pub const READ_SIZE: usize = 16 << 10;

/// Octets of replies after which the machine wants them written before it goes on.
const REPLIES_HELD: usize = 8 << 10;

/// More syntax errors than this in a row end the session.
const SYNTAX_ERRORS: u32 = 3;

/// One session of a client, from the greeting on.
pub struct Server {
    settings: Settings,
    tls: Tls,
    greeting: Option<Greeting>,
    authenticated: bool,
    transaction: Option<Transaction>,
    mode: Mode,
    /// The event that has no answer yet.
    asked: Option<Question>,
    lines: LineReader,
    input: Input,
    output: Vec<u8>,
    events: VecDeque<Event>,
    syntax_errors: u32,
    auth_failures: u32,
}

/// Without what the client sent: there may be a password in it.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("dialect", &self.settings.dialect)
            .field("transport", &self.transport())
            .field("transaction", &self.transaction)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

/// How the next octets are read.
#[derive(Debug)]
enum Mode {
    Commands,
    Auth(Exchange),
    /// Content up to the final dot.
    Data(Decoder),
    /// A chunk of BDAT, which is content. The decoder outlives the chunk.
    Chunk {
        decoder: Decoder,
        left: u64,
        last: bool,
    },
    /// A chunk taken, the next command of the same content to come.
    BetweenChunks(Decoder),
    /// A chunk that is refused: read and thrown away, so that it is not taken for commands.
    Swallow {
        left: u64,
        answer: Answer,
        replies: u32,
    },
    Handshake,
    Closed,
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
enum Question {
    StartTls,
    Auth,
    Mail { smtputf8: bool },
    Rcpt,
    Data,
    FirstChunk { size: u64, last: bool },
    End,
}

impl Server {
    /// A session whose first words are the greeting (RFC 5321 §3.1).
    pub fn new(settings: Settings) -> Server {
        let mut output = Vec::new();
        let protocol = match settings.dialect {
            Dialect::Smtp | Dialect::Submission => "ESMTP",
            Dialect::Lmtp => "LMTP",
        };
        let line = format!("{} {protocol} Posthaste", settings.hostname);
        render_bare(220, &[line], &mut output);
        Server {
            tls: settings.tls,
            settings,
            greeting: None,
            authenticated: false,
            transaction: None,
            mode: Mode::Commands,
            asked: None,
            lines: LineReader::default(),
            input: Input::default(),
            output,
            events: VecDeque::new(),
            syntax_errors: 0,
            auth_failures: 0,
        }
    }

    /// What to say instead of a greeting to a client that is turned away, before the connection is closed.
    pub fn turn_away(answer: &Answer) -> Vec<u8> {
        let mut output = Vec::new();
        render(answer, Charset::Ascii, &mut output);
        output
    }

    /// Takes octets of the connection and says how many: after `Step::Read` up to `READ_SIZE`.
    #[must_use = "octets that were not taken have to be fed again"]
    pub fn feed(&mut self, octets: &[u8]) -> usize {
        match self.mode {
            // RFC 3207 §4: nothing may follow STARTTLS in the clear.
            Mode::Handshake => self.mode = Mode::Closed,
            Mode::Closed => {}
            _ => return self.input.fill(octets, READ_SIZE),
        }
        octets.len()
    }

    /// What to do next.
    pub fn advance(&mut self) -> Step {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            if self.asked.is_some() {
                return Step::Answer;
            }
            let stopped = matches!(self.mode, Mode::Closed | Mode::Handshake);
            let full = self.output.len() >= REPLIES_HELD;
            if !full && !stopped && self.progress() {
                continue;
            }
            return match self.mode {
                _ if !self.output.is_empty() => Step::Write,
                Mode::Closed => Step::Close,
                Mode::Handshake => Step::Handshake,
                _ => Step::Read,
            };
        }
    }

    /// The replies to write, all of them.
    #[must_use = "these octets have to be written"]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Answers the event at hand positively, in the usual words.
    pub fn accept(&mut self) {
        let answer = match self.asked {
            Some(Question::Mail { .. }) => Answer::new(250, Enhanced(2, 1, 0), "Sender accepted"),
            Some(Question::Rcpt) => Answer::new(250, Enhanced(2, 1, 5), "Recipient accepted"),
            _ => Answer::ok("Accepted"),
        };
        self.answer(answer);
    }

    /// Answers the event at hand. The replies to STARTTLS, AUTH and DATA have codes of their own when positive; a 421 also ends the
    /// session (RFC 5321 §3.8). Without a question this does nothing.
    ///
    /// After the content, LMTP has one reply for every accepted recipient: they all get this one.
    pub fn answer(&mut self, answer: Answer) {
        let Some(question) = self.asked.take() else { return };
        if answer.code() == 421 {
            return self.give_up(&answer);
        }
        match question {
            Question::StartTls => self.decided_starttls(&answer),
            Question::Auth => self.decided_auth(&answer),
            Question::Mail { smtputf8 } => {
                self.transaction = answer.is_positive().then(|| Transaction::new(smtputf8));
                // RFC 6531 §3.7.4.1: the reply to MAIL may be in UTF-8 already.
                self.say_in(if smtputf8 { Charset::Utf8 } else { Charset::Ascii }, &answer);
            }
            Question::Rcpt => {
                if let Some(transaction) =
                    self.transaction.as_mut().filter(|_| answer.is_positive())
                {
                    transaction.recipients = transaction.recipients.saturating_add(1);
                }
                self.say(&answer);
            }
            Question::Data if answer.is_positive() => {
                self.mode = Mode::Data(self.decoder(Framing::Dot));
                render_bare(
                    354,
                    &["End data with <CR><LF>.<CR><LF>".to_string()],
                    &mut self.output,
                );
            }
            Question::Data => {
                self.say(&answer);
                self.transaction = None;
            }
            Question::FirstChunk { size, last } if answer.is_positive() => {
                self.set_phase(Phase::Chunks);
                self.mode =
                    Mode::Chunk { decoder: self.decoder(Framing::Counted), left: size, last };
            }
            Question::FirstChunk { size, last } => self.swallow(size, last, answer),
            Question::End => {
                let replies = self.final_replies();
                for _ in 0..replies {
                    self.say(&answer);
                }
                self.transaction = None;
            }
        }
    }

    /// Answers `DataEnds` over LMTP: one answer for each accepted RCPT, in their order (RFC 2033 §4.2). A recipient without one gets
    /// 451 4.3.0. Over SMTP only the first counts.
    pub fn answer_recipients(&mut self, answers: Vec<Answer>) {
        let mut answers = answers.into_iter();
        if !matches!(self.asked, Some(Question::End)) || self.settings.dialect != Dialect::Lmtp {
            return self.answer(answers.next().unwrap_or_else(Answer::internal_fault));
        }
        self.asked = None;
        for _ in 0..self.final_replies() {
            self.say(&answers.next().unwrap_or_else(Answer::internal_fault));
        }
        self.transaction = None;
    }

    /// The handshake after `Step::Handshake` is done.
    ///
    /// RFC 3207 §4.2: what was learned in the clear is forgotten, and the client has to say EHLO again.
    pub fn tls_started(&mut self) {
        if !matches!(self.mode, Mode::Handshake) {
            return;
        }
        self.tls = Tls::Active;
        self.greeting = None;
        self.authenticated = false;
        self.transaction = None;
        self.mode = Mode::Commands;
        self.lines.reset();
        self.input.clear();
        self.syntax_errors = 0;
        self.auth_failures = 0;
    }

    /// Ends the session from our side, at any time: shutdown, a timeout, a fault. The answer should be a 421 (RFC 5321 §3.8).
    pub fn give_up(&mut self, answer: &Answer) {
        if !matches!(self.mode, Mode::Closed | Mode::Handshake) {
            self.say(answer);
        }
        self.close();
    }

    /// How messages come in here, for the trace field.
    pub fn transport(&self) -> Transport {
        let base = match (self.settings.dialect, self.greeting) {
            (Dialect::Lmtp, _) => Base::Lmtp,
            (_, Some(Greeting::Helo)) => Base::Smtp,
            (_, _) => Base::Esmtp,
        };
        Transport { base, tls: self.tls == Tls::Active, authenticated: self.authenticated }
    }

    /// Octets held in the machine's buffers.
    pub fn held(&self) -> usize {
        self.input.len() + self.output.len() + self.lines.held()
    }

    /// Reads some of the input; false when there is too little of it.
    fn progress(&mut self) -> bool {
        match std::mem::replace(&mut self.mode, Mode::Commands) {
            Mode::Commands => self.read_line(None),
            Mode::Auth(exchange) => self.read_line(Some(exchange)),
            Mode::BetweenChunks(decoder) => {
                self.mode = Mode::BetweenChunks(decoder);
                self.read_line(None)
            }
            Mode::Data(decoder) => self.read_data(decoder),
            Mode::Chunk { decoder, left, last } => self.read_chunk(decoder, left, last),
            Mode::Swallow { left, answer, replies } => self.read_swallowed(left, answer, replies),
            stopped @ (Mode::Handshake | Mode::Closed) => {
                self.mode = stopped;
                false
            }
        }
    }

    /// RFC 2033 §4.2: after the content there is a reply for every accepted RCPT; in SMTP there is one.
    fn final_replies(&self) -> u32 {
        match (self.settings.dialect, self.transaction) {
            (Dialect::Lmtp, Some(transaction)) => transaction.recipients.max(1),
            (_, _) => 1,
        }
    }

    fn drop_transaction(&mut self) {
        self.transaction = None;
        self.mode = Mode::Commands;
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(transaction) = self.transaction.as_mut() {
            transaction.phase = phase;
        }
    }

    fn ask(&mut self, question: Question, event: Event) {
        self.asked = Some(question);
        self.events.push_back(event);
    }

    /// RFC 6531 §3.7.4.1: replies are in UTF-8 only within a transaction that has SMTPUTF8.
    fn charset(&self) -> Charset {
        match self.transaction {
            Some(Transaction { smtputf8: true, .. }) => Charset::Utf8,
            _ => Charset::Ascii,
        }
    }

    fn say(&mut self, answer: &Answer) {
        self.say_in(self.charset(), answer);
    }

    fn say_in(&mut self, charset: Charset, answer: &Answer) {
        render(answer, charset, &mut self.output);
    }

    fn refuse(&mut self, answer: Answer) {
        self.refuse_times(answer, 1);
    }

    fn refuse_times(&mut self, answer: Answer, replies: u32) {
        for _ in 0..replies {
            self.say(&answer);
        }
        if matches!(answer.code(), 500 | 501 | 555) {
            self.syntax_errors += 1;
        }
        self.events.push_back(Event::Refused(answer));
        if self.syntax_errors > SYNTAX_ERRORS {
            // RFC 5321 §3.8: 421 before a server closes of its own accord.
            self.give_up(&closing("Too many errors, closing"));
        }
    }

    fn close(&mut self) {
        self.mode = Mode::Closed;
        self.asked = None;
        self.transaction = None;
        self.input.clear();
        self.lines.reset();
    }
}

/// RFC 5321 §4.2.4: 503, where some servers say 502.
fn bad_sequence(text: &str) -> Answer {
    Answer::new(503, Enhanced(5, 5, 1), text)
}

fn hello_first() -> Answer {
    bad_sequence("Introduce yourself first")
}

fn closing(text: &str) -> Answer {
    Answer::new(421, Enhanced(4, 7, 0), text)
}
