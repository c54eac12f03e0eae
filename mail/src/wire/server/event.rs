//! What the machine tells the one who owns the connection.

use super::auth::Credentials;
use super::command::Greeting;
use super::data::Fault;
use super::parameters::{Mail, Rcpt};
use super::reply::Answer;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    Event(Event),
    /// An event asked and has no answer yet. Who answers at once never sees this.
    Answer,
    /// Write all of `take_output` before going on.
    Write,
    /// Read from the connection, at most `READ_SIZE` octets, and `feed` them.
    Read,
    /// Begin the TLS handshake as server, then call `tls_started`. If it fails, close the connection.
    Handshake,
    /// Everything is written: close the connection. A transaction that was open is void.
    Close,
}

/// What happened in the session. Variants marked *asks* stop the machine until they are answered.
#[derive(Debug)]
pub enum Event {
    /// EHLO, HELO or LHLO, already replied to. An open transaction is void (RFC 5321 §4.1.4).
    Hello { greeting: Greeting, name: String },
    /// STARTTLS; *asks*. Accepting it forgets all of the session so far (RFC 3207 §4.2).
    StartTls,
    /// Complete credentials; *asks*. Accept, or refuse with 535 5.7.8, or 454 4.7.0 if they could not be checked (RFC 4954 §6).
    Auth(Credentials),
    /// MAIL; *asks*. A transaction that was still open is void.
    Mail(Mail),
    /// RCPT; *asks*.
    Rcpt(Rcpt),
    /// Content is about to come, by DATA or BDAT; *asks*. Refused, the transaction is void.
    DataBegins,
    /// A piece of the content: CRLF line ends, dots unstuffed.
    Content(Vec<u8>),
    /// The content breaks a rule and must be thrown away; the transaction is void. The rest of it will not be shown, and the
    /// machine replies by itself when it has ended.
    Spoilt(Fault),
    /// The content is complete; *asks*. A positive answer takes responsibility for the message (RFC 5321 §6.1).
    /// Over LMTP every accepted recipient has its own answer (`answer_recipients`).
    DataEnds,
    /// RSET: an open transaction is void.
    Reset,
    /// The machine refused a command by itself; for logs.
    Refused(Answer),
    /// QUIT, already replied to.
    Quit,
}

impl Event {
    /// Whether the machine waits for an answer to this event.
    pub fn asks(&self) -> bool {
        match self {
            Event::StartTls
            | Event::Auth(_)
            | Event::Mail(_)
            | Event::Rcpt(_)
            | Event::DataBegins
            | Event::DataEnds => true,
            Event::Hello { .. }
            | Event::Content(_)
            | Event::Spoilt(_)
            | Event::Reset
            | Event::Refused(_)
            | Event::Quit => false,
        }
    }
}
