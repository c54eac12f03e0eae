//! Where something was written.
//!
//! Every node of the tree and every problem has a place, so that a message can always say where to look: a line of a file, a variable of
//! the environment, the command line.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A default of the program.
    BuiltIn,
    /// A file as a whole: it cannot be read, or something is missing from it.
    WholeFile(Arc<str>),
    /// A line of a file; the first line is 1. The file is named as it was given or imported.
    Line { file: Arc<str>, line: u32 },
    /// The variable of the environment of this name.
    Environment(Arc<str>),
    /// `--set` on the command line.
    CommandLine,
}

impl Place {
    pub fn line(file: &str, line: u32) -> Place {
        Place::Line { file: Arc::from(file), line }
    }

    /// The file, when the place is in one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Place::WholeFile(file) | Place::Line { file, .. } => Some(file),
            Place::BuiltIn | Place::Environment(_) | Place::CommandLine => None,
        }
    }

    fn rank(&self) -> (u8, &str, u32) {
        match self {
            Place::BuiltIn => (0, "", 0),
            Place::WholeFile(file) => (1, file, 0),
            Place::Line { file, line } => (1, file, *line),
            Place::Environment(name) => (2, name, 0),
            Place::CommandLine => (3, "", 0),
        }
    }
}

/// By file and line; what is not in a file comes after the files.
impl Ord for Place {
    fn cmp(&self, other: &Place) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::BuiltIn => f.write_str("built-in default"),
            Place::WholeFile(file) => f.write_str(file),
            Place::Line { file, line } => write!(f, "{file}:{line}"),
            Place::Environment(name) => write!(f, "environment {name}"),
            Place::CommandLine => f.write_str("--set"),
        }
    }
}

/// For programs: `{"place":"x.conf:3","file":"x.conf","line":3}`, `file` and `line` null where there is none.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            place: String,
            file: Option<&'a str>,
            line: Option<u32>,
        }
        let line = match self {
            Place::Line { line, .. } => Some(*line),
            Place::BuiltIn | Place::WholeFile(_) | Place::Environment(_) | Place::CommandLine => {
                None
            }
        };
        Form { place: self.to_string(), file: self.file(), line }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_say_where_to_look() {
        assert_eq!(Place::line("/etc/x.conf", 3).to_string(), "/etc/x.conf:3");
        assert_eq!(Place::WholeFile("x.conf".into()).to_string(), "x.conf");
        assert_eq!(
            Place::Environment("POSTHASTE_LOG".into()).to_string(),
            "environment POSTHASTE_LOG"
        );
        assert_eq!(Place::CommandLine.to_string(), "--set");
    }

    #[test]
    fn lines_sort_as_numbers_within_their_file() {
        let mut places = [
            Place::CommandLine,
            Place::line("b", 1),
            Place::line("a", 10),
            Place::line("a", 9),
            Place::WholeFile("a".into()),
        ];
        places.sort();
        let shown: Vec<String> = places.iter().map(Place::to_string).collect();
        assert_eq!(shown, ["a", "a:9", "a:10", "b:1", "--set"]);
    }
}
