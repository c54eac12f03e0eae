//! The daemon's spool: sled for records, segment files for bodies, one committer thread.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::amendment::{Amended, Amendment, Order};
use posthaste_mail::queue::archive::Archived;
use posthaste_mail::queue::lease::Boot;
use posthaste_mail::queue::ledger::{Finish, NotLeasable, Report, Settlement, Terms};
use posthaste_mail::queue::record::{Accepted, BatchId, BodyPlace, JournalEntry};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::time::Timestamp;
use tokio::sync::{Semaphore, oneshot, watch};

use super::checkpoint::Checkpointer;
use super::committer::{Committer, Setup};
use super::database::Database;
use super::draft::{Shelf, verified};
use super::envelope::Entry;
use super::fresh::FreshBodies;
use super::incoming::{Incoming, LARGE};
use super::job::{Call, Job, Settle, Stage};
use super::large;
use super::place::{Lock, Places};
use super::room::Room;
use super::segment::{self, HEADER, Head, Kind, Maker, Mark};
use super::store::Store;
use super::survey::Survey;
use super::table::{Table, envelope_key};
use super::work::{Effects, Ground};
use super::{
    Counts, Due, Findings, Leased, Notices, Spool, SpoolError, Stored, StoredBatch, Taken, Ticket,
    check, read,
};
use crate::body::Body;
use crate::clock::Clock;

#[derive(Clone, Debug)]
pub struct Options {
    /// Octets of the file system left free of new messages; by default a hundredth of it, at least 24 and at most 64 MiB.
    pub reserve: Option<u64>,
    /// Octets of a segment, reserved when it is begun.
    pub segment_size: u64,
    /// Octets written between two checkpoints: what a start has to read again at most, but for what is written meanwhile.
    pub checkpoint: u64,
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reserve: None,
            segment_size: 64 << 20,
            checkpoint: 64 << 20,
            clock: Clock::system(),
        }
    }
}

/// Closed by dropping it, which waits for the jobs that were handed in.
#[derive(Debug)]
pub struct DiskSpool {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub(super) store: Arc<Store>,
    pub(super) places: Places,
    pub(super) shared: Arc<Shared>,
    room: Arc<Room>,
    /// KiB of bodies that are read from files and not stored yet.
    memory: Arc<Semaphore>,
    /// What the opening found, until the check is done with it.
    pub(super) survey: Mutex<Option<Survey>>,
    /// Messages without a body, by the last check.
    pub(super) missing: AtomicU64,
    /// Given back last.
    _lock: Lock,
}

/// What the committer and the others both see.
#[derive(Debug)]
pub struct Shared {
    counts: Mutex<Counts>,
    pub broken: watch::Sender<Option<String>>,
    groups: AtomicU64,
    /// Bodies for the first attempt.
    pub fresh: FreshBodies,
    /// Segments open for reading.
    segments: Mutex<HashMap<u64, Arc<File>>>,
    /// What the next write comes to.
    #[cfg(test)]
    pub fault: Mutex<Option<Fault>>,
}

/// A failure of the disk, for tests.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Segment(io::ErrorKind),
    /// The next group is written and cannot be synced, for this reason of the system.
    Sync(i32),
    /// The next group reaches the disk in part.
    Torn(u64),
    /// From now on no segment can be begun, for this reason of the system; `None`: they can again.
    NoSegment(Option<i32>),
    Checkpoint,
}

/// In KiB.
const BODIES_IN_MEMORY: usize = 32 << 10;
/// Segments kept open for reading; others are opened again.
const OPEN_SEGMENTS: usize = 64;

impl Shared {
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change_counts(&self, effects: &Effects) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = counts.after(effects);
    }

    pub fn count_group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    pub fn why_broken(&self) -> SpoolError {
        let why = self.broken.borrow().clone();
        SpoolError::Broken(why.unwrap_or_else(|| "the spool is closed".into()))
    }

    pub fn forget_segment(&self, number: u64) {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn segment(&self, places: &Places, number: u64) -> io::Result<Arc<File>> {
        let mut open = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(segment::path(&places.segments(), number))?);
        if open.len() >= OPEN_SEGMENTS
            && let Some(oldest) = open.keys().min().copied()
        {
            open.remove(&oldest);
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }
}

