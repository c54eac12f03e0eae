//! How many envelopes keep each segment: one that nobody keeps may go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sled::IVec;

use super::SpoolError;
use super::database::Database;
use super::draft::{Origin, Shelf, Step, Write, Writes, verified};
use super::sealed::Sealed;
use super::table::Table;

const PREFIX: &[u8] = b"live/";

#[derive(Clone, Debug, Default)]
pub struct Live {
    counts: BTreeMap<u64, u64>,
    /// What the database does not know yet.
    changed: BTreeSet<u64>,
}

impl Live {
    /// As the last checkpoint left it; `Damaged` when an entry does not verify.
    pub fn read(database: &Database) -> Result<Live, SpoolError> {
        let mut live = Live::default();
        let mut damaged = None;
        database.scan_prefix(Table::Meta, PREFIX, &mut |key, value| {
            let segment = key.get(PREFIX.len()..).and_then(|rest| rest.first_chunk::<8>());
            match (segment, verified::<u64>(database, Table::Meta, key, value)) {
                (Some(segment), Ok(count)) => {
                    live.counts.insert(u64::from_be_bytes(*segment), count);
                }
                (None, _) => {}
                (_, Err(error)) => damaged = Some(error),
            }
            Step::On
        })?;
        damaged.map_or(Ok(live), Err)
    }

    /// Everything is counted again.
    pub fn begin_anew(&mut self) {
        self.changed.extend(std::mem::take(&mut self.counts).into_keys());
    }

    pub fn came(&mut self, segment: u64) {
        *self.counts.entry(segment).or_default() += 1;
        self.changed.insert(segment);
    }

    pub fn ended(&mut self, segment: u64) {
        if let Some(count) = self.counts.get_mut(&segment) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&segment);
            }
        }
        self.changed.insert(segment);
    }

    pub fn keeps(&self, segment: u64) -> bool {
        self.counts.contains_key(&segment)
    }

    pub fn counts(&self) -> HashMap<u64, u64> {
        self.counts.iter().map(|(segment, count)| (*segment, *count)).collect()
    }

    /// What has to be written down since the last call.
    pub fn take_changed(&mut self) -> Result<Writes, SpoolError> {
        let mut writes = Writes::new();
        for segment in std::mem::take(&mut self.changed) {
            let key = [PREFIX, &segment.to_be_bytes()].concat();
            let count = self.counts.get(&segment).map(Sealed::new).transpose()?;
            let value = count.map(|sealed| IVec::from(sealed.into_bytes()));
            writes.insert(IVec::from(key), Write { value, origin: Origin::Decision });
        }
        Ok(writes)
    }
}
