//! The changes of a group of jobs, as the last record of the group: once it is durable, all of them are, and the jobs are answered.
//!
//! The database learns of them later, in a checkpoint; a start reads again what came after the last one (`replay`). Each change says
//! what a key is from now on, so that making it twice does no harm. The records of a message that came in are not repeated here: its
//! `Accepted` stands in the same segment, and they follow from it. Numbers are little-endian.
//!
//! ```text
//! serial of the group, envelopes, batches, octets of content: 8 octets each
//! octets of the group in front of this record, 8 octets, and their crc32c, 4 octets; then one after the other
//! 1  offset, 8 octets                                         a message came in, its record begins there
//! 2  id, 16 octets, segment, 8 octets                         an envelope ended that this segment held
//! 3  table, 1 octet, length, 1 octet, key, length, 4 octets, value
//! 4  table, 1 octet, length, 1 octet, key                     the key is gone
//! 5  segment, 8 octets                                        a message was brought back from this segment
//! ```

use posthaste_mail::envelope::EnvelopeId;
use sled::IVec;

use super::Counts;
use super::table::Table;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The message whose record begins here, in the same segment.
    Came {
        offset: u64,
    },
    /// An envelope that the segment held ended; the rows that go with it are changes of their own.
    Ended {
        id: EnvelopeId,
        segment: u64,
    },
    /// A message that the segment holds was brought back; its rows are changes of their own.
    Brought {
        segment: u64,
    },
    Put {
        table: Table,
        key: IVec,
        value: IVec,
    },
    Gone {
        table: Table,
        key: IVec,
    },
}

/// What a group did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Each group has the next number; one that is missing was lost.
    pub serial: u64,
    /// As they are after the group.
    pub counts: Counts,
    pub messages: Messages,
    pub changes: Vec<Change>,
}

/// The records of the group in front of its changes: a group is whole when they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    pub length: u64,
    pub sum: u32,
}

impl Messages {
    pub fn of(bytes: &[u8]) -> Messages {
        Messages { length: bytes.len() as u64, sum: crc32c::crc32c(bytes) }
    }

    /// Are they there, in front of the changes at `offset`?
    pub fn are_whole(&self, content: &[u8], offset: u64) -> bool {
        let place = |offset: u64| usize::try_from(offset).ok();
        let range = offset.checked_sub(self.length).and_then(place).zip(place(offset));
        let bytes = range.and_then(|(from, to)| content.get(from..to));
        bytes.is_some_and(|bytes| crc32c::crc32c(bytes) == self.sum)
    }
}

