//! MtaStsCacheActor: the policies of MTA-STS, one cache for each `mtasts` block. What is believed, for how long, and what an asker is told
//! is decided in `posthaste_mail::sts`.
//!
//! One look at a domain at a time: whoever asks meanwhile waits for the same one. Policies in use are fetched anew about daily. All of
//! them are on disk, unless the block says otherwise, so a fall or a restart takes none away; who waited for an answer then is told
//! that it is not available, which is not the same as none.

mod counts;
mod flight;
pub mod keeper;
mod recall;
mod refreshes;
mod show;
pub mod world;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture, Supervised,
};
use slog::{Logger, debug, error, info, warn};
use tokio::sync::oneshot;

use posthaste_edge::clock::Clock;
use posthaste_edge::dns::Asking;
use posthaste_mail::address::Domain;
use posthaste_mail::dice::Dice;
use posthaste_mail::sts::freshness::{self, Entry, Failed, Known};
use posthaste_mail::sts::policy::Policy;
use posthaste_mail::sts::record::RecordId;
use posthaste_mail::sts::response::{FetchError, ResultType};
use posthaste_mail::sts::shelf::{Room, Shelf};
use posthaste_mail::sts::{Standing, StsAnswer, Unavailable};
use posthaste_mail::time::Timestamp;

use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use crate::messages::policy::{ForgetPolicy, RefreshPolicy, StsPolicyFor, StsViolated};
use crate::task::spawn_reporting;
use counts::Counts;
use flight::{End, Flight, Purpose};
use keeper::{Keeper, StoreFault};
use refreshes::Refreshes;
use show::Shown;
use world::World;

/// How often it is looked what is due.
pub const TICK: Duration = Duration::from_secs(10);
/// Refreshes at once.
const MOST_REFRESHES: usize = 8;
/// Domains without a policy of which a failure is remembered.
const MOST_FAILURES: usize = 20_000;

pub struct Deps {
    /// The block's, for operators.
    name: String,
    log: Logger,
    clock: Clock,
    dice: Dice,
    runtime: tokio::runtime::Handle,
    world: Arc<dyn World>,
    keeper: Keeper,
    room: Room,
    tick: Duration,
    /// Goes on after a restart, so that what an older life sent out means nobody.
    life: u64,
    /// Flights of all lives.
    serial: u64,
    /// The process is about to end, whatever happens to this actor meanwhile.
    draining: bool,
}

impl Deps {
    pub fn new(
        name: &str,
        log: Logger,
        (clock, dice): (Clock, Dice),
        runtime: tokio::runtime::Handle,
        world: Arc<dyn World>,
        keeper: Keeper,
    ) -> Deps {
        Deps {
            name: name.to_string(),
            log,
            clock,
            dice,
            runtime,
            world,
            keeper,
            room: Room::default(),
            tick: TICK,
            life: 0,
            serial: 0,
            draining: false,
        }
    }
}

#[derive(Default)]
struct State {
    /// What is in the store is known. Until then everybody waits.
    loaded: bool,
    /// When it is read again, because it could not be: what is in it holds all the same.
    read_again: Option<Timestamp>,
    early: Vec<(Domain, Asker)>,
    shelf: Shelf,
    /// When the record was seen to name the policy that is here.
    seen: HashMap<Domain, Timestamp>,
    failed: HashMap<Domain, Failed>,
    /// Whose record is asked for anew the next time.
    violated: HashSet<Domain>,
    refreshes: Refreshes,
    flights: HashMap<Domain, Aloft>,
    counts: Counts,
}

/// A flight whose end has not come yet.
struct Aloft {
    serial: u64,
    purpose: Purpose,
    askers: Vec<Asker>,
}

/// Who waits.
enum Asker {
    Delivery(oneshot::Sender<StsAnswer>),
    Operator(oneshot::Sender<Shown>),
}

/// Flight -> StsCache: it is over. The outer error is the text of its panic.
struct Landed {
    life: u64,
    serial: u64,
    domain: Domain,
    end: Result<End, String>,
}

impl Message for Landed {
    type Result = ();
}

pub struct MtaStsCacheActor {
    deps: Deps,
    state: State,
}

impl MtaStsCacheActor {
    pub fn new(deps: Deps) -> MtaStsCacheActor {
        let state = State { shelf: Shelf::new(deps.room), ..State::default() };
        MtaStsCacheActor { deps, state }
    }

