//! The agenda against a plain model: every batch in one table, in virtual time.
//!
//! The table is the disk. What the daemon does through tasks and messages is done here by steps in any order: a page is a copy of the
//! table at the time of its reading and comes later, words about changes wait in a mailbox, attempts are leased and settled by
//! `ledger`. Memory and pages are tiny, so that every way of running short of them is met.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::address::Mailbox;
use crate::dice::Dice;
use crate::envelope::{EnvelopeId, Recipient, Route};
use crate::outcome::{Cause, Failure, Outcome, Reach, Receipt, Stage as At};
use crate::queue::amendment::{self, Amendment, Reroute};
use crate::queue::lease::{Boot, Lease};
use crate::queue::ledger::{self, Books, End, NotLeasable, Report, Terms};
use crate::queue::record::{BatchRecord, Hold, RecipientRecord, Standing};
use crate::queue::schedule::Plan;
use crate::queue::silence::Answer;
use crate::queue::site::Feedback;
use crate::queue::sites::Gate;
use crate::route::destination::Splitting;

const SPAN: Duration = Duration::from_secs(7200);
const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const PEOPLE: u32 = 2;
/// Destinations of targets. With those of the people there are as many as memory has lines: beyond that a batch that is due may have to
/// wait for a line to be free.
const TARGETS: u8 = 4;
/// A batch that could not be read, after the clock was set back.
const WORST: Duration = Duration::from_secs(200);

#[derive(Clone, Debug)]
enum Step {
    Accept {
        destination: u8,
        batches: u8,
    },
    /// Time passes, as the daemon sees it: it wakes when the agenda wants it to.
    Pass(u32),
    /// The clock is set back a little.
    Back(u32),
    AskForPage,
    ReadPage,
    PageComes,
    PageFails,
    TakeOff,
    Lease {
        which: u8,
        fault: bool,
    },
    /// A limit of ours refuses.
    Limit {
        which: u8,
        source: bool,
        seconds: Option<u8>,
    },
    /// Others have given something back.
    Released,
    Slow {
        which: u8,
        within: Within,
    },
    Finish {
        which: u8,
        ends: [How; PEOPLE as usize],
    },
    Settle,
    /// Words of different tasks come in any order.
    Word(u8),
    Hold(u8),
    Release(u8),
    RetryNow {
        which: u8,
        blind: bool,
    },
    /// To a target that takes all together, or to one that takes each person by itself.
    Reroute {
        which: u8,
        /// One of those that are told of while they are in hand.
        in_hand: bool,
        to: Option<u8>,
    },
    ReadAgain,
    Stop(bool),
    Fall,
    Reboot,
    Calm,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Delivered,
    Deferred,
    Failed,
    Postponed,
    Unknown,
    NoAnswer,
    Missing,
}

impl How {
    fn outcome(self) -> Option<Outcome> {
        Some(match self {
            How::Delivered => {
                let text = String::new();
                let receipt = Receipt {
                    code: 250,
                    status: None,
                    text,
                    remote: None,
                    dsn_passed_on: true,
                    reach: Reach::Server,
                };
                Outcome::Delivered(receipt)
            }
            How::Deferred => Failure::refused(At::Rcpt, 450, None, "later").outcome(),
            How::Failed => Failure::refused(At::Rcpt, 550, None, "never").outcome(),
            How::Postponed => Failure::new(Cause::OwnLimit, "limit").outcome(),
            How::Unknown => Failure::new(Cause::UnknownAfterDot, "dot").outcome(),
            How::NoAnswer => Failure::new(Cause::Unreachable, "nobody").outcome(),
            How::Missing => return None,
        })
    }
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        3 => Just(How::Delivered),
        3 => Just(How::Deferred),
        1 => Just(How::Failed),
        2 => Just(How::Postponed),
        1 => Just(How::Unknown),
        2 => Just(How::NoAnswer),
        1 => Just(How::Missing),
    ];
    let ends = [how.clone(), how];
    prop_oneof![
        6 => (0..TARGETS, 1..5u8).prop_map(|(destination, batches)| Step::Accept { destination, batches }),
        4 => (0..4000u32).prop_map(Step::Pass),
        1 => (0..100u32).prop_map(Step::Back),
        8 => Just(Step::AskForPage),
        8 => Just(Step::ReadPage),
        8 => Just(Step::PageComes),
        1 => Just(Step::PageFails),
        8 => Just(Step::TakeOff),
        8 => (any::<u8>(), prop::bool::weighted(0.05))
            .prop_map(|(which, fault)| Step::Lease { which, fault }),
        3 => (any::<u8>(), any::<bool>(), prop::option::of(0..100u8))
            .prop_map(|(which, source, seconds)| Step::Limit { which, source, seconds }),
        1 => Just(Step::Released),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, session)| {
            let within = if session { Within::Session } else { Within::Dialling };
            Step::Slow { which, within }
        }),
        6 => (any::<u8>(), ends).prop_map(|(which, ends)| Step::Finish { which, ends }),
        6 => Just(Step::Settle),
        12 => prop_oneof![3 => Just(0), 1 => any::<u8>()].prop_map(Step::Word),
        1 => any::<u8>().prop_map(Step::Hold),
        2 => any::<u8>().prop_map(Step::Release),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, blind)| Step::RetryNow { which, blind }),
        6 => (any::<u8>(), any::<bool>(), prop::option::weighted(0.5, 0..TARGETS))
            .prop_map(|(which, in_hand, to)| Step::Reroute { which, in_hand, to }),
        1 => Just(Step::ReadAgain),
        1 => any::<bool>().prop_map(Step::Stop),
        1 => Just(Step::Fall),
        1 => Just(Step::Reboot),
        2 => Just(Step::Calm),
    ]
}

