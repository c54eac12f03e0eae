//! The world as one attempt of a forwarder sees it.

use std::sync::Arc;

use slog::{Logger, debug, error, info, warn};

use posthaste_config::{Endpoint, Host};
use posthaste_edge::clock::Clock;
use posthaste_edge::dial::{DialError, LocalAddresses, dial, dial_unix};
use posthaste_edge::session::{Opened, Session};
use posthaste_edge::socket::Connection;
use posthaste_edge::tls::{Demand as Asked, Reference};
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::credentials::{Distance, may_be_said};
use posthaste_mail::attempt::forward::ForwardPorts;
use posthaste_mail::attempt::ladder::{TlsDemand, may_fall_back};
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::attempt::ports::{Delivery, Rest, Sessions, Transacted};
use posthaste_mail::outcome::{Cause, Failure, Outcome, Remote, SessionFacts, Stage};
use posthaste_mail::policy::proof::{Channel, Proof};
use posthaste_mail::policy::requirement::{Certificate, Requirement};
use posthaste_mail::policy::{AddressUse, InForce, judge};
use posthaste_mail::pool::{Class, PoolKey};
use posthaste_mail::wire::client::auth::Login;
use posthaste_mail::wire::client::opening::StartTls;
use posthaste_mail::wire::client::transaction::Standing;

use crate::carriage::live::Live;
use crate::carriage::{Carriage, reuse};
use crate::messages::delivery::{Deliver, Settled};
use crate::targets::forward::relay::{Relay, Server, Way};
use crate::targets::forward::settings::Auth;
use crate::wire::Recording;

