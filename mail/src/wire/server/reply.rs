//! Our replies, and their rendering.

use crate::address::Mailbox;
use crate::outcome::Failure;
use crate::status::Enhanced;

/// Octets of text in one reply line. RFC 5321 §4.5.3.1.5: 512 for the line, of which code, enhanced code and CRLF take at most 20.
const LINE_TEXT: usize = 490;

/// Lines of one reply, however long its text is.
const MOST_LINES: usize = 8;

/// The answer to a command: a positive one (2yz), a temporary refusal (4yz) or a permanent one (5yz).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    enhanced: Enhanced,
    lines: Vec<String>,
}

impl Answer {
    /// A code that is no final reply becomes 451 4.3.0: an unknown fault is temporary. An enhanced code of another class is replaced
    /// (RFC 2034 §4: the classes must agree).
    pub fn new(code: u16, enhanced: Enhanced, text: impl Into<String>) -> Answer {
        let (code, enhanced) = match code {
            200..=299 | 400..=599 => (code, enhanced),
            _ => (451, Enhanced(4, 3, 0)),
        };
        let agrees = u16::from(enhanced.0) == code / 100;
        let enhanced = if agrees { enhanced } else { Enhanced::of_class(code) };
        Answer { code, enhanced, lines: vec![text.into()] }
    }

    /// 250 2.0.0.
    pub fn ok(text: impl Into<String>) -> Answer {
        Answer::new(250, Enhanced(2, 0, 0), text)
    }

    /// The answer for a fault of our own: temporary, and without details.
    pub fn internal_fault() -> Answer {
        Answer::new(451, Enhanced(4, 3, 0), "Internal fault, try again later")
    }

    /// One more line of text.
    #[must_use]
    pub fn with_line(mut self, text: impl Into<String>) -> Answer {
        self.lines.push(text.into());
        self
    }

    /// The same answer, saying which recipient it is about: for the replies of LMTP (RFC 2033 §4.2). A server whose words these are may
    /// have said so already.
    #[must_use]
    pub fn about(mut self, recipient: &Mailbox) -> Answer {
        let recipient = recipient.to_string();
        if self.lines.iter().any(|line| names(line, &recipient)) {
            return self;
        }
        if let Some(first) = self.lines.first_mut() {
            *first = format!("<{recipient}> {first}");
        }
        self
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    pub fn enhanced(&self) -> Enhanced {
        self.enhanced
    }

    /// The text, its lines joined by spaces.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    pub fn is_positive(&self) -> bool {
        self.code < 300
    }
}

/// Is this address in the text, as a whole? `joann@x` is not `ann@x`, and `postmaster` may be anybody's.
fn names(text: &str, address: &str) -> bool {
    let (text, address) = (text.to_lowercase(), address.to_lowercase());
    if !address.contains('@') {
        return text.contains(&format!("<{address}>"));
    }
    let of_an_address = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
    text.match_indices(&address).any(|(start, found)| {
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let mut behind = text.get(start + found.len()..).unwrap_or_default().chars();
        // A full stop ends a sentence, or goes on with the domain.
        let next = match behind.next() {
            Some('.') => behind.next(),
            other => other,
        };
        !before.is_some_and(of_an_address) && !next.is_some_and(of_an_address)
    })
}

impl From<&Failure> for Answer {
    fn from(failure: &Failure) -> Answer {
        Answer::new(failure.code, failure.status, failure.text.as_str())
    }
}

/// Whether the client can read more than ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Ascii,
    /// RFC 6531 §3.7.4.1: the transaction has SMTPUTF8.
    Utf8,
}

/// RFC 2034 §4: the enhanced code stands on every line of the reply.
pub(super) fn render(answer: &Answer, charset: Charset, output: &mut Vec<u8>) {
    let lines = answer.lines.iter().flat_map(|text| pieces(text, charset)).take(MOST_LINES);
    let lines: Vec<String> = lines.map(|text| format!("{} {text}", answer.enhanced)).collect();
    write_lines(answer.code, &lines, output);
}

/// A reply without an enhanced code: greeting, EHLO, 334 and 354 have none (RFC 2034 §4, RFC 4954 §4).
pub(super) fn render_bare(code: u16, lines: &[String], output: &mut Vec<u8>) {
    let lines: Vec<String> =
        lines.iter().flat_map(|text| pieces(text, Charset::Ascii).into_iter().take(1)).collect();
    write_lines(code, &lines, output);
}

/// RFC 5321 §4.2: `-` behind the code on all lines but the last.
fn write_lines(code: u16, lines: &[String], output: &mut Vec<u8>) {
    for (place, text) in lines.iter().enumerate() {
        let mark = if place + 1 == lines.len() { ' ' } else { '-' };
        output.extend_from_slice(format!("{code}{mark}{text}\r\n").as_bytes());
    }
}

