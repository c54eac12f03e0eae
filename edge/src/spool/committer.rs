//! The one thread that writes.
//!
//! It takes every job that waits (up to a limit), lets each make its changes on a common draft, appends the bodies of the group to the
//! segment and syncs it once, writes the draft as one transaction and syncs that once, and only then answers. A job that fails by its
//! own data leaves no trace in the group. After a failed write nothing is written any more: every answer is `Broken`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::ledger::{NotLeasable, Report, Settlement, Terms};
use posthaste_mail::queue::record::{BatchId, BodyPlace, JournalEntry};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::time::Timestamp;

use super::database::Database;
use super::disk::Shared;
use super::draft::Draft;
use super::ended::EndedFiles;
use super::envelope::Entry;
use super::incoming::{Content, Incoming, Rows};
use super::place::Places;
use super::segment::{self, Maker, Mark, NoAppend, Writer, out_of_space};
use super::survey::{Survey, TIP, Unchecked};
use super::table::{Table, envelope_key};
use super::work::{self, Effects, signed};
use super::{Ending, Notices, SpoolError, Taken};

/// Jobs in a group.
const GROUP: usize = 1024;

pub enum Job {
    Accept {
        incoming: Box<Incoming>,
        call: Call<()>,
    },
    Take {
        batch: BatchId,
        terms: Terms,
        plan: Plan,
        seed: u64,
        call: Box<Call<Result<Taken, NotLeasable>>>,
    },
    Journal {
        batch: BatchId,
        entries: Vec<(u32, JournalEntry)>,
        call: Call<()>,
    },
    Settle {
        settle: Box<Settle>,
        call: Box<Call<Settlement>>,
    },
    Retry {
        batch: BatchId,
        now: Timestamp,
        call: Call<bool>,
    },
    Decide {
        id: EnvelopeId,
        keep: bool,
        call: Call<bool>,
    },
    /// From the check: a message that is only in the segments.
    Recover {
        recovery: Box<Recovery>,
        call: Call<bool>,
    },
    /// From the check: gives a batch its entry in the schedule.
    Mend {
        batch: BatchId,
        call: Call<bool>,
    },
    /// From the check: everything was compared. Segments may go now; unless records are damaged still.
    Checked {
        release: bool,
        call: Call<()>,
    },
}

pub struct Settle {
    pub report: Report,
    pub plan: Plan,
    pub now: Timestamp,
    pub seed: u64,
    pub notices: Stage,
}

/// Notifications, before and after they are made: a settlement may have to wait for the next group with them in hand.
pub enum Stage {
    Wanted(Notices),
    Made(Vec<Incoming>),
}

pub struct Recovery {
    pub rows: Rows,
    pub place: BodyPlace,
    pub mark: Mark,
    /// Only the envelope's record is damaged; the others are there.
    pub entry_only: bool,
}

/// Who asked, and what will be answered once it is durable.
pub struct Call<T> {
    reply: Box<dyn FnOnce(Result<T, SpoolError>) + Send>,
    value: Option<Result<T, SpoolError>>,
}

impl<T> Call<T> {
    pub fn new(reply: impl FnOnce(Result<T, SpoolError>) + Send + 'static) -> Call<T> {
        Call { reply: Box::new(reply), value: None }
    }

    /// Answers without doing anything.
    pub fn refuse(self, error: SpoolError) {
        (self.reply)(Err(error));
    }

    fn finish(self, end: Result<(), SpoolError>) {
        let unanswered = || Err(SpoolError::Broken("the spool did not answer".into()));
        (self.reply)(end.and_then(|()| self.value.unwrap_or_else(unanswered)));
    }
}

impl Job {
    /// Answers. The files of bodies stay when the message does, and also when that cannot be told.
    fn finish(self, end: Result<(), SpoolError>) {
        let keep = matches!(end, Ok(()) | Err(SpoolError::Broken(_)));
        match self {
            Job::Accept { incoming, call } => {
                let own = matches!(call.value, Some(Err(_)));
                settle_file(*incoming, keep && !own);
                call.finish(end);
            }
            Job::Take { call, .. } => call.finish(end),
            Job::Journal { call, .. } => call.finish(end),
            Job::Settle { settle, call } => {
                let own = matches!(call.value, Some(Err(_)));
                if let Stage::Made(made) = settle.notices {
                    made.into_iter().for_each(|incoming| settle_file(incoming, keep && !own));
                }
                call.finish(end);
            }
            Job::Retry { call, .. }
            | Job::Decide { call, .. }
            | Job::Recover { call, .. }
            | Job::Mend { call, .. } => {
                call.finish(end);
            }
            Job::Checked { call, .. } => call.finish(end),
        }
    }
}

