//! Debian's smtp-source: many messages over many sessions.

use std::net::SocketAddr;
use std::process::Command;

use crate::harness::area::Area;
use crate::harness::message::Message;
use crate::harness::process::{command, run};

pub const PROGRAM: &str = "smtp-source";

/// What is sent. Recipients get a number in front when there is more than one message, so that each is told from the others.
#[derive(Clone, Debug)]
pub struct SmtpSource<'a> {
    pub server: SocketAddr,
    pub from: &'a str,
    pub to: &'a str,
    pub messages: usize,
    pub sessions: usize,
    /// Bytes of generated text in each.
    pub length: usize,
}

impl SmtpSource<'_> {
    /// The command, not started.
    pub fn command(&self) -> Command {
        let mut source = command(PROGRAM);
        source.args(["-m", &self.messages.to_string(), "-s", &self.sessions.to_string()]);
        source.args(["-f", self.from, "-t", self.to]);
        if self.messages > 1 {
            source.arg("-N");
        }
        source.args(["-l", &self.length.to_string()]);
        source.arg(self.server.to_string());
        source
    }

    /// Sends all; fails when a message is not accepted.
    pub fn run(&self) {
        run(&mut self.command());
    }
}

/// Sends one message; what is really sent is returned, for the program ends every content with an empty line of its own.
pub fn send(area: &Area, server: SocketAddr, from: &str, to: &str, message: &Message) -> Message {
    let file = area.write(&format!("{}.source", message.id()), message.unix());
    let mut source = command(PROGRAM);
    source.args(["-f", from, "-t", to, "-F"]).arg(file).arg(server.to_string());
    run(&mut source);
    message.with_line(b"")
}
