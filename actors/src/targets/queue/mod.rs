//! QueueActor: one `target.queue`.
//!
//! 1. `Accept` puts a message on disk and its batches in line.
//! 2. `pump` starts attempts while there are slots: a flight takes the lease, loads the body and hands both to the target.
//! 3. `Finished` ends a flight: the spool settles it, and what still waits goes back on the wheel.
//!
//! The disk is the truth. What is near of the schedule, and whose turn it is, is kept by `posthaste_mail::queue::agenda`; the actor has
//! the permits, the tasks and the words for people. After a fall all of it is read again.

mod accept;
mod amend;
mod explain;
mod flight;
mod limited;
mod memory;
pub mod notice;
mod operator;
mod relay;
pub mod settings;
mod settle;
#[cfg(test)]
mod trial;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use actix::{
    Actor, AsyncContext, Context, Handler, MessageResult, Recipient as Address, SpawnHandle,
    Supervised,
};
use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use posthaste_edge::clock::Clock;
use posthaste_edge::hints::Hints;
use posthaste_edge::spool::{Leased, Spool, SpoolError};
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::agenda::{Agenda, Limits, Patience};
use posthaste_mail::queue::lease::{Boot, Lease};
use posthaste_mail::queue::ledger::Report;
use posthaste_mail::queue::reader::Read;
use posthaste_mail::queue::record::{BatchId, Due};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::queue::silence::Answer;
use posthaste_mail::queue::site::{Feedback, LONGEST_REST, Rules};
use posthaste_mail::queue::turns::Room;
use posthaste_mail::route::destination::{DestinationKey, Splitting};
use posthaste_mail::time::Timestamp;

use crate::limits::SharedLimits;
use crate::messages::delivery::{Deliver, Slot, WaitingLong};
use crate::messages::lifecycle::{
    Drain, Fatal, PanicNow, Probe, Pulse, TargetResumed, TargetSuspended,
};
use crate::task::spawn_reporting;
use crate::trace::Trace;

/// The longest sleep between two looks at the agenda: a clock that is set forward is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);
/// The longest an attempt may take.
const LEASE_SPAN: Duration = Duration::from_secs(2 * 3600);

/// How many attempts may wait for silent hosts without a slot: they cost little but a socket each, and live hosts take no part in it.
pub fn patience(max_parallelism: usize) -> usize {
    max_parallelism.saturating_mul(4).clamp(64, 1024)
}

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
    /// `limits` of this target.
    pub limits: Option<SharedLimits>,
    /// `None`: there is no `bounce` block, and no notification is made.
    pub bounce: Option<Arc<notice::Ways>>,
    pub splitting: Splitting,
    /// Every configured target: where an operator may reroute to.
    pub exits: Arc<[notice::Way]>,
    pub plan: Plan,
    pub max_parallelism: usize,
    /// Names of targets that panicked too often and rest. Outlives this actor.
    pub suspended: Arc<RwLock<HashSet<String>>>,
    /// `max_parallelism` permits: a slot stays taken while its task runs, whatever happens to this actor.
    pub slots: Arc<Semaphore>,
    /// Places for attempts that wait for silent hosts without a slot.
    pub patience: Arc<Semaphore>,
    pub trace: Arc<Trace>,
    /// Outlives the process, or does not.
    pub hints: Hints,
    pub fatal: Address<Fatal>,
}

impl Deps {
    fn suspended_names(&self) -> RwLockWriteGuard<'_, HashSet<String>> {
        self.suspended.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_suspended(&self, target: &str) -> bool {
        self.suspended.read().unwrap_or_else(PoisonError::into_inner).contains(target)
    }
}

struct Flight {
    /// Counts the flights, so that a word of an earlier one of the same batch is not taken for this one's.
    number: u64,
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
    /// What the task says of itself.
    whereabouts: Whereabouts,
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
    agenda: Agenda,
    flights: HashMap<BatchId, Flight>,
    /// The same, the oldest first.
    by_age: BTreeMap<u64, BatchId>,
    /// When the agenda is looked at again.
    alarm: Option<(Timestamp, SpawnHandle)>,
    /// Attempts of a process that is gone, to be ended a few at a time: of a message to many destinations there may be very many.
    abandoned: VecDeque<Lease>,
    ending: HashSet<BatchId>,
    draining: bool,
    /// What earlier lives knew of sites has been read.
    recalled: bool,
    /// When sites were written down last.
    remembered: Timestamp,
    serial: u64,
    counters: Counters,
}

