//! One attempt of `target.remote`: the recipients of one domain, from the lookup of its exchangers to their outcomes.
//!
//! 1. What needs no network is refused at once.
//! 2. An idle session to the destination is used if there is one.
//! 3. The exchangers are looked up and tried in order, each with its addresses.
//! 4. A session carries as many transactions as its recipients need.
//! 5. Recipients refused for a while are offered to the next exchanger once.
//! 6. What no server decided is decided from all that went wrong: temporary if anything was.

use std::net::IpAddr;

use crate::address::Domain;
use crate::attempt::ladder::TlsDemand;
use crate::attempt::ports::{Peer, Ports, Transacted};
use crate::dice::Dice;
use crate::envelope::{Envelope, Recipient, TlsWish};
use crate::lookup::Lookup;
use crate::outcome::{Cause, Class, Failure, Outcome, Reach, Receipt, SessionFacts, Stage};
use crate::route::destination::DestinationKey;
use crate::route::mx::{Candidate, exchangers};
use crate::wire::client::transaction::Fate;

/// Addresses dialled in one attempt (Postfix `smtp_mx_address_limit` has the same number).
const MOST_ADDRESSES: usize = 5;
/// Sessions in which recipients are offered, in one attempt.
const MOST_SESSIONS: usize = 2;

/// What to deliver.
#[derive(Clone, Debug)]
pub struct Job {
    pub envelope: Envelope,
    pub destination: DestinationKey,
    pub recipients: Vec<(u32, Recipient)>,
}

/// How the target is configured.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `hostname`, in A-labels.
    pub our_name: String,
    /// `allow_address_literal`.
    pub allow_address_literal: bool,
}

/// Runs the attempt; every recipient's outcome has gone to `ports.settle` when it returns.
pub async fn attempt<P: Ports>(job: &Job, rules: &Rules, ports: &mut P, dice: &mut Dice) {
    let mut run = Run::new(job);
    if let Some(failure) = refusal(job, rules) {
        run.end_all(failure, ports).await;
        return;
    }
    if let Some(session) = ports.check_out().await {
        run.session(session, ports).await;
    }
    if run.goes_on() {
        match &job.destination {
            DestinationKey::Domain(domain) => run.domain(domain, rules, ports, dice).await,
            DestinationKey::Literal(address) => run.address(None, *address, ports).await,
            // Refused above.
            DestinationKey::Unqualified | DestinationKey::Target(_) => {}
        }
    }
    run.conclude(ports).await;
}

/// Refusals that need no network.
fn refusal(job: &Job, rules: &Rules) -> Option<Failure> {
    if job.envelope.flags.quarantine {
        return Some(Failure::new(Cause::Quarantined, "message is quarantined, not relayed"));
    }
    if job.envelope.flags.tls == TlsWish::Required {
        // RFC 8689 §4.2.1 is kept by not sending at all.
        let text = "REQUIRETLS is not supported by this target";
        return Some(Failure::new(Cause::RequireTlsImpossible, text));
    }
    match &job.destination {
        DestinationKey::Domain(_) => None,
        DestinationKey::Literal(_) if rules.allow_address_literal => None,
        DestinationKey::Literal(_) => {
            Some(Failure::new(Cause::AddressLiteral, "address literals are not accepted"))
        }
        DestinationKey::Unqualified => {
            Some(Failure::new(Cause::UnqualifiedRecipient, "recipient has no domain"))
        }
        DestinationKey::Target(name) => {
            let text = format!("target.remote cannot deliver to {name}");
            Some(Failure::new(Cause::Internal, text))
        }
    }
}

struct Run {
    /// Recipients without a final outcome, with what was said of them so far.
    pending: Vec<(u32, Recipient, Option<Failure>)>,
    /// What went wrong before any recipient was named.
    troubles: Vec<Failure>,
    addresses_tried: usize,
    sessions: usize,
    /// After the final dot no other exchanger may be asked.
    stop: bool,
}

impl Run {
    fn new(job: &Job) -> Run {
        let pending = job.recipients.iter().map(|(i, r)| (*i, r.clone(), None)).collect();
        Run { pending, troubles: Vec::new(), addresses_tried: 0, sessions: 0, stop: false }
    }

    fn goes_on(&self) -> bool {
        !self.stop
            && !self.pending.is_empty()
            && self.sessions < MOST_SESSIONS
            && self.addresses_tried < MOST_ADDRESSES
    }

