//! The records on disk: sled, used in the one way that is durable.
//!
//! `flush` writes but does not sync, so we sync the file `db` through our own handle; segments of 8 MiB keep every page in that one
//! file (values have at most 64 KB); `flush_async` can hang and is never called. What is written comes in checkpoints.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sled::{Db, IVec, Tree};

use super::SpoolError;
use super::draft::{Shelf, Step, Writes};
use super::place::{Places, sync_directory};
use super::store::{Layer, Slot};
use super::table::{PerTable, Table};

/// Damaged keys that are told apart; more than these are not worth counting.
const DAMAGE_LIMIT: usize = 10_000;

/// Times a database is tried again that the disk, or a lock, keeps from being opened.
const OPEN_AGAIN: usize = 20;

#[derive(Debug)]
pub struct Database {
    db: Db,
    trees: PerTable<Tree>,
    /// Our own handle on the file sled writes, for the syncs.
    file: File,
    #[cfg(test)]
    places: Places,
    damage: Mutex<HashSet<(Table, Vec<u8>)>>,
}

/// What was done to open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    Sound,
    /// There was none.
    New,
    /// The old one could not be read and lies beside; this one is empty.
    Replaced,
}

impl Database {
    pub fn open(places: &Places) -> Result<(Database, Opened), SpoolError> {
        let path = places.database();
        let new = !path.join("db").exists();
        let mut end = open_once(&path);
        for _ in 0..OPEN_AGAIN {
            // Our own lock is held, so sled's can only be with a process that was just being started when this one closed the file.
            if !matches!(end, Err(Fault::Kept(_))) {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(100));
            end = open_once(&path);
        }
        let (db, opened) = match end {
            Ok(db) => (db, if new { Opened::New } else { Opened::Sound }),
            Err(Fault::Kept(why)) => return Err(SpoolError::Io(why)),
            Err(Fault::Unreadable(_)) => repair(places)?,
        };
        Database::of(places, db, opened)
    }

    /// Puts a database aside that can be opened but not read through, and begins an empty one. The old one must be closed.
    pub fn replace(places: &Places) -> Result<(Database, Opened), SpoolError> {
        let moved = std::fs::rename(places.database(), places.unused_kept());
        moved.map_err(|e| SpoolError::Io(format!("putting the database aside: {e}")))?;
        match open_once(&places.database()) {
            Ok(db) => Database::of(places, db, Opened::Replaced),
            Err(Fault::Kept(why) | Fault::Unreadable(why)) => Err(SpoolError::Io(why)),
        }
    }

    fn of(places: &Places, db: Db, opened: Opened) -> Result<(Database, Opened), SpoolError> {
        let path = places.database();
        let failed = |e: io::Error| SpoolError::Io(format!("{}: {e}", path.display()));
        let file = File::options().read(true).write(true).open(path.join("db")).map_err(failed)?;
        if opened != Opened::Sound {
            file.sync_all().map_err(failed)?;
            sync_directory(&path).map_err(failed)?;
            sync_directory(&places.root).map_err(failed)?;
        }
        let trees = PerTable::from_all(|table| db.open_tree(table.name())).map_err(reading)?;
        let database = Database {
            db,
            trees,
            file,
            #[cfg(test)]
            places: places.clone(),
            damage: Mutex::default(),
        };
        Ok((database, opened))
    }

