use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::attempt::addressee::Addressee;
use crate::attempt::ports::{Approach, Delivery, Peer, Rest, Sessions, Transacted};
use crate::attempt::walk::literal;
use crate::envelope::{EnvelopeId, MessageFlags, Origin, Recipient};
use crate::level::{MxLevel, TlsLevel};
use crate::lookup::{Absence, Lookup};
use crate::outcome::{Outcome, Remote, SessionFacts, Stage};
use crate::policy::facts::MxFacts;
use crate::policy::requirement::{Demand, Requirement, Tls, requirement};
use crate::policy::settings::{LocalPolicy, Policies};
use crate::route::addresses::{Family, HostAddresses, Missing};
use crate::route::mx::{Candidate, MxRecord};
use crate::time::Timestamp;
use crate::wire::client::transaction::{Fate, Standing};
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
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a port waited"),
    }
}

pub struct Line {
    pub host: String,
    pub address: IpAddr,
    reused: bool,
    left: u32,
    /// TLS failed, and it is in the clear.
    fallback: bool,
}

impl Peer for Line {
    fn remote(&self) -> Remote {
        Remote { host: self.host.clone(), address: Some(self.address.to_string()) }
    }
    fn facts(&self) -> SessionFacts {
        let tls_error = self.fallback.then(|| "no shared cipher".to_owned());
        SessionFacts { tls_error, ..SessionFacts::default() }
    }
    fn room(&self) -> usize {
        3
    }
    fn transactions_left(&self) -> u32 {
        self.left
    }
    fn is_reused(&self) -> bool {
        self.reused
    }
}

pub type Addresses = Box<dyn Fn(&str) -> Lookup<Vec<IpAddr>> + Send>;

/// The happy path: one exchanger with one address, which takes everything.
pub struct World {
    pub mx: Lookup<Vec<MxRecord>>,
    pub addresses: Addresses,
    /// One family of every host cannot be looked up.
    pub missing_family: bool,
    pub connect: Box<dyn Fn(IpAddr) -> Result<(), Failure> + Send>,
    /// Fates by transaction; when it runs out everything is taken.
    pub fates: VecDeque<Box<dyn Fn(u32) -> Fate + Send>>,
    /// So many transactions in which the server does not know how the content is sent.
    pub misunderstands: u32,
    pub idle: bool,
    /// TLS fails at these.
    pub without_tls: Vec<IpAddr>,
    pub own: Vec<IpAddr>,
    pub unusable: Vec<IpAddr>,
    pub resting: Vec<IpAddr>,
    /// From the first dial on they let somebody wait.
    pub silent: Vec<IpAddr>,
    /// Transactions of a connection.
    pub reuse: u32,
    pub attempt: u32,
    pub people: u32,
    pub destination: DestinationKey,
    pub dialled: Vec<IpAddr>,
    /// Names behind the hosts that were dialled.
    pub canonical: Vec<Domain>,
    pub policies: Policies,
    pub wish: TlsWish,
    pub route: Route,
    pub demanded: Vec<Tls>,
    pub transactions: Vec<usize>,
    pub outcomes: Vec<(u32, Outcome)>,
    /// Of the session that the last of them come from.
    pub facts: SessionFacts,
    pub released: Vec<Standing>,
}

pub fn ip(last: u8) -> IpAddr {
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
            missing_family: false,
            connect: Box::new(|_| Ok(())),
            fates: VecDeque::new(),
            misunderstands: 0,
            idle: false,
            without_tls: vec![],
            own: vec![],
            unusable: vec![],
            resting: vec![],
            silent: vec![],
            reuse: 100,
            attempt: 1,
            people: 1,
            destination: DestinationKey::Domain(Domain::parse("example.org").unwrap()),
            dialled: vec![],
            canonical: vec![],
            policies: Policies::default(),
            wish: TlsWish::Unsaid,
            route: Route::Target,
            demanded: vec![],
            transactions: vec![],
            outcomes: vec![],
            facts: SessionFacts::default(),
            released: vec![],
        }
    }
}

pub fn mx(records: &[(u16, &str)]) -> Lookup<Vec<MxRecord>> {
    let record = |r: &(u16, &str)| MxRecord { preference: r.0, exchange: r.1.into() };
    Lookup::found(records.iter().map(record).collect())
}

/// Two exchangers, mx1 at .1 and mx2 at .2.
pub fn two() -> World {
    World {
        mx: mx(&[(10, "mx1.test."), (20, "mx2.test.")]),
        addresses: Box::new(|host| {
            Lookup::found(vec![ip(if host.starts_with("mx1") { 1 } else { 2 })])
        }),
        ..World::default()
    }
}

