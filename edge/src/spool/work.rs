//! What a job does to the records: read, let the ledger decide, write back. Both spools run these functions on a `Draft`.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_mail::admin::request::Filter;
use posthaste_mail::dice::Dice;
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::outcome::Outcome;
use posthaste_mail::queue::amendment::{self, Amended, Amendment, Kept, Order};
use posthaste_mail::queue::archive::Archived;
use posthaste_mail::queue::ledger::{self, Books, Finish, NotLeasable, Report, Settlement, Terms};
use posthaste_mail::queue::record::{
    BatchId, BatchRecord, EnvelopeRecord, Hold, JournalEntry, RecipientRecord, SPOOL,
};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;
use sled::IVec;

use super::draft::Draft;
use super::envelope::Entry;
use super::incoming::Rows;
use super::table::{
    Table, batch_key, batch_of, due_key, envelope_key, journal_key, journal_number_of,
    recipient_key, recipient_of,
};
use super::{SpoolError, Taken};

/// What changed beside the records.
#[derive(Debug, Default)]
pub struct Effects {
    pub envelopes: i64,
    pub batches: i64,
    pub bytes: i64,
    /// Envelopes that left the queue; `None`: the entry did not verify, its body cannot be told.
    pub ended: Vec<(EnvelopeId, Option<Entry>)>,
}

impl Effects {
    /// A message came in.
    pub fn came(&mut self, rows: &Rows) {
        self.envelopes += 1;
        self.batches += signed(rows.batches);
        self.bytes += signed(rows.length);
    }

    pub fn add(&mut self, other: Effects) {
        self.envelopes += other.envelopes;
        self.batches += other.batches;
        self.bytes += other.bytes;
        self.ended.extend(other.ended);
    }
}

pub fn take(
    draft: &mut Draft<'_>,
    id: BatchId,
    terms: &Terms,
    plan: &Plan,
    seed: u64,
) -> Result<Result<Taken, NotLeasable>, SpoolError> {
    let key = batch_key(id);
    let before: BatchRecord = draft.get(Table::Batch, &key)?.ok_or(SpoolError::NotFound)?;
    let (batch, lease) = match ledger::take(id, &before, terms, plan, &mut Dice::new(seed)) {
        Ok(taken) => taken,
        Err(not) => return Ok(Err(not)),
    };
    let entry: Entry =
        draft.get(Table::Envelope, &envelope_key(id.envelope))?.ok_or(SpoolError::NotFound)?;
    // A task may have written a delivery down after its attempt was settled without it: that recipient waits no more, and the next
    // settlement says so. Of a batch never attempted there is no journal.
    let delivered = match before.last_attempt {
        Some(_) => deliveries(&journal_of(draft, id)?),
        None => Vec::new(),
    };
    let (mut recipients, _) = recipients_of(draft, id)?;
    recipients.retain(|(index, r)| r.standing.is_waiting() && !delivered.contains(index));
    replace_batch(draft, id, &before, &batch)?;
    Ok(Ok(Taken { lease, batch, envelope: entry.into_record(), recipients }))
}

pub fn journal(
    draft: &mut Draft<'_>,
    id: BatchId,
    entries: &[(u32, JournalEntry)],
) -> Result<(), SpoolError> {
    let Some(batch) = draft.get::<BatchRecord>(Table::Batch, &batch_key(id))? else {
        return Ok(());
    };
    for (index, entry) in entries {
        // Without a lease the task is late: only a delivery is still of interest, a failure would be taken for the next attempt's.
        if batch.lease.is_none() && !is_delivery(entry) {
            continue;
        }
        let last = draft.with_prefix(Table::Journal, &recipient_key(id, *index))?;
        let last = last.last_key_value().and_then(|(key, _)| journal_number_of(key));
        let number = last.map_or(0, |last| last.saturating_add(1));
        draft.put(Table::Journal, &journal_key(id, *index, number), entry)?;
    }
    Ok(())
}

/// An attempt brought to its end, with what a notification needs.
pub struct Settled {
    pub settlement: Settlement,
    pub effects: Effects,
    /// The envelope and all recipients of the batch as they are now; only when there is something to tell of one.
    pub ending: Option<(EnvelopeRecord, Vec<(u32, RecipientRecord)>)>,
}

/// Why a batch is settled.
#[derive(Debug)]
pub enum Ground {
    /// An attempt came to its end.
    Attempt(Report),
    /// An operator ends it.
    Operator { batch: BatchId, order: Arc<Order<Finish>> },
}

