//! A message on its way into the store: everything encoded and summed before the committer sees it.

use std::io;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::{
    Accepted, BatchId, BatchRecord, BodyPlace, Hold, RecipientRecord, UNDECIDED,
};
use sled::IVec;
use tokio::sync::OwnedSemaphorePermit;

use super::SpoolError;
use super::draft::{Draft, Origin, Write, Writes};
use super::envelope::encode_entry;
use super::large::{self, Large};
use super::place::Places;
use super::sealed::Sealed;
use super::segment::{Head, Kind, Maker, Mark, out_of_space};
use super::table::{PerTable, Table, batch_key, due_key, envelope_key, recipient_key};
use crate::body::Body;

/// Bodies above this lie in files of their own.
pub const LARGE: u64 = 1 << 20;

/// The records of a message, ready to be stored.
#[derive(Debug)]
pub struct Rows {
    pub id: EnvelopeId,
    pub batches: u64,
    pub length: u64,
    /// The envelope as JSON; its record also names the place of the body, which is known later.
    envelope: Vec<u8>,
    others: Vec<(Table, IVec, IVec)>,
}

impl Rows {
    pub fn new(accepted: &Accepted, length: u64) -> Result<Rows, SpoolError> {
        let envelope = &accepted.envelope;
        let empty = accepted.batches.iter().any(|(_, recipients)| recipients.is_empty());
        if empty || accepted.batches.is_empty() {
            return Err(SpoolError::Damaged(format!("{} lacks recipients", envelope.id)));
        }
        let mut others = Vec::new();
        let mut row = |table, key: &[u8], value: Sealed| {
            others.push((table, IVec::from(key), IVec::from(value.into_bytes())));
        };
        for ((destination, recipients), index) in accepted.batches.iter().zip(0u32..) {
            let id = BatchId { envelope: envelope.id, index };
            let record = BatchRecord {
                destination: destination.clone(),
                arrived: envelope.arrived,
                // The first attempt is immediate.
                due: envelope.arrived,
                attempts: 0,
                lease: None,
                hold: accepted.undecided.then(|| Hold {
                    reason: "other queues have to take the message too".to_string(),
                    by: UNDECIDED.to_string(),
                    since: envelope.arrived,
                }),
                last_attempt: None,
                last_failure: None,
                rerouted: None,
            };
            row(Table::Batch, &batch_key(id), Sealed::new(&record)?);
            if !accepted.undecided {
                row(Table::Due, &due_key(record.due, id), Sealed::new(destination)?);
            }
            for (recipient, number) in recipients.iter().zip(0u32..) {
                let record = RecipientRecord::new(recipient.clone());
                row(Table::Recipient, &recipient_key(id, number), Sealed::new(&record)?);
            }
        }
        if accepted.undecided {
            // Found again at the next start, and withdrawn, if nobody decides.
            others.extend((0u32..).take(accepted.batches.len()).map(|index| {
                let id = BatchId { envelope: envelope.id, index };
                (Table::Lease, IVec::from(&batch_key(id)[..]), IVec::from(&[]))
            }));
        }
        let rows = Rows {
            id: envelope.id,
            batches: accepted.batches.len() as u64,
            length,
            envelope: to_json(envelope)?,
            others,
        };
        // The place adds less than this; a record that would not fit is refused now, not by the committer.
        Sealed::of_parts(&[&rows.envelope, &[b' '; 512]])?;
        Ok(rows)
    }

    /// Writes the records of a message whose body lies at `place`. `anchor` is the segment's record of a body that lies apart.
    pub fn store(
        &self,
        draft: &mut Draft<'_>,
        place: &BodyPlace,
        anchor: Option<Mark>,
        origin: Origin,
    ) -> Result<(), SpoolError> {
        let key = envelope_key(self.id);
        if draft.raw(Table::Envelope, &key)?.is_some() {
            return Err(SpoolError::Damaged(format!("{} is in the queue already", self.id)));
        }
        self.store_entry(draft, place, anchor, origin)?;
        for (table, key, value) in &self.others {
            draft.set_from(origin, *table, key.clone(), Some(value.clone()));
        }
        Ok(())
    }