    fn known(&self, domain: &Domain) -> Known<'_> {
        Known {
            entry: self.state.shelf.get(domain),
            seen: self.state.seen.get(domain).copied(),
            failed: self.state.failed.get(domain),
        }
    }

    /// The answer at once, or when a look at the domain is over.
    fn look_up(&mut self, domain: Domain, to: oneshot::Sender<StsAnswer>, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        if !self.state.loaded {
            self.state.early.push((domain, Asker::Delivery(to)));
        } else if let Some(answer) = freshness::at_once(self.known(&domain), now) {
            self.tell(&domain, answer, vec![Asker::Delivery(to)], ctx);
        } else if let Some(answer) = self.meanwhile(&domain, now) {
            self.tell(&domain, answer, vec![Asker::Delivery(to)], ctx);
        } else {
            self.start(domain, Purpose::Delivery, Some(Asker::Delivery(to)), ctx);
        }
    }

    /// Mail does not wait for a policy to be fetched anew while the one that is here holds.
    fn meanwhile(&self, domain: &Domain, now: Timestamp) -> Option<StsAnswer> {
        self.state.flights.get(domain).filter(|flight| flight.purpose == Purpose::Refresh)?;
        let entry = self.state.shelf.get(domain).filter(|entry| entry.holds(now))?;
        let standing = Standing::Unchecked("it is being fetched anew".to_string());
        Some(StsAnswer::Policy { entry: Arc::clone(entry), standing })
    }

    /// Looks at a domain, or lets one more wait for the look that is under way.
    fn start(
        &mut self,
        domain: Domain,
        purpose: Purpose,
        asker: Option<Asker>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(flight) = self.state.flights.get_mut(&domain) {
            flight.askers.extend(asker);
            return;
        }
        self.deps.serial += 1;
        let (life, serial) = (self.deps.life, self.deps.serial);
        let anew = self.state.violated.remove(&domain);
        let aloft = Aloft { serial, purpose, askers: asker.into_iter().collect() };
        let flight = Flight {
            world: Arc::clone(&self.deps.world),
            clock: self.deps.clock.clone(),
            domain: domain.clone(),
            purpose,
            asking: if anew { Asking::Anew } else { Asking::Cached },
            entry: self.state.shelf.get(&domain).cloned(),
            failed: self.state.failed.get(&domain).cloned(),
        };
        self.state.flights.insert(domain.clone(), aloft);
        let cache = ctx.address();
        spawn_reporting(&self.deps.runtime, flight.fly(), move |end| {
            cache.do_send(Landed { life, serial, domain, end });
        });
    }

    /// Everybody who waits is told. A delivery that is given a policy uses it.
    fn tell(
        &mut self,
        domain: &Domain,
        answer: StsAnswer,
        askers: Vec<Asker>,
        ctx: &mut Context<Self>,
    ) {
        let mut used = false;
        for asker in askers {
            match asker {
                Asker::Delivery(to) => {
                    self.count(&answer);
                    used = true;
                    // Who does not wait any more has other worries.
                    let _ = to.send(answer.clone());
                }
                Asker::Operator(to) => {
                    let _ = to.send(self.shown(domain, &answer));
                }
            }
        }
        if used && let StsAnswer::Policy { .. } = answer {
            self.note_use(domain, ctx);
        }
    }

    fn count(&mut self, answer: &StsAnswer) {
        let counts = &mut self.state.counts;
        match answer {
            StsAnswer::Policy { standing: Standing::Current, .. } => counts.hits += 1,
            StsAnswer::Policy {
                standing:
                    Standing::Outdated(_) | Standing::WithoutRecord(_) | Standing::Unchecked(_),
                ..
            } => counts.stale += 1,
            StsAnswer::Absent(_) => counts.absent += 1,
            StsAnswer::Unavailable(_) => counts.unavailable += 1,
        }
    }

    fn note_use(&mut self, domain: &Domain, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let Some(used) = self.state.shelf.get(domain).and_then(|entry| entry.used(now)) else {
            return;
        };
        if self.state.refreshes.get(domain).is_none() {
            let at = freshness::refresh_at(&used, now, &mut self.deps.dice);
            self.state.refreshes.set(domain, at);
        }
        self.keep(domain.clone(), Arc::new(used), ctx);
    }

    /// In memory and, later, on disk.
    fn keep(&mut self, domain: Domain, entry: Arc<Entry>, ctx: &mut Context<Self>) {
        self.deps.keeper.save(&domain, &entry, ctx.address().recipient());
        for leaving in self.state.shelf.put(domain, entry) {
            debug!(self.deps.log, "MTA-STS policy dropped for want of room"; "domain" => %leaving);
            self.drop_all_of(&leaving, ctx);
        }
    }

    /// Acts as if nothing had ever been known of it. Was there a policy?
    fn drop_all_of(&mut self, domain: &Domain, ctx: &mut Context<Self>) -> bool {
        self.state.seen.remove(domain);
        self.state.failed.remove(domain);
        self.state.violated.remove(domain);
        self.state.refreshes.set(domain, None);
        self.deps.keeper.remove(domain, ctx.address().recipient());
        self.state.shelf.remove(domain).is_some()
    }

    /// A policy has come.
    fn take(
        &mut self,
        domain: &Domain,
        id: RecordId,
        policy: (String, Policy),
        ctx: &mut Context<Self>,
    ) -> StsAnswer {
        let now = self.deps.clock.now();
        let before = self.state.shelf.get(domain);
        let entry = Arc::new(Entry::fetched(id, policy, before.map(Arc::as_ref), now));
        info!(self.deps.log, "MTA-STS policy fetched"; "domain" => %domain, "record" => %entry.id,
            "mode" => %entry.policy.mode, "max_age" => entry.policy.max_age.as_secs(),
            "replaces" => before.map_or("", |before| before.id.as_str()));
        self.state.counts.fetched += 1;
        self.state.failed.remove(domain);
        self.state.seen.insert(domain.clone(), now);
        let refresh = freshness::refresh_at(&entry, now, &mut self.deps.dice);
        self.state.refreshes.set(domain, refresh);
        self.keep(domain.clone(), Arc::clone(&entry), ctx);
        freshness::fetched(&entry)
    }

    /// None has come.
    fn do_without(
        &mut self,
        domain: &Domain,
        id: RecordId,
        why: FetchError,
        purpose: Purpose,
    ) -> StsAnswer {
        let now = self.deps.clock.now();
        let counts = &mut self.state.counts;
        match why.result_type() {
            Some(ResultType::StsPolicyFetchError) if matches!(why, FetchError::Silent { .. }) => {
                counts.put_off += 1;
            }
            Some(ResultType::StsPolicyFetchError) => counts.fetch_errors += 1,
            Some(ResultType::StsPolicyInvalid) => counts.invalid += 1,
            Some(ResultType::StsWebpkiInvalid) => counts.webpki_invalid += 1,
            None => counts.own_faults += 1,
        }
        warn!(self.deps.log, "MTA-STS policy could not be fetched"; "domain" => %domain,
            "record" => %id, "cause" => %why, "refresh" => purpose == Purpose::Refresh);
        let answer = freshness::not_fetched(self.state.shelf.get(domain), &why, now);
        if let Some(failed) = Failed::remembered(id, why, now) {
            self.make_room_for_failures(now);
            self.state.failed.insert(domain.clone(), failed);
        }
        answer
    }

    /// Strangers choose how many there are.
    fn make_room_for_failures(&mut self, now: Timestamp) {
        if self.state.failed.len() >= MOST_FAILURES {
            self.state.failed.retain(|_, failed| !failed.is_over(now));
        }
        if self.state.failed.len() >= MOST_FAILURES {
            self.state.failed.retain(|_, failed| failed.holds(now)); // hearsay may put them off once more
        }
        if self.state.failed.len() >= MOST_FAILURES {
            self.state.failed.clear(); // one fetch too many for each of them
        }
    }

    /// What is to be done from time to time.
    fn tidy(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        self.state.failed.retain(|_, failed| !failed.is_over(now));
        if self.state.read_again.take_if(|at| *at <= now).is_some() {
            self.load(ctx);
        }
        while let Some((oldest, _)) =
            self.state.shelf.oldest().filter(|(_, entry)| entry.is_disused(now))
        {
            let oldest = oldest.clone();
            info!(self.deps.log, "MTA-STS policy dropped, nobody uses it"; "domain" => %oldest);
            self.drop_all_of(&oldest, ctx);
        }
        self.refresh_what_is_due(ctx);
    }

    fn refresh_what_is_due(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let flights = self.state.flights.values();
        let mut under_way = flights.filter(|f| f.purpose == Purpose::Refresh).count();
        while under_way < MOST_REFRESHES
            && !self.deps.draining
            && let Some(domain) = self.state.refreshes.take_due(now)
        {
            under_way += 1;
            self.start(domain, Purpose::Refresh, None, ctx);
        }
    }
}