impl World {
    pub fn run(mut self) -> World {
        let person = |i| Mailbox::parse(&format!("r{i}@example.org")).unwrap();
        let (tls, route) = (self.wish, self.route.clone());
        let flags = MessageFlags { tls, ..MessageFlags::default() };
        let job = Job {
            envelope: Envelope { flags, route, ..envelope() },
            destination: self.destination.clone(),
            recipients: (0..self.people).map(|i| (i, Recipient::new(person(i)))).collect(),
            attempt: self.attempt,
        };
        let rules = Rules { our_name: "me.test".into(), allow_address_literal: false };
        now(attempt(&job, &rules, &mut self, &mut Dice::new(1)));
        assert_eq!(self.outcomes.len(), self.people as usize, "one outcome for each");
        self
    }

    pub fn code(&self) -> String {
        match &self.outcomes[0].1 {
            Outcome::Delivered(_) => "delivered".into(),
            other => format!("{} {}", other.word(), other.failure().unwrap().status),
        }
    }
}

impl Sessions for World {
    type Session = Line;
}

impl Approach for World {
    async fn mx(&mut self, _: &Domain) -> Lookup<Vec<MxRecord>> {
        self.mx.clone()
    }
    async fn addresses(&mut self, host: &Domain) -> Lookup<HostAddresses> {
        let why = "SERVFAIL".to_string();
        let missing = self.missing_family.then_some(Missing { family: Family::Ipv6, why });
        (self.addresses)(host.ascii()).map(|list| HostAddresses {
            list,
            missing,
            ..HostAddresses::default()
        })
    }
    async fn require(&mut self, candidate: Option<&Candidate>) -> Result<Requirement, Failure> {
        let authentic = candidate.is_some_and(|candidate| candidate.next_hop.authentic);
        let facts = MxFacts { authentic, ..MxFacts::none() };
        requirement(&self.policies, &facts, self.wish)
    }
    async fn connect(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
    ) -> Result<Line, Failure> {
        self.demanded.push(requirement.tls.clone());
        self.dialled.push(address);
        let host = candidate.map_or_else(|| literal(address), |c| c.host.ascii().to_owned());
        self.canonical.extend(candidate.and_then(|c| c.canonical.clone()));
        let (left, fallback) = (self.reuse, self.without_tls.contains(&address));
        (self.connect)(address).map(|()| Line { host, address, reused: false, left, fallback })
    }
    fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }
    fn rests(&self, address: IpAddr) -> bool {
        self.resting.contains(&address) || self.is_silent(address)
    }
    fn is_silent(&self, address: IpAddr) -> bool {
        self.silent.contains(&address) && !self.dialled.is_empty()
    }
    fn is_usable(&self, address: IpAddr) -> bool {
        !self.unusable.contains(&address)
    }
}

impl Ports for World {
    fn do_without_requiretls(&mut self) {
        self.wish = TlsWish::Unsaid;
    }
}

impl Delivery for World {
    async fn check_out(&mut self) -> Option<Line> {
        let (host, left) = ("mx1.test".into(), self.reuse);
        let line = || Line { host, address: ip(9), reused: true, left, fallback: false };
        std::mem::take(&mut self.idle).then(line)
    }
    async fn transact(&mut self, line: &mut Line, addressees: &[Addressee]) -> Transacted {
        line.left -= 1;
        self.transactions.push(addressees.len());
        let misunderstood = self.misunderstands > 0;
        self.misunderstands = self.misunderstands.saturating_sub(1);
        let fate = self.fates.pop_front().unwrap_or_else(|| Box::new(|_| taken()));
        let fates: Vec<_> = addressees.iter().map(|a| (a.index(), fate(a.index()))).collect();
        let lost = |f: &Fate| matches!(f, Fate::Refused(f) if f.code == 421 || !matches!(f.cause, Cause::Refused(_)));
        let broken = fates.iter().any(|(_, f)| lost(f));
        let content =
            |f: &Fate| matches!(f, Fate::Refused(f) if f.cause == Cause::Refused(Stage::Dot));
        let standing = match fates.iter().any(|(_, fate)| content(fate)) {
            _ if broken => Standing::Broken,
            true => Standing::Parting,
            false => Standing::Good,
        };
        Transacted { fates, standing, misunderstood, dsn_passed_on: false }
    }
    async fn release(&mut self, _: Line, standing: Standing) {
        self.released.push(standing);
    }
    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, facts: &SessionFacts, rest: Rest) {
        self.outcomes.extend(outcomes);
        self.facts = facts.clone();
        let left = self.people as usize - self.outcomes.len();
        assert_eq!(rest, if left == 0 { Rest::None } else { Rest::Some });
    }
}

#[test]
fn delivered_at_the_first_exchanger() {
    let world = two().run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1)]));
    assert_eq!(world.released, [Standing::Good]);
}

#[test]
fn the_next_exchanger_when_one_cannot_be_reached() {
    let down =
        |a| if a == ip(1) { Err(Failure::new(Cause::Unreachable, "refused")) } else { Ok(()) };
    let world = World { connect: Box::new(down), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(2)]));
}

