//! Makes the database of a spool anew, by hand and without the daemon.
//!
//! Every record that can be read and verifies is taken over; then all segments are compared with what there is, so that a message whose
//! records are gone is back in the queue as it was accepted. The old database stays as `kept-N`.

use std::collections::HashSet;
use std::ops::Bound;
use std::path::Path;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::lease::Boot;
use sled::IVec;

use super::database::Database;
use super::draft::{Shelf, Step};
use super::place::{Lock, Places};
use super::sealed;
use super::table::{Table, id_within};
use super::{DiskSpool, Findings, Options, Spool, SpoolError};

/// What became of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Records taken over.
    pub taken: u64,
    /// Records that do not verify and were left behind.
    pub left: u64,
    pub findings: Findings,
}

/// Blocks for long.
pub fn rebuild(directory: &Path, options: Options, boot: Boot) -> Result<Rebuilt, SpoolError> {
    // What no checkpoint has is read again first, as far as that is possible.
    drop(DiskSpool::open(directory, options.clone(), boot.clone())?);
    let places = Places::at(directory);
    let (mut taken, mut left) = (0, 0);
    let halved;
    {
        let _lock = Lock::take(directory)?;
        let (old, _) = Database::open(&places)?;
        let mut rows: Vec<(Table, IVec, IVec)> = Vec::new();
        let beside = Places::at(&directory.join("rebuilding"));
        // Of an earlier try that was interrupted.
        let _ = std::fs::remove_dir_all(&beside.root);
        std::fs::create_dir_all(&beside.root).map_err(|e| failed(&beside.root, &e))?;
        let (new, _) = Database::open(&beside)?;
        halved = halves(&old);
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
            let mut after: Option<IVec> = None;
            loop {
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let read = old.scan(table, from, Bound::Unbounded, &mut |key, value| {
                    rows.push((table, key.clone(), value.clone()));
                    if rows.len() < PAGE { Step::On } else { Step::Enough }
                });
                // Behind a page that cannot be read nothing is found: the segments have to say what was there.
                let ended = read.is_err() || rows.len() < PAGE;
                after = rows.last().map(|(_, key, _)| key.clone());
                for (table, key, value) in rows.drain(..) {
                    let halved = id_within(table, &key).is_some_and(|id| halved.contains(&id));
                    if !halved && is_sound(table, &value) {
                        new.put(table, &key, &value).map_err(SpoolError::Io)?;
                        taken += 1;
                    } else {
                        left += 1;
                    }
                }
                if ended {
                    break;
                }
            }
        }
        new.sync().map_err(SpoolError::Io)?;
        drop((new, old));
        let moved = std::fs::rename(places.database(), places.unused_kept())
            .and_then(|()| std::fs::rename(beside.database(), places.database()))
            .and_then(|()| super::place::sync_directory(directory));
        moved.map_err(|e| failed(directory, &e))?;
        let _ = std::fs::remove_dir_all(&beside.root);
    }
    // The new database has no tip: everything is counted and compared.
    let spool = DiskSpool::open(directory, options, boot)?;
    let mut findings = spool.check()?;
    for id in halved {
        if !findings.requeued.contains(&id) && !findings.missing.contains(&id) {
            findings.missing.push(id);
        }
    }
    Ok(Rebuilt { taken, left, findings })
}

const PAGE: usize = 10_000;

/// Messages of which a batch or a recipient cannot be read. The rest of them is no message: it would end without a word to the others. They
/// come back whole from the segments, and some recipients get a second copy.
fn halves(old: &Database) -> HashSet<EnvelopeId> {
    let mut halved = HashSet::new();
    for table in [Table::Batch, Table::Recipient] {
        // What cannot be read at all is told by the copying.
        let _ = old.scan(table, Bound::Unbounded, Bound::Unbounded, &mut |key, value| {
            if !is_sound(table, value) {
                halved.extend(id_within(table, key));
            }
            Step::On
        });
    }
    halved
}

fn is_sound(table: Table, value: &[u8]) -> bool {
    table == Table::Lease || sealed::is_sound(value)
}

fn failed(path: &Path, error: &std::io::Error) -> SpoolError {
    SpoolError::Io(format!("{}: {error}", path.display()))
}
