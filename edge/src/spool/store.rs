//! The records as they are now: what the last groups changed, in memory, over what the database has.
//!
//! Changes are durable in the segments before they come here, and reach the database in checkpoints: the layer that was written to is
//! *frozen*, written down, and let go when it is durable there. A message that comes and goes between two checkpoints never touches
//! the database; its rows are *fresh*, known to be nowhere below, so that their end needs no trace either.

use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use posthaste_mail::envelope::EnvelopeId;
use sled::IVec;

use super::SpoolError;
use super::database::{Database, Entries};
use super::draft::{Shelf, Step, Writes};
use super::table::{PerTable, Table, envelope_key, id_within};

/// What a layer says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    Put(IVec),
    /// Put, and in no layer below.
    Fresh(IVec),
    Gone,
}

impl Slot {
    fn value(&self) -> Option<&IVec> {
        match self {
            Slot::Put(value) | Slot::Fresh(value) => Some(value),
            Slot::Gone => None,
        }
    }
}

type Slots = BTreeMap<IVec, Slot>;

#[derive(Debug, Default)]
pub struct Layer {
    tables: PerTable<Slots>,
    octets: usize,
}

/// Memory that an entry takes beside its key and its value, roughly.
const OVERHEAD: usize = 100;

impl Layer {
    pub fn of(&self, table: Table) -> &BTreeMap<IVec, Slot> {
        self.tables.of(table)
    }

    pub fn is_empty(&self) -> bool {
        self.tables.all().iter().all(BTreeMap::is_empty)
    }

    fn is_fresh(&self, id: EnvelopeId) -> bool {
        let slot = self.tables.of(Table::Envelope).get(&envelope_key(id)[..]);
        matches!(slot, Some(Slot::Fresh(_)))
    }

    fn set(&mut self, table: Table, key: &IVec, value: Option<IVec>, fresh: bool) {
        let slots = self.tables.of_mut(table);
        let slot = match (value, fresh) {
            (Some(value), true) => Some(Slot::Fresh(value)),
            (Some(value), false) => Some(Slot::Put(value)),
            (None, true) => None,
            (None, false) => Some(Slot::Gone),
        };
        let size = |slot: &Slot| key.len() + slot.value().map_or(0, |v| v.len()) + OVERHEAD;
        self.octets += slot.as_ref().map_or(0, size);
        let before = match slot {
            Some(slot) => slots.insert(key.clone(), slot),
            None => slots.remove(key),
        };
        self.octets = self.octets.saturating_sub(before.as_ref().map_or(0, size));
    }
}

#[derive(Debug, Default)]
struct Layers {
    active: Layer,
    frozen: Option<Arc<Layer>>,
}

#[derive(Debug)]
pub struct Store {
    database: Arc<Database>,
    layers: RwLock<Layers>,
}

/// Entries looked at without letting others in between.
const CHUNK: usize = 256;

impl Store {
    pub fn new(database: Arc<Database>) -> Store {
        Store { database, layers: RwLock::default() }
    }

    pub fn damaged(&self) -> u64 {
        self.database.damaged()
    }

    /// Takes over the changes of a group that is durable; `came` are the messages that came in with it.
    pub fn apply(&self, writes: &PerTable<Writes>, came: &HashSet<EnvelopeId>) {
        let mut layers = self.write();
        let active = &mut layers.active;
        // The envelope tells whether what belongs to it is fresh, so it changes last.
        let others = Table::ALL.into_iter().filter(|table| *table != Table::Envelope);
        for table in others.chain([Table::Envelope]) {
            for (key, write) in writes.of(table) {
                let id = id_within(table, key);
                let fresh = id.is_some_and(|id| came.contains(&id) || active.is_fresh(id));
                active.set(table, key, write.value.clone(), fresh);
            }
        }
    }

    /// Memory that the changes take which are in no checkpoint.
    pub fn octets(&self) -> usize {
        self.read().active.octets
    }

    /// Hands out what has to be written to the database; `None` while the last one is being written.
    pub fn freeze(&self) -> Option<Arc<Layer>> {
        let mut layers = self.write();
        if layers.frozen.is_some() {
            return None;
        }
        let layer = Arc::new(std::mem::take(&mut layers.active));
        layers.frozen = Some(Arc::clone(&layer));
        Some(layer)
    }

