//! Which parts of a dialogue are credentials (RFC 4954), in either dialect and by any mechanism.
//!
//! Of an exchange remain AUTH, the mechanism, and what the server thinks of it. What we say in it is `*`, and so is its echo in an answer:
//! servers that don't understand a command like to repeat it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A shorter word gives nothing away, and would be found in any sentence.
const SHORTEST: usize = 4;
/// Words kept of one exchange. The mechanisms in use say two.
const MOST_SECRETS: usize = 16;

#[derive(Clone, Default)]
pub(in crate::wire) struct Mask {
    /// AUTH was said and has no final answer.
    within: bool,
    /// The server's last word was a challenge: our next line answers it, whatever came before.
    challenged: bool,
    /// What we said in this exchange, encoded and decoded.
    secrets: Vec<Vec<u8>>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").field("within", &self.within).finish_non_exhaustive()
    }
}

impl Mask {
    /// A line of ours as it may be shown.
    pub(in crate::wire) fn ours<'a>(&mut self, line: &'a [u8]) -> Cow<'a, [u8]> {
        if self.within || self.challenged {
            (self.within, self.challenged) = (true, false);
            self.remember(line);
            return Cow::Borrowed(b"*");
        }
        let mut words = line.split(|octet| matches!(octet, b' ' | b'\t')).filter(|w| !w.is_empty());
        let Some(verb) = words.next().filter(|verb| verb.eq_ignore_ascii_case(b"AUTH")) else {
            return Cow::Borrowed(line);
        };
        self.within = true;
        let mut shown = verb.to_vec();
        for (place, word) in words.enumerate() {
            if place == 0 && is_mechanism(word) {
                shown.push(b' ');
                shown.extend_from_slice(word);
            } else {
                self.remember(word);
                if !shown.ends_with(b" *") {
                    shown.extend_from_slice(b" *");
                }
            }
        }
        Cow::Owned(shown)
    }

    /// A line of the server as it may be shown.
    pub(in crate::wire) fn theirs<'a>(&mut self, line: &'a [u8]) -> Cow<'a, [u8]> {
        // RFC 4954 §4: 334 is the only reply with a challenge.
        if line.starts_with(b"334") {
            self.challenged = true;
            return Cow::Borrowed(b"334 *");
        }
        let shown = if self.within { self.without_echo(line) } else { Cow::Borrowed(line) };
        if line.get(3) != Some(&b'-') {
            *self = Mask::default();
        }
        shown
    }

    fn remember(&mut self, secret: &[u8]) {
        if self.secrets.len() >= MOST_SECRETS {
            return;
        }
        let decoded = STANDARD.decode(secret).unwrap_or_default();
        // RFC 4616 §2: parts are told apart by NUL.
        let parts = decoded.split(|octet| *octet == 0).chain([secret]);
        self.secrets.extend(parts.filter(|part| part.len() >= SHORTEST).map(<[u8]>::to_vec));
    }

    /// Without what was said in the exchange, and without pieces of it: an echo may be cut or folded.
    fn without_echo<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let mut shown = Cow::Borrowed(line);
        for secret in &self.secrets {
            while let Some(at) = find(&shown, secret) {
                shown.to_mut().splice(at..at + secret.len(), *b"*");
            }
        }
        let is_piece = |run: &[u8]| {
            run.len() >= SHORTEST && self.secrets.iter().any(|secret| find(secret, run).is_some())
        };
        let runs = shown.chunk_by(|a, b| is_base64(*a) == is_base64(*b));
        if runs.clone().any(is_piece) {
            let masked = runs.map(|run| if is_piece(run) { b"*" } else { run });
            return Cow::Owned(masked.flatten().copied().collect());
        }
        shown
    }
}

/// RFC 4422 §3.1: at most 20 of these. Something else in its place may be a secret.
fn is_mechanism(word: &[u8]) -> bool {
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    word.len() <= 20 && word.iter().all(fits)
}

fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}