fn settle_file(incoming: Incoming, keep: bool) {
    match incoming.content {
        Content::Apart(large) if keep => large.keep(),
        Content::Apart(_) | Content::Inline(_) => {}
    }
}

/// What a job, or a group of them, changes beside the records.
#[derive(Default)]
struct Sum {
    effects: Effects,
    /// The segment of each message that came in.
    stored: Vec<u64>,
    checked: bool,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.effects.add(other.effects);
        self.stored.extend(other.stored);
        self.checked |= other.checked;
    }
}

/// Why a job cannot be part of the group.
enum Halt {
    /// By its own data.
    Own(SpoolError),
    /// It has to wait for the next group.
    GroupFull,
    Broken(String),
}

impl From<SpoolError> for Halt {
    fn from(error: SpoolError) -> Halt {
        Halt::Own(error)
    }
}

enum NotWritten {
    NoSpace,
    Broken(String),
}

pub struct Committer {
    database: Arc<Database>,
    places: Places,
    shared: Arc<Shared>,
    writer: Writer,
    ended: EndedFiles,
    /// Envelopes that keep each segment.
    live: HashMap<u64, u64>,
    /// Segments no envelope keeps.
    idle: BTreeSet<u64>,
    /// Segments the check still needs.
    pinned: BTreeSet<u64>,
    unchecked: Vec<Unchecked>,
}

impl Committer {
    pub fn new(
        database: Arc<Database>,
        places: Places,
        shared: Arc<Shared>,
        survey: &Survey,
        segment_size: u64,
    ) -> Committer {
        let idle = survey.segments.iter().filter(|s| !survey.live.contains_key(s)).copied();
        let pinned = match survey.damaged.is_empty() {
            true => survey.tip.unchecked.iter().map(|u| u.from.segment).collect(),
            // Any of them may hold what the damaged record described.
            false => survey.segments.clone(),
        };
        Committer {
            database,
            shared,
            writer: Writer::new(places.segments(), segment_size, survey.tip.end.segment),
            ended: EndedFiles::new(places.segments()),
            places,
            live: survey.live.clone(),
            idle: idle.collect(),
            pinned,
            unchecked: survey.tip.unchecked.clone(),
        }
    }

