//! ForwardActor: one `target.smtp` or `target.lmtp`, which gives mail to servers that are named in the configuration. It owns nothing that
//! a crash could lose: every attempt is a task of its own.

pub mod caller;
mod declaration;
mod passage;
pub mod ports;
pub mod relay;
pub mod settings;

use std::sync::{Arc, OnceLock};

use actix::{Actor, Context, Handler, MessageResult, Supervised};
use slog::{Logger, warn};
use tokio::sync::mpsc;

use posthaste_edge::clock::Clock;
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::attempt::forward::forward;
use posthaste_mail::outcome::{Cause, Failure};

use crate::carriage::attempt::Attempt;
use crate::messages::delivery::{Busy, Deliver};
use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use crate::messages::passage::{Begin, Passage};
use crate::task::spawn_reporting;
use caller::Caller;
use ports::RelayPorts;
use relay::Relay;

pub struct Deps {
    pub log: Logger,
    pub clock: Clock,
    pub runtime: tokio::runtime::Handle,
    pub relay: Arc<Relay>,
}

#[derive(Default)]
struct State {
    draining: bool,
    attempts: u64,
}

pub struct ForwardActor {
    deps: Deps,
    state: State,
}

impl ForwardActor {
    pub fn new(deps: Deps) -> ForwardActor {
        ForwardActor { deps, state: State::default() }
    }
}

impl Actor for ForwardActor {
    type Context = Context<Self>;
}

impl Supervised for ForwardActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State::default();
    }
}

impl Handler<Deliver> for ForwardActor {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, message: Deliver, _: &mut Context<Self>) -> Self::Result {
        if self.state.draining {
            let text = "the daemon is stopping";
            return MessageResult(Err(Busy(Failure::new(Cause::Interrupted, text))));
        }
        self.state.attempts += 1;
        let attempt = Attempt::of(&message);
        let (job, limit) = (attempt.job.clone(), attempt.limit());
        let relay = Arc::clone(&self.deps.relay);
        let (clock, log) = (self.deps.clock.clone(), self.deps.log.clone());
        let task_log = log.new(slog::o!("id" => job.envelope.id.to_string()));
        let work = async move {
            let dialect = relay.dialect;
            let mut ports = RelayPorts::new(relay, message, clock, &log);
            let run = forward(&job, dialect, &mut ports);
            let in_time = tokio::time::timeout(limit, run).await.is_ok();
            (ports.into_outcomes(), in_time)
        };
        attempt.run(&self.deps.runtime, task_log, work);
        MessageResult(Ok(()))
    }
}

impl Handler<Begin> for ForwardActor {
    type Result = Result<Passage, Failure>;

    fn handle(&mut self, message: Begin, _: &mut Context<Self>) -> Self::Result {
        if self.state.draining {
            return Err(Failure::new(Cause::Interrupted, "the daemon is stopping"));
        }
        self.state.attempts += 1;
        let Begin { envelope, client } = message;
        let log = self.deps.log.new(slog::o!("id" => envelope.id.to_string()));
        let caller = Caller {
            relay: Arc::clone(&self.deps.relay),
            wish: envelope.flags.tls,
            id: envelope.id,
            destination: self.deps.relay.target.clone(),
            client,
            whereabouts: Whereabouts::default(),
            clock: self.deps.clock.clone(),
            log: log.clone(),
            login: OnceLock::new(),
        };
        let (orders, coming) = mpsc::channel(1);
        let work = passage::run(caller, Arc::new(envelope), coming);
        spawn_reporting(&self.deps.runtime, work, move |end| {
            // Whoever waits for an answer notices that nobody is there any more.
            if let Err(panic) = end {
                warn!(log, "forwarding task panicked"; "cause" => panic);
            }
        });
        Ok(Passage(orders))
    }
}

impl Handler<Drain> for ForwardActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.state.draining = true;
    }
}

impl Handler<Probe> for ForwardActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let mut counters = vec![("attempts", self.state.attempts)];
        counters.extend(self.deps.relay.counters.shown());
        MessageResult(Some(Pulse { counters }))
    }
}

impl Handler<PanicNow> for ForwardActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}
