//! QueueActor: one `target.queue`.
//!
//! 1. `Accept` puts a message on disk and its batches in line.
//! 2. `pump` starts attempts while there are slots: a flight takes the lease, loads the body and hands both to the target.
//! 3. `Finished` ends a flight: the spool settles it, and what still waits goes back on the wheel.
//!
//! The disk is the truth. The actor keeps the near future of the schedule (`wheel`), what is due (`ready`) and what flies; after a fall
//! all of it is read again.

mod accept;
mod amend;
mod flight;
pub mod notice;
mod operator;
mod relay;
pub mod settings;
mod settle;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, AsyncContext, Context, Handler, MessageResult, Recipient as Address, Supervised,
};
use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use posthaste_edge::clock::Clock;
use posthaste_edge::spool::{Due, Leased, Spool, SpoolError};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::fair::Fair;
use posthaste_mail::queue::lease::{Boot, Lease};
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::route::destination::{DestinationKey, Splitting};
use posthaste_mail::time::Timestamp;

use crate::messages::delivery::{Deliver, Slot, WaitingLong};
use crate::messages::lifecycle::{
    Drain, Fatal, PanicNow, Probe, Pulse, TargetResumed, TargetSuspended,
};
use crate::trace::Trace;

/// How often the wheel is looked at.
const TICK: Duration = Duration::from_millis(200);
/// How far ahead the schedule is kept in memory.
const AHEAD: Duration = Duration::from_secs(600);
/// Entries read at a time, and the most that are kept before more are read.
const PAGE: usize = 5_000;
const MOST_KEPT: usize = 50_000;
/// Batches of one destination that are kept; the rest stays on disk, so that a long line keeps nobody else out.
const MOST_OF_ONE: usize = 2_000;
/// The longest an attempt may take.
const LEASE_SPAN: Duration = Duration::from_secs(2 * 3600);

/// What outlives a fall.
#[derive(Clone)]
pub struct Deps {
    pub name: String,
    pub log: Logger,
    pub clock: Clock,
    pub runtime: tokio::runtime::Handle,
    pub spool: Arc<dyn Spool>,
    pub boot: Boot,
    pub target: Address<Deliver>,
    pub target_name: String,
    /// `None`: there is no `bounce` block, and no notification is made.
    pub bounce: Option<Arc<notice::Ways>>,
    pub splitting: Splitting,
    /// Every configured target: where an operator may reroute to.
    pub exits: Arc<[notice::Way]>,
    pub plan: Plan,
    pub max_parallelism: usize,
    /// `max_parallelism` permits: a slot stays taken while its task runs, whatever happens to this actor.
    pub slots: Arc<Semaphore>,
    pub trace: Arc<Trace>,
    pub fatal: Address<Fatal>,
}

/// Where a batch in hand is.
enum Stage {
    /// On the wheel, due later.
    Wheel,
    Ready,
    Flying(Flight),
    Settling,
}

impl Stage {
    fn is_in_hand(&self) -> bool {
        match self {
            Stage::Wheel | Stage::Ready => false,
            Stage::Flying(_) | Stage::Settling => true,
        }
    }
}

/// A place in the schedule.
type Place = (Timestamp, BatchId);

struct Flight {
    destination: DestinationKey,
    since: Timestamp,
    /// The same on a clock that nobody sets.
    begun: Instant,
    recipients: usize,
    attempt: u32,
    slot: Option<Slot>,
    call_off: Option<watch::Sender<bool>>,
    /// The host has not greeted for long; the slot was given back.
    patient: bool,
    /// Once it is taken; `None` while it is being written down.
    lease: Option<Lease>,
}

#[derive(Default)]
struct Counters {
    accepted: u64,
    delivered: u64,
    failed: u64,
    deferred: u64,
    /// Recipients whose attempt ended after the dot without a reply.
    unknown: u64,
    /// Failures and other news nobody could be told of.
    untold: u64,
}

struct State {
    /// Self-messages of an earlier life are ignored.
    life: u64,
    recovered: bool,
    /// A page is being read, up to this moment.
    loading: Option<Timestamp>,
    /// Up to here the schedule has been read.
    cursor: Option<Place>,
    /// Something before the cursor was added while a page was read: the reading goes on from there.
    rewind: Option<Place>,
    /// The first entry that was left on disk for want of room, and whose it was.
    skipped: Option<Place>,
    skipped_of: HashSet<DestinationKey>,
    /// Batches on the wheel and in line, by destination.
    waiting: HashMap<DestinationKey, usize>,
    /// Attempts that were settled before the leases were read, in this life.
    settled: HashSet<BatchId>,
    /// Attempts of a process that is gone, to be ended a few at a time: of a message to many destinations there may be very many.
    abandoned: VecDeque<Lease>,
    ending: HashSet<BatchId>,
    wheel: BTreeMap<(Timestamp, BatchId), DestinationKey>,
    ready: Fair<DestinationKey, BatchId>,
    known: HashMap<BatchId, Stage>,
    /// Batches in hand that an operator has changed.
    look_again: HashSet<BatchId>,
    draining: bool,
    suspended: bool,
    serial: u64,
    counters: Counters,
}

