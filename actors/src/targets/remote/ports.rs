//! The world as one attempt of `target.remote` sees it.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Recipient as Address;
use slog::{Logger, debug, warn};
use tokio::sync::watch;

use posthaste_edge::body::Body;
use posthaste_edge::clock::Clock;
use posthaste_edge::dial::{DialError, LocalAddresses, dial};
use posthaste_edge::dns::{Families, Resolver};
use posthaste_edge::session::{Opened, Session, Timeouts};
use posthaste_edge::tls::ClientTls;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::ladder::{TlsDemand, may_fall_back};
use posthaste_mail::attempt::mailing::{Mailing, mailing, room};
use posthaste_mail::attempt::ports::{Approach, Peer, Ports, Rest, Transacted};
use posthaste_mail::attempt::walk::literal;
use posthaste_mail::envelope::{Envelope, Recipient};
use posthaste_mail::level::MxLevel;
use posthaste_mail::lookup::Lookup;
use posthaste_mail::outcome::{Cause, Failure, Outcome, Remote, SessionFacts};
use posthaste_mail::policy::proof::Proof;
use posthaste_mail::policy::{InForce, judge};
use posthaste_mail::pool::PoolKey;
use posthaste_mail::queue::agenda::Within;
use posthaste_mail::queue::record::{BatchId, JournalEntry};
use posthaste_mail::route::addresses::{HostAddresses, Missing};
use posthaste_mail::route::mx::{Candidate, MxRecord};
use posthaste_mail::wire::client::opening::{Dialect, StartTls};
use posthaste_mail::wire::client::transaction::Fate;

use crate::limits::Permit;
use crate::messages::delivery::{Deliver, Journal, Settled, Slot, WaitingLong, entries};
use crate::messages::pool::{CheckIn, CheckOut, Idle, Wish};
use crate::targets::remote::hosts::HostMemory;
use crate::targets::remote::reuse::{self, Lender, Lent};
use crate::wire::{Recording, Wire};

/// After this long without a greeting, or a word in a session, the queue may use the slot for somebody else.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all attempts of one target share.
pub struct Network {
    pub target: String,
    pub resolver: Resolver,
    pub tls: ClientTls,
    pub our_name: String,
    pub port: u16,
    pub local: LocalAddresses,
    pub families: Families,
    pub allow_loopback: bool,
    /// Addresses of this machine, read at start.
    pub own_addresses: Vec<IpAddr>,
    pub hosts: Arc<HostMemory>,
    pub connect_timeout: Duration,
    /// `conn_reuse_limit`: transactions of one connection.
    pub reuse_limit: u32,
    pub timeouts: Timeouts,
    pub pool_out: Address<CheckOut>,
    pub pool_in: Address<CheckIn>,
    pub wire: Arc<Wire>,
}

/// A session in use.
pub struct Live {
    session: Session,
    remote: Remote,
    facts: SessionFacts,
    proof: Proof,
    opened: posthaste_mail::time::Timestamp,
    transactions: u32,
    reuse_limit: u32,
    /// How it was when the pool lent it.
    lent: Option<Lent>,
    recording: Arc<Recording>,
    /// Why the last transaction left recipients for another one.
    unfinished: Option<Failure>,
}

impl Live {
    /// An operator is shown the session if it did not take everybody.
    fn note_fates(&mut self, fates: &[(u32, Fate)]) {
        self.unfinished = None;
        for (_, fate) in fates {
            match fate {
                Fate::Taken(_) => {}
                Fate::AnotherTransaction(failure) => {
                    self.unfinished.get_or_insert_with(|| failure.clone());
                }
                Fate::Refused(failure) => {
                    self.unfinished = None;
                    self.recording.failed(failure);
                    return;
                }
            }
        }
    }
}

impl Peer for Live {
    fn remote(&self) -> Remote {
        self.remote.clone()
    }

    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn room(&self) -> usize {
        room(self.session.capabilities())
    }

    fn transactions_left(&self) -> u32 {
        let room = |limit: u32| limit.saturating_sub(self.transactions);
        // RFC 9422 §4.1: MAILMAX is what the server takes in one session.
        let offered = self.session.capabilities().mail_max.map_or(u32::MAX, room);
        // Without reuse a connection still carries one.
        room(self.reuse_limit.max(1)).min(offered)
    }

