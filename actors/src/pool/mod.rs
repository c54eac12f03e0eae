//! ConnectionPoolActor: which sessions lie idle, and for whom. Losing them costs a dial.
//!
//! It owns the list, not the sessions: each of those is owned by a task that watches its peer and its time (`keeper`). Taking one off the
//! list is what makes lending exclusive; the task then hands it over. After a fall the list is empty, and the tasks, whose orders
//! nobody can give any more, take leave of their peers.

mod keeper;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult, Recipient, Supervised};
use slog::{Logger, debug, error};
use tokio::sync::oneshot;

use posthaste_edge::clock::Clock;
use posthaste_mail::admin::answer::SessionLine;
use posthaste_mail::level::TlsLevel;
use posthaste_mail::outcome::Remote;
use posthaste_mail::pool::shelf::{Place, Room, Shelf};
use posthaste_mail::pool::{Keeping, PoolKey, may_be_kept};
use posthaste_mail::time::Timestamp;

use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use crate::messages::pool::{CheckIn, CheckOut, Idle, ShowPool, Wish};
use crate::task::spawn_reporting;
use keeper::{Charge, Ended, Order, Token, keep};

/// Idle sessions of all keys together.
const MOST_IN_ALL: usize = 5000;

pub struct Deps {
    pub log: Logger,
    pub clock: Clock,
    pub keeping: Keeping,
    pub runtime: tokio::runtime::Handle,
    /// Sessions of this life and of earlier ones that have not ended yet.
    charge: Charge,
    /// Goes on after a restart, so that the news of an older life means nobody.
    next_serial: u64,
    /// The process is about to end, whatever happens to this actor meanwhile.
    draining: bool,
}

impl Deps {
    pub fn new(
        log: Logger,
        clock: Clock,
        keeping: Keeping,
        runtime: tokio::runtime::Handle,
    ) -> Deps {
        Deps {
            log,
            clock,
            keeping,
            runtime,
            charge: Charge::default(),
            next_serial: 0,
            draining: false,
        }
    }
}

/// An idle session as the list knows it.
struct Lying {
    orders: oneshot::Sender<Order>,
    remote: Remote,
    tls_level: TlsLevel,
    opened: Timestamp,
    last_used: Timestamp,
    transactions: u32,
}

#[derive(Default)]
struct State {
    shelf: Shelf<Lying>,
    reused: u64,
    missed: u64,
    expired: u64,
    closed: u64,
    evicted: u64,
}

pub struct ConnectionPoolActor {
    deps: Deps,
    state: State,
}

/// A session's task -> Pool: it has left without an order.
struct Gone {
    place: Place,
    ended: Ended,
}

impl Message for Gone {
    type Result = ();
}

impl ConnectionPoolActor {
    pub fn new(deps: Deps) -> ConnectionPoolActor {
        ConnectionPoolActor { deps, state: State::default() }
    }

    /// QUIT on the runtime's pool: the peer may take its time.
    fn part(&self, mut idle: Box<Idle>, token: Token) {
        debug!(self.deps.log, "session not kept"; "mx" => &idle.remote.host);
        self.deps.runtime.spawn(async move {
            idle.session.quit().await;
            drop(token);
        });
    }

    fn put_by(
        &mut self,
        key: PoolKey,
        idle: Box<Idle>,
        time_left: std::time::Duration,
        token: Token,
        gone_to: Recipient<Gone>,
    ) {
        let place = Place { last_used: idle.last_used, serial: self.deps.next_serial };
        self.deps.next_serial += 1;
        let (orders, to_task) = oneshot::channel();
        let lying = Lying {
            orders,
            remote: idle.remote.clone(),
            tls_level: idle.facts.tls_level,
            opened: idle.opened,
            last_used: idle.last_used,
            transactions: idle.transactions,
        };
        let fallen_to = gone_to.clone();
        let gone = move |ended| gone_to.do_send(Gone { place, ended });
        let log = self.deps.log.clone();
        let watch = keep(idle, time_left, to_task, gone);
        spawn_reporting(&self.deps.runtime, watch, move |end| {
            if let Err(panic) = end {
                error!(log, "watch over an idle session panicked"; "cause" => panic);
                fallen_to.do_send(Gone { place, ended: Ended::ByFault });
            }
            drop(token);
        });
        let room = Room { of_key: self.deps.keeping.most_idle, in_all: MOST_IN_ALL };
        for leaving in self.state.shelf.put(key, place, lying, room) {
            self.state.evicted += 1;
            // No answer: it is leaving already.
            let _ = leaving.orders.send(Order::Part);
        }
    }
}