impl State {
    fn new(life: u64) -> State {
        State {
            life,
            recovered: false,
            loading: None,
            cursor: None,
            rewind: None,
            skipped: None,
            skipped_of: HashSet::new(),
            waiting: HashMap::new(),
            settled: HashSet::new(),
            abandoned: VecDeque::new(),
            ending: HashSet::new(),
            wheel: BTreeMap::new(),
            ready: Fair::default(),
            known: HashMap::new(),
            look_again: HashSet::new(),
            draining: false,
            suspended: false,
            serial: 0,
            counters: Counters::default(),
        }
    }
}

pub struct QueueActor {
    deps: Deps,
    state: State,
}

impl QueueActor {
    pub fn new(deps: Deps) -> QueueActor {
        QueueActor { deps, state: State::new(0) }
    }

    /// A batch that waits until `due`. One that lies beyond what has been read is left to the disk.
    fn schedule(&mut self, batch: BatchId, due: Timestamp, destination: DestinationKey) {
        if self.state.known.contains_key(&batch) {
            return;
        }
        let read = self.state.cursor.is_some_and(|cursor| (due, batch) <= cursor);
        let being_read = self.state.loading.is_some_and(|until| due <= until);
        if !read && !being_read {
            return;
        }
        let of_one = self.state.waiting.get(&destination).copied().unwrap_or(0);
        if of_one >= MOST_OF_ONE || self.state.known.len() >= MOST_KEPT {
            let place = (due, batch);
            self.state.skipped = Some(self.state.skipped.map_or(place, |first| first.min(place)));
            self.state.skipped_of.insert(destination);
            return;
        }
        *self.state.waiting.entry(destination.clone()).or_insert(0) += 1;
        if due <= self.deps.clock.now() {
            self.state.known.insert(batch, Stage::Ready);
            self.state.ready.push(destination, batch);
        } else {
            self.state.known.insert(batch, Stage::Wheel);
            self.state.wheel.insert((due, batch), destination);
        }
    }

    /// One batch less on the wheel or in line.
    fn no_longer_waiting(&mut self, destination: &DestinationKey) {
        if let Some(count) = self.state.waiting.get_mut(destination) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.state.waiting.remove(destination);
            }
        }
    }

    /// Something was added to the schedule at this moment or after it: it is read again from there.
    fn read_again_from(&mut self, at: Timestamp) {
        let before = (at.minus(Duration::from_micros(1)), LAST_BATCH);
        self.state.cursor = self.state.cursor.map(|cursor| cursor.min(before));
        if self.state.loading.is_some() {
            self.state.rewind = Some(self.state.rewind.map_or(before, |first| first.min(before)));
        }
    }

    /// What was left on disk for want of room is read when there is some.
    fn fetch_skipped(&mut self) {
        let Some((at, _)) = self.state.skipped else { return };
        let room = self.state.known.len() < MOST_KEPT / 2;
        let low = |key: &DestinationKey| {
            self.state.waiting.get(key).copied().unwrap_or(0) < MOST_OF_ONE / 2
        };
        if room && self.state.skipped_of.iter().any(low) {
            self.state.skipped = None;
            self.state.skipped_of.clear();
            self.read_again_from(at);
        }
    }

    /// What became due goes in line.
    fn turn_wheel(&mut self) {
        let now = self.deps.clock.now();
        while let Some(entry) = self.state.wheel.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((_, batch), destination) = entry.remove_entry();
            self.state.known.insert(batch, Stage::Ready);
            self.state.ready.push(destination, batch);
        }
    }

    /// Reads the next page of the schedule, if it comes near. What has no room is left on disk by `schedule`.
    fn read_ahead(&mut self, ctx: &mut Context<Self>) {
        let until = self.deps.clock.now().plus(AHEAD);
        // A page a second is often enough for what is minutes away.
        let near = self.state.cursor.is_none_or(|(at, _)| at.plus(Duration::from_secs(1)) < until);
        if self.state.loading.is_some() || !self.state.recovered || !near {
            return;
        }
        self.state.loading = Some(until);
        let (spool, after, life) =
            (Arc::clone(&self.deps.spool), self.state.cursor, self.state.life);
        let me = ctx.address();
        self.deps.runtime.spawn_blocking(move || {
            let page = spool.due(after, until, PAGE);
            me.do_send(PageRead { life, until, page });
        });
    }

    /// Starts attempts while there are slots.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.state.draining && !self.state.suspended && self.state.recovered {
            if self.state.ready.is_empty() {
                return;
            }
            let Ok(permit) = Arc::clone(&self.deps.slots).try_acquire_owned() else { return };
            let Some((destination, batch)) = self.state.ready.pop() else { return };
            self.no_longer_waiting(&destination);
            self.take_off(batch, destination, Slot::new(permit), ctx);
        }
    }

    /// Flights that took longer than any attempt may: their task is gone, or it would have ended the attempt itself.
    fn end_overdue(&mut self, ctx: &mut Context<Self>) {
        let overdue: Vec<Lease> = self
            .state
            .known
            .values()
            .filter_map(|stage| match stage {
                Stage::Flying(Flight { lease: Some(lease), begun, .. })
                    if begun.elapsed() >= LEASE_SPAN =>
                {
                    Some(lease.clone())
                }
                Stage::Flying(_) | Stage::Wheel | Stage::Ready | Stage::Settling => None,
            })
            .collect();
        for lease in overdue {
            warn!(self.deps.log, "attempt did not end in time"; "batch" => %lease.batch);
            self.end_abandoned(lease, ctx);
        }
    }

    /// Ends abandoned attempts, no more at a time than may fly.
    fn end_some(&mut self, ctx: &mut Context<Self>) {
        while self.state.ending.len() < self.deps.max_parallelism.max(1) {
            let Some(lease) = self.state.abandoned.pop_front() else { return };
            self.state.ending.insert(lease.batch);
            self.end_abandoned(lease, ctx);
        }
    }

    fn broken(&self, error: &SpoolError) {
        if let SpoolError::Broken(_) = error {
            let reason = format!("spool of queue {}: {error}", self.deps.name);
            self.deps.fatal.do_send(Fatal { reason });
        }
    }

    fn forget(&mut self, batch: BatchId) {
        if let Some(Stage::Flying(flight)) = self.state.known.remove(&batch) {
            self.land(&flight);
        }
    }

    /// A flight is over: its slot is free, and its destination is no longer passed over on its account.
    fn land(&mut self, flight: &Flight) {
        if let Some(slot) = &flight.slot {
            slot.give_back();
        }
        if flight.patient {
            self.state.ready.unpark(&flight.destination);
        }
    }
}