impl DiskSpool {
    /// Opens the spool in `directory`, or begins one there. Blocks while what came after the last checkpoint is read again.
    pub fn open(directory: &Path, options: Options, boot: Boot) -> Result<DiskSpool, SpoolError> {
        let places = Places::create(directory)
            .map_err(|e| SpoolError::Io(format!("{}: {e}", directory.display())))?;
        let lock = Lock::take(directory)?;
        let (database, store, survey) = read_through(&places, boot)?;
        let room = Room::new(directory.to_path_buf(), options.reserve, options.clock.clone());
        let room = Arc::new(room);
        let shared = Arc::new(Shared {
            counts: Mutex::new(survey.counts),
            broken: watch::Sender::new(None),
            groups: AtomicU64::new(0),
            fresh: FreshBodies::default(),
            segments: Mutex::default(),
            #[cfg(test)]
            fault: Mutex::default(),
        });
        let starting = |e| SpoolError::Io(format!("starting a thread: {e}"));
        let setup = Setup {
            store: Arc::clone(&store),
            places: places.clone(),
            shared: Arc::clone(&shared),
            room: Arc::clone(&room),
            clock: options.clock,
            checkpointer: Checkpointer::start(database, Arc::clone(&store)).map_err(starting)?,
            segment_size: options.segment_size,
            checkpoint: options.checkpoint,
        };
        let committer = Committer::new(setup, &survey);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("spool-committer".into())
            .spawn(move || committer.run(&receiver))
            .map_err(starting)?;
        Ok(DiskSpool {
            jobs: Some(sender),
            thread: Some(thread),
            store,
            room,
            memory: Arc::new(Semaphore::new(BODIES_IN_MEMORY)),
            places,
            shared,
            survey: Mutex::new(Some(survey)),
            missing: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Groups of changes written since the start, one sync each.
    pub fn groups(&self) -> u64 {
        self.shared.groups.load(Ordering::Relaxed)
    }

    fn ask<T: Send + 'static>(&self, job: impl FnOnce(Call<T>) -> Job) -> Ticket<T> {
        let (reply, answer) = oneshot::channel();
        self.send(job(Call::new(move |value| {
            // Whoever does not wait any more does not undo the change.
            let _ = reply.send(value);
        })));
        ticket(answer)
    }

    /// For threads that may block.
    pub(super) fn ask_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(Call<T>) -> Job,
    ) -> mpsc::Receiver<Result<T, SpoolError>> {
        let (reply, answer) = mpsc::channel();
        self.send(job(Call::new(move |value| {
            let _ = reply.send(value);
        })));
        answer
    }

    /// Makes a message ready, on a blocking thread if need be, and hands it in.
    fn bring_in<T: Send + 'static>(
        &self,
        accepted: Accepted,
        body: Body,
        job: impl FnOnce(Box<Incoming>, Call<T>) -> Job + Send + 'static,
    ) -> Ticket<T> {
        if self.shared.broken.borrow().is_some() {
            return refused(self.shared.why_broken());
        }
        if !self.room.is_left() {
            return refused(SpoolError::Full);
        }
        let Some(jobs) = self.jobs.clone() else { return refused(self.shared.why_broken()) };
        let places = self.places.clone();
        let (reply, answer) = oneshot::channel();
        let call = Call::new(move |value| {
            let _ = reply.send(value);
        });
        let blocks = Incoming::blocks(&body);
        let length = body.len();
        let prepare = move |permit| match Incoming::prepare(&places, &accepted, body, Maker::Client)
        {
            Ok(incoming) => {
                let incoming = Box::new(Incoming { permit, ..incoming });
                let _ = jobs.send(job(incoming, call));
            }
            Err(error) => call.refuse(error),
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if blocks => {
                // What is read from a file waits in memory for its group: many at once wait for each other instead.
                let kib = u32::try_from(length.min(LARGE).div_ceil(1024)).unwrap_or(1);
                match Arc::clone(&self.memory).try_acquire_many_owned(kib) {
                    Ok(permit) => drop(runtime.spawn_blocking(move || prepare(Some(permit)))),
                    Err(_) => {
                        let memory = Arc::clone(&self.memory);
                        runtime.clone().spawn(async move {
                            let permit = memory.acquire_many_owned(kib).await.ok();
                            drop(runtime.spawn_blocking(move || prepare(permit)));
                        });
                    }
                }
            }
            _ => prepare(None),
        }
        ticket(answer)
    }

