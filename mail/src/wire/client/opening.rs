//! From the greeting to the last EHLO before mail.

use crate::outcome::{Cause, Failure, Stage};
use crate::wire::capabilities::Capabilities;
use crate::wire::command::Command;
use crate::wire::reply::Reply;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Smtp,
    Lmtp,
}

impl Dialect {
    /// Where a session is that says who it is.
    pub fn hello(self) -> Stage {
        match self {
            Dialect::Smtp => Stage::Ehlo,
            Dialect::Lmtp => Stage::Lhlo,
        }
    }
}

/// How a session comes to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Not at all: it is not wanted, or has failed at this address before.
    Skip,
    /// By STARTTLS.
    IfOffered,
    /// Before the greeting (RFC 8314 §3.3). STARTTLS is not said inside of it, whatever is offered.
    AtOnce,
}

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningStep {
    Write(Vec<u8>),
    Await(Stage),
    /// Make the TLS handshake on the same connection, then call `secured`. Nothing may be left in the read buffer.
    Handshake,
    Ready,
}

/// Why a session cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningError {
    Failed(Failure),
    /// STARTTLS was offered and then refused: the session may be tried again without.
    StartTlsRefused(Failure),
}

#[derive(Debug)]
enum State {
    Greeting,
    SayHello,
    Hello,
    SayHelo,
    Helo,
    SayStartTls,
    StartTls,
    Handshake,
    Ready,
}

/// The machine.
#[derive(Debug)]
pub struct Opening {
    dialect: Dialect,
    name: String,
    starttls: StartTls,
    secured: bool,
    state: State,
    capabilities: Capabilities,
}

impl Opening {
    /// `name` is what we call ourselves, an A-label or an address literal.
    pub fn new(dialect: Dialect, name: &str, starttls: StartTls) -> Opening {
        Opening {
            dialect,
            name: name.to_string(),
            starttls,
            secured: false,
            state: match starttls {
                StartTls::Skip | StartTls::IfOffered => State::Greeting,
                StartTls::AtOnce => State::Handshake,
            },
            capabilities: Capabilities::default(),
        }
    }

    pub fn step(&mut self) -> Result<OpeningStep, OpeningError> {
        let (command, next) = match self.state {
            State::Greeting => return Ok(OpeningStep::Await(Stage::Greeting)),
            State::Hello | State::Helo => return Ok(OpeningStep::Await(self.dialect.hello())),
            State::StartTls => return Ok(OpeningStep::Await(Stage::StartTls)),
            State::Handshake => return Ok(OpeningStep::Handshake),
            State::Ready => return Ok(OpeningStep::Ready),
            State::SayHello => (self.hello(), State::Hello),
            State::SayHelo => (Command::Helo(self.name.clone()), State::Helo),
            State::SayStartTls => (Command::StartTls, State::StartTls),
        };
        let mut bytes = Vec::new();
        command.render(&mut bytes).map_err(|_| {
            OpeningError::Failed(Failure::new(Cause::Internal, "our host name cannot be sent"))
        })?;
        self.state = next;
        Ok(OpeningStep::Write(bytes))
    }

    fn hello(&self) -> Command {
        match self.dialect {
            Dialect::Smtp => Command::Ehlo(self.name.clone()),
            // RFC 2033 §4.1: LHLO in place of EHLO, and never HELO.
            Dialect::Lmtp => Command::Lhlo(self.name.clone()),
        }
    }

    pub fn reply(&mut self, reply: &Reply) -> Result<(), OpeningError> {
        let fail = |stage| Err(OpeningError::Failed(reply.failure(stage)));
        match self.state {
            State::Greeting if reply.code == 220 => self.state = State::SayHello,
            State::Greeting => return fail(Stage::Greeting),
            State::Hello if reply.is_positive() => {
                // RFC 3207 §4.2: what was learned before TLS is forgotten.
                self.capabilities = Capabilities::of(reply);
                let wanted = self.starttls == StartTls::IfOffered && !self.secured;
                self.state = if wanted && self.capabilities.starttls {
                    State::SayStartTls
                } else {
                    State::Ready
                };
            }
            State::Hello if self.may_say_helo(reply) => self.state = State::SayHelo,
            State::Hello => return fail(self.dialect.hello()),
            State::Helo if reply.is_positive() => {
                let name = Capabilities::of(reply).name;
                self.capabilities = Capabilities { name, ..Capabilities::default() };
                self.state = State::Ready;
            }
            State::Helo => return fail(self.dialect.hello()),
            State::StartTls if reply.code == 220 => self.state = State::Handshake,
            State::StartTls if reply.code == 421 => return fail(Stage::StartTls),
            State::StartTls => {
                return Err(OpeningError::StartTlsRefused(reply.failure(Stage::StartTls)));
            }
            // The driver asks for replies only where `step` says so; another one is the server's.
            State::SayHello
            | State::SayHelo
            | State::SayStartTls
            | State::Handshake
            | State::Ready => {
                let text = "the server speaks out of turn";
                let failure = Failure::new(Cause::Protocol(self.dialect.hello()), text);
                return Err(OpeningError::Failed(failure));
            }
        }
        Ok(())
    }

    /// RFC 5321 §4.1.1.1 and §3.2: servers that do not know EHLO are greeted with HELO; never after STARTTLS.
    fn may_say_helo(&self, reply: &Reply) -> bool {
        self.dialect == Dialect::Smtp
            && !self.secured
            && matches!(reply.code, 500 | 501 | 502 | 503 | 504 | 550)
    }

