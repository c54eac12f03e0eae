//! The little that is read in a message's content.
//!
//! A `Scanner` is fed the content in any pieces while it streams by. It keeps the header, up to a limit, and of the body only what a
//! relay has to know: octets beyond ASCII and the longest line. Fields are looked at in `Header`; what submission demands of them and
//! adds to them is in `submission`.

mod address_list;
pub mod submission;

use crate::envelope::{MessageFlags, TlsWish};
use crate::outcome::one_line;

/// How the header ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderEnd {
    /// RFC 5322 §2.1: an empty line.
    EmptyLine,
    /// A line that is no field; it and all behind it is the body.
    NotAField,
    /// The content ended first.
    EndOfContent,
    /// It was longer than `max_header_size`; what was kept is its beginning.
    TooBig,
}

/// The fields of a message, as received, without the empty line behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header(Vec<u8>);

/// What was found in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub header: Header,
    pub end: HeaderEnd,
    /// Octets of the whole content.
    pub size: u64,
    /// An octet above 127 in the header (RFC 6532) or in the body (RFC 6152).
    pub eight_bit_header: bool,
    pub eight_bit_body: bool,
    /// Octets of the longest line, line end not counted. RFC 5322 §2.1.1 allows 998.
    pub longest_line: u64,
}

impl Scan {
    /// Sets the flags of an envelope that depend on the content.
    pub fn mark(&self, flags: &mut MessageFlags) {
        flags.eight_bit = self.eight_bit_header || self.eight_bit_body;
        flags.utf8_header = self.eight_bit_header;
        flags.hops = u32::try_from(self.header.received_count()).unwrap_or(u32::MAX);
        flags.long_lines = self.longest_line > 998;
        // RFC 8689 §5: REQUIRETLS on MAIL wins over the field.
        if flags.tls == TlsWish::Unsaid && self.header.waives_tls() {
            flags.tls = TlsWish::Waived;
        }
    }

    /// What must stand between fields put in front of the content and the content itself: an empty line when it begins with its body.
    pub fn separator(&self) -> &'static str {
        match self.end {
            HeaderEnd::NotAField if self.header.0.is_empty() => "\r\n",
            _ => "",
        }
    }
}

/// Reads content as it streams by.
#[derive(Debug)]
pub struct Scanner {
    max_header_size: usize,
    header: Header,
    /// Where the last, unfinished line of the header begins.
    line_start: usize,
    end: Option<HeaderEnd>,
    eight_bit_body: bool,
    size: u64,
    line: u64,
    after_cr: bool,
    longest_line: u64,
}

impl Scanner {
    /// `max_header_size`, default 1M: octets of header kept, the empty line included.
    pub fn new(max_header_size: usize) -> Scanner {
        Scanner {
            max_header_size,
            header: Header::default(),
            line_start: 0,
            end: None,
            eight_bit_body: false,
            size: 0,
            line: 0,
            after_cr: false,
            longest_line: 0,
        }
    }

    /// The next piece of the content.
    pub fn feed(&mut self, content: &[u8]) {
        self.size = self.size.saturating_add(content.len() as u64);
        self.measure_lines(content);
        let mut rest = content;
        while self.end.is_none() && !rest.is_empty() {
            let line_end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
            let (piece, behind) = rest.split_at(line_end);
            rest = behind;
            self.header_piece(piece);
        }
        self.eight_bit_body |= !rest.is_ascii();
    }

    /// The header, once its end was read.
    pub fn header(&self) -> Option<(&Header, HeaderEnd)> {
        self.end.map(|end| (&self.header, end))
    }

    /// The content is complete.
    pub fn finish(mut self) -> Scan {
        if self.end.is_none() {
            // A last line without an end is a field, a continuation, or the body.
            self.end_of_line();
        }
        Scan {
            eight_bit_header: !self.header.0.is_ascii(),
            end: self.end.unwrap_or(HeaderEnd::EndOfContent),
            header: self.header,
            size: self.size,
            eight_bit_body: self.eight_bit_body,
            longest_line: self.longest_line.max(self.line),
        }
    }

    fn measure_lines(&mut self, content: &[u8]) {
        for octet in content {
            if *octet == b'\n' {
                let length = self.line - u64::from(self.after_cr && self.line > 0);
                self.longest_line = self.longest_line.max(length);
                self.line = 0;
            } else {
                self.line = self.line.saturating_add(1);
            }
            self.after_cr = *octet == b'\r';
        }
    }

