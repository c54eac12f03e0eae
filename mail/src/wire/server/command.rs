//! The commands of a client, read from one line each.

use crate::status::Enhanced;

use super::reply::Answer;

/// How the client introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// No extensions (RFC 5321 §4.1.1.1).
    Helo,
    Ehlo,
    /// RFC 2033 §4.1.
    Lhlo,
}

/// One command. Paths and parameters of MAIL and RCPT are read in `parameters`, because what they may be depends on the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Hello {
        greeting: Greeting,
        name: &'a str,
    },
    StartTls,
    Auth {
        mechanism: &'a str,
        initial: Option<&'a str>,
    },
    /// What stands behind `FROM:`.
    Mail(&'a str),
    /// What stands behind `TO:`.
    Rcpt(&'a str),
    Data,
    Bdat {
        size: u64,
        last: bool,
    },
    /// BDAT whose size cannot be read: where its chunk ends is unknown.
    UnreadableBdat,
    Reset,
    Noop,
    Verify,
    Expand,
    Help,
    Quit,
}

/// Reads a line without its CRLF. A refusal is the reply to send.
pub(super) fn read(line: &[u8]) -> Result<Command<'_>, Answer> {
    let text = std::str::from_utf8(line).map_err(|_| syntax("Line is not text"))?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(syntax("Control character in command line"));
    }
    // RFC 5321 §4.1.1: white space before the CRLF is tolerated.
    let text = text.trim_end_matches([' ', '\t']);
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim_start_matches(' ');
    let alone = |command| if rest.is_empty() { Ok(command) } else { Err(no_arguments(verb)) };
    // RFC 5321 §2.4: verbs are read without regard to case.
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => hello(Greeting::Ehlo, rest),
        "HELO" => hello(Greeting::Helo, rest),
        "LHLO" => hello(Greeting::Lhlo, rest),
        // RFC 3207 §4: STARTTLS has no parameters.
        "STARTTLS" => alone(Command::StartTls),
        "AUTH" => auth(rest),
        "MAIL" => behind(rest, "FROM:")
            .map(Command::Mail)
            .ok_or_else(|| arguments("Syntax: MAIL FROM:<address>")),
        "RCPT" => behind(rest, "TO:")
            .map(Command::Rcpt)
            .ok_or_else(|| arguments("Syntax: RCPT TO:<address>")),
        "DATA" => alone(Command::Data),
        "BDAT" => Ok(bdat(rest)),
        "RSET" => alone(Command::Reset),
        // RFC 5321 §4.1.1.9: a parameter of NOOP is ignored.
        "NOOP" => Ok(Command::Noop),
        "VRFY" if rest.is_empty() => Err(arguments("Syntax: VRFY address")),
        "VRFY" => Ok(Command::Verify),
        "EXPN" => Ok(Command::Expand),
        "HELP" => Ok(Command::Help),
        "QUIT" => alone(Command::Quit),
        _ => Err(syntax("Command unrecognized")),
    }
}

/// RFC 5321 §4.1.1.1. Names that are no domain are taken: clients of home networks have them, and nothing is decided by them.
fn hello(greeting: Greeting, name: &str) -> Result<Command<'_>, Answer> {
    if name.is_empty() || name.len() > 255 || name.contains([' ', '\t']) {
        return Err(arguments("A domain or address literal is required"));
    }
    Ok(Command::Hello { greeting, name })
}

/// RFC 4954 §4: a mechanism and at most one initial response.
fn auth(rest: &str) -> Result<Command<'_>, Answer> {
    let mut words = rest.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism, initial }),
        _ => Err(arguments("Syntax: AUTH mechanism [initial-response]")),
    }
}

/// RFC 3030 §2: `BDAT SP chunk-size [SP LAST]`.
fn bdat(rest: &str) -> Command<'_> {
    let mut words = rest.split_ascii_whitespace();
    let size = words.next().filter(|w| w.bytes().all(|b| b.is_ascii_digit()));
    let last = match words.next() {
        None => Some(false),
        Some(word) => word.eq_ignore_ascii_case("LAST").then_some(true),
    };
    match (size.and_then(|s| s.parse().ok()), last, words.next()) {
        (Some(size), Some(last), None) => Command::Bdat { size, last },
        _ => Command::UnreadableBdat,
    }
}