/// What is on disk of a batch.
#[derive(Clone, Debug)]
struct Row {
    record: BatchRecord,
    people: Vec<(u32, RecipientRecord)>,
}

/// An attempt, its task.
#[derive(Clone, Debug)]
struct Task {
    batch: BatchId,
    key: DestinationKey,
    room: Room,
    number: u64,
    /// Once it is written down.
    lease: Option<Lease>,
}

/// In the actor's mailbox.
#[derive(Clone, Debug)]
enum Word {
    Arrived(BatchId, Timestamp, DestinationKey),
    Moved(BatchId, Option<Timestamp>),
    Refused(BatchId, u64, Refused),
    Settled(Lease, Option<(Timestamp, DestinationKey)>),
    Leases(u64, Vec<(DestinationKey, Lease)>),
}

struct World {
    now: Timestamp,
    agenda: Agenda,
    limits: Limits,
    plan: Plan,
    dice: Dice,
    boot: u64,
    life: u64,
    serial: u64,
    disk: BTreeMap<BatchId, Row>,
    ended: HashMap<BatchId, u32>,
    /// Something that named their old destination was still under way when they were rerouted: they may fly under either.
    doubtful: HashSet<BatchId>,
    slots: usize,
    patience: usize,
    tasks: Vec<Task>,
    /// What the actor knows of its flights: the number of the task.
    flights: HashMap<BatchId, u64>,
    settling: VecDeque<Report>,
    mailbox: VecDeque<Word>,
    asked: Option<Read>,
    page: Option<Vec<Due>>,
    stopped: bool,
    takes: u64,
}

const SLOTS: usize = 3;
const PATIENCE: usize = 2;

fn tiny() -> Limits {
    let pages = Pages { ahead: Duration::from_secs(600), size: 3, pause: Duration::from_secs(1) };
    let sites = Rules { widest: 4, rest: Duration::from_secs(100) };
    let memory = Memory { batches: 6, of_one: 4 };
    Limits { memory, pages, silent: 3, sites, parked: 3 }
}

/// The sender's domain, one of two.
fn lot(batch: BatchId) -> Lot {
    Lot::new(if batch.envelope.to_bytes()[15].is_multiple_of(2) { "even" } else { "odd" })
}

fn key(number: u64) -> DestinationKey {
    DestinationKey::Target(format!("d{number}"))
}