    fn send(&self, job: Job) {
        // Without a committer the job is dropped, and with it its reply: the ticket says so.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    fn at_place(&self, id: EnvelopeId, place: &BodyPlace) -> Result<Body, Unread> {
        match *place {
            BodyPlace::Segment { segment, offset, length } => {
                let mark = Mark { segment, offset };
                let file = self.shared.segment(&self.places, segment)?;
                let head = head_at(&file, mark)?.ok_or(Unread::Unsound("no record"))?;
                if head.id != id || head.body_length != length || head.kind != Kind::Inline {
                    return Err(Unread::Unsound("the record is another's"));
                }
                let body = Body::range(file, head.body_offset(offset), length);
                self.sound(body, head.body_sum)
            }
            BodyPlace::File { length } => {
                let path = self.places.large_file(id);
                let file = File::open(path)?;
                if file.metadata()?.len() != length {
                    return Err(Unread::Unsound("wrong length"));
                }
                let body = Body::range(Arc::new(file), 0, length);
                match self.anchor(id) {
                    Some(mark) => {
                        let segment = self.shared.segment(&self.places, mark.segment)?;
                        let head = head_at(&segment, mark)?.ok_or(Unread::Unsound("no record"))?;
                        self.sound(body, head.body_sum)
                    }
                    None => Err(Unread::Unsound("no record")),
                }
            }
        }
    }

    /// Reads the body once to see that it is what was stored. Small ones stay in memory.
    fn sound(&self, body: Body, sum: u32) -> Result<Body, Unread> {
        let body = match usize::try_from(body.len()) {
            Ok(length) if length <= SMALL => Body::memory(body.read_at(0, length)?),
            _ => body,
        };
        if large::checksum(&body)? == sum { Ok(body) } else { Err(Unread::Unsound("checksum")) }
    }

    fn anchor(&self, id: EnvelopeId) -> Option<Mark> {
        let key = envelope_key(id);
        let value = self.store.get(Table::Envelope, &key).ok()??;
        verified::<Entry>(&*self.store, Table::Envelope, &key, &value).ok()?.anchor
    }
}

/// Bodies up to this are handed out in memory: one read, and none on a blocking thread later.
const SMALL: usize = 64 << 10;

enum Unread {
    Io(io::Error),
    Unsound(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Io(error)
    }
}

fn head_at(file: &File, mark: Mark) -> io::Result<Option<Head>> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, mark.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other.map(|()| Head::decode(&header, mark)),
    }
}

fn ticket<T: Send + 'static>(answer: oneshot::Receiver<Result<T, SpoolError>>) -> Ticket<T> {
    Box::pin(async move {
        answer.await.unwrap_or_else(|_| Err(SpoolError::Broken("the spool has ended".into())))
    })
}

fn refused<T: Send + 'static>(error: SpoolError) -> Ticket<T> {
    Box::pin(std::future::ready(Err(error)))
}

type Opened = (Arc<Database>, Arc<Store>, Survey);

/// Opens the database and reads what is in it; one that cannot be read is put aside, and the check rebuilds the queue.
fn read_through(places: &Places, boot: Boot) -> Result<Opened, SpoolError> {
    let (database, opened) = Database::open(places)?;
    let database = Arc::new(database);
    let store = Arc::new(Store::new(Arc::clone(&database)));
    match Survey::make(&database, &store, opened, places, boot.clone()) {
        Ok(survey) => Ok((database, store, survey)),
        Err(SpoolError::Damaged(_)) => {
            drop((database, store));
            let (database, opened) = Database::replace(places)?;
            let database = Arc::new(database);
            let store = Arc::new(Store::new(Arc::clone(&database)));
            let survey = Survey::make(&database, &store, opened, places, boot)?;
            Ok((database, store, survey))
        }
        Err(error) => Err(error),
    }
}

impl Drop for DiskSpool {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was caught and told already.
            let _ = thread.join();
        }
    }
}

impl Spool for DiskSpool {
    fn accept(&self, accepted: Accepted, body: Body) -> Ticket<()> {
        self.bring_in(accepted, body, |incoming, call| Job::Accept { incoming, call })
    }

    fn import(&self, archived: Archived, body: Body) -> Ticket<bool> {
        // Made ready, it would take the place of the body that is there: its file has the same name.
        match self.store.get(Table::Envelope, &envelope_key(archived.envelope.id)) {
            Ok(Some(_)) => return Box::pin(std::future::ready(Ok(false))),
            Ok(None) => {}
            Err(error) => return refused(error),
        }
        let accepted = archived.accepted();
        let archived = Box::new(archived);
        self.bring_in(accepted, body, |incoming, call| Job::Import { incoming, archived, call })
    }

