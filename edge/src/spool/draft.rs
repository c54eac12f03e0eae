//! Changes of a group before they are written.
//!
//! A `Draft` reads as if its changes were stored already, so that a job sees what the jobs before it in the same group did. Each job
//! ends with `keep` or `undo`: one that fails leaves no trace.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::IVec;

use super::SpoolError;
use super::sealed::{self, Sealed};
use super::table::{PerTable, Table};

/// What is stored, as bytes.
pub trait Shelf {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<IVec>, SpoolError>;

    /// Entries from `from` to `to` in order of their keys, until `visit` says that it has enough.
    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&IVec, &IVec) -> Step,
    ) -> Result<(), SpoolError>;

    /// Every entry whose key begins with `prefix`, likewise.
    fn scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut dyn FnMut(&IVec, &IVec) -> Step,
    ) -> Result<(), SpoolError> {
        let mut within = |key: &IVec, value: &IVec| {
            if key.starts_with(prefix) { visit(key, value) } else { Step::Enough }
        };
        self.scan(table, Bound::Included(prefix), Bound::Unbounded, &mut within)
    }

    /// Writes down that a record does not verify.
    fn note_damage(&self, table: Table, key: &[u8]);
}

/// Whether a scan goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    On,
    Enough,
}

/// The new contents of a table's keys.
pub type Writes = BTreeMap<IVec, Write>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `None` removes.
    pub value: Option<IVec>,
    pub origin: Origin,
}

/// Where a write follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the message itself, as it came in.
    Message,
    /// From what a job decided.
    Decision,
}

pub struct Draft<'a> {
    base: &'a dyn Shelf,
    writes: PerTable<Writes>,
    /// What the running job replaced in `writes`, newest last.
    replaced: Vec<(Table, IVec, Option<Write>)>,
}

impl<'a> Draft<'a> {
    pub fn new(base: &'a dyn Shelf) -> Draft<'a> {
        Draft { base, writes: PerTable::default(), replaced: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.writes.all().iter().all(BTreeMap::is_empty)
    }

    pub fn into_writes(self) -> PerTable<Writes> {
        self.writes
    }

    /// The job is complete.
    pub fn keep(&mut self) {
        self.replaced.clear();
    }

    /// The job failed: takes back what it changed.
    pub fn undo(&mut self) {
        while let Some((table, key, before)) = self.replaced.pop() {
            let writes = self.writes.of_mut(table);
            match before {
                Some(before) => writes.insert(key, before),
                None => writes.remove(&key),
            };
        }
    }

    pub fn put<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        value: &T,
    ) -> Result<(), SpoolError> {
        self.put_sealed(table, key, Sealed::new(value)?);
        Ok(())
    }

    pub fn put_sealed(&mut self, table: Table, key: &[u8], value: Sealed) {
        self.set(table, IVec::from(key), Some(IVec::from(value.into_bytes())));
    }

    pub fn set(&mut self, table: Table, key: IVec, value: Option<IVec>) {
        self.set_from(Origin::Decision, table, key, value);
    }

    pub fn set_from(&mut self, origin: Origin, table: Table, key: IVec, value: Option<IVec>) {
        let write = Write { value, origin };
        let before = self.writes.of_mut(table).insert(key.clone(), write);
        self.replaced.push((table, key, before));
    }

    pub fn remove(&mut self, table: Table, key: &[u8]) {
        self.set(table, IVec::from(key), None);
    }

    pub fn raw(&self, table: Table, key: &[u8]) -> Result<Option<IVec>, SpoolError> {
        match self.writes.of(table).get(key) {
            Some(write) => Ok(write.value.clone()),
            None => self.base.get(table, key),
        }
    }

    pub fn get<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, SpoolError> {
        let Some(value) = self.raw(table, key)? else { return Ok(None) };
        verified(self.base, table, key, &value).map(Some)
    }

    /// Every entry whose key begins with `prefix`.
    pub fn with_prefix(
        &self,
        table: Table,
        prefix: &[u8],
    ) -> Result<BTreeMap<IVec, IVec>, SpoolError> {
        let mut found = BTreeMap::new();
        self.base.scan_prefix(table, prefix, &mut |key, value| {
            found.insert(key.clone(), value.clone());
            Step::On
        })?;
        let changed =
            self.writes.of(table).range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        for (key, write) in changed.take_while(|(key, _)| key.starts_with(prefix)) {
            match &write.value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(found)
    }

    /// Notes the damage and goes on without the record.
    pub fn opened<T: DeserializeOwned>(&self, table: Table, key: &[u8], value: &[u8]) -> Option<T> {
        verified(self.base, table, key, value).ok()
    }
}

/// Reads a value that was found under `key`.
pub fn verified<T: DeserializeOwned>(
    shelf: &dyn Shelf,
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<T, SpoolError> {
    sealed::open(value).map_err(|why| {
        shelf.note_damage(table, key);
        SpoolError::Damaged(format!("{} record {}: {why}", table.name(), hex(key)))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
