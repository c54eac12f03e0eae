//! `regexp RE REPL...`: keys that match an expression.
//!
//! The expression covers the whole key and ignores case unless told otherwise. A replacement may name groups of the match: `$1`,
//! `${1}`, `$name`; `$$` is a dollar sign. Matching takes time linear in the key, whatever the expression.

use std::fmt;

use super::{LookupError, Table};

/// The directives of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegexpOptions {
    /// `full_match`, default yes: the expression must cover the key.
    pub full_match: bool,
    /// `case_insensitive`, default yes.
    pub case_insensitive: bool,
    /// `expand_replaceholders` (also written `expand_placeholders`), default yes: `$1` in a replacement stands for a group.
    pub expand: bool,
}

impl Default for RegexpOptions {
    fn default() -> RegexpOptions {
        RegexpOptions { full_match: true, case_insensitive: true, expand: true }
    }
}

/// The expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexpError {
    pub expression: String,
    /// One line: what is wrong with it.
    pub text: String,
}

impl fmt::Display for RegexpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "regular expression {:?}: {}", self.expression, self.text)
    }
}

impl std::error::Error for RegexpError {}

#[derive(Clone, Debug)]
pub struct Regexp {
    expression: regex::Regex,
    replacements: Vec<String>,
    expand: bool,
}

impl Regexp {
    /// Without replacements a key that matches is its own value, so that `destination_in regexp RE` works as a test.
    pub fn new(
        expression: &str,
        replacements: Vec<String>,
        options: RegexpOptions,
    ) -> Result<Regexp, RegexpError> {
        let build = |pattern: &str| {
            regex::RegexBuilder::new(pattern).case_insensitive(options.case_insensitive).build()
        };
        let refused = |error: regex::Error| RegexpError {
            expression: expression.to_string(),
            text: last_line(&error.to_string()),
        };
        // Alone first: `a)(?:b` would become valid inside the group below.
        let alone = build(expression).map_err(refused)?;
        let expression = match options.full_match {
            // The group keeps both anchors at both sides of an alternation.
            true => build(&format!(r"\A(?:{expression})\z")).map_err(refused)?,
            false => alone,
        };
        Ok(Regexp { expression, replacements, expand: options.expand })
    }
}

/// The parser of expressions explains in several lines and concludes in the last.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

impl Table for Regexp {
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError> {
        let Some(groups) = self.expression.captures(key) else {
            return Ok(Vec::new());
        };
        if self.replacements.is_empty() {
            return Ok(vec![key.to_string()]);
        }
        if !self.expand {
            return Ok(self.replacements.clone());
        }
        let expanded = self.replacements.iter().map(|replacement| {
            let mut value = String::new();
            groups.expand(replacement, &mut value);
            value
        });
        Ok(expanded.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const DEFAULT: RegexpOptions =
        RegexpOptions { full_match: true, case_insensitive: true, expand: true };

    fn look(expression: &str, replacements: &[&str], options: RegexpOptions, key: &str) -> String {
        let replacements = replacements.iter().map(ToString::to_string).collect();
        let table = Regexp::new(expression, replacements, options).unwrap();
        table.lookup(key).unwrap().join("|")
    }

    #[test]
    fn groups_are_expanded() {
        for (expression, replacement, key, expected) in [
            (r"(.+)\+(.+)@(.+)", "$1@$3", "ann+list@x.org", "ann@x.org"),
            (r"(.+)\+(.+)@(.+)", "$1@$3", "ann@x.org", ""), // no match
            (r"(?P<user>.+)@x", "${user}@y", "ann@x", "ann@y"),
            (r"(.+)@x", "$$1", "ann@x", "$1"),
            (r"(.+)@x", "a$9b", "ann@x", "a"), // a group that is not there, and named `9b`
            (r"(.+)@x", "a${9}b", "ann@x", "ab"),
        ] {
            assert_eq!(look(expression, &[replacement], DEFAULT, key), expected, "{replacement}");
        }
        assert_eq!(look("(.+)@x", &["$1@y", "$1@z"], DEFAULT, "a@x"), "a@y|a@z");
    }

    #[test]
    fn the_whole_key_without_case_unless_told() {
        let partial = RegexpOptions { full_match: false, ..DEFAULT };
        let exact = RegexpOptions { case_insensitive: false, ..DEFAULT };
        let literal = RegexpOptions { expand: false, ..DEFAULT };
        assert_eq!(look("ann", &["x"], DEFAULT, "ann"), "x");
        assert_eq!(look("ann", &["x"], DEFAULT, "ANN"), "x");
        assert_eq!(look("ann", &["x"], DEFAULT, "joann"), "");
        assert_eq!(look("^ann$", &["x"], DEFAULT, "ann"), "x");
        assert_eq!(look("ann|bob", &["x"], DEFAULT, "annette"), ""); // both anchors hold for both
        assert_eq!(look("ann|bob", &["x"], DEFAULT, "bob"), "x");
        assert_eq!(look("ann", &["x"], DEFAULT, "ann\n"), "");
        assert_eq!(look("ann", &["x"], partial, "joanna"), "x");
        assert_eq!(look("ann", &["x"], exact, "ANN"), "");
        assert_eq!(look("(ann)", &["$1"], literal, "ann"), "$1");
    }

    #[test]
    fn without_replacement_a_match_is_its_own_value() {
        assert_eq!(look(r".*-bounce\+.*", &[], DEFAULT, "a-bounce+b"), "a-bounce+b");
        assert_eq!(look(r".*-bounce\+.*", &[], DEFAULT, "a"), "");
    }

    #[test]
    fn a_bad_expression_is_an_error_of_one_line() {
        for bad in ["(", "a)(?:b", "[z-a]", "(?<n", "a{9999999}", r"(.)\1"] {
            let error = Regexp::new(bad, Vec::new(), DEFAULT).unwrap_err();
            assert_eq!(error.expression, bad);
            assert!(!error.text.is_empty() && !error.text.contains('\n'), "{}", error.text);
        }
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(5);
        let marks: Vec<char> = "()[]{}?*+|^$\\.:<>P-,19abz@é#\n".chars().collect();
        for _ in 0..2_000 {
            let mut text = || -> String {
                (0..dice.below(12)).map(|_| marks[dice.below(marks.len())]).collect()
            };
            let (expression, replacement, key) = (text(), text(), text());
            if let Ok(table) = Regexp::new(&expression, vec![replacement], DEFAULT) {
                assert!(table.lookup(&key).unwrap().len() <= 1);
            }
        }
    }
}