/// Writes down changes one by one.
#[derive(Debug)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    pub fn new(serial: u64, counts: Counts, messages: Messages) -> Encoder {
        let mut encoder = Encoder(Vec::new());
        for number in [serial, counts.envelopes, counts.batches, counts.bytes, messages.length] {
            encoder.number(number);
        }
        encoder.0.extend_from_slice(&messages.sum.to_le_bytes());
        encoder
    }

    pub fn came(&mut self, offset: u64) {
        self.0.push(1);
        self.number(offset);
    }

    pub fn ended(&mut self, id: EnvelopeId, segment: u64) {
        self.0.push(2);
        self.0.extend_from_slice(&id.to_bytes());
        self.number(segment);
    }

    pub fn brought(&mut self, segment: u64) {
        self.0.push(5);
        self.number(segment);
    }

    pub fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) {
        self.0.push(if value.is_some() { 3 } else { 4 });
        // Keys have 28 octets at most, and the names of `Meta` fewer.
        self.0.extend_from_slice(&[table as u8, key.len() as u8]);
        self.0.extend_from_slice(key);
        if let Some(value) = value {
            // Values are `Sealed`: 64 KB at most.
            self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
            self.0.extend_from_slice(value);
        }
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what an encoder wrote; `None` for anything else.
pub fn decode(bytes: &[u8]) -> Option<Changes> {
    let mut rest = Rest(bytes);
    let serial = rest.number()?;
    let counts =
        Counts { envelopes: rest.number()?, batches: rest.number()?, bytes: rest.number()? };
    let messages = Messages { length: rest.number()?, sum: rest.small()? };
    let mut changes = Vec::new();
    while let Some(tag) = rest.octet() {
        changes.push(match tag {
            1 => Change::Came { offset: rest.number()? },
            2 => {
                let id = rest.some(16)?.first_chunk().map(|id| EnvelopeId::from_bytes(*id))?;
                Change::Ended { id, segment: rest.number()? }
            }
            3 => {
                let (table, key) = rest.key()?;
                let length = rest.small()?;
                let value = IVec::from(rest.some(usize::try_from(length).ok()?)?);
                Change::Put { table, key, value }
            }
            4 => {
                let (table, key) = rest.key()?;
                Change::Gone { table, key }
            }
            5 => Change::Brought { segment: rest.number()? },
            _ => return None,
        });
    }
    Some(Changes { serial, counts, messages, changes })
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn some(&mut self, length: usize) -> Option<&'a [u8]> {
        let (some, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(some)
    }

    fn octet(&mut self) -> Option<u8> {
        self.some(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        self.some(8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn small(&mut self) -> Option<u32> {
        self.some(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn key(&mut self) -> Option<(Table, IVec)> {
        let table = *Table::ALL.get(usize::from(self.octet()?))?;
        let length = usize::from(self.octet()?);
        Some((table, IVec::from(self.some(length)?)))
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;
    use posthaste_mail::time::Timestamp;

    use super::*;

    fn some() -> (Vec<u8>, Changes) {
        let id = EnvelopeId::new(Timestamp::from_secs(3), &mut Dice::new(1));
        let counts = Counts { envelopes: 1, batches: 2, bytes: 1 << 40 };
        let messages = Messages::of(b"messages");
        let mut encoder = Encoder::new(7, counts, messages);
        encoder.came(4096);
        encoder.ended(id, 12);
        encoder.brought(13);
        encoder.set(Table::Due, b"key", Some(b"value"));
        encoder.set(Table::Meta, b"", Some(b""));
        encoder.set(Table::Lease, b"another", None);
        let changes = vec![
            Change::Came { offset: 4096 },
            Change::Ended { id, segment: 12 },
            Change::Brought { segment: 13 },
            Change::Put { table: Table::Due, key: b"key".into(), value: b"value".into() },
            Change::Put { table: Table::Meta, key: b"".into(), value: b"".into() },
            Change::Gone { table: Table::Lease, key: b"another".into() },
        ];
        (encoder.into_bytes(), Changes { serial: 7, counts, messages, changes })
    }

    #[test]
    fn reads_back_what_was_written() {
        let (bytes, changes) = some();
        assert_eq!(decode(&bytes), Some(changes));
    }

    #[test]
    fn messages_have_to_be_whole() {
        let messages = Messages::of(b"messages");
        assert!(messages.are_whole(b"xxmessages", 10));
        assert!(!messages.are_whole(b"xxmessages", 9));
        assert!(!messages.are_whole(b"xxmossages", 10));
        assert!(!messages.are_whole(b"messages", 3));
        assert!(!messages.are_whole(b"messages", u64::MAX));
        assert!(Messages::of(b"").are_whole(b"", 0));
    }

    #[test]
    fn parsers_take_any_bytes() {
        let (bytes, _) = some();
        for length in 0..44 {
            assert_eq!(decode(&bytes[..length]), None);
        }
        let mut dice = Dice::new(9);
        for _ in 0..20_000 {
            let mut bytes = bytes.clone();
            bytes.truncate(dice.below(bytes.len() + 1));
            for _ in 0..dice.below(4) {
                let place = dice.below(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = dice.next_u64() as u8;
                }
            }
            let _ = decode(&bytes);
        }
    }
}
