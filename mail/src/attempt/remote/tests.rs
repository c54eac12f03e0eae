use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::{EnvelopeId, MessageFlags, Origin, Route};
use crate::lookup::Absence;
use crate::outcome::Remote;
use crate::route::mx::MxRecord;
use crate::time::Timestamp;
use crate::wire::reply::Reply;

pub fn envelope() -> Envelope {
    Envelope {
        id: EnvelopeId::new(Timestamp::ZERO, &mut Dice::new(1)),
        from: ReversePath::Mailbox(Mailbox::parse("a@sender.test").unwrap()),
        flags: MessageFlags::default(),
        ret: None,
        envid: None,
        origin: Origin::default(),
        arrived: Timestamp::ZERO,
        size: 1000,
        message_id: None,
        route: Route::Target,
    }
}

/// The ports of these tests answer at once, so one poll is enough.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a port waited"),
    }
}

struct Line(IpAddr, bool);

impl Peer for Line {
    fn remote(&self) -> Remote {
        Remote { host: "mx".into(), address: Some(self.0.to_string()) }
    }
    fn facts(&self) -> SessionFacts {
        SessionFacts::default()
    }
    fn room(&self) -> usize {
        3
    }
    fn is_reused(&self) -> bool {
        self.1
    }
}

type Addresses = Box<dyn Fn(&str) -> Lookup<Vec<IpAddr>> + Send>;

/// The happy path: one exchanger with one address, which takes everything.
struct World {
    mx: Lookup<Vec<MxRecord>>,
    addresses: Addresses,
    connect: Box<dyn Fn(IpAddr) -> Result<(), Failure> + Send>,
    /// Fates by transaction; when it runs out everything is taken.
    fates: VecDeque<Box<dyn Fn(u32) -> Fate + Send>>,
    idle: bool,
    own: Vec<IpAddr>,
    people: u32,
    destination: DestinationKey,
    dialled: Vec<IpAddr>,
    transactions: Vec<usize>,
    outcomes: Vec<(u32, Outcome)>,
    released_in_sync: Vec<bool>,
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn taken() -> Fate {
    Fate::Taken(Reply { code: 250, enhanced: None, lines: vec!["ok".into()] })
}

fn refused(stage: Stage, code: u16) -> Fate {
    Fate::Refused(Failure::refused(stage, code, None, "no"))
}

impl Default for World {
    fn default() -> World {
        World {
            mx: mx(&[(10, "mx1.test.")]),
            addresses: Box::new(|_| Lookup::found(vec![ip(1)])),
            connect: Box::new(|_| Ok(())),
            fates: VecDeque::new(),
            idle: false,
            own: vec![],
            people: 1,
            destination: DestinationKey::Domain(Domain::parse("example.org").unwrap()),
            dialled: vec![],
            transactions: vec![],
            outcomes: vec![],
            released_in_sync: vec![],
        }
    }
}

fn mx(records: &[(u16, &str)]) -> Lookup<Vec<MxRecord>> {
    let record = |r: &(u16, &str)| MxRecord { preference: r.0, exchange: r.1.into() };
    Lookup::found(records.iter().map(record).collect())
}

/// Two exchangers, mx1 at .1 and mx2 at .2.
fn two() -> World {
    World {
        mx: mx(&[(10, "mx1.test."), (20, "mx2.test.")]),
        addresses: Box::new(|host| {
            Lookup::found(vec![ip(if host.starts_with("mx1") { 1 } else { 2 })])
        }),
        ..World::default()
    }
}

impl World {
    fn run(mut self) -> World {
        let person = |i| Mailbox::parse(&format!("r{i}@example.org")).unwrap();
        let job = Job {
            envelope: envelope(),
            destination: self.destination.clone(),
            recipients: (0..self.people).map(|i| (i, Recipient::new(person(i)))).collect(),
        };
        let rules = Rules { our_name: "me.test".into(), allow_address_literal: false };
        now(attempt(&job, &rules, &mut self, &mut Dice::new(1)));
        assert_eq!(self.outcomes.len(), self.people as usize, "one outcome for each");
        self
    }

