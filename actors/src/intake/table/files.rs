//! The files behind `file` tables.
//!
//! `refresh` reads what changed; somebody calls it from a thread that may block, once before the first lookup and then every
//! `INTERVAL`. A file that is missing is an empty table. Content that was read once outlives a file that cannot be read any more, and for
//! one refresh a file that is gone: editors replace files by way of a moment without them, and an empty table refuses mail.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use posthaste_mail::table::{FileTable, ParsedFile, Table, parse_file_table};

/// How often to look (maddy's manual: every 15 seconds).
pub const INTERVAL: Duration = Duration::from_secs(15);

/// Octets. A table beyond this is a device or a mistake.
const LARGEST: u64 = 64 << 20;

/// Lines of one file that are complained about.
const MOST_WARNINGS: usize = 20;

/// All files. Clones are the same files.
#[derive(Clone, Debug, Default)]
pub struct FileTables(Arc<Mutex<Vec<Watched>>>);

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    table: Arc<FileTable>,
    /// Of the content in the table, when the file still had it at the last look.
    stamp: Option<Stamp>,
    /// Whether the table has content, be it that of a missing file.
    loaded: bool,
    /// The file was not there at the last look.
    gone: bool,
    /// What was complained about last: the same is not said every 15 seconds.
    said: Option<String>,
}

/// What changes when a file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

enum Look {
    Same,
    Changed(Stamp, ParsedFile),
    Gone,
    Failed(String),
}

impl FileTables {
    /// The table of this file; the same one for everybody. Until the next `refresh` a new one answers "try again later".
    pub fn table(&self, path: &Path) -> Arc<dyn Table> {
        let mut files = self.files();
        if let Some(known) = files.iter().find(|file| file.path == path) {
            return Arc::clone(&known.table) as Arc<dyn Table>;
        }
        let table = Arc::new(FileTable::new(path.display().to_string()));
        let (path, same) = (path.to_path_buf(), Arc::clone(&table));
        files.push(Watched { path, table, stamp: None, loaded: false, gone: false, said: None });
        same
    }

    /// Reads the files that changed since the last time, and says what an operator should know. Blocks.
    pub fn refresh(&self) -> Vec<String> {
        self.files().iter_mut().flat_map(Watched::refresh).collect()
    }

    pub fn len(&self) -> usize {
        self.files().len()
    }