impl State {
    fn new(life: u64, deps: &Deps) -> State {
        // As in Postfix a dead site rests no longer than the first retry waits.
        let sites = Rules {
            widest: u32::try_from(deps.max_parallelism).unwrap_or(u32::MAX),
            rest: deps.plan.initial.min(LONGEST_REST),
        };
        State {
            life,
            agenda: Agenda::new(Limits { sites, ..Limits::default() }),
            flights: HashMap::new(),
            by_age: BTreeMap::new(),
            alarm: None,
            abandoned: VecDeque::new(),
            ending: HashSet::new(),
            draining: false,
            recalled: false,
            remembered: Timestamp::ZERO,
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
        let state = State::new(0, &deps);
        QueueActor { deps, state }
    }

    /// A batch is in the schedule, at `due`.
    fn schedule(&mut self, batch: BatchId, due: Timestamp, destination: DestinationKey) {
        let now = self.deps.clock.now();
        self.state.agenda.arrive(batch, due, &destination, now);
    }

    /// Does what the agenda wishes for: starts attempts, reads on, and sleeps until there is more to do.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.start_flights(Room::Slot, ctx);
        self.start_flights(Room::Patience, ctx);
        self.read_on(ctx);
        self.set_alarm(ctx);
    }

    fn start_flights(&mut self, room: Room, ctx: &mut Context<Self>) {
        let permits = match room {
            Room::Slot => Arc::clone(&self.deps.slots),
            Room::Patience => Arc::clone(&self.deps.patience),
        };
        if !self.state.recalled {
            return;
        }
        let now = self.deps.clock.now();
        while !self.state.draining && !self.deps.is_suspended(&self.deps.target_name) {
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { return };
            let Some((batch, destination)) = self.state.agenda.take_off(room, now) else { return };
            self.take_off(batch, destination, room, Slot::new(permit), ctx);
        }
    }

    fn read_on(&mut self, ctx: &mut Context<Self>) {
        let Some(read) = self.state.agenda.next_read(self.deps.clock.now()) else { return };
        let (spool, life, me) = (Arc::clone(&self.deps.spool), self.state.life, ctx.address());
        let work = tokio::task::spawn_blocking;
        let page = async move {
            match work(move || spool.due(read.after, read.until, read.limit)).await {
                Ok(page) => page,
                Err(panic) => Err(SpoolError::Io(panic.to_string())),
            }
        };
        spawn_reporting(&self.deps.runtime, page, move |page| {
            let page = page.unwrap_or_else(|panic| Err(SpoolError::Io(panic)));
            me.do_send(PageRead { life, read, page });
        });
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let latest = now.plus(LONGEST_SLEEP);
        let at = self.state.agenda.wakes().map_or(latest, |at| at.min(latest));
        let at = at.max(now.plus(SHORTEST_SLEEP));
        match self.state.alarm {
            // One that a clock set back has put off is none.
            Some((set, _)) if set <= at => return,
            Some((_, handle)) => {
                ctx.cancel_future(handle);
            }
            None => {}
        }
        let life = self.state.life;
        let handle = ctx.run_later(at.since(now), move |queue, ctx| {
            if queue.state.life == life {
                queue.state.alarm = None;
                queue.end_overdue(ctx);
                queue.remember_sites(queue.deps.clock.now());
                queue.pump(ctx);
            }
        });
        self.state.alarm = Some((at, handle));
    }