pub struct RelayPorts {
    relay: Arc<Relay>,
    carriage: Carriage,
    clock: Clock,
    log: Logger,
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
        let key = PoolKey {
            target: relay.target.clone(),
            destination: work.destination.clone(),
            local: Vec::new(),
            class: Class { tls: work.envelope.flags.tls, credentials: user },
        };
        let carriage = Carriage::new(work, key, clock.clone(), log.clone());
        RelayPorts { relay, carriage, clock, log }
    }

    /// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
    pub fn into_outcomes(self) -> (Vec<(u32, Outcome)>, Option<Settled>) {
        self.carriage.into_outcomes()
    }

    fn requirement(&self, server: &Server) -> Requirement {
        self.relay.requirement_at(server, self.carriage.envelope.flags.tls)
    }

    /// A session, or why there is none.
    async fn reach(&self, place: usize, server: &Server, way: &Way) -> Result<Live, Failure> {
        let login = self.login()?;
        let requirement = self.requirement(server);
        let starttls = match (&server.endpoint, self.relay.security.attempt_starttls) {
            (Endpoint::Tls { .. }, _) => StartTls::AtOnce,
            (Endpoint::Tcp { .. } | Endpoint::Unix(_), true) => StartTls::IfOffered,
            (Endpoint::Tcp { .. } | Endpoint::Unix(_), false) => StartTls::Skip,
        };
        // What is not encrypted is no place for credentials, so it would be opened for nothing.
        let demand = match requirement.needs_tls() || login.is_some() {
            true => TlsDemand::Encrypted,
            false => TlsDemand::Opportunistic,
        };
        let live = match self.greet(place, server, way, &requirement, starttls).await {
            Err(broken) if may_fall_back(demand, &broken) => {
                warn!(self.log, "tls failed, going on in the clear";
                    "server" => &server.name, "text" => &broken.text);
                let clear = self.greet(place, server, way, &requirement, StartTls::Skip).await;
                let mut live = clear?;
                self.relay.counters.plaintext_fallbacks.add_one();
                live.proof.channel = Channel::ClearAfterFailure;
                live.facts.tls_error = Some(broken.text);
                live
            }
            other => other.map_err(|failure| requirement.explain(failure))?,
        };
        let live = self.judged(live, requirement)?;
        match login {
            Some(login) => self.logged_in(live, &login, way).await,
            None => Ok(live),
        }
    }

    /// How to log in, if we are to and may.
    fn login(&self) -> Result<Option<Login>, Failure> {
        match &self.relay.auth {
            Auth::Off => Ok(None),
            Auth::Forward => {
                let text = "auth forward: the credentials of the client are not kept in a queue";
                Err(Failure::new(Cause::CredentialsMissing, text))
            }
            Auth::As(login) => match self.relay.memory.servers().held(self.clock.now()) {
                Some(until) => {
                    let until = until.rfc3339();
                    let text =
                        format!("our credentials were refused, they are shown again at {until}");
                    Err(Failure::new(Cause::Suspended, text))
                }
                None => Ok(Some(login.clone())),
            },
        }
    }

    async fn greet(
        &self,
        place: usize,
        server: &Server,
        way: &Way,
        requirement: &Requirement,
        starttls: StartTls,
    ) -> Result<Live, Failure> {
        let remote = server.remote(way);
        let relay = &*self.relay;
        let destination = self.carriage.key.destination.to_string();
        let id = self.carriage.envelope.id;
        let recording = relay.wire.record(&relay.target, destination, remote.clone(), id);
        let greeted = self.greet_recorded(place, server, way, requirement, starttls, &recording);
        greeted.await.map_err(|failure| {
            recording.failed(&failure);
            failure.at(remote)
        })
    }

    async fn greet_recorded(
        &self,
        place: usize,
        server: &Server,
        way: &Way,
        requirement: &Requirement,
        starttls: StartTls,
        recording: &Arc<Recording>,
    ) -> Result<Live, Failure> {
        let (relay, remote) = (&*self.relay, server.remote(way));
        let address = address_of(way);
        self.carriage.whereabouts.at(Phase::In(Stage::Connect), &server.name, Some(address));
        let connection = self.connection(way, recording).await.inspect_err(|failure| {
            if failure.cause == Cause::Unreachable {
                relay.memory.servers().failed(place, self.clock.now());
            }
        })?;
        let localhost = Domain::parse("localhost").ok();
        let host = match &server.endpoint {
            Endpoint::Tcp { host: Host::Name(name), .. }
            | Endpoint::Tls { host: Host::Name(name), .. } => Reference::Name(name),
            Endpoint::Tcp { host: Host::Address(address), .. }
            | Endpoint::Tls { host: Host::Address(address), .. } => Reference::Address(*address),
            Endpoint::Unix(_) => localhost.as_ref().into(),
        };
        // TLS below 1.2 proves nothing.
        let sound = requirement.needs_tls() || relay.auth != Auth::Off;
        let how = Opened {
            dialect: relay.dialect,
            our_name: &relay.our_name,
            starttls,
            tls: &relay.tls,
            host,
            demand: if sound { Asked::Pkix } else { Asked::Opportunistic },
            timeouts: relay.timeouts,
            listener: recording.clone(),
            whereabouts: Some(self.carriage.whereabouts.clone()),
        };
        let session = Session::open(connection, how).await.inspect_err(|failure| {
            let mut servers = relay.memory.servers();
            match failure.cause {
                Cause::HandshakeFailed => relay.counters.handshakes_failed.add_one(),
                Cause::TimedOut(Stage::Greeting) => servers.failed(place, self.clock.now()),
                _ => servers.answered(place),
            }
        })?;
        relay.memory.servers().answered(place);
        let tls = session.tls();
        let facts = SessionFacts {
            tls_version: tls.map(|t| t.version.clone()),
            tls_cipher: tls.map(|t| t.cipher.clone()),
            tls_error: tls.and_then(|t| t.pkix.clone().err()),
            ..SessionFacts::default()
        };
        let channel = match tls {
            None => Channel::Clear,
            Some(tls) => {
                Channel::Encrypted(Certificate { pkix: tls.pkix.clone(), dane: None, sound })
            }
        };
        let proof = Proof {
            address,
            local: session.local_address(),
            exchanger: None,
            channel,
            offers_requiretls: session.capabilities().require_tls,
        };
        debug!(self.log, "session open"; "server" => &remote.host);
        Ok(Live {
            session,
            remote,
            facts,
            proof,
            opened: self.clock.now(),
            transactions: 0,
            reuse_limit: relay.reuse_limit,
            lent: None,
            recording: Arc::clone(recording),
            unfinished: None,
        })
    }

    async fn connection(&self, way: &Way, recording: &Recording) -> Result<Connection, Failure> {
        let (limit, counters) = (self.relay.connect_timeout, &self.relay.counters);
        let (connected, peer) = match way {
            Way::Tcp(peer) => {
                let dialled = dial(*peer, &LocalAddresses::default(), limit).await;
                if let Ok(stream) = &dialled {
                    recording.connected(*peer, stream.local_addr().ok());
                }
                (dialled.map(Connection::from), peer.to_string())
            }
            Way::Unix(path) => {
                let dialled = dial_unix(path, limit).await;
                (dialled.map(Connection::from), path.display().to_string())
            }
        };
        connected.map_err(|e| {
            let text = format!("connecting to {peer}: {e}");
            match e {
                DialError::TimedOut => counters.dials_timed_out.add_one(),
                DialError::Peer(_) | DialError::NoLocalAddress | DialError::Local(_) => {
                    counters.dials_failed.add_one();
                }
            }
            match e {
                DialError::Local(_) => Failure::new(Cause::OwnResources, text),
                DialError::TimedOut | DialError::Peer(_) | DialError::NoLocalAddress => {
                    Failure::new(Cause::Unreachable, text)
                }
            }
        })
    }

    /// The judge of sessions just made is that of the pool's.
    fn judged(&self, mut live: Live, requirement: Requirement) -> Result<Live, Failure> {
        match judge(&live.proof, in_force(requirement)) {
            Ok(levels) => {
                self.relay.counters.session_made(levels.mx, levels.tls);
                live.facts = reuse::at(levels, live.facts);
                Ok(live)
            }
            Err(failure) => Err(part(live, failure)),
        }
    }

    async fn logged_in(&self, mut live: Live, login: &Login, way: &Way) -> Result<Live, Failure> {
        let distance = match way {
            Way::Tcp(address) => Distance::to(address.ip()),
            Way::Unix(_) => Distance::Here,
        };
        let said = match may_be_said(login, &live.proof.channel, distance) {
            Ok(()) => live.session.log_in(login).await,
            Err(failure) => Err(failure),
        };
        let Err(failure) = said else {
            self.relay.memory.servers().known();
            return Ok(live);
        };
        if failure.cause == Cause::CredentialsRefused {
            self.relay.memory.servers().hold(self.clock.now());
            error!(self.log, "server refuses our credentials, nothing is sent until they are right";
                "server" => &live.remote.host, "text" => &failure.text);
        }
        Err(part(live, failure))
    }

    fn told(&self, live: &Live) {
        let facts = &live.facts;
        info!(self.log, "session"; "server" => &live.remote.host, "remote_addr" => &live.remote.address,
            "tls_level" => %facts.tls_level, "tls_version" => &facts.tls_version,
            "tls_cipher" => &facts.tls_cipher, "tls_err" => &facts.tls_error, "reused" => facts.reused);
        if let (Channel::Encrypted(certificate), Some(why)) =
            (&live.proof.channel, &facts.tls_error)
            && certificate.pkix.is_err()
        {
            warn!(self.log, "the server's certificate is not proven"; "server" => &live.remote.host,
                "text" => why);
        }
    }
}

