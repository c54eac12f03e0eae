//! The file table: `file PATH`.
//!
//! One entry a line, `key: value, value`. Lines whose first mark is `#`, and empty ones, are skipped; a repeated key appends. What looks
//! like a mistake is told with its line number, because a silent one loses mail. Reading the file, and noticing that it changed, is
//! left to whoever owns the table: here are the parser and the snapshot that lookups see.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Entries, LookupError, Table};
use crate::address::Mailbox;

/// The content of a file, and what is odd about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedFile {
    pub entries: Entries,
    pub warnings: Vec<FileWarning>,
}

/// A line that probably does not say what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileWarning {
    /// Counted from 1.
    pub line: usize,
    pub text: String,
}

impl fmt::Display for FileWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Reads the text of a table file. Never fails: a line that cannot be used is skipped with a warning.
pub fn parse_file_table(text: &str) -> ParsedFile {
    let mut parsed = ParsedFile::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(warning) = add_line(&mut parsed.entries, line, |text| {
            parsed.warnings.push(FileWarning { line: index + 1, text });
        }) {
            parsed.warnings.push(FileWarning { line: index + 1, text: warning });
        }
    }
    parsed
}

/// Adds one line, or says why it was skipped.
fn add_line(entries: &mut Entries, line: &str, mut warn: impl FnMut(String)) -> Result<(), String> {
    let (key, rest) = match split_plain(line, ':') {
        Some((key, rest)) => (key.trim(), Some(rest)),
        None => (line, None),
    };
    if key.is_empty() {
        return Err("nothing before the colon, line skipped".to_string());
    }
    if key.chars().any(char::is_control) {
        return Err("control character in the key, line skipped".to_string());
    }
    let form = comparison_form(key);
    if form != key {
        warn(format!("key {key:?} is never met, lookups ask for {form:?}"));
    }
    let Some(rest) = rest else {
        warn(format!("no colon after {key:?}, taken as a key with an empty value"));
        entries.add(key, &[]);
        return Ok(());
    };
    let values = split_values(rest);
    let given: Vec<&str> = values.iter().copied().filter(|value| !value.is_empty()).collect();
    if given.len() < values.len() && !rest.trim().is_empty() {
        warn(format!("empty value among those of {key:?}, skipped"));
    }
    if given.is_empty() && !rest.trim().is_empty() {
        return Err(format!("only commas after {key:?}, line skipped"));
    }
    entries.add(key, &given);
    Ok(())
}

/// What a lookup would ask for if it meant this key.
fn comparison_form(key: &str) -> String {
    Mailbox::parse(key).map_or_else(|_| key.to_lowercase(), |mailbox| mailbox.normalized())
}

fn split_values(rest: &str) -> Vec<&str> {
    let mut values = Vec::new();
    let mut rest = rest;
    while let Some((value, after)) = split_plain(rest, ',') {
        values.push(value.trim());
        rest = after;
    }
    values.push(rest.trim());
    values
}

/// Splits at the first `mark` outside of quotes and brackets: a quoted local part may hold either mark, and an IPv6 literal has colons.
/// Where quotes or brackets do not close, the first mark of all decides.
fn split_plain(text: &str, mark: char) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    let plain = text.char_indices().find(|(_, c)| {
        let outside = !quoted && !bracketed;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '[' if !quoted => bracketed = true,
            ']' if !quoted => bracketed = false,
            _ => return outside && *c == mark,
        }
        false
    });
    match plain {
        Some((at, _)) => Some((text.get(..at)?, text.get(at + mark.len_utf8()..)?)),
        None if quoted || bracketed => text.split_once(mark),
        None => None,
    }
}

/// What lookups see: the last good content, or the reason why there is none.
#[derive(Clone, Debug)]
enum Snapshot {
    Loaded(Arc<Entries>),
    Failed(String),
}

/// A file table whose content can be exchanged while sessions use it.
#[derive(Debug)]
pub struct FileTable {
    name: String,
    snapshot: RwLock<Snapshot>,
}

impl FileTable {
    /// A table that has not been loaded: lookups fail, to be tried again. `name` (the path) is for error texts.
    pub fn new(name: impl Into<String>) -> FileTable {
        let snapshot = RwLock::new(Snapshot::Failed("not loaded yet".to_string()));
        FileTable { name: name.into(), snapshot }
    }

    /// Puts new content in place. A missing file is an empty table: `replace(Entries::new())`.
    pub fn replace(&self, entries: Entries) {
        self.put(Snapshot::Loaded(Arc::new(entries)));
    }