fn behind<'a>(rest: &'a str, prefix: &str) -> Option<&'a str> {
    rest.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix))?;
    rest.get(prefix.len()..)
}

fn syntax(text: &str) -> Answer {
    Answer::new(500, Enhanced(5, 5, 2), text)
}

fn arguments(text: &str) -> Answer {
    Answer::new(501, Enhanced(5, 5, 4), text)
}

fn no_arguments(verb: &str) -> Answer {
    arguments(&format!("{} takes no parameters", verb.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn every_command_reads() {
        use Command::*;
        for (line, command) in [
            ("EHLO a.example", Hello { greeting: Greeting::Ehlo, name: "a.example" }),
            ("helo [192.0.2.1]", Hello { greeting: Greeting::Helo, name: "[192.0.2.1]" }),
            ("LHLO a", Hello { greeting: Greeting::Lhlo, name: "a" }),
            ("starttls", StartTls),
            ("AUTH PLAIN", Auth { mechanism: "PLAIN", initial: None }),
            ("AUTH login =", Auth { mechanism: "login", initial: Some("=") }),
            ("MAIL FROM:<> SIZE=1", Mail("<> SIZE=1")),
            ("mail from: <a@b>", Mail(" <a@b>")),
            ("RCPT TO:<a@b>", Rcpt("<a@b>")),
            ("DATA  ", Data), // trailing space
            ("BDAT 0", Bdat { size: 0, last: false }),
            ("BDAT 18446744073709551615 last", Bdat { size: u64::MAX, last: true }),
            ("RSET", Reset),
            ("NOOP anything at all", Noop),
            ("VRFY a", Verify),
            ("EXPN list", Expand),
            ("HELP", Help),
            ("HELP MAIL", Help),
            ("QUIT", Quit),
        ] {
            assert_eq!(read(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_refused_and_with_which_code() {
        for (line, code) in [
            (&b""[..], 500),
            (b" ", 500),
            (b"GET / HTTP/1.1", 500),
            (b"MAILFROM:<a@b>", 500),
            (b"NOOP\0", 500),
            (b"NOOP \xff", 500),
            (b"EHLO", 501),
            (b"EHLO a b", 501),
            (b"STARTTLS now", 501),
            (b"AUTH", 501),
            (b"AUTH PLAIN a b", 501),
            (b"MAIL", 501),
            (b"MAIL TO:<a@b>", 501),
            (b"RCPT FROM:<a@b>", 501),
            (b"RCPT T", 501),
            (b"DATA now", 501),
            (b"RSET x", 501),
            (b"QUIT x", 501),
            (b"VRFY", 501),
        ] {
            let answer = read(line).expect_err("refused");
            assert_eq!(answer.code(), code, "{line:?}");
        }
    }

    #[test]
    fn a_chunk_of_unknown_size_is_named_as_such() {
        for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT +1", "BDAT 1 FIRST", "BDAT 1 LAST x"] {
            assert_eq!(read(line.as_bytes()), Ok(Command::UnreadableBdat), "{line}");
        }
        assert_eq!(read(b"BDAT 18446744073709551616"), Ok(Command::UnreadableBdat)); // beyond 64 bits
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(71);
        let words: [&[u8]; 12] = [
            b"MAIL", b"RCPT", b"BDAT", b"AUTH", b" ", b"FROM:", b"TO:", b"<", b"\xc3", b"\0", b"9",
            b"\xa4",
        ];
        for _ in 0..50_000 {
            let line: Vec<u8> =
                (0..dice.below(8)).flat_map(|_| words[dice.below(words.len())].to_vec()).collect();
            if let Err(answer) = read(&line) {
                assert!(matches!(answer.code(), 500 | 501));
            }
        }
    }
}
