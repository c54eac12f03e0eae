//! Lines and commands: what is taken when, and what is refused.

use crate::status::Enhanced;

use super::super::auth::{self, Exchange};
use super::super::capabilities::{announced, requiretls_open};
use super::super::command::{self, Command, Greeting};
use super::super::event::Event;
use super::super::line::{Expect, Line};
use super::super::parameters::{self, Addresses, Offered};
use super::super::reply::{Answer, render_bare};
use super::super::settings::{Authentication, Dialect};
use super::super::transaction::Phase;
use super::{Mode, Question, Server, bad_sequence, closing, hello_first};

impl Server {
    pub(super) fn read_line(&mut self, exchange: Option<Exchange>) -> bool {
        let expect = if exchange.is_some() { Expect::AuthResponse } else { Expect::Command };
        let (taken, line) = self.lines.read(self.input.waiting(), expect);
        self.input.use_up(taken);
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

    fn offered(&self) -> Offered {
        Offered {
            dsn: self.settings.dsn,
            auth: !self.settings.mechanisms.is_empty(),
            requiretls: requiretls_open(&self.settings, self.tls),
            max_message_size: self.settings.max_message_size,
        }
    }
}

fn malformed_line(text: &str) -> Answer {
    Answer::new(500, Enhanced(5, 5, 2), text)
}
