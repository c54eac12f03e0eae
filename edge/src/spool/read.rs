//! What the spools are asked without changing anything. A record that does not verify is left out and counted.

use std::ops::Bound;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::archive::{Archived, ArchivedBatch};
use posthaste_mail::queue::record::{
    BatchId, BatchRecord, BodyPlace, EnvelopeRecord, JournalEntry, RecipientRecord,
};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;
use serde::de::DeserializeOwned;

use super::draft::{Shelf, Step, verified};
use super::envelope::Entry;
use super::table::{
    Table, batch_key, batch_of, due_key, due_of, envelope_key, envelope_of, recipient_of,
};
use super::{Due, Leased, SpoolError, Stored, StoredBatch};

pub fn due(
    shelf: &dyn Shelf,
    after: Option<(Timestamp, BatchId)>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, SpoolError> {
    let after = after.map(|(at, batch)| due_key(at, batch));
    let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
    // The first key that is too late; none is after the end of time.
    let end = until.as_micros().checked_add(1).map(u64::to_be_bytes);
    let to = end.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
    let mut found = Vec::new();
    let inverted = matches!((&after, &end), (Some(after), Some(end)) if after[..] >= end[..]);
    if limit == 0 || inverted {
        return Ok(found);
    }
    shelf.scan(Table::Due, from, to, &mut |key, value| {
        let destination = verified::<DestinationKey>(shelf, Table::Due, key, value).ok();
        if let Some(((at, batch), destination)) = due_of(key).zip(destination) {
            found.push(Due { at, batch, destination });
        }
        if found.len() < limit { Step::On } else { Step::Enough }
    })?;
    Ok(found)
}

pub fn leases(shelf: &dyn Shelf) -> Result<Vec<Leased>, SpoolError> {
    let mut found = Vec::new();
    for key in in_hand(shelf)? {
        let Some(value) = shelf.get(Table::Batch, &key)? else { continue };
        let batch = verified::<BatchRecord>(shelf, Table::Batch, &key, &value).ok();
        found.extend(batch.and_then(|batch| {
            Some(Leased { lease: batch.lease?, destination: batch.destination })
        }));
    }
    Ok(found)
}

/// Messages about which nobody has decided, each once.
pub fn undecided(shelf: &dyn Shelf) -> Result<Vec<EnvelopeId>, SpoolError> {
    let mut found = Vec::new();
    for key in in_hand(shelf)? {
        let Some(value) = shelf.get(Table::Batch, &key)? else { continue };
        let batch = verified::<BatchRecord>(shelf, Table::Batch, &key, &value).ok();
        if batch.is_some_and(|batch| batch.is_undecided()) {
            found.extend(batch_of(&key).map(|id| id.envelope));
        }
    }
    found.dedup();
    Ok(found)
}

fn in_hand(shelf: &dyn Shelf) -> Result<Vec<sled::IVec>, SpoolError> {
    let mut keys = Vec::new();
    shelf.scan(Table::Lease, Bound::Unbounded, Bound::Unbounded, &mut |key, _| {
        keys.push(key.clone());
        Step::On
    })?;
    Ok(keys)
}

pub fn load(shelf: &dyn Shelf, id: EnvelopeId) -> Result<Option<Stored>, SpoolError> {
    let prefix = envelope_key(id);
    let Some(value) = shelf.get(Table::Envelope, &prefix)? else { return Ok(None) };
    let entry: Entry = verified(shelf, Table::Envelope, &prefix, &value)?;
    let mut stored =
        Stored { envelope: entry.into_record(), batches: Vec::new(), recipients: Vec::new() };
    shelf.scan_prefix(Table::Batch, &prefix, &mut |key, value| {
        let batch = verified::<BatchRecord>(shelf, Table::Batch, key, value).ok();
        stored.batches.extend(batch_of(key).map(|id| id.index).zip(batch));
        Step::On
    })?;
    shelf.scan_prefix(Table::Recipient, &prefix, &mut |key, value| {
        let record = verified::<RecipientRecord>(shelf, Table::Recipient, key, value).ok();
        let place = batch_of(key).zip(recipient_of(key));
        let found = place.zip(record).map(|((batch, index), r)| (batch.index, index, r));
        stored.recipients.extend(found);
        Step::On
    })?;
    // It may have come to its end while it was read.
    Ok(shelf.get(Table::Envelope, &prefix)?.map(|_| stored))
}

pub fn load_batch(shelf: &dyn Shelf, id: BatchId) -> Result<Option<StoredBatch>, SpoolError> {
    let key = batch_key(id);
    let Some(value) = shelf.get(Table::Envelope, &envelope_key(id.envelope))? else {
        return Ok(None);
    };
    let entry: Entry = verified(shelf, Table::Envelope, &envelope_key(id.envelope), &value)?;
    let Some(value) = shelf.get(Table::Batch, &key)? else { return Ok(None) };
    let batch = verified(shelf, Table::Batch, &key, &value)?;
    let mut recipients = Vec::new();
    shelf.scan_prefix(Table::Recipient, &key, &mut |key, value| {
        let record = verified::<RecipientRecord>(shelf, Table::Recipient, key, value).ok();
        recipients.extend(recipient_of(key).zip(record));
        Step::On
    })?;
    // It may have come to its end while it was read.
    let still = shelf.get(Table::Batch, &key)?.is_some();
    Ok(still.then(|| StoredBatch { envelope: entry.into_record(), batch, recipients }))
}

/// What is taken out of the spool is whole or is not taken out: half a message put in elsewhere would be half lost.
pub fn archived(
    shelf: &dyn Shelf,
    id: EnvelopeId,
) -> Result<Option<(Archived, BodyPlace)>, SpoolError> {
    let prefix = envelope_key(id);
    all_verify::<BatchRecord>(shelf, Table::Batch, &prefix)?;
    all_verify::<RecipientRecord>(shelf, Table::Recipient, &prefix)?;
    all_verify::<JournalEntry>(shelf, Table::Journal, &prefix)?;
    let Some(stored) = load(shelf, id)? else { return Ok(None) };
    let mut batches = Vec::new();
    for (index, record) in stored.batches {
        let batch = BatchId { envelope: id, index };
        let (numbers, recipients): (Vec<u32>, Vec<RecipientRecord>) = stored
            .recipients
            .iter()
            .filter(|(of, _, _)| *of == index)
            .map(|(_, number, recipient)| (*number, recipient.clone()))
            .unzip();
        // The archive counts from 0 on, without gaps for those that went to other batches.
        let position = |number: u32| {
            let found = numbers.iter().position(|n| *n == number)?;
            u32::try_from(found).ok()
        };
        let mut journal = Vec::new();
        shelf.scan_prefix(Table::Journal, &batch_key(batch), &mut |key, value| {
            let entry = verified::<JournalEntry>(shelf, Table::Journal, key, value).ok();
            journal.extend(recipient_of(key).and_then(position).zip(entry));
            Step::On
        })?;
        batches.push(ArchivedBatch { record, recipients, journal });
    }
    let EnvelopeRecord { envelope, body } = stored.envelope;
    Ok(Some((Archived { envelope, length: body.length(), batches }, body)))
}

fn all_verify<T: DeserializeOwned>(
    shelf: &dyn Shelf,
    table: Table,
    prefix: &[u8],
) -> Result<(), SpoolError> {
    let mut wrong = None;
    shelf.scan_prefix(table, prefix, &mut |key, value| {
        wrong = verified::<T>(shelf, table, key, value).err();
        if wrong.is_none() { Step::On } else { Step::Enough }
    })?;
    wrong.map_or(Ok(()), Err)
}

pub fn envelopes(
    shelf: &dyn Shelf,
    after: Option<EnvelopeId>,
    limit: usize,
) -> Result<Vec<EnvelopeId>, SpoolError> {
    let after = after.map(envelope_key);
    let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    shelf.scan(Table::Envelope, from, Bound::Unbounded, &mut |key, _| {
        found.extend(envelope_of(key));
        if found.len() < limit { Step::On } else { Step::Enough }
    })?;
    Ok(found)
}
