//! Replies of a server, parsed from any cut of bytes.

use std::fmt;

use crate::outcome::{Failure, Stage};
use crate::status::Enhanced;

/// RFC 5321 §4.5.3.1.5 allows 512 octets a line; real servers write more.
const LONGEST_LINE: usize = 2000;
/// All lines of one reply together.
const LONGEST_REPLY: usize = 64 * 1024;

/// One complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub enhanced: Option<Enhanced>,
    /// Text of each line, without code and without enhanced code. Octets that are not UTF-8 are replaced.
    pub lines: Vec<String>,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 354 to DATA, 334 to AUTH.
    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// All lines in one, for reports.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// The reply as a failure. A positive reply where none belongs is a fault of the protocol, so temporary.
    pub fn failure(&self, stage: Stage) -> Failure {
        if self.code >= 400 {
            Failure::refused(stage, self.code, self.enhanced, &self.text())
        } else {
            Failure::new(
                crate::outcome::Cause::Protocol(stage),
                format!("unexpected reply {} {}", self.code, self.text()),
            )
        }
    }
}

/// Why bytes are not a reply. The session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line does not begin with three digits, or its code is outside 200 to 599.
    NotAReply,
    /// The lines of one reply carry different codes.
    MixedCodes,
    LineTooLong,
    TooLong,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplyError::NotAReply => "the server's answer is not an SMTP reply",
            ReplyError::MixedCodes => "the lines of one reply carry different codes",
            ReplyError::LineTooLong => "a reply line is longer than 2000 octets",
            ReplyError::TooLong => "a reply is longer than 64 KiB",
        })
    }
}

impl std::error::Error for ReplyError {}

/// Collects bytes until a reply is complete.
#[derive(Debug, Default)]
pub struct ReplyParser {
    line: Vec<u8>,
    partial: Option<Reply>,
    total: usize,
}

impl ReplyParser {
    /// Takes bytes off the front of `input` up to the end of one reply; `Ok(None)` means more are needed.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while !input.is_empty() {
            let (piece, complete) = match input.iter().position(|b| *b == b'\n') {
                Some(end) => (end + 1, true),
                None => (input.len(), false),
            };
            let (head, tail) = input.split_at(piece);
            self.line.extend_from_slice(head);
            self.total += piece;
            *input = tail;
            if self.line.len() > LONGEST_LINE {
                return Err(ReplyError::LineTooLong);
            }
            if self.total > LONGEST_REPLY {
                return Err(ReplyError::TooLong);
            }
            if complete {
                let line = std::mem::take(&mut self.line);
                if let Some(reply) = self.line(&line)? {
                    return Ok(Some(reply));
                }
            }
        }
        Ok(None)
    }

    /// Has part of a reply arrived?
    pub fn is_within(&self) -> bool {
        self.partial.is_some() || !self.line.is_empty()
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        // RFC 5321 §2.3.8 wants CRLF; a lone LF harms nobody on this side.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let code = code_of(line)?;
        // RFC 5321 §4.2.1: a hyphen behind the code announces another line.
        let (more, text) = match line.get(3) {
            None => (false, &[][..]),
            Some(b' ') => (false, line.get(4..).unwrap_or_default()),
            Some(b'-') => (true, line.get(4..).unwrap_or_default()),
            Some(_) => return Err(ReplyError::NotAReply),
        };
        let (enhanced, text) = enhanced_of(code, &String::from_utf8_lossy(text));
        let reply = match self.partial.take() {
            None => Reply { code, enhanced, lines: vec![text] },
            Some(mut reply) => {
                if reply.code != code {
                    return Err(ReplyError::MixedCodes);
                }
                reply.enhanced = reply.enhanced.or(enhanced);
                reply.lines.push(text);
                reply
            }
        };
        if more {
            self.partial = Some(reply);
            return Ok(None);
        }
        self.total = 0;
        Ok(Some(reply))
    }
}

