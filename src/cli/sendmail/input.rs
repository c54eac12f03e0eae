//! The message on standard input.

use std::io::{self, BufRead};

/// What a line with nothing but a dot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoneDot {
    /// The end of the message, for people who type it.
    Ends,
    IsContent,
}

/// Reads up to the end of input or of the message. A first line `From ...` of a mailbox file is dropped: it is no field.
pub fn read(input: &mut dyn BufRead, lone_dot: LoneDot) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut lines = 0;
    loop {
        let start = content.len();
        if input.read_until(b'\n', &mut content)? == 0 {
            return Ok(content);
        }
        let line = content.get(start..).unwrap_or_default();
        if lone_dot == LoneDot::Ends && matches!(line, b".\n" | b".\r\n" | b".") {
            content.truncate(start);
            return Ok(content);
        }
        if lines == 0 && line.starts_with(b"From ") {
            content.clear();
        }
        lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str, lone_dot: LoneDot, expected: &str) {
        let content = read(&mut text.as_bytes(), lone_dot).unwrap();
        assert_eq!(String::from_utf8(content).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn a_lone_dot_ends_the_message_unless_it_is_content() {
        for (text, typed) in [
            ("a\n.\nb\n", "a\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n"),
            (".\na\n", ""),
            ("a\n.", "a\n"),
            ("a\n..\n. \nb.\n", "a\n..\n. \nb.\n"), // dots in company
            ("", ""),
            ("a", "a"),
        ] {
            is(text, LoneDot::Ends, typed);
            is(text, LoneDot::IsContent, text);
        }
    }

    #[test]
    fn the_first_line_of_a_mailbox_file_is_dropped() {
        is("From ann Tue Nov 24\nA: 1\n\nFrom b\n", LoneDot::Ends, "A: 1\n\nFrom b\n");
        is("From ann\nFrom bob\n", LoneDot::Ends, "From bob\n"); // only one
        is("From: ann\n", LoneDot::Ends, "From: ann\n");
    }
}
