//! AdminActor: the operator's socket. Requests become messages, answers become lines.

mod connection;
mod inbound;
mod live;
mod method;
mod probe;
pub mod sts;
pub mod submission;
mod wire;

pub use method::DRAIN;
pub use sts::StsDoor;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Recipient, Supervised};
use slog::{Logger, error, info, warn};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use posthaste_edge::buffer::BufferDir;
use posthaste_edge::clock::Clock;
use posthaste_edge::socket::Listener;
use posthaste_mail::time::Timestamp;

use crate::log::Switches;
use crate::messages::admin::{
    Act, Examine, ExplainDestination, ExplainMessage, ListBatches, PanicChild, ShowActors,
    ShowMessage, ShowQueue,
};
use crate::messages::intake::Accept;
use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse, Shutdown};
use crate::messages::pool::ShowPool;
use crate::servers::SharedServers;
use crate::trace::Trace;
use crate::wire::Wire;

/// A queue as the operator's requests reach it.
#[derive(Clone)]
pub struct QueueDoor {
    pub name: String,
    pub show: Recipient<ShowQueue>,
    pub list: Recipient<ListBatches>,
    pub message: Recipient<ShowMessage>,
    pub act: Recipient<Act>,
    pub explain: Recipient<ExplainMessage>,
    pub destination: Recipient<ExplainDestination>,
    pub accept: Recipient<Accept>,
}

/// A `target.remote` as the operator's requests reach it.
#[derive(Clone)]
pub struct RemoteDoor {
    pub name: String,
    pub examine: Recipient<Examine>,
}

/// Facts about the process for `status`.
#[derive(Clone, Debug)]
pub struct Identity {
    pub version: String,
    pub hostname: String,
    pub state_dir: String,
    pub started: Timestamp,
    /// Known from the start, like warnings of the configuration.
    pub wrong: Vec<String>,
}

/// What every connection needs.
pub struct Desk {
    pub identity: Identity,
    pub log: Logger,
    pub clock: Clock,
    pub trace: Arc<Trace>,
    pub wire: Arc<Wire>,
    pub switches: Switches,
    pub queues: Vec<QueueDoor>,
    pub remotes: Vec<RemoteDoor>,
    pub pools: Vec<Recipient<ShowPool>>,
    pub caches: Vec<StsDoor>,
    /// What is wrong with the resolver, where its word on signatures counts.
    pub resolver: watch::Receiver<Option<String>>,
    /// Names of all that delivers.
    pub targets: Vec<String>,
    /// Of forwarders.
    pub servers: Vec<Arc<SharedServers>>,
    pub actors: Recipient<ShowActors>,
    pub panic: Recipient<PanicChild>,
    pub shutdown: Recipient<Shutdown>,
    pub buffer: BufferDir,
    /// `--debug-faults`: methods that break things on purpose are there.
    pub debug_faults: bool,
    pub requests: AtomicU64,
}

pub struct Deps {
    pub path: PathBuf,
    pub runtime: tokio::runtime::Handle,
    pub desk: Arc<Desk>,
    /// The task of the listener; it outlives a fall of the actor.
    pub listening: Option<AbortHandle>,
}

pub struct AdminActor {
    deps: Deps,
}

impl AdminActor {
    pub fn new(deps: Deps) -> AdminActor {
        AdminActor { deps }
    }

    fn listen(&mut self, ctx: &mut Context<Self>) {
        if self.deps.listening.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (path, desk) = (self.deps.path.clone(), Arc::clone(&self.deps.desk));
        let _inside = self.deps.runtime.enter();
        match Listener::unix(&path, 0o660) {
            Ok(listener) => {
                info!(desk.log, "operator socket open"; "path" => path.display().to_string());
                let task = self.deps.runtime.spawn(serve(listener, desk));
                self.deps.listening = Some(task.abort_handle());
            }
            Err(e) => {
                error!(desk.log, "operator socket cannot be opened";
                    "path" => path.display().to_string(), "cause" => %e);
                ctx.run_later(Duration::from_secs(5), |admin, ctx| admin.listen(ctx));
            }
        }
    }
}

/// Connections at once: those who follow hold theirs for long, but nobody needs hundreds.
const MOST_CONNECTIONS: usize = 100;

async fn serve(listener: Listener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // Whoever is one too many finds the connection closed.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    let _place = place;
                    let log = desk.log.clone();
                    let end = crate::task::caught(connection::serve(connection, desk)).await;
                    if let Err(panic) = end {
                        warn!(log, "operator connection panicked"; "cause" => panic);
                    }
                });
            }
            Err(e) => {
                warn!(desk.log, "operator connection not accepted"; "cause" => %e);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

impl Actor for AdminActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.listen(ctx);
    }
}

impl Supervised for AdminActor {
    /// There is no state: the listener and its connections are tasks that go on.
    fn restarting(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Drain> for AdminActor {
    type Result = ();

    /// The operator may watch to the end.
    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {}
}

impl Handler<Probe> for AdminActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let requests = self.deps.desk.requests.load(Ordering::Relaxed);
        MessageResult(Some(Pulse { counters: vec![("requests", requests)] }))
    }
}

impl Handler<PanicNow> for AdminActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}
