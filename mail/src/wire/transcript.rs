//! What was said in one session, for an operator who has to see it.
//!
//! Lines come in as octets, in any cut, and are kept as text: escaped, cut to a width, without credentials (`mask`), and no more of them
//! than fit (`excerpt`). Content is counted, never kept, whichever way the driver writes it. Nothing is allocated for a line beyond the
//! one text that grows.

mod excerpt;
mod mask;

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

pub use excerpt::Excerpt;
pub(super) use mask::Mask;

/// Octets of one line's text that are shown.
const WIDEST: usize = 500;
/// Octets of a line of the peer that are collected; a longer one is no reply (`reply`).
const LONGEST_LINE: usize = 2000;

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    Us,
    Peer,
    /// Not said by anybody: what happened, in our words.
    Note,
}

impl Speaker {
    pub fn sign(self) -> char {
        match self {
            Speaker::Us => '>',
            Speaker::Peer => '<',
            Speaker::Note => '-',
        }
    }
}

/// One line, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the session began.
    pub ms: u64,
    pub speaker: Speaker,
    /// Without control characters.
    pub text: String,
}

/// A line that has just been kept, for those who listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    pub ms: u64,
    pub speaker: Speaker,
    pub text: &'a str,
}

/// Who is told of each line as it is kept.
pub type Ear<'a> = &'a mut dyn FnMut(Told<'_>);

/// The machine. Every function takes the milliseconds since the session began.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    kept: Excerpt,
    mask: Mask,
    /// The peer's line that is not complete.
    partial: Vec<u8>,
    /// Octets of content that no line tells of yet.
    content: u64,
    /// DATA was our last command, so that a 354 is the invitation to send content.
    data_said: bool,
    /// What we write next is content, up to a lone dot, or until it is known to have been counted.
    invited: bool,
}

impl Transcript {
    /// Commands, as they are written. Content that should come this way is counted, not kept.
    pub fn sent(&mut self, ms: u64, mut bytes: &[u8], ear: Ear<'_>) {
        self.end_partial(ms, ear);
        while !bytes.is_empty() {
            let (line, rest) = cut_line(bytes);
            bytes = rest;
            // A lone dot without content is how a DATA that nobody wanted is ended; its answer follows.
            let lone_dot = line == b".";
            if self.invited && !lone_dot {
                self.content += (line.len() + 2) as u64;
                continue;
            }
            self.invited = false;
            self.end_content(ms, ear);
            let shown = self.mask.ours(line);
            keep(&mut self.kept, ms, Speaker::Us, &shown, ear);
            self.data_said = line.eq_ignore_ascii_case(b"DATA");
            // RFC 3030 §2: as many octets as BDAT says are content.
            if let Some(octets) = bdat(line) {
                let here = usize::try_from(octets).unwrap_or(usize::MAX).min(bytes.len());
                self.content += here as u64;
                bytes = bytes.get(here..).unwrap_or_default();
            } else if self.data_said {
                // RFC 2920 §3.1: DATA is the last command of a group. Whatever is behind it is not a command.
                self.content += bytes.len() as u64;
                bytes = &[];
            }
        }
    }

    /// Octets of content went out, other than by `sent`.
    pub fn sent_content(&mut self, octets: u64) {
        (self.data_said, self.invited) = (false, false);
        self.content += octets;
    }

    /// The content is out: now it is told how much it was.
    pub fn end_content(&mut self, ms: u64, ear: Ear<'_>) {
        let octets = std::mem::take(&mut self.content);
        if octets > 0 {
            self.put(ms, format_args!("content: {octets} octets"), ear);
        }
    }

    /// Octets of replies, in any cut.
    pub fn received(&mut self, ms: u64, bytes: &[u8], ear: Ear<'_>) {
        self.end_content(ms, ear);
        for piece in bytes.split_inclusive(|octet| *octet == b'\n') {
            let complete = piece.ends_with(b"\n");
            if complete && self.partial.is_empty() {
                self.peer_line(ms, piece, ear);
                continue;
            }
            let room = LONGEST_LINE.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if complete {
                self.end_partial(ms, ear);
            }
        }
    }

    /// Something that happened, in our words.
    pub fn note(&mut self, ms: u64, text: fmt::Arguments<'_>, ear: Ear<'_>) {
        self.end_partial(ms, ear);
        self.end_content(ms, ear);
        self.put(ms, text, ear);
    }

    /// All that is kept so far.
    pub fn excerpt(&self) -> &Excerpt {
        &self.kept
    }

    fn put(&mut self, ms: u64, text: fmt::Arguments<'_>, ear: Ear<'_>) {
        self.kept.push(ms, Speaker::Note, ear, |out| {
            let mut harmless = Harmless { out, room: WIDEST };
            // It fails where the width ends.
            let _ = harmless.write_fmt(text);
        });
    }

    fn end_partial(&mut self, ms: u64, ear: Ear<'_>) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.peer_line(ms, &line, ear);
        }
    }

    fn peer_line(&mut self, ms: u64, line: &[u8], ear: Ear<'_>) {
        let line = without_end(line);
        self.invited |= self.data_said && line.starts_with(b"354");
        let shown = self.mask.theirs(line);
        keep(&mut self.kept, ms, Speaker::Peer, &shown, ear);
    }
}

fn keep(kept: &mut Excerpt, ms: u64, speaker: Speaker, line: &[u8], ear: Ear<'_>) {
    kept.push(ms, speaker, ear, |out| {
        let mut harmless = Harmless { out, room: WIDEST };
        for chunk in line.utf8_chunks() {
            let written = harmless
                .write_str(chunk.valid())
                .and_then(|()| chunk.invalid().iter().try_for_each(|octet| harmless.octet(*octet)));
            if written.is_err() {
                break;
            }
        }
    });
}

/// Text without control characters, up to a width.
struct Harmless<'a> {
    out: &'a mut String,
    room: usize,
}

impl Harmless<'_> {
    /// An octet that is no part of a character.
    fn octet(&mut self, octet: u8) -> fmt::Result {
        self.piece(&format!("\\x{octet:02x}"))
    }

    fn piece(&mut self, piece: &str) -> fmt::Result {
        match self.room.checked_sub(piece.len()) {
            Some(room) => {
                self.room = room;
                self.out.push_str(piece);
                Ok(())
            }
            None => {
                self.out.push_str("...");
                Err(fmt::Error)
            }
        }
    }
}

impl Write for Harmless<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What has no controls, which is nearly everything, goes in one piece.
        if text.len() <= self.room && !text.contains(char::is_control) {
            return self.piece(text);
        }
        text.chars().try_for_each(|c| match c.is_control() {
            true => self.piece(&c.escape_default().to_string()),
            false => self.piece(c.encode_utf8(&mut [0; 4])),
        })
    }
}

/// The first line without its end, and what follows.
fn cut_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|octet| *octet == b'\n').map_or(bytes.len(), |at| at + 1);
    let (line, rest) = bytes.split_at(end);
    (without_end(line), rest)
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The size that a BDAT announces.
fn bdat(line: &[u8]) -> Option<u64> {
    let mut words = line.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    words.next().filter(|word| word.eq_ignore_ascii_case(b"BDAT"))?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
