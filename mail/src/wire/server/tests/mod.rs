//! Whole sessions as dialogues.

mod chunks;
mod lmtp;
mod order;
mod refusals;
mod security;
mod streams;

use super::dialogue::{Driver, Reply, Seen, play};
use super::*;
use crate::address::Domain;
use crate::dice::Dice;
use crate::status::Enhanced;

fn settings(dialect: Dialect) -> Settings {
    let mut settings = Settings::new(dialect, Domain::parse("mx.example.org").unwrap());
    settings.max_message_size = Some(100);
    settings.max_recipients = 2;
    settings
}

fn smtp() -> Settings {
    settings(Dialect::Smtp)
}

/// Refuses what has `bad` in its address, wrong passwords, and content of messages from `poor`.
fn decide() -> impl FnMut(&Event) -> Reply {
    let mut poor = false;
    move |event| match event {
        Event::Mail(mail) => {
            poor = mail.from.as_str().starts_with("poor");
            if mail.from.as_str().starts_with("bad") { no(5, 1, 8) } else { Reply::Accept }
        }
        Event::Rcpt(rcpt) if rcpt.to.local().starts_with("bad") => no(5, 1, 1),
        Event::Rcpt(rcpt) if rcpt.to.local().starts_with("busy") => no(4, 2, 1),
        Event::DataBegins if poor => no(4, 3, 1),
        Event::Auth(credentials) if credentials.password.expose() != "secret" => {
            Reply::One(Answer::new(535, Enhanced(5, 7, 8), "Wrong"))
        }
        _ => Reply::Accept,
    }
}

fn no(class: u8, subject: u16, detail: u16) -> Reply {
    let code = if class == 5 { 550 } else { 450 };
    Reply::One(Answer::new(code, Enhanced(class, subject, detail), "No"))
}

fn talk(settings: Settings, script: &str) -> Seen {
    play(Server::new(settings), decide(), script)
}

/// A dialogue behind greeting and EHLO, whose replies other tests look at.
fn after_ehlo(settings: Settings, script: &str) -> Seen {
    let mut server = Server::new(settings);
    let word = match server.transport().base {
        crate::trace::Base::Lmtp => "LHLO a\r\n",
        _ => "EHLO a\r\n",
    };
    let mut opening = Driver::new(server, decide());
    opening.feed(word.as_bytes(), || usize::MAX);
    server = opening.server;
    play(server, decide(), script)
}

fn with_tls(dialect: Dialect) -> Settings {
    let mut settings = settings(dialect);
    settings.tls = Tls::Offered;
    settings.mechanisms = vec![Mechanism::Plain, Mechanism::Login];
    settings
}
