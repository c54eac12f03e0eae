//! How large a configuration may become while it is put together.
//!
//! Ten snippets that each import the next one ten times are a short file and ten thousand million nodes. What macros, snippets and the
//! environment add is paid from one budget; when it is spent, one problem says so and nothing more is expanded.

use crate::place::Place;
use crate::problem::Problems;
use crate::tree::Node;

/// Octets of text, with a flat price for the shell of every word and node.
const LARGEST: usize = 64 << 20;
const WORD: usize = 32;
const NODE: usize = 128;

#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    spent: bool,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { left: LARGEST, spent: false }
    }

    /// Nothing may be expanded any more; the problem has been reported.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Stops all further expansion, for a reason the caller has reported.
    pub fn stop(&mut self) {
        self.spent = true;
    }

    /// Pays for one word. False when it must not be made.
    pub fn word(&mut self, length: usize, at: &Place, problems: &Problems) -> bool {
        self.pay(WORD.saturating_add(length), at, problems)
    }

    /// Pays for a copy of a node without its children.
    pub fn node(&mut self, node: &Node, at: &Place, problems: &Problems) -> bool {
        let words = node.args.iter().fold(node.name.len(), |sum, arg| sum + WORD + arg.len());
        self.pay(NODE + words, at, problems)
    }

    fn pay(&mut self, price: usize, at: &Place, problems: &Problems) -> bool {
        if self.spent {
            return false;
        }
        match self.left.checked_sub(price) {
            Some(left) => self.left = left,
            None => {
                self.spent = true;
                problems.error(at, "macros, imports and environment make this file too large");
            }
        }
        !self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_is_reported_once() {
        let (mut budget, problems) = (Budget::new(), Problems::new());
        let at = Place::line("a", 1);
        assert!(budget.word(5, &at, &problems));
        assert!(!budget.word(usize::MAX, &at, &problems));
        assert!(!budget.word(1, &at, &problems));
        assert!(budget.is_spent());
        assert_eq!(problems.sorted().len(), 1);
    }
}
