//! Content on its way out: CRLF line ends, doubled dots, and the end of data.

/// Encodes content for DATA, chunk by chunk.
///
/// Stored content has CRLF line ends already; a lone CR or LF that got in through a file is made a line end here, so that no reader on
/// the way can see another end of data than we do.
#[derive(Debug)]
pub struct DotStuffer {
    at_line_start: bool,
    after_cr: bool,
}

impl Default for DotStuffer {
    fn default() -> DotStuffer {
        DotStuffer { at_line_start: true, after_cr: false }
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
            if self.at_line_start && first == b'.' {
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
        if self.after_cr {
            out.push(b'\n');
        } else if !self.at_line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

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
