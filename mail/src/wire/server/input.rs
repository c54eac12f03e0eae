//! Octets read and not yet looked at.

/// A queue of octets that gives them out as one slice.
#[derive(Default)]
pub(super) struct Input {
    octets: Vec<u8>,
    /// Octets of the front that are used up.
    used: usize,
}

impl Input {
    pub fn waiting(&self) -> &[u8] {
        self.octets.get(self.used..).unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.octets.len().saturating_sub(self.used)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes as many of these octets as fit under `most`; says how many.
    pub fn fill(&mut self, octets: &[u8], most: usize) -> usize {
        if self.used > 0 {
            self.octets.drain(..self.used);
            self.used = 0;
        }
        let taken = octets.len().min(most.saturating_sub(self.octets.len()));
        self.octets.extend_from_slice(octets.get(..taken).unwrap_or_default());
        taken
    }

    pub fn use_up(&mut self, octets: usize) {
        self.used = self.octets.len().min(self.used + octets);
    }

    pub fn clear(&mut self) {
        *self = Input::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_out_what_was_put_in() {
        let mut input = Input::default();
        assert_eq!(input.fill(b"abcdef", 4), 4);
        input.use_up(3);
        assert_eq!((input.waiting(), input.len()), (&b"d"[..], 1));
        assert_eq!(input.fill(b"efgh", 4), 3);
        assert_eq!(input.waiting(), b"defg");
        input.use_up(99);
        assert!(input.is_empty());
        input.clear();
        assert_eq!(input.waiting(), b"");
    }
}