    /// Works until the last sender of jobs is gone.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let worked = catch_unwind(AssertUnwindSafe(|| self.work(jobs)));
        if worked.is_err() {
            self.shared.broken.send_replace(Some("the writing thread panicked".into()));
        }
        // Nothing is written after a failure; who still asks is told.
        while let Ok(job) = jobs.recv() {
            job.finish(Err(self.shared.why_broken()));
        }
    }

    fn work(&mut self, jobs: &Receiver<Job>) {
        let mut queue = VecDeque::new();
        loop {
            if queue.is_empty() {
                match jobs.recv() {
                    Ok(job) => queue.push_back(job),
                    Err(_) => break,
                }
            }
            queue.extend(jobs.try_iter().take(GROUP.saturating_sub(queue.len())));
            if let Err(why) = self.group(&mut queue) {
                self.shared.broken.send_replace(Some(why));
                queue.into_iter().for_each(|job| job.finish(Err(self.shared.why_broken())));
                return;
            }
        }
        // Both only save work at the next start.
        let _ = self.writer.close();
        let _ = self.database.sync();
    }

    /// Writes one group from the front of the queue. On `Err` nothing must be written any more.
    fn group(&mut self, queue: &mut VecDeque<Job>) -> Result<(), String> {
        let database = Arc::clone(&self.database);
        let mut draft = Draft::new(&*database);
        let mut jobs: Vec<(Job, Part)> = Vec::with_capacity(queue.len());
        let mut sum = Sum::default();
        let mut broken = None;
        while !self.writer.is_laden()
            && let Some(mut job) = queue.pop_front()
        {
            let pending = self.writer.pending();
            match self.stage(&mut draft, &mut job) {
                Ok(part) => {
                    draft.keep();
                    sum.add(part);
                    let appended = self.writer.pending() > pending;
                    jobs.push((job, if appended { Part::Appended } else { Part::Plain }));
                    continue;
                }
                Err(Halt::Own(error)) => {
                    draft.undo();
                    self.writer.cut(pending);
                    job.fail(error);
                    jobs.push((job, Part::Failed));
                    continue;
                }
                Err(Halt::GroupFull) => {
                    draft.undo();
                    self.writer.cut(pending);
                    if pending == 0 {
                        // The job's own records do not fit together: a segment with room for all.
                        match self.writer.begin(job.appends()) {
                            Ok(()) => {
                                queue.push_front(job);
                                continue;
                            }
                            Err(error) if out_of_space(&error) => {
                                job.fail(SpoolError::Full);
                                jobs.push((job, Part::Failed));
                                continue;
                            }
                            Err(error) => broken = Some(format!("segment: {error}")),
                        }
                    }
                }
                Err(Halt::Broken(why)) => broken = Some(why),
            }
            queue.push_front(job);
            break;
        }
        let written = match broken {
            Some(why) => Err(NotWritten::Broken(why)),
            None => self.write(draft, &sum),
        };
        match written {
            Ok(()) => {
                self.book(&sum);
                jobs.into_iter().for_each(|(job, _)| job.finish(Ok(())));
                self.release(&sum);
                Ok(())
            }
            Err(NotWritten::NoSpace) => {
                // The others did nothing the disk has no room for; they come again without these.
                for (job, part) in jobs.into_iter().rev() {
                    match part {
                        Part::Failed => job.finish(Ok(())),
                        Part::Appended => job.finish(Err(SpoolError::Full)),
                        Part::Plain => queue.push_front(job),
                    }
                }
                Ok(())
            }
            Err(NotWritten::Broken(why)) => {
                let error = SpoolError::Broken(why.clone());
                jobs.into_iter().for_each(|(job, _)| job.finish(Err(error.clone())));
                Err(why)
            }
        }
    }

    /// Bodies, then records; both durable when this returns.
    fn write(&mut self, mut draft: Draft<'_>, sum: &Sum) -> Result<(), NotWritten> {
        #[cfg(test)]
        let fault = self.inject();
        self.writer.flush().map_err(|error| match out_of_space(&error) {
            true => NotWritten::NoSpace,
            false => NotWritten::Broken(format!("segment: {error}")),
        })?;
        let broken = |why: String| NotWritten::Broken(format!("database: {why}"));
        #[cfg(test)]
        if fault {
            return Err(broken("injected".into()));
        }
        if sum.checked {
            self.unchecked.clear();
        }
        if draft.is_empty() && !sum.checked {
            return Ok(());
        }
        let moved = sum.effects.envelopes != 0 || sum.effects.batches != 0;
        if moved || sum.checked || !sum.stored.is_empty() {
            let counts = self.shared.counts().after(&sum.effects);
            let tip = super::survey::Tip {
                end: self.writer.end(),
                envelopes: counts.envelopes,
                batches: counts.batches,
                unchecked: self.unchecked.clone(),
            };
            draft.put(Table::Meta, TIP, &tip).map_err(|e| broken(e.to_string()))?;
        }
        self.database.apply(&draft.into_writes()).map_err(broken)?;
        self.database.sync().map_err(broken)?;
        self.shared.count_group();
        Ok(())
    }

    /// Arranges for a failure; true when the database is to fail.
    #[cfg(test)]
    fn inject(&mut self) -> bool {
        match self.shared.fault.lock().unwrap().take() {
            None => false,
            Some(super::disk::Fault::Segment(kind)) => {
                self.writer.fault = Some(kind);
                false
            }
            Some(super::disk::Fault::Database) => true,
        }
    }

    /// Lets a job make its changes on the draft.
    fn stage(&mut self, draft: &mut Draft<'_>, job: &mut Job) -> Result<Sum, Halt> {
        let mut sum = Sum::default();
        match job {
            Job::Accept { incoming, call } => {
                self.append(draft, incoming, &mut sum)?;
                call.value = Some(Ok(()));
            }
            Job::Take { batch, terms, plan, seed, call } => {
                call.value = Some(Ok(work::take(draft, *batch, terms, plan, *seed)?));
            }
            Job::Journal { batch, entries, call } => {
                call.value = Some(Ok(work::journal(draft, *batch, entries)?));
            }
            Job::Settle { settle, call } => {
                call.value = Some(Ok(self.settle(draft, settle, &mut sum)?));
            }
            Job::Retry { batch, now, call } => {
                call.value = Some(Ok(work::retry_now(draft, *batch, *now)?));
            }
            Job::Decide { id, keep, call } => {
                let decided = work::decide(draft, *id, *keep, &mut sum.effects)?;
                call.value = Some(Ok(decided));
            }
            Job::Recover { recovery, call } => {
                call.value = Some(Ok(recover(draft, recovery, &mut sum)?));
            }
            Job::Mend { batch, call } => {
                call.value = Some(Ok(work::mend_due(draft, *batch)?));
            }
            Job::Checked { release, call } => {
                if *release {
                    self.pinned.clear();
                }
                sum.checked = true;
                call.value = Some(Ok(()));
            }
        }
        Ok(sum)
    }

    fn append(
        &mut self,
        draft: &mut Draft<'_>,
        incoming: &Incoming,
        sum: &mut Sum,
    ) -> Result<(), Halt> {
        let appended = self.writer.append(&incoming.head, &incoming.envelope, incoming.inline());
        let at = appended.map_err(|no| match no {
            NoAppend::GroupFull => Halt::GroupFull,
            NoAppend::Io(error) if out_of_space(&error) => Halt::Own(SpoolError::Full),
            NoAppend::Io(error) => Halt::Broken(format!("segment: {error}")),
        })?;
        let (place, anchor) = incoming.place(at);
        incoming.rows.store(draft, &place, anchor)?;
        came(sum, &incoming.rows, at.segment);
        Ok(())
    }

    fn settle(
        &mut self,
        draft: &mut Draft<'_>,
        settle: &mut Settle,
        sum: &mut Sum,
    ) -> Result<Settlement, Halt> {
        let Settle { report, plan, now, seed, notices } = settle;
        let settled = work::settle(draft, report, plan, *now, *seed)?;
        sum.effects.add(settled.effects);
        if let Some((envelope, recipients)) = settled.ending {
            let made = match std::mem::replace(notices, Stage::Made(Vec::new())) {
                Stage::Wanted(wanted) => {
                    let settlement = &settled.settlement;
                    self.make(wanted, Ending { envelope, recipients, settlement })?
                }
                // The second try, in a group of its own.
                Stage::Made(made) => made,
            };
            let stored = made.iter().try_for_each(|i| self.append(draft, i, sum));
            *notices = Stage::Made(made);
            stored?;
        }
        Ok(settled.settlement)
    }

    fn make(&self, notices: Notices, ending: Ending<'_>) -> Result<Vec<Incoming>, SpoolError> {
        let made = catch_unwind(AssertUnwindSafe(|| notices(ending)))
            .map_err(|_| SpoolError::Io("making a notification panicked".into()))?;
        made.into_iter()
            .map(|(accepted, body)| {
                Incoming::prepare(&self.places, &accepted, body, Maker::Settlement)
            })
            .collect()
    }

    /// Takes over what the group changed.
    fn book(&mut self, sum: &Sum) {
        self.shared.change_counts(&sum.effects);
        for segment in &sum.stored {
            *self.live.entry(*segment).or_default() += 1;
            self.idle.remove(segment);
        }
        for (_, entry) in &sum.effects.ended {
            let Some(mark) = entry.as_ref().and_then(Entry::mark) else { continue };
            let live = self.live.entry(mark.segment).or_default();
            *live = live.saturating_sub(1);
            if *live == 0 {
                self.live.remove(&mark.segment);
                self.idle.insert(mark.segment);
            }
        }
    }

    /// Lets go of bodies whose envelopes are gone for good. A failure here leaves a file for the next check.
    fn release(&mut self, sum: &Sum) {
        let mut by_segment: BTreeMap<u64, Vec<EnvelopeId>> = BTreeMap::new();
        for (id, entry) in &sum.effects.ended {
            let Some(entry) = entry else { continue };
            if matches!(entry.body, BodyPlace::File { .. }) {
                let _ = std::fs::remove_file(self.places.large_file(*id));
            }
            if let Some(mark) = entry.mark() {
                by_segment.entry(mark.segment).or_default().push(*id);
            }
        }
        let current = self.writer.current();
        let free: Vec<u64> = self
            .idle
            .iter()
            .filter(|s| Some(**s) != current && !self.pinned.contains(s))
            .copied()
            .collect();
        for (segment, ids) in by_segment.iter().filter(|(s, _)| !free.contains(s)) {
            let _ = self.ended.add(*segment, ids);
        }
        for segment in free {
            self.shared.forget_segment(segment);
            let path = segment::path(&self.places.segments(), segment);
            if std::fs::remove_file(path).is_ok() {
                let _ = self.ended.remove(segment);
                self.idle.remove(&segment);
            }
        }
    }
}

