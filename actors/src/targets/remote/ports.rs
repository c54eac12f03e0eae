//! The world as one attempt of `target.remote` sees it.

use std::net::IpAddr;
use std::sync::Arc;

use slog::{Logger, debug, info};
use tokio::sync::OnceCell;

use posthaste_edge::clock::Clock;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::attempt::ports::{Approach, Delivery, Ports, Rest, Sessions, Transacted};
use posthaste_mail::attempt::verdict::may_want_tls;
use posthaste_mail::envelope::TlsWish;
use posthaste_mail::lookup::Lookup;
use posthaste_mail::outcome::{Cause, Failure, Outcome, SessionFacts};
use posthaste_mail::policy::proof::Channel;
use posthaste_mail::policy::requirement::Requirement;
use posthaste_mail::route::addresses::HostAddresses;
use posthaste_mail::route::mx::{Candidate, MxRecord};
use posthaste_mail::wire::client::transaction::{Fate, Standing};

use crate::carriage::Carriage;
use crate::carriage::live::Live;
use crate::carriage::reuse;
use crate::messages::delivery::{Deliver, Settled};
use crate::targets::remote::account::Account;
use crate::targets::remote::caller::{Caller, remote};
use crate::targets::remote::hosts::NoLeave;
use crate::targets::remote::network::Network;

pub struct RemotePorts {
    caller: Caller,
    /// Without the id of the message, which the lines about sessions name themselves.
    sessions: Logger,
    carriage: Carriage,
}

impl RemotePorts {
    pub fn new(network: Arc<Network>, work: Deliver, clock: Clock, log: Logger) -> RemotePorts {
        let tls = work.envelope.flags.tls;
        let key = reuse::key(&network.target, &network.local, work.destination.clone(), tls);
        let id = work.envelope.id;
        let caller = Caller {
            counters: Arc::clone(&network.counters),
            broken_tls: Arc::clone(&network.broken_tls),
            wire: Arc::clone(&network.wire),
            destination: key.destination.to_string(),
            id,
            wish: tls,
            attempt: work.attempt,
            sts: OnceCell::new(),
            whereabouts: work.whereabouts.clone(),
            network,
            clock: clock.clone(),
            log: log.new(slog::o!("id" => id.to_string())),
        };
        let carriage = Carriage::new(work, key, clock, caller.log.clone());
        RemotePorts { caller, sessions: log, carriage }
    }

    /// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
    pub fn into_outcomes(self) -> (Vec<(u32, Outcome)>, Option<Settled>) {
        self.carriage.into_outcomes()
    }

    fn account(&self) -> Account<'_> {
        let destination = &self.carriage.key.destination;
        Account { log: &self.sessions, destination, id: self.carriage.envelope.id }
    }
}

/// What is looked up when nobody waits for it any more: it says nothing of the name, and counts for nothing.
fn called_off<T>() -> Lookup<T> {
    Lookup::Unasked("called off by the queue".to_string())
}

impl Sessions for RemotePorts {
    type Session = Live;
}

impl Approach for RemotePorts {
    async fn mx(&mut self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        self.caller.whereabouts.enter(Phase::MxLookup);
        let caller = &self.caller;
        // RFC 8461 §5 wants to know of the policy before any exchanger is dialled: both are asked for at once.
        let both = async {
            let mx = async {
                let found = caller.network.mx(domain).await;
                caller.whereabouts.enter(Phase::PolicyLookup);
                found
            };
            tokio::join!(mx, caller.sts(domain)).0
        };
        let found = self.carriage.patience.before(both).await;
        found.unwrap_or_else(called_off)
    }

    async fn addresses(&mut self, host: &Domain) -> Lookup<HostAddresses> {
        self.caller.whereabouts.at(Phase::AddressLookup, host.ascii(), None);
        let found = self.carriage.patience.before(self.caller.network.addresses(host)).await;
        found.unwrap_or_else(called_off)
    }

    async fn require(&mut self, candidate: Option<&Candidate>) -> Result<Requirement, Failure> {
        if let Some(candidate) = candidate {
            let phase = Phase::PolicyLookup;
            self.caller.whereabouts.at(phase, candidate.host.ascii(), None);
        }
        let found = self.carriage.patience.before(self.caller.require(candidate)).await;
        found.unwrap_or_else(|| {
            let text = "called off while policies were looked up";
            Err(Failure::new(Cause::Suspended, text))
        })
    }

