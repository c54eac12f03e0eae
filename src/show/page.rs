//! Where output is written: lines for people or JSON lines for programs, escaped here, coloured here.

use std::io::{self, Write};

use serde_json::Value;

use crate::show::escape::{escaped, escaped_json};

/// What a line is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    /// Titles of columns and of parts.
    Title,
    Good,
    /// It waits, or will be tried again.
    Waiting,
    Bad,
}

impl Tone {
    /// SGR parameters (ECMA-48 §8.3.117).
    fn colour(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Title => Some("1"),
            Tone::Good => Some("32"),
            Tone::Waiting => Some("33"),
            Tone::Bad => Some("31"),
        }
    }
}

pub struct Page<'a> {
    output: &'a mut dyn Write,
    colour: bool,
}

impl<'a> Page<'a> {
    pub fn new(output: &'a mut dyn Write, colour: bool) -> Page<'a> {
        Page { output, colour }
    }

    /// One line for people.
    pub fn line(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        let text = escaped(text);
        match tone.colour().filter(|_| self.colour && !text.is_empty()) {
            Some(colour) => writeln!(self.output, "\u{1b}[{colour}m{text}\u{1b}[0m"),
            None => writeln!(self.output, "{text}"),
        }
    }

    pub fn plain(&mut self, text: &str) -> io::Result<()> {
        self.line(Tone::Plain, text)
    }

    /// One object for programs.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.output, "{}", escaped_json(&value.to_string()))
    }

    /// Shows what was written so far: for those who follow.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// What a function writes without colours; the way of all tests of this room.
#[cfg(test)]
pub fn written(write: impl FnOnce(&mut Page<'_>) -> io::Result<()>) -> String {
    let mut output = Vec::new();
    write(&mut Page::new(&mut output, false)).unwrap();
    String::from_utf8(output).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stand_around_escaped_text() {
        let mut output = Vec::new();
        let mut page = Page::new(&mut output, true);
        page.line(Tone::Bad, "\u{1b}[0m no").unwrap();
        page.line(Tone::Bad, "").unwrap();
        page.plain("x").unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text, "\u{1b}[31m\\u{1b}[0m no\u{1b}[0m\n\nx\n");
        assert_eq!(written(|page| page.line(Tone::Good, "x\n")), "x\\n\n");
    }
}