impl Actor for QueueActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (spool, life, me) = (Arc::clone(&self.deps.spool), self.state.life, ctx.address());
        self.deps.runtime.spawn_blocking(move || {
            // Undecided messages of a process that is gone: their clients were never told that they are kept.
            let undecided = if life == 0 { spool.undecided() } else { Ok(Vec::new()) };
            let leases = spool.leases();
            me.do_send(LeasesRead { life, leases, undecided });
        });
        ctx.run_interval(TICK, |queue, ctx| {
            queue.turn_wheel();
            queue.end_overdue(ctx);
            queue.fetch_skipped();
            queue.read_ahead(ctx);
            queue.pump(ctx);
        });
    }
}

impl Supervised for QueueActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        let State { draining, suspended, .. } = self.state;
        // Orders of the root are facts of the process, not of this life.
        self.state = State { draining, suspended, ..State::new(self.state.life + 1) };
    }
}

/// Disk -> Queue: every lease that is written down.
struct LeasesRead {
    life: u64,
    leases: Result<Vec<Leased>, SpoolError>,
    undecided: Result<Vec<EnvelopeId>, SpoolError>,
}

impl actix::Message for LeasesRead {
    type Result = ();
}

impl Handler<LeasesRead> for QueueActor {
    type Result = ();

    /// Our own tasks fly on; attempts of a process that is gone are ended as interrupted.
    fn handle(&mut self, message: LeasesRead, ctx: &mut Context<Self>) {
        if message.life != self.state.life {
            return;
        }
        let leases = match message.leases {
            Ok(leases) => leases,
            Err(error) => {
                warn!(self.deps.log, "leases could not be read"; "cause" => %error);
                self.broken(&error);
                Vec::new()
            }
        };
        for id in message.undecided.unwrap_or_default() {
            info!(self.deps.log, "unfinished message withdrawn"; "id" => %id);
            let ticket = self.deps.spool.decide(id, false);
            self.deps.runtime.spawn(async move { drop(ticket.await) });
        }
        let now = self.deps.clock.now();
        let mut abandoned = 0;
        for Leased { lease, destination } in leases {
            self.state.serial = self.state.serial.max(lease.serial);
            let batch = lease.batch;
            if self.state.known.contains_key(&batch) || self.state.settled.contains(&batch) {
                continue;
            }
            if lease.is_void(&self.deps.boot, now) {
                // Off the schedule until its turn to be ended comes.
                self.state.known.insert(batch, Stage::Settling);
                self.state.abandoned.push_back(lease);
                abandoned += 1;
            } else {
                let flight = Flight {
                    destination,
                    since: lease.taken,
                    begun: Instant::now(),
                    recipients: 0,
                    attempt: 0,
                    slot: None,
                    call_off: None,
                    patient: false,
                    lease: Some(lease.clone()),
                };
                self.state.known.insert(lease.batch, Stage::Flying(flight));
            }
        }
        if abandoned > 0 {
            info!(self.deps.log, "interrupted attempts found"; "count" => abandoned);
        }
        self.state.recovered = true;
        self.state.settled.clear();
        self.end_some(ctx);
        self.read_ahead(ctx);
    }
}