    async fn connect(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
    ) -> Result<Live, Failure> {
        let host = candidate.map(|candidate| &candidate.host);
        let caller = &self.caller;
        caller.whereabouts.at(Phase::AwaitingOther, &remote(host, address).host, Some(address));
        let means = self.carriage.patience.means();
        let reach = async {
            let mut dialling = caller.network.hosts.begin(address, means).await?;
            let reach = caller.reach(candidate, address, requirement);
            let reached = dialling.follow(&caller.whereabouts, reach).await;
            match &reached {
                Ok(live) => dialling.reached(&live.remote.host),
                Err(none) => dialling.failed(&none.failure),
            }
            Ok(reached)
        };
        let reached = match self.carriage.patience.before(reach).await {
            Some(Ok(reached)) => Some(reached),
            Some(Err(no_leave)) => {
                if let NoLeave::Silent(_) = no_leave {
                    self.carriage.patience.knows_silence();
                }
                // No session, but what an operator looks for at this destination.
                let (failure, remote) = (no_leave.failure(address), remote(host, address));
                caller.record(remote.clone()).failed(&failure);
                Some(Err(failure.at(remote).into()))
            }
            None => None,
        };
        let reached = reached.unwrap_or_else(|| {
            let text = "called off while the host had not answered";
            Err(Failure::new(Cause::Suspended, text).into())
        });
        let judged = match reached {
            Ok(live) => self.caller.judged(live, requirement),
            Err(none) => Err(none),
        };
        match judged {
            Ok(live) => {
                self.account().used(&live);
                Ok(live)
            }
            Err(none) => {
                self.account().refused(host, address, &none);
                Err(none.failure)
            }
        }
    }

    fn rests(&self, address: IpAddr) -> bool {
        self.caller.network.hosts.rests(address)
    }

    fn is_silent(&self, address: IpAddr) -> bool {
        self.caller.network.hosts.silence(address).is_some()
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        let usable = self.caller.network.is_usable(address);
        if !usable {
            debug!(self.caller.log, "address skipped: local_ip and force_ipv4 leave its family out"; "address" => %address);
        }
        usable
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.caller.network.is_own(address)
    }
}

impl Ports for RemotePorts {
    fn do_without_requiretls(&mut self) {
        let mut envelope = (*self.carriage.envelope).clone();
        envelope.flags.tls = TlsWish::Unsaid;
        self.caller.wish = envelope.flags.tls;
        self.carriage.key.class.tls = envelope.flags.tls;
        self.carriage.envelope = Arc::new(envelope);
        info!(self.caller.log, "notification goes out without REQUIRETLS, which nobody offers");
    }
}

impl Delivery for RemotePorts {
    async fn check_out(&mut self) -> Option<Live> {
        let RemotePorts { caller, carriage, .. } = self;
        let outfit = caller.network.outfit();
        let live = carriage.check_out(&outfit, |proof| caller.in_force(proof)).await?;
        self.account().used(&live);
        Some(live)
    }

    async fn transact(&mut self, live: &mut Live, addressees: &[Addressee]) -> Transacted {
        let done = self.carriage.transact(&self.caller.network.outfit(), live, addressees).await;
        let insists =
            |(_, fate): &(u32, Fate)| matches!(fate, Fate::Refused(no) if may_want_tls(no));
        if live.proof.channel == Channel::ClearAfterFailure && done.fates.iter().any(insists) {
            self.caller.broken_tls.forget(&live.remote.host, live.proof.address);
        }
        done
    }