impl Actor for MtaStsCacheActor {
    type Context = Context<Self>;

    /// Also after a fall: what was known is in the store.
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.deps.life += 1;
        self.load(ctx);
        ctx.run_interval(self.deps.tick, |cache, ctx| cache.tidy(ctx));
    }
}

impl Supervised for MtaStsCacheActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State { shelf: Shelf::new(self.deps.room), ..State::default() };
    }
}

impl Handler<StsPolicyFor> for MtaStsCacheActor {
    type Result = ResponseFuture<StsAnswer>;

    fn handle(&mut self, message: StsPolicyFor, ctx: &mut Context<Self>) -> Self::Result {
        let (to, answer) = oneshot::channel();
        self.look_up(message.domain, to, ctx);
        Box::pin(async move {
            // RFC 8461 has no word for it: a fault of ours must not look as if there were no policy.
            let fallen = || Unavailable::Ours("the cache has fallen".to_string());
            answer.await.unwrap_or_else(|_| StsAnswer::Unavailable(fallen()))
        })
    }
}

impl Handler<StsViolated> for MtaStsCacheActor {
    type Result = ();

    fn handle(&mut self, message: StsViolated, _: &mut Context<Self>) {
        // Only of what is here, so it cannot grow beyond that.
        if self.state.shelf.get(&message.domain).is_some() {
            self.state.seen.remove(&message.domain);
            self.state.violated.insert(message.domain);
        }
    }
}