impl World {
    fn new(limits: Limits, slots: usize) -> World {
        let mut agenda = Agenda::new(limits);
        agenda.recover();
        World {
            now: START,
            agenda,
            limits,
            plan: Plan { max_tries: 6, ..Plan::default() },
            dice: Dice::new(1),
            boot: 1,
            life: 1,
            serial: 0,
            disk: BTreeMap::new(),
            ended: HashMap::new(),
            doubtful: HashSet::new(),
            slots,
            patience: PATIENCE,
            tasks: Vec::new(),
            flights: HashMap::new(),
            settling: VecDeque::new(),
            mailbox: VecDeque::new(),
            asked: None,
            page: None,
            stopped: false,
            takes: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Accept { destination, batches } => {
                (0..batches).for_each(|_| self.accept(key(u64::from(destination))));
            }
            Step::Pass(seconds) => self.now = self.now.plus(Duration::from_secs(seconds.into())),
            Step::Back(seconds) => self.now = self.now.minus(Duration::from_secs(seconds.into())),
            Step::AskForPage => self.ask(),
            Step::ReadPage => self.read(),
            Step::PageComes => self.page_comes(),
            Step::PageFails => {
                if let Some(read) = self.asked.take() {
                    self.page = None;
                    self.agenda.read_failed(&read, self.now);
                }
            }
            Step::TakeOff => drop(self.take_off()),
            Step::Lease { which, fault } => self.lease(which.into(), fault),
            Step::Limit { which, source, seconds } => self.limit(which.into(), source, seconds),
            Step::Released => self.agenda.released_some(self.now),
            Step::Slow { which, within } => self.slow(which.into(), within),
            Step::Finish { which, ends } => self.finish(which.into(), ends),
            Step::Settle => self.settle(),
            Step::Word(which) => self.word(which.into()),
            Step::Hold(which) => {
                let (now, mut moved) = (self.now, None);
                if let Some((batch, row)) = self.some_row(which) {
                    // As the operator may: not under a lease.
                    if row.record.lease.is_none() {
                        let (reason, by) = ("why".to_string(), "root".to_string());
                        row.record.hold = Some(Hold { reason, by, since: now });
                        moved = Some(batch);
                    }
                }
                self.mailbox.extend(moved.map(|batch| Word::Moved(batch, None)));
            }
            Step::Release(which) => {
                let held = self.disk.iter_mut().filter(|(_, row)| row.record.hold.is_some());
                let mut held: Vec<_> = held.collect();
                let count = held.len().max(1);
                if let Some((batch, row)) = held.get_mut(usize::from(which) % count) {
                    row.record.hold = None;
                    self.mailbox.push_back(Word::Moved(**batch, Some(row.record.due)));
                }
            }
            Step::RetryNow { which, blind } => {
                let now = self.now;
                let Some((batch, row)) = self.some_row(which) else { return };
                let word = match Amendment::Retry.apply(&row.record, &Route::Target, now) {
                    Ok(record) => {
                        row.record = record;
                        Word::Moved(batch, Some(now))
                    }
                    // Due already: it is looked for, wherever it is.
                    Err(_) if blind && row.record.hold.is_none() => {
                        Word::Moved(batch, Some(row.record.due))
                    }
                    Err(_) => return,
                };
                self.mailbox.push_back(word);
            }
            Step::Reroute { which, in_hand, to } => self.reroute(which, in_hand, to),
            Step::ReadAgain => self.agenda.read_again(Timestamp::ZERO, self.now),
            Step::Stop(stop) => self.stopped = stop,
            Step::Fall => {
                self.life += 1;
                self.restart();
            }
            Step::Reboot => {
                self.boot += 1;
                self.life += 1;
                self.tasks.clear();
                self.settling.clear();
                self.mailbox.clear();
                (self.slots, self.patience) = (SLOTS, PATIENCE);
                self.restart();
            }
            Step::Calm => self.calm(),
        }
        assert!(self.slots <= SLOTS && self.patience <= PATIENCE && self.census_is_bounded());
    }

    fn census_is_bounded(&self) -> bool {
        let Census { waiting, lines, parked, .. } = self.agenda.census();
        let most = self.limits.memory.batches;
        waiting <= most && lines <= most && parked <= self.limits.parked
    }

    fn accept(&mut self, key: DestinationKey) {
        self.serial += 1;
        let envelope = EnvelopeId::from_bytes(u128::from(self.serial).to_be_bytes());
        let batch = BatchId { envelope, index: 0 };
        let record = BatchRecord {
            destination: key.clone(),
            arrived: self.now,
            due: self.now,
            attempts: 0,
            lease: None,
            hold: None,
            rerouted: None,
            last_attempt: None,
            last_failure: None,
        };
        let recipient = |n: u32| {
            let address = Mailbox::parse(&format!("p@host{n}.example.org")).unwrap();
            (n, RecipientRecord::new(Recipient::new(address)))
        };
        self.disk.insert(batch, Row { record, people: (0..PEOPLE).map(recipient).collect() });
        self.mailbox.push_back(Word::Arrived(batch, self.now, key));
    }