/// What a job is to its group.
#[derive(Clone, Copy)]
enum Part {
    /// It failed by its own data, and that is its answer.
    Failed,
    /// It added a body.
    Appended,
    /// It only changed records, or nothing.
    Plain,
}

impl Job {
    /// Octets the job adds to the segment.
    fn appends(&self) -> u64 {
        match self {
            Job::Accept { incoming, .. } => incoming.head.record_length(),
            Job::Settle { settle, .. } => match &settle.notices {
                Stage::Wanted(_) => 0,
                Stage::Made(made) => made.iter().map(|i| i.head.record_length()).sum(),
            },
            Job::Take { .. }
            | Job::Journal { .. }
            | Job::Retry { .. }
            | Job::Decide { .. }
            | Job::Recover { .. }
            | Job::Mend { .. }
            | Job::Checked { .. } => 0,
        }
    }

    fn fail(&mut self, error: SpoolError) {
        match self {
            Job::Accept { call, .. } | Job::Journal { call, .. } | Job::Checked { call, .. } => {
                call.value = Some(Err(error));
            }
            Job::Take { call, .. } => call.value = Some(Err(error)),
            Job::Settle { call, .. } => call.value = Some(Err(error)),
            Job::Retry { call, .. }
            | Job::Decide { call, .. }
            | Job::Recover { call, .. }
            | Job::Mend { call, .. } => {
                call.value = Some(Err(error));
            }
        }
    }
}