#[test]
fn the_next_exchanger_when_one_wants_tls_that_fails() {
    let wants_tls = |_| refused(Stage::Mail, 530);
    let fates = || VecDeque::from([Box::new(wants_tls) as Box<dyn Fn(u32) -> Fate + Send>]);
    let world = World { without_tls: vec![ip(1)], fates: fates(), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(2)]));
    // There is no other: it may be mended, and nobody has refused the mail.
    let world = World { without_tls: vec![ip(1)], fates: fates(), ..World::default() }.run();
    assert_eq!(world.code(), "deferred 4.7.5");
    let world = World { fates: fates(), ..World::default() }.run();
    assert_eq!(world.code(), "failed 5.0.0");
}

#[test]
fn who_took_no_connection_lately_is_asked_last() {
    let world = World { resting: vec![ip(1)], ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(2)]));
    // Nobody else takes it: then it is tried.
    let down = |a| if a == ip(2) { Err(Failure::new(Cause::Unreachable, "x")) } else { Ok(()) };
    let world = World { resting: vec![ip(1)], connect: Box::new(down), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(2), ip(1)]));
    // A refusal of the others is not the last word while it was not asked.
    let no = |a| match a == ip(2) {
        true => Err(Failure::refused(Stage::Greeting, 554, None, "no mail here")),
        false => Err(Failure::new(Cause::Unreachable, "x")),
    };
    let world = World { resting: vec![ip(1)], connect: Box::new(no), ..two() }.run();
    assert_eq!(world.code(), "deferred 4.4.1");
}

#[test]
fn who_lets_others_wait_is_asked_when_nobody_else_is_left() {
    // The second falls silent while the first is dialled; the third would take it.
    let down = |a| match a == ip(3) {
        true => Ok(()),
        false => Err(Failure::new(Cause::Unreachable, "x")),
    };
    let addresses = || Lookup::found(vec![ip(1), ip(2), ip(3)]);
    let silent = || World {
        addresses: Box::new(move |_| addresses()),
        silent: vec![ip(2)],
        connect: Box::new(down),
        ..World::default()
    };
    let world = silent().run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(3)]));
    // Also one that rested before.
    let world = World { resting: vec![ip(3)], ..silent() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(3)]));
}

#[test]
fn better_ones_that_rest_are_asked_before_it_is_called_a_loop() {
    let dead = |_| Err(Failure::new(Cause::Unreachable, "x"));
    let named = || World {
        mx: mx(&[(10, "mx1.test."), (20, "me.test.")]), // we are the second, by name
        resting: vec![ip(1)],
        ..two()
    };
    assert_eq!(named().run().code(), "delivered");
    assert_eq!(World { connect: Box::new(dead), ..named() }.run().code(), "deferred 4.4.1");
    // By address.
    let addressed = || World { own: vec![ip(2)], resting: vec![ip(1)], ..two() };
    assert_eq!(addressed().run().code(), "delivered");
    assert_eq!(World { connect: Box::new(dead), ..addressed() }.run().code(), "deferred 4.4.1");
    // Those behind us are not.
    let behind = World { own: vec![ip(1)], resting: vec![ip(2)], ..two() }.run();
    assert_eq!((behind.code().as_str(), behind.dialled.len()), ("failed 5.4.6", 0));
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
fn alias_loops_are_temporary() {
    let circle = || Lookup::Looping("the aliases of a.test come back to a.test".into());
    assert_eq!(World { mx: circle(), ..World::default() }.run().code(), "deferred 4.4.4");
    let at_first = |host: &str| match host {
        "mx1.test" => Lookup::Looping("the aliases come back".into()),
        _ => Lookup::absent(Absence::NoSuchName),
    };
    assert_eq!(World { addresses: Box::new(at_first), ..two() }.run().code(), "deferred 4.4.4");
}

#[test]
fn a_family_that_could_not_be_looked_up_keeps_the_verdict_open() {
    let no = |_| Err(Failure::refused(Stage::Greeting, 554, None, "no mail here"));
    let world = World { missing_family: true, connect: Box::new(no), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.4.4", 2));
    // A trouble with an address that was there tells more.
    let down = |_| Err(Failure::new(Cause::Unreachable, "down"));
    let world = World { missing_family: true, connect: Box::new(down), ..two() }.run();
    assert_eq!(world.code(), "deferred 4.4.1");
    // With a verdict nobody asks for the other family.
    assert_eq!(World { missing_family: true, ..two() }.run().code(), "delivered");
    let refusal: Box<dyn Fn(u32) -> Fate + Send> = Box::new(|_| refused(Stage::Rcpt, 550));
    let fates = VecDeque::from([refusal]);
    assert_eq!(World { missing_family: true, fates, ..two() }.run().code(), "failed 5.0.0");
    // Called off by ourselves: that does not count, whatever was missing.
    let off = |_| Err(Failure::new(Cause::Suspended, "called off"));
    let world = World { missing_family: true, connect: Box::new(off), ..two() }.run();
    assert_eq!(world.code(), "postponed 4.3.2");
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
fn content_that_was_misunderstood_is_sent_once_more_to_the_same_host() {
    let what = || Fate::Refused(Failure::new(Cause::Protocol(Stage::Data), "500 what?"));
    let first: Fates = Box::new(move |i| if i == 0 { refused(Stage::Rcpt, 550) } else { what() });
    let world = World { people: 2, misunderstands: 1, fates: VecDeque::from([first]), ..two() };
    let world = world.run();
    assert_eq!((world.code().as_str(), world.dialled), ("failed 5.0.0", vec![ip(1), ip(1)]));
    assert!(matches!(world.outcomes[1].1, Outcome::Delivered(_)));
    assert_eq!(world.transactions, [2, 1]);
    // Also where it was an idle session.
    let idle = World { idle: true, misunderstands: 1, fates: VecDeque::from([all(what)]), ..two() };
    let idle = idle.run();
    assert_eq!((idle.code().as_str(), idle.dialled), ("delivered", vec![ip(1)]));
    // A server that understands neither way has had its chance.
    let fates = VecDeque::from([all(what), all(what), all(what)]);
    let world = World { misunderstands: 3, fates, ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.5.0", 2));
    // Without another way it is what it was: nobody else is asked.
    let world = World { fates: VecDeque::from([all(what)]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.5.0", 1));
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
    let closed = || Fate::Refused(Failure::new(Cause::Lost(Stage::Mail), "closed"));
    // RFC 5321 §3.8, and the word of those who count the messages of a session.
    for said in [closed(), refused(Stage::Mail, 421), refused(Stage::Rcpt, 421)] {
        let gone: Box<dyn Fn(u32) -> Fate + Send> = Box::new(move |_| said.clone());
        let world = World { idle: true, fates: VecDeque::from([gone]), ..World::default() }.run();
        assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1)]));
    }
    let world = World { idle: true, ..World::default() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![]));
}

#[test]
fn the_word_that_ends_an_idle_session_is_none_of_the_two() {
    // Whoever greets a session of its own has answered, and so has the next one.
    let ends = || all(|| refused(Stage::Mail, 421));
    let later = || all(|| refused(Stage::Mail, 451));
    let world = World { idle: true, fates: VecDeque::from([ends(), later()]), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(2)]));
    // To a new session it is an answer.
    let world = World { fates: VecDeque::from([ends()]), ..World::default() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("deferred 4.0.0", vec![ip(1)]));
}

