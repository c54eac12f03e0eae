//! The comparison of bodies and records after a start, while the queue works already.
//!
//! It looks only at what was there when the spool was opened. A record in the unchecked part of a segment whose envelope the database
//! did not know then, and which did not end, is put into the queue again: its client was never answered, or the database forgot it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, mpsc};

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::{Accepted, BatchRecord, BodyPlace, RecipientRecord};
use posthaste_mail::route::destination::DestinationKey;
use serde::de::DeserializeOwned;
use sled::IVec;

use super::disk::DiskSpool;
use super::draft::{Shelf, Step, verified};
use super::ended;
use super::envelope::Entry;
use super::incoming::{Rows, place_of};
use super::job::Job;
use super::large::CHUNK;
use super::recovery::{Extent, Recovery};
use super::segment::{self, Found, Kind, Maker, Mark};
use super::survey::{Survey, Unchecked};
use super::table::{Table, batch_of, due_key, envelope_key, envelope_of};
use super::{Findings, SpoolError};

/// Records read in one scan.
const PAGE: usize = 1000;

pub fn run(spool: &DiskSpool) -> Result<Findings, SpoolError> {
    let mut findings = Findings::default();
    let walk = Walk::through(spool, &mut findings)?;
    let survey = spool.survey.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(survey) = survey {
        let compared = compare(spool, &survey, walk, &mut findings);
        if let Err(error) = compared {
            // To be tried again.
            *spool.survey.lock().unwrap_or_else(PoisonError::into_inner) = Some(survey);
            return Err(error);
        }
    }
    // A segment may have been looked through for two reasons.
    findings.missing.sort_unstable();
    findings.missing.dedup();
    mend_schedule(spool, &mut findings)?;
    verify::<RecipientRecord>(spool, Table::Recipient)?;
    findings.damaged = spool.store.damaged();
    spool.missing.store(findings.missing.len() as u64, Ordering::Relaxed);
    Ok(findings)
}

fn compare(
    spool: &DiskSpool,
    survey: &Survey,
    mut walk: Walk,
    findings: &mut Findings,
) -> Result<(), SpoolError> {
    for part in &survey.unchecked {
        let brought = bring_back(spool, survey, *part, Extent::Whole, findings)?;
        *walk.seen.entry(part.from.segment).or_default() += brought.len() as u64;
        findings.requeued.extend(brought);
    }
    restore(spool, survey, &mut walk, findings)?;
    // What keeps a segment by the numbers, and was not seen, was forgotten by the database without a word.
    let live = answer(&spool.ask_blocking(|call| Job::Count { call }))?;
    for segment in &survey.segments {
        let count = |counts: &HashMap<u64, u64>| counts.get(segment).copied().unwrap_or(0);
        if count(&live) > count(&walk.seen) + walk.damaged.len() as u64 {
            let from = Mark { segment: *segment, offset: 0 };
            let part = Unchecked { from, lost: true };
            let brought = bring_back(spool, survey, part, Extent::Forgotten, findings)?;
            findings.requeued.extend(brought);
        }
    }
    // Where records were lost, a body may be all there is of a message.
    if survey.unchecked.iter().all(|part| !part.lost) {
        remove_orphans(spool, survey, findings)?;
    }
    answer(&spool.ask_blocking(|call| Job::Checked { call }))
}

/// Puts into the queue what stands in a part of a segment and should be there.
fn bring_back(
    spool: &DiskSpool,
    survey: &Survey,
    part: Unchecked,
    extent: Extent,
    findings: &mut Findings,
) -> Result<Vec<EnvelopeId>, SpoolError> {
    let records = Segment::read(spool, part.from.segment)?;
    let done = ended::read(&spool.places.segments(), part.from.segment).map_err(reading)?;
    let wanted = |found: &Found<'_>| {
        let id = found.head.id;
        // What a settlement made comes again with the settlement, unless that is lost too.
        (part.lost || found.head.maker == Maker::Client)
            && !survey.known.contains(&id)
            && !done.contains(&id)
    };
    let brought = records.recover(spool, part.from.offset, wanted, extent)?;
    if part.lost {
        findings.missing.extend(not_brought(spool, survey, &records, &done)?);
    }
    records.give_back_room(spool)?;
    Ok(brought)
}

/// Messages that nothing is left of but that they were there: damaged where the database has lost them too.
fn not_brought(
    spool: &DiskSpool,
    survey: &Survey,
    records: &Segment,
    done: &HashSet<EnvelopeId>,
) -> Result<Vec<EnvelopeId>, SpoolError> {
    let mut gone = Vec::new();
    for head in segment::torn_heads(records.number, &records.content, 0) {
        let known = survey.known.contains(&head.id) || done.contains(&head.id);
        if !known && spool.store.get(Table::Envelope, &envelope_key(head.id))?.is_none() {
            gone.push(head.id);
        }
    }
    Ok(gone)
}