    fn some_row(&mut self, which: u8) -> Option<(BatchId, &mut Row)> {
        let place = usize::from(which) % self.disk.len().max(1);
        self.disk.iter_mut().nth(place).map(|(batch, row)| (*batch, row))
    }

    /// As the spool does it: the first part keeps the number, and nobody is told of the others.
    fn reroute(&mut self, which: u8, in_hand: bool, to: Option<u8>) {
        let (target, splitting) = match to.map(|to| format!("d{to}")) {
            Some(target) => (target.clone(), Splitting::Whole(target)),
            None => ("hosts".to_string(), Splitting::ByHost),
        };
        let order = Reroute { target, splitting: splitting.clone(), own: "own".into() };
        let now = self.now;
        let fits = |(batch, row): &(&BatchId, &Row)| {
            let waiting = !matches!(
                self.agenda.known.get(*batch),
                Some(Stage::Flying(_) | Stage::Settling { .. })
            );
            row.record.lease.is_none() && waiting != in_hand
        };
        let some: Vec<BatchId> = self.disk.iter().filter(fits).map(|(batch, _)| *batch).collect();
        let Some(batch) = some.get(usize::from(which) % some.len().max(1)).copied() else { return };
        let row = self.disk.get_mut(&batch).unwrap();
        let order = Amendment::Reroute(order);
        let Ok(after) = order.apply(&row.record, &Route::Target, now) else { return };
        let mut parts = amendment::split(&splitting, row.people.clone()).into_iter();
        let (first, _) = parts.next().unwrap();
        row.record = BatchRecord { destination: first, ..after.clone() };
        let scheduled = after.hold.is_none().then_some(after.due);
        let ids = self.disk.keys().chain(self.ended.keys());
        let last = ids.filter(|id| id.envelope == batch.envelope).map(|id| id.index).max();
        for (index, (destination, people)) in (last.unwrap() + 1..).zip(parts) {
            let before = self.disk.get_mut(&batch).unwrap();
            before.people.retain(|(number, _)| people.iter().all(|(gone, _)| gone != number));
            let people = people.into_iter().zip(0..).map(|((_, person), is)| (is, person));
            let record = BatchRecord { destination, ..after.clone() };
            let part = BatchId { index, ..batch };
            self.disk.insert(part, Row { record, people: people.collect() });
        }
        if self.is_named(batch) {
            self.doubtful.insert(batch);
        }
        self.mailbox.push_back(Word::Moved(batch, scheduled));
    }

    /// Is something under way that says where this batch is, or was?
    fn is_named(&self, batch: BatchId) -> bool {
        let names = |word: &Word| match word {
            Word::Arrived(id, ..) | Word::Moved(id, _) | Word::Refused(id, ..) => *id == batch,
            Word::Settled(lease, _) => lease.batch == batch,
            Word::Leases(_, leases) => leases.iter().any(|(_, lease)| lease.batch == batch),
        };
        self.asked.is_some() || self.flights.contains_key(&batch) || self.mailbox.iter().any(names)
    }

    fn ask(&mut self) {
        if self.asked.is_none() {
            self.asked = self.agenda.next_read(self.now);
            self.page = None;
        }
    }

    fn read(&mut self) {
        let (Some(read), None) = (self.asked, &self.page) else { return };
        let schedule = self.disk.iter().filter(|(_, row)| row.record.hold.is_none());
        let mut found: Vec<Due> = schedule
            .map(|(batch, row)| Due {
                at: row.record.due,
                batch: *batch,
                destination: row.record.destination.clone(),
            })
            .filter(|due| Some((due.at, due.batch)) > read.after && due.at <= read.until)
            .collect();
        found.sort_by_key(|due| (due.at, due.batch));
        found.truncate(read.limit);
        self.page = Some(found);
    }

    fn page_comes(&mut self) {
        if let (Some(read), Some(page)) = (self.asked, self.page.take()) {
            self.asked = None;
            self.agenda.page(&read, page, self.now);
        }
    }

    fn restart(&mut self) {
        self.agenda = Agenda::new(self.limits);
        (self.asked, self.page) = (None, None);
        self.flights.clear();
        let lease = |row: &Row| Some((row.record.destination.clone(), row.record.lease.clone()?));
        let leases = self.disk.values().filter_map(lease).collect();
        self.mailbox.push_back(Word::Leases(self.life, leases));
    }