#[test]
fn a_session_that_turned_the_mail_away_for_now_is_not_kept() {
    let after = |fates: VecDeque<Fates>, people| World { people, fates, ..World::default() }.run();
    let by = |index: u32, one: fn() -> Fate, others: fn() -> Fate| -> Fates {
        Box::new(move |i| if i == index { one() } else { others() })
    };
    let (later, never) = (|| refused(Stage::Rcpt, 450), || refused(Stage::Rcpt, 550));
    for (fates, standing) in [
        (by(9, later, later), Standing::Parting),
        (by(0, later, never), Standing::Parting),
        (by(0, taken, later), Standing::Good), // the session is good for mail
        (by(9, never, never), Standing::Good), // these recipients are not
        (all(|| refused(Stage::Mail, 451)), Standing::Parting),
    ] {
        assert_eq!(after(VecDeque::from([fates]), 2).released, [standing]);
    }
    // Nobody is left unasked for it, and the last word counts.
    let world = after(VecDeque::from([all(later)]), 5);
    assert_eq!((world.transactions, world.released), (vec![3, 2], vec![Standing::Good]));
}

#[test]
fn a_session_that_may_carry_no_more_is_not_kept() {
    let world = World { reuse: 1, ..World::default() }.run();
    assert_eq!(world.released, [Standing::Parting]);
    let world = World { reuse: 2, ..World::default() }.run();
    assert_eq!(world.released, [Standing::Good]);
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
fn whoever_connects_knows_the_name_behind_an_alias() {
    let real = Domain::parse("real.test").ok();
    let canonical = real.clone();
    let alias = move |_: &str| Lookup::Found {
        value: vec![ip(1)],
        authentic: false,
        canonical: canonical.clone(),
    };
    let world = World { addresses: Box::new(alias), ..World::default() }.run();
    assert_eq!(world.canonical.first(), real.as_ref());
}

#[test]
fn at_most_five_addresses() {
    let many = |_: &str| Lookup::found((1..=9).map(ip).collect());
    let down = |_| Err(Failure::new(Cause::Unreachable, "refused"));
    let world = World { addresses: Box::new(many), connect: Box::new(down), ..two() }.run();
    assert_eq!(world.dialled.len(), 5);
}

pub fn v6(last: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])
}

pub type Fates = Box<dyn Fn(u32) -> Fate + Send>;

fn all(fate: fn() -> Fate) -> Fates {
    Box::new(move |_| fate())
}

pub fn down(address: IpAddr, of: &[IpAddr]) -> Result<(), Failure> {
    if of.contains(&address) { Err(Failure::new(Cause::Unreachable, "refused")) } else { Ok(()) }
}

