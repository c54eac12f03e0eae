//! Whoever makes sessions: dials, greets, secures, and has the result judged. Deliveries and probes do it by the same hands.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use slog::{Logger, debug, warn};
use tokio::sync::OnceCell;

use posthaste_edge::clock::Clock;
use posthaste_edge::dial::{DialError, dial};
use posthaste_edge::session::{Opened, Session};
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::ladder::{TlsDemand, may_fall_back};
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::attempt::walk::literal;
use posthaste_mail::certificate::DaneVerdict;
use posthaste_mail::envelope::{EnvelopeId, TlsWish};
use posthaste_mail::outcome::{Cause, Failure, Remote, SessionFacts, Stage};
use posthaste_mail::policy::proof::Channel;
use posthaste_mail::policy::requirement::Requirement;
use posthaste_mail::policy::{InForce, judge};
use posthaste_mail::route::mx::Candidate;
use posthaste_mail::sts::StsAnswer;
use posthaste_mail::wire::client::opening::{Dialect, StartTls};

use crate::carriage::counters::Counters;
use crate::carriage::live::Live;
use crate::carriage::reuse;
use crate::targets::remote::broken_tls::BrokenTls;
use crate::targets::remote::network::Network;
use crate::targets::remote::policies::{Attempted, demand};
use crate::wire::{Recording, Wire};

#[derive(Clone)]
pub struct Caller {
    pub network: Arc<Network>,
    pub clock: Clock,
    pub log: Logger,
    pub counters: Arc<Counters>,
    pub broken_tls: Arc<BrokenTls>,
    /// Where what is said can be listened to, and for whom it is said.
    pub wire: Arc<Wire>,
    pub destination: String,
    pub id: EnvelopeId,
    /// What the message wants of TLS.
    pub wish: TlsWish,
    /// Of the message to this destination, from 1.
    pub attempt: u32,
    /// The domain's MTA-STS policy, once it was asked for.
    pub sts: OnceCell<Option<StsAnswer>>,
    /// Where it says what it does.
    pub whereabouts: Whereabouts,
}

/// No session; and what TLS had failed with before, when it was tried in the clear as well.
#[derive(Clone, Debug)]
pub struct NoSession {
    pub failure: Failure,
    pub broken_tls: Option<String>,
}

impl From<Failure> for NoSession {
    fn from(failure: Failure) -> NoSession {
        NoSession { failure, broken_tls: None }
    }
}

impl Caller {
    /// Dials and greets; on a failed handshake once more in the clear, if nothing forbids it.
    pub async fn reach(
        &self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
    ) -> Result<Live, NoSession> {
        let demand = match requirement.needs_tls() {
            true => TlsDemand::Encrypted,
            false => TlsDemand::Opportunistic,
        };
        let host = remote(candidate.map(|c| &c.host), address).host;
        if demand == TlsDemand::Opportunistic
            && let Some(why) = self.broken_tls.why(&host, address, self.clock.now())
        {
            return self.greet_in_the_clear(candidate, address, requirement, why).await;
        }
        let first = self.greet(candidate, address, requirement, StartTls::IfOffered).await;
        if let (Err(failure), Some(exchanger)) = (&first, candidate) {
            let facts = &requirement.facts;
            let attempted = Attempted { exchanger, facts, address: Some(address) };
            self.tell_tls(&attempted, None, Err(failure));
        }
        match first {
            Err(broken) if may_fall_back(demand, &broken) => {
                warn!(self.log, "tls failed, going on in the clear";
                    "mx" => candidate.map(|c| c.host.ascii()), "address" => %address, "text" => &broken.text);
                // RFC 5321 §3.8: with 421 the server takes its leave, and has said nothing of TLS.
                let is_broken = broken.code != 421;
                let why = broken.text;
                let clear = self.greet_in_the_clear(candidate, address, requirement, why.clone());
                clear.await.inspect(|_| {
                    if is_broken {
                        self.broken_tls.note(&host, address, why, self.clock.now());
                    }
                })
            }
            Err(failure) => {
                if demand == TlsDemand::Encrypted && failure.cause.stage() == Some(Stage::StartTls)
                {
                    self.violated(candidate);
                }
                Err(requirement.explain(failure).into())
            }
            Ok(live) => {
                if live.session.tls().is_some() {
                    self.broken_tls.forget(&host, address);
                }
                Ok(live)
            }
        }
    }

    /// For whom TLS failed, and why it did.
    async fn greet_in_the_clear(
        &self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
        why: String,
    ) -> Result<Live, NoSession> {
        match self.greet(candidate, address, requirement, StartTls::Skip).await {
            Ok(mut live) => {
                self.counters.plaintext_fallbacks.add_one();
                live.facts.tls_error = Some(why);
                Ok(live)
            }
            Err(failure) => Err(NoSession { failure, broken_tls: Some(why) }),
        }
    }

