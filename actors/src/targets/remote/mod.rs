//! RemoteDeliveryActor: one `target.remote`. It owns nothing that a crash could lose: every attempt is a task of its own.

pub mod account;
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
use std::time::Duration;

use actix::{Actor, Context, Handler, MessageResult, Supervised};
use slog::{Logger, warn};
use tokio::sync::Semaphore;

use posthaste_edge::clock::{Clock, dice};
use posthaste_mail::attempt::remote::{Job, Rules, attempt};
use posthaste_mail::outcome::{Cause, Failure, Stage};

use crate::messages::admin::Examine;
use crate::messages::delivery::{Busy, Deliver, Finished};
use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use crate::task::spawn_reporting;
use network::Network;
use ports::RemotePorts;

/// An attempt ends this long before its lease, so that the lease's deadline frees only leases whose task is gone.
const MARGIN: Duration = Duration::from_secs(300);

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
        let job = Job {
            envelope: (*message.envelope).clone(),
            destination: message.destination.clone(),
            recipients: message.recipients.clone(),
            attempt: message.attempt,
        };
        let rules = Arc::clone(&self.deps.rules);
        let finished_to = message.finished_to.clone();
        let lease = message.lease.clone();
        let log = self.deps.log.new(slog::o!("id" => job.envelope.id.to_string()));
        let task_log = self.deps.log.clone();
        let network = Arc::clone(&self.deps.network);
        let clock = self.deps.clock.clone();
        let limit = lease.deadline.since(lease.taken).saturating_sub(MARGIN);
        let work = async move {
            let mut ports = RemotePorts::new(network, message, clock, task_log);
            let mut dice = dice();
            let run = attempt(&job, &rules, &mut ports, &mut dice);
            let in_time = tokio::time::timeout(limit, run).await.is_ok();
            (ports.into_outcomes(), in_time)
        };
        spawn_reporting(&self.deps.runtime, work, move |end| {
            let ((outcomes, last), fault) = match end {
                Ok((ended, true)) => (ended, None),
                Ok((ended, false)) => {
                    let text = "the attempt took too long";
                    (ended, Some(Failure::new(Cause::TimedOut(Stage::Connect), text)))
                }
                Err(panic) => {
                    warn!(log, "delivery task panicked"; "cause" => &panic);
                    let text = format!("internal fault: {panic}");
                    ((Vec::new(), None), Some(Failure::new(Cause::Internal, text)))
                }
            };
            finished_to.do_send(Finished { lease, outcomes, fault, last });
        });
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