#[test]
fn what_one_server_lacks_is_no_end_while_another_was_not_heard() {
    let small = || Fate::Refused(Failure::new(Cause::TooLarge, "limit 10"));
    let second = |a| down(a, &[ip(2)]);
    let world =
        World { fates: VecDeque::from([all(small)]), connect: Box::new(second), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.4.1", 2));
    let busy_then_small: VecDeque<Fates> =
        VecDeque::from([all(|| refused(Stage::Rcpt, 450)), all(small)]);
    assert_eq!(World { fates: busy_then_small, ..two() }.run().code(), "deferred 4.0.0");
    let both = VecDeque::from([all(small), all(small)]);
    assert_eq!(World { fates: both, ..two() }.run().code(), "failed 5.3.4");
}

#[test]
fn one_that_was_not_asked_leaves_hope() {
    let no = |_| Err(Failure::refused(Stage::Greeting, 554, None, "no mail here"));
    let six: Vec<(u16, String)> = (1..=6).map(|i| (i * 10, format!("mx{i}.test."))).collect();
    let six: Vec<(u16, &str)> = six.iter().map(|(p, h)| (*p, h.as_str())).collect();
    let each = |host: &str| Lookup::found(vec![ip(host.as_bytes()[2] - b'0')]);
    let world =
        World { mx: mx(&six), addresses: Box::new(each), connect: Box::new(no), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.4.1", 5));
}

#[test]
fn more_equals_than_are_looked_up_leave_hope() {
    let names: Vec<String> = (0..30).map(|i| format!("mx{i}.test.")).collect();
    let records: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
    let addresses: Addresses = Box::new(|_| Lookup::absent(Absence::NoSuchRecord));
    let world = World { mx: mx(&records), addresses, ..World::default() }.run();
    assert_eq!(world.code(), "deferred 4.4.1");
    let addresses: Addresses = Box::new(|_| Lookup::absent(Absence::NoSuchRecord));
    let world = World { mx: mx(&records[..10]), addresses, ..World::default() }.run();
    assert_eq!(world.code(), "failed 5.4.4");
}

#[test]
fn what_this_machine_lacks_for_one_address_it_may_have_for_another() {
    // As when `local_ip` has gone from the interface for one family.
    let lacks = |address| {
        let failure = Failure::new(Cause::OwnResources, "no such local address");
        if address == ip(1) { Err(failure) } else { Ok(()) }
    };
    let world = World { connect: Box::new(lacks), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(2)]));
    // If nobody was asked it is no attempt.
    let none = |_| Err(Failure::new(Cause::OwnResources, "too many open files"));
    let world = World { connect: Box::new(none), ..two() }.run();
    assert_eq!(world.code(), "postponed 4.3.0");
    // If somebody was asked it is one, whatever he said: else he would be asked every half minute, for ever.
    let closed = move |address| match address == ip(1) {
        true => lacks(address),
        false => Err(Failure::refused(Stage::Greeting, 554, None, "no mail here")),
    };
    let world = World { connect: Box::new(closed), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("deferred 4.4.1", vec![ip(1), ip(2)]));
    // Whoever is called off asks nobody else.
    let off = |_| Err(Failure::new(Cause::Suspended, "called off"));
    let world = World { connect: Box::new(off), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("postponed 4.3.2", vec![ip(1)]));
}

#[test]
fn a_machine_with_two_names_is_judged_by_each() {
    let shared = || World { addresses: Box::new(|_| Lookup::found(vec![ip(1)])), ..two() };
    let once = |cause| -> Box<dyn Fn(IpAddr) -> Result<(), Failure> + Send> {
        let first = AtomicBool::new(true);
        Box::new(move |_| match first.swap(false, Ordering::Relaxed) {
            true => Err(Failure::new(cause, "no")),
            false => Ok(()),
        })
    };
    // The certificate has the other name.
    let world = World { connect: once(Cause::TlsUnproven), ..shared() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(1)]));
    // Whoever is not there is not there by any name.
    let world = World { connect: once(Cause::Unreachable), ..shared() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("deferred 4.4.1", vec![ip(1)]));
}

#[test]
fn a_host_that_has_answered_in_one_of_several_transactions_has_answered() {
    let first: Fates = Box::new(|i| if i == 0 { refused(Stage::Rcpt, 450) } else { taken() });
    let addresses: Addresses = Box::new(|host| {
        Lookup::found(if host.starts_with("mx1") { vec![ip(1), ip(3)] } else { vec![ip(2)] })
    });
    let world = World { people: 5, fates: VecDeque::from([first]), addresses, ..two() }.run();
    assert_eq!((world.transactions, world.dialled), (vec![3, 2, 1], vec![ip(1), ip(2)]));
}

