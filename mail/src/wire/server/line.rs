//! Command lines out of a stream of octets.
//!
//! Only CRLF ends a line. A CR or LF by itself is refused at once and everything up to the next CRLF is skipped: peers that disagree
//! about line ends are how commands get smuggled past a relay (RFC 5321 §2.3.8 forbids both octets outside of CRLF).

/// Octets of a command line, CRLF included. RFC 5321 §4.5.3.1.4 asks for 512, and extensions add: 500 each for ORCPT (RFC 3461 §5.3)
/// and AUTH= (RFC 4954 §5), 26 for SIZE, 100 and more for ENVID.
const COMMAND: usize = 2048;

/// RFC 4954 §4: lines of an AUTH exchange may be as long as this.
const AUTH: usize = 12_288;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its CRLF.
    Whole(Vec<u8>),
    TooLong,
    BareCr,
    BareLf,
}

/// Which lines are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Command,
    AuthResponse,
}

#[derive(Debug, Default)]
pub(super) struct LineReader {
    line: Vec<u8>,
    /// The last octet was a CR, which is not in `line`.
    after_cr: bool,
    /// The rest of a refused line is thrown away.
    skipping: bool,
}

impl LineReader {
    /// Reads up to the end of a line or the first fault in it; says how many octets that took.
    pub fn read(&mut self, input: &[u8], expect: Expect) -> (usize, Option<Line>) {
        for (place, &octet) in input.iter().enumerate() {
            if let Some(line) = self.take(octet, expect) {
                return (place + 1, Some(line));
            }
        }
        (input.len(), None)
    }

    /// Octets held.
    pub fn held(&self) -> usize {
        self.line.len()
    }

    /// Forgets a line begun.
    pub fn reset(&mut self) {
        *self = LineReader::default();
    }

    fn take(&mut self, octet: u8, expect: Expect) -> Option<Line> {
        let after_cr = std::mem::replace(&mut self.after_cr, octet == b'\r');
        if self.skipping {
            self.skipping = !(after_cr && octet == b'\n');
            return None;
        }
        match octet {
            b'\n' if after_cr => return Some(Line::Whole(std::mem::take(&mut self.line))),
            b'\n' => return Some(self.refuse(Line::BareLf)),
            _ if after_cr => return Some(self.refuse(Line::BareCr)),
            b'\r' => {}
            _ => self.line.push(octet),
        }
        // The CRLF counts, whether it has come or not.
        (self.line.len() + 2 > self.limit(expect)).then(|| self.refuse(Line::TooLong))
    }

    fn refuse(&mut self, why: Line) -> Line {
        self.line = Vec::new();
        self.skipping = true;
        why
    }

    fn limit(&self, expect: Expect) -> usize {
        let verb = self.line.get(..5).unwrap_or_default();
        match expect {
            Expect::AuthResponse => AUTH,
            Expect::Command if verb.eq_ignore_ascii_case(b"AUTH ") => AUTH,
            Expect::Command => COMMAND,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn lines(input: &[u8], expect: Expect, mut cut: impl FnMut() -> usize) -> Vec<Line> {
        let mut reader = LineReader::default();
        let mut found = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (mut piece, behind) = rest.split_at(cut().clamp(1, rest.len()));
            while !piece.is_empty() {
                let (taken, line) = reader.read(piece, expect);
                found.extend(line);
                piece = &piece[taken..];
            }
            rest = behind;
        }
        found
    }

    fn table(input: &[u8], expected: &[Line]) {
        assert_eq!(lines(input, Expect::Command, || usize::MAX), expected, "{input:?}");
        assert_eq!(lines(input, Expect::Command, || 1), expected, "{input:?}");
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn only_crlf_ends_a_line() {
        table(b"NOOP\r\n", &[whole("NOOP")]);
        table(b"\r\n\r\n", &[whole(""), whole("")]);
        table(b"NOOP", &[]);
        table(b"NOOP\r", &[]);
        table(b"A\nB\r\nC\r\n", &[Line::BareLf, whole("C")]); // B belongs to the refused line
        table(b"A\rB\r\nC\r\n", &[Line::BareCr, whole("C")]);
        table(b"A\r\r\nC\r\n", &[Line::BareCr, whole("C")]);
        table(b"\n\r\nC\r\n", &[Line::BareLf, whole("C")]);
    }

    #[test]
    fn overlong_lines_are_skipped_to_their_end() {
        let fits = "x".repeat(COMMAND - 2);
        table(format!("{fits}\r\nC\r\n").as_bytes(), &[whole(&fits), whole("C")]);
        table(format!("{fits}x\r\nC\r\n").as_bytes(), &[Line::TooLong, whole("C")]);
        table(
            format!("{}\n\r\nC\r\n", "x".repeat(99_999)).as_bytes(),
            &[Line::TooLong, whole("C")],
        );
    }

    #[test]
    fn auth_lines_may_be_longer() {
        let initial = format!("auth PLAIN {}", "x".repeat(10_000));
        table(format!("{initial}\r\n").as_bytes(), &[whole(&initial)]);
        let response = "x".repeat(AUTH - 2);
        let input = format!("{response}\r\n{response}x\r\n");
        assert_eq!(
            lines(input.as_bytes(), Expect::AuthResponse, || 100),
            [whole(&response), Line::TooLong]
        );
    }

    #[test]
    fn any_cut_reads_the_same_lines_in_bounded_memory() {
        let mut dice = Dice::new(51);
        for _ in 0..2000 {
            let input: Vec<u8> =
                (0..dice.below(60)).map(|_| b"\r\n\0Ax \xff"[dice.below(7)]).collect();
            let at_once = lines(&input, Expect::Command, || usize::MAX);
            assert_eq!(lines(&input, Expect::Command, || 1 + dice.below(4)), at_once, "{input:?}");
        }
        let mut reader = LineReader::default();
        for _ in 0..1000 {
            reader.read(&[b'x'; 1000], Expect::AuthResponse);
            assert!(reader.held() <= AUTH);
        }
    }
}
