//! EndpointActor: one `smtp`, `submission` or `lmtp` block, its listeners and its sessions.

mod answers;
pub mod auth;
mod custody;
mod passages;
pub mod session;
pub mod settings;
pub mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, Supervised};
use slog::{debug, error, info, warn};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use posthaste_config::ListenEndpoint;
use posthaste_edge::socket::{Connection, Listener};
use posthaste_mail::status::Enhanced;
use posthaste_mail::wire::server::{Answer, Server};

use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use session::Endpoint;

/// Sessions of one endpoint at a time; a further client is told to come back.
pub const MOST_SESSIONS: usize = 1000;
/// A listener that cannot be opened is tried again after this.
const REBIND: Duration = Duration::from_secs(5);

pub struct Deps {
    pub listen: Vec<ListenEndpoint>,
    pub endpoint: Arc<Endpoint>,
    pub runtime: tokio::runtime::Handle,
    /// Outlives this actor, as the sessions do.
    pub sessions: Arc<Semaphore>,
    pub counters: Arc<Counters>,
    /// Told to all sessions, also to those of an earlier life of the actor.
    pub draining: Arc<watch::Sender<bool>>,
    pub listening: Listening,
}

#[derive(Debug, Default)]
pub struct Counters {
    connections: AtomicU64,
    turned_away: AtomicU64,
}

/// The task of each listener, by its place. They outlive a fall of the actor, so that no connection is refused meanwhile.
pub type Listening = HashMap<usize, AbortHandle>;

pub struct EndpointActor {
    deps: Deps,
}

impl EndpointActor {
    pub fn new(deps: Deps) -> EndpointActor {
        EndpointActor { deps }
    }

    fn listen(&mut self, place: usize, ctx: &mut Context<Self>) {
        if self.deps.listening.get(&place).is_some_and(|task| !task.is_finished()) {
            return;
        }
        let Some(address) = self.deps.listen.get(place).cloned() else { return };
        let log = self.deps.endpoint.log.clone();
        let _inside = self.deps.runtime.enter();
        match open(&address) {
            Ok(listener) => {
                info!(log, "listening"; "address" => address.to_string());
                let door = Door {
                    implicit_tls: matches!(address, ListenEndpoint::Tls { .. }),
                    endpoint: Arc::clone(&self.deps.endpoint),
                    sessions: Arc::clone(&self.deps.sessions),
                    counters: Arc::clone(&self.deps.counters),
                    draining: self.deps.draining.subscribe(),
                };
                let task = self.deps.runtime.spawn(serve(listener, door));
                self.deps.listening.insert(place, task.abort_handle());
            }
            Err(e) => {
                error!(log, "cannot listen"; "address" => address.to_string(), "cause" => %e);
                ctx.run_later(REBIND, move |endpoint, ctx| endpoint.listen(place, ctx));
            }
        }
    }

    fn open_sessions(&self) -> usize {
        MOST_SESSIONS.saturating_sub(self.deps.sessions.available_permits())
    }
}

/// Opens the socket of an address.
pub fn open(address: &ListenEndpoint) -> std::io::Result<Listener> {
    match address {
        ListenEndpoint::Tcp { host, port } | ListenEndpoint::Tls { host, port } => {
            let ip = settings::listen_ip(host).map_err(std::io::Error::other)?;
            Listener::tcp(ip, *port)
        }
        ListenEndpoint::Unix(path) => Listener::unix(path, 0o666),
    }
}

/// What the task of a listener needs.
struct Door {
    implicit_tls: bool,
    endpoint: Arc<Endpoint>,
    sessions: Arc<Semaphore>,
    counters: Arc<Counters>,
    draining: watch::Receiver<bool>,
}

async fn serve(listener: Listener, door: Door) {
    loop {
        let (connection, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: those in use come back.
                warn!(door.endpoint.log, "connection not accepted"; "cause" => %e);
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        door.counters.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(permit) = Arc::clone(&door.sessions).try_acquire_owned() else {
            door.counters.turned_away.fetch_add(1, Ordering::Relaxed);
            turn_away(connection);
            continue;
        };
        let endpoint = Arc::clone(&door.endpoint);
        let draining = door.draining.clone();
        let implicit_tls = door.implicit_tls;
        tokio::spawn(async move {
            let log = endpoint.log.clone();
            let run = session::run(connection, address, implicit_tls, endpoint, draining);
            match crate::task::caught(run).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => debug!(log, "session ended"; "cause" => %e),
                Err(panic) => warn!(log, "session panicked"; "cause" => panic),
            }
            drop(permit);
        });
    }
}

fn turn_away(mut connection: Connection) {
    let answer = Answer::new(421, Enhanced(4, 3, 2), "Too many connections, try again later");
    tokio::spawn(async move {
        let bytes = Server::turn_away(&answer);
        let write = connection.write_all(&bytes);
        let _ = tokio::time::timeout(Duration::from_secs(5), write).await;
    });
}

impl Actor for EndpointActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !*self.deps.draining.borrow() {
            (0..self.deps.listen.len()).for_each(|place| self.listen(place, ctx));
        }
    }
}

impl Supervised for EndpointActor {
    /// There is no state: listeners and sessions are tasks that go on.
    fn restarting(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Drain> for EndpointActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.deps.listening.values().for_each(AbortHandle::abort);
        self.deps.draining.send_replace(true);
    }
}

impl Handler<Probe> for EndpointActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        let counters = &self.deps.counters;
        MessageResult(Some(Pulse {
            counters: vec![
                ("running", self.open_sessions() as u64),
                ("connections", counters.connections.load(Ordering::Relaxed)),
                ("turned_away", counters.turned_away.load(Ordering::Relaxed)),
            ],
        }))
    }
}

impl Handler<PanicNow> for EndpointActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}