    fn take_off(&mut self) -> Option<DestinationKey> {
        if self.stopped {
            return None;
        }
        let rooms = [(Room::Slot, self.slots), (Room::Patience, self.patience)];
        for (room, _) in rooms.into_iter().filter(|(_, free)| *free > 0) {
            let Some((batch, key)) = self.agenda.take_off(room, self.now) else { continue };
            *self.room(room) -= 1;
            self.takes += 1;
            // What is known of hosts is known of where the batch goes now.
            if let Some(row) = self.disk.get(&batch).filter(|row| row.record.destination != key) {
                let told = |word: &Word| matches!(word, Word::Moved(id, _) if *id == batch);
                let excused = self.doubtful.contains(&batch) || self.mailbox.iter().any(told);
                assert!(excused, "{batch} for {key}, not {}", row.record.destination);
                self.doubtful.insert(batch);
            }
            self.flights.insert(batch, self.takes);
            let task = Task { batch, key: key.clone(), room, number: self.takes, lease: None };
            self.tasks.push(task);
            return Some(key);
        }
        None
    }

    fn room(&mut self, room: Room) -> &mut usize {
        match room {
            Room::Slot => &mut self.slots,
            Room::Patience => &mut self.patience,
        }
    }

    fn some_task(&self, which: usize, leased: bool) -> Option<usize> {
        let fits = |(_, task): &(usize, &Task)| task.lease.is_some() == leased;
        let places: Vec<usize> =
            self.tasks.iter().enumerate().filter(fits).map(|(place, _)| place).collect();
        places.get(which % places.len().max(1)).copied()
    }

    fn lease(&mut self, which: usize, fault: bool) {
        let Some(place) = self.some_task(which, false) else { return };
        let Task { batch, number, room, .. } = self.tasks[place].clone();
        let boot = Boot { node: "here".into(), number: self.boot };
        let terms = Terms { boot, serial: number, now: self.now, span: SPAN };
        let refused = match self.disk.get_mut(&batch) {
            _ if fault => Refused::Grounded,
            None => Refused::NotOurs,
            Some(row) => {
                match ledger::take(batch, &row.record, &terms, &self.plan, &mut self.dice) {
                    Ok((record, lease)) => {
                        assert!(row.record.due <= self.now && row.record.hold.is_none());
                        assert!(!self.ended.contains_key(&batch), "taken after its end");
                        row.record = record;
                        self.tasks[place].lease = Some(lease);
                        let lots = vec![lot(batch)];
                        if self.flights.get(&batch) == Some(&number) {
                            self.agenda.granted(batch, lots, self.now);
                        }
                        return;
                    }
                    Err(NotLeasable::NotDue(due)) => Refused::NotDue(due),
                    Err(NotLeasable::Leased | NotLeasable::Held) => Refused::NotOurs,
                    Err(NotLeasable::Abandoned(lease)) => {
                        // All of these were settled after the start.
                        panic!("abandoned lease {lease:?}");
                    }
                }
            }
        };
        self.tasks.remove(place);
        *self.room(room) += 1;
        self.mailbox.push_back(Word::Refused(batch, number, refused));
    }

    /// As the daemon does it before the lease.
    fn limit(&mut self, which: usize, source: bool, seconds: Option<u8>) {
        let Some(place) = self.some_task(which, false) else { return };
        let Task { batch, number, room, .. } = self.tasks.remove(place);
        *self.room(room) += 1;
        let by = if source { Limited::Other(lot(batch)) } else { Limited::Destination };
        let until = seconds.map(|seconds| self.now.plus(Duration::from_secs(seconds.into())));
        let refused = Refused::Limited { by, until };
        self.mailbox.push_back(Word::Refused(batch, number, refused));
    }

    fn slow(&mut self, which: usize, within: Within) {
        let Some(place) = self.some_task(which, true) else { return };
        let Task { batch, room, number, .. } = self.tasks[place];
        if room == Room::Patience || self.flights.get(&batch) != Some(&number) {
            return;
        }
        match self.agenda.waits_long(batch, within, self.patience > 0, self.now) {
            Patience::StepAside => {
                self.slots += 1;
                self.patience -= 1;
                self.tasks[place].room = Room::Patience;
            }
            Patience::Stay => {}
            Patience::CallOff => self.finish_at(place, [How::Postponed; PEOPLE as usize]),
        }
    }

    fn finish(&mut self, which: usize, ends: [How; PEOPLE as usize]) {
        if let Some(place) = self.some_task(which, true) {
            self.finish_at(place, ends);
        }
    }

