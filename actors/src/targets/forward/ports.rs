//! The world as one attempt of a forwarder sees it.

use std::sync::{Arc, OnceLock};

use slog::{Logger, info};

use posthaste_edge::clock::Clock;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::forward::ForwardPorts;
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::attempt::ports::{Delivery, Rest, Sessions, Transacted};
use posthaste_mail::outcome::{Cause, Failure, Outcome, Remote, SessionFacts};
use posthaste_mail::pool::{Class, PoolKey};
use posthaste_mail::wire::client::auth::Login;
use posthaste_mail::wire::client::transaction::Standing;

use crate::carriage::Carriage;
use crate::carriage::live::Live;
use crate::messages::delivery::{Deliver, Settled};
use crate::targets::forward::caller::{Caller, in_force};
use crate::targets::forward::relay::{Relay, Way};
use crate::targets::forward::settings::Auth;

pub struct RelayPorts {
    caller: Caller,
    carriage: Carriage,
}

impl RelayPorts {
    pub fn new(relay: Arc<Relay>, work: Deliver, clock: Clock, log: &Logger) -> RelayPorts {
        let log = log.new(slog::o!("id" => work.envelope.id.to_string()));
        let user = match &relay.auth {
            Auth::As(Login::Plain(account) | Login::Login(account)) => {
                Some(account.user().to_string())
            }
            Auth::As(Login::External) | Auth::Off | Auth::Forward => None,
        };
        // For this attempt alone: the vault has it no more.
        let client = match &relay.auth {
            Auth::Forward => relay.vault.take(work.envelope.id),
            Auth::Off | Auth::As(_) => None,
        };
        let tls = work.envelope.flags.tls;
        let key = PoolKey {
            target: relay.target.clone(),
            destination: work.destination.clone(),
            local: Vec::new(),
            class: Class { tls, credentials: user },
        };
        let caller = Caller {
            relay,
            wish: tls,
            id: work.envelope.id,
            destination: key.destination.to_string(),
            client,
            whereabouts: work.whereabouts.clone(),
            clock: clock.clone(),
            log: log.clone(),
            login: OnceLock::new(),
        };
        let carriage = Carriage::new(work, key, clock, log);
        RelayPorts { caller, carriage }
    }

    /// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
    pub fn into_outcomes(self) -> (Vec<(u32, Outcome)>, Option<Settled>) {
        self.carriage.into_outcomes()
    }
}

impl Sessions for RelayPorts {
    type Session = Live;
}

impl Delivery for RelayPorts {
    async fn check_out(&mut self) -> Option<Live> {
        let RelayPorts { caller, carriage } = self;
        let relay = &caller.relay;
        // Somebody else's login is not ours.
        if relay.auth == Auth::Forward {
            return None;
        }
        let required = relay.requirement(carriage.envelope.flags.tls);
        let now = |_| std::future::ready(in_force(required.clone()));
        let live = carriage.check_out(&relay.outfit(), now).await?;
        caller.told(&live);
        Some(live)
    }

    async fn transact(&mut self, live: &mut Live, addressees: &[Addressee]) -> Transacted {
        self.carriage.transact(&self.caller.relay.outfit(), live, addressees).await
    }

    async fn release(&mut self, live: Live, standing: Standing) {
        let standing = match self.caller.relay.auth {
            Auth::Forward => standing.max(Standing::Parting),
            Auth::Off | Auth::As(_) => standing,
        };
        self.carriage.release(&self.caller.relay.outfit(), live, standing);
    }

    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, facts: &SessionFacts, rest: Rest) {
        self.carriage.settle(outcomes, facts, rest).await;
    }
}

impl ForwardPorts for RelayPorts {
    type Way = Way;

    fn servers(&self) -> usize {
        self.caller.relay.servers.len()
    }

    fn name(&self, place: usize) -> String {
        self.caller.relay.servers.get(place).map_or_else(String::new, |server| server.name.clone())
    }

    fn rests(&self, place: usize) -> bool {
        self.caller.relay.memory.known().rests(place, self.caller.clock.now())
    }

    async fn ways(&mut self, place: usize) -> Result<Vec<Way>, Failure> {
        let relay = Arc::clone(&self.caller.relay);
        let Some(server) = relay.servers.get(place) else { return Ok(Vec::new()) };
        self.carriage.whereabouts.at(Phase::AddressLookup, &server.name, None);
        let found = self.carriage.patience.before(relay.ways(server)).await;
        found.unwrap_or_else(|| Err(called_off(Remote::default())))
    }

    async fn connect(&mut self, place: usize, way: &Way) -> Result<Live, Failure> {
        let relay = Arc::clone(&self.caller.relay);
        let Some(server) = relay.servers.get(place) else {
            return Err(Failure::new(Cause::Internal, "there is no such server"));
        };
        let dialling = relay.memory.begin(place, self.caller.clock.now());
        // Patience is the queue's affair; the work looks at everything else.
        let mut patience = self.carriage.patience.clone();
        let reached = patience.before(self.caller.reach(place, server, way)).await;
        self.carriage.patience = patience;
        drop(dialling);
        match reached.unwrap_or_else(|| Err(called_off(server.remote(way)))) {
            Ok(live) => {
                self.caller.told(&live);
                Ok(live)
            }
            Err(failure) => {
                info!(self.caller.log, "session"; "server" => &server.name,
                    "reason" => failure.cause.word(), "smtp_code" => failure.code,
                    "smtp_enchcode" => failure.status.to_string(), "smtp_msg" => &failure.text);
                Err(failure)
            }
        }
    }
}

fn called_off(remote: Remote) -> Failure {
    let text = "called off while the server had not answered";
    Failure::new(Cause::Suspended, text).at(remote)
}