    /// From now on lookups fail, to be tried again, with this reason. Whether an unreadable file ends the use of its last content is the
    /// owner's decision.
    pub fn fail(&self, reason: impl Into<String>) {
        self.put(Snapshot::Failed(reason.into()));
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    // A poisoned lock is used on: the value behind it is replaced whole, so it is never half-written.
    fn put(&self, snapshot: Snapshot) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn current(&self) -> Snapshot {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Table for FileTable {
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError> {
        match self.current() {
            Snapshot::Loaded(entries) => entries.lookup(key),
            Snapshot::Failed(reason) => {
                Err(LookupError::new(format!("table file {}: {reason}", self.name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn values(text: &str, key: &str) -> Vec<String> {
        parse_file_table(text).entries.lookup(key).unwrap()
    }

    fn warnings(text: &str) -> Vec<String> {
        parse_file_table(text).warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_of_every_form() {
        for (text, key, expected) in [
            ("ann: bob", "ann", &["bob"][..]),
            ("  ann :  bob  ", "ann", &["bob"]),
            ("ann: a@x.org, b@x.org", "ann", &["a@x.org", "b@x.org"]),
            ("ann: a\nann: b", "ann", &["a", "b"]), // appended
            ("ann:", "ann", &[""]),                 // exists, empty
            ("ann", "ann", &[""]),
            ("\u{feff}ann: a\r\nbob: b\r\n", "bob", &["b"]),
            ("\u{feff}ann: a", "ann", &["a"]),
            ("# ann: a\n\n\t# x\nbob: b", "bob", &["b"]),
            ("\"a:b\"@x.org: c", "\"a:b\"@x.org", &["c"]), // the colon is quoted
            ("a@[ipv6:2001:db8::1]: c", "a@[ipv6:2001:db8::1]", &["c"]),
            ("ann: \"a,b\"@x.org, c", "ann", &["\"a,b\"@x.org", "c"]),
            ("ann: \"a\\\",b\"@x.org", "ann", &["\"a\\\",b\"@x.org"]), // an escaped quote closes nothing
            ("ann: a:b", "ann", &["a:b"]),
            ("\"ann: a", "\"ann", &["a"]), // never closed: the first colon decides
            ("ann: a", "Ann", &[]),
            ("# ann: a", "ann", &[]),
        ] {
            assert_eq!(values(text, key), expected, "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        assert!(warnings("ann: a\n\n# c\nbob@x.org: b, c\nset:\n").is_empty());
        assert_eq!(
            warnings("\nann"),
            ["line 2: no colon after \"ann\", taken as a key with an empty value"]
        );
        assert_eq!(warnings(": a"), ["line 1: nothing before the colon, line skipped"]);
        assert_eq!(warnings("ann: a,,b"), ["line 1: empty value among those of \"ann\", skipped"]);
        assert_eq!(warnings("ann: ,").len(), 2);
        assert_eq!(values("ann: ,", "ann"), Vec::<String>::new());
        assert_eq!(
            warnings("Ann@XN--MNCHEN-3YA.example: a"),
            [
                "line 1: key \"Ann@XN--MNCHEN-3YA.example\" is never met, lookups ask for \"ann@münchen.example\""
            ]
        );
        assert_eq!(warnings("a\u{1}b: c"), ["line 1: control character in the key, line skipped"]);
    }

    #[test]
    fn content_is_exchanged_and_failure_is_temporary() {
        let table = FileTable::new("/etc/aliases");
        assert_eq!(
            table.lookup("ann").unwrap_err().text,
            "table file /etc/aliases: not loaded yet"
        );
        table.replace(parse_file_table("ann: bob").entries);
        assert_eq!(table.lookup("ann").unwrap(), ["bob"]);
        table.replace(Entries::new());
        assert_eq!(table.lookup("ann").unwrap(), Vec::<String>::new());
        table.fail("permission denied");
        assert_eq!(
            table.lookup("ann").unwrap_err().text,
            "table file /etc/aliases: permission denied"
        );
        table.replace(parse_file_table("ann: bob").entries);
        assert_eq!(table.lookup("ann").unwrap(), ["bob"]);
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(21);
        let marks = ['"', ':', ',', '[', ']', '\\', '\n', '#', 'a', '@', '.', 'é', '\u{0}', ' '];
        for _ in 0..20_000 {
            let text: String =
                (0..dice.below(30)).map(|_| marks[dice.below(marks.len())]).collect();
            let parsed = parse_file_table(&text);
            assert!(parsed.warnings.iter().all(|w| w.line >= 1 && w.line <= text.len()));
            assert_eq!(parsed.entries.lookup("").unwrap(), Vec::<String>::new());
        }
    }
}