    async fn release(&mut self, live: Live, standing: Standing) {
        self.carriage.release(&self.caller.network.outfit(), live, standing);
    }

    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, facts: &SessionFacts, rest: Rest) {
        self.carriage.settle(outcomes, facts, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use actix::{Actor, Addr, Context, Handler};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::{oneshot, watch};

    use posthaste_edge::clock::dice;
    use posthaste_edge::dial::LocalAddresses;
    use posthaste_edge::dns::{Families, Resolver, Signed};
    use posthaste_edge::hints::Hints;
    use posthaste_edge::session::Timeouts;
    use posthaste_edge::spool::{MemorySpool, Spool};
    use posthaste_edge::tls::ClientTls;
    use posthaste_mail::attempt::addressee::addressees;
    use posthaste_mail::attempt::mailing::EightBit;
    use posthaste_mail::envelope::EnvelopeId;
    use posthaste_mail::policy::settings::Policies;
    use posthaste_mail::queue::lease::Boot;
    use posthaste_mail::queue::ledger::Terms;
    use posthaste_mail::queue::record::{Accepted, BatchId};
    use posthaste_mail::queue::schedule::Plan;
    use posthaste_mail::route::destination::DestinationKey;
    use posthaste_mail::route::hosts::Means;

    use super::*;
    use crate::carriage::unchunked::Unchunked;
    use crate::messages::pool::Idle;
    use crate::messages::pool::{CheckOut, Claim};
    use crate::targets::recorder::{
        Recorder, body, envelope, recipient, silent, with_actors, work,
    };
    use crate::targets::remote::hosts::HostMemory;
    use crate::wire::Wire;

    /// Says yes to everything, and returns all it was sent.
    async fn agreeable(listener: TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = String::new();
        stream.write_all(b"220 peer.test\r\n").await.unwrap();
        let mut piece = [0; 4096];
        while let Ok(read) = stream.read(&mut piece).await
            && read > 0
        {
            let said = String::from_utf8_lossy(&piece[..read]).into_owned();
            heard.push_str(&said);
            let reply = if said.starts_with("DATA") { "354 go on" } else { "250 ok" };
            if !said.starts_with("Subject") || said.ends_with("\r\n.\r\n") {
                stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            }
        }
        heard
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// All peers are on this port.
    fn network(port: u16, clock: &Clock, recorder: &Addr<Recorder>) -> Network {
        Network {
            target: "mx".to_string(),
            resolver: Resolver::new(
                &[SocketAddr::from((Ipv4Addr::LOCALHOST, 1))],
                clock.clone(),
                Signed::Unneeded,
            )
            .unwrap(),
            resolver_fault: watch::channel(None).1,
            tls: ClientTls::new(&[]).unwrap(),
            our_name: "client.test".to_string(),
            port,
            local: LocalAddresses { v4: None, v6: None },
            families: Families::OnlyIpv4,
            allow_loopback: true,
            own_addresses: Vec::new(),
            hosts: Arc::new(HostMemory::recall("mx", &Hints::default(), clock).0),
            connect_timeout: MINUTE,
            reuse_limit: 10,
            timeouts: Timeouts {
                greeting: MINUTE,
                command: MINUTE,
                block: MINUTE,
                submission: MINUTE,
                transaction: MINUTE,
            },
            eight_bit: EightBit::AsItIs,
            unchunked: Unchunked::default(),
            broken_tls: Arc::default(),
            policies: Policies::default(),
            sts: None,
            pool_out: recorder.clone().recipient(),
            pool_in: recorder.clone().recipient(),
            counters: Arc::default(),
            wire: Arc::new(Wire::new(clock.clone())),
        }
    }

    /// An attempt of one message, as the queue hands it over.
    async fn delivery(clock: &Clock, recorder: &Addr<Recorder>) -> (Deliver, Arc<MemorySpool>) {
        let memory = Arc::new(MemorySpool::new());
        let spool: Arc<dyn Spool> = memory.clone();
        let now = clock.now();
        let id = EnvelopeId::new(now, &mut dice());
        let people = vec![recipient("b@peer.test")];
        let key = DestinationKey::of_host(&people[0].address);
        let batches = vec![(key, people)];
        let accepted = Accepted { envelope: envelope(id, now), batches, undecided: false };
        spool.accept(accepted, body()).await.unwrap();
        let boot = Boot { node: "mx".into(), number: 1 };
        let terms = Terms { boot, serial: 1, now, span: MINUTE };
        let batch = BatchId { envelope: id, index: 0 };
        let taken = spool.take(batch, terms, Plan::default(), 1).await.unwrap().unwrap();
        (work(taken, &spool, recorder), memory)
    }

    /// A message before its attempt, and the fate its recipient meets when the journal fails, or does not.
    async fn fate(fails: bool) -> (Fate, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = tokio::spawn(agreeable(listener));
        let recorder = Recorder::begin().address;
        let clock = Clock::system();
        let network = network(port, &clock, &recorder);
        let (work, memory) = delivery(&clock, &recorder).await;
        let named = addressees(&work.recipients);
        let mut ports = RemotePorts::new(Arc::new(network), work, clock, silent());
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut live = ports.connect(None, address, &Requirement::none()).await.unwrap();
        if fails {
            memory.break_down("no space is left");
        }
        let mut done = ports.transact(&mut live, &named).await;
        assert_eq!(done.standing, if fails { Standing::Broken } else { Standing::Good });
        ports.release(live, done.standing).await;
        (done.fates.remove(0).1, if fails { peer.await.unwrap() } else { String::new() })
    }

    #[test]
    fn without_a_word_in_the_journal_nothing_is_sent_and_nobody_blamed() {
        with_actors(async {
            let (fate, _) = fate(false).await;
            assert!(matches!(fate, Fate::Taken(_)), "{fate:?}");
        });
        with_actors(async {
            let (fate, heard) = fate(true).await;
            assert!(heard.contains("DATA") && !heard.contains("\r\n.\r\n"), "{heard}");
            let Fate::Refused(failure) = fate else { panic!("{fate:?}") };
            assert_eq!(failure.cause, Cause::OwnResources);
            assert!(matches!(failure.outcome(), Outcome::Postponed(_)));
        });
    }

    /// A pool with one session.
    struct Pool(Option<Box<Idle>>);

    impl Actor for Pool {
        type Context = Context<Self>;
    }

    impl Handler<CheckOut> for Pool {
        type Result = Option<Claim>;

        fn handle(&mut self, _: CheckOut, _: &mut Context<Self>) -> Self::Result {
            let (to, claim) = oneshot::channel();
            to.send(self.0.take()?).unwrap();
            Some(claim)
        }
    }

    #[test]
    fn an_idle_session_that_does_not_answer_is_not_waited_for() {
        with_actors(async {
            let (clock, recorder) = (Clock::system(), Recorder::begin().address);
            let last_used = clock.now().minus(MINUTE);
            let (idle, mut peer) = crate::peer::idle(last_used).await;
            let network = Network {
                pool_out: Pool(Some(idle)).start().recipient(),
                ..network(0, &clock, &recorder)
            };
            let (work, _) = delivery(&clock, &recorder).await;
            let (call_off, called_off) = watch::channel(false);
            let work = Deliver { called_off, ..work };
            let mut ports = RemotePorts::new(Arc::new(network), work, clock, silent());
            let (found, ()) = tokio::join!(ports.check_out(), async {
                assert_eq!(peer.hears().await.as_deref(), Some("RSET"));
                call_off.send_replace(true);
                assert_eq!(peer.hears().await, None);
            });
            assert!(found.is_none());
        });
    }

    #[test]
    fn an_address_that_is_silent_to_another_attempt_costs_no_slot() {
        with_actors(async {
            // Takes connections and says nothing.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let recorder = Recorder::begin().address;
            let clock = Clock::manual(posthaste_mail::time::Timestamp::from_secs(1_000_000));
            let network = Arc::new(network(port, &clock, &recorder));
            let ports = async || {
                let (work, _) = delivery(&clock, &recorder).await;
                RemotePorts::new(Arc::clone(&network), work, clock.clone(), silent())
            };
            let (mut first, mut second) = (ports().await, ports().await);
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let requirement = Requirement::none();
            let meanwhile = async {
                let _held = listener.accept().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await; // it waits for the greeting
                clock.advance(Duration::from_secs(12));
                let none = second.connect(None, address, &requirement).await.err().unwrap();
                assert!(none.text.contains("for 12 seconds"), "{none}");
                assert!(matches!(none.outcome(), Outcome::Postponed(_)));
                // The queue was told, and does not want it to give up a second time.
                assert_eq!(second.carriage.patience.means(), Means::Patience);
            };
            tokio::select! {
                _ = first.connect(None, address, &requirement) => panic!("nobody greets"),
                () = meanwhile => {}
            }
            assert!(!network.hosts.rests(address)); // called off
        });
    }
}