/// The peer's address; a Unix socket is as near as loopback.
fn address_of(way: &Way) -> std::net::IpAddr {
    match way {
        Way::Tcp(address) => address.ip(),
        Way::Unix(_) => std::net::Ipv4Addr::LOCALHOST.into(),
    }
}

fn in_force(requirement: Requirement) -> InForce {
    InForce { address: AddressUse::Allowed, requirement: Ok(requirement) }
}

/// The attempt does not wait for a farewell that a peer may draw out.
fn part(mut live: Live, failure: Failure) -> Failure {
    live.recording.failed(&failure);
    let remote = live.remote.clone();
    live.session.show_to(None);
    tokio::spawn(async move { live.session.quit().await });
    failure.at(remote)
}

impl Sessions for RelayPorts {
    type Session = Live;
}

impl Delivery for RelayPorts {
    async fn check_out(&mut self) -> Option<Live> {
        let RelayPorts { relay, carriage, .. } = self;
        // Somebody else's login is not ours.
        if relay.auth == Auth::Forward {
            return None;
        }
        let required = relay.requirement(carriage.envelope.flags.tls);
        let now = |_| std::future::ready(in_force(required.clone()));
        let live = carriage.check_out(&relay.outfit(), now).await?;
        self.told(&live);
        Some(live)
    }

    async fn transact(&mut self, live: &mut Live, addressees: &[Addressee]) -> Transacted {
        self.carriage.transact(&self.relay.outfit(), live, addressees).await
    }

    async fn release(&mut self, live: Live, standing: Standing) {
        let standing = match self.relay.auth {
            Auth::Forward => standing.max(Standing::Parting),
            Auth::Off | Auth::As(_) => standing,
        };
        self.carriage.release(&self.relay.outfit(), live, standing);
    }

    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, facts: &SessionFacts, rest: Rest) {
        self.carriage.settle(outcomes, facts, rest).await;
    }
}

impl ForwardPorts for RelayPorts {
    type Way = Way;

    fn servers(&self) -> usize {
        self.relay.servers.len()
    }

    fn name(&self, place: usize) -> String {
        self.relay.servers.get(place).map_or_else(String::new, |server| server.name.clone())
    }

    fn rests(&self, place: usize) -> bool {
        self.relay.memory.servers().rests(place, self.clock.now())
    }

    async fn ways(&mut self, place: usize) -> Result<Vec<Way>, Failure> {
        let relay = Arc::clone(&self.relay);
        let Some(server) = relay.servers.get(place) else { return Ok(Vec::new()) };
        self.carriage.whereabouts.at(Phase::AddressLookup, &server.name, None);
        let found = self.carriage.patience.before(relay.ways(server)).await;
        found.unwrap_or_else(|| Err(called_off(Remote::default())))
    }

    async fn connect(&mut self, place: usize, way: &Way) -> Result<Live, Failure> {
        let relay = Arc::clone(&self.relay);
        let Some(server) = relay.servers.get(place) else {
            return Err(Failure::new(Cause::Internal, "there is no such server"));
        };
        let dialling = relay.memory.begin(place, self.clock.now());
        // Patience is the queue's affair; the work looks at everything else.
        let mut patience = self.carriage.patience.clone();
        let reached = patience.before(self.reach(place, server, way)).await;
        self.carriage.patience = patience;
        drop(dialling);
        match reached.unwrap_or_else(|| Err(called_off(server.remote(way)))) {
            Ok(live) => {
                self.told(&live);
                Ok(live)
            }
            Err(failure) => {
                info!(self.log, "session"; "server" => &server.name,
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
