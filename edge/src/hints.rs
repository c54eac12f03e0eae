//! What is worth knowing after a restart and may be lost at any time: which sites are dead, how many sessions they take.
//!
//! A small sled of its own beside the spools, written now and then and never synced. One that cannot be read is begun anew; one that
//! cannot be opened leaves the daemon without a memory, which costs a few dials.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sled::Db;

/// Entries read of one section; more were never written.
const MOST: usize = 100_000;

/// A handle; clones are the same memory.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    db: Option<Db>,
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A value, or nothing any more.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

impl Hints {
    /// Opens or makes it. What went wrong comes with what is there all the same.
    pub fn open(path: &Path) -> (Hints, Option<String>) {
        match open_once(path) {
            Ok(db) => (Hints { db: Some(db) }, None),
            Err(Fault::Kept(why)) => (Hints::default(), Some(why)),
            Err(Fault::Unreadable(why)) => {
                let anew =
                    std::fs::remove_dir_all(path).map_err(|e| e.to_string()).and_then(|()| {
                        open_once(path).map_err(|(Fault::Kept(why) | Fault::Unreadable(why))| why)
                    });
                match anew {
                    Ok(db) => (Hints { db: Some(db) }, Some(format!("begun anew: {why}"))),
                    Err(worse) => (Hints::default(), Some(worse)),
                }
            }
        }
    }

    /// All of one section that can be read, and what ended the reading if something did. Blocks on the disk.
    pub fn load(&self, section: &str) -> (Vec<Entry>, Option<String>) {
        let Some(db) = &self.db else { return (Vec::new(), None) };
        let mut entries = Vec::new();
        let read = || -> sled::Result<()> {
            let tree = db.open_tree(section)?;
            // A broken tree may say so again and again: the first time is the last.
            for entry in tree.iter().take(MOST) {
                let (key, value) = entry?;
                entries.push((key.to_vec(), value.to_vec()));
            }
            Ok(())
        };
        let wrong = guarded(read).err();
        (entries, wrong)
    }

    /// Writes changes of one section. Blocks on the disk.
    pub fn store(&self, section: &str, changes: Vec<Change>) -> Result<(), String> {
        let Some(db) = &self.db else { return Ok(()) };
        let write = || -> sled::Result<()> {
            let tree = db.open_tree(section)?;
            for (key, value) in changes {
                match value {
                    Some(value) => tree.insert(key, value)?,
                    None => tree.remove(key)?,
                };
            }
            db.flush().map(drop)
        };
        guarded(write)
    }
}

/// A damaged page can make sled panic.
fn guarded(work: impl FnOnce() -> sled::Result<()>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("the database panicked".to_string()),
    }
}

enum Fault {
    /// The disk, or somebody else's lock, keeps it from us; what is in it may be good.
    Kept(String),
    Unreadable(String),
}

fn open_once(path: &Path) -> Result<Db, Fault> {
    // Written by `store` alone: no thread of its own flushes it.
    let config = sled::Config::new().path(path).cache_capacity(1 << 20).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error @ sled::Error::Io(_))) => Err(Fault::Kept(error.to_string())),
        Ok(Err(error)) => Err(Fault::Unreadable(error.to_string())),
        Err(_) => Err(Fault::Unreadable("the database panicked".to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(std::path::PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("hints-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Place(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn entry(key: &str, value: Option<&str>) -> Change {
        (key.into(), value.map(Into::into))
    }

    #[test]
    fn sections_are_remembered_apart() {
        let place = Place::new("kept");
        {
            let (hints, wrong) = Hints::open(&place.0);
            assert_eq!(wrong, None);
            let both = vec![entry("a", Some("1")), entry("b", Some("2"))];
            hints.store("sites of x", both).unwrap();
            hints.store("sites of x", vec![entry("b", None)]).unwrap();
            hints.store("sites of y", vec![entry("c", Some("3"))]).unwrap();
        }
        let (hints, wrong) = Hints::open(&place.0);
        assert_eq!(wrong, None);
        assert_eq!(hints.load("sites of x"), (vec![(b"a".to_vec(), b"1".to_vec())], None));
        assert_eq!(hints.load("sites of y").0.len(), 1);
        assert_eq!(hints.load("sites of z"), (vec![], None));
    }

    #[test]
    fn a_memory_that_cannot_be_read_is_begun_anew() {
        let place = Place::new("unreadable");
        // Of another form than ours.
        drop(sled::Config::new().path(&place.0).segment_size(1 << 20).open().unwrap());
        let (hints, wrong) = Hints::open(&place.0);
        assert!(wrong.is_some());
        hints.store("s", vec![entry("a", Some("1"))]).unwrap();
        assert_eq!(hints.load("s").0.len(), 1);
    }

    #[test]
    fn without_a_place_nothing_is_remembered_and_nothing_fails() {
        let (hints, wrong) = Hints::open(Path::new("/proc/none/hints"));
        assert!(wrong.is_some());
        hints.store("s", vec![entry("a", Some("1"))]).unwrap();
        assert_eq!(hints.load("s"), (vec![], None));
    }

    #[test]
    fn damage_is_told_and_ends_the_reading() {
        let place = Place::new("damaged");
        {
            let (hints, _) = Hints::open(&place.0);
            // Too large for a page of the log: such values have files of their own.
            let values = (0..20).map(|i| (vec![i], Some(vec![i; 1 << 20])));
            hints.store("s", values.collect()).unwrap();
        }
        let (hints, wrong) = Hints::open(&place.0);
        assert_eq!(wrong, None);
        let blobs = std::fs::read_dir(place.0.join("blobs")).unwrap();
        let blobs: Vec<_> = blobs.map(|blob| blob.unwrap().path()).collect();
        assert!(!blobs.is_empty());
        for blob in blobs {
            let mut bytes = std::fs::read(&blob).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&blob, bytes).unwrap();
        }
        let (entries, wrong) = hints.load("s");
        assert!(entries.len() < 20, "{}", entries.len());
        assert!(wrong.is_some());
    }
}