impl Actor for ConnectionPoolActor {
    type Context = Context<Self>;
}

impl Supervised for ConnectionPoolActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State::default();
    }
}

impl Handler<CheckOut> for ConnectionPoolActor {
    type Result = MessageResult<CheckOut>;

    fn handle(&mut self, message: CheckOut, _: &mut Context<Self>) -> Self::Result {
        let (keeping, now) = (self.deps.keeping, self.deps.clock.now());
        while let Some(lying) = self.state.shelf.take(&message.key) {
            let (transactions, last_used) = (lying.transactions, lying.last_used);
            // Its task knows the time as well, unless the clock was set meanwhile.
            if keeping.time_left(transactions, lying.opened, last_used, now).is_none() {
                self.state.expired += 1;
                let _ = lying.orders.send(Order::Part);
                continue;
            }
            let (to, claim) = oneshot::channel();
            // One whose task has just ended is none: its news is on the way here.
            if lying.orders.send(Order::Lend(to)).is_ok() {
                self.state.reused += 1;
                return MessageResult(Some(claim));
            }
        }
        self.state.missed += 1;
        MessageResult(None)
    }
}

impl Handler<CheckIn> for ConnectionPoolActor {
    type Result = ();

    fn handle(&mut self, message: CheckIn, ctx: &mut Context<Self>) {
        let CheckIn { key, session: idle, wish } = message;
        let token = self.deps.charge.take();
        let (keeping, now) = (self.deps.keeping, self.deps.clock.now());
        let time_left = keeping.time_left(idle.transactions, idle.opened, idle.last_used, now);
        let may_stay = wish == Wish::Keep && !self.deps.draining && may_be_kept(&key, &idle.proof);
        match time_left.filter(|_| may_stay) {
            Some(time_left) => {
                self.put_by(key, idle, time_left, token, ctx.address().recipient());
            }
            None => self.part(idle, token),
        }
    }
}

impl Handler<Gone> for ConnectionPoolActor {
    type Result = ();

    fn handle(&mut self, gone: Gone, _: &mut Context<Self>) {
        let Some(lying) = self.state.shelf.remove(gone.place) else { return };
        let reason = match gone.ended {
            Ended::ByPeer => {
                self.state.closed += 1;
                "ended by the peer"
            }
            Ended::Expired => {
                self.state.expired += 1;
                "its time is over"
            }
            Ended::ByFault => "fault of its watch",
        };
        debug!(self.deps.log, "idle session closed"; "mx" => &lying.remote.host, "reason" => reason);
    }
}

impl Handler<Drain> for ConnectionPoolActor {
    type Result = ();

    /// Everybody is sent a QUIT at the same time. Who waits for us to stop sees their number fall.
    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.deps.draining = true;
        for lying in self.state.shelf.clear() {
            let _ = lying.orders.send(Order::Part);
        }
    }
}

impl Handler<ShowPool> for ConnectionPoolActor {
    type Result = MessageResult<ShowPool>;

    fn handle(&mut self, _: ShowPool, _: &mut Context<Self>) -> Self::Result {
        let now = self.deps.clock.now();
        let mut lines: Vec<SessionLine> = self
            .state
            .shelf
            .iter()
            .map(|(key, lying)| SessionLine {
                target: key.target.clone(),
                destination: key.destination.to_string(),
                mx: lying.remote.host.clone(),
                address: lying.remote.address.clone().unwrap_or_default(),
                tls_level: lying.tls_level,
                transactions: lying.transactions,
                idle_seconds: now.since(lying.last_used).as_secs(),
                age_seconds: now.since(lying.opened).as_secs(),
            })
            .collect();
        lines.sort_by(|a, b| {
            a.destination.cmp(&b.destination).then(a.idle_seconds.cmp(&b.idle_seconds))
        });
        MessageResult(lines)
    }
}

impl Handler<Probe> for ConnectionPoolActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let idle = self.state.shelf.len() as u64;
        MessageResult(Some(Pulse {
            counters: vec![
                ("idle", idle),
                // Farewells: the process waits for them before it ends.
                ("running", self.deps.charge.held().saturating_sub(idle)),
                ("reused", self.state.reused),
                ("missed", self.state.missed),
                ("expired", self.state.expired),
                ("closed", self.state.closed),
                ("evicted", self.state.evicted),
            ],
        }))
    }
}

impl Handler<PanicNow> for ConnectionPoolActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}

#[cfg(test)]
mod tests;