    async fn domain<P: Ports>(
        &mut self,
        domain: &Domain,
        rules: &Rules,
        ports: &mut P,
        dice: &mut Dice,
    ) {
        let answer = ports.mx(domain).await;
        let found = match exchangers(domain, answer, &rules.our_name, dice) {
            Ok(found) => found,
            Err(failure) => {
                self.troubles.push(failure);
                return;
            }
        };
        for candidate in &found.candidates {
            if !self.goes_on() {
                return;
            }
            if self.candidate(candidate, found.implicit, ports).await == Verdict::OurselvesReached {
                return;
            }
        }
    }

    async fn candidate<P: Ports>(
        &mut self,
        candidate: &Candidate,
        implicit: bool,
        ports: &mut P,
    ) -> Verdict {
        let host = &candidate.host;
        let addresses = match ports.addresses(host).await {
            Lookup::Found { value, .. } if !value.is_empty() => value,
            Lookup::Found { .. } | Lookup::Absent { .. } => {
                let text = if implicit {
                    format!("{host} has neither MX nor address records")
                } else {
                    format!("MX host {host} has no address")
                };
                self.troubles.push(Failure::new(Cause::NoAddress, text));
                return Verdict::GoOn;
            }
            Lookup::Failed(why) => {
                let text = format!("looking up addresses of {host}: {why}");
                self.troubles.push(Failure::new(Cause::AddressLookupFailed, text));
                return Verdict::GoOn;
            }
            Lookup::Unasked(why) => {
                let text = format!("looking up addresses of {host}: {why}");
                self.troubles.push(Failure::new(Cause::OwnResources, text));
                return Verdict::GoOn;
            }
        };
        if addresses.iter().any(|a| ports.is_own(*a)) {
            // RFC 5321 §5.1: an exchanger that is ourselves ends the list, whatever name it has.
            let text = format!("mail exchanger {host} is this host or a loopback address");
            self.troubles.push(Failure::new(Cause::Loop, text));
            return Verdict::OurselvesReached;
        }
        for address in addresses {
            if !self.goes_on() {
                break;
            }
            self.address(Some(host), address, ports).await;
        }
        Verdict::GoOn
    }

    async fn address<P: Ports>(&mut self, host: Option<&Domain>, address: IpAddr, ports: &mut P) {
        if ports.is_own(address) {
            let text = format!("{address} is this host or a loopback address");
            self.troubles.push(Failure::new(Cause::Loop, text));
            return;
        }
        self.addresses_tried += 1;
        match ports.connect(host, address, TlsDemand::Opportunistic).await {
            Ok(session) => self.session(session, ports).await,
            Err(failure) => {
                // Called off by ourselves: nobody else is asked, and it does not count.
                self.stop |= matches!(failure.clone().outcome(), Outcome::Postponed(_));
                self.troubles.push(failure);
            }
        }
    }

    /// Offers the pending recipients in one session, in as many transactions as they need.
    async fn session<P: Ports>(&mut self, mut session: P::Session, ports: &mut P) {
        let reused = session.is_reused();
        if !reused {
            self.sessions += 1;
        }
        let mut offered: Vec<(u32, Recipient)> =
            self.pending.iter().map(|(i, r, _)| (*i, r.clone())).collect();
        let mut in_sync = true;
        while in_sync && !offered.is_empty() {
            let rest = offered.split_off(offered.len().min(session.room().max(1)));
            let done = ports.transact(&mut session, &offered).await;
            in_sync = done.in_sync;
            let again = self.transaction(&session, done, ports).await;
            // A server that takes nobody and asks for another transaction would be asked for ever.
            let progress = again.len() < offered.len();
            offered.retain(|(i, _)| again.contains(i));
            offered.extend(rest);
            in_sync = in_sync && progress;
        }
        ports.release(session, in_sync).await;
    }

    /// Sorts the fates of one transaction; returns those to be offered in another one.
    async fn transaction<P: Ports>(
        &mut self,
        session: &P::Session,
        done: Transacted,
        ports: &mut P,
    ) -> Vec<u32> {
        let remote = session.remote();
        let mut ended = Vec::new();
        let mut again = Vec::new();
        for (index, fate) in done.fates {
            match fate {
                Fate::Taken(reply) => {
                    let receipt = Receipt {
                        code: reply.code,
                        status: reply.enhanced,
                        text: crate::outcome::one_line(&reply.text()),
                        remote: Some(remote.clone()),
                        dsn_passed_on: done.dsn_passed_on,
                        reach: Reach::Server,
                    };
                    ended.push((index, Outcome::Delivered(receipt)));
                }
                Fate::AnotherTransaction(failure) => {
                    self.note(index, failure.at(remote.clone()));
                    again.push(index);
                }
                Fate::Refused(failure) => {
                    let failure = failure.at(remote.clone());
                    match offer_elsewhere(&failure, session.is_reused()) {
                        Elsewhere::Yes => self.note(index, failure),
                        Elsewhere::No => {
                            self.stop |= failure.cause == Cause::UnknownAfterDot;
                            ended.push((index, failure.outcome()));
                        }
                    }
                }
            }
        }
        self.end(ended, &session.facts(), ports).await;
        again
    }

