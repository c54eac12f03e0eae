//! The directories of a spool, and what makes names in them durable.
//!
//! ```text
//! DIR/lock          held while the spool is open; says who holds it
//! DIR/db/           sled
//! DIR/segments/     00000001 ... records with bodies; 00000001.ended: what ended of it
//! DIR/large/        bodies above a limit, by envelope id
//! DIR/kept-N/       the database as it was before a repair
//! ```

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use posthaste_mail::envelope::EnvelopeId;
use rustix::fs::FlockOperation;

use super::SpoolError;

#[derive(Clone, Debug)]
pub struct Places {
    pub root: PathBuf,
    /// What a power cut would leave.
    #[cfg(test)]
    pub power: super::power::Power,
}

impl Places {
    /// Makes the directories that are missing, for the owner alone.
    pub fn create(root: &Path) -> io::Result<Places> {
        let places = Places::at(root);
        for directory in [root.to_path_buf(), places.segments(), places.large()] {
            if !directory.is_dir() {
                DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
                if let Some(parent) = directory.parent() {
                    sync_directory(parent)?;
                }
            }
        }
        Ok(places)
    }

    pub fn at(root: &Path) -> Places {
        Places {
            root: root.to_path_buf(),
            #[cfg(test)]
            power: super::power::Power::default(),
        }
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("db")
    }

    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub fn large(&self) -> PathBuf {
        self.root.join("large")
    }

    pub fn large_file(&self, id: EnvelopeId) -> PathBuf {
        self.large().join(id.to_string())
    }

    /// A directory `kept-N` that does not exist yet.
    pub fn unused_kept(&self) -> PathBuf {
        let mut number = 1u32;
        loop {
            let path = self.root.join(format!("kept-{number}"));
            if !path.exists() || number == u32::MAX {
                return path;
            }
            number += 1;
        }
    }

    /// Names in a directory; those that are not text are nobody's.
    pub fn names(directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a relative path of one part is the empty path.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Only one process works in a spool; the lock goes with the process.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File); // held, never read

impl Lock {
    pub fn take(root: &Path) -> Result<Lock, SpoolError> {
        let failed = |e: io::Error| SpoolError::Io(format!("lock of {}: {e}", root.display()));
        let path = root.join("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { "another process" } else { holder };
                return Err(SpoolError::Locked(format!(
                    "{} is held by process {who}",
                    root.display()
                )));
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        // For people and for the message above; the lock holds without it, also on a full disk.
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Lock(file))
    }
}