/// Writes damaged envelope records again from the segments.
fn restore(
    spool: &DiskSpool,
    survey: &Survey,
    walk: &mut Walk,
    findings: &mut Findings,
) -> Result<(), SpoolError> {
    if walk.damaged.is_empty() {
        return Ok(());
    }
    for segment in &survey.segments {
        let records = Segment::read(spool, *segment)?;
        let wanted = |found: &Found<'_>| walk.damaged.contains(&found.head.id);
        let restored = records.recover(spool, 0, wanted, Extent::Entry)?;
        *walk.seen.entry(*segment).or_default() += restored.len() as u64;
        walk.damaged.retain(|id| !restored.contains(id));
        findings.restored.extend(restored);
    }
    Ok(())
}

/// Removes files of bodies nobody knows: what was stored before its record was.
fn remove_orphans(
    spool: &DiskSpool,
    survey: &Survey,
    findings: &mut Findings,
) -> Result<(), SpoolError> {
    for name in &survey.large_names {
        let Ok(id) = name.parse::<EnvelopeId>() else { continue };
        let known = spool.store.get(Table::Envelope, &envelope_key(id))?.is_some();
        if !known && std::fs::remove_file(spool.places.large_file(id)).is_ok() {
            findings.orphans += 1;
        }
    }
    Ok(())
}

/// What a look at all envelope records found.
#[derive(Default)]
struct Walk {
    /// Envelopes by the segment they keep.
    seen: HashMap<u64, u64>,
    damaged: HashSet<EnvelopeId>,
}

impl Walk {
    /// Also finds envelopes whose body is not where the record says.
    fn through(spool: &DiskSpool, findings: &mut Findings) -> Result<Walk, SpoolError> {
        let mut walk = Walk::default();
        let mut lengths: HashMap<u64, u64> = HashMap::new();
        in_pages(spool, Table::Envelope, |page| {
            for (key, value) in page {
                let Some(id) = envelope_of(key) else { continue };
                let entry = verified::<Entry>(&*spool.store, Table::Envelope, key, value);
                let Ok(entry) = entry else {
                    walk.damaged.insert(id);
                    continue;
                };
                if let Some(mark) = entry.mark() {
                    *walk.seen.entry(mark.segment).or_default() += 1;
                }
                // It may have come to its end meanwhile.
                if !is_there(spool, id, &entry, &mut lengths)
                    && spool.store.get(Table::Envelope, key)?.is_some()
                {
                    findings.missing.push(id);
                }
            }
            Ok(())
        })?;
        Ok(walk)
    }
}

fn is_there(
    spool: &DiskSpool,
    id: EnvelopeId,
    entry: &Entry,
    lengths: &mut HashMap<u64, u64>,
) -> bool {
    match entry.body {
        BodyPlace::Segment { segment, offset, length } => {
            let end = lengths.entry(segment).or_insert_with(|| {
                let path = segment::path(&spool.places.segments(), segment);
                std::fs::metadata(path).map_or(0, |m| m.len())
            });
            offset.saturating_add(length) <= *end
        }
        BodyPlace::File { length } => {
            std::fs::metadata(spool.places.large_file(id)).is_ok_and(|m| m.len() == length)
        }
    }
}

/// A segment in memory.
struct Segment {
    number: u64,
    content: Vec<u8>,
}

