//! Why a verb did not do what was asked, and the exit code that follows. Decided here and nowhere else.

use std::fmt;
use std::io;

use posthaste_actors::offline::{SpoolError, Stopped};

use crate::client;
use crate::exit::Exit;
use crate::show::escape::escaped;

#[derive(Debug)]
pub enum Failure {
    Client(client::Error),
    /// Standard output cannot be written to.
    Output(io::Error),
    /// Something to be read, and what it was.
    Input(String, io::Error),
    /// A spool could not be worked on.
    Offline(Stopped),
    /// The words of the command line do not fit together, in a way that clap cannot know.
    Usage(String),
}

impl Failure {
    /// Exit code of all verbs but `sendmail`.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Client(error) => answered(error),
            // Whoever read our output has seen enough.
            Failure::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Failure::Output(_) | Failure::Input(..) => Exit::Refused,
            Failure::Offline(stopped) => match stopped {
                Stopped::Configuration(_) => Exit::Configuration,
                Stopped::NoQueue(_) | Stopped::File(_) | Stopped::Line(..) => Exit::Refused,
                // A daemon, or another one of us, works on it.
                Stopped::Spool(_, SpoolError::Locked(_)) => Exit::TryAgain,
                Stopped::Spool(..) => Exit::Internal,
            },
            Failure::Usage(_) => Exit::Usage,
        }
    }

    /// Exit code of `sendmail`, whose callers keep a message only when told to try again.
    pub fn sendmail_exit(&self) -> Exit {
        match (self, self.exit()) {
            (Failure::Usage(_), _) => Exit::SendmailUsage,
            (Failure::Client(_), Exit::Refused) => Exit::Unavailable,
            (_, Exit::Done) => Exit::Done,
            _ => Exit::TryAgain,
        }
    }

    /// Is there anything to tell?
    pub fn is_silent(&self) -> bool {
        self.exit() == Exit::Done
    }
}

fn answered(error: &client::Error) -> Exit {
    match error {
        client::Error::Unreachable { .. } => Exit::Unavailable,
        client::Error::NotUnderstood(_) => Exit::Internal,
        client::Error::Refused { code, text } => match code {
            // `send` refuses with the words of an SMTP reply.
            -32000 if is_temporary_reply(text) => Exit::TryAgain,
            // Refused; wrong parameters, which were the operator's; not permitted.
            -32000 | -32602 | -32001 => Exit::Refused,
            // The daemon is another version than this program, or has a fault.
            _ => Exit::Internal,
        },
    }
}

/// `CODE STATUS TEXT` with a code of 4yz (RFC 5321 §4.2.1).
fn is_temporary_reply(text: &str) -> bool {
    let mut words = text.split(' ');
    let code = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    code.len() == 3
        && code.starts_with('4')
        && code.bytes().all(|b| b.is_ascii_digit())
        && status.starts_with("4.")
}

impl fmt::Display for Failure {
    /// One line fit for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Failure::Client(error) => error.to_string(),
            Failure::Output(e) => format!("writing the output: {e}"),
            Failure::Input(what, e) => format!("reading {what}: {e}"),
            Failure::Offline(stopped) => stopped.to_string(),
            Failure::Usage(text) => text.clone(),
        };
        f.write_str(&escaped(&text))
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    /// Only writing the output fails without a word on what was being done.
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i64, text: &str) -> Failure {
        Failure::Client(client::Error::Refused { code, text: text.to_string() })
    }

    #[test]
    fn every_failure_has_its_exit_codes() {
        let unreachable =
            client::Error::Unreachable { path: "/run/x".into(), reason: "gone".to_string() };
        let not_understood = client::Error::NotUnderstood("x".to_string());
        for (failure, code, sendmail) in [
            (Failure::Client(unreachable), 69, 75),
            (Failure::Client(not_understood), 70, 75),
            (refused(-32000, "451 4.3.1 spool is full"), 75, 75),
            (refused(-32000, "550 5.1.1 no such user"), 1, 69),
            (refused(-32000, "no message x in any queue"), 1, 69),
            (refused(-32000, "4 messages"), 1, 69), // no reply
            (refused(-32000, "450 messages"), 1, 69), // no status
            (refused(-32001, "only root may"), 1, 69),
            (refused(-32602, "missing field `to`"), 1, 69),
            (refused(-32601, "no such method: x"), 70, 75), // another version
            (refused(-32603, "queue does not answer"), 70, 75),
            (refused(-32700, "no JSON"), 70, 75),
            (Failure::Usage("--yes".to_string()), 2, 64),
            (Failure::Input("x".to_string(), io::ErrorKind::NotFound.into()), 1, 75),
            (Failure::Output(io::ErrorKind::StorageFull.into()), 1, 75),
            (Failure::Output(io::ErrorKind::BrokenPipe.into()), 0, 0), // `| head`
        ] {
            assert_eq!(failure.exit().code(), code, "{failure}");
            assert_eq!(failure.sendmail_exit().code(), sendmail, "{failure}");
        }
    }

    #[test]
    fn texts_of_the_daemon_cannot_disturb_a_terminal() {
        let unreachable = client::Error::Unreachable {
            path: "/run/posthaste/admin.sock".into(),
            reason: "connection refused".to_string(),
        };
        assert_eq!(
            Failure::Client(unreachable).to_string(),
            "daemon not reachable at /run/posthaste/admin.sock: connection refused"
        );
        assert_eq!(refused(-32000, "a\u{1b}[2Jb").to_string(), "a\\u{1b}[2Jb");
    }
}