/// Brings back a message whose record is in a segment. False when the store has it after all.
fn recover(draft: &mut Draft<'_>, recovery: &Recovery, sum: &mut Sum) -> Result<bool, SpoolError> {
    let Recovery { rows, place, mark, entry_only } = recovery;
    let anchor = matches!(place, BodyPlace::File { .. }).then_some(*mark);
    let key = envelope_key(rows.id);
    if *entry_only {
        if !matches!(draft.get::<Entry>(Table::Envelope, &key), Err(SpoolError::Damaged(_))) {
            return Ok(false);
        }
        rows.store_entry(draft, place, anchor)?;
        sum.effects.bytes += signed(rows.length);
        sum.stored.push(mark.segment);
        return Ok(true);
    }
    if draft.raw(Table::Envelope, &key)?.is_some() {
        return Ok(false);
    }
    let kept = draft.with_prefix(Table::Batch, &key)?.len();
    if kept == 0 {
        rows.store(draft, place, anchor)?;
        came(sum, rows, mark.segment);
    } else {
        // Only the envelope was forgotten: what is known of its recipients is worth more than what was accepted.
        rows.store_entry(draft, place, anchor)?;
        sum.effects.envelopes += 1;
        sum.effects.bytes += signed(rows.length);
        sum.stored.push(mark.segment);
    }
    Ok(true)
}

fn came(sum: &mut Sum, rows: &Rows, segment: u64) {
    sum.effects.envelopes += 1;
    sum.effects.batches += signed(rows.batches);
    sum.effects.bytes += signed(rows.length);
    sum.stored.push(segment);
}