pub fn settle(
    draft: &mut Draft<'_>,
    ground: &Ground,
    plan: &Plan,
    now: Timestamp,
    seed: u64,
) -> Result<Settled, SpoolError> {
    let id = match ground {
        Ground::Attempt(report) => report.lease.batch,
        Ground::Operator { batch, .. } => *batch,
    };
    let before: BatchRecord =
        draft.get(Table::Batch, &batch_key(id))?.ok_or(SpoolError::NotFound)?;
    let (mut recipients, damaged) = recipients_of(draft, id)?;
    let current = match ground {
        Ground::Attempt(report) => before.lease.as_ref() == Some(&report.lease),
        Ground::Operator { order, .. } => {
            // Nobody means it any more: it is not to be found, for this order.
            if !is_meant(draft, id, &before, &recipients, &order.which, now)? {
                return Err(SpoolError::NotFound);
            }
            false
        }
    };
    let journal_rows = journal_of(draft, id)?;
    let mut journal: Vec<(u32, JournalEntry)> = journal_rows.values().cloned().collect();
    // A delivery is a fact and outranks whatever else was written of the recipient.
    journal.sort_by_key(|(_, entry)| !is_delivery(entry));
    let books = Books { batch: before.clone(), recipients: recipients.clone(), journal };
    let mut settlement = match ground {
        Ground::Attempt(report) => ledger::settle(books, report, plan, now, &mut Dice::new(seed)),
        Ground::Operator { order, .. } => ledger::finish(books, order.what, now),
    };
    let is_drop = matches!(ground, Ground::Operator { order, .. } if order.what == Finish::Drop);
    if settlement.batch.is_none() && damaged && !is_drop {
        // A recipient that cannot be read did not come to an end: the batch stays, where an operator sees it.
        let reason = "a recipient record is damaged".to_string();
        let hold = Some(Hold { reason, by: SPOOL.to_string(), since: now });
        settlement.batch = Some(BatchRecord { hold, lease: None, ..before.clone() });
    }
    for (index, record) in &settlement.changed {
        draft.put(Table::Recipient, &recipient_key(id, *index), record)?;
        if let Some(place) = recipients.iter_mut().find(|(i, _)| i == index) {
            place.1 = record.clone();
        }
    }
    // A late report leaves the journal to the attempt that is running.
    if current || settlement.batch.is_none() {
        journal_rows.keys().for_each(|key| draft.remove(Table::Journal, key));
    }
    let mut effects = Effects::default();
    let entry = match settlement.is_news() {
        false => None,
        true => draft.get::<Entry>(Table::Envelope, &envelope_key(id.envelope)).ok().flatten(),
    };
    match &settlement.batch {
        Some(batch) => replace_batch(draft, id, &before, batch)?,
        None => {
            remove_batch(draft, id, &before);
            effects.batches -= 1;
            end_envelope(draft, id.envelope, &mut effects)?;
        }
    }
    let ending = entry.map(|entry| (entry.into_record(), recipients));
    Ok(Settled { settlement, effects, ending })
}

/// Puts the batches of a message that was just stored into the state another spool had them in.
pub fn import(draft: &mut Draft<'_>, archived: &Archived) -> Result<(), SpoolError> {
    for (batch, index) in archived.batches.iter().zip(0u32..) {
        let id = BatchId { envelope: archived.envelope.id, index };
        let new: BatchRecord =
            draft.get(Table::Batch, &batch_key(id))?.ok_or(SpoolError::NotFound)?;
        replace_batch(draft, id, &new, &batch.record)?;
        for (recipient, number) in batch.recipients.iter().zip(0u32..) {
            draft.put(Table::Recipient, &recipient_key(id, number), recipient)?;
        }
        for ((recipient, entry), number) in batch.journal.iter().zip(0u32..) {
            draft.put(Table::Journal, &journal_key(id, *recipient, number), entry)?;
        }
    }
    Ok(())
}

