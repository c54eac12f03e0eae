//! The one thread that writes.
//!
//! It takes every job that waits (up to a limit), lets each make its changes on a common draft, and writes the group as one piece to the
//! end of the segments: the messages that came in, then all changes. One sync makes the whole durable; only then it answers. A job that
//! fails by its own data leaves no trace in the group. The database follows in checkpoints. After a failed write nothing is written
//! any more: every answer is `Broken`.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::ledger::Settlement;
use posthaste_mail::time::Timestamp;

use super::change::Encoder;
use super::checkpoint::{Checkpointer, Order};
use super::disk::Shared;
use super::draft::{Draft, Origin, Writes};
use super::envelope::Entry;
use super::incoming::{Content, Incoming};
use super::job::{Job, Settle, Stage};
use super::place::Places;
use super::retention::Retention;
use super::room::Room;
use super::segment::{Maker, Mark, out_of_space};
use super::store::Store;
use super::survey::{Survey, Tip, Unchecked};
use super::table::{PerTable, Table, envelope_key};
use super::work::{self, Effects};
use super::writer::{NoAppend, Writer};
use super::{Ending, Notices, SpoolError};
use crate::clock::Clock;
use crate::fault;

/// Jobs in a group.
const GROUP: usize = 1024;
/// After a group of so many jobs more are on their way: waiting for them a moment saves syncs and wakes nobody for one job alone.
const BUSY: usize = 4;
const GATHER: Duration = Duration::from_micros(100);
/// A checkpoint is made when the changes take so much memory,
const MOST_MEMORY: usize = 16 << 20;
/// when as much was written since the last one as the options say, or when the last one is so long ago.
const LONGEST: Duration = Duration::from_secs(5);
/// Without room for a checkpoint, and when it cannot keep up, nothing comes in beyond this.
const LIMIT: usize = 64 << 20;
/// How often the thread looks up while a checkpoint runs and nobody asks for anything.
const LOOK: Duration = Duration::from_millis(50);

/// What a job, or a group of them, changes beside the records.
#[derive(Default)]
struct Sum {
    effects: Effects,
    /// Where each message that came in has its record.
    came: Vec<(EnvelopeId, Mark)>,
    /// Segments of messages that were brought back from them.
    brought: Vec<u64>,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.effects.add(other.effects);
        self.came.extend(other.came);
        self.brought.extend(other.brought);
    }
}

/// Why a job cannot be part of the group.
enum Halt {
    /// By its own data.
    Own(SpoolError),
    /// It has to wait for the next group.
    GroupFull,
}

impl From<SpoolError> for Halt {
    fn from(error: SpoolError) -> Halt {
        Halt::Own(error)
    }
}

enum NotWritten {
    /// Nothing was changed, and it may work another time.
    Refused(SpoolError),
    Broken(String),
}

/// No segment could be begun: the disk is full, or descriptors are wanting. What there is is as it was.
fn not_begun(error: &std::io::Error) -> SpoolError {
    match out_of_space(error) {
        true => SpoolError::Full,
        false => SpoolError::Io(format!("beginning a segment: {error}")),
    }
}

/// What the committer works with.
pub struct Setup {
    pub store: Arc<Store>,
    pub places: Places,
    pub shared: Arc<Shared>,
    pub room: Arc<Room>,
    pub clock: Clock,
    pub checkpointer: Checkpointer,
    pub segment_size: u64,
    pub checkpoint: u64,
}

pub struct Committer {
    store: Arc<Store>,
    places: Places,
    shared: Arc<Shared>,
    room: Arc<Room>,
    clock: Clock,
    writer: Writer,
    checkpointer: Checkpointer,
    retention: Retention,
    unchecked: Vec<Unchecked>,
    /// Of the next group.
    serial: u64,
    /// Earlier segments are not read again at a start.
    checkpointed: u64,
    /// Octets written since the last checkpoint was begun, and when that was.
    written: u64,
    most_written: u64,
    since: Timestamp,
    /// A checkpoint is wanted, however little there is.
    wanted: bool,
}