    fn code(&self) -> String {
        match &self.outcomes[0].1 {
            Outcome::Delivered(_) => "delivered".into(),
            other => format!("{} {}", other.word(), other.failure().unwrap().status),
        }
    }
}

impl Ports for World {
    type Session = Line;
    async fn mx(&mut self, _: &Domain) -> Lookup<Vec<MxRecord>> {
        self.mx.clone()
    }
    async fn addresses(&mut self, host: &Domain) -> Lookup<Vec<IpAddr>> {
        (self.addresses)(host.ascii())
    }
    async fn check_out(&mut self) -> Option<Line> {
        std::mem::take(&mut self.idle).then(|| Line(ip(9), true))
    }
    async fn connect(
        &mut self,
        _: Option<&Domain>,
        address: IpAddr,
        _: TlsDemand,
    ) -> Result<Line, Failure> {
        self.dialled.push(address);
        (self.connect)(address).map(|()| Line(address, false))
    }
    async fn transact(&mut self, _: &mut Line, recipients: &[(u32, Recipient)]) -> Transacted {
        self.transactions.push(recipients.len());
        let fate = self.fates.pop_front().unwrap_or_else(|| Box::new(|_| taken()));
        let fates: Vec<_> = recipients.iter().map(|(i, _)| (*i, fate(*i))).collect();
        let lost =
            |f: &Fate| matches!(f, Fate::Refused(f) if !matches!(f.cause, Cause::Refused(_)));
        let in_sync = !fates.iter().any(|(_, f)| lost(f));
        Transacted { fates, in_sync, dsn_passed_on: false }
    }
    async fn release(&mut self, _: Line, in_sync: bool) {
        self.released_in_sync.push(in_sync);
    }
    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, _: &SessionFacts, rest: Rest) {
        self.outcomes.extend(outcomes);
        let left = self.people as usize - self.outcomes.len();
        assert_eq!(rest, if left == 0 { Rest::None } else { Rest::Some });
    }
    fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }
}

#[test]
fn delivered_at_the_first_exchanger() {
    let world = two().run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1)]));
    assert_eq!(world.released_in_sync, [true]);
}

#[test]
fn the_next_exchanger_when_one_cannot_be_reached() {
    let down =
        |a| if a == ip(1) { Err(Failure::new(Cause::Unreachable, "refused")) } else { Ok(()) };
    let world = World { connect: Box::new(down), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(2)]));
}

#[test]
fn all_down_is_temporary() {
    let down = |_| Err(Failure::new(Cause::Unreachable, "refused"));
    assert_eq!(World { connect: Box::new(down), ..two() }.run().code(), "deferred 4.4.1");
}

#[test]
fn permanent_only_if_every_exchanger_says_so() {
    let no = |_| Err(Failure::refused(Stage::Greeting, 554, None, "no mail here"));
    assert_eq!(World { connect: Box::new(no), ..two() }.run().code(), "failed 5.0.0");
    let mixed = |a| {
        if a == ip(1) {
            Err(Failure::refused(Stage::Greeting, 554, None, "no"))
        } else {
            Err(Failure::new(Cause::Unreachable, "down"))
        }
    };
    assert_eq!(World { connect: Box::new(mixed), ..two() }.run().code(), "deferred 4.4.1");
}

#[test]
fn lookups_that_fail() {
    let with = |mx| World { mx, ..World::default() }.run().code();
    assert_eq!(with(Lookup::Failed("SERVFAIL".into())), "deferred 4.4.3");
    assert_eq!(with(Lookup::absent(Absence::NoSuchName)), "failed 5.1.2");
    assert_eq!(with(mx(&[(0, ".")])), "failed 5.1.10");
    assert_eq!(with(Lookup::absent(Absence::NoSuchRecord)), "delivered"); // implicit MX
    let none = |_: &str| Lookup::absent(Absence::NoSuchRecord);
    assert_eq!(World { addresses: Box::new(none), ..two() }.run().code(), "failed 5.4.4");
    let unknown = |host: &str| match host {
        "mx1.test" => Lookup::absent(Absence::NoSuchName),
        _ => Lookup::Failed("timeout".into()),
    };
    assert_eq!(World { addresses: Box::new(unknown), ..two() }.run().code(), "deferred 4.4.4");
}

