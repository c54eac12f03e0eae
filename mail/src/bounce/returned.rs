//! The third part: the message, or its header.

use super::field::Charset;
use super::{Event, Report};
use crate::envelope::{Envelope, Ret, TlsWish};

/// What is at hand of the message.
#[derive(Clone, Copy, Debug)]
pub enum Original<'a> {
    /// Its header, with or without the empty line behind it.
    Header(&'a [u8]),
    /// All of it.
    Content(&'a [u8]),
}

/// Larger messages are not returned, whatever was asked: the header must do.
const LARGEST: u64 = 1 << 20;
/// RFC 5322 §2.1.1
const LONGEST_LINE: usize = 998;

/// Whether a notification about these events returns the content, so that it is worth reading.
pub fn wants_content(envelope: &Envelope, reports: &[Report<'_>]) -> bool {
    // RFC 3461 §4.3: FULL is for `failed`; all else returns the header. Without RET the choice is ours: the header.
    let failed = reports.iter().any(|report| matches!(report.event, Event::Failed { .. }));
    let asked = envelope.ret == Some(Ret::Full);
    // RFC 8689 §5: the report of a REQUIRETLS message may travel where its content must not.
    let secret = envelope.flags.tls == TlsWish::Required;
    failed && asked && !secret && envelope.size <= LARGEST
}

/// A MIME part: its own header fields, and its content, which ends with a line end.
#[derive(Debug)]
pub(super) struct Part {
    pub description: &'static str,
    pub content_type: &'static str,
    pub encoding: &'static str,
    pub content: Vec<u8>,
}

pub(super) fn part(original: Original<'_>, full: bool, charset: Charset) -> Part {
    match original {
        Original::Content(content) if full => {
            let content = with_line_ends(content);
            let header = header_of(&content);
            // RFC 2045 §6.4: a part of type message/* takes no encoding, so eight bits are returned only where they may travel.
            let fits = lines_fit(&content) && std::str::from_utf8(header).is_ok();
            match (content.is_ascii(), header.is_ascii(), charset) {
                (true, _, _) if fits => whole("message/rfc822", "7bit", content),
                (false, true, Charset::Utf8) if fits => whole("message/rfc822", "8bit", content),
                (false, false, Charset::Utf8) if fits => whole("message/global", "8bit", content),
                _ => header_part(header, charset),
            }
        }
        Original::Content(bytes) | Original::Header(bytes) => {
            header_part(header_of(&with_line_ends(bytes)), charset)
        }
    }
}

fn whole(content_type: &'static str, encoding: &'static str, content: Vec<u8>) -> Part {
    Part { description: "Undelivered message", content_type, encoding, content }
}

fn header_part(header: &[u8], charset: Charset) -> Part {
    let fits = lines_fit(header);
    let utf8 = charset == Charset::Utf8 && std::str::from_utf8(header).is_ok();
    let (content_type, encoding, content) = match header.is_ascii() {
        // RFC 6522 §4
        true if fits => ("text/rfc822-headers", "7bit", header.to_vec()),
        // RFC 6533 §6
        false if fits && utf8 => ("message/global-headers", "8bit", header.to_vec()),
        // RFC 6522 §4: what is not legal seven bits may be quoted-printable.
        _ => ("text/rfc822-headers", "quoted-printable", quoted_printable(header)),
    };
    Part { description: "Header of the message", content_type, encoding, content }
}

/// No NUL and no overlong line.
fn lines_fit(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && bytes.split(|b| *b == b'\n').all(|line| line.len() <= LONGEST_LINE + 1)
}

/// The header without the empty line behind it.
fn header_of(content: &[u8]) -> &[u8] {
    if content.starts_with(b"\r\n") {
        return &[];
    }
    let end = content.windows(4).position(|four| four == b"\r\n\r\n");
    end.and_then(|end| content.get(..end + 2)).unwrap_or(content)
}

/// Every line end as CRLF (RFC 5321 §2.3.8), one at the end.
fn with_line_ends(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    let mut after_cr = false;
    for &byte in bytes {
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
        after_cr = byte == b'\r';
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// RFC 2045 §6.7, for content whose line ends are CRLF.
fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 3);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut width = 0;
        for (index, &byte) in line.iter().enumerate() {
            let last = index + 1 == line.len();
            let plain = (byte.is_ascii_graphic() && byte != b'=')
                || (matches!(byte, b' ' | b'\t') && !last);
            let length = if plain { 1 } else { 3 };
            // 76 with the soft break's own `=`.
            if width + length > 75 {
                out.extend_from_slice(b"=\r\n");
                width = 0;
            }
            width += length;
            match plain {
                true => out.push(byte),
                false => out.extend_from_slice(format!("={byte:02X}").as_bytes()),
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn shape(original: Original<'_>, full: bool, charset: Charset) -> String {
        let part = part(original, full, charset);
        let content = String::from_utf8_lossy(&part.content).replace("\r\n", "|");
        format!("{} {} {content}", part.content_type, part.encoding)
    }

    #[test]
    fn the_part_fits_what_may_travel() {
        use Charset::{Ascii, Utf8};
        use Original::{Content, Header};
        for (original, full, charset, expected) in [
            (Header(b"A: b\nC: d"), false, Ascii, "text/rfc822-headers 7bit A: b|C: d|"),
            (Header(b"A: b\r\n\r\n"), true, Ascii, "text/rfc822-headers 7bit A: b|"),
            (Content(b"A: b\r\n\r\nbody"), false, Ascii, "text/rfc822-headers 7bit A: b|"),
            (Content(b"A: b\r\n\r\nbody"), true, Ascii, "message/rfc822 7bit A: b||body|"),
            (Content(b"\r\nbody"), false, Ascii, "text/rfc822-headers 7bit "),
            (Content("A: b\r\n\r\nü".as_bytes()), true, Ascii, "text/rfc822-headers 7bit A: b|"),
            (Content("A: b\r\n\r\nü".as_bytes()), true, Utf8, "message/rfc822 8bit A: b||ü|"),
            (Content("A: ü\r\n\r\nb".as_bytes()), true, Utf8, "message/global 8bit A: ü||b|"),
            (Header("A: ü".as_bytes()), false, Utf8, "message/global-headers 8bit A: ü|"),
            (
                Header("A: ü=".as_bytes()),
                false,
                Ascii,
                "text/rfc822-headers quoted-printable A: =C3=BC=3D|",
            ),
            (Header(b"A: \xff "), false, Utf8, "text/rfc822-headers quoted-printable A: =FF=20|"),
            (Header(b"A: \0"), false, Utf8, "text/rfc822-headers quoted-printable A: =00|"),
        ] {
            assert_eq!(shape(original, full, charset), expected);
        }
        let long = format!("A: {}", "x".repeat(1000));
        let part = part(Header(long.as_bytes()), false, Ascii);
        assert_eq!(part.encoding, "quoted-printable");
        assert!(part.content.split(|b| *b == b'\n').all(|line| line.len() <= 77));
    }

    #[test]
    fn any_bytes_are_returned_in_seven_bits() {
        let mut dice = Dice::new(9);
        for round in 0..3_000 {
            let bytes: Vec<u8> = (0..dice.below(300))
                .map(|_| [b'\r', b'\n', b'a', b':', b' ', b'=', 0, 0xff, 0xc3][dice.below(9)])
                .collect();
            let original =
                if round % 2 == 0 { Original::Header(&bytes) } else { Original::Content(&bytes) };
            let part = part(original, true, Charset::Ascii);
            assert!(part.content.is_ascii() && !part.content.contains(&0));
            assert!(part.content.is_empty() || part.content.ends_with(b"\r\n"));
        }
    }
}