    fn header_piece(&mut self, piece: &[u8]) {
        if self.header.0.len() + piece.len() > self.max_header_size {
            self.end_before_line(HeaderEnd::TooBig);
            self.eight_bit_body |= !piece.is_ascii();
            return;
        }
        self.header.0.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            self.end_of_line();
        }
    }

    fn end_of_line(&mut self) {
        let line = self.header.0.get(self.line_start..).unwrap_or_default();
        match line {
            [] => {}
            b"\r\n" | b"\n" => self.end_before_line(HeaderEnd::EmptyLine),
            // RFC 5322 §2.2.3: a folded line goes on with white space.
            [b' ' | b'\t', ..] if self.line_start > 0 => self.line_start = self.header.0.len(),
            _ if field_name(line).is_some() => self.line_start = self.header.0.len(),
            _ => self.end_before_line(HeaderEnd::NotAField),
        }
    }

    /// The header ends in front of the line being read, which is body (or the empty line).
    fn end_before_line(&mut self, end: HeaderEnd) {
        let line = self.header.0.get(self.line_start..).unwrap_or_default();
        self.eight_bit_body |= !line.is_ascii();
        self.header.0.truncate(self.line_start);
        self.end = Some(end);
    }
}

/// RFC 5322 §3.6.8: printable ASCII without the colon; §4.5.8 also allows white space in front of the colon.
fn field_name(line: &[u8]) -> Option<&str> {
    let colon = line.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(line.get(..colon)?).ok()?.trim_end_matches([' ', '\t']);
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())).then_some(name)
}

/// One field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    /// What stands behind the colon, line breaks included.
    pub raw: &'a [u8],
}

impl Field<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value in one line: unfolded (RFC 5322 §2.2.3), trimmed; octets that are not UTF-8 become U+FFFD.
    pub fn value(&self) -> String {
        let text = String::from_utf8_lossy(self.raw);
        let unfolded: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        unfolded.trim().to_string()
    }
}

impl Header {
    /// A header out of octets, up to its first empty line: for messages that lie in memory.
    pub fn of(content: &[u8], max_header_size: usize) -> Header {
        let mut scanner = Scanner::new(max_header_size);
        scanner.feed(content);
        scanner.finish().header
    }

    /// The octets, as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The fields from the top.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (field, behind) = rest.split_at(field_length(rest));
            rest = behind;
            let name = field_name(field)?;
            let colon = field.iter().position(|b| *b == b':')?;
            Some(Field { name, raw: field.get(colon + 1..).unwrap_or_default() })
        })
    }

    /// All fields of a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field<'a>> {
        self.fields().filter(move |field| field.is(name))
    }

    pub fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// How many hosts the message has passed (RFC 5321 §6.3: too many mean a loop).
    pub fn received_count(&self) -> usize {
        self.named("Received").count()
    }

    /// The first Message-ID for logs: with its angle brackets where it has them, one line, at most 1000 characters.
    pub fn message_id(&self) -> Option<String> {
        let value = self.named("Message-ID").next()?.value();
        let start = value.find('<').unwrap_or(0);
        let id = value.get(start..).unwrap_or_default();
        let id = id.find('>').and_then(|end| id.get(..=end)).unwrap_or(id);
        Some(one_line(id)).filter(|id| !id.is_empty())
    }

    /// RFC 8689 §3: `TLS-Required: No`; the first field of that name counts.
    pub fn waives_tls(&self) -> bool {
        self.named("TLS-Required").next().is_some_and(|f| f.value().eq_ignore_ascii_case("no"))
    }
}

