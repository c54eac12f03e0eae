//! The content of a message out of DATA or BDAT.
//!
//! Only CRLF ends a line, and only CRLF `.` CRLF ends DATA. Servers that also took a bare LF or CR for a line end could be told, by
//! content that others passed on as one message, that it ends in the middle and that commands follow: one mail became two, the second
//! with a sender of the attacker's choice ("SMTP smuggling", 2023). So a message with either octet by itself is refused (RFC 5321
//! §2.3.8, §4.1.1.4), and the rest of it is read and thrown away up to the real end, so that no octet of content is ever a command.

use crate::status::Enhanced;

use super::parameters::too_big;
use super::reply::Answer;

/// Why content was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    BareCr,
    BareLf,
    /// A NUL octet.
    Nul,
    /// More octets than `max_message_size`.
    TooBig,
    /// A line longer than `smtp_max_line_length`.
    LineTooLong,
}

impl Fault {
    pub(super) fn answer(self) -> Answer {
        match self {
            Fault::BareCr => Answer::new(550, Enhanced(5, 6, 11), "Bare CR in message"),
            Fault::BareLf => Answer::new(550, Enhanced(5, 6, 11), "Bare LF in message"),
            Fault::Nul => Answer::new(550, Enhanced(5, 6, 0), "NUL in message"),
            Fault::TooBig => too_big(),
            // RFC 5321 §4.5.3.1.10.
            Fault::LineTooLong => Answer::new(500, Enhanced(5, 6, 0), "Line too long in message"),
        }
    }
}

/// How the end of the content is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// DATA: a line with nothing but a dot.
    Dot,
    /// BDAT: octets were counted by the caller.
    Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    /// A dot began the line.
    Dot,
    /// And a CR followed it.
    DotCr,
    Middle,
    /// A CR that is not passed on yet.
    Cr,
}

/// What one call of `decode` did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Octets read of the input.
    pub taken: usize,
    /// The final dot was read.
    pub ended: bool,
}

#[derive(Debug)]
pub(super) struct Decoder {
    framing: Framing,
    at: At,
    max_size: u64,
    max_line: u64,
    /// RFC 1870 §5: octets of the message, CRLF included, stuffed dots and the final one not.
    size: u64,
    line: u64,
    fault: Option<Fault>,
}

impl Decoder {
    pub fn new(framing: Framing, max_size: Option<u64>, max_line: Option<u64>) -> Decoder {
        Decoder {
            framing,
            at: At::LineStart, // RFC 5321 §4.1.1.4: the CRLF of the DATA command counts, so the content may be empty
            max_size: max_size.unwrap_or(u64::MAX),
            max_line: max_line.unwrap_or(u64::MAX),
            size: 0,
            line: 0,
            fault: None,
        }
    }