impl Committer {
    pub fn new(setup: Setup, survey: &Survey) -> Committer {
        let Setup { store, places, shared, room, clock, checkpointer, segment_size, .. } = setup;
        Committer {
            store,
            room,
            writer: Writer::new(places.segments(), segment_size, survey.next_segment),
            checkpointer,
            retention: Retention::new(places.clone(), Arc::clone(&shared), survey),
            places,
            shared,
            unchecked: survey.unchecked.clone(),
            serial: survey.serial,
            checkpointed: survey.checkpointed,
            written: 0,
            most_written: setup.checkpoint,
            since: clock.now(),
            clock,
            wanted: survey.replayed > 0,
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
        let (mut queue, mut last) = (VecDeque::new(), 0);
        loop {
            if queue.is_empty() {
                match self.wait(jobs) {
                    Ok(job) => {
                        queue.push_back(job);
                        if last >= BUSY {
                            std::thread::park_timeout(GATHER);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            queue.extend(jobs.try_iter().take(GROUP.saturating_sub(queue.len())));
            last = queue.len();
            let worked = match queue.is_empty() {
                true => Ok(()),
                false => self.group(&mut queue),
            };
            if let Err(why) = worked.and_then(|()| self.look_after_checkpoints()) {
                self.shared.broken.send_replace(Some(why));
                queue.into_iter().for_each(|job| job.finish(Err(self.shared.why_broken())));
                return;
            }
        }
        // All this only saves work at the next start.
        let _ = self.last_checkpoint();
        let _ = self.writer.close();
    }

    /// The next job; looks up now and then while there is something to do for a checkpoint.
    fn wait(&self, jobs: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        if self.checkpointer.is_running() {
            jobs.recv_timeout(LOOK)
        } else if self.written > 0 || self.wanted {
            jobs.recv_timeout(LONGEST)
        } else {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    fn look_after_checkpoints(&mut self) -> Result<(), String> {
        let end = match self.checkpointer.ended() {
            // It does not keep up: the disk says how fast mail may come.
            None if self.store.octets() > LIMIT => self.checkpointer.wait(),
            end => end,
        };
        if let Some(segment) = end.transpose()? {
            self.checkpointed = segment;
            self.retention.release(&[], self.writer.current(), segment);
        }
        let now = self.clock.now();
        let long_ago = now < self.since || now.since(self.since) >= LONGEST;
        let memory = match self.room.is_left() {
            true => MOST_MEMORY,
            // Many small ones find room where a large one does not.
            false => MOST_MEMORY / 16,
        };
        let due = self.store.octets() >= memory
            || self.written >= self.most_written
            || (self.written > 0 && long_ago)
            || self.wanted;
        if due && !self.checkpointer.is_running() && self.room.is_enough(self.store.octets()) {
            self.checkpoint().map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), SpoolError> {
        #[cfg(test)]
        self.fail_for_test()?;
        let counts = self.shared.counts();
        let tip = Tip {
            end: self.writer.end(),
            serial: self.serial,
            envelopes: counts.envelopes,
            batches: counts.batches,
            bytes: counts.bytes,
            unchecked: self.unchecked.clone(),
        };
        let mut facts: Writes = self.retention.live.take_changed()?;
        tip.add_to(&mut facts)?;
        let Some(layer) = self.store.freeze() else { return Ok(()) };
        self.checkpointer.begin(Order { layer, facts, segment: tip.end.segment });
        (self.written, self.since, self.wanted) = (0, self.clock.now(), false);
        Ok(())
    }

    fn last_checkpoint(&mut self) -> Result<(), String> {
        self.checkpointer.wait().transpose()?;
        self.checkpoint().map_err(|e| e.to_string())?;
        self.checkpointer.wait().transpose().map(drop)
    }

    /// Writes one group from the front of the queue. On `Err` nothing must be written any more.
    fn group(&mut self, queue: &mut VecDeque<Job>) -> Result<(), String> {
        #[cfg(test)]
        self.inject();
        let store = Arc::clone(&self.store);
        let mut draft = Draft::new(&*store);
        let mut jobs: Vec<(Job, Part)> = Vec::with_capacity(queue.len());
        let mut sum = Sum::default();
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
                        match self.begin_segment(job.appends()) {
                            Ok(()) => {
                                queue.push_front(job);
                                continue;
                            }
                            Err(error) => {
                                job.fail(not_begun(&error));
                                jobs.push((job, Part::Failed));
                                continue;
                            }
                        }
                    }
                }
            }
            queue.push_front(job);
            break;
        }
        let written = self.write(draft, &sum, &kinds(&jobs));
        match written {
            Ok(()) => {
                let kinds = kinds(&jobs);
                for (job, _) in jobs.iter().filter(|(_, part)| matches!(part, Part::Appended)) {
                    for incoming in job.brought() {
                        if let Content::Inline(body) = &incoming.content {
                            let rows = &incoming.rows;
                            self.shared.fresh.keep(rows.id, body, rows.batches);
                        }
                    }
                }
                jobs.into_iter().for_each(|(job, _)| job.finish(Ok(())));
                kinds.reach("answered");
                self.retention.release(
                    &sum.effects.ended,
                    self.writer.current(),
                    self.checkpointed,
                );
                Ok(())
            }
            Err(NotWritten::Refused(error)) => {
                // The others need less room; they come again without these. Alone they are told.
                let appended = jobs.iter().any(|(_, part)| matches!(part, Part::Appended));
                for (job, part) in jobs.into_iter().rev() {
                    match part {
                        Part::Failed => job.finish(Ok(())),
                        Part::Plain if appended => queue.push_front(job),
                        Part::Appended | Part::Plain => job.finish(Err(error.clone())),
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

    fn begin_segment(&mut self, length: u64) -> std::io::Result<()> {
        let before = self.writer.current();
        self.writer.begin(length)?;
        self.retention.left(before, self.writer.current());
        Ok(())
    }

    /// Messages and changes; all durable when this returns, and to be seen.
    fn write(&mut self, draft: Draft<'_>, sum: &Sum, kinds: &Kinds) -> Result<(), NotWritten> {
        if draft.is_empty() {
            return Ok(());
        }
        kinds.reach("staged");
        let counts = self.shared.counts().after(&sum.effects);
        let writes = draft.into_writes();
        let before = self.writer.current();
        let encoder = Encoder::new(self.serial, counts, self.writer.messages());
        let changes = encode(encoder, &writes, sum);
        if let Err(error) = self.writer.append_changes(&changes) {
            self.writer.cut(0);
            return Err(NotWritten::Refused(not_begun(&error)));
        }
        let length = self.writer.pending() as u64;
        #[cfg(test)]
        let power = self.places.power.lock();
        self.writer.flush(|| kinds.reach("written")).map_err(|error| {
            match out_of_space(&error) {
                true => NotWritten::Refused(SpoolError::Full),
                false => NotWritten::Broken(format!("segment: {error}")),
            }
        })?;
        kinds.reach("synced");
        #[cfg(test)]
        drop(power);
        self.serial += 1;
        self.written += length;
        self.shared.count_group();
        let came: HashSet<EnvelopeId> = sum.came.iter().map(|(id, _)| *id).collect();
        self.store.apply(&writes, &came);
        self.shared.change_counts(&sum.effects);
        let came = sum.came.iter().map(|(_, mark)| mark.segment);
        self.retention.book(came.chain(sum.brought.iter().copied()), &sum.effects.ended);
        self.retention.left(before, self.writer.current());
        kinds.reach("applied");
        Ok(())
    }

    /// Arranges for a failure.
    #[cfg(test)]
    fn inject(&mut self) {
        use super::disk::Fault;
        let mut fault = self.shared.fault.lock().unwrap();
        match *fault {
            Some(Fault::Segment(kind)) => self.writer.fault = Some(kind),
            Some(Fault::Sync(number)) => self.writer.unsynced = Some(number),
            Some(Fault::Torn(seed)) => {
                self.writer.torn = Some(posthaste_mail::dice::Dice::new(seed))
            }
            Some(Fault::NoSegment(reason)) => self.writer.no_segment = reason,
            Some(Fault::Checkpoint) | None => return,
        }
        *fault = None;
    }

    #[cfg(test)]
    fn fail_for_test(&self) -> Result<(), SpoolError> {
        let mut fault = self.shared.fault.lock().unwrap();
        match fault.take_if(|fault| matches!(fault, super::disk::Fault::Checkpoint)) {
            Some(_) => Err(SpoolError::Io("injected".into())),
            None => Ok(()),
        }
    }

    /// Lets a job make its changes on the draft.
    fn stage(&mut self, draft: &mut Draft<'_>, job: &mut Job) -> Result<Sum, Halt> {
        let mut sum = Sum::default();
        match job {
            Job::Accept { incoming, call } => {
                if self.store.octets() > LIMIT {
                    // No checkpoint finds room.
                    return Err(Halt::Own(SpoolError::Full));
                }
                self.append(draft, incoming, &mut sum)?;
                call.value = Some(Ok(()));
            }
            Job::Import { incoming, archived, call } => {
                let there = draft.raw(Table::Envelope, &envelope_key(incoming.rows.id))?.is_some();
                if !there {
                    self.append(draft, incoming, &mut sum)?;
                    work::import(draft, archived)?;
                }
                call.value = Some(Ok(!there));
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
            Job::Amend { batch, order, now, call } => {
                let amended = work::amend(draft, *batch, order, *now, &mut sum.effects)?;
                call.value = Some(Ok(amended));
            }
            Job::Decide { id, keep, call } => {
                let decided = work::decide(draft, *id, *keep, &mut sum.effects)?;
                call.value = Some(Ok(decided));
            }
            Job::Recover { recovery, call } => {
                let made = recovery.make(draft, &mut sum.effects, &mut sum.brought)?;
                call.value = Some(Ok(made));
            }
            Job::Mend { batch, call } => {
                call.value = Some(Ok(work::mend_due(draft, *batch)?));
            }
            Job::Count { call } => call.value = Some(Ok(self.retention.live.counts())),
            Job::Checked { call } => {
                self.retention.unpin();
                self.unchecked.clear();
                self.wanted = true;
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
        let before = self.writer.current();
        let appended = self.writer.append(&incoming.head, &incoming.envelope, incoming.inline());
        let at = appended.map_err(|no| match no {
            NoAppend::GroupFull => Halt::GroupFull,
            NoAppend::Io(error) => Halt::Own(not_begun(&error)),
        })?;
        self.retention.left(before, self.writer.current());
        let (place, anchor) = incoming.place(at);
        incoming.rows.store(draft, &place, anchor, Origin::Message)?;
        sum.effects.came(&incoming.rows);
        sum.came.push((incoming.rows.id, at));
        Ok(())
    }

    fn settle(
        &mut self,
        draft: &mut Draft<'_>,
        settle: &mut Settle,
        sum: &mut Sum,
    ) -> Result<Settlement, Halt> {
        let Settle { ground, plan, now, seed, notices } = settle;
        let settled = work::settle(draft, ground, plan, *now, *seed)?;
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
}

/// The group's last record.
fn encode(mut encoder: Encoder, writes: &PerTable<Writes>, sum: &Sum) -> Vec<u8> {
    for (_, mark) in &sum.came {
        encoder.came(mark.offset);
    }
    for segment in &sum.brought {
        encoder.brought(*segment);
    }
    for (id, entry) in &sum.effects.ended {
        if let Some(mark) = entry.as_ref().and_then(Entry::mark) {
            encoder.ended(*id, mark.segment);
        }
    }
    for table in Table::ALL {
        // What follows from a message stands with the message.
        let decided = writes.of(table).iter().filter(|(_, w)| w.origin == Origin::Decision);
        for (key, write) in decided {
            encoder.set(table, key, write.value.as_deref());
        }
    }
    encoder.into_bytes()
}

/// What a group does, for tests that end the process there.
struct Kinds(Vec<&'static str>);

impl Kinds {
    fn reach(&self, step: &str) {
        self.0.iter().for_each(|kind| fault::reached(kind, step));
    }
}

fn kinds(jobs: &[(Job, Part)]) -> Kinds {
    match cfg!(debug_assertions) {
        true => Kinds(jobs.iter().map(|(job, _)| job.kind()).collect()),
        false => Kinds(Vec::new()),
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