    /// The same judge sees sessions from the pool (`reuse`), so that none is used there that would not be made here.
    pub fn judged(&self, mut live: Live, requirement: &Requirement) -> Result<Live, NoSession> {
        let address = self.network.address_use(live.proof.address);
        let now = InForce { address, requirement: Ok(requirement.clone()) };
        if let Some(exchanger) = &live.proof.exchanger
            && live.proof.channel != Channel::ClearAfterFailure
        {
            let (facts, address) = (&requirement.facts, Some(live.proof.address));
            let attempted = Attempted { exchanger, facts, address };
            self.tell_tls(&attempted, Some(&live.session), Ok(()));
        }
        match judge(&live.proof, now) {
            Ok(judged) => {
                self.counters.session_made(judged.mx, judged.tls);
                live.facts = reuse::at(judged, live.facts);
                Ok(live)
            }
            Err(failure) => {
                self.counters.refused_by_policy.add_one();
                live.recording.failed(&failure);
                self.violated(live.proof.exchanger.as_ref());
                let remote = live.remote.clone();
                // The attempt does not wait for a farewell that a peer may draw out.
                tokio::spawn(async move { live.session.quit().await });
                Err(failure.at(remote).into())
            }
        }
    }

    async fn greet(
        &self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
        starttls: StartTls,
    ) -> Result<Live, Failure> {
        let remote = remote(candidate.map(|c| &c.host), address);
        let recording = self.record(remote.clone());
        let place = (candidate, address, remote.clone());
        let greeted = self.greet_recorded(place, requirement, starttls, &recording);
        greeted.await.map_err(|failure| {
            recording.failed(&failure);
            failure.at(remote)
        })
    }

    /// For operators: a session of this message begins, or would.
    pub fn record(&self, remote: Remote) -> Arc<Recording> {
        self.wire.record(&self.network.target, self.destination.clone(), remote, self.id)
    }

    async fn greet_recorded(
        &self,
        (candidate, address, remote): (Option<&Candidate>, IpAddr, Remote),
        requirement: &Requirement,
        starttls: StartTls,
        recording: &Arc<Recording>,
    ) -> Result<Live, Failure> {
        let network = &*self.network;
        let peer = SocketAddr::new(address, network.port);
        self.whereabouts.at(Phase::In(Stage::Connect), &remote.host, Some(address));
        let stream = dial(peer, &network.local, network.connect_timeout).await.map_err(|e| {
            self.counters.dial_failed(&e);
            dial_failure(&e, peer)
        })?;
        recording.connected(peer, stream.local_addr().ok());
        let how = Opened {
            dialect: Dialect::Smtp,
            our_name: &network.our_name,
            starttls,
            tls: &network.tls,
            host: candidate.map(|c| &c.host).into(),
            demand: demand(requirement),
            timeouts: network.timeouts,
            listener: recording.clone(),
            whereabouts: Some(self.whereabouts.clone()),
        };
        let opened = Session::open(stream, how).await;
        let mut session = opened.inspect_err(|failure| {
            if failure.cause == Cause::HandshakeFailed {
                self.counters.handshakes_failed.add_one();
            }
        })?;
        // RFC 5321 §4.3.1: the greeting begins with the server's name. It may be anything, and a loop shows in the answer to EHLO.
        if is_our_name(session.greeting().split_whitespace().next(), &network.our_name) {
            warn!(self.log, "server greets with our own name";
                "mx" => &remote.host, "address" => %address);
        }
        // RFC 5321 §5.1: whoever has our name is us, whatever its address.
        let named = Some(session.capabilities().name.as_str());
        if !network.allow_loopback && is_our_name(named, &network.our_name) {
            tokio::spawn(async move { session.quit().await });
            let text = format!("the server calls itself {}, as we do", network.our_name);
            return Err(Failure::new(Cause::Loop, text));
        }
        let facts = facts_of(&session);
        debug!(self.log, "session open"; "mx" => &remote.host, "address" => %address,
            "tls_level" => %facts.tls_level);
        let proof = reuse::proof(&session, address, candidate, requirement);
        Ok(Live {
            session,
            remote,
            facts,
            proof,
            opened: self.clock.now(),
            transactions: 0,
            reuse_limit: network.reuse_limit,
            lent: None,
            recording: Arc::clone(recording),
            unfinished: None,
        })
    }
}

fn is_our_name(said: Option<&str>, our_name: &str) -> bool {
    said.is_some_and(|said| said.trim_end_matches('.').eq_ignore_ascii_case(our_name))
}

/// The other end, as failures and reports name it.
pub fn remote(host: Option<&Domain>, address: IpAddr) -> Remote {
    let name = host.map_or_else(|| literal(address), |h| h.ascii().to_string());
    Remote { host: name, address: Some(address.to_string()) }
}

fn dial_failure(error: &DialError, peer: SocketAddr) -> Failure {
    let text = format!("connecting to {peer}: {error}");
    match error {
        DialError::Peer(_) | DialError::TimedOut | DialError::NoLocalAddress => {
            Failure::new(Cause::Unreachable, text)
        }
        DialError::Local(_) => Failure::new(Cause::OwnResources, text),
    }
}

/// Without the levels, which are for the judge to say.
fn facts_of(session: &Session) -> SessionFacts {
    let tls = session.tls();
    SessionFacts {
        tls_version: tls.map(|t| t.version.clone()),
        tls_cipher: tls.map(|t| t.cipher.clone()),
        tls_error: tls.and_then(|t| match &t.dane {
            DaneVerdict::Matched(_) => None,
            DaneVerdict::Refused(why) => Some(why.to_string()),
            DaneVerdict::NotAsked | DaneVerdict::NoneUsable => t.pkix.clone().err(),
        }),
        ..SessionFacts::default()
    }
}
