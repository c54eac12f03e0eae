//! Messages of every awkward kind, and what may be added to them on the way.

use std::fmt;

use crate::harness::connection::find;

#[derive(Clone)]
pub struct Message {
    id: String,
    bytes: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, {} bytes)", self.id, self.bytes.len())
    }
}

impl Message {
    /// A header that names `id`, and the body lines, CRLF after each.
    pub fn new(id: &str, body: &[&[u8]]) -> Message {
        let header = format!(
            "From: Sender <sender@sender.test>\r\nTo: Recipient <recipient@example.test>\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: test {id}\r\n\
             Message-ID: <{}@sender.test>\r\nX-Test-Id: {id}\r\n\r\n",
            id.replace('@', ".")
        );
        let mut bytes = header.into_bytes();
        for line in body {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        Message { id: id.to_owned(), bytes }
    }

    /// Exactly `size` bytes of text, or as few more as the header needs.
    pub fn plain(id: &str, size: usize) -> Message {
        let mut message = Message::new(id, &[]);
        const LINE: &[u8] =
            b"The quick brown fox jumps over the lazy dog, and nobody asks it why.\r\n";
        while message.bytes.len() + LINE.len() + 2 <= size {
            message.bytes.extend_from_slice(LINE);
        }
        while message.bytes.len() + 3 <= size {
            message.bytes.push(b'x');
        }
        if !message.bytes.ends_with(b"\r\n") {
            message.bytes.extend_from_slice(b"\r\n");
        }
        message
    }

    /// Bytes above 127 that are no UTF-8, and some that are.
    pub fn eight_bit(id: &str) -> Message {
        let high: Vec<u8> = (0x80..=0xff).collect();
        Message::new(id, &["Grüße aus Köln".as_bytes(), &high, b"\xff\xfe end"])
    }

    /// Lines of dots, and dots at the beginning of lines.
    pub fn dots(id: &str) -> Message {
        Message::new(id, &[b".", b"..", b"...", b".leading", b"trailing.", b"", b".", b". .", b""])
    }

    /// Lines at and beyond the limit of RFC 5321 §4.5.3.1.6 (1000 with CRLF).
    pub fn long_lines(id: &str) -> Message {
        Message::new(id, &[&[b'a'; 998], &[b'b'; 999], &[b'c'; 2000], &[b'.'; 1500]])
    }

    /// White space where it is easily lost: at line ends, alone on a line, at the end of the message.
    pub fn white_space(id: &str) -> Message {
        Message::new(id, &[b"trailing blank ", b"\ttab\t", b" ", b"From the start", b"", b"", b""])
    }

    /// One of every kind.
    pub fn all_kinds(id: &str) -> Vec<Message> {
        vec![
            Message::new(&format!("{id}-empty"), &[]),
            Message::plain(&format!("{id}-plain"), 4000),
            Message::eight_bit(&format!("{id}-eight-bit")),
            Message::dots(&format!("{id}-dots")),
            Message::long_lines(&format!("{id}-long-lines")),
            Message::white_space(&format!("{id}-white-space")),
            Message::plain(&format!("{id}-large"), 2_500_000),
        ]
    }

    /// The same with one more line at the end.
    pub fn with_line(&self, line: &[u8]) -> Message {
        Message { id: self.id.clone(), bytes: [&self.bytes, line, b"\r\n"].concat() }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The content with CRLF line ends, dots not doubled.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content with LF line ends, as programs on a Unix machine keep it.
    pub fn unix(&self) -> Vec<u8> {
        let text = &self.bytes;
        let is_end = |place: usize| text[place] == b'\r' && text.get(place + 1) == Some(&b'\n');
        (0..text.len()).filter(|place| !is_end(*place)).map(|place| text[place]).collect()
    }

    /// The header fields that stand above our message in `received`; fails when the rest differs in a single byte or when a field
    /// other than those in `allowed` was added.
    pub fn assert_arrived(&self, received: &[u8], allowed: &[&str]) -> String {
        let Some(added) = received.strip_suffix(self.bytes.as_slice()) else {
            panic!("{}: {}", self.id, self.difference(received));
        };
        let added = String::from_utf8_lossy(added).into_owned();
        for line in added.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            let name = line.split(':').next().unwrap_or_default();
            let known = allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
            assert!(known, "{}: {line:?} was added", self.id);
        }
        added
    }

    /// Where the received message leaves the sent one, for a failure message.
    fn difference(&self, received: &[u8]) -> String {
        let from = find(received, b"From: Sender").unwrap_or(0);
        let pairs = received[from..].iter().zip(&self.bytes);
        let place = pairs.take_while(|(left, right)| left == right).count();
        let around = |bytes: &[u8]| {
            let cut =
                &bytes[place.saturating_sub(30).min(bytes.len())..(place + 30).min(bytes.len())];
            cut.escape_ascii().to_string()
        };
        format!(
            "content differs at byte {place}: sent ...{}..., received ...{}... ({} and {} bytes)",
            around(&self.bytes),
            around(&received[from..]),
            self.bytes.len(),
            received.len() - from
        )
    }
}

/// The value of the `X-Test-Id` field.
pub fn id_of(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    text.lines().find_map(|line| line.strip_prefix("X-Test-Id: ")).unwrap_or_default().to_owned()
}

/// LF line ends made CRLF, for what was read from a maildir.
pub fn with_crlf(unix: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unix.len() + unix.len() / 40);
    for byte in unix {
        if *byte == b'\n' {
            bytes.push(b'\r');
        }
        bytes.push(*byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::connection::stuffed;

    #[test]
    fn a_plain_message_has_the_size_asked_for() {
        for size in [400, 1000, 1001, 1002, 4096, 100_000] {
            assert_eq!(Message::plain("x", size).bytes().len(), size);
        }
    }

    #[test]
    fn added_fields_are_told_from_changes() {
        let message = Message::dots("x");
        let arrived = [b"Received: from a\r\n\tby b\r\n".as_slice(), message.bytes()].concat();
        assert!(message.assert_arrived(&arrived, &["received"]).starts_with("Received: from a"));
        let refused = |received: &[u8]| {
            let (message, received) = (message.clone(), received.to_vec());
            std::panic::catch_unwind(move || message.assert_arrived(&received, &[])).is_err()
        };
        assert!(refused(&arrived)); // a field that was not allowed
        assert!(refused(&arrived[..arrived.len() - 1])); // a byte short
        assert!(refused(&stuffed(message.bytes()))); // dots still doubled
    }

    #[test]
    fn line_ends_go_back_and_forth() {
        for message in Message::all_kinds("x") {
            assert_eq!(with_crlf(&message.unix()), message.bytes());
        }
    }
}