    pub fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    // A poisoned lock is used on: at worst a file is read once more.
    fn files(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn refresh(&mut self) -> Vec<String> {
        let name = self.path.display().to_string();
        match look(&self.path, self.stamp.as_ref()) {
            Look::Same => {
                self.gone = false;
                Vec::new()
            }
            Look::Changed(stamp, parsed) => {
                self.table.replace(parsed.entries);
                (self.stamp, self.loaded, self.gone, self.said) = (Some(stamp), true, false, None);
                let more = parsed.warnings.len().saturating_sub(MOST_WARNINGS);
                let shown = parsed.warnings.iter().take(MOST_WARNINGS);
                let lines = shown.map(|warning| format!("table file {name}: {warning}"));
                let rest = (more > 0).then(|| format!("table file {name}: {more} more warnings"));
                lines.chain(rest).collect()
            }
            // It may be back in a moment.
            Look::Gone if self.stamp.is_some() && !self.gone => {
                self.gone = true;
                Vec::new()
            }
            Look::Gone => {
                (self.stamp, self.loaded, self.gone) = (None, true, true);
                self.table.replace(posthaste_mail::table::Entries::new());
                self.say(format!("table file {name} does not exist: the table is empty"))
            }
            Look::Failed(reason) => {
                (self.stamp, self.gone) = (None, false);
                if self.loaded {
                    self.say(format!("table file {name}: {reason}; its last content is used on"))
                } else {
                    self.table.fail(reason.clone());
                    self.say(format!(
                        "table file {name}: {reason}; lookups fail until it can be read"
                    ))
                }
            }
        }
    }

    fn say(&mut self, text: String) -> Vec<String> {
        if self.said.as_ref() == Some(&text) {
            return Vec::new();
        }
        self.said = Some(text.clone());
        vec![text]
    }
}

fn look(path: &Path, known: Option<&Stamp>) -> Look {
    match read(path, known) {
        Ok(look) => look,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Gone,
        Err(error) => Look::Failed(error.to_string()),
    }
}

fn read(path: &Path, known: Option<&Stamp>) -> io::Result<Look> {
    // Asked before opening: to open a named pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(Look::Failed("not a regular file".to_string()));
    }
    let mut file = File::open(path)?;
    // Of the open file and before reading: what changes from here on has another stamp next time.
    let metadata = file.metadata()?;
    let stamp = Stamp { modified: metadata.modified().ok(), length: metadata.len() };
    if known == Some(&stamp) {
        return Ok(Look::Same);
    }
    let mut content = Vec::new();
    let count = file.by_ref().take(LARGEST + 1).read_to_end(&mut content)?;
    if count as u64 > LARGEST {
        return Ok(Look::Failed("larger than 64 MiB".to_string()));
    }
    match String::from_utf8(content) {
        Ok(text) => Ok(Look::Changed(stamp, parse_file_table(&text))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Ok(Look::Failed(format!("not UTF-8 at octet {at}")))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A directory of a test's own, removed in the end.
    pub struct Directory(PathBuf);

    impl Directory {
        pub fn new(name: &str) -> Directory {
            let name = format!("posthaste-tables-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }

        pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn values(table: &Arc<dyn Table>, key: &str) -> String {
        match table.lookup(key) {
            Ok(values) => values.join("|"),
            Err(error) => error.text,
        }
    }

    #[test]
    fn changes_are_seen_at_the_next_look() {
        let directory = Directory::new("changes");
        let (files, path) = (FileTables::default(), directory.write("list", "a: b"));
        let table = files.table(&path);
        assert!(values(&table, "a").ends_with("not loaded yet"));
        assert!(files.refresh().is_empty());
        assert_eq!(values(&table, "a"), "b");
        directory.write("list", "a: longer");
        assert_eq!(values(&table, "a"), "b");
        assert!(files.refresh().is_empty());
        assert_eq!(values(&table, "a"), "longer");
        // The same length, another time: also one that is older.
        let path = directory.write("list", "a: LONGER");
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
        files.refresh();
        assert_eq!(values(&table, "a"), "LONGER");
    }

    #[test]
    fn a_missing_file_is_an_empty_table() {
        let directory = Directory::new("missing");
        let (files, path) = (FileTables::default(), directory.path().join("list"));
        let table = files.table(&path);
        let said = format!("table file {} does not exist: the table is empty", path.display());
        assert_eq!(files.refresh(), std::slice::from_ref(&said));
        assert!(files.refresh().is_empty()); // said once
        assert_eq!(table.lookup("a"), Ok(vec![]));
        directory.write("list", "a: b");
        assert!(files.refresh().is_empty());
        assert_eq!(values(&table, "a"), "b");
        // Gone for a moment.
        fs::remove_file(&path).unwrap();
        assert!(files.refresh().is_empty());
        assert_eq!(values(&table, "a"), "b");
        directory.write("list", "a: c");
        files.refresh();
        assert_eq!(values(&table, "a"), "c");
        // Gone for good.
        fs::remove_file(&path).unwrap();
        assert!(files.refresh().is_empty());
        assert_eq!(files.refresh(), [said]);
        assert_eq!(table.lookup("a"), Ok(vec![]));
    }

    #[test]
    fn a_file_that_cannot_be_read_fails_at_first_and_keeps_its_content_later() {
        let directory = Directory::new("unreadable");
        let files = FileTables::default();
        let table = files.table(directory.path()); // a directory
        assert!(
            files.refresh()[0].ends_with("not a regular file; lookups fail until it can be read")
        );
        assert!(table.lookup("a").is_err());
        let path = directory.write("list", "a: b");
        let table = files.table(&path);
        assert!(files.refresh().is_empty());
        directory.write("list", b"a: \xff");
        let said = files.refresh();
        assert!(said[0].ends_with("not UTF-8 at octet 3; its last content is used on"), "{said:?}");
        assert!(files.refresh().is_empty());
        assert_eq!(values(&table, "a"), "b");
        directory.write("list", "a: c");
        assert!(files.refresh().is_empty());
        assert_eq!(values(&table, "a"), "c");
    }

    #[test]
    fn odd_lines_are_told_up_to_a_number() {
        let directory = Directory::new("odd");
        let files = FileTables::default();
        let table = files.table(&directory.write("list", "word\n".repeat(30)));
        let said = files.refresh();
        assert_eq!(said.len(), MOST_WARNINGS + 1);
        assert!(said[0].contains("list: line 1: no colon"), "{}", said[0]);
        assert!(said[MOST_WARNINGS].ends_with("list: 10 more warnings"));
        assert!(table.lookup("word").is_ok());
        assert!(files.refresh().is_empty());
    }

    #[test]
    fn the_same_file_is_one_table() {
        let files = FileTables::default();
        let (one, two) = (files.table(Path::new("/a")), files.table(Path::new("/a")));
        assert!(Arc::ptr_eq(&one, &two));
        files.table(Path::new("/b"));
        assert_eq!(files.len(), 2);
    }
}
