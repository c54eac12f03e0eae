//! Which records of a segment came to their end: a file beside each segment, read only when the database is lost.
//!
//! Entries are added after the store has forgotten the envelope and are not synced: a lost one makes a duplicate, and only if the
//! database is lost as well. An entry is the envelope id and a checksum over segment number and id.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use posthaste_mail::envelope::EnvelopeId;

const ENTRY: usize = 20;
/// Files kept open for more entries.
const OPEN_LIMIT: usize = 16;

#[derive(Debug)]
pub struct EndedFiles {
    directory: PathBuf,
    open: BTreeMap<u64, File>,
}

impl EndedFiles {
    pub fn new(directory: PathBuf) -> EndedFiles {
        EndedFiles { directory, open: BTreeMap::new() }
    }

    pub fn add(&mut self, segment: u64, ids: &[EnvelopeId]) -> io::Result<()> {
        if !self.open.contains_key(&segment) {
            if self.open.len() >= OPEN_LIMIT {
                // The oldest has the fewest entries to come.
                self.open.pop_first();
            }
            let file = File::options()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path(&self.directory, segment))?;
            self.open.insert(segment, file);
        }
        let entries: Vec<u8> = ids.iter().flat_map(|id| entry(segment, *id)).collect();
        match self.open.get_mut(&segment) {
            Some(file) => file.write_all(&entries),
            None => Ok(()),
        }
    }

    pub fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.open.remove(&segment);
        match std::fs::remove_file(path(&self.directory, segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What ended of a segment; entries that do not verify are left out.
pub fn read(directory: &Path, segment: u64) -> io::Result<HashSet<EnvelopeId>> {
    let content = match std::fs::read(path(directory, segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        other => other?,
    };
    let mut ids = HashSet::new();
    let mut rest = content.as_slice();
    while let Some(bytes) = rest.first_chunk::<ENTRY>() {
        match bytes.first_chunk::<16>().map(|id| EnvelopeId::from_bytes(*id)) {
            Some(id) if entry(segment, id) == *bytes => {
                ids.insert(id);
                rest = rest.get(ENTRY..).unwrap_or_default();
            }
            // An entry was torn; the next one begins somewhere behind it.
            _ => rest = rest.get(1..).unwrap_or_default(),
        }
    }
    Ok(ids)
}

pub fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:08}.ended"))
}

fn entry(segment: u64, id: EnvelopeId) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..16].copy_from_slice(&id.to_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), &bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;
    use posthaste_mail::time::Timestamp;

    use super::*;
    use crate::spool::suite::Scratch;

    #[test]
    fn torn_entries_hide_no_others() {
        let scratch = Scratch::new();
        let mut dice = Dice::new(1);
        let ids: Vec<EnvelopeId> =
            (0..3).map(|_| EnvelopeId::new(Timestamp::ZERO, &mut dice)).collect();
        let mut files = EndedFiles::new(scratch.path().to_path_buf());
        files.add(7, &ids[..1]).unwrap();
        let torn = &entry(7, ids[1])[..9];
        File::options()
            .append(true)
            .open(path(scratch.path(), 7))
            .unwrap()
            .write_all(torn)
            .unwrap();
        files.add(7, &ids[2..]).unwrap();
        let read_back = |segment| read(scratch.path(), segment).unwrap();
        assert_eq!(read_back(7), HashSet::from([ids[0], ids[2]]));
        assert_eq!(read_back(8), HashSet::new());
        files.remove(7).unwrap();
        files.remove(7).unwrap();
        assert_eq!(read_back(7), HashSet::new());
    }
}
