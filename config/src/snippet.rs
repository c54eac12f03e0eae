//! Snippets: blocks with a name that `import` puts in place.
//!
//! `(name) { ... }` at the top level of a file records one and leaves nothing in the tree; the last one of a name counts.

use std::collections::BTreeMap;

use crate::problem::Problems;
use crate::tree::{Node, snippet_name};

#[derive(Debug, Default)]
pub(crate) struct Snippets(BTreeMap<String, Vec<Node>>);

impl Snippets {
    /// Records the body, in which macros are expanded already. A snippet without a block expands to nothing.
    pub fn declare(&mut self, node: Node, problems: &Problems) {
        let Some(name) = snippet_name(&node.name) else { return };
        if !node.args.is_empty() {
            problems.error(&node.at, "a snippet takes no arguments");
        }
        self.0.insert(name.to_string(), node.children.unwrap_or_default());
    }

    pub fn body(&self, name: &str) -> Option<&[Node]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{outline, parsed};

    #[test]
    fn the_last_snippet_of_a_name_counts() {
        let (mut snippets, problems) = (Snippets::default(), Problems::new());
        for node in parsed("(a) {\nb\n}\n(a) {\nc\n}\n(empty)\n(args) x {\n}").0 {
            snippets.declare(node, &problems);
        }
        assert_eq!(outline(snippets.body("a").unwrap()), "c@5");
        assert_eq!(snippets.body("empty"), Some(&[][..]));
        assert_eq!(snippets.body("b"), None);
        assert_eq!(problems.sorted()[0].to_string(), "t:8: a snippet takes no arguments");
    }
}
