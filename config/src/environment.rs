//! Variables of the environment.
//!
//! `{env:NAME}` in names and arguments is replaced in one pass from left to right after all files are merged; a variable that is not set
//! is empty. What comes in this way is never split into words and never expanded again. The variables are an argument, so that tests
//! and checks bring their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::budget::Budget;
use crate::place::Place;
use crate::problem::Problems;
use crate::tree::{Node, name_fault};

/// The variables a configuration may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// No variables at all.
    pub fn empty() -> Environment {
        Environment::default()
    }

    /// Those of this process; what is not UTF-8 in a value is replaced by U+FFFD.
    pub fn of_process() -> Environment {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Environment(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    /// The value; `None` when the variable is not set.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Replaces the placeholders in the whole tree.
    pub(crate) fn fill(&self, nodes: &mut Vec<Node>, budget: &mut Budget, problems: &Problems) {
        nodes.retain_mut(|node| {
            for arg in &mut node.args {
                self.fill_word(arg, &node.at, budget, problems);
            }
            if let Some(children) = &mut node.children {
                self.fill(children, budget, problems);
            }
            if !node.name.contains("{env:") {
                return true;
            }
            self.fill_word(&mut node.name, &node.at, budget, problems);
            let fault = name_fault(&node.name);
            if let Some(text) = &fault {
                problems.error(&node.at, format!("after {{env:...}} was replaced: {text}"));
            }
            fault.is_none()
        });
    }

    fn fill_word(&self, word: &mut String, at: &Place, budget: &mut Budget, problems: &Problems) {
        if let Cow::Owned(filled) = replaced(word, |name| self.value(name).unwrap_or_default())
            && budget.word(filled.len(), at, problems)
        {
            *word = filled;
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Environment {
        Environment(variables.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// The word as its name is judged before the environment is known.
pub(crate) fn without_placeholders(word: &str) -> Cow<'_, str> {
    // A letter stands for it: `{env:X}` alone must not look like an empty name.
    replaced(word, |_| "x")
}

/// A placeholder ends at the first `}`; without one it is text.
fn replaced<'w, 'v>(word: &'w str, value: impl Fn(&str) -> &'v str) -> Cow<'w, str> {
    let mut filled = String::new();
    let mut rest = word;
    while let Some((before, (name, after))) =
        rest.split_once("{env:").and_then(|(before, inner)| Some((before, inner.split_once('}')?)))
    {
        filled.push_str(before);
        filled.push_str(value(name));
        rest = after;
    }
    if rest.len() == word.len() {
        return Cow::Borrowed(word);
    }
    filled.push_str(rest);
    Cow::Owned(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{outline, parsed};

    fn filled(word: &str) -> String {
        let environment: Environment =
            [("A", "1"), ("B", "two words"), ("LOOP", "{env:A}"), ("D", "limits")]
                .into_iter()
                .collect();
        let (mut nodes, _) = parsed("x");
        nodes[0].args = vec![word.to_string()];
        environment.fill(&mut nodes, &mut Budget::new(), &Problems::new());
        nodes[0].args[0].clone()
    }

    #[test]
    fn placeholders_are_replaced_in_one_pass() {
        assert_eq!(filled("{env:A}"), "1");
        assert_eq!(filled("a{env:A}b{env:A}"), "a1b1");
        assert_eq!(filled("{env:B}"), "two words"); // stays one argument
        assert_eq!(filled("{env:NOPE}"), ""); // and an empty one stays too
        assert_eq!(filled("{env:X}foo{env:Y}"), "foo"); // maddy loses foo
        assert_eq!(filled("{env:LOOP}"), "{env:A}"); // values are not looked into
        assert_eq!(filled("{env:A"), "{env:A"); // never closed
        assert_eq!(filled("{env:}"), "");
        assert_eq!(filled("{ENV:A}{env A}"), "{ENV:A}{env A}");
        assert_eq!(filled("{env:X{env:A}}"), "}"); // the first } ends it
    }

    #[test]
    fn names_and_blocks_are_filled_too() {
        let environment: Environment = [("D", "limits"), ("BAD", "a b")].into_iter().collect();
        let (mut nodes, _) = parsed("{env:D} {\na {env:D}\n{env:BAD} x\n}");
        let problems = Problems::new();
        environment.fill(&mut nodes, &mut Budget::new(), &problems);
        assert_eq!(outline(&nodes), "limits@1{a limits@2}");
        assert_eq!(
            problems.sorted()[0].to_string(),
            "t:3: after {env:...} was replaced: \"a b\" is no name of a directive: ' ' is not allowed in it"
        );
    }

    #[test]
    fn the_process_has_an_environment() {
        assert!(Environment::of_process().names().next().is_some());
        assert_eq!(Environment::empty().value("PATH"), None);
    }
}