    fn finish_at(&mut self, place: usize, ends: [How; PEOPLE as usize]) {
        let Task { batch, room, lease, .. } = self.tasks.remove(place);
        *self.room(room) += 1;
        let people = &self.disk[&batch].people;
        let waiting = people.iter().filter(|(_, r)| r.standing.is_waiting());
        let outcomes: Vec<(u32, Outcome)> = waiting
            .zip(ends)
            .filter_map(|((index, _), how)| how.outcome().map(|outcome| (*index, outcome)))
            .collect();
        self.flights.remove(&batch);
        let feedback = Feedback::of(&outcomes);
        self.agenda.land(batch, Answer::of(&outcomes), &feedback, self.now);
        self.settling.push_back(Report { lease: lease.unwrap(), outcomes, fault: None });
    }

    fn settle(&mut self) {
        let Some(report) = self.settling.pop_front() else { return };
        let batch = report.lease.batch;
        let Some(row) = self.disk.get(&batch).cloned() else {
            return self.mailbox.push_back(Word::Settled(report.lease, None));
        };
        let current = row.record.lease.as_ref() == Some(&report.lease);
        let made = row.record.attempts;
        let postponed = |(_, outcome): &(u32, Outcome)| matches!(outcome, Outcome::Postponed(_));
        // Whatever is missing counts.
        let missing = report.outcomes.len() < waiting(&row);
        let counts = missing || !report.outcomes.iter().all(postponed);
        let Row { record, people } = row;
        let books = Books { batch: record, recipients: people, journal: Vec::new() };
        let plan = &self.plan;
        let settlement = ledger::settle(books, &report, plan, self.now, &mut self.dice);
        let row = self.disk.get_mut(&batch).unwrap();
        for (index, record) in &settlement.changed {
            let before = row.people.iter_mut().find(|(i, _)| i == index).unwrap();
            assert!(before.1.standing.is_waiting(), "an end is final");
            before.1 = record.clone();
        }
        for ended in &settlement.ended {
            let gave_up = matches!(&ended.end, End::Failed { gave_up: true, .. });
            assert!(!gave_up || made >= plan.max_tries, "gave up after {made} attempts");
        }
        let Some(record) = settlement.batch else {
            assert!(row.people.iter().all(|(_, r)| !matches!(r.standing, Standing::Waiting)));
            self.disk.remove(&batch);
            self.ended.insert(batch, made);
            self.mailbox.push_back(Word::Settled(report.lease, None));
            return;
        };
        if current {
            assert_eq!(record.attempts, if counts { made } else { made - 1 });
            assert!(made <= plan.max_tries);
        }
        if current && counts {
            let delay = plan.delay_before(made + 1);
            let waits = record.due.since(self.now);
            let unknown = report.outcomes.iter().any(|(_, o)| matches!(o, Outcome::Unknown(_)));
            assert!(waits >= delay.mul_f64(0.899) && (unknown || waits <= delay.mul_f64(1.101)));
        }
        let next = record.lease.is_none().then(|| (record.due, record.destination.clone()));
        row.record = record;
        self.mailbox.push_back(Word::Settled(report.lease, next));
    }

    fn word(&mut self, which: usize) {
        let now = self.now;
        let place = which % self.mailbox.len().max(1);
        match self.mailbox.remove(place) {
            Some(Word::Arrived(batch, at, key)) => self.agenda.arrive(batch, at, &key, now),
            Some(Word::Moved(batch, at)) => self.agenda.moved(batch, at, now),
            Some(Word::Refused(batch, number, why)) => {
                if self.flights.get(&batch) == Some(&number) {
                    self.flights.remove(&batch);
                    self.agenda.refuse(batch, why, now);
                }
            }
            Some(Word::Settled(lease, next)) => {
                let batch = lease.batch;
                if self.flights.get(&batch) == Some(&lease.serial) {
                    self.flights.remove(&batch);
                    self.agenda.land(batch, Answer::NotAsked, &Feedback::Nothing, now);
                }
                let next = next.as_ref().map(|(at, key)| (*at, key));
                self.agenda.settled(batch, next, now);
            }
            Some(Word::Leases(life, leases)) if life == self.life => self.leases(leases),
            Some(Word::Leases(..)) | None => {}
        }
    }