fn code_of(line: &[u8]) -> Result<u16, ReplyError> {
    let digits = line.get(..3).filter(|d| d.iter().all(u8::is_ascii_digit));
    let text = digits.and_then(|d| std::str::from_utf8(d).ok()).ok_or(ReplyError::NotAReply)?;
    let code: u16 = text.parse().map_err(|_| ReplyError::NotAReply)?;
    // RFC 5321 §4.2: the first digit is 2 to 5.
    if (200..600).contains(&code) { Ok(code) } else { Err(ReplyError::NotAReply) }
}

/// RFC 2034 §4: the status comes first in the text. Its class must repeat the code's, else it is text.
fn enhanced_of(code: u16, text: &str) -> (Option<Enhanced>, String) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match Enhanced::parse(first).filter(|e| u16::from(e.0) == code / 100) {
        Some(enhanced) => (Some(enhanced), rest.trim_start().to_string()),
        None => (None, text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn parse(bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        ReplyParser::default().feed(&mut &bytes[..])
    }

    fn one(bytes: &str) -> Reply {
        parse(bytes.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn single_and_several_lines() {
        assert_eq!(one("220 mx ESMTP\r\n").text(), "mx ESMTP");
        assert_eq!(one("250\r\n").lines, [""]);
        assert_eq!(one("250 \r\n").lines, [""]);
        assert_eq!(one("250-a\r\n250-b\r\n250 c\r\n").lines, ["a", "b", "c"]);
        assert_eq!(one("250-a\n250 c\n").lines, ["a", "c"]); // lone LF
    }

    #[test]
    fn enhanced_codes_of_the_same_class_only() {
        assert_eq!(one("550 5.1.1 no\r\n").enhanced, Some(Enhanced(5, 1, 1)));
        assert_eq!(one("550 5.1.1\r\n").lines, [""]);
        assert_eq!(one("450 5.1.1 no\r\n").enhanced, None);
        assert_eq!(one("450 5.1.1 no\r\n").text(), "5.1.1 no");
        let two = one("550-5.7.1 a\r\n550 5.7.1 b\r\n");
        assert_eq!((two.enhanced, two.text()), (Some(Enhanced(5, 7, 1)), "a b".to_string()));
    }

    #[test]
    fn what_is_not_a_reply() {
        assert_eq!(parse(b"HTTP/1.1 400 Bad\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(parse(b"25\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(parse(b"250x\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(parse(b"000 a\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(parse(b"999 a\r\n"), Err(ReplyError::NotAReply));
        assert_eq!(parse(b"250-a\r\n550 b\r\n"), Err(ReplyError::MixedCodes));
        assert_eq!(
            parse(&[b"250 ".to_vec(), vec![b'x'; 2000]].concat()),
            Err(ReplyError::LineTooLong)
        );
        assert_eq!(parse("250-x\r\n".repeat(20_000).as_bytes()), Err(ReplyError::TooLong));
        assert_eq!(parse(b"250 unfinished"), Ok(None));
    }

    #[test]
    fn any_cut_gives_the_same_replies() {
        let bytes = b"220 mx\r\n250-a\r\n250-SIZE 1\r\n250 b\r\n550 5.1.1 no\r\n";
        let all = |cuts: &mut dyn FnMut() -> usize| {
            let (mut parser, mut replies, mut rest) = (ReplyParser::default(), vec![], &bytes[..]);
            while !rest.is_empty() {
                let take = cuts().clamp(1, rest.len());
                let (mut head, tail) = rest.split_at(take);
                while !head.is_empty() {
                    replies.extend(parser.feed(&mut head).unwrap());
                }
                rest = tail;
            }
            replies
        };
        let whole = all(&mut || bytes.len());
        assert_eq!(whole.len(), 3);
        let mut dice = Dice::new(4);
        for _ in 0..200 {
            assert_eq!(all(&mut || dice.below(7)), whole);
        }
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(21);
        let alphabet = b"0123456789 -\r\n.ab\xff\0";
        for _ in 0..20_000 {
            let bytes: Vec<u8> =
                (0..dice.below(60)).map(|_| alphabet[dice.below(alphabet.len())]).collect();
            let (mut parser, mut rest) = (ReplyParser::default(), &bytes[..]);
            while !rest.is_empty() {
                if parser.feed(&mut rest).is_err() {
                    break;
                }
            }
        }
    }
}
