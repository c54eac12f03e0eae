//! RemoteDeliveryActor: one `target.remote`. It owns nothing that a crash could lose: every attempt is a task of its own.

pub mod account;
pub mod broken_tls;
pub mod caller;
pub mod hosts;
pub mod mtasts;
pub mod mx_auth;
pub mod network;
mod policies;
pub mod ports;
mod probe;
pub mod settings;

use std::sync::Arc;

use actix::{Actor, Context, Handler, MessageResult, Supervised};
use slog::Logger;
use tokio::sync::Semaphore;

use posthaste_edge::clock::{Clock, dice};
use posthaste_mail::attempt::remote::{self as remote_attempt, Rules};
use posthaste_mail::outcome::{Cause, Failure};

use crate::carriage::attempt::Attempt;
use crate::messages::admin::Examine;
use crate::messages::delivery::{Busy, Deliver};
use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use network::Network;
use ports::RemotePorts;

pub struct Deps {
    pub name: String,
    pub log: Logger,
    pub clock: Clock,
    pub runtime: tokio::runtime::Handle,
    pub rules: Arc<Rules>,
    pub network: Arc<Network>,
}

#[derive(Default)]
struct State {
    draining: bool,
    attempts: u64,
}

pub struct RemoteDeliveryActor {
    deps: Deps,
    /// For probes; their tasks outlive a fall of this actor.
    places: Arc<Semaphore>,
    state: State,
}

impl RemoteDeliveryActor {
    pub fn new(deps: Deps) -> RemoteDeliveryActor {
        let places = Arc::new(Semaphore::new(probe::MOST));
        RemoteDeliveryActor { deps, places, state: State::default() }
    }
}

impl Actor for RemoteDeliveryActor {
    type Context = Context<Self>;
}

impl Supervised for RemoteDeliveryActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State::default();
    }
}

impl Handler<Deliver> for RemoteDeliveryActor {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, message: Deliver, _: &mut Context<Self>) -> Self::Result {
        if self.state.draining {
            let text = "the daemon is stopping";
            return MessageResult(Err(Busy(Failure::new(Cause::Interrupted, text))));
        }
        self.state.attempts += 1;
        let attempt = Attempt::of(&message);
        let (job, limit) = (attempt.job.clone(), attempt.limit());
        let rules = Arc::clone(&self.deps.rules);
        let network = Arc::clone(&self.deps.network);
        let (clock, log) = (self.deps.clock.clone(), self.deps.log.clone());
        let task_log = log.new(slog::o!("id" => job.envelope.id.to_string()));
        let work = async move {
            let mut ports = RemotePorts::new(network, message, clock, log);
            let mut dice = dice();
            let run = remote_attempt::attempt(&job, &rules, &mut ports, &mut dice);
            let in_time = tokio::time::timeout(limit, run).await.is_ok();
            (ports.into_outcomes(), in_time)
        };
        attempt.run(&self.deps.runtime, task_log, work);
        MessageResult(Ok(()))
    }
}

impl Handler<Examine> for RemoteDeliveryActor {
    type Result = Result<(), String>;

    fn handle(&mut self, wish: Examine, _: &mut Context<Self>) -> Self::Result {
        if self.state.draining {
            return Err("the daemon is stopping".to_string());
        }
        probe::begin(&self.deps, &self.places, wish)
    }
}

impl Handler<Drain> for RemoteDeliveryActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.state.draining = true;
        let network = Arc::clone(&self.deps.network);
        // What is lost of it costs a few dials.
        self.deps.runtime.spawn_blocking(move || drop(network.hosts.write()));
    }
}

impl Handler<Probe> for RemoteDeliveryActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let mut counters = vec![("attempts", self.state.attempts)];
        counters.extend(self.deps.network.counters.shown());
        MessageResult(Some(Pulse { counters }))
    }
}

impl Handler<PanicNow> for RemoteDeliveryActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}
