//! Whoever makes sessions with a server of the configuration: connects, greets, secures, logs in, and has the result judged.

use std::sync::{Arc, OnceLock};

use slog::{Logger, debug, error, info, warn};

use posthaste_config::{Endpoint, Host};
use posthaste_edge::clock::Clock;
use posthaste_edge::dial::{DialError, LocalAddresses, dial, dial_unix};
use posthaste_edge::session::{Opened, Session};
use posthaste_edge::socket::Connection;
use posthaste_edge::tls::{Demand as Asked, Reference};
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::credentials::{Distance, may_be_said};
use posthaste_mail::attempt::ladder::{TlsDemand, may_fall_back};
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::envelope::{EnvelopeId, TlsWish};
use posthaste_mail::outcome::{Cause, Failure, SessionFacts, Stage};
use posthaste_mail::policy::proof::{Channel, Proof};
use posthaste_mail::policy::requirement::{Certificate, Requirement};
use posthaste_mail::policy::{AddressUse, InForce, judge};
use posthaste_mail::wire::client::auth::{Account, Login};
use posthaste_mail::wire::client::opening::StartTls;

use crate::carriage::live::Live;
use crate::carriage::reuse;
use crate::targets::forward::relay::{Relay, Server, Way};
use crate::targets::forward::settings::Auth;
use crate::wire::Recording;

#[derive(Clone)]
pub struct Caller {
    pub relay: Arc<Relay>,
    /// Of the message: what it wants of TLS, its id, and for operators where it goes.
    pub wish: TlsWish,
    pub id: EnvelopeId,
    pub destination: String,
    /// What its client logged in with, for `auth forward`.
    pub client: Option<Account>,
    /// Where it is said what is done.
    pub whereabouts: Whereabouts,
    pub clock: Clock,
    pub log: Logger,
    /// How this attempt logs in, once it was asked. An attempt that may find out whether our credentials are taken again may do so at each
    /// of the servers.
    pub login: OnceLock<Result<Option<Login>, Failure>>,
}

impl Caller {
    fn requirement(&self, server: &Server) -> Requirement {
        self.relay.requirement_at(server, self.wish)
    }

    /// A session, or why there is none. What is the server's doing is remembered.
    pub async fn reach(&self, place: usize, server: &Server, way: &Way) -> Result<Live, Failure> {
        let reached = self.session(server, way).await;
        let mut known = self.relay.memory.known();
        match &reached {
            Ok(_) => known.answered(place),
            Err(failure) if is_servers(failure) => {
                known.failed(place, self.clock.now(), &failure.text);
            }
            Err(_) => {}
        }
        drop(known);
        reached
    }

    async fn session(&self, server: &Server, way: &Way) -> Result<Live, Failure> {
        let login = self.login.get_or_init(|| self.find_login()).clone()?;
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
        let live = match self.greet(server, way, &requirement, starttls).await {
            Err(broken) if may_fall_back(demand, &broken) => {
                warn!(self.log, "tls failed, going on in the clear";
                    "server" => &server.name, "text" => &broken.text);
                let clear = self.greet(server, way, &requirement, StartTls::Skip).await;
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
    fn find_login(&self) -> Result<Option<Login>, Failure> {
        match &self.relay.auth {
            Auth::Off => Ok(None),
            Auth::Forward => match &self.client {
                Some(account) => Ok(Some(Login::Plain(account.clone()))),
                None => {
                    let text = "auth forward: no credentials of the client, they are kept for the first attempt only";
                    Err(Failure::new(Cause::CredentialsMissing, text))
                }
            },
            Auth::As(login) => match self.relay.memory.known().may_log_in(self.clock.now()) {
                Ok(()) => Ok(Some(login.clone())),
                Err(held) => {
                    let (until, words) = (held.until.rfc3339(), held.words());
                    let text = format!(
                        "our credentials were refused, they are shown again at {until} ({words})"
                    );
                    Err(Failure::new(Cause::RouteHeld, text))
                }
            },
        }
    }

    async fn greet(
        &self,
        server: &Server,
        way: &Way,
        requirement: &Requirement,
        starttls: StartTls,
    ) -> Result<Live, Failure> {
        let remote = server.remote(way);
        let relay = &*self.relay;
        let destination = self.destination.clone();
        let id = self.id;
        let recording = relay.wire.record(&relay.target, destination, remote.clone(), id);
        let greeted = self.greet_recorded(server, way, requirement, starttls, &recording);
        greeted.await.map_err(|failure| {
            recording.failed(&failure);
            failure.at(remote)
        })
    }

    async fn greet_recorded(
        &self,
        server: &Server,
        way: &Way,
        requirement: &Requirement,
        starttls: StartTls,
        recording: &Arc<Recording>,
    ) -> Result<Live, Failure> {
        let (relay, remote) = (&*self.relay, server.remote(way));
        let address = address_of(way);
        self.whereabouts.at(Phase::In(Stage::Connect), &server.name, Some(address));
        let connection = self.connection(way, recording).await?;
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
            whereabouts: Some(self.whereabouts.clone()),
        };
        let session = Session::open(connection, how).await.inspect_err(|failure| {
            if failure.cause == Cause::HandshakeFailed {
                relay.counters.handshakes_failed.add_one();
            }
        })?;
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
            counters.dial_failed(&e);
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
            if self.relay.auth != Auth::Forward {
                self.relay.memory.known().known();
            }
            return Ok(live);
        };
        // What a client says of itself is no mistake of ours.
        if failure.cause == Cause::CredentialsRefused && self.relay.auth != Auth::Forward {
            error!(self.log, "server refuses our credentials, they are shown again in five minutes";
                "server" => &live.remote.host, "text" => &failure.text);
            // An operator's mistake is not the sender's: however long it lasts, no mail comes back for it.
            let held = part(live, Failure { cause: Cause::RouteHeld, ..failure });
            self.relay.memory.known().hold(self.clock.now(), held.clone());
            return Err(held);
        }
        Err(part(live, failure))
    }

    pub fn told(&self, live: &Live) {
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

/// Whether it is the server that there is no session with, and not we, or whoever we are to it.
fn is_servers(failure: &Failure) -> bool {
    let ours = matches!(
        failure.cause,
        Cause::CredentialsRefused | Cause::CredentialsMissing | Cause::Internal
    );
    !ours && !failure.is_no_attempt()
}

/// The peer's address; a Unix socket is as near as loopback.
fn address_of(way: &Way) -> std::net::IpAddr {
    match way {
        Way::Tcp(address) => address.ip(),
        Way::Unix(_) => std::net::Ipv4Addr::LOCALHOST.into(),
    }
}

pub fn in_force(requirement: Requirement) -> InForce {
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
