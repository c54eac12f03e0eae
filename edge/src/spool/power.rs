//! A power cut, for tests: what was not synced is gone, or not, or half.
//!
//! The recorder keeps what the disk is bound to have: the database as of its last sync, and segments that were removed since nobody
//! knows whether the removal reached the disk. `cut` makes a spool of it as a machine might find it after the cut. Writers hold the lock
//! while they write and sync, so that a cut comes before or after; one in the middle of a group is made by tearing the write (`Torn`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_mail::dice::Dice;

use super::place::Places;

#[derive(Clone, Debug, Default)]
pub struct Power(Arc<Mutex<Option<Disk>>>);

/// What is beside the spool while a recorder runs.
#[derive(Debug)]
pub struct Disk {
    /// Where what is durable is kept.
    kept: PathBuf,
}

impl Power {
    /// Records from now on, into a directory of its own.
    pub fn record(&self, kept: &Path, places: &Places) {
        fs::create_dir_all(kept.join("removed")).unwrap();
        let disk = Disk { kept: kept.to_path_buf() };
        disk.database_synced(&places.database());
        *self.lock() = Some(disk);
    }

    pub fn lock(&self) -> MutexGuard<'_, Option<Disk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A spool in `to` as it may be found after a cut at this moment.
    pub fn cut(&self, places: &Places, to: &Path, dice: &mut Dice) {
        let disk = self.lock();
        let disk = disk.as_ref().unwrap();
        fs::create_dir_all(to.join("large")).unwrap();
        // What sled wrote and did not sync may be there all the same.
        let database = if dice.below(2) == 0 { disk.kept.join("db") } else { places.database() };
        copy(&database, &to.join("db"));
        copy(&places.segments(), &to.join("segments"));
        copy(&places.large(), &to.join("large"));
        for entry in fs::read_dir(disk.kept.join("removed")).unwrap() {
            let entry = entry.unwrap();
            let target = to.join("segments").join(entry.file_name());
            if !target.exists() && dice.below(2) == 0 {
                fs::copy(entry.path(), target).unwrap();
            }
        }
        for entry in fs::read_dir(to.join("segments")).unwrap() {
            let path = entry.unwrap().path();
            let length = fs::metadata(&path).unwrap().len();
            let unsynced = path.extension().is_some();
            if unsynced && dice.below(2) == 0 {
                let left = dice.below(usize::try_from(length).unwrap() + 1) as u64;
                fs::File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
            }
        }
    }
}

impl Disk {
    pub fn database_synced(&self, database: &Path) {
        let kept = self.kept.join("db");
        let _ = fs::remove_dir_all(&kept);
        copy(database, &kept);
    }

    /// A segment is about to be removed.
    pub fn removing(&self, path: &Path) {
        fs::copy(path, self.kept.join("removed").join(path.file_name().unwrap())).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