    /// The frozen layer is durable in the database.
    pub fn let_go(&self) {
        let frozen = self.write().frozen.take();
        drop(frozen); // outside the lock
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next entries of a range, at most `CHUNK`. The layers stand still meanwhile: nothing is missed that moves into the database.
    fn chunk(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        only_active: bool,
    ) -> Result<Vec<(IVec, IVec)>, SpoolError> {
        let layers = self.read();
        let mut active = layers.active.of(table).range::<[u8], _>((from, to)).peekable();
        let frozen = layers.frozen.as_deref().filter(|_| !only_active);
        let mut frozen =
            frozen.map(|layer| layer.of(table).range::<[u8], _>((from, to)).peekable());
        let mut base = match only_active {
            true => None,
            false => Some(Base::new(self.database.entries(table, from, to))?),
        };
        let mut found = Vec::new();
        while found.len() < CHUNK {
            // The least key of all; the newest layer that has it decides.
            let keys = [
                active.peek().map(|(key, _)| *key),
                frozen.as_mut().and_then(|f| f.peek().map(|(key, _)| *key)),
                base.as_ref().and_then(|b| b.next.as_ref().map(|(key, _)| key)),
            ];
            let Some(key) = keys.into_iter().flatten().min().cloned() else { break };
            let of_active = take_if(&mut active, &key);
            let of_frozen = frozen.as_mut().and_then(|f| take_if(f, &key));
            let of_base = match &mut base {
                Some(base) => base.take_if(&key)?,
                None => None,
            };
            let slot = of_active.or(of_frozen);
            let value = slot.map_or(of_base, |slot| slot.value().cloned());
            found.extend(value.map(|value| (key, value)));
        }
        Ok(found)
    }
}

fn take_if<'a>(
    slots: &mut Peekable<impl Iterator<Item = (&'a IVec, &'a Slot)>>,
    key: &IVec,
) -> Option<&'a Slot> {
    slots.next_if(|(k, _)| *k == key).map(|(_, slot)| slot)
}

/// The database's entries, the next one in hand.
struct Base {
    entries: Entries,
    next: Option<(IVec, IVec)>,
}

impl Base {
    fn new(mut entries: Entries) -> Result<Base, SpoolError> {
        let next = entries.next()?;
        Ok(Base { entries, next })
    }

    fn take_if(&mut self, key: &IVec) -> Result<Option<IVec>, SpoolError> {
        if self.next.as_ref().is_none_or(|(k, _)| k != key) {
            return Ok(None);
        }
        let next = self.entries.next()?;
        Ok(std::mem::replace(&mut self.next, next).map(|(_, value)| value))
    }
}

impl Shelf for Store {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<IVec>, SpoolError> {
        {
            let layers = self.read();
            if let Some(slot) = layers.active.of(table).get(key) {
                return Ok(slot.value().cloned());
            }
            if id_within(table, key).is_some_and(|id| layers.active.is_fresh(id)) {
                return Ok(None);
            }
            if let Some(slot) = layers.frozen.as_ref().and_then(|frozen| frozen.of(table).get(key))
            {
                return Ok(slot.value().cloned());
            }
        }
        self.database.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&IVec, &IVec) -> Step,
    ) -> Result<(), SpoolError> {
        let mut from: Bound<IVec> = from.map(IVec::from);
        loop {
            let start = from.as_ref().map(|key| &key[..]);
            let chunk = self.chunk(table, start, to, false)?;
            for (key, value) in &chunk {
                if visit(key, value) == Step::Enough {
                    return Ok(());
                }
            }
            match chunk.last() {
                Some((last, _)) if chunk.len() == CHUNK => from = Bound::Excluded(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut dyn FnMut(&IVec, &IVec) -> Step,
    ) -> Result<(), SpoolError> {
        let fresh = id_within(table, prefix).is_some_and(|id| self.read().active.is_fresh(id));
        let end = successor(prefix);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        if !fresh {
            return self.scan(table, Bound::Included(prefix), to, visit);
        }
        // All there is lies in the active layer, and is not much; should it be frozen meanwhile, the whole is looked through.
        let chunk = self.chunk(table, Bound::Included(prefix), to, true)?;
        let still = id_within(table, prefix).is_some_and(|id| self.read().active.is_fresh(id));
        if !still || chunk.len() == CHUNK {
            return self.scan(table, Bound::Included(prefix), to, visit);
        }
        for (key, value) in &chunk {
            if visit(key, value) == Step::Enough {
                break;
            }
        }
        Ok(())
    }

    fn note_damage(&self, table: Table, key: &[u8]) {
        self.database.note_damage(table, key);
    }
}

/// The first key behind all that begin with `prefix`; `None` when there is none.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1; // not 0xff, by the search
    }
    Some(end)
}