    fn note(&mut self, index: u32, failure: Failure) {
        if let Some(slot) = self.pending.iter_mut().find(|(i, _, _)| *i == index) {
            slot.2 = Some(failure);
        }
    }

    async fn end<P: Ports>(
        &mut self,
        ended: Vec<(u32, Outcome)>,
        facts: &SessionFacts,
        ports: &mut P,
    ) {
        if ended.is_empty() {
            return;
        }
        self.pending.retain(|(i, _, _)| !ended.iter().any(|(done, _)| done == i));
        ports.settle(ended, facts).await;
    }

    async fn end_all<P: Ports>(&mut self, failure: Failure, ports: &mut P) {
        let all = self.pending.iter().map(|(i, _, _)| (*i, failure.clone().outcome())).collect();
        self.end(all, &SessionFacts::default(), ports).await;
    }

    /// What no server decided.
    async fn conclude<P: Ports>(&mut self, ports: &mut P) {
        let overall = overall(&self.troubles);
        let ended = self
            .pending
            .iter()
            .map(|(index, _, said)| {
                (*index, said.clone().unwrap_or_else(|| overall.clone()).outcome())
            })
            .collect();
        self.end(ended, &SessionFacts::default(), ports).await;
    }
}

#[derive(PartialEq, Eq)]
enum Verdict {
    GoOn,
    /// RFC 5321 §5.1: no exchanger at or behind our own place may be tried.
    OurselvesReached,
}

enum Elsewhere {
    Yes,
    No,
}

/// May another exchanger be asked about a recipient that met this failure?
fn offer_elsewhere(failure: &Failure, reused: bool) -> Elsewhere {
    let temporary = failure.class() == Class::Temporary;
    match failure.cause {
        // Refused for a while, or the line broke, before the content went out.
        Cause::Refused(Stage::Mail | Stage::Rcpt) if temporary => Elsewhere::Yes,
        Cause::Lost(stage) | Cause::TimedOut(stage) | Cause::Protocol(stage) => match stage {
            Stage::Connect
            | Stage::Greeting
            | Stage::Ehlo
            | Stage::StartTls
            | Stage::Auth
            | Stage::Mail
            | Stage::Rcpt
            | Stage::Rset
            | Stage::Quit => Elsewhere::Yes,
            // An idle session that was closed meanwhile shows it at the first command, whichever that is.
            Stage::Data if reused => Elsewhere::Yes,
            Stage::Data | Stage::Content | Stage::Dot => Elsewhere::No,
        },
        // What this server lacks another may have.
        Cause::SenderNeedsSmtputf8 | Cause::RecipientNeedsSmtputf8 | Cause::TooLarge => {
            Elsewhere::Yes
        }
        _ => Elsewhere::No,
    }
}

/// One failure from all: temporary if any is, and of those the most telling; else what the most preferred exchanger said.
fn overall(troubles: &[Failure]) -> Failure {
    let weight = |cause: Cause| match cause {
        // A real trouble met before we called the attempt off tells more, and counts.
        Cause::OwnLimit | Cause::Suspended | Cause::Interrupted | Cause::OwnResources => 0,
        Cause::TlsMissing | Cause::TlsUnproven | Cause::MxNotAllowed | Cause::PolicyUnavailable => {
            5
        }
        Cause::Refused(Stage::StartTls) | Cause::Lost(Stage::StartTls) => 4,
        Cause::Refused(_) | Cause::Protocol(_) => 3,
        Cause::Lost(_) | Cause::TimedOut(_) | Cause::Unreachable => 2,
        _ => 1,
    };
    let temporary = troubles.iter().filter(|f| f.class() == Class::Temporary);
    // `max_by_key` takes the last of equals: reversed, so that the most preferred exchanger speaks.
    let telling = temporary.rev().max_by_key(|f| weight(f.cause));
    telling
        .or(troubles.first())
        .cloned()
        .unwrap_or_else(|| Failure::new(Cause::Unreachable, "no mail exchanger could be tried"))
}

#[cfg(test)]
pub mod tests {
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
        async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, _: &SessionFacts) {
            self.outcomes.extend(outcomes);
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
        let busy =
            || -> Box<dyn Fn(u32) -> Fate + Send> { Box::new(|_| refused(Stage::Rcpt, 450)) };
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
}
