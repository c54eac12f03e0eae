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

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;
    use posthaste_mail::time::Timestamp;

    use super::*;
    use crate::spool::draft::{Origin, Write};
    use crate::spool::place::Places;
    use crate::spool::suite::Scratch;
    use crate::spool::table::{batch_key, recipient_key};
    use posthaste_mail::queue::record::BatchId;

    fn store(scratch: &Scratch) -> (Arc<Database>, Store) {
        let places = Places::create(scratch.path()).unwrap();
        let database = Arc::new(Database::open(&places).unwrap().0);
        (Arc::clone(&database), Store::new(database))
    }

    type Rows<'a> = &'a [(Table, &'a [u8], Option<&'a [u8]>)];

    fn apply(store: &Store, rows: Rows<'_>, came: &[EnvelopeId]) {
        let mut writes: PerTable<Writes> = PerTable::default();
        for (table, key, value) in rows {
            let write = Write { value: value.map(IVec::from), origin: Origin::Decision };
            writes.of_mut(*table).insert(IVec::from(*key), write);
        }
        store.apply(&writes, &came.iter().copied().collect());
    }

    fn checkpoint(database: &Database, store: &Store) {
        let layer = store.freeze().unwrap();
        database.write(&layer).unwrap();
        database.sync().unwrap();
        store.let_go();
    }

    fn all(store: &Store, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut visit = |key: &IVec, value: &IVec| {
            found.push((key.to_vec(), value.to_vec()));
            Step::On
        };
        store.scan(table, Bound::Unbounded, Bound::Unbounded, &mut visit).unwrap();
        found
    }

    fn pair(key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
        (key.into(), value.into())
    }

    #[test]
    fn the_newest_layer_decides() {
        let scratch = Scratch::new();
        let (database, store) = store(&scratch);
        let put = |key: &'static str, value: &'static str| {
            (Table::Due, key.as_bytes(), Some(value.as_bytes()))
        };
        apply(
            &store,
            &[put("a", "base"), put("b", "base"), put("c", "base"), put("e", "base")],
            &[],
        );
        checkpoint(&database, &store);
        apply(&store, &[put("b", "frozen"), (Table::Due, b"c", None), put("d", "frozen")], &[]);
        store.freeze().unwrap();
        assert!(store.freeze().is_none()); // one at a time
        apply(&store, &[put("d", "active"), (Table::Due, b"e", None), put("f", "active")], &[]);
        let expected =
            [pair("a", "base"), pair("b", "frozen"), pair("d", "active"), pair("f", "active")];
        assert_eq!(all(&store, Table::Due), expected);
        for (key, value) in [("a", Some("base")), ("b", Some("frozen")), ("c", None), ("e", None)] {
            let found = store.get(Table::Due, key.as_bytes()).unwrap();
            assert_eq!(found.as_deref(), value.map(str::as_bytes), "{key}");
        }
        store.let_go();
        // Without the frozen layer (and its writing) the database says what it said.
        assert_eq!(store.get(Table::Due, b"b").unwrap().as_deref(), Some(&b"base"[..]));
    }

    #[test]
    fn what_comes_and_goes_leaves_no_trace() {
        let scratch = Scratch::new();
        let (database, store) = store(&scratch);
        let id = EnvelopeId::new(Timestamp::from_secs(1), &mut Dice::new(1));
        let batch = BatchId { envelope: id, index: 0 };
        let (envelope, batch_row) = (envelope_key(id), batch_key(batch));
        let recipient = recipient_key(batch, 0);
        let rows: Rows<'_> = &[
            (Table::Envelope, &envelope, Some(b"e")),
            (Table::Batch, &batch_row, Some(b"b")),
            (Table::Recipient, &recipient, Some(b"r")),
        ];
        let gone: Vec<_> = rows.iter().map(|(table, key, _)| (*table, *key, None)).collect();
        apply(&store, rows, &[id]);
        let mut seen = 0;
        let mut count = |_: &IVec, _: &IVec| {
            seen += 1;
            Step::On
        };
        store.scan_prefix(Table::Recipient, &envelope, &mut count).unwrap();
        assert_eq!(seen, 1);
        apply(&store, &gone, &[]);
        assert!(store.freeze().unwrap().is_empty());
        store.let_go();
        assert_eq!(store.octets(), 0);
        // One that is in a checkpoint already leaves the word that it is gone.
        apply(&store, rows, &[id]);
        checkpoint(&database, &store);
        apply(&store, &gone, &[]);
        assert_eq!(store.get(Table::Batch, &batch_row).unwrap(), None);
        checkpoint(&database, &store);
        assert!(database.get(Table::Envelope, &envelope).unwrap().is_none());
        assert!(all(&store, Table::Batch).is_empty());
    }

    #[test]
    fn long_ranges_come_whole() {
        let scratch = Scratch::new();
        let (database, store) = store(&scratch);
        let mut dice = Dice::new(3);
        let mut expected = BTreeMap::new();
        for round in 0..6u32 {
            for _ in 0..400 {
                let key = (dice.below(1500) as u32).to_be_bytes();
                let value = (dice.below(3) > 0).then(|| round.to_be_bytes());
                apply(&store, &[(Table::Due, &key, value.as_ref().map(|v| &v[..]))], &[]);
                match value {
                    Some(value) => expected.insert(key.to_vec(), value.to_vec()),
                    None => expected.remove(&key[..]),
                };
            }
            match round {
                0 | 1 | 3 => checkpoint(&database, &store),
                4 => drop(store.freeze()),
                _ => {}
            }
            let found: BTreeMap<_, _> = all(&store, Table::Due).into_iter().collect();
            assert_eq!(found, expected, "round {round}");
        }
        assert!(expected.len() > 2 * CHUNK);
    }

    #[test]
    fn the_first_key_behind_a_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
