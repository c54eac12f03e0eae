//! STARTTLS (RFC 3207) and AUTH (RFC 4954) in the session.

use crate::status::Enhanced;

use super::super::auth::{self, Turn};
use super::super::capabilities::auth_open;
use super::super::event::Event;
use super::super::reply::{Answer, render_bare};
use super::super::settings::Tls;
use super::{Mode, Question, Server, bad_sequence, closing, hello_first};

/// This many failed authentications end the session: guessing has to pay for a new connection.
const AUTH_FAILURES: u32 = 5;

impl Server {
    pub(super) fn starttls(&mut self) {
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

    pub(super) fn decided_starttls(&mut self, answer: &Answer) {
        if !answer.is_positive() {
            return self.say(answer); // RFC 3207 §4: 454
        }
        if !self.input.is_empty() {
            return self.refuse_injection();
        }
        self.say(&Answer::new(220, Enhanced(2, 0, 0), "Ready to start TLS"));
        self.mode = Mode::Handshake;
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
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

    pub(super) fn auth_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Challenge(challenge, exchange) => {
                render_bare(334, &[challenge.to_string()], &mut self.output);
                self.mode = Mode::Auth(exchange);
            }
            Turn::Complete(credentials) => self.ask(Question::Auth, Event::Auth(credentials)),
            Turn::Refuse(answer) => self.refuse(answer),
        }
    }

    pub(super) fn decided_auth(&mut self, answer: &Answer) {
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
}

/// RFC 5321 §4.2.4: known, but not here.
fn not_implemented(text: &str) -> Answer {
    Answer::new(502, Enhanced(5, 5, 1), text)
}