    fn take(
        &self,
        batch: BatchId,
        terms: Terms,
        plan: Plan,
        seed: u64,
    ) -> Ticket<Result<Taken, NotLeasable>> {
        self.ask(|call| Job::Take { batch, terms, plan, seed, call: Box::new(call) })
    }

    fn journal(&self, batch: BatchId, entries: Vec<(u32, JournalEntry)>) -> Ticket<()> {
        self.ask(|call| Job::Journal { batch, entries, call })
    }

    fn settle_with(
        &self,
        report: Report,
        plan: Plan,
        now: Timestamp,
        seed: u64,
        notices: Notices,
    ) -> Ticket<Settlement> {
        let (ground, notices) = (Ground::Attempt(report), Stage::Wanted(notices));
        let settle = Box::new(Settle { ground, plan, now, seed, notices });
        self.ask(|call| Job::Settle { settle, call: Box::new(call) })
    }

    fn amend(
        &self,
        batch: BatchId,
        order: Arc<Order<Amendment>>,
        now: Timestamp,
    ) -> Ticket<Amended> {
        self.ask(|call| Job::Amend { batch, order, now, call })
    }

    fn finish_with(
        &self,
        batch: BatchId,
        order: Arc<Order<Finish>>,
        now: Timestamp,
        notices: Notices,
    ) -> Ticket<Settlement> {
        let (ground, notices) = (Ground::Operator { batch, order }, Stage::Wanted(notices));
        // No further attempt is planned, and nothing is left to chance.
        let settle = Box::new(Settle { ground, plan: Plan::default(), now, seed: 0, notices });
        self.ask(|call| Job::Settle { settle, call: Box::new(call) })
    }

    fn decide(&self, id: EnvelopeId, keep: bool) -> Ticket<bool> {
        self.ask(|call| Job::Decide { id, keep, call })
    }

    fn due(
        &self,
        after: Option<(Timestamp, BatchId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, SpoolError> {
        read::due(&*self.store, after, until, limit)
    }

    fn undecided(&self) -> Result<Vec<EnvelopeId>, SpoolError> {
        read::undecided(&*self.store)
    }

    fn leases(&self) -> Result<Vec<Leased>, SpoolError> {
        read::leases(&*self.store)
    }

    fn load(&self, id: EnvelopeId) -> Result<Option<Stored>, SpoolError> {
        read::load(&*self.store, id)
    }

    fn load_batch(&self, batch: BatchId) -> Result<Option<StoredBatch>, SpoolError> {
        read::load_batch(&*self.store, batch)
    }

    fn envelopes(
        &self,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> Result<Vec<EnvelopeId>, SpoolError> {
        read::envelopes(&*self.store, after, limit)
    }

    fn body(&self, id: EnvelopeId, place: &BodyPlace) -> Result<Body, SpoolError> {
        self.at_place(id, place).or_else(|unread| {
            // A body goes after its envelope: who comes too late finds neither.
            if self.store.get(Table::Envelope, &envelope_key(id))?.is_none() {
                return Err(SpoolError::NotFound);
            }
            let damaged = |why: &str| {
                self.store.note_damage(Table::Envelope, &envelope_key(id));
                SpoolError::Damaged(format!("body of {id}: {why}"))
            };
            Err(match unread {
                Unread::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                    damaged("no such file")
                }
                Unread::Io(error) => SpoolError::Io(format!("body of {id}: {error}")),
                Unread::Unsound(why) => damaged(why),
            })
        })
    }

    fn archived(&self, id: EnvelopeId) -> Result<Option<(Archived, BodyPlace)>, SpoolError> {
        read::archived(&*self.store, id)
    }

    fn fresh_body(&self, id: EnvelopeId) -> Option<Body> {
        self.shared.fresh.take(id)
    }

    fn counts(&self) -> Counts {
        self.shared.counts()
    }

    fn damaged(&self) -> u64 {
        self.store.damaged()
    }

    fn wrong(&self) -> Vec<String> {
        let missing = self.missing.load(Ordering::Relaxed);
        let counted = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        [
            (!self.room.is_left()).then(|| SpoolError::Full.to_string()),
            counted(
                self.damaged(),
                "records or bodies do not verify: see posthaste queue list --held and posthaste spool check",
            ),
            counted(missing, "messages have no body and cannot be delivered"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn broken(&self) -> watch::Receiver<Option<String>> {
        self.shared.broken.subscribe()
    }

    fn check(&self) -> Result<Findings, SpoolError> {
        check::run(self)
    }
}