    /// Writes a layer of changes; not durable before `sync`, and not atomic: whoever is interrupted writes it again.
    pub fn write(&self, layer: &Layer) -> Result<(), String> {
        #[cfg(test)]
        let _power = self.places.power.lock();
        for table in Table::ALL {
            let tree = self.trees.of(table);
            for (key, slot) in layer.of(table) {
                let done = match slot {
                    Slot::Put(value) | Slot::Fresh(value) => tree.insert(key, value),
                    Slot::Gone => tree.remove(key),
                };
                done.map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    pub fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.trees.of(table).insert(key, value).map(drop).map_err(|e| e.to_string())
    }

    /// Writes facts about the spool, all or none; not durable before `sync`.
    pub fn write_meta(&self, facts: &Writes) -> Result<(), String> {
        #[cfg(test)]
        let _power = self.places.power.lock();
        let mut batch = sled::Batch::default();
        for (key, write) in facts {
            match &write.value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.trees.of(Table::Meta).apply_batch(batch).map_err(|e| e.to_string())
    }

    /// The entries of a range, in order of their keys.
    pub fn entries(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Entries {
        // sled panics over a range that ends before it begins.
        Entries(is_a_range(from, to).then(|| self.trees.of(table).range::<&[u8], _>((from, to))))
    }

    pub fn sync(&self) -> Result<(), String> {
        #[cfg(test)]
        let power = self.places.power.lock();
        self.db.flush().map_err(|e| e.to_string())?;
        self.file.sync_data().map_err(|e| e.to_string())?;
        #[cfg(test)]
        power.iter().for_each(|disk| disk.database_synced(&self.places.database()));
        Ok(())
    }

    pub fn damaged(&self) -> u64 {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}

impl Shelf for Database {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<IVec>, SpoolError> {
        guarded(|| self.trees.of(table).get(key).map_err(reading))
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&IVec, &IVec) -> Step,
    ) -> Result<(), SpoolError> {
        let mut entries = self.entries(table, from, to);
        while let Some((key, value)) = entries.next()? {
            if visit(&key, &value) == Step::Enough {
                break;
            }
        }
        Ok(())
    }

    fn note_damage(&self, table: Table, key: &[u8]) {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if damage.len() < DAMAGE_LIMIT {
            damage.insert((table, key.to_vec()));
        }
    }
}

pub struct Entries(Option<sled::Iter>);

impl Entries {
    pub fn next(&mut self) -> Result<Option<(IVec, IVec)>, SpoolError> {
        let Some(entries) = &mut self.0 else { return Ok(None) };
        guarded(|| entries.next().transpose().map_err(reading))
    }
}

fn is_a_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Included(from), Bound::Included(to)) => from <= to,
        (Bound::Included(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to))
        | (Bound::Excluded(from), Bound::Excluded(to)) => from < to,
    }
}

/// sled can panic over a damaged page.
fn guarded<T>(read: impl FnOnce() -> Result<T, SpoolError>) -> Result<T, SpoolError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(SpoolError::Damaged("database: reading panicked".into())))
}

fn reading(error: sled::Error) -> SpoolError {
    match error {
        sled::Error::Corruption { .. } => SpoolError::Damaged(format!("database: {error}")),
        other => SpoolError::Io(format!("database: {other}")),
    }
}

enum Fault {
    /// The disk, not the content: trying again later may help, a repair would not.
    Kept(String),
    Unreadable(String),
}

fn open_once(path: &Path) -> Result<Db, Fault> {
    let config = sled::Config::new()
        .path(path)
        .segment_size(8 << 20)
        // By the size on disk: in memory a page takes several times that. What is recent is in the layers above.
        .cache_capacity(16 << 20)
        .flush_every_ms(Some(500));
    // A damaged file can make sled panic.
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error @ sled::Error::Io(_))) => Err(Fault::Kept(format!("database: {error}"))),
        Ok(Err(error)) => Err(Fault::Unreadable(error.to_string())),
        Err(_) => Err(Fault::Unreadable("panicked".into())),
    }
}

/// A damaged snapshot can be made again from the log; what else is damaged is put aside, and the queue is rebuilt from the segments.
fn repair(places: &Places) -> Result<(Db, Opened), SpoolError> {
    let failed = |e: io::Error| SpoolError::Io(format!("repairing the database: {e}"));
    let (path, kept) = (places.database(), places.unused_kept());
    copy_directory(&path, &kept).map_err(failed)?;
    for name in Places::names(&path).map_err(failed)? {
        if name.starts_with("snap.") {
            std::fs::remove_file(path.join(name)).map_err(failed)?;
        }
    }
    match open_once(&path) {
        Ok(db) => return Ok((db, Opened::Sound)),
        Err(Fault::Kept(why)) => return Err(SpoolError::Io(why)),
        Err(Fault::Unreadable(_)) => {}
    }
    // The copy was made before anything was tried, so this one is not needed.
    std::fs::remove_dir_all(&path).map_err(failed)?;
    match open_once(&path) {
        Ok(db) => Ok((db, Opened::Replaced)),
        Err(Fault::Kept(why) | Fault::Unreadable(why)) => Err(SpoolError::Io(why)),
    }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync_directory(to)
}