#[test]
fn a_host_that_wants_no_mail_is_not_asked_at_its_other_addresses() {
    let two_addresses = |_: &str| Lookup::found(vec![ip(1), ip(2)]);
    let no = |_| Err(Failure::refused(Stage::Greeting, 554, None, "no"));
    let world =
        World { addresses: Box::new(two_addresses), connect: Box::new(no), ..World::default() };
    assert_eq!(world.run().dialled, [ip(1)]);
    let busy = |_| Err(Failure::refused(Stage::Greeting, 421, None, "busy"));
    let world =
        World { addresses: Box::new(two_addresses), connect: Box::new(busy), ..World::default() };
    assert_eq!(world.run().dialled, [ip(1), ip(2)]);
}

#[test]
fn a_host_that_answered_is_not_asked_again() {
    // Two addresses each; mx1 puts the recipient off: mx2 is next.
    let addresses = |host: &str| match host {
        "mx1.test" => Lookup::found(vec![ip(1), ip(3)]),
        _ => Lookup::found(vec![ip(2), ip(4)]),
    };
    let busy = || refused(Stage::Rcpt, 450);
    let fates = || VecDeque::from([all(busy)]);
    let world = World { addresses: Box::new(addresses), fates: fates(), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(1), ip(2)]));
    // The same when it was the idle session that heard it.
    let world = World { addresses: Box::new(addresses), fates: fates(), idle: true, ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled), ("delivered", vec![ip(2)]));
    // An idle session that answered is one of the two of an attempt.
    let fates = VecDeque::from([all(busy), all(busy), all(busy)]);
    let third = mx(&[(10, "mx1.test."), (20, "mx2.test."), (30, "mx3.test.")]);
    let world = World { mx: third, fates, idle: true, ..two() }.run();
    assert_eq!((world.code().as_str(), world.transactions.len()), ("deferred 4.0.0", 2));
}

#[test]
fn ourselves_among_equals_end_the_list_before_any_of_them() {
    let equal = || mx(&[(10, "mx1.test."), (10, "mx2.test.")]);
    let world = World { mx: equal(), own: vec![ip(2)], ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("failed 5.4.6", 0));
}

