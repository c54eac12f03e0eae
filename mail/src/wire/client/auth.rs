//! Logging in: AUTH of the client (RFC 4954) with PLAIN (RFC 4616), LOGIN and EXTERNAL (RFC 4422 Appendix A).
//!
//! Whether the session is one that credentials may go over is decided before, in `attempt::credentials`. What a server has against them is
//! never a reason to send mail back: an operator has made a mistake, here or there, and can repair it.

use std::collections::VecDeque;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::outcome::{Cause, Failure, Stage};
use crate::wire::password::Password;
use crate::wire::reply::Reply;
use crate::wire::transcript::Mask;

/// RFC 4954 §4: a command with its initial response is no longer than any other one (RFC 5321 §4.5.3.1.4), CRLF included.
const LONGEST_COMMAND: usize = 512;

/// Who we are to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    user: String,
    password: Password,
}

impl Account {
    /// `None` when there is something empty, or something that the mechanisms have no way to say.
    pub fn new(user: &str, password: &str) -> Option<Account> {
        // RFC 4616 §2: neither may be empty, and NUL stands between them.
        let sayable = |text: &str| !text.is_empty() && !text.contains('\0');
        let account = Account { user: user.to_string(), password: Password::new(password) };
        (sayable(user) && sayable(password)).then_some(account)
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// For whoever keeps it safe.
    pub fn password(&self) -> &Password {
        &self.password
    }
}

/// How we log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// With PLAIN, or with LOGIN where that is all a server knows.
    Plain(Account),
    /// With LOGIN alone.
    Login(Account),
    /// As whoever our certificate names.
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Login,
    External,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::External => "EXTERNAL",
        }
    }
}

impl Login {
    fn mechanisms(&self) -> &'static [Mechanism] {
        match self {
            Login::Plain(_) => &[Mechanism::Plain, Mechanism::Login],
            Login::Login(_) => &[Mechanism::Login],
            Login::External => &[Mechanism::External],
        }
    }

    fn account(&self) -> Option<&Account> {
        match self {
            Login::Plain(account) | Login::Login(account) => Some(account),
            Login::External => None,
        }
    }
}

/// What the driver has to do next.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthStep {
    Write(Vec<u8>),
    /// A reply; the stage is `Auth`.
    Await,
    /// The server knows who we are.
    Done,
}

/// One exchange, from AUTH to the final reply.
pub struct Exchange {
    mechanism: Mechanism,
    write: Option<Vec<u8>>,
    /// Answers to challenges, in order, encoded.
    responses: VecDeque<String>,
    /// We have said `*`.
    cancelled: bool,
    done: bool,
    /// Servers repeat what they don't like, and their words go into logs and reports.
    mask: Mask,
}

/// What is said in it is nobody's business.
impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Exchange {
    /// `offered`: what the last EHLO or LHLO said of AUTH, in upper case.
    pub fn new(login: &Login, offered: &[String]) -> Result<Exchange, Failure> {
        let known = |mechanism: &&Mechanism| offered.iter().any(|name| name == mechanism.name());
        let Some(mechanism) = login.mechanisms().iter().find(known) else {
            let text = match offered {
                [] => "the server does not offer AUTH".to_string(),
                offered => {
                    let wanted: Vec<&str> = login.mechanisms().iter().map(|m| m.name()).collect();
                    let (wanted, offered) = (wanted.join(" or "), offered.join(" "));
                    format!("the server does not offer AUTH {wanted}, only {offered}")
                }
            };
            return Err(Failure::new(Cause::AuthMissing, text));
        };
        let account = login.account();
        let (user, password) = account.map_or(("", ""), |a| (a.user(), a.password.expose()));
        let (initial, responses) = match mechanism {
            // RFC 4616 §2: without a name to act as, it is the name that is proven.
            Mechanism::Plain => (Some(STANDARD.encode(format!("\0{user}\0{password}"))), vec![]),
            Mechanism::Login => (None, vec![STANDARD.encode(user), STANDARD.encode(password)]),
            // RFC 4954 §4: `=` is an empty initial response; RFC 4422 Appendix A: whoever the certificate names.
            Mechanism::External => (Some("=".to_string()), vec![]),
        };
        Ok(Exchange::begin(*mechanism, initial, responses))
    }

    fn begin(mechanism: Mechanism, initial: Option<String>, responses: Vec<String>) -> Exchange {
        let mut responses: VecDeque<String> = responses.into();
        let mut command = format!("AUTH {}", mechanism.name());
        match initial {
            Some(initial) if command.len() + initial.len() + 3 <= LONGEST_COMMAND => {
                command.push(' ');
                command.push_str(&initial);
            }
            // Too long for a command: said in answer to an empty challenge.
            Some(initial) => responses.push_front(initial),
            None => {}
        }
        let (mask, write) = (Mask::default(), None);
        let mut exchange =
            Exchange { mechanism, write, responses, cancelled: false, done: false, mask };
        exchange.say(&command);
        exchange
    }

    /// Base64, names of mechanisms and `*`: none of them has room for CR or LF.
    fn say(&mut self, text: &str) {
        let _ = self.mask.ours(text.as_bytes());
        self.write = Some([text.as_bytes(), b"\r\n"].concat());
    }

    pub fn step(&mut self) -> AuthStep {
        match self.write.take() {
            Some(bytes) => AuthStep::Write(bytes),
            None if self.done => AuthStep::Done,
            None => AuthStep::Await,
        }
    }

    /// One reply. After a failure the session is good for QUIT and nothing else.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), Failure> {
        let name = self.mechanism.name();
        let reply = &self.without_echo(reply);
        match reply.code {
            _ if self.cancelled => {
                let text = format!("the server wants more than AUTH {name} has to say");
                Err(Failure::new(Cause::Protocol(Stage::Auth), text))
            }
            // RFC 4954 §4: 235 ends it; whatever else is positive is taken for it.
            200..=299 => {
                self.done = true;
                Ok(())
            }
            334 => {
                // RFC 4954 §4: `*` calls the exchange off, and is answered.
                let response = self.responses.pop_front();
                self.cancelled = response.is_none();
                self.say(response.as_deref().unwrap_or("*"));
                Ok(())
            }
            _ => Err(refused(reply)),
        }
    }

    fn without_echo(&mut self, reply: &Reply) -> Reply {
        let line = format!("{} {}", reply.code, reply.text());
        let shown = self.mask.theirs(line.as_bytes());
        let text = String::from_utf8_lossy(shown.get(4..).unwrap_or_default()).into_owned();
        Reply { lines: vec![text], ..reply.clone() }
    }
}

fn refused(reply: &Reply) -> Failure {
    let failure = reply.failure(Stage::Auth);
    match reply.code {
        // RFC 4954 §4: unknown command, mechanism or parameter. No verdict on who we are.
        500..=504 => Failure::new(Cause::AuthMissing, failure.to_string()),
        // RFC 4954 §6: 535 5.7.8 invalid credentials, 534 5.7.9 mechanism too weak, 538 5.7.11 encryption required.
        505.. => Failure::new(Cause::CredentialsRefused, failure.to_string()),
        _ => failure,
    }
}

#[cfg(test)]
mod tests;