    /// What the records are, as a reading of the segments puts them back.
    pub fn write(
        &self,
        writes: &mut PerTable<Writes>,
        place: &BodyPlace,
        anchor: Option<Mark>,
    ) -> Result<(), SpoolError> {
        let entry = IVec::from(encode_entry(&self.envelope, place, anchor)?.into_bytes());
        let key = IVec::from(&envelope_key(self.id)[..]);
        let envelope = [(Table::Envelope, key, entry)];
        for (table, key, value) in envelope.iter().chain(&self.others) {
            let write = Write { value: Some(value.clone()), origin: Origin::Message };
            writes.of_mut(*table).insert(key.clone(), write);
        }
        Ok(())
    }

    /// Only the envelope's own record.
    pub fn store_entry(
        &self,
        draft: &mut Draft<'_>,
        place: &BodyPlace,
        anchor: Option<Mark>,
        origin: Origin,
    ) -> Result<(), SpoolError> {
        let entry = IVec::from(encode_entry(&self.envelope, place, anchor)?.into_bytes());
        let key = IVec::from(&envelope_key(self.id)[..]);
        draft.set_from(origin, Table::Envelope, key, Some(entry));
        Ok(())
    }
}

/// A message with its body, ready to be appended.
#[derive(Debug)]
pub struct Incoming {
    pub rows: Rows,
    pub head: Head,
    /// The `Accepted` as JSON.
    pub envelope: Vec<u8>,
    pub content: Content,
    /// The memory the content may take, given back with the message.
    #[allow(dead_code)] // held, never read
    pub permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub enum Content {
    /// In memory; the octets come from `inline`.
    Inline(Body),
    Apart(Large),
}

impl Incoming {
    /// Blocks when the body is a file or large.
    pub fn prepare(
        places: &Places,
        accepted: &Accepted,
        body: Body,
        maker: Maker,
    ) -> Result<Incoming, SpoolError> {
        let rows = Rows::new(accepted, body.len())?;
        let envelope = to_json(accepted)?;
        let envelope_length = u32::try_from(envelope.len())
            .map_err(|_| SpoolError::Damaged(format!("{}: envelope too large", rows.id)))?;
        let length = body.len();
        let (kind, sum, content) = if length > LARGE {
            let large = Large::store(places, rows.id, &body).map_err(cannot_store)?;
            (Kind::Apart, large.sum, Content::Apart(large))
        } else {
            let body = match body.in_memory() {
                Some(_) => body,
                None => Body::memory(body.read_at(0, LARGE as usize).map_err(cannot_store)?),
            };
            (Kind::Inline, large::checksum(&body).map_err(cannot_store)?, Content::Inline(body))
        };
        let head = Head {
            kind,
            maker,
            id: rows.id,
            envelope_length,
            envelope_sum: crc32c::crc32c(&envelope),
            body_length: length,
            body_sum: sum,
        };
        Ok(Incoming { rows, head, envelope, content, permit: None })
    }

    /// Must the committer's caller wait for the disk?
    pub fn blocks(body: &Body) -> bool {
        body.len() > LARGE || body.in_memory().is_none()
    }

    /// What stands in the segment of the body.
    pub fn inline(&self) -> &[u8] {
        match &self.content {
            Content::Inline(body) => body.in_memory().unwrap_or_default(), // made so by `prepare`
            Content::Apart(_) => &[],
        }
    }

    /// Where the body lies once the record is at `at`, and what the envelope record has to name beside it.
    pub fn place(&self, at: Mark) -> (BodyPlace, Option<Mark>) {
        place_of(&self.head, at)
    }
}

/// Where the body of a record lies, and what the envelope record has to name beside it.
pub fn place_of(head: &Head, at: Mark) -> (BodyPlace, Option<Mark>) {
    let length = head.body_length;
    match head.kind {
        Kind::Inline | Kind::Changes => {
            (BodyPlace::Segment { segment: at.segment, offset: at.offset, length }, None)
        }
        Kind::Apart => (BodyPlace::File { length }, Some(at)),
    }
}

fn cannot_store(error: io::Error) -> SpoolError {
    if out_of_space(&error) {
        SpoolError::Full
    } else {
        // The body could not be read or laid down: nothing of the spool itself was touched.
        SpoolError::Io(format!("storing a body: {error}"))
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, SpoolError> {
    serde_json::to_vec(value)
        .map_err(|e| SpoolError::Damaged(format!("a record cannot be written: {e}")))
}