    fn leases(&mut self, leases: Vec<(DestinationKey, Lease)>) {
        let boot = Boot { node: "here".into(), number: self.boot };
        for (key, lease) in leases {
            let batch = lease.batch;
            if !self.agenda.is_news(batch) {
                continue;
            }
            if lease.is_void(&boot, self.now) {
                self.agenda.land(batch, Answer::NotAsked, &Feedback::Nothing, self.now);
                let fault = Some(Failure::new(Cause::Interrupted, "the daemon ended"));
                self.settling.push_back(Report { lease, outcomes: Vec::new(), fault });
            } else {
                self.agenda.adopt(batch, key, lease.taken);
                self.flights.insert(batch, lease.serial);
            }
        }
        self.agenda.recover();
    }

    /// All that is under way comes to its end, and all the agenda wishes for is done, without the clock.
    fn catch_up(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "never at rest");
            if !self.mailbox.is_empty() {
                self.word(0);
            } else if !self.settling.is_empty() {
                self.settle();
            } else if self.asked.is_some() {
                self.read();
                self.page_comes();
            } else if self.some_task(0, false).is_some() {
                self.lease(0, false);
            } else {
                self.ask();
                if self.asked.is_none() && self.take_off().is_none() {
                    return;
                }
            }
        }
    }

    fn due(&self) -> Vec<BatchId> {
        let due = |row: &Row| {
            let BatchRecord { lease, hold, due, .. } = &row.record;
            lease.is_none() && hold.is_none() && *due <= self.now
        };
        self.disk.iter().filter(|(_, row)| due(row)).map(|(batch, _)| *batch).collect()
    }

    /// Every batch that is due has its turn before the agenda's next horizon: nothing is forgotten.
    fn calm(&mut self) {
        self.stopped = false;
        for round in 0.. {
            assert!(round < 100_000, "{} due batches never come up", self.due().len());
            self.catch_up();
            if self.some_task(0, true).is_some() {
                self.finish(0, [How::Deferred; PEOPLE as usize]);
                continue;
            }
            let due = self.due();
            if due.is_empty() {
                break;
            }
            // Without a flight in the air only time can bring them up, and not much of it.
            let wakes = self.agenda.wakes();
            let soon = wakes.filter(|at| *at > self.now && at.since(self.now) <= WORST);
            let Some(at) = soon else {
                panic!("{due:?} forgotten at {:?}, wakes {wakes:?}: {:?}", self.now, self.agenda);
            };
            self.now = at;
        }
        let waiting = self.disk.values().filter(|row| row.record.hold.is_none());
        let next = waiting.map(|row| row.record.due).min();
        let horizon = self.agenda.wakes();
        let late = |next: Timestamp| next.plus(self.limits.pages.pause);
        assert!(horizon.is_some() && next.is_none_or(|next| horizon <= Some(late(next))));
    }

    /// Time passes with a daemon that does at once what is to be done; every attempt ends by `how`.
    fn live(&mut self, span: Duration, mut how: impl FnMut(&DestinationKey) -> How) {
        let end = self.now.plus(span);
        while self.now < end {
            self.catch_up();
            while let Some(place) = self.some_task(0, true) {
                let how = how(&self.tasks[place].key);
                self.finish_at(place, [how; PEOPLE as usize]);
                self.catch_up();
            }
            let wakes = self.agenda.wakes().unwrap();
            let soon = wakes.since(self.now) <= self.limits.pages.pause;
            let rests = |batch: &BatchId| {
                let row = &self.disk[batch];
                let gate = self.agenda.sites.gate(&row.record.destination, self.now);
                matches!(gate, Gate::Until(_))
                    || matches!(self.agenda.known.get(batch), Some(Stage::Parked { .. }))
            };
            let due = self.due();
            assert!(soon || due.iter().all(rests), "{due:?} forgotten");
            assert!(wakes > self.now, "the daemon would never sleep");
            self.now = wakes.min(end);
        }
    }
}

fn waiting(row: &Row) -> usize {
    row.people.iter().filter(|(_, r)| r.standing.is_waiting()).count()
}