#[test]
fn better_ones_without_address_are_waited_for() {
    let none = |host: &str| match host {
        "mx1.test" => Lookup::absent(Absence::NoSuchRecord),
        _ => Lookup::found(vec![ip(2)]),
    };
    let world = World { addresses: Box::new(none), own: vec![ip(2)], ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.4.4", 0));
    // By name just as well.
    let named = mx(&[(10, "mx1.test."), (20, "me.test.")]);
    let world = World { mx: named, addresses: Box::new(none), ..two() }.run();
    assert_eq!(world.code(), "deferred 4.4.4");
    // What they said themselves is another matter.
    let no = |_| Err(Failure::refused(Stage::Greeting, 554, None, "no"));
    let world = World { own: vec![ip(2)], connect: Box::new(no), ..two() }.run();
    assert_eq!(world.code(), "failed 5.0.0");
}

#[test]
fn a_server_with_our_name_is_ourselves() {
    let us = |a| match a == ip(1) {
        true => Err(Failure::new(Cause::Loop, "the server says it is me.test")),
        false => Ok(()),
    };
    let world = World { connect: Box::new(us), ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("failed 5.4.6", 1));
}

#[test]
fn the_last_address_is_of_the_other_family() {
    let nobody = |_| Err(Failure::new(Cause::Unreachable, "down"));
    let addresses = |host: &str| match host {
        "mx1.test" => Lookup::found((1..=6).map(v6).collect()),
        _ => Lookup::found(vec![v6(9), ip(2)]),
    };
    let world = World { addresses: Box::new(addresses), connect: Box::new(nobody), ..two() }.run();
    assert_eq!(world.dialled, [v6(1), v6(2), v6(3), v6(4), ip(2)]);
    // Where there is no other, one more of the same.
    let only = |_: &str| Lookup::found((1..=6).map(v6).collect());
    let world = World { addresses: Box::new(only), connect: Box::new(nobody), ..two() }.run();
    assert_eq!(world.dialled, [v6(1), v6(2), v6(3), v6(4), v6(5)]);
}

#[test]
fn addresses_we_cannot_use_are_no_tries() {
    let nobody = |_| Err(Failure::new(Cause::Unreachable, "down"));
    let mixed = |_: &str| Lookup::found(vec![v6(1), ip(1), v6(2), ip(2), v6(3), ip(3)]);
    let unusable = vec![v6(1), v6(2), v6(3)];
    let world = World {
        addresses: Box::new(mixed),
        connect: Box::new(nobody),
        unusable: unusable.clone(),
        ..World::default()
    };
    assert_eq!(world.run().dialled, [ip(1), ip(2), ip(3)]);
    let none = move |_: &str| Lookup::found(unusable.clone());
    let unusable = vec![v6(1), v6(2), v6(3)];
    let world = World { addresses: Box::new(none), unusable, ..World::default() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.4.1", 0));
}

#[test]
fn a_refusal_of_our_address_is_checked_from_the_other_family() {
    let policy = || {
        let status = crate::status::Enhanced(5, 7, 1);
        Fate::Refused(Failure::refused(Stage::Mail, 550, Some(status), "bad reputation"))
    };
    let dual = |_: &str| Lookup::found(vec![v6(1), v6(2), ip(1)]);
    let world = |fates: Vec<Fates>, attempt| {
        let fates = VecDeque::from(fates);
        World { addresses: Box::new(dual), fates, attempt, ..World::default() }.run()
    };
    let once = world(vec![all(policy)], 1);
    assert_eq!((once.code().as_str(), once.dialled), ("delivered", vec![v6(1), ip(1)]));
    let twice = world(vec![all(policy), all(policy)], 1);
    assert_eq!((twice.code().as_str(), twice.dialled.len()), ("failed 5.7.1", 2));
    let later = world(vec![all(policy)], 2);
    assert_eq!((later.code().as_str(), later.dialled.len()), ("failed 5.7.1", 1));
}

#[test]
fn a_connection_carries_so_many_transactions() {
    let world = World { people: 8, reuse: 1, ..World::default() }.run();
    assert_eq!((world.transactions, world.dialled.len()), (vec![3, 3, 2], 3));
    assert!(world.outcomes.iter().all(|(_, o)| matches!(o, Outcome::Delivered(_))));
    // Of the addresses and sessions of an attempt it is one.
    let world = World { people: 30, reuse: 2, ..World::default() }.run();
    assert_eq!((world.transactions.len(), world.dialled.len()), (10, 5));
}

#[test]
fn whoever_has_had_enough_of_a_session_gets_another() {
    let ends = || all(|| refused(Stage::Mail, 421));
    let fates = VecDeque::from([all(taken), ends(), all(taken), ends()]);
    let world = World { people: 7, fates, ..World::default() }.run();
    assert_eq!((world.transactions, world.dialled), (vec![3, 3, 3, 1, 1], vec![ip(1); 3]));
    assert!(world.outcomes.iter().all(|(_, o)| matches!(o, Outcome::Delivered(_))));
    // Also when it has said of somebody before that there is no such user.
    let mixed: Fates =
        Box::new(|i| if i == 3 { refused(Stage::Rcpt, 550) } else { refused(Stage::Rcpt, 421) });
    let world =
        World { people: 7, fates: VecDeque::from([all(taken), mixed]), ..World::default() }.run();
    assert_eq!((world.transactions, world.dialled), (vec![3, 3, 3], vec![ip(1); 2]));
    // Whoever takes nobody in a whole session is left alone.
    let fates = VecDeque::from([all(taken), ends(), ends()]);
    let world = World { people: 7, fates, ..World::default() }.run();
    assert_eq!((world.transactions, world.dialled), (vec![3, 3, 3], vec![ip(1); 2]));
}

#[test]
fn content_refused_for_good_is_offered_to_the_others_in_the_same_attempt() {
    let refuses = |code: u16| -> VecDeque<Fates> {
        let fate = move || -> Fates { Box::new(move |_| refused(Stage::Dot, code)) };
        (0..3).map(|_| fate()).collect()
    };
    let world = World { people: 7, fates: refuses(554), ..World::default() }.run();
    assert!(world.outcomes.iter().all(|(_, o)| matches!(o, Outcome::Failed(_))));
    assert_eq!((world.transactions, world.dialled), (vec![3, 3, 1], vec![ip(1); 3]));
    // Who was asked in a kept session has had none of his own.
    let world = World { people: 4, idle: true, fates: refuses(554), ..World::default() }.run();
    assert_eq!((world.transactions, world.dialled), (vec![3, 1], vec![ip(1)]));
    // A server that cannot take it now is left alone.
    let world = World { people: 7, fates: refuses(451), ..World::default() }.run();
    assert_eq!(world.code(), "deferred 4.0.0");
    assert_eq!((world.transactions, world.dialled), (vec![3], vec![ip(1)]));
}

#[test]
fn who_was_not_named_any_more_knows_why() {
    let closing: Fates =
        Box::new(|_| Fate::Refused(Failure::refused(Stage::Rcpt, 421, None, "shutting down")));
    let lost: Fates = Box::new(|i| match i {
        0 => taken(),
        _ => Fate::Refused(Failure::new(Cause::UnknownAfterDot, "?")),
    });
    let down_again = |a| down(a, &[ip(2)]);
    let world =
        World { people: 5, fates: VecDeque::from([lost]), connect: Box::new(down_again), ..two() }
            .run();
    let last = world.outcomes.iter().find(|(i, _)| *i == 4).unwrap();
    let text = &last.1.failure().unwrap().text;
    assert!(text.starts_with("the session ended before this recipient was named"), "{text}");
    let world = World { people: 5, fates: VecDeque::from([closing]), ..World::default() }.run();
    assert!(world.outcomes.iter().all(|(_, o)| o.failure().unwrap().text == "shutting down"));
}

#[test]
fn loops_and_senders_without_domain_need_no_network() {
    let mut job = Job {
        envelope: envelope(),
        destination: DestinationKey::Domain(Domain::parse("example.org").unwrap()),
        recipients: vec![],
        attempt: 1,
    };
    let rules = Rules { our_name: "me.test".into(), allow_address_literal: false };
    job.envelope.flags.hops = 100;
    assert_eq!(refusal(&job, &rules), None);
    job.envelope.flags.hops = 101;
    assert_eq!(refusal(&job, &rules).map(|f| (f.code, f.cause)), Some((554, Cause::Loop)));
    job.envelope.flags.hops = 0;
    job.envelope.from = ReversePath::Mailbox(Mailbox::parse("postmaster").unwrap());
    assert_eq!(refusal(&job, &rules).map(|f| (f.code, f.cause)), Some((501, Cause::BadSender)));
}

#[test]
fn a_domain_that_cannot_be_looked_up_fails_without_being_looked_up() {
    for (name, end) in [
        ("-x.test", "failed 5.1.2"),
        ("a.-x.test", "failed 5.1.2"),
        ("x-.test", "delivered"), // DNS decides
        ("a--b.test", "delivered"),
    ] {
        let destination = DestinationKey::Domain(Domain::parse(name).unwrap());
        let world = World { destination, idle: true, ..World::default() }.run();
        assert_eq!(world.code(), end, "{name}");
        assert_eq!(world.transactions.len(), usize::from(end == "delivered"), "{name}");
    }
}

#[test]
fn what_policies_demand_is_known_before_the_dial() {
    let local = |min_tls, min_mx| Policies {
        local: LocalPolicy { min_tls, min_mx },
        dnssec: true,
        ..Policies::default()
    };
    let encrypted = local(TlsLevel::Encrypted, MxLevel::None);
    let world = World { policies: encrypted, ..two() }.run();
    assert_eq!(world.code(), "delivered");
    assert_eq!(world.demanded, [Tls::Encrypted(Demand::Local)]);
    // A host that may not be used is not dialled, and waits for better times.
    let signed = local(TlsLevel::None, MxLevel::Dnssec);
    let world = World { policies: signed, ..two() }.run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("deferred 4.7.0", 0));
    let failure = world.outcomes[0].1.failure().unwrap();
    assert_eq!(failure.remote.as_ref().unwrap().host, "mx1.test");
    let Lookup::Found { value, .. } = two().mx else { panic!() };
    let mx = Lookup::Found { value, authentic: true, canonical: None };
    assert_eq!(World { policies: signed, mx, ..two() }.run().code(), "delivered");
}

#[test]
fn what_is_known_of_a_host_is_told_also_without_a_session() {
    let policies = Policies { dnssec: true, ..Policies::default() };
    let Lookup::Found { value, .. } = mx(&[(10, "mx1.test.")]) else { panic!() };
    let mx = Lookup::Found { value, authentic: true, canonical: None };
    let unproven = |_| Err(Failure::new(Cause::TlsUnproven, "expired"));
    let world = World { policies, mx, connect: Box::new(unproven), ..World::default() }.run();
    let said = world.facts.policies.as_deref();
    assert_eq!((world.code().as_str(), said), ("deferred 4.7.5", Some("dnssec signed")));
    let levels = (world.facts.mx_level, world.facts.tls_level);
    assert_eq!(levels, (MxLevel::Dnssec, TlsLevel::None));
}

#[test]
fn requiretls_fails_for_good_where_nobody_can_keep_it() {
    let required = || World { wish: TlsWish::Required, ..two() };
    let world = required().run();
    assert_eq!((world.code().as_str(), world.dialled.len()), ("failed 5.7.30", 0));
    // Somebody who vouches for the hosts: then it goes out, with a proven certificate demanded.
    let policies = Policies { dnssec: true, ..Policies::default() };
    let signed = match mx(&[(10, "mx1.test.")]) {
        Lookup::Found { value, .. } => Lookup::Found { value, authentic: true, canonical: None },
        other => other,
    };
    let world = World { policies, mx: signed.clone(), ..required() }.run();
    assert_eq!(world.code(), "delivered");
    assert_eq!(world.demanded, [Tls::Authenticated(Demand::RequireTls)]);
    // What may be mended is waited for.
    let unproven = |_| Err(Failure::new(Cause::TlsUnproven, "expired"));
    let connect = Box::new(unproven);
    let world = World { policies, mx: signed, connect, ..required() }.run();
    assert_eq!(world.code(), "deferred 4.7.5");
}

#[test]
fn a_report_goes_out_without_requiretls_rather_than_not_at_all() {
    let report =
        || World { wish: TlsWish::Required, route: Route::Bounce { target: "mx".into() }, ..two() };
    let world = report().run();
    assert_eq!((world.code().as_str(), world.wish), ("delivered", TlsWish::Unsaid));
    // Anything else that goes wrong is no reason to.
    let nothing = Lookup::Failed("SERVFAIL".into());
    let world = World { mx: nothing, ..report() }.run();
    assert_eq!((world.code().as_str(), world.wish), ("deferred 4.4.3", TlsWish::Required));
}