impl Segment {
    fn read(spool: &DiskSpool, number: u64) -> Result<Segment, SpoolError> {
        match std::fs::read(segment::path(&spool.places.segments(), number)) {
            Ok(content) => Ok(Segment { number, content }),
            // Nothing to find in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Segment { number, content: Vec::new() })
            }
            Err(error) => Err(reading(error)),
        }
    }

    /// Cuts off what was reserved and never used. No spool appends to a segment it did not begin itself.
    fn give_back_room(&self, spool: &DiskSpool) -> Result<(), SpoolError> {
        let records = segment::records(self.number, &self.content, 0);
        let ends = records.iter().map(|found| found.offset + found.head.record_length());
        // What is no record and no zero stays for whoever wants to look at it.
        let used = self.content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let end = ends.max().unwrap_or(0).max(used as u64);
        if end >= self.content.len() as u64 {
            return Ok(());
        }
        let path = segment::path(&spool.places.segments(), self.number);
        match std::fs::File::options().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|file| file.set_len(end)).map_err(reading),
        }
    }

    /// Puts the wanted records from `from` on into the store; says which were.
    fn recover(
        &self,
        spool: &DiskSpool,
        from: u64,
        wanted: impl Fn(&Found<'_>) -> bool,
        extent: Extent,
    ) -> Result<Vec<EnvelopeId>, SpoolError> {
        let mut asked = Vec::new();
        for found in segment::records(self.number, &self.content, from) {
            let id = found.head.id;
            let whole = match found.head.kind {
                Kind::Inline => true,
                Kind::Apart => is_whole(spool, &found)?,
                Kind::Changes => false,
            };
            if !whole || !wanted(&found) {
                continue;
            }
            // Whether it was decided is no longer known: a copy too many is better than none.
            let read = serde_json::from_slice::<Accepted>(found.envelope).ok();
            let read = read.map(|accepted| Accepted { undecided: false, ..accepted });
            let rows = read
                .filter(|accepted| accepted.envelope.id == id)
                .and_then(|accepted| Rows::new(&accepted, found.head.body_length).ok());
            let Some(rows) = rows else { continue };
            let mark = Mark { segment: self.number, offset: found.offset };
            let (place, _) = place_of(&found.head, mark);
            let recovery = Box::new(Recovery { rows, place, mark, extent });
            asked.push((id, spool.ask_blocking(|call| Job::Recover { recovery, call })));
        }
        let mut brought = Vec::new();
        for (id, reply) in asked {
            if answer(&reply)? {
                brought.push(id);
            }
        }
        Ok(brought)
    }
}

/// Is the file of a body that lies apart as it was stored?
fn is_whole(spool: &DiskSpool, found: &Found<'_>) -> Result<bool, SpoolError> {
    let file = match std::fs::File::open(spool.places.large_file(found.head.id)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(reading)?,
    };
    let (mut sum, mut length) = (0, 0u64);
    let mut reader = io::BufReader::with_capacity(CHUNK, file);
    loop {
        let chunk = io::BufRead::fill_buf(&mut reader).map_err(reading)?;
        let read = chunk.len();
        if read == 0 {
            return Ok(length == found.head.body_length && sum == found.head.body_sum);
        }
        sum = crc32c::crc32c_append(sum, chunk);
        length += read as u64;
        io::BufRead::consume(&mut reader, read);
    }
}

/// Every batch that is not held must be in the schedule, or nobody ever looks at it again.
fn mend_schedule(spool: &DiskSpool, findings: &mut Findings) -> Result<(), SpoolError> {
    in_pages(spool, Table::Batch, |page| {
        for (key, value) in page {
            let batch = verified::<BatchRecord>(&*spool.store, Table::Batch, key, value);
            let Some((id, batch)) = batch_of(key).zip(batch.ok()) else { continue };
            let due = due_key(batch.due, id);
            let line = spool.store.get(Table::Due, &due)?;
            let sound = line.is_some_and(|value| {
                verified::<DestinationKey>(&*spool.store, Table::Due, &due, &value).is_ok()
            });
            if batch.hold.is_none() && !sound {
                // Decided by the committer: the batch may just have moved.
                let mended = answer(&spool.ask_blocking(|call| Job::Mend { batch: id, call }))?;
                findings.unscheduled += u64::from(mended);
            }
        }
        Ok(())
    })
}

fn verify<T: DeserializeOwned>(spool: &DiskSpool, table: Table) -> Result<(), SpoolError> {
    in_pages(spool, table, |page| {
        for (key, value) in page {
            // Damage is counted where it is found.
            let _ = verified::<T>(&*spool.store, table, key, value);
        }
        Ok(())
    })
}

type Page = [(IVec, IVec)];

/// Shows a table page by page, so that no scan runs for long.
fn in_pages(
    spool: &DiskSpool,
    table: Table,
    mut visit: impl FnMut(&Page) -> Result<(), SpoolError>,
) -> Result<(), SpoolError> {
    let mut after: Option<IVec> = None;
    loop {
        let mut page = Vec::new();
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        spool.store.scan(table, from, Bound::Unbounded, &mut |key, value| {
            page.push((key.clone(), value.clone()));
            if page.len() < PAGE { Step::On } else { Step::Enough }
        })?;
        visit(&page)?;
        match page.pop() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn answer<T>(reply: &mpsc::Receiver<Result<T, SpoolError>>) -> Result<T, SpoolError> {
    reply.recv().unwrap_or_else(|_| Err(SpoolError::Broken("the spool has ended".into())))
}

fn reading(error: io::Error) -> SpoolError {
    SpoolError::Io(format!("checking segments: {error}"))
}