    /// The handshake is done.
    pub fn secured(&mut self) {
        self.secured = true;
        self.capabilities = Capabilities::default();
        self.state = match self.starttls {
            StartTls::AtOnce => State::Greeting,
            StartTls::Skip | StartTls::IfOffered => State::SayHello,
        };
    }

    /// What the server announced last.
    pub fn capabilities(self) -> Capabilities {
        self.capabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::ReplyParser;

    /// Plays `server`'s lines; returns what the client wrote, and how it ended.
    fn play(
        dialect: Dialect,
        starttls: StartTls,
        server: &[&str],
    ) -> (String, Result<Capabilities, OpeningError>) {
        let mut opening = Opening::new(dialect, "me.test", starttls);
        let (mut said, mut lines) = (String::new(), server.iter());
        loop {
            match opening.step() {
                Err(e) => return (said, Err(e)),
                Ok(OpeningStep::Write(bytes)) => said += std::str::from_utf8(&bytes).unwrap(),
                Ok(OpeningStep::Handshake) => {
                    said += "[tls]";
                    opening.secured();
                }
                Ok(OpeningStep::Ready) => return (said, Ok(opening.capabilities())),
                Ok(OpeningStep::Await(_)) => {
                    let text = format!("{}\r\n", lines.next().unwrap());
                    let reply = ReplyParser::default().feed(&mut text.as_bytes()).unwrap().unwrap();
                    if let Err(e) = opening.reply(&reply) {
                        return (said, Err(e));
                    }
                }
            }
        }
    }

    fn code(result: Result<Capabilities, OpeningError>) -> u16 {
        match result {
            Err(OpeningError::Failed(f) | OpeningError::StartTlsRefused(f)) => f.code,
            Ok(_) => panic!("ready"),
        }
    }

    #[test]
    fn starttls_then_ehlo_again() {
        let (said, caps) = play(
            Dialect::Smtp,
            StartTls::IfOffered,
            &["220 mx", "250-mx\r\n250-SIZE 5\r\n250 STARTTLS", "220 go", "250-mx\r\n250 DSN"],
        );
        assert_eq!(said, "EHLO me.test\r\nSTARTTLS\r\n[tls]EHLO me.test\r\n");
        let caps = caps.unwrap();
        assert!(caps.dsn && caps.size.is_none()); // SIZE was said before TLS: forgotten
    }

    #[test]
    fn tls_before_the_greeting_is_tls_once() {
        let server = ["220 mx", "250-mx\r\n250-STARTTLS\r\n250 DSN"];
        let (said, caps) = play(Dialect::Smtp, StartTls::AtOnce, &server);
        assert_eq!(said, "[tls]EHLO me.test\r\n"); // RFC 3207 §4.2: no TLS inside of TLS
        assert!(caps.unwrap().dsn);
        let (said, end) = play(Dialect::Lmtp, StartTls::AtOnce, &["554 no"]);
        assert_eq!((said.as_str(), code(end)), ("[tls]", 554));
        // Nor HELO, which would hide what is offered.
        let (said, end) = play(Dialect::Smtp, StartTls::AtOnce, &["220 mx", "502 what"]);
        assert_eq!((said.as_str(), code(end)), ("[tls]EHLO me.test\r\n", 502));
    }

    #[test]
    fn plain_when_not_offered_or_not_wanted() {
        let (said, _) = play(Dialect::Smtp, StartTls::IfOffered, &["220 mx", "250 mx"]);
        assert_eq!(said, "EHLO me.test\r\n");
        let (said, _) = play(Dialect::Smtp, StartTls::Skip, &["220 mx", "250-mx\r\n250 STARTTLS"]);
        assert_eq!(said, "EHLO me.test\r\n");
    }

    #[test]
    fn helo_for_old_servers_only() {
        let (said, caps) =
            play(Dialect::Smtp, StartTls::IfOffered, &["220 mx", "502 what", "250 mx hi"]);
        assert_eq!(said, "EHLO me.test\r\nHELO me.test\r\n");
        assert_eq!(caps.unwrap().name, "mx");
        let (_, end) = play(Dialect::Smtp, StartTls::IfOffered, &["220 mx", "451 busy"]);
        assert_eq!(code(end), 451);
        let (said, end) = play(Dialect::Lmtp, StartTls::Skip, &["220 mx", "500 what"]);
        assert_eq!((said.as_str(), code(end)), ("LHLO me.test\r\n", 500));
        let (_, end) = play(Dialect::Lmtp, StartTls::Skip, &["220 mx", "554 no"]);
        let Err(OpeningError::Failed(failure)) = end else { panic!("{end:?}") };
        assert_eq!(failure.to_string(), "554 5.0.0 no (in reply to LHLO)"); // never said EHLO
        let secured = ["220 mx", "250-mx\r\n250 STARTTLS", "220 go", "500 what"];
        let (_, end) = play(Dialect::Smtp, StartTls::IfOffered, &secured);
        assert_eq!(code(end), 500);
    }

    #[test]
    fn greetings_that_end_the_session() {
        for (greeting, expected) in [("421 busy", 421), ("554 no mail", 554), ("250 odd", 451)] {
            let (said, end) = play(Dialect::Smtp, StartTls::IfOffered, &[greeting]);
            assert_eq!((said.as_str(), code(end)), ("", expected));
        }
    }

    #[test]
    fn refused_starttls_is_told_apart() {
        let (_, end) = play(
            Dialect::Smtp,
            StartTls::IfOffered,
            &["220 mx", "250-mx\r\n250 STARTTLS", "454 no"],
        );
        assert!(matches!(end, Err(OpeningError::StartTlsRefused(_))));
    }
}
