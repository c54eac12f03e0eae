//! The machine itself: which command is taken when, and what follows from an answer.

use std::collections::VecDeque;

use crate::status::Enhanced;
use crate::trace::{Base, Transport};

use super::auth::{self, Exchange, Turn};
use super::capabilities::{announced, auth_open, requiretls_open};
use super::command::{self, Command, Greeting};
use super::data::{Decoder, Framing};
use super::event::{Event, Step};
use super::line::{Expect, Line, LineReader};
use super::parameters::{self, Addresses, Offered};
use super::reply::{Answer, Charset, render, render_bare};
use super::settings::{Authentication, Dialect, Settings, Tls};
use super::transaction::{Phase, Transaction};

/// Octets to read at once: `feed` takes no more between two steps.
pub const READ_SIZE: usize = 16 << 10;

/// Octets of replies after which the machine wants them written before it goes on.
const REPLIES_HELD: usize = 8 << 10;

/// More syntax errors than this in a row end the session.
const SYNTAX_ERRORS: u32 = 3;

/// This many failed authentications end the session (RFC 4954 §9 asks for a limit against guessing).
const AUTH_FAILURES: u32 = 5;

/// One session of a client, from the greeting on.
#[derive(Debug)]
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
    input: Vec<u8>,
    output: Vec<u8>,
    events: VecDeque<Event>,
    syntax_errors: u32,
    auth_failures: u32,
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
            input: Vec::new(),
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
            _ => {
                let taken = octets.len().min(READ_SIZE.saturating_sub(self.input.len()));
                self.input.extend_from_slice(octets.get(..taken).unwrap_or_default());
                return taken;
            }
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

    fn read_line(&mut self, exchange: Option<Exchange>) -> bool {
        let expect = if exchange.is_some() { Expect::AuthResponse } else { Expect::Command };
        let (taken, line) = self.lines.read(&self.input, expect);
        self.input.drain(..taken);
        let Some(line) = line else {
            if let Some(exchange) = exchange {
                self.mode = Mode::Auth(exchange);
            }
            return false;
        };
        match (line, exchange) {
            (Line::Whole(line), Some(exchange)) => self.auth_turn(auth::proceed(exchange, &line)),
            (Line::Whole(line), None) => match command::read(&line) {
                Ok(command) => self.obey(command),
                Err(answer) => self.refuse(answer),
            },
            // RFC 4954 §4: 500 5.5.6, and the exchange is over.
            (Line::TooLong, Some(_)) => {
                self.refuse(Answer::new(500, Enhanced(5, 5, 6), "Authentication line too long"));
            }
            (Line::TooLong, None) => self.refuse(malformed_line("Command line too long")),
            (Line::BareCr, _) => self.refuse(malformed_line("Bare CR in command line")),
            (Line::BareLf, _) => self.refuse(malformed_line("Lines must end with CRLF")),
        }
        true
    }

    fn obey(&mut self, command: Command<'_>) {
        let errors = self.syntax_errors;
        match command {
            Command::Hello { greeting, name } => self.hello(greeting, name),
            Command::StartTls => self.starttls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Mail(text) => self.mail(text),
            Command::Rcpt(text) => self.rcpt(text),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
            Command::UnreadableBdat => {
                // Where the chunk ends is unknown, so nothing behind this line can be read.
                self.refuse(Answer::new(501, Enhanced(5, 5, 4), "Syntax: BDAT size [LAST]"));
                self.give_up(&closing("Chunk of unknown size, closing"));
            }
            Command::Reset => {
                // RFC 5321 §4.1.1.5.
                self.drop_transaction();
                self.events.push_back(Event::Reset);
                self.say(&Answer::ok("Reset"));
            }
            Command::Noop => self.say(&Answer::ok("OK")),
            // RFC 5321 §7.3: who has a mailbox here is not told.
            Command::Verify => {
                self.say(&Answer::new(252, Enhanced(2, 5, 0), "Not verified, but mail is taken"));
            }
            Command::Expand => {
                self.refuse(Answer::new(502, Enhanced(5, 5, 1), "EXPN is not implemented"));
            }
            Command::Help => self.say(&Answer::new(214, Enhanced(2, 0, 0), "See RFC 5321")),
            Command::Quit => {
                self.say(&Answer::new(221, Enhanced(2, 0, 0), "Bye"));
                self.events.push_back(Event::Quit);
                self.close();
            }
        }
        if self.syntax_errors == errors {
            self.syntax_errors = 0;
        }
    }

    fn hello(&mut self, greeting: Greeting, name: &str) {
        // RFC 2033 §4.1: LMTP has LHLO and neither of the others; SMTP does not know LHLO.
        let lmtp = self.settings.dialect == Dialect::Lmtp;
        if lmtp != (greeting == Greeting::Lhlo) {
            let wanted = if lmtp { "This is LMTP, use LHLO" } else { "This is SMTP, use EHLO" };
            return self.refuse(Answer::new(500, Enhanced(5, 5, 1), wanted));
        }
        // RFC 5321 §4.1.4: EHLO in the middle of a session clears all as RSET does.
        self.drop_transaction();
        self.greeting = Some(greeting);
        let mut lines = vec![self.settings.hostname.to_string()];
        if greeting != Greeting::Helo {
            lines.extend(announced(&self.settings, self.tls));
        }
        render_bare(250, &lines, &mut self.output);
        self.events.push_back(Event::Hello { greeting, name: name.to_string() });
    }

    fn starttls(&mut self) {
        match self.tls {
            Tls::Absent => return self.refuse(not_implemented("STARTTLS is not available")),
            // RFC 3207 §4: not twice.
            Tls::Active => return self.refuse(bad_sequence("TLS is active already")),
            Tls::Offered if self.greeting.is_none() => return self.refuse(hello_first()),
            Tls::Offered => {}
        }
        if self.input.is_empty() {
            self.ask(Question::StartTls, Event::StartTls);
        } else {
            self.refuse_injection();
        }
    }

    /// RFC 3207 §4: STARTTLS is the last command of a group, so the client has nothing to say before the handshake. What stands
    /// behind it in the clear was put there by somebody on the way, for the server to obey after the handshake as if the
    /// authenticated client had said it (CVE-2011-0411 and its kin). There is no safe way on.
    fn refuse_injection(&mut self) {
        self.input.clear();
        self.refuse(bad_sequence("Data in the clear behind STARTTLS"));
        self.close();
    }

    fn decided_starttls(&mut self, answer: &Answer) {
        if !answer.is_positive() {
            return self.say(answer); // RFC 3207 §4: 454
        }
        if !self.input.is_empty() {
            return self.refuse_injection();
        }
        self.say(&Answer::new(220, Enhanced(2, 0, 0), "Ready to start TLS"));
        self.mode = Mode::Handshake;
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
        let known = self.settings.mechanisms.iter().copied();
        let mechanism = known.into_iter().find(|m| m.name().eq_ignore_ascii_case(mechanism));
        let refusal = match mechanism {
            _ if self.settings.mechanisms.is_empty() => not_implemented("AUTH is not available"),
            _ if self.greeting.is_none() => hello_first(),
            // RFC 4954 §4: once, and not during a mail transaction.
            _ if self.authenticated => bad_sequence("Authenticated already"),
            _ if self.transaction.is_some() => bad_sequence("Not during a mail transaction"),
            // RFC 4954 §6.
            _ if !auth_open(&self.settings, self.tls) => {
                Answer::new(538, Enhanced(5, 7, 11), "Encryption required, use STARTTLS")
            }
            None => Answer::new(504, Enhanced(5, 5, 4), "Mechanism is not known"),
            Some(mechanism) => return self.auth_turn(auth::begin(mechanism, initial)),
        };
        self.refuse(refusal);
    }

    fn auth_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Challenge(challenge, exchange) => {
                render_bare(334, &[challenge.to_string()], &mut self.output);
                self.mode = Mode::Auth(exchange);
            }
            Turn::Complete(credentials) => self.ask(Question::Auth, Event::Auth(credentials)),
            Turn::Refuse(answer) => self.refuse(answer),
        }
    }

    fn decided_auth(&mut self, answer: &Answer) {
        if answer.is_positive() {
            self.authenticated = true;
            return self.say(&Answer::new(235, Enhanced(2, 7, 0), "Authentication succeeded"));
        }
        self.say(answer);
        self.auth_failures += 1;
        if self.auth_failures >= AUTH_FAILURES {
            self.give_up(&closing("Too many failed authentications, closing"));
        }
    }

    fn mail(&mut self, text: &str) {
        if self.greeting.is_none() {
            return self.refuse(hello_first());
        }
        // RFC 5321 §3.3: no MAIL within a transaction.
        if self.transaction.is_some_and(|t| t.phase != Phase::Failed) {
            return self.refuse(bad_sequence("A transaction is open already"));
        }
        if self.settings.authentication == Authentication::Required && !self.authenticated {
            // RFC 4954 §6.
            return self.refuse(Answer::new(530, Enhanced(5, 7, 0), "Authentication required"));
        }
        match parameters::mail(text, &self.offered()) {
            Ok(mail) => {
                self.drop_transaction();
                self.ask(Question::Mail { smtputf8: mail.smtputf8 }, Event::Mail(mail));
            }
            Err(answer) => self.refuse(answer),
        }
    }

    fn rcpt(&mut self, text: &str) {
        let Some(transaction) = self.transaction.filter(|t| t.phase == Phase::Recipients) else {
            return self.refuse(bad_sequence("Say MAIL first"));
        };
        let charset = if transaction.smtputf8 { Addresses::Utf8 } else { Addresses::Ascii };
        match parameters::rcpt(text, &self.offered(), charset) {
            // RFC 5321 §4.5.3.1.10.
            Ok(_) if transaction.recipients >= self.settings.max_recipients => {
                self.refuse(Answer::new(452, Enhanced(4, 5, 3), "Too many recipients"));
            }
            Ok(rcpt) => self.ask(Question::Rcpt, Event::Rcpt(rcpt)),
            Err(answer) => self.refuse(answer),
        }
    }

    fn data(&mut self) {
        match self.transaction {
            // RFC 3030 §2: DATA and BDAT do not mix.
            Some(t) if t.phase != Phase::Recipients => {
                self.refuse(bad_sequence("DATA after BDAT"));
            }
            // RFC 5321 §4.1.1.4 and RFC 2033 §4.2: 503 without a recipient.
            Some(t) if t.recipients > 0 => self.ask(Question::Data, Event::DataBegins),
            Some(_) => self.refuse(bad_sequence("No recipient was accepted")),
            None => self.refuse(bad_sequence("Say MAIL first")),
        }
    }

    fn bdat(&mut self, size: u64, last: bool) {
        let Some(transaction) = self.transaction else {
            return self.swallow(size, last, bad_sequence("Say MAIL first"));
        };
        match (transaction.phase, std::mem::replace(&mut self.mode, Mode::Commands)) {
            (Phase::Recipients, _) if transaction.recipients == 0 => {
                self.swallow(size, last, bad_sequence("No recipient was accepted"));
            }
            (Phase::Recipients, _) => {
                self.ask(Question::FirstChunk { size, last }, Event::DataBegins);
            }
            (Phase::Chunks, Mode::BetweenChunks(decoder)) => {
                self.mode = Mode::Chunk { decoder, left: size, last };
            }
            (Phase::Chunks | Phase::Failed, _) => {
                self.swallow(size, last, bad_sequence("An earlier chunk was refused"));
            }
        }
    }

    /// RFC 3030 §2: a chunk that is refused still comes, because the client does not wait. The transaction can only fail now.
    fn swallow(&mut self, size: u64, last: bool, answer: Answer) {
        self.set_phase(Phase::Failed);
        let replies = if last { self.final_replies() } else { 1 };
        self.mode = Mode::Swallow { left: size, answer, replies };
        if last {
            self.transaction = None;
        }
    }

    fn read_swallowed(&mut self, left: u64, answer: Answer, replies: u32) -> bool {
        let here = self.input_up_to(left);
        self.input.drain(..here);
        let left = left - here as u64;
        if left > 0 {
            self.mode = Mode::Swallow { left, answer, replies };
            return false;
        }
        self.refuse_times(answer, replies);
        true
    }

    fn read_data(&mut self, mut decoder: Decoder) -> bool {
        if self.input.is_empty() {
            self.mode = Mode::Data(decoder);
            return false;
        }
        let ended = self.decode(&mut decoder, self.input.len());
        if ended {
            self.content_complete(&decoder);
        } else {
            self.mode = Mode::Data(decoder);
        }
        true
    }

    fn read_chunk(&mut self, mut decoder: Decoder, left: u64, last: bool) -> bool {
        let here = self.input_up_to(left);
        if left > 0 && here == 0 {
            self.mode = Mode::Chunk { decoder, left, last };
            return false;
        }
        self.decode(&mut decoder, here);
        let left = left - here as u64;
        if left > 0 {
            self.mode = Mode::Chunk { decoder, left, last };
            return true;
        }
        if last {
            let before = decoder.fault();
            decoder.finish();
            self.report_fault(before, &decoder);
            self.content_complete(&decoder);
        } else if let Some(fault) = decoder.fault() {
            self.set_phase(Phase::Failed);
            self.refuse(fault.answer());
        } else {
            self.mode = Mode::BetweenChunks(decoder);
            self.say(&Answer::ok("Chunk taken"));
        }
        true
    }

    /// Decodes the first octets of the input, shows what came out; true at the final dot.
    fn decode(&mut self, decoder: &mut Decoder, octets: usize) -> bool {
        let before = decoder.fault();
        let mut content = Vec::new();
        let decoded = decoder.decode(self.input.get(..octets).unwrap_or_default(), &mut content);
        self.input.drain(..decoded.taken);
        if !content.is_empty() {
            self.events.push_back(Event::Content(content));
        }
        self.report_fault(before, decoder);
        decoded.ended
    }

    fn report_fault(&mut self, before: Option<super::Fault>, decoder: &Decoder) {
        if let (None, Some(fault)) = (before, decoder.fault()) {
            self.events.push_back(Event::Spoilt(fault));
        }
    }

    fn content_complete(&mut self, decoder: &Decoder) {
        match decoder.fault() {
            None => self.ask(Question::End, Event::DataEnds),
            Some(fault) => {
                let replies = self.final_replies();
                self.refuse_times(fault.answer(), replies);
                self.transaction = None;
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

    fn decoder(&self, framing: Framing) -> Decoder {
        Decoder::new(framing, self.settings.max_message_size, self.settings.max_line_length)
    }

    fn offered(&self) -> Offered {
        Offered {
            dsn: self.settings.dsn,
            auth: !self.settings.mechanisms.is_empty(),
            requiretls: requiretls_open(&self.settings, self.tls),
            max_message_size: self.settings.max_message_size,
        }
    }

    fn input_up_to(&self, octets: u64) -> usize {
        self.input.len().min(usize::try_from(octets).unwrap_or(usize::MAX))
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

fn malformed_line(text: &str) -> Answer {
    Answer::new(500, Enhanced(5, 5, 2), text)
}

/// RFC 5321 §4.2.4: 503, where some servers say 502.
fn bad_sequence(text: &str) -> Answer {
    Answer::new(503, Enhanced(5, 5, 1), text)
}

fn hello_first() -> Answer {
    bad_sequence("Introduce yourself first")
}

/// RFC 5321 §4.2.4: known, but not here.
fn not_implemented(text: &str) -> Answer {
    Answer::new(502, Enhanced(5, 5, 1), text)
}

fn closing(text: &str) -> Answer {
    Answer::new(421, Enhanced(4, 7, 0), text)
}
