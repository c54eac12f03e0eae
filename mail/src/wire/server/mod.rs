//! The receiving side of SMTP (RFC 5321), message submission (RFC 6409) and LMTP (RFC 2033).
//!
//! `Server` is a machine: octets go in by `feed`, `advance` says what to do next, decisions go back by `answer`. It reads nothing,
//! writes nothing and knows no time; whoever owns the connection does what each `Step` says and nothing else:
//!
//! 1. `Event`: something happened. If it asks (`Event::asks`), the machine stands still until `accept`, `answer` or `answer_recipients`.
//! 2. `Write`: send `take_output`. Replies of commands that came in one packet leave in one piece (RFC 2920 §3.2).
//! 3. `Read`: read at most `READ_SIZE` octets and `feed` them.
//! 4. `Handshake`: begin TLS, then say `tls_started`.
//! 5. `Close`: the session is over.
//!
//! The machine checks syntax, order and sizes, and refuses what breaks them; whether a sender, a recipient or a message is welcome is
//! the caller's to decide. How the octets were cut into packets never changes what comes out (the test
//! `any_cut_of_the_stream_says_the_same`), except behind STARTTLS, where a second octet in the clear ends the session.
//!
//! Memory: at most 64 KB in one machine, whatever the client sends. (Answers for the recipients of an LMTP message come from the caller,
//! and are as many as it accepted recipients.)

mod auth;
mod capabilities;
mod command;
mod data;
mod event;
mod input;
mod line;
mod parameters;
mod path;
mod reply;
mod session;
mod settings;
mod transaction;
mod xtext;

#[cfg(test)]
mod dialogue;
#[cfg(test)]
mod tests;

pub use auth::{Credentials, Mechanism};
pub use command::Greeting;
pub use data::Fault;
pub use event::{Event, Step};
pub use parameters::{Mail, Rcpt};
pub use reply::Answer;
pub use session::{READ_SIZE, Server};
pub use settings::{Authentication, Dialect, Settings, Tls};
