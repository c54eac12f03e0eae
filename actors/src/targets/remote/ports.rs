//! The world as one attempt of `target.remote` sees it.

use std::net::IpAddr;
use std::sync::Arc;

use actix::Recipient as Address;
use slog::{Logger, debug, info, warn};
use tokio::sync::OnceCell;

use posthaste_edge::body::Body;
use posthaste_edge::clock::Clock;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::mailing::{Mailing, is_unannounced, mailing};
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::attempt::ports::{Approach, Delivery, Ports, Rest, Sessions, Transacted};
use posthaste_mail::envelope::{Envelope, Recipient, TlsWish};
use posthaste_mail::lookup::Lookup;
use posthaste_mail::outcome::{Cause, Failure, Outcome, SessionFacts, Stage};
use posthaste_mail::policy::requirement::Requirement;
use posthaste_mail::pool::PoolKey;
use posthaste_mail::queue::record::JournalEntry;
use posthaste_mail::route::addresses::HostAddresses;
use posthaste_mail::route::mx::{Candidate, MxRecord};
use posthaste_mail::wire::client::flow::Flow;
use posthaste_mail::wire::client::transaction::{Ending, Fate, Standing};

use crate::limits::Permit;
use crate::messages::delivery::{Deliver, Journal, Settled, Slot, entries};
use crate::messages::pool::{Idle, Wish};
use crate::targets::remote::account::Account;
use crate::targets::remote::caller::{Caller, remote};
use crate::targets::remote::hosts::NoLeave;
use crate::targets::remote::live::Live;
use crate::targets::remote::network::Network;
use crate::targets::remote::patience::Patience;
use crate::targets::remote::reuse::{self, Lender, Lent};

pub struct RemotePorts {
    caller: Caller,
    /// Without the id of the message, which the lines about sessions name themselves.
    sessions: Logger,
    envelope: Arc<Envelope>,
    body: Body,
    key: PoolKey,
    journal: Journal,
    attempt: u32,
    recipients: Vec<(u32, Recipient)>,
    /// Given back when the attempt ends.
    _slot: Slot,
    _permit: Option<Permit>,
    settled_to: Address<Settled>,
    patience: Patience,
    outcomes: Vec<(u32, Outcome)>,
    last: Option<Settled>,
}

impl RemotePorts {
    pub fn new(network: Arc<Network>, work: Deliver, clock: Clock, log: Logger) -> RemotePorts {
        let tls = work.envelope.flags.tls;
        let key = reuse::key(&network.target, &network.local, work.destination, tls);
        let id = work.envelope.id;
        let caller = Caller {
            counters: Arc::clone(&network.counters),
            wire: Arc::clone(&network.wire),
            destination: key.destination.to_string(),
            id,
            wish: tls,
            attempt: work.attempt,
            sts: OnceCell::new(),
            whereabouts: work.whereabouts.clone(),
            network,
            clock,
            log: log.new(slog::o!("id" => id.to_string())),
        };
        RemotePorts {
            caller,
            sessions: log,
            envelope: work.envelope,
            body: work.body,
            key,
            journal: work.journal,
            attempt: work.attempt,
            recipients: work.recipients,
            _slot: work.slot,
            _permit: work.permit,
            settled_to: work.settled_to,
            patience: Patience::new(
                work.lease.batch,
                work.waiting_to,
                work.called_off,
                work.whereabouts,
                work.means,
            ),
            outcomes: Vec::new(),
            last: None,
        }
    }

    /// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
    pub fn into_outcomes(self) -> (Vec<(u32, Outcome)>, Option<Settled>) {
        (self.outcomes, self.last)
    }

    fn account(&self) -> Account<'_> {
        let destination = &self.key.destination;
        Account { log: &self.sessions, destination, id: self.envelope.id }
    }

    fn refused_all(addressees: &[Addressee], failure: &Failure) -> Transacted {
        let fates =
            addressees.iter().map(|a| (a.index(), Fate::Refused(failure.clone()))).collect();
        untouched(fates, false)
    }
}

fn lender<'a>(caller: &'a Caller, key: &'a PoolKey) -> Lender<'a> {
    let Network { pool_out: check_out, pool_in: check_in, .. } = &*caller.network;
    Lender { check_out, check_in, key, now: caller.clock.now() }
}