/// A hundred runs take a second; `PROPTEST_CASES` asks for more. A failure prints the steps that are left of it, and
/// keeps its seed for the next run.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    // The library's own number stands for "nobody asked".
    let cases = if config.cases == 256 { 100 } else { config.cases };
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_is_forgotten_and_nothing_done_twice(
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(tiny(), SLOTS);
        steps.into_iter().for_each(|step| world.step(step));
        world.calm();
        // All leave in the end, and leave no trace in memory.
        for row in world.disk.values_mut() {
            row.record.hold = None;
        }
        world.agenda.read_again(Timestamp::ZERO, Timestamp::from_micros(u64::MAX));
        world.live(Duration::from_secs(14 * 24 * 3600), |_| How::Deferred);
        prop_assert_eq!(world.disk.len(), 0);
        prop_assert_eq!(world.agenda.census(), Census::default());
        prop_assert_eq!((world.slots, world.patience), (SLOTS, PATIENCE));
    }

    #[test]
    fn each_of_k_destinations_has_a_turn_within_k_takes(
        lengths in prop::collection::vec(1..20usize, 1..12),
        tight in any::<bool>(),
    ) {
        let pages = tiny().pages;
        let memory = Memory { batches: if tight { lengths.len() } else { 1000 }, of_one: 100 };
        let mut world = World::new(Limits { memory, pages, ..tiny() }, usize::MAX);
        world.agenda = Agenda::new(world.limits);
        // All of one before all of the next, as after a long outage.
        for (number, length) in lengths.iter().enumerate() {
            (0..*length).for_each(|_| world.accept(key(number as u64)));
        }
        world.restart();
        let mut left: HashMap<DestinationKey, (usize, u64)> = lengths.iter().enumerate()
            .map(|(number, length)| (key(number as u64), (*length, 0)))
            .collect();
        world.mailbox.retain(|word| matches!(word, Word::Leases(..)));
        let most = lengths.len() as u64;
        loop {
            while !world.mailbox.is_empty() {
                world.word(0);
            }
            world.ask();
            while world.asked.is_some() {
                world.read();
                world.page_comes();
                world.ask();
            }
            let Some(key) = world.take_off() else { break };
            // It is over at once, so that it takes no other one's place.
            let Task { batch, .. } = world.tasks.remove(0);
            world.disk.remove(&batch);
            world.agenda.refuse(batch, Refused::NotOurs, world.now);
            let (count, last) = left[&key];
            prop_assert!(world.takes - last <= most, "{key} waited from {last} to {}", world.takes);
            left.insert(key, (count - 1, world.takes));
        }
        prop_assert!(left.values().all(|(count, _)| *count == 0));
    }
}

#[test]
fn a_page_older_than_a_move_delays_nobody() {
    let mut world = World::new(tiny(), SLOTS);
    world.accept(key(0));
    world.mailbox.clear();
    let (batch, row) = world.some_row(0).unwrap();
    row.record.due = START.plus(Duration::from_secs(500));
    world.ask();
    world.read();
    // Tried again now, while the page that has it in eight minutes is on its way.
    world.step(Step::RetryNow { which: 0, blind: false });
    world.word(0);
    world.page_comes();
    world.catch_up();
    assert_eq!(world.some_task(0, true).map(|place| world.tasks[place].batch), Some(batch));
}

#[test]
fn what_is_split_off_from_one_in_hand_has_its_turn() {
    let mut world = World::new(tiny(), SLOTS);
    world.accept(key(0));
    world.catch_up();
    world.finish(0, [How::Deferred; PEOPLE as usize]);
    world.settle();
    // The end of the attempt is written down, and the word of it comes after the one of the rerouting.
    world.step(Step::Reroute { which: 0, in_hand: true, to: None });
    world.word(1);
    world.catch_up();
    assert_eq!(world.tasks.len(), PEOPLE as usize);
}

#[test]
fn a_late_word_of_a_hold_keeps_nothing_back() {
    let mut world = World::new(tiny(), SLOTS);
    world.accept(key(0));
    world.word(0);
    world.step(Step::Hold(0));
    world.step(Step::Release(0));
    // The release is told first, and what it brings back is read before the hold is told.
    world.word(1);
    for _ in 0..2 {
        world.ask();
        world.read();
        world.page_comes();
    }
    world.word(0);
    world.catch_up();
    assert!(world.some_task(0, true).is_some());
}

#[test]
fn a_week_of_retries() {
    let mut world = World::new(Limits::default(), SLOTS);
    world.plan = Plan::default();
    (0..200).for_each(|number| world.accept(key(number % 7)));
    let begun = world.now;
    world.live(Duration::from_secs(7 * 24 * 3600), |_| How::Deferred);
    assert_eq!(world.disk.len(), 0);
    assert_eq!(world.ended.len(), 200);
    assert!(world.ended.values().all(|attempts| *attempts == 20));
    assert_eq!(world.takes, 200 * 20);
    assert!(world.now > begun);
}