#[test]
fn a_recipient_refused_for_a_while_is_offered_once_more() {
    let busy: Box<dyn Fn(u32) -> Fate + Send> = Box::new(|_| refused(Stage::Rcpt, 450));
    let world = World { fates: VecDeque::from([busy]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("delivered", 2));
    let busy = || -> Box<dyn Fn(u32) -> Fate + Send> { Box::new(|_| refused(Stage::Rcpt, 450)) };
    let world = World { fates: VecDeque::from([busy(), busy(), busy()]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.0.0", 2));
}

#[test]
fn a_permanent_refusal_is_final() {
    let no: Box<dyn Fn(u32) -> Fate + Send> = Box::new(|_| refused(Stage::Rcpt, 550));
    let world = World { fates: VecDeque::from([no]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("failed 5.0.0", 1));
}

#[test]
fn no_second_exchanger_after_the_dot() {
    let silent: Box<dyn Fn(u32) -> Fate + Send> =
        Box::new(|_| Fate::Refused(Failure::new(Cause::UnknownAfterDot, "?")));
    let world = World { fates: VecDeque::from([silent]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("unknown 4.4.2", 1));
    let later: Box<dyn Fn(u32) -> Fate + Send> = Box::new(|_| refused(Stage::Dot, 451));
    let world = World { fates: VecDeque::from([later]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.0.0", 1));
}

#[test]
fn many_recipients_take_several_transactions() {
    let world = World { people: 7, ..World::default() }.run();
    assert_eq!(world.transactions, [3, 3, 1]);
    assert_eq!(world.dialled.len(), 1);
}

#[test]
fn the_rest_of_a_full_transaction_goes_in_the_next() {
    let full: Box<dyn Fn(u32) -> Fate + Send> = Box::new(|i| match i {
        0 => taken(),
        _ => Fate::AnotherTransaction(Failure::refused(Stage::Rcpt, 452, None, "many")),
    });
    let world = World { people: 3, fates: VecDeque::from([full]), ..World::default() }.run();
    assert_eq!(world.transactions, [3, 2]);
    assert!(world.outcomes.iter().all(|(_, o)| matches!(o, Outcome::Delivered(_))));
}

#[test]
fn a_dead_idle_session_costs_nothing() {
    let gone: Box<dyn Fn(u32) -> Fate + Send> =
        Box::new(|_| Fate::Refused(Failure::new(Cause::Lost(Stage::Mail), "closed")));
    let world = World { idle: true, fates: VecDeque::from([gone]), ..World::default() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1)]));
    let world = World { idle: true, ..World::default() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![]));
}

#[test]
fn an_exchanger_that_is_ourselves_ends_the_list() {
    let world = World { own: vec![ip(1)], ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("failed 5.4.6", 0));
    let world = World { own: vec![ip(2)], ..two() }.run();
    assert_eq!(world.code(), "delivered"); // a better one is there
}

#[test]
fn what_needs_no_network() {
    let to = |destination| World { destination, ..World::default() }.run().code();
    assert_eq!(to(DestinationKey::Literal(ip(1))), "failed 5.1.2");
    assert_eq!(to(DestinationKey::Unqualified), "failed 5.1.1");
}

#[test]
fn at_most_five_addresses() {
    let many = |_: &str| Lookup::found((1..=9).map(ip).collect());
    let down = |_| Err(Failure::new(Cause::Unreachable, "refused"));
    let world = World { addresses: Box::new(many), connect: Box::new(down), ..two() }.run();
    assert_eq!(world.dialled.len(), 5);
}
