//! What is wrong with a configuration.
//!
//! Reading never stops at the first mistake: every room pushes what it finds into one `Problems`, goes on with a default, and whoever
//! started the reading asks `has_errors` at the end. A warning lets the configuration load.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

use crate::nearest::nearest;
use crate::place::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One mistake. Shown as `FILE:LINE: text`, a warning as `FILE:LINE: warning: text`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Problem {
    pub at: Place,
    pub severity: Severity,
    pub text: String,
}

impl Problem {
    pub fn error(at: &Place, text: impl Into<String>) -> Problem {
        Problem { at: at.clone(), severity: Severity::Error, text: text.into() }
    }

    pub fn warning(at: &Place, text: impl Into<String>) -> Problem {
        Problem { at: at.clone(), severity: Severity::Warning, text: text.into() }
    }

    /// `unknown WHAT NAME`, with the nearest of the names that would have been right.
    pub fn unknown<'k>(
        at: &Place,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Problem {
        let hint = nearest(name, known).map(|near| format!(", did you mean {near}?"));
        Problem::error(at, format!("unknown {what} {}{}", shown(name), hint.unwrap_or_default()))
    }

    /// The same problem, said of something inside `context`: `target.queue local: max_tries: ...`.
    #[must_use]
    pub fn within(mut self, context: &str) -> Problem {
        self.text = format!("{context}: {}", self.text);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.at, self.text)
    }
}

impl std::error::Error for Problem {}

/// A word of the file as part of a message: as it is when it is plain, else quoted; control characters escaped, long ones cut.
pub fn shown(word: &str) -> String {
    const LONGEST: usize = 80;
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"';
    let cut: String = word.chars().take(LONGEST).collect();
    let dots = if cut.len() < word.len() { "..." } else { "" };
    match !cut.is_empty() && cut.chars().all(plain) {
        true => format!("{cut}{dots}"),
        false => format!("{cut:?}{dots}"),
    }
}

/// More problems than this are counted, not kept: nobody reads them, and a file of nothing but mistakes must not fill the memory.
const KEPT: usize = 1000;

/// Everything found so far. Shared by reference, so that a block and the blocks inside it can report at the same time.
#[derive(Debug, Default)]
pub struct Problems {
    // Borrowed for the length of one method below and never while foreign code runs, so a borrow cannot meet another.
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    kept: Vec<Problem>,
    left_out: usize,
    errors: usize,
}

impl Problems {
    pub fn new() -> Problems {
        Problems::default()
    }

    pub fn push(&self, problem: Problem) {
        let mut found = self.found.borrow_mut();
        if problem.severity == Severity::Error {
            found.errors += 1;
        }
        match found.kept.len() < KEPT {
            true => found.kept.push(problem),
            false => found.left_out += 1,
        }
    }

    pub fn error(&self, at: &Place, text: impl Into<String>) {
        self.push(Problem::error(at, text));
    }

    pub fn warning(&self, at: &Place, text: impl Into<String>) {
        self.push(Problem::warning(at, text));
    }

    pub fn has_errors(&self) -> bool {
        self.found.borrow().errors > 0
    }

    pub fn is_empty(&self) -> bool {
        self.found.borrow().kept.is_empty()
    }

    /// All problems by file and line, in the order of discovery within a line. What a snippet imported twice reports twice is said once.
    pub fn sorted(&self) -> Vec<Problem> {
        let found = self.found.borrow();
        let mut list = found.kept.clone();
        list.sort_by(|a, b| a.at.cmp(&b.at));
        let mut said = std::collections::HashSet::new();
        list.retain(|problem| said.insert(problem.clone()));
        if found.left_out > 0
            && let Some(last) = list.last()
        {
            let text = format!("{} more problems are not listed", found.left_out);
            let more = Problem { at: last.at.clone(), severity: Severity::Warning, text };
            list.push(more);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_sorted_by_file_and_line_and_stay_in_order_within_a_line() {
        let problems = Problems::new();
        problems.error(&Place::line("b.conf", 1), "third");
        problems.warning(&Place::line("a.conf", 2), "second");
        problems.error(&Place::line("b.conf", 1), "also third");
        problems.error(&Place::line("a.conf", 1), "first");
        let shown: Vec<String> = problems.sorted().iter().map(Problem::to_string).collect();
        assert_eq!(
            shown,
            [
                "a.conf:1: first",
                "a.conf:2: warning: second",
                "b.conf:1: third",
                "b.conf:1: also third"
            ]
        );
    }

    #[test]
    fn the_same_problem_is_said_once() {
        let problems = Problems::new();
        for _ in 0..3 {
            problems.error(&Place::line("a.conf", 1), "x");
        }
        assert_eq!(problems.sorted().len(), 1);
    }

    #[test]
    fn only_errors_make_a_configuration_unusable() {
        let problems = Problems::new();
        assert!(problems.is_empty() && !problems.has_errors());
        problems.warning(&Place::CommandLine, "odd");
        assert!(!problems.is_empty() && !problems.has_errors());
        problems.error(&Place::CommandLine, "wrong");
        assert!(problems.has_errors());
    }

    #[test]
    fn a_flood_of_problems_is_counted() {
        let problems = Problems::new();
        for line in 0..KEPT as u32 + 5 {
            problems.error(&Place::line("a.conf", line), "x");
        }
        let list = problems.sorted();
        assert_eq!(list.len(), KEPT + 1);
        assert_eq!(list.last().unwrap().text, "5 more problems are not listed");
    }

    #[test]
    fn an_unknown_word_suggests_the_nearest_known_one() {
        let say = |name| {
            Problem::unknown(&Place::CommandLine, "directive", name, ["connect_timeout", "limits"])
                .text
        };
        assert_eq!(
            say("conect_timeout"),
            "unknown directive conect_timeout, did you mean connect_timeout?"
        );
        assert_eq!(say("dkim"), "unknown directive dkim");
    }

    #[test]
    fn words_of_the_file_cannot_disturb_a_terminal() {
        assert_eq!(shown("mx.example.org"), "mx.example.org");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(shown("a b"), "\"a b\"");
        assert_eq!(shown("a\u{1b}[2J\n"), "\"a\\u{1b}[2J\\n\"");
        assert_eq!(shown(&"x".repeat(1000)).len(), 83);
    }
}