/// Disk -> Queue: a page of the schedule.
struct PageRead {
    life: u64,
    until: Timestamp,
    page: Result<Vec<Due>, SpoolError>,
}

impl actix::Message for PageRead {
    type Result = ();
}

impl Handler<PageRead> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: PageRead, ctx: &mut Context<Self>) {
        if message.life != self.state.life {
            return;
        }
        self.state.loading = None;
        let page = match message.page {
            Ok(page) => page,
            Err(error) => {
                warn!(self.deps.log, "schedule could not be read"; "cause" => %error);
                return self.broken(&error);
            }
        };
        let read_to = match page.last() {
            Some(last) if page.len() >= PAGE => (last.at, last.batch),
            _ => (message.until, LAST_BATCH),
        };
        self.state.cursor = Some(read_to);
        for due in page {
            self.schedule(due.batch, due.at, due.destination);
        }
        if let Some(rewind) = self.state.rewind.take() {
            self.state.cursor = Some(rewind.min(read_to));
        }
        if self.state.cursor != Some((message.until, LAST_BATCH)) {
            self.read_ahead(ctx);
        }
        self.pump(ctx);
    }
}

/// Behind every batch of its moment.
const LAST_BATCH: BatchId =
    BatchId { envelope: EnvelopeId::from_bytes([0xff; 16]), index: u32::MAX };

/// Composition -> Queue: the check after a start has put messages back into the schedule.
#[derive(Clone, Copy, Debug)]
pub struct ReadAgain;

impl actix::Message for ReadAgain {
    type Result = ();
}

impl Handler<ReadAgain> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: ReadAgain, ctx: &mut Context<Self>) {
        self.read_again_from(Timestamp::ZERO);
        self.read_ahead(ctx);
    }
}

impl Handler<WaitingLong> for QueueActor {
    type Result = ();

    /// One flight of a destination may wait for a silent host without a slot; further ones are called off and wait on the wheel.
    fn handle(&mut self, message: WaitingLong, ctx: &mut Context<Self>) {
        let Some(Stage::Flying(flight)) = self.state.known.get(&message.batch) else { return };
        let destination = flight.destination.clone();
        let somebody_waits = self.state.known.values().any(
            |stage| matches!(stage, Stage::Flying(f) if f.patient && f.destination == destination),
        );
        let Some(Stage::Flying(flight)) = self.state.known.get_mut(&message.batch) else { return };
        if somebody_waits {
            if let Some(call_off) = &flight.call_off {
                call_off.send_replace(true);
            }
        } else {
            flight.patient = true;
            if let Some(slot) = &flight.slot {
                slot.give_back();
            }
            self.state.ready.park(&destination);
        }
        self.pump(ctx);
    }
}

impl Handler<Drain> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.state.draining = true;
        for stage in self.state.known.values() {
            if let Stage::Flying(Flight { call_off: Some(call_off), .. }) = stage {
                call_off.send_replace(true);
            }
        }
    }
}

impl Handler<TargetSuspended> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: TargetSuspended, _: &mut Context<Self>) {
        self.state.suspended |= message.target == self.deps.target_name;
    }
}

impl Handler<TargetResumed> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: TargetResumed, ctx: &mut Context<Self>) {
        self.state.suspended &= message.target != self.deps.target_name;
        self.pump(ctx);
    }
}

impl Handler<Probe> for QueueActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let at_work = |stage: &&Stage| matches!(stage, Stage::Flying(_) | Stage::Settling);
        let running = self.state.known.values().filter(at_work).count();
        let counters = &self.state.counters;
        MessageResult(Some(Pulse {
            counters: vec![
                ("running", running as u64),
                ("ready", self.state.ready.len() as u64),
                ("soon", self.state.wheel.len() as u64),
                ("accepted", counters.accepted),
                ("delivered", counters.delivered),
                ("deferred", counters.deferred),
                ("failed", counters.failed),
                ("unknown", counters.unknown),
                ("untold", counters.untold),
            ],
        }))
    }
}

impl Handler<PanicNow> for QueueActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}
