//! The tables of the store and the form of their keys.
//!
//! Numbers are big-endian, so that keys sort as their parts do: envelopes by arrival, what belongs to an envelope beside it, the
//! schedule by time.

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::time::Timestamp;

/// What is kept where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// id -> envelope and the place of its body.
    Envelope,
    /// id, batch -> batch record.
    Batch,
    /// id, batch, recipient -> recipient record.
    Recipient,
    /// time, id, batch -> destination. An entry for each batch that is not held, at the batch's due time.
    Due,
    /// id, batch -> nothing. An entry for each batch under lease.
    Lease,
    /// id, batch, recipient, number -> journal entry.
    Journal,
    /// Name -> facts about the spool itself.
    Meta,
}

impl Table {
    pub const ALL: [Table; 7] = [
        Table::Envelope,
        Table::Batch,
        Table::Recipient,
        Table::Due,
        Table::Lease,
        Table::Journal,
        Table::Meta,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Table::Envelope => "envelope",
            Table::Batch => "batch",
            Table::Recipient => "recipient",
            Table::Due => "due",
            Table::Lease => "lease",
            Table::Journal => "journal",
            Table::Meta => "meta",
        }
    }
}

/// One of something for each table.
#[derive(Clone, Debug)]
pub struct PerTable<T>(Vec<T>);

impl<T: Default> Default for PerTable<T> {
    fn default() -> PerTable<T> {
        PerTable(Table::ALL.map(|_| T::default()).into())
    }
}

impl<T> PerTable<T> {
    pub fn from_all<E>(make: impl FnMut(Table) -> Result<T, E>) -> Result<PerTable<T>, E> {
        Ok(PerTable(Table::ALL.into_iter().map(make).collect::<Result<_, E>>()?))
    }

    pub fn of(&self, table: Table) -> &T {
        &self.0[table as usize] // a table's number is its place in `ALL`, and there is one for each
    }

    pub fn of_mut(&mut self, table: Table) -> &mut T {
        &mut self.0[table as usize]
    }

    /// In the order of `Table::ALL`.
    pub fn all(&self) -> &[T] {
        &self.0
    }
}

pub fn envelope_key(id: EnvelopeId) -> [u8; 16] {
    id.to_bytes()
}

pub fn batch_key(id: BatchId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&id.envelope.to_bytes());
    key[16..].copy_from_slice(&id.index.to_be_bytes());
    key
}

pub fn recipient_key(id: BatchId, index: u32) -> [u8; 24] {
    let mut key = [0; 24];
    key[..20].copy_from_slice(&batch_key(id));
    key[20..].copy_from_slice(&index.to_be_bytes());
    key
}

pub fn journal_key(id: BatchId, index: u32, number: u32) -> [u8; 28] {
    let mut key = [0; 28];
    key[..24].copy_from_slice(&recipient_key(id, index));
    key[24..].copy_from_slice(&number.to_be_bytes());
    key
}

pub fn due_key(at: Timestamp, id: BatchId) -> [u8; 28] {
    let mut key = [0; 28];
    key[..8].copy_from_slice(&at.as_micros().to_be_bytes());
    key[8..].copy_from_slice(&batch_key(id));
    key
}

/// The envelope a key of any table but `Due` and `Meta` begins with.
pub fn envelope_of(key: &[u8]) -> Option<EnvelopeId> {
    key.first_chunk::<16>().map(|id| EnvelopeId::from_bytes(*id))
}

/// The envelope a key of this table belongs to.
pub fn id_within(table: Table, key: &[u8]) -> Option<EnvelopeId> {
    match table {
        Table::Envelope | Table::Batch | Table::Recipient | Table::Lease | Table::Journal => {
            envelope_of(key)
        }
        Table::Due => envelope_of(key.get(8..)?),
        Table::Meta => None,
    }
}

pub fn batch_of(key: &[u8]) -> Option<BatchId> {
    let index = number_at(key, 16)?;
    Some(BatchId { envelope: envelope_of(key)?, index })
}

/// The recipient's index in a key of `Recipient` or `Journal`.
pub fn recipient_of(key: &[u8]) -> Option<u32> {
    number_at(key, 20)
}

/// The number of a journal entry.
pub fn journal_number_of(key: &[u8]) -> Option<u32> {
    number_at(key, 24)
}

pub fn due_of(key: &[u8]) -> Option<(Timestamp, BatchId)> {
    let (at, batch) = key.split_first_chunk::<8>()?;
    Some((Timestamp::from_micros(u64::from_be_bytes(*at)), batch_of(batch)?))
}

fn number_at(key: &[u8], place: usize) -> Option<u32> {
    key.get(place..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;

    use super::*;

    #[test]
    fn keys_read_back_and_sort() {
        let early = EnvelopeId::new(Timestamp::from_secs(1), &mut Dice::new(1));
        let late = EnvelopeId::new(Timestamp::from_secs(2), &mut Dice::new(1));
        let batch = |envelope, index| BatchId { envelope, index };
        assert_eq!(batch_of(&batch_key(batch(early, 300))), Some(batch(early, 300)));
        let key = journal_key(batch(early, 1), 70_000, 2);
        let parts = (batch_of(&key), recipient_of(&key), journal_number_of(&key));
        assert_eq!(parts, (Some(batch(early, 1)), Some(70_000), Some(2)));
        let at = Timestamp::from_secs(9);
        assert_eq!(due_of(&due_key(at, batch(late, 3))), Some((at, batch(late, 3))));
        assert!(batch_key(batch(early, 256)) > batch_key(batch(early, 255)));
        assert!(batch_key(batch(late, 0)) > batch_key(batch(early, u32::MAX)));
        assert!(due_key(Timestamp::from_secs(300), batch(early, 0)) > due_key(at, batch(late, 9)));
    }

    #[test]
    fn short_keys_are_no_keys() {
        for length in 0..20 {
            assert_eq!(batch_of(&vec![0; length]), None);
        }
        assert_eq!((due_of(&[0; 27]), recipient_of(&[0; 23])), (None, None));
    }

    #[test]
    fn each_table_has_its_own_place() {
        let names = PerTable::from_all(|table| Ok::<_, ()>(table.name())).unwrap();
        for table in Table::ALL {
            assert_eq!(*names.of(table), table.name());
        }
    }
}