    /// The first thing that is wrong with the content.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Reads up to the end of the content, appending what it says to `output`. Behind a fault nothing is appended.
    pub fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Decoded {
        let mut taken = 0;
        while let Some(&octet) = input.get(taken) {
            // Text within a line goes in one piece.
            if self.at == At::Middle {
                let rest = input.get(taken..).unwrap_or_default();
                let run = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0));
                let run = rest.get(..run.unwrap_or(rest.len())).unwrap_or_default();
                if !run.is_empty() {
                    self.text(run, output);
                    taken += run.len();
                    continue;
                }
            }
            taken += 1;
            if self.step(octet, output) {
                return Decoded { taken, ended: true };
            }
        }
        Decoded { taken, ended: false }
    }

    /// The end of the last chunk of BDAT.
    pub fn finish(&mut self) {
        if self.at == At::Cr {
            self.spoil(Fault::BareCr);
        }
    }

    /// One octet; true at the final dot.
    fn step(&mut self, octet: u8, output: &mut Vec<u8>) -> bool {
        match (self.at, octet) {
            (At::DotCr, b'\n') => return true,
            (At::Cr, b'\n') => {
                self.append(b"\r\n", output);
                self.line = 0;
                self.at = At::LineStart;
                return false;
            }
            (At::Cr | At::DotCr, _) => self.spoil(Fault::BareCr),
            (At::LineStart | At::Dot | At::Middle, _) => {}
        }
        self.at = match (self.at, octet) {
            (At::LineStart, b'.') if self.framing == Framing::Dot => At::Dot,
            (At::Dot, b'\r') => At::DotCr,
            (_, b'\r') => At::Cr,
            (_, b'\n') => {
                // Not a line start: a dot behind it neither ends the content nor is stuffed.
                self.spoil(Fault::BareLf);
                At::Middle
            }
            (_, 0) => {
                self.spoil(Fault::Nul);
                At::Middle
            }
            // RFC 5321 §4.5.2: of a line that begins with a dot and has more, the dot goes.
            (_, _) => {
                self.text(&[octet], output);
                At::Middle
            }
        };
        false
    }

    fn text(&mut self, text: &[u8], output: &mut Vec<u8>) {
        let left = usize::try_from(self.max_line - self.line).unwrap_or(usize::MAX);
        let fits = text.get(..text.len().min(left)).unwrap_or_default();
        self.append(fits, output);
        self.line += fits.len() as u64;
        if fits.len() < text.len() {
            self.spoil(Fault::LineTooLong);
        }
    }

    fn append(&mut self, octets: &[u8], output: &mut Vec<u8>) {
        if self.fault.is_some() {
            return;
        }
        let left = usize::try_from(self.max_size - self.size).unwrap_or(usize::MAX);
        let fits = octets.get(..octets.len().min(left)).unwrap_or_default();
        output.extend_from_slice(fits);
        self.size += fits.len() as u64;
        if fits.len() < octets.len() {
            self.spoil(Fault::TooBig);
        }
    }

    fn spoil(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// Content, what is left behind its end, fault.
    type Read = (Vec<u8>, Option<Vec<u8>>, Option<Fault>);

    fn decode(
        framing: Framing,
        limits: (Option<u64>, Option<u64>),
        input: &[u8],
        mut cut: impl FnMut() -> usize,
    ) -> Read {
        let mut decoder = Decoder::new(framing, limits.0, limits.1);
        let mut output = Vec::new();
        let mut read = 0;
        while read < input.len() {
            let end = input.len().min(read + cut().clamp(1, input.len()));
            let decoded = decoder.decode(&input[read..end], &mut output);
            read += decoded.taken;
            if decoded.ended {
                return (output, Some(input[read..].to_vec()), decoder.fault());
            }
        }
        decoder.finish();
        (output, None, decoder.fault())
    }

    fn dot(input: &str) -> (String, Option<String>, Option<Fault>) {
        let at_once = decode(Framing::Dot, (None, None), input.as_bytes(), || usize::MAX);
        let by_octet = decode(Framing::Dot, (None, None), input.as_bytes(), || 1);
        assert_eq!(at_once, by_octet, "{input:?}");
        let text = |octets| String::from_utf8(octets).unwrap();
        (text(at_once.0), at_once.1.map(text), at_once.2)
    }

    #[test]
    fn content_ends_at_the_dot() {
        for (input, content) in [
            ("a\r\n.\r\n", "a\r\n"),
            (".\r\n", ""),
            ("\r\n.\r\n", "\r\n"),
            ("..\r\n.\r\n", ".\r\n"), // unstuffed
            (".a\r\n.\r\n", "a\r\n"), // a client that forgot to stuff
            ("a.\r\n.b.\r\n.\r\n", "a.\r\nb.\r\n"),
            ("...\r\n.\r\n", "..\r\n"),
            ("ä\r\n.\r\n", "ä\r\n"),
        ] {
            let input = format!("{input}QUIT\r\n");
            assert_eq!(dot(&input), (content.into(), Some("QUIT\r\n".into()), None), "{input:?}");
        }
        assert_eq!(dot("a\r\n."), ("a\r\n".into(), None, None));
        assert_eq!(dot("a\r\n.\r"), ("a\r\n".into(), None, None));
    }

    #[test]
    fn smuggled_ends_do_not_end_it() {
        for (ending, fault) in [
            ("\n.\n", Fault::BareLf),
            ("\n.\r\n", Fault::BareLf),
            ("\r\n.\n", Fault::BareLf),
            ("\r.\r", Fault::BareCr),
            ("\r.\r\n", Fault::BareCr),
            ("\r\n.\r", Fault::BareCr),
            ("\r\r\n.\r\r\n", Fault::BareCr),
            ("\r\n.\r.\r\n", Fault::BareCr),
            ("\n\r\n.\n\r\n", Fault::BareLf),
        ] {
            let input = format!("a{ending}MAIL FROM:<evil@example.org>\r\n.\r\nQUIT\r\n");
            let (content, behind, found) = dot(&input);
            assert_eq!((behind.as_deref(), found), (Some("QUIT\r\n"), Some(fault)), "{input:?}");
            assert!(!content.contains("evil"), "{input:?}");
        }
    }

    #[test]
    fn nul_is_refused() {
        assert_eq!(dot("a\0b\r\n.\r\n"), ("a".into(), Some(String::new()), Some(Fault::Nul)));
        assert_eq!(dot("\0\r\n.\r\n").2, Some(Fault::Nul));
        assert_eq!(dot(".\0\r\n.\r\n").2, Some(Fault::Nul));
    }

    #[test]
    fn limits_count_what_is_passed_on() {
        let run = |size, line, input: &str| {
            let limits = (Some(size), Some(line));
            let at_once = decode(Framing::Dot, limits, input.as_bytes(), || usize::MAX);
            assert_eq!(decode(Framing::Dot, limits, input.as_bytes(), || 1), at_once);
            (String::from_utf8(at_once.0).unwrap(), at_once.2)
        };
        assert_eq!(run(5, 99, "..ab\r\n.\r\n"), (".ab\r\n".into(), None)); // the dots do not count
        assert_eq!(run(4, 99, "..ab\r\n.\r\n"), (".ab\r".into(), Some(Fault::TooBig)));
        assert_eq!(run(2, 99, "abcd\r\n.\r\n"), ("ab".into(), Some(Fault::TooBig)));
        assert_eq!(run(99, 3, "abc\r\nabc\r\n.\r\n"), ("abc\r\nabc\r\n".into(), None));
        assert_eq!(run(99, 2, "ab\r\nabc\r\n.\r\n"), ("ab\r\nab".into(), Some(Fault::LineTooLong)));
    }

    #[test]
    fn chunks_have_no_dots_but_the_same_rules() {
        let run = |input: &[u8]| decode(Framing::Counted, (None, None), input, || 1);
        assert_eq!(run(b".\r\n..\r\na"), (b".\r\n..\r\na".to_vec(), None, None));
        assert_eq!(run(b"a\nb").2, Some(Fault::BareLf));
        assert_eq!(run(b"a\rb").2, Some(Fault::BareCr));
        assert_eq!(run(b"a\r").2, Some(Fault::BareCr)); // nothing follows
        assert_eq!(run(b"\0").2, Some(Fault::Nul));
    }

    #[test]
    fn any_octets_in_any_cut() {
        let mut dice = Dice::new(101);
        for _ in 0..30_000 {
            let input: Vec<u8> =
                (0..dice.below(24)).map(|_| b"\r\n..\r\nab\0\xe4"[dice.below(10)]).collect();
            let framing = if dice.below(3) == 0 { Framing::Counted } else { Framing::Dot };
            let limits = (Some(dice.below(30) as u64), Some(dice.below(8) as u64));
            let at_once = decode(framing, limits, &input, || usize::MAX);
            let cut = decode(framing, limits, &input, || 1 + dice.below(5));
            assert_eq!(at_once, cut, "{input:?} {limits:?}");
            assert!(at_once.0.len() <= input.len());
            if let Some(behind) = &at_once.1 {
                // The end is the first CRLF . CRLF, and nothing else ever is.
                let mut framed = b"\r\n".to_vec();
                framed.extend_from_slice(&input[..input.len() - behind.len()]);
                let first = framed.windows(5).position(|w| w == b"\r\n.\r\n");
                assert_eq!(first, Some(framed.len() - 5), "{input:?}");
            }
            if at_once.2.is_none() {
                let text = String::from_utf8_lossy(&at_once.0).replace("\r\n", "");
                assert!(!text.contains(['\r', '\n', '\0']), "{input:?}");
            }
        }
    }
}
