//! ConnectionPoolActor: idle sessions by key, each with its own expiry. Losing them costs a dial.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Supervised};
use slog::{Logger, debug};

use posthaste_edge::clock::Clock;
use posthaste_mail::pool::Keeping;

use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use crate::messages::pool::{CheckIn, CheckOut, Idle, PoolKey};

/// Idle sessions of all keys together.
const MOST_IN_ALL: usize = 5000;

pub struct Deps {
    pub log: Logger,
    pub clock: Clock,
    pub keeping: Keeping,
    pub runtime: tokio::runtime::Handle,
}

#[derive(Default)]
struct State {
    idle: HashMap<PoolKey, VecDeque<Box<Idle>>>,
    count: usize,
    lent: u64,
    missed: u64,
    expired: u64,
    draining: bool,
}

pub struct ConnectionPoolActor {
    deps: Deps,
    state: State,
}

impl ConnectionPoolActor {
    pub fn new(deps: Deps) -> ConnectionPoolActor {
        ConnectionPoolActor { deps, state: State::default() }
    }

    /// QUIT on the runtime's pool: the peer may take its time.
    fn close(&self, mut idle: Box<Idle>) {
        debug!(self.deps.log, "idle session closed"; "mx" => &idle.remote.host);
        self.deps.runtime.spawn(async move { idle.session.quit().await });
    }

    /// Takes out of `key` what may not be used any more.
    fn expire(&mut self, key: &PoolKey) {
        let now = self.deps.clock.now();
        let keeping = self.deps.keeping;
        let Some(sessions) = self.state.idle.get_mut(key) else { return };
        let (good, over): (VecDeque<_>, VecDeque<_>) = sessions.drain(..).partition(|idle| {
            keeping.allows_reuse(idle.transactions, idle.opened, idle.last_used, now)
                && idle.session.is_quiet()
        });
        if good.is_empty() {
            self.state.idle.remove(key);
        } else {
            *sessions = good;
        }
        self.state.count = self.state.count.saturating_sub(over.len());
        self.state.expired += over.len() as u64;
        over.into_iter().for_each(|idle| self.close(idle));
    }
}

impl Actor for ConnectionPoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Sessions whose peer has closed are noticed within a second; each has its own time besides (see `CheckIn`).
        ctx.run_interval(Duration::from_secs(1), |pool, _| {
            let keys: Vec<PoolKey> = pool.state.idle.keys().cloned().collect();
            keys.iter().for_each(|key| pool.expire(key));
        });
    }
}

impl Supervised for ConnectionPoolActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State::default();
    }
}

impl Handler<CheckOut> for ConnectionPoolActor {
    type Result = MessageResult<CheckOut>;

    fn handle(&mut self, message: CheckOut, _: &mut Context<Self>) -> Self::Result {
        self.expire(&message.key);
        // The one used last is the one most likely to be good.
        let found = self.state.idle.get_mut(&message.key).and_then(VecDeque::pop_back);
        match &found {
            Some(_) => {
                self.state.count = self.state.count.saturating_sub(1);
                self.state.lent += 1;
            }
            None => self.state.missed += 1,
        }
        if self.state.idle.get(&message.key).is_some_and(VecDeque::is_empty) {
            self.state.idle.remove(&message.key);
        }
        MessageResult(found)
    }
}

impl Handler<CheckIn> for ConnectionPoolActor {
    type Result = ();

    fn handle(&mut self, message: CheckIn, _: &mut Context<Self>) {
        let idle = message.session;
        let now = self.deps.clock.now();
        let keeping = self.deps.keeping;
        let full = self.state.idle.get(&message.key).map_or(0, VecDeque::len) >= keeping.most_idle
            || self.state.count >= MOST_IN_ALL;
        let useful = keeping.allows_reuse(idle.transactions, idle.opened, idle.last_used, now);
        if full || !useful || self.state.draining {
            self.close(idle);
            return;
        }
        self.state.count += 1;
        self.state.idle.entry(message.key).or_default().push_back(idle);
    }
}

impl Handler<Drain> for ConnectionPoolActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.state.draining = true;
        let all = std::mem::take(&mut self.state.idle);
        self.state.count = 0;
        all.into_values().flatten().for_each(|idle| self.close(idle));
    }
}

impl Handler<Probe> for ConnectionPoolActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Some(Pulse {
            counters: vec![
                ("idle", self.state.count as u64),
                ("reused", self.state.lent),
                ("missed", self.state.missed),
                ("expired", self.state.expired),
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
