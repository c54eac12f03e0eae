//! Content on its way out: CRLF line ends, doubled dots, and the end of data.

/// Encodes content for DATA, chunk by chunk.
///
/// Stored content has CRLF line ends already; a lone CR or LF that got in through a file is made a line end here, so that no reader on
/// the way can see another end of data than we do.
#[derive(Debug)]
pub struct DotStuffer {
    dots: Dots,
    at_line_start: bool,
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dots {
    Doubled,
    AsTheyAre,
}

impl Default for DotStuffer {
    fn default() -> DotStuffer {
        DotStuffer { dots: Dots::Doubled, at_line_start: true, after_cr: false }
    }
}

impl DotStuffer {
    /// Appends the encoded chunk to `out`.
    pub fn encode(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + chunk.len() / 64 + 2);
        let mut rest = chunk;
        while let Some(&first) = rest.first() {
            if self.after_cr {
                // Whatever follows a CR, the line ends here.
                out.push(b'\n');
                self.after_cr = false;
                self.at_line_start = true;
                if first == b'\n' {
                    rest = rest.get(1..).unwrap_or_default();
                }
                continue;
            }
            // RFC 5321 §4.5.2: a line that begins with a dot gets another one.
            if self.dots == Dots::Doubled && self.at_line_start && first == b'.' {
                out.push(b'.');
            }
            self.at_line_start = false;
            let plain = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
            let (line, tail) = rest.split_at(plain);
            out.extend_from_slice(line);
            match tail.first() {
                Some(b'\r') => {
                    out.push(b'\r');
                    self.after_cr = true;
                }
                Some(_) => {
                    out.extend_from_slice(b"\r\n");
                    self.at_line_start = true;
                }
                None => {}
            }
            rest = tail.get(1..).unwrap_or_default();
        }
    }

    /// Appends what ends the content: a line end if the last line has none, then the dot (RFC 5321 §4.1.1.4).
    pub fn finish(self, out: &mut Vec<u8>) {
        self.end_line(out);
        out.extend_from_slice(b".\r\n");
    }

    fn end_line(self, out: &mut Vec<u8>) {
        if self.after_cr {
            out.push(b'\n');
        } else if !self.at_line_start {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Content as the last chunk of a message: the command, and what follows it. The octets are counted as they are sent: with the same line ends as
/// for DATA, and dots as they are (RFC 3030 §2).
pub fn last_chunk(content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut lines = DotStuffer { dots: Dots::AsTheyAre, ..DotStuffer::default() };
    let mut octets = Vec::new();
    lines.encode(content, &mut octets);
    lines.end_line(&mut octets);
    (format!("BDAT {} LAST\r\n", octets.len()).into_bytes(), octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn a_chunk_counts_what_is_sent_and_leaves_dots_alone() {
        let chunk = |content: &[u8]| {
            let (command, octets) = last_chunk(content);
            String::from_utf8([command, octets].concat()).unwrap()
        };
        assert_eq!(chunk(b".\r\n..a\r\n"), "BDAT 8 LAST\r\n.\r\n..a\r\n");
        assert_eq!(chunk(b"a"), "BDAT 3 LAST\r\na\r\n"); // a line end that was missing
        assert_eq!(chunk(b"a\nb\rc\r"), "BDAT 9 LAST\r\na\r\nb\r\nc\r\n"); // lone ones
        assert_eq!(chunk(b""), "BDAT 0 LAST\r\n");
        // Whatever the content: BDAT and DATA bring the same octets.
        let mut dice = Dice::new(3030);
        for _ in 0..2000 {
            let content: Vec<u8> = (0..dice.below(30)).map(|_| b".\r\nab"[dice.below(5)]).collect();
            let chunk = chunk(&content);
            let (command, octets) = chunk.split_once("\r\n").unwrap();
            assert_eq!(command, format!("BDAT {} LAST", octets.len()));
            let by_data = sent(&[&content]);
            let by_data = by_data.strip_suffix(".\r\n").unwrap();
            assert_eq!(
                format!("\r\n{by_data}").replace("\r\n..", "\r\n."),
                format!("\r\n{octets}")
            );
        }
    }

    fn sent(chunks: &[&[u8]]) -> String {
        let (mut stuffer, mut out) = (DotStuffer::default(), Vec::new());
        for chunk in chunks {
            stuffer.encode(chunk, &mut out);
        }
        stuffer.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dots_and_line_ends() {
        assert_eq!(sent(&[b"a\r\n"]), "a\r\n.\r\n");
        assert_eq!(sent(&[b"a"]), "a\r\n.\r\n");
        assert_eq!(sent(&[b""]), ".\r\n");
        assert_eq!(sent(&[b".\r\n..\r\na.\r\n"]), "..\r\n...\r\na.\r\n.\r\n");
        assert_eq!(sent(&[b"a\r", b"\n.b\r\n"]), "a\r\n..b\r\n.\r\n");
        assert_eq!(sent(&[b"a\r\n", b".", b"\r\n"]), "a\r\n..\r\n.\r\n");
    }

    #[test]
    fn lone_cr_and_lf_become_line_ends() {
        assert_eq!(sent(&[b"a\n.\nb"]), "a\r\n..\r\nb\r\n.\r\n");
        assert_eq!(sent(&[b"a\r.\r\n"]), "a\r\n..\r\n.\r\n");
        assert_eq!(sent(&[b"a\r\r\n"]), "a\r\n\r\n.\r\n");
        assert_eq!(sent(&[b"a\r"]), "a\r\n.\r\n");
    }

    #[test]
    fn only_the_last_line_is_a_lone_dot() {
        let mut dice = Dice::new(8);
        for _ in 0..5000 {
            let content: Vec<u8> = (0..dice.below(30)).map(|_| b".\r\nab"[dice.below(5)]).collect();
            let mut cut = Vec::new();
            let mut rest = &content[..];
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(1 + dice.below(rest.len()));
                cut.push(head);
                rest = tail;
            }
            let whole = sent(&[&content]);
            assert_eq!(sent(&cut), whole, "{content:?}");
            let ends = format!("\r\n{whole}").matches("\r\n.\r\n").count();
            assert_eq!(ends, 1, "{content:?} {whole:?}");
            assert!(!whole.replace("\r\n", "").contains(['\r', '\n']), "{whole:?}");
        }
    }
}