    fn is_reused(&self) -> bool {
        self.facts.reused
    }
}

pub struct RemotePorts {
    network: Arc<Network>,
    clock: Clock,
    log: Logger,
    envelope: Arc<Envelope>,
    body: Body,
    key: PoolKey,
    journal: Journal,
    batch: BatchId,
    attempt: u32,
    recipients: Vec<(u32, Recipient)>,
    /// Given back when the attempt ends.
    _slot: Slot,
    _permit: Option<Permit>,
    settled_to: Address<Settled>,
    waiting_to: Address<WaitingLong>,
    called_off: watch::Receiver<bool>,
    told_waiting: bool,
    outcomes: Vec<(u32, Outcome)>,
    last: Option<Settled>,
}

impl RemotePorts {
    pub fn new(network: Arc<Network>, work: Deliver, clock: Clock, log: Logger) -> RemotePorts {
        let tls = work.envelope.flags.tls;
        let key = reuse::key(&network.target, &network.local, work.destination, tls);
        RemotePorts {
            network,
            clock,
            log,
            envelope: work.envelope,
            body: work.body,
            key,
            journal: work.journal,
            batch: work.lease.batch,
            attempt: work.attempt,
            recipients: work.recipients,
            _slot: work.slot,
            _permit: work.permit,
            settled_to: work.settled_to,
            waiting_to: work.waiting_to,
            called_off: work.called_off,
            told_waiting: false,
            outcomes: Vec::new(),
            last: None,
        }
    }

    /// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
    pub fn into_outcomes(self) -> (Vec<(u32, Outcome)>, Option<Settled>) {
        (self.outcomes, self.last)
    }

    /// Dials and greets; on a failed handshake once more in the clear, if nothing forbids it.
    async fn reach(
        &self,
        host: Option<&Domain>,
        address: IpAddr,
        demand: TlsDemand,
    ) -> Result<Live, Failure> {
        let first = self.greet(host, address, StartTls::IfOffered).await;
        match first {
            Err(failure) if may_fall_back(demand, &failure) => {
                warn!(self.log, "tls failed, going on in the clear";
                    "mx" => host.map(Domain::ascii), "address" => %address, "text" => &failure.text);
                self.greet(host, address, StartTls::Skip).await
            }
            other => other,
        }
    }

    async fn greet(
        &self,
        host: Option<&Domain>,
        address: IpAddr,
        starttls: StartTls,
    ) -> Result<Live, Failure> {
        let name = host.map_or_else(|| literal(address), |h| h.ascii().to_string());
        let remote = Remote { host: name, address: Some(address.to_string()) };
        let recording = self.record(remote.clone());
        let greeted = self.greet_recorded(host, address, starttls, remote.clone(), &recording);
        greeted.await.map_err(|failure| {
            recording.failed(&failure);
            failure.at(remote)
        })
    }

    /// For operators: a session of this message begins, or would.
    fn record(&self, remote: Remote) -> Arc<Recording> {
        let destination = self.key.destination.to_string();
        self.network.wire.record(&self.network.target, destination, remote, self.envelope.id)
    }

    async fn greet_recorded(
        &self,
        host: Option<&Domain>,
        address: IpAddr,
        starttls: StartTls,
        remote: Remote,
        recording: &Arc<Recording>,
    ) -> Result<Live, Failure> {
        let network = &*self.network;
        let peer = SocketAddr::new(address, network.port);
        let stream = dial(peer, &network.local, network.connect_timeout)
            .await
            .map_err(|e| dial_failure(&e, peer))?;
        recording.connected(peer, stream.local_addr().ok());
        let how = Opened {
            dialect: Dialect::Smtp,
            our_name: &network.our_name,
            starttls,
            tls: &network.tls,
            host,
            timeouts: network.timeouts,
            listener: recording.clone(),
        };
        let mut session = Session::open(stream, how).await?;
        // RFC 5321 §5.1: whoever has our name is us, whatever its address.
        let named = session.capabilities().name.trim_end_matches('.');
        if !network.allow_loopback && named.eq_ignore_ascii_case(&network.our_name) {
            session.quit().await;
            let text = format!("the server calls itself {}, as we do", network.our_name);
            return Err(Failure::new(Cause::Loop, text));
        }
        let facts = facts_of(&session);
        debug!(self.log, "session open"; "mx" => &remote.host, "address" => %address,
            "tls_level" => %facts.tls_level);
        let proof = reuse::proof(&session, address);
        let opened = self.clock.now();
        Ok(Live {
            session,
            remote,
            facts,
            proof,
            opened,
            transactions: 0,
            reuse_limit: network.reuse_limit,
            lent: None,
            recording: Arc::clone(recording),
            unfinished: None,
        })
    }

