//! The beginning and the end of a text of lines; the middle gives way.
//!
//! The beginning has the opening of a session, which tells what was agreed; the end has what went wrong.

use std::fmt::Write;

use super::{Ear, Line, Speaker, Told};

/// Octets of either part. Together they are the 4 KB of a session.
pub(super) const PART: usize = 2048;

/// Lines as `MILLISECONDS SIGN TEXT`, each with its line feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    head: String,
    tail: String,
    left_out: u64,
    heard: bool,
}

impl Excerpt {
    /// Adds a line; `write` writes its text, which has no line feed and is shorter than a part.
    pub(super) fn push(
        &mut self,
        ms: u64,
        speaker: Speaker,
        ear: Ear<'_>,
        write: impl FnOnce(&mut String),
    ) {
        self.heard |= speaker == Speaker::Peer;
        let head_is_open = self.tail.is_empty();
        let part = if head_is_open { &mut self.head } else { &mut self.tail };
        let start = part.len();
        // Writing into a text does not fail.
        let _ = write!(part, "{ms} {} ", speaker.sign());
        let text = part.len();
        write(part);
        ear(Told { ms, speaker, text: part.get(text..).unwrap_or_default() });
        part.push('\n');
        if head_is_open && self.head.len() > PART {
            self.tail = self.head.split_off(start);
        }
        while self.tail.len() > PART {
            let end = self.tail.find('\n').map_or(self.tail.len(), |at| at + 1);
            self.tail.drain(..end);
            self.left_out += 1;
        }
    }

    /// The peer has said something, whether it is left out or not.
    pub fn is_dialogue(&self) -> bool {
        self.heard
    }

    /// With a note where something is left out.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.head.lines().filter_map(read).collect();
        if self.left_out > 0 {
            let ms = lines.last().map_or(0, |line| line.ms);
            let text = format!("{} lines are left out here", self.left_out);
            lines.push(Line { ms, speaker: Speaker::Note, text });
        }
        lines.extend(self.tail.lines().filter_map(read));
        lines
    }

    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

fn read(line: &str) -> Option<Line> {
    let (ms, rest) = line.split_once(' ')?;
    let (sign, text) = rest.split_once(' ')?;
    let speaker = [Speaker::Us, Speaker::Peer, Speaker::Note]
        .into_iter()
        .find(|speaker| sign.starts_with(speaker.sign()))?;
    Some(Line { ms: ms.parse().ok()?, speaker, text: text.to_string() })
}