/// Octets of the first field, its folded lines included.
fn field_length(header: &[u8]) -> usize {
    let mut length = 0;
    for line in header.split_inclusive(|b| *b == b'\n') {
        if length > 0 && !matches!(line.first(), Some(b' ' | b'\t')) {
            break;
        }
        length += line.len();
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const MESSAGE: &[u8] = b"Received: from a\r\n by b; today\r\nreceived: from c\r\nFrom: ann@example.org\r\n\
        Message-ID:\r\n <1@example.org> (sic)\r\nTLS-Required: NO\r\nTLS-Required: yes\r\n\r\nReceived: body\r\nM\xfcll\r\n";

    fn scan(content: &[u8], max: usize, mut cut: impl FnMut() -> usize) -> Scan {
        let mut scanner = Scanner::new(max);
        let mut rest = content;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(cut().clamp(1, rest.len()));
            scanner.feed(piece);
            rest = behind;
        }
        scanner.finish()
    }

    fn whole(content: &[u8]) -> Scan {
        scan(content, 1 << 20, || usize::MAX)
    }

    #[test]
    fn what_a_relay_wants_to_know() {
        let found = whole(MESSAGE);
        assert_eq!(found.header.received_count(), 2);
        assert_eq!(found.header.message_id().as_deref(), Some("<1@example.org>"));
        assert!(found.header.waives_tls());
        assert_eq!(found.header.named("Received").next().unwrap().value(), "from a by b; today");
        assert_eq!((found.eight_bit_header, found.eight_bit_body), (false, true));
        assert_eq!((found.end, found.size), (HeaderEnd::EmptyLine, MESSAGE.len() as u64));
        assert_eq!(found.longest_line, 22);
        assert_eq!(found.separator(), "");
    }

    #[test]
    fn the_header_ends_in_four_ways() {
        for (content, end, header, separator) in [
            (&b"A: 1\r\n\r\nB: 2\r\n"[..], HeaderEnd::EmptyLine, &b"A: 1\r\n"[..], ""),
            (b"A: 1\n\nB: 2\n", HeaderEnd::EmptyLine, b"A: 1\n", ""),
            (b"\r\nA: 1\r\n", HeaderEnd::EmptyLine, b"", ""),
            (b"A: 1\r\nhello\r\n", HeaderEnd::NotAField, b"A: 1\r\n", ""),
            (b"hello\r\nA: 1\r\n", HeaderEnd::NotAField, b"", "\r\n"),
            (b" hello\r\n", HeaderEnd::NotAField, b"", "\r\n"), // nothing to fold
            (b"hello", HeaderEnd::NotAField, b"", "\r\n"),
            (b"From here on: x\r\n", HeaderEnd::NotAField, b"", "\r\n"), // spaces in the name
            (b": x\r\n", HeaderEnd::NotAField, b"", "\r\n"),
            (b"A : 1\r\n", HeaderEnd::EndOfContent, b"A : 1\r\n", ""),
            (b"A: 1", HeaderEnd::EndOfContent, b"A: 1", ""),
            (b"", HeaderEnd::EndOfContent, b"", ""),
        ] {
            let found = whole(content);
            assert_eq!((found.end, found.header.as_bytes()), (end, header), "{content:?}");
            assert_eq!(found.separator(), separator, "{content:?}");
        }
        let big = scan(b"A: 1\r\nB: 22\r\n\r\n", 10, || usize::MAX);
        assert_eq!((big.end, big.header.as_bytes()), (HeaderEnd::TooBig, &b"A: 1\r\n"[..]));
        assert_eq!(scan(b"A: 1\r\n\r\n", 8, || 1).end, HeaderEnd::EmptyLine);
        assert_eq!(scan(b"A: 1\r\n\r\n", 7, || 1).end, HeaderEnd::TooBig);
    }

    #[test]
    fn the_header_is_at_hand_as_soon_as_it_ended() {
        let mut scanner = Scanner::new(100);
        scanner.feed(b"A: 1\r\n\r");
        assert!(scanner.header().is_none());
        scanner.feed(b"\nbody");
        assert_eq!(scanner.header().unwrap().1, HeaderEnd::EmptyLine);
        assert!(scanner.header().unwrap().0.has("a"));
    }

    #[test]
    fn flags_of_the_envelope() {
        let mut flags = MessageFlags::default();
        whole(MESSAGE).mark(&mut flags);
        assert!(flags.eight_bit && !flags.utf8_header);
        assert_eq!(flags.tls, TlsWish::Waived);
        let mut required = MessageFlags { tls: TlsWish::Required, ..MessageFlags::default() };
        whole(MESSAGE).mark(&mut required);
        assert_eq!(required.tls, TlsWish::Required); // RFC 8689 §5
        let mut flags = MessageFlags::default();
        whole("Subject: ä\r\n\r\n".as_bytes()).mark(&mut flags);
        assert!(flags.eight_bit && flags.utf8_header);
    }

    #[test]
    fn message_ids_for_the_log() {
        for (header, id) in [
            ("Message-Id: <a@b>", Some("<a@b>")),
            ("MESSAGE-ID: a@b", Some("a@b")),
            ("Message-ID: x <a@b> y", Some("<a@b>")),
            ("Message-ID: <a\u{1b}[31m@b>", Some("<a [31m@b>")),
            ("Message-ID: <a@b\r\nMessage-ID: <c@d>", Some("<a@b")),
            ("Message-ID: >", Some(">")),
            ("Message-ID:", None),
            ("Subject: x", None),
        ] {
            assert_eq!(Header::of(header.as_bytes(), 999).message_id().as_deref(), id, "{header}");
        }
    }

    #[test]
    fn any_octets_in_any_cut() {
        let mut dice = Dice::new(141);
        let words: [&[u8]; 12] = [
            b"\r\n",
            b"\n",
            b"\r",
            b"A: ",
            b" ",
            b"Received:",
            b"Message-ID:",
            b"<",
            b">",
            b"\xff",
            b"\0",
            b":",
        ];
        for _ in 0..20_000 {
            let content: Vec<u8> =
                (0..dice.below(14)).flat_map(|_| words[dice.below(words.len())].to_vec()).collect();
            let max = dice.below(60);
            let at_once = scan(&content, max, || usize::MAX);
            assert_eq!(scan(&content, max, || 1 + dice.below(4)), at_once, "{content:?} {max}");
            assert!(at_once.header.as_bytes().len() <= max);
            assert!(content.starts_with(at_once.header.as_bytes()));
            let fields: usize = at_once.header.fields().count();
            assert!(fields <= content.len());
            if let Some(id) = at_once.header.message_id() {
                assert!(!id.contains(char::is_control));
            }
            let lines = content.split(|b| *b == b'\n');
            assert!(at_once.longest_line <= lines.map(<[u8]>::len).max().unwrap_or(0) as u64);
        }
    }
}