    fn lender(&self) -> Lender<'_> {
        let Network { pool_out: check_out, pool_in: check_in, .. } = &*self.network;
        Lender { check_out, check_in, key: &self.key, now: self.clock.now() }
    }

    fn in_force(&self, address: IpAddr) -> InForce {
        let Network { local, families, .. } = &*self.network;
        reuse::in_force(local, *families, address, self.is_own(address))
    }

    /// The same judge sees sessions from the pool (`reuse`), so that none is used there that would not be made here.
    async fn judged(&self, mut live: Live) -> Result<Live, Failure> {
        match judge(&live.proof, self.in_force(live.proof.address)) {
            Ok(levels) => {
                live.facts = reuse::at(levels, live.facts);
                Ok(live)
            }
            Err(failure) => {
                live.recording.failed(&failure);
                live.session.quit().await;
                Err(failure.at(live.remote))
            }
        }
    }

    fn refused_all(addressees: &[Addressee], failure: &Failure) -> Transacted {
        let fates =
            addressees.iter().map(|a| (a.index(), Fate::Refused(failure.clone()))).collect();
        Transacted { fates, in_sync: true, dsn_passed_on: false }
    }
}

/// Returns when nothing has moved for as long as our patience lasts.
async fn stands_still(progress: &AtomicU64) {
    let mut last = None;
    loop {
        let now = progress.load(Ordering::Relaxed);
        if last.replace(now) == Some(now) {
            return;
        }
        tokio::time::sleep(PATIENCE).await;
    }
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

fn facts_of(session: &Session) -> SessionFacts {
    let tls = session.tls();
    SessionFacts {
        mx_level: MxLevel::None,
        tls_level: reuse::channel(session).level(),
        tls_version: tls.map(|t| t.version.clone()),
        tls_cipher: tls.map(|t| t.cipher.clone()),
        reused: false,
    }
}

impl Approach for RemotePorts {
    type Session = Live;

    async fn mx(&mut self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        self.network.resolver.mx(domain).await
    }

    async fn addresses(&mut self, host: &Domain) -> Lookup<HostAddresses> {
        let found = self.network.resolver.addresses(host, self.network.families).await;
        found.map(|found| {
            let found = missing_only_what_is_used(found, self.network.local);
            let list = self.network.hosts.prefer(host.ascii(), found.list);
            HostAddresses { list, ..found }
        })
    }

    async fn connect(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        demand: TlsDemand,
    ) -> Result<Live, Failure> {
        let host = candidate.map(|candidate| &candidate.host);
        let network = Arc::clone(&self.network);
        let name = host.map_or_else(|| literal(address), |host| host.ascii().to_string());
        let remote = || Remote { host: name.clone(), address: Some(address.to_string()) };
        let mut called_off = self.called_off.clone();
        let told = self.told_waiting;
        let batch = self.batch;
        let waiting_to = self.waiting_to.clone();
        let patience = async {
            tokio::time::sleep(PATIENCE).await;
            if !told {
                waiting_to.do_send(WaitingLong { batch, within: Within::Dialling });
            }
        };
        let off = async {
            // A queue that was restarted has let go of its end: that calls nothing off.
            if called_off.wait_for(|off| *off).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut patience = pin!(patience);
        let mut patient = false;
        let reached = {
            let mut reach = pin!(async {
                let dialling = network.hosts.begin(address).await;
                let dialling = dialling.map_err(|failure| {
                    // No session, but what an operator looks for at this destination.
                    self.record(remote()).failed(&failure);
                    failure.at(remote())
                })?;
                let reached = self.reach(host, address, demand).await;
                match &reached {
                    Ok(_) => dialling.reached(&name),
                    Err(failure) => dialling.failed(failure),
                }
                reached
            });
            let mut off = pin!(off);
            loop {
                tokio::select! {
                    end = &mut reach => break end,
                    () = &mut patience, if !patient => patient = true,
                    () = &mut off => {
                        let text = "called off while the host had not answered";
                        break Err(Failure::new(Cause::Suspended, text));
                    }
                }
            }
        };
        self.told_waiting |= patient;
        self.judged(reached?).await
    }

    fn rests(&self, address: IpAddr) -> bool {
        self.network.hosts.rests(address)
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        let usable = self.network.local.for_peer(address).is_ok();
        if !usable {
            debug!(self.log, "address skipped: local_ip has none of its family"; "address" => %address);
        }
        usable
    }

    fn is_own(&self, address: IpAddr) -> bool {
        if self.network.allow_loopback {
            return false;
        }
        let address = address.to_canonical(); // ::ffff:127.0.0.1 is loopback too
        address.is_loopback()
            || address.is_unspecified()
            || address.is_multicast()
            || self.network.own_addresses.contains(&address)
    }
}

impl Ports for RemotePorts {
    async fn check_out(&mut self) -> Option<Live> {
        let found = self.lender().lend(|address| self.in_force(address)).await;
        let Idle { session, remote, facts, proof, opened, last_used, transactions, recording } =
            *found?;
        recording.carries(self.envelope.id);
        Some(Live {
            session,
            remote,
            facts: SessionFacts { reused: true, ..facts },
            proof,
            opened,
            transactions,
            reuse_limit: self.network.reuse_limit,
            lent: Some(Lent { transactions, last_used }),
            recording,
            unfinished: None,
        })
    }

    async fn transact(&mut self, live: &mut Live, addressees: &[Addressee]) -> Transacted {
        let capabilities = live.session.capabilities();
        let Mailing { mail, recipients: commands, refused } =
            match mailing(&self.envelope, addressees, capabilities) {
                Ok(mailing) => mailing,
                Err(failure) => {
                    live.recording.failed(&failure);
                    return RemotePorts::refused_all(addressees, &failure);
                }
            };
        if self.envelope.flags.eight_bit && !capabilities.eight_bit_mime {
            debug!(self.log, "8-bit content to a server without 8BITMIME"; "mx" => &live.remote.host);
        }
        let dsn_passed_on = capabilities.dsn;
        let mut fates: Vec<(u32, Fate)> =
            refused.into_iter().map(|(i, f)| (i, Fate::Refused(f))).collect();
        if commands.is_empty() {
            live.note_fates(&fates);
            return Transacted { fates, in_sync: true, dsn_passed_on };
        }
        live.transactions += 1;
        let (indices, lines): (Vec<u32>, Vec<Vec<u8>>) = commands.into_iter().unzip();
        let journal = self.journal.clone();
        // Everybody behind an address that is named once.
        let everybody = |index: &u32| {
            let named = addressees.iter().find(|addressee| addressee.index() == *index);
            named.map_or_else(Vec::new, |addressee| addressee.indices.clone())
        };
        let places: Vec<Vec<u32>> = indices.iter().map(everybody).collect();
        // The journal knows of the dot before the peer does: a crash from here on is known as *outcome unknown*.
        let before_dot = move |accepted: Vec<usize>| async move {
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
        let (told, batch, waiting_to) = (self.told_waiting, self.batch, &self.waiting_to);
        let progress = live.session.progress();
        let ending = {
            let mut work = pin!(live.session.transact(mail, lines, &self.body, before_dot));
            let mut silence = pin!(stands_still(&progress));
            let mut silent = told;
            loop {
                tokio::select! {
                    biased;
                    ending = &mut work => break (ending, silent),
                    () = &mut silence, if !silent => {
                        silent = true;
                        waiting_to.do_send(WaitingLong { batch, within: Within::Session });
                    }
                }
            }
        };
        let (ending, silent) = ending;
        self.told_waiting = silent;
        fates.extend(indices.into_iter().zip(ending.fates));
        live.note_fates(&fates);
        Transacted { fates, in_sync: ending.in_sync, dsn_passed_on }
    }

    async fn release(&mut self, live: Live, in_sync: bool) {
        if let Some(failure) = &live.unfinished {
            live.recording.failed(failure);
        }
        if !in_sync {
            // Closed by being dropped: a stream that is out of step gets no QUIT.
            return;
        }
        let idle = Idle {
            last_used: reuse::last_used(live.lent, live.transactions, self.clock.now()),
            session: live.session,
            remote: live.remote,
            facts: SessionFacts { reused: false, ..live.facts },
            proof: live.proof,
            opened: live.opened,
            transactions: live.transactions,
            recording: live.recording,
        };
        self.lender().give_back(Box::new(idle), Wish::Keep);
    }

    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, facts: &SessionFacts, rest: Rest) {
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
            warn!(self.log, "outcome could not be journaled"; "cause" => %e);
        }
        self.settled_to.do_send(settled);
    }
}

/// Nobody waits for addresses that `local_ip` would not let us dial.
fn missing_only_what_is_used(found: HostAddresses, local: LocalAddresses) -> HostAddresses {
    let is_used = |missing: &Missing| local.for_peer(missing.family.unspecified()).is_ok();
    HostAddresses { missing: found.missing.filter(is_used), ..found }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use posthaste_edge::clock::dice;
    use posthaste_edge::hints::Hints;
    use posthaste_edge::spool::{MemorySpool, Spool};
    use posthaste_mail::attempt::addressee::addressees;
    use posthaste_mail::envelope::EnvelopeId;
    use posthaste_mail::queue::lease::Boot;
    use posthaste_mail::queue::ledger::Terms;
    use posthaste_mail::queue::record::Accepted;
    use posthaste_mail::queue::schedule::Plan;
    use posthaste_mail::route::addresses::Family;
    use posthaste_mail::route::destination::DestinationKey;

    use super::*;
    use crate::targets::recorder::{
        Recorder, body, envelope, recipient, silent, with_actors, work,
    };

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

    /// A message before its attempt, and the fate its recipient meets when the journal fails, or does not.
    async fn fate(fails: bool) -> (Fate, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = tokio::spawn(agreeable(listener));
        let recorded = Recorder::begin();
        let clock = Clock::system();
        let minute = Duration::from_secs(60);
        let network = Network {
            target: "mx".to_string(),
            resolver: Resolver::new(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 1))], clock.clone())
                .unwrap(),
            tls: ClientTls::new(&[]).unwrap(),
            our_name: "client.test".to_string(),
            port,
            local: LocalAddresses { v4: None, v6: None },
            families: Families::OnlyIpv4,
            allow_loopback: true,
            own_addresses: Vec::new(),
            hosts: Arc::new(HostMemory::recall("mx", &Hints::default(), &clock)),
            connect_timeout: minute,
            reuse_limit: 10,
            timeouts: Timeouts {
                greeting: minute,
                command: minute,
                block: minute,
                submission: minute,
            },
            pool_out: recorded.address.clone().recipient(),
            pool_in: recorded.address.clone().recipient(),
            wire: Arc::new(Wire::new(clock.clone())),
        };
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
        let terms = Terms { boot, serial: 1, now, span: minute };
        let batch = BatchId { envelope: id, index: 0 };
        let taken = spool.take(batch, terms, Plan::default(), 1).await.unwrap().unwrap();
        let work = work(taken, &spool, &recorded.address);
        let named = addressees(&work.recipients);
        let mut ports = RemotePorts::new(Arc::new(network), work, clock, silent());
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut live = ports.connect(None, address, TlsDemand::Opportunistic).await.unwrap();
        if fails {
            memory.break_down("no space is left");
        }
        let mut done = ports.transact(&mut live, &named).await;
        assert_eq!(done.in_sync, !fails);
        ports.release(live, done.in_sync).await;
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

    #[test]
    fn a_family_that_may_not_be_dialled_is_not_missed() {
        let only_four = LocalAddresses { v4: Some(Ipv4Addr::LOCALHOST), v6: None };
        for (family, local, missed) in [
            (Family::Ipv6, only_four, false),
            (Family::Ipv4, only_four, true),
            (Family::Ipv6, LocalAddresses::default(), true), // the system chooses
        ] {
            let missing = Some(Missing { family, why: "SERVFAIL".to_string() });
            let found = HostAddresses { missing, ..HostAddresses::default() };
            assert_eq!(missing_only_what_is_used(found, local).missing.is_some(), missed);
        }
    }
}