/// No transaction was made, and the session is as it was.
fn untouched(fates: Vec<(u32, Fate)>, dsn_passed_on: bool) -> Transacted {
    Transacted { fates, standing: Standing::Good, misunderstood: false, dsn_passed_on }
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
        let both = async { tokio::join!(caller.network.mx(domain), caller.sts(domain)).0 };
        let found = self.patience.before(both).await;
        found.unwrap_or_else(called_off)
    }

    async fn addresses(&mut self, host: &Domain) -> Lookup<HostAddresses> {
        self.caller.whereabouts.at(Phase::AddressLookup, host.ascii(), None);
        let found = self.patience.before(self.caller.network.addresses(host)).await;
        found.unwrap_or_else(called_off)
    }

    async fn require(&mut self, candidate: Option<&Candidate>) -> Result<Requirement, Failure> {
        let found = self.patience.before(self.caller.require(candidate)).await;
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
        let means = self.patience.means();
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
        let reached = match self.patience.before(reach).await {
            Some(Ok(reached)) => Some(reached),
            Some(Err(no_leave)) => {
                if let NoLeave::Silent(_) = no_leave {
                    self.patience.knows_silence();
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
        let mut envelope = (*self.envelope).clone();
        envelope.flags.tls = TlsWish::Unsaid;
        self.caller.wish = envelope.flags.tls;
        self.key.class.tls = envelope.flags.tls;
        self.envelope = Arc::new(envelope);
        info!(self.caller.log, "notification goes out without REQUIRETLS, which nobody offers");
    }
}

impl Delivery for RemotePorts {
    async fn check_out(&mut self) -> Option<Live> {
        self.caller.whereabouts.enter(Phase::IdleSession);
        let (caller, lender) = (&self.caller, lender(&self.caller, &self.key));
        let found = lender.lend(|proof| caller.in_force(proof));
        let idle = *self.patience.before(found).await??;
        let Idle { mut session, remote, facts, proof, .. } = idle;
        let Idle { opened, last_used, transactions, recording, .. } = idle;
        session.show_to(Some(self.caller.whereabouts.clone()));
        let phase = Phase::In(Stage::Mail);
        self.caller.whereabouts.at(phase, &remote.host, Some(proof.address));
        recording.carries(self.envelope.id);
        let live = Live {
            session,
            remote,
            facts: SessionFacts { reused: true, ..facts },
            proof,
            opened,
            transactions,
            reuse_limit: self.caller.network.reuse_limit,
            lent: Some(Lent { transactions, last_used }),
            recording,
            unfinished: None,
        };
        self.caller.counters.reused.add_one();
        self.account().used(&live);
        Some(live)
    }

    async fn transact(&mut self, live: &mut Live, addressees: &[Addressee]) -> Transacted {
        let capabilities = live.session.capabilities();
        let Mailing { mail, recipients: commands, refused } = match mailing(
            &self.envelope,
            addressees,
            capabilities,
            self.caller.network.eight_bit,
        ) {
            Ok(mailing) => mailing,
            Err(failure) => {
                live.recording.failed(&failure);
                return RemotePorts::refused_all(addressees, &failure);
            }
        };
        let dsn_passed_on = capabilities.dsn;
        let mut fates: Vec<(u32, Fate)> =
            refused.into_iter().map(|(i, f)| (i, Fate::Refused(f))).collect();
        if commands.is_empty() {
            live.note_fates(&fates);
            return untouched(fates, dsn_passed_on);
        }
        let chunks = self.caller.network.unchunked.chunks(live.proof.address);
        let flow = Flow::of(live.session.dialect(), capabilities, self.body.len(), chunks);
        let unannounced = is_unannounced(&self.envelope, capabilities);
        live.transactions += 1;
        let (indices, lines): (Vec<u32>, Vec<Vec<u8>>) = commands.into_iter().unzip();
        let journal = self.journal.clone();
        // Everybody behind an address that is named once.
        let everybody = |index: &u32| {
            let named = addressees.iter().find(|addressee| addressee.index() == *index);
            named.map_or_else(Vec::new, |addressee| addressee.indices.clone())
        };
        let places: Vec<Vec<u32>> = indices.iter().map(everybody).collect();
        let (counters, log) = (Arc::clone(&self.caller.counters), self.caller.log.clone());
        let (mx, long_lines) = (live.remote.host.clone(), self.envelope.flags.long_lines);
        // Somebody was accepted, so the content goes out.
        let count = move || {
            if unannounced {
                counters.eight_bit_unannounced.add_one();
                info!(log, "8-bit content to a server without 8BITMIME"; "mx" => &mx);
            }
            if long_lines {
                counters.long_lines.add_one();
                debug!(log, "content has lines above 998 octets"; "mx" => &mx);
            }
        };
        // The journal knows of the dot before the peer does: a crash from here on is known as *outcome unknown*.
        let before_dot = move |accepted: Vec<usize>| async move {
            count();
            let entries = accepted
                .iter()
                .filter_map(|place| places.get(*place))
                .flatten()
                .map(|index| (*index, JournalEntry::DotSent))
                .collect();
            // Nothing was taken yet: without the word of it the dot is not sent.
            let written = journal.write(entries).await;
            written.map_err(|e| Failure::new(Cause::OwnResources, e.to_string()))
        };
        let progress = live.session.progress();
        let work = live.session.transact(flow, mail, lines, &self.body, before_dot);
        let ending = self.patience.within(&progress, work).await;
        fates.extend(indices.into_iter().zip(ending.fates));
        live.note_fates(&fates);
        let Ending { standing, chunk_unknown: misunderstood, .. } = ending;
        if misunderstood {
            self.caller.network.unchunked.note(live.proof.address);
            info!(self.caller.log, "server announces CHUNKING and does not know BDAT"; "mx" => &live.remote.host);
        }
        Transacted { fates, standing, misunderstood, dsn_passed_on }
    }

    async fn release(&mut self, live: Live, standing: Standing) {
        if let Some(failure) = &live.unfinished {
            live.recording.failed(failure);
        }
        let wish = match standing {
            Standing::Good => Wish::Keep,
            // The pool says QUIT in a task of its own, also while the daemon stops.
            Standing::Parting => Wish::Part,
            // Closed by being dropped: a stream that is out of step gets no QUIT.
            Standing::Broken => return,
        };
        let idle = Idle {
            last_used: reuse::last_used(live.lent, live.transactions, self.caller.clock.now()),
            session: live.session,
            remote: live.remote,
            facts: SessionFacts { reused: false, ..live.facts },
            proof: live.proof,
            opened: live.opened,
            transactions: live.transactions,
            recording: live.recording,
        };
        lender(&self.caller, &self.key).give_back(Box::new(idle), wish);
    }

    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, facts: &SessionFacts, rest: Rest) {
        self.caller.whereabouts.step(Phase::Settling);
        self.outcomes.extend(outcomes.iter().cloned());
        let address = |index: u32| {
            let found = self.recipients.iter().find(|(i, _)| *i == index);
            found.map_or_else(String::new, |(_, r)| r.address.to_string())
        };
        let settled = Settled {
            envelope: Arc::clone(&self.envelope),
            attempt: self.attempt,
            destination: self.key.destination.clone(),
            outcomes: outcomes.iter().map(|(i, o)| (address(*i), o.clone())).collect(),
            facts: facts.clone(),
        };
        if rest == Rest::None {
            self.last = Some(settled);
            return;
        }
        if let Err(e) = self.journal.write(entries(&outcomes)).await {
            warn!(self.caller.log, "outcome could not be journaled"; "cause" => %e);
        }
        self.settled_to.do_send(settled);
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
    use crate::messages::pool::{CheckOut, Claim};
    use crate::targets::recorder::{
        Recorder, body, envelope, recipient, silent, with_actors, work,
    };
    use crate::targets::remote::hosts::HostMemory;
    use crate::targets::remote::unchunked::Unchunked;
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
                assert_eq!(second.patience.means(), Means::Patience);
            };
            tokio::select! {
                _ = first.connect(None, address, &requirement) => panic!("nobody greets"),
                () = meanwhile => {}
            }
            assert!(!network.hosts.rests(address)); // called off
        });
    }
}