/// The text in lines that fit. Nothing of it can end a line early: every control character becomes a space, and without SMTPUTF8
/// every character beyond ASCII a question mark.
fn pieces(text: &str, charset: Charset) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for c in text.chars().take(LINE_TEXT * MOST_LINES) {
        let shown = match c {
            _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
            _ if !c.is_ascii() && charset == Charset::Ascii => '?',
            _ => c,
        };
        if line.len() + shown.len_utf8() > LINE_TEXT {
            lines.push(std::mem::take(&mut line));
        }
        line.push(shown);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::outcome::Cause;

    fn shown(answer: &Answer, charset: Charset) -> String {
        let mut output = Vec::new();
        render(answer, charset, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn one_line_and_several() {
        let one = Answer::new(550, Enhanced(5, 1, 1), "No such user");
        assert_eq!(shown(&one, Charset::Ascii), "550 5.1.1 No such user\r\n");
        let two = one.with_line("Ask postmaster");
        assert_eq!(
            shown(&two, Charset::Ascii),
            "550-5.1.1 No such user\r\n550 5.1.1 Ask postmaster\r\n"
        );
        let mailbox = Mailbox::parse("a@example.org").unwrap();
        assert_eq!(
            shown(&Answer::ok("Delivered").about(&mailbox), Charset::Ascii),
            "250 2.0.0 <a@example.org> Delivered\r\n"
        );
    }

    #[test]
    fn the_recipient_is_named_once() {
        let ann = Mailbox::parse("ann@example.org").unwrap();
        for named in [
            "<ann@example.org> no such user",
            "no such user: Ann@Example.ORG",
            "ann@example.org.",
            "gone (ann@example.org), ask us",
        ] {
            let said = Answer::new(550, Enhanced(5, 1, 1), named);
            assert_eq!(said.clone().about(&ann), said, "{named}");
        }
        let second = Answer::ok("Saved").with_line("<ann@example.org> has it");
        assert_eq!(second.clone().about(&ann), second);
        for other in ["no such user", "joann@example.org", "ann@example.org.uk", ""] {
            let said = Answer::new(550, Enhanced(5, 1, 1), other).about(&ann);
            assert_eq!(said.text(), format!("<ann@example.org> {other}"));
        }
        let postmaster = Mailbox::parse("postmaster").unwrap();
        let said = Answer::ok("ask the postmaster").about(&postmaster);
        assert_eq!(said.text(), "<postmaster> ask the postmaster");
        assert_eq!(said.clone().about(&postmaster), said);
    }

    #[test]
    fn no_crlf_from_data() {
        let evil = Answer::new(550, Enhanced(5, 0, 0), "no\r\n250 yes\u{85}\u{2028}\0");
        assert_eq!(shown(&evil, Charset::Utf8), "550 5.0.0 no  250 yes   \r\n");
    }

    #[test]
    fn beyond_ascii_only_with_smtputf8() {
        let answer = Answer::new(550, Enhanced(5, 1, 1), "Grüße");
        assert_eq!(shown(&answer, Charset::Ascii), "550 5.1.1 Gr??e\r\n");
        assert_eq!(shown(&answer, Charset::Utf8), "550 5.1.1 Grüße\r\n");
    }

    #[test]
    fn long_text_goes_on_in_the_next_line_and_ends_somewhere() {
        let text = shown(&Answer::new(451, Enhanced(4, 3, 0), "x".repeat(1000)), Charset::Ascii);
        assert_eq!(text.lines().count(), 3);
        let endless =
            shown(&Answer::new(451, Enhanced(4, 3, 0), "ü".repeat(90_000)), Charset::Utf8);
        assert_eq!(endless.lines().count(), MOST_LINES);
        assert!(endless.split_inclusive("\r\n").all(|line| line.len() <= 512));
        assert!(endless.split_inclusive("\r\n").last().unwrap().starts_with("451 "));
    }

    #[test]
    fn codes_that_are_no_final_reply_become_a_temporary_fault() {
        for code in [0, 100, 199, 334, 354, 600, 9999] {
            let answer = Answer::new(code, Enhanced(2, 0, 0), "x");
            assert_eq!((answer.code(), answer.enhanced()), (451, Enhanced(4, 3, 0)), "{code}");
        }
        assert_eq!(Answer::new(550, Enhanced(4, 7, 1), "x").enhanced(), Enhanced(5, 0, 0));
        let failure = Failure::new(Cause::Loop, "too many hops");
        assert_eq!(Answer::from(&failure), Answer::new(554, Enhanced(5, 4, 6), "too many hops"));
    }

    #[test]
    fn any_text_stays_in_its_reply() {
        let mut dice = Dice::new(41);
        for _ in 0..2000 {
            let text: String = (0..dice.below(1500))
                .filter_map(|_| char::from_u32(dice.below(0x3000) as u32))
                .collect();
            let charset = if dice.below(2) == 0 { Charset::Ascii } else { Charset::Utf8 };
            let shown = shown(&Answer::new(550, Enhanced(5, 1, 1), text), charset);
            for line in shown.split_inclusive("\r\n") {
                let inner = line.strip_suffix("\r\n").unwrap();
                assert!(line.len() <= 512 && !inner.contains(['\r', '\n', '\0']));
                assert!(inner.starts_with("550-5.1.1 ") || inner.starts_with("550 5.1.1 "));
            }
        }
    }
}