    /// Flights that took longer than any attempt may: their task is gone, or it would have ended the attempt itself.
    fn end_overdue(&mut self, ctx: &mut Context<Self>) {
        let oldest = self.state.by_age.values().filter_map(|batch| self.state.flights.get(batch));
        let overdue: Vec<Lease> = oldest
            .take_while(|flight| flight.begun.elapsed() >= LEASE_SPAN)
            .filter_map(|flight| flight.lease.clone())
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

    fn flies(&mut self, batch: BatchId, flight: Flight) {
        self.state.by_age.insert(flight.number, batch);
        self.state.flights.insert(batch, flight);
    }

    /// A flight is over: its slot is free.
    fn lands(&mut self, batch: BatchId) {
        let Some(flight) = self.state.flights.remove(&batch) else { return };
        self.state.by_age.remove(&flight.number);
        if let Some(slot) = &flight.slot {
            slot.give_back();
        }
    }

    /// An attempt has come to its end, which is about to be written down.
    fn landed(&mut self, report: &Report) {
        let batch = report.lease.batch;
        let flight = self.state.flights.get(&batch);
        // The word of a task that was given up for lost ends no later attempt.
        let late = flight.and_then(|f| f.lease.as_ref()).is_some_and(|l| *l != report.lease);
        if !late {
            self.lands(batch);
            let answer = Answer::of(&report.outcomes);
            let feedback = Feedback::of(&report.outcomes);
            self.state.agenda.land(batch, answer, &feedback, self.deps.clock.now());
            if self.state.draining && self.state.flights.is_empty() {
                self.write_sites(self.deps.clock.now());
            }
        }
    }

    fn broken(&self, error: &SpoolError) {
        if let SpoolError::Broken(_) = error {
            let reason = format!("spool of queue {}: {error}", self.deps.name);
            self.deps.fatal.do_send(Fatal { reason });
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
        self.recall_sites(ctx);
        self.hear_of_limits(ctx);
        self.set_alarm(ctx);
    }
}

impl Supervised for QueueActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        let State { draining, serial, .. } = self.state;
        // Orders of the root are facts of the process, not of this life; and no number is given twice in it.
        let state = State::new(self.state.life + 1, &self.deps);
        self.state = State { draining, serial, ..state };
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
            if !self.state.agenda.is_news(batch) {
                continue;
            }
            if lease.is_void(&self.deps.boot, now) {
                // Off the schedule until its turn to be ended comes.
                self.state.agenda.land(batch, Answer::NotAsked, &Feedback::Nothing, now);
                self.state.abandoned.push_back(lease);
                abandoned += 1;
            } else {
                self.state.agenda.adopt(batch, destination.clone(), lease.taken);
                let flight = Flight {
                    number: lease.serial,
                    destination,
                    since: lease.taken,
                    begun: Instant::now(),
                    recipients: 0,
                    attempt: 0,
                    slot: None,
                    call_off: None,
                    patient: false,
                    whereabouts: Whereabouts::begin(Phase::Delivering),
                    lease: Some(lease),
                };
                self.flies(batch, flight);
            }
        }
        if abandoned > 0 {
            info!(self.deps.log, "interrupted attempts found"; "count" => abandoned);
        }
        self.state.agenda.recover();
        self.end_some(ctx);
        self.pump(ctx);
    }
}

/// Disk -> Queue: a page of the schedule.
struct PageRead {
    life: u64,
    read: Read,
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
        let now = self.deps.clock.now();
        match message.page {
            Ok(page) => self.state.agenda.page(&message.read, page, now),
            Err(error) => {
                warn!(self.deps.log, "schedule could not be read"; "cause" => %error);
                self.state.agenda.read_failed(&message.read, now);
                self.broken(&error);
            }
        }
        self.pump(ctx);
    }
}

/// Composition -> Queue: the check after a start has put messages back into the schedule.
#[derive(Clone, Copy, Debug)]
pub struct ReadAgain;

impl actix::Message for ReadAgain {
    type Result = ();
}

impl Handler<ReadAgain> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: ReadAgain, ctx: &mut Context<Self>) {
        self.state.agenda.read_again(Timestamp::ZERO, Timestamp::from_micros(u64::MAX));
        self.pump(ctx);
    }
}

impl Handler<WaitingLong> for QueueActor {
    type Result = ();

    /// One flight of a destination may wait for a silent host without a slot; further ones are called off and wait for their turn,
    /// unless they have a session: that is waited out.
    fn handle(&mut self, message: WaitingLong, ctx: &mut Context<Self>) {
        let WaitingLong { batch, within } = message;
        let Some(flight) = self.state.flights.get_mut(&batch) else { return };
        let place = Arc::clone(&self.deps.patience).try_acquire_owned().ok();
        let now = self.deps.clock.now();
        match self.state.agenda.waits_long(batch, within, place.is_some(), now) {
            Patience::StepAside => {
                flight.patient = true;
                if let (Some(slot), Some(place)) = (&flight.slot, place) {
                    slot.exchange(place);
                }
            }
            Patience::Stay => {}
            Patience::CallOff => {
                if let Some(call_off) = &flight.call_off {
                    call_off.send_replace(true);
                }
            }
        }
        self.pump(ctx);
    }
}

impl Handler<Drain> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.state.draining = true;
        for call_off in self.state.flights.values().filter_map(|flight| flight.call_off.as_ref()) {
            call_off.send_replace(true);
        }
        self.write_sites(self.deps.clock.now());
    }
}

impl Handler<TargetSuspended> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: TargetSuspended, _: &mut Context<Self>) {
        self.deps.suspended_names().insert(message.target);
    }
}

impl Handler<TargetResumed> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: TargetResumed, ctx: &mut Context<Self>) {
        self.deps.suspended_names().remove(&message.target);
        self.pump(ctx);
    }
}

impl Handler<Probe> for QueueActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let census = self.state.agenda.census();
        let counters = &self.state.counters;
        MessageResult(Some(Pulse {
            counters: vec![
                ("running", census.in_hand as u64),
                ("near", census.waiting as u64),
                ("destinations", census.lines as u64),
                ("limited", census.parked as u64),
                ("dead_sites", self.state.agenda.dead_sites(self.deps.clock.now()) as u64),
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