impl Handler<Landed> for MtaStsCacheActor {
    type Result = ();

    fn handle(&mut self, message: Landed, ctx: &mut Context<Self>) {
        let Landed { life, serial, domain, end } = message;
        let is_ours = |flight: &Aloft| life == self.deps.life && flight.serial == serial;
        if !self.state.flights.get(&domain).is_some_and(is_ours) {
            return;
        }
        let Some(Aloft { purpose, askers, .. }) = self.state.flights.remove(&domain) else {
            return;
        };
        let now = self.deps.clock.now();
        let answer = match end {
            Ok(End::Said(answer)) => {
                if let StsAnswer::Policy { standing: Standing::Current, .. } = answer
                    && self.state.shelf.get(&domain).is_some()
                {
                    self.state.seen.insert(domain.clone(), now);
                }
                answer
            }
            Ok(End::Fetched { id, text, policy }) => self.take(&domain, id, (text, policy), ctx),
            Ok(End::NotFetched { id, why }) => self.do_without(&domain, id, why, purpose),
            Err(panic) => {
                self.state.counts.own_faults += 1;
                error!(self.deps.log, "look at an MTA-STS policy panicked"; "domain" => %domain,
                    "cause" => &panic);
                let why = FetchError::Ours(panic);
                freshness::not_fetched(self.state.shelf.get(&domain), &why, now)
            }
        };
        if purpose == Purpose::Refresh
            && self.state.refreshes.get(&domain).is_none()
            && self.state.shelf.get(&domain).is_some_and(|entry| !entry.is_idle(now))
        {
            let again = freshness::refresh_again_at(now, &mut self.deps.dice);
            self.state.refreshes.set(&domain, Some(again));
        }
        self.tell(&domain, answer, askers, ctx);
        self.refresh_what_is_due(ctx);
    }
}

impl Handler<StoreFault> for MtaStsCacheActor {
    type Result = ();

    fn handle(&mut self, fault: StoreFault, _: &mut Context<Self>) {
        self.state.counts.store_faults += 1;
        error!(self.deps.log, "MTA-STS policy is kept in memory only"; "domain" => %fault.domain,
            "doing" => fault.doing, "cause" => fault.why);
    }
}

impl Handler<RefreshPolicy> for MtaStsCacheActor {
    type Result = ResponseFuture<Shown>;

    fn handle(&mut self, message: RefreshPolicy, ctx: &mut Context<Self>) -> Self::Result {
        let (to, shown) = oneshot::channel();
        let (domain, asker) = (message.domain, Asker::Operator(to));
        self.state.violated.insert(domain.clone()); // the servers are asked, not the cache
        if self.state.loaded {
            self.start(domain, Purpose::Refresh, Some(asker), ctx);
        } else {
            self.state.early.push((domain, asker));
        }
        Box::pin(async move { shown.await.unwrap_or_else(|_| Err("the cache has fallen".into())) })
    }
}

impl Handler<ForgetPolicy> for MtaStsCacheActor {
    type Result = bool;

    fn handle(&mut self, message: ForgetPolicy, ctx: &mut Context<Self>) -> bool {
        self.drop_all_of(&message.domain, ctx)
    }
}

impl Handler<Drain> for MtaStsCacheActor {
    type Result = ();

    /// Deliveries that run may still ask; nothing is fetched unasked.
    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.deps.draining = true;
    }
}

impl Handler<Probe> for MtaStsCacheActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let State { counts, flights, shelf, .. } = &self.state;
        let by_operators =
            |flight: &&Aloft| flight.askers.iter().any(|asker| matches!(asker, Asker::Operator(_)));
        let awaited = flights.values().filter(by_operators).count() as u64;
        let mut counters = vec![
            ("policies", shelf.len() as u64),
            // The process waits for them before it ends: an operator is told, and what was fetched is on disk. Deliveries are counted by
            // their queue as long as they go on, and one that was called off is not to keep the process as long as a policy host likes.
            ("running", awaited + self.deps.keeper.waiting()),
        ];
        counters.extend(counts.shown());
        MessageResult(Some(Pulse { counters }))
    }
}

impl Handler<PanicNow> for MtaStsCacheActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}

#[cfg(test)]
mod tests;