/// Changes a batch as an operator wishes, if the record allows it now and the order still means it.
pub fn amend(
    draft: &mut Draft<'_>,
    id: BatchId,
    order: &Order<Amendment>,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<Amended, SpoolError> {
    let before: BatchRecord =
        draft.get(Table::Batch, &batch_key(id))?.ok_or(SpoolError::NotFound)?;
    let kept = |why| Ok(Amended { end: Err(why), scheduled: scheduled(&before) });
    let (recipients, _) = recipients_of(draft, id)?;
    if !is_meant(draft, id, &before, &recipients, &order.which, now)? {
        return kept(Kept::Unmatched);
    }
    let entry: Entry =
        draft.get(Table::Envelope, &envelope_key(id.envelope))?.ok_or(SpoolError::NotFound)?;
    let after = match order.what.apply(&before, &entry.envelope.route, now) {
        Ok(after) => after,
        Err(why) => return kept(why),
    };
    let scheduled = scheduled(&after);
    match &order.what {
        Amendment::Reroute(reroute) => {
            // What is delivered already stays where it is: only what waits takes another way.
            let delivered = deliveries(&journal_of(draft, id)?);
            let mut waiting = recipients;
            waiting.retain(|(index, _)| !delivered.contains(index));
            let parts = amendment::split(&reroute.splitting, waiting);
            split(draft, id, &before, &after, parts, effects)?;
        }
        Amendment::Retry | Amendment::Hold { .. } | Amendment::Release => {
            replace_batch(draft, id, &before, &after)?;
        }
    }
    Ok(Amended { end: Ok(()), scheduled })
}

/// Is the batch one of those an order is about?
fn is_meant(
    draft: &Draft<'_>,
    id: BatchId,
    batch: &BatchRecord,
    recipients: &Recipients,
    which: &Filter,
    now: Timestamp,
) -> Result<bool, SpoolError> {
    if *which == Filter::default() {
        return Ok(true);
    }
    let entry: Entry =
        draft.get(Table::Envelope, &envelope_key(id.envelope))?.ok_or(SpoolError::NotFound)?;
    let waiting = recipients.iter().filter(|(_, record)| record.standing.is_waiting());
    let addresses: Vec<&str> = waiting.map(|(_, r)| r.recipient.address.as_str()).collect();
    Ok(which.matches(&entry.envelope, batch, &addresses, now))
}

/// Stores a batch as the parts it has become: the first keeps the number, the others get new ones and take their recipients with them.
/// A task that reports a delivery to one of those later than the settling of its attempt is not heard: it may get the message twice.
fn split(
    draft: &mut Draft<'_>,
    id: BatchId,
    before: &BatchRecord,
    after: &BatchRecord,
    parts: Vec<(DestinationKey, Recipients)>,
    effects: &mut Effects,
) -> Result<(), SpoolError> {
    let mut parts = parts.into_iter();
    // Without a recipient that waits and can be read there is nothing to group: the destination stays.
    let first = parts.next().map_or_else(|| before.destination.clone(), |(key, _)| key);
    replace_batch(draft, id, before, &BatchRecord { destination: first, ..after.clone() })?;
    if parts.len() == 0 {
        return Ok(());
    }
    let mut last = highest_number(draft, id.envelope)?;
    for (destination, recipients) in parts {
        last = last.saturating_add(1);
        let new = BatchId { envelope: id.envelope, index: last };
        let record = BatchRecord { destination, ..after.clone() };
        draft.put(Table::Batch, &batch_key(new), &record)?;
        if let Some(at) = scheduled(&record) {
            draft.put(Table::Due, &due_key(at, new), &record.destination)?;
        }
        for ((was, recipient), is) in recipients.into_iter().zip(0u32..) {
            draft.remove(Table::Recipient, &recipient_key(id, was));
            draft.put(Table::Recipient, &recipient_key(new, is), &recipient)?;
        }
        effects.batches += 1;
    }
    Ok(())
}

/// Of the batches of an envelope, ended ones included: their recipients stay until the last has ended.
fn highest_number(draft: &Draft<'_>, id: EnvelopeId) -> Result<u32, SpoolError> {
    let mut highest = 0;
    for table in [Table::Batch, Table::Recipient] {
        let rows = draft.with_prefix(table, &envelope_key(id))?;
        let last = rows.last_key_value().and_then(|(key, _)| batch_of(key));
        highest = highest.max(last.map_or(0, |batch| batch.index));
    }
    Ok(highest)
}

/// The decision about a message that waits for it: into the schedule, or out of the queue as if it had never come. False when there is
/// nothing to decide.
pub fn decide(
    draft: &mut Draft<'_>,
    id: EnvelopeId,
    keep: bool,
    effects: &mut Effects,
) -> Result<bool, SpoolError> {
    let mut found = false;
    for key in draft.with_prefix(Table::Batch, &envelope_key(id))?.into_keys() {
        let Some(batch) = batch_of(&key) else { continue };
        let Some(before) = draft.get::<BatchRecord>(Table::Batch, &key)? else { continue };
        if !before.is_undecided() {
            continue;
        }
        found = true;
        if keep {
            let after = BatchRecord { hold: None, ..before.clone() };
            replace_batch(draft, batch, &before, &after)?;
        } else {
            remove_batch(draft, batch, &before);
            effects.batches -= 1;
        }
    }
    if found && !keep {
        end_envelope(draft, id, effects)?;
    }
    Ok(found)
}

/// Gives a batch the entry in the schedule it should have. True when it lacked one, or it did not verify.
pub fn mend_due(draft: &mut Draft<'_>, id: BatchId) -> Result<bool, SpoolError> {
    let Some(batch) = draft.get::<BatchRecord>(Table::Batch, &batch_key(id))? else {
        return Ok(false);
    };
    let key = due_key(batch.due, id);
    let sound = matches!(draft.get::<DestinationKey>(Table::Due, &key), Ok(Some(_)));
    if batch.hold.is_some() || sound {
        return Ok(false);
    }
    draft.put(Table::Due, &key, &batch.destination)?;
    Ok(true)
}

/// Removes the envelope if none of its batches is left.
fn end_envelope(
    draft: &mut Draft<'_>,
    id: EnvelopeId,
    effects: &mut Effects,
) -> Result<(), SpoolError> {
    let prefix = envelope_key(id);
    if !draft.with_prefix(Table::Batch, &prefix)?.is_empty() {
        return Ok(());
    }
    let entry = match draft.get::<Entry>(Table::Envelope, &prefix) {
        Ok(entry) => entry,
        Err(SpoolError::Damaged(_)) => None,
        Err(error) => return Err(error),
    };
    for table in [Table::Recipient, Table::Journal] {
        for key in draft.with_prefix(table, &prefix)?.into_keys() {
            draft.set(table, key, None);
        }
    }
    draft.remove(Table::Envelope, &prefix);
    effects.envelopes -= 1;
    effects.bytes -= entry.as_ref().map_or(0, |e| signed(e.body.length()));
    effects.ended.push((id, entry));
    Ok(())
}

/// Stores a batch and moves its entries in the schedule and among the leases.
fn replace_batch(
    draft: &mut Draft<'_>,
    id: BatchId,
    before: &BatchRecord,
    after: &BatchRecord,
) -> Result<(), SpoolError> {
    if before == after {
        return Ok(());
    }
    let key = batch_key(id);
    draft.put(Table::Batch, &key, after)?;
    let (was, is) = (scheduled(before), scheduled(after));
    // The entry also says for which destination it is.
    if was != is || before.destination != after.destination {
        if let Some(at) = was {
            draft.remove(Table::Due, &due_key(at, id));
        }
        if let Some(at) = is {
            draft.put(Table::Due, &due_key(at, id), &after.destination)?;
        }
    }
    match (in_hand(before), in_hand(after)) {
        (false, true) => draft.set(Table::Lease, IVec::from(&key), Some(IVec::from(&[]))),
        (true, false) => draft.remove(Table::Lease, &key),
        (true, true) | (false, false) => {}
    }
    Ok(())
}

fn remove_batch(draft: &mut Draft<'_>, id: BatchId, before: &BatchRecord) {
    let key = batch_key(id);
    draft.remove(Table::Batch, &key);
    if let Some(at) = scheduled(before) {
        draft.remove(Table::Due, &due_key(at, id));
    }
    if in_hand(before) {
        draft.remove(Table::Lease, &key);
    }
}

/// Whether the table of leases names a batch: somebody attempts it, or has not decided about it yet.
fn in_hand(batch: &BatchRecord) -> bool {
    batch.lease.is_some() || batch.is_undecided()
}

/// When the schedule shows a batch: a held one not at all.
fn scheduled(batch: &BatchRecord) -> Option<Timestamp> {
    batch.hold.is_none().then_some(batch.due)
}

type Recipients = Vec<(u32, RecipientRecord)>;

/// All readable recipients of a batch, and whether there are others.
fn recipients_of(draft: &Draft<'_>, id: BatchId) -> Result<(Recipients, bool), SpoolError> {
    let (mut found, mut damaged) = (Vec::new(), false);
    for (key, value) in draft.with_prefix(Table::Recipient, &batch_key(id))? {
        let record = draft.opened::<RecipientRecord>(Table::Recipient, &key, &value);
        match recipient_of(&key).zip(record) {
            Some(recipient) => found.push(recipient),
            None => damaged = true,
        }
    }
    Ok((found, damaged))
}

/// The journal of a batch in the order it was written, by key; entries that do not verify are left out.
fn journal_of(
    draft: &Draft<'_>,
    id: BatchId,
) -> Result<BTreeMap<IVec, (u32, JournalEntry)>, SpoolError> {
    let mut found = BTreeMap::new();
    for (key, value) in draft.with_prefix(Table::Journal, &batch_key(id))? {
        let entry = draft.opened::<JournalEntry>(Table::Journal, &key, &value);
        if let Some(entry) = recipient_of(&key).zip(entry) {
            found.insert(key, entry);
        }
    }
    Ok(found)
}

fn deliveries(journal: &BTreeMap<IVec, (u32, JournalEntry)>) -> Vec<u32> {
    journal.values().filter(|(_, entry)| is_delivery(entry)).map(|(index, _)| *index).collect()
}

fn is_delivery(entry: &JournalEntry) -> bool {
    matches!(entry, JournalEntry::Settled(Outcome::Delivered(_)))
}

/// Sizes of content are far below the limit.
pub fn signed(octets: u64) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX)
}
