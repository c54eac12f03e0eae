//! One client: drives the server machine over a connection, and hands complete messages to the queues.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, debug, info, warn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use posthaste_edge::buffer::BufferDir;
use posthaste_edge::clock::{Clock, dice};
use posthaste_edge::duplex::Duplex;
use posthaste_edge::socket::Connection;
use posthaste_edge::tls::ServerTls;
use posthaste_mail::address::{Host, Mailbox};
use posthaste_mail::envelope::{Envelope, EnvelopeId, MessageFlags, Origin, Recipient, Route};
use posthaste_mail::pipeline::{Deliveries, Hop, Pipeline, Transaction};
use posthaste_mail::status::Enhanced;
use posthaste_mail::time::Timestamp;
use posthaste_mail::trace::{Client, Trace};
use posthaste_mail::wire::client::auth::Account;
use posthaste_mail::wire::server::{
    Answer, Credentials, Dialect, Event, Mail, READ_SIZE, Rcpt, Server, Settings, Step, Tls,
};

use crate::content::{Demands, Incoming};
use crate::exit::{Door, Exit};
use crate::intake::answers::{answer_of, each, one, refused};
use crate::intake::auth::{AuthRefusal, Authenticator};
use crate::intake::custody::{Custody, Parcel};
use crate::intake::passages::{Bearer, Passages, Stop};
use crate::limits::{LONGEST_WAIT, Permit, SharedLimits};

/// What all sessions of an endpoint share.
pub struct Endpoint {
    pub name: String,
    pub log: Logger,
    pub clock: Clock,
    pub protocol: Settings,
    pub read_timeout: Option<Duration>,
    pub write_timeout: Duration,
    pub demands: Demands,
    pub defer_sender_reject: bool,
    pub max_logged_rcpt_errors: u32,
    pub tls: Option<ServerTls>,
    pub auth: Option<Authenticator>,
    pub limits: Option<SharedLimits>,
    pub pipeline: Arc<Pipeline<Exit>>,
    pub doors: Arc<Vec<Door>>,
    pub buffer: BufferDir,
}

impl Endpoint {
    /// Does anybody log in somewhere as our client?
    fn forwards_accounts(&self) -> bool {
        let as_client = |door: &Door| match door {
            Door::Through(through) => through.as_client,
            Door::Queue { vault, .. } => vault.is_some(),
            Door::Dummy | Door::Closed => false,
        };
        self.auth.is_some() && self.doors.iter().any(as_client)
    }
}

struct Session {
    endpoint: Arc<Endpoint>,
    log: Logger,
    address: Option<IpAddr>,
    helo: String,
    user: Option<String>,
    /// What the client logged in with, where a forwarder logs in as its client.
    account: Option<Account>,
    open: Option<Open>,
    rcpt_errors: u32,
}

/// A transaction that has begun.
struct Open {
    mail: Mail,
    id: EnvelopeId,
    /// Source selection, once it has been made; or why it failed.
    routed: Option<Result<Transaction<Exit>, Answer>>,
    deliveries: Deliveries<Exit>,
    passages: Passages,
    accepted: Vec<Mailbox>,
    incoming: Option<Incoming>,
    flags: MessageFlags,
    _permit: Option<Permit>,
}

impl Open {
    /// As the client announced it; of the content it has said the size at most.
    fn envelope(&self, origin: Origin, arrived: Timestamp) -> Envelope {
        Envelope {
            id: self.id,
            from: self.mail.from.clone(),
            flags: self.flags,
            ret: self.mail.ret,
            envid: self.mail.envid.clone(),
            origin,
            arrived,
            size: self.mail.size.unwrap_or(0),
            message_id: None,
            route: Route::Target,
        }
    }
}

/// Runs a session to its end. An error is the connection's.
pub async fn run(
    connection: Connection,
    address: Option<IpAddr>,
    implicit_tls: bool,
    endpoint: Arc<Endpoint>,
    mut draining: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut protocol = endpoint.protocol.clone();
    let mut stream = Duplex::Plain(connection);
    if implicit_tls {
        protocol.tls = Tls::Active;
        stream = handshake(stream, &endpoint).await?;
    }
    let log = endpoint.log.new(slog::o!("client" => address.map(|a| a.to_string())));
    debug!(log, "session begins");
    let mut server = Server::new(protocol);
    let mut session = Session {
        endpoint,
        log,
        address,
        helo: String::new(),
        user: None,
        account: None,
        open: None,
        rcpt_errors: 0,
    };
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match server.advance() {
            Step::Event(event) => session.event(event, &mut server).await,
            Step::Answer => server.answer(Answer::internal_fault()),
            Step::Write => {
                let limit = session.endpoint.write_timeout;
                let bytes = server.take_output();
                let write = async {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                };
                timeout(limit, write).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
            Step::Read => match session.read(&mut stream, &mut buffer, &mut draining).await {
                Read::Octets(count) => {
                    let _all = server.feed(buffer.get(..count).unwrap_or_default());
                }
                Read::End => return Ok(()),
                Read::Failed(e) => return Err(e),
                Read::Idle => {
                    server.give_up(&Answer::new(421, Enhanced(4, 4, 2), "Idle for too long"));
                }
                Read::Draining => {
                    server.give_up(&Answer::new(421, Enhanced(4, 3, 2), "Shutting down"));
                }
            },
            Step::Handshake => {
                stream = handshake(stream, &session.endpoint).await?;
                session.helo.clear();
                session.user = None;
                session.account = None;
                session.open = None;
                server.tls_started();
            }
            Step::Close => {
                let _ = timeout(Duration::from_secs(5), stream.shutdown()).await;
                return Ok(());
            }
        }
    }
}

async fn handshake(
    stream: Duplex<Connection>,
    endpoint: &Endpoint,
) -> io::Result<Duplex<Connection>> {
    let (Duplex::Plain(plain), Some(tls)) = (stream, &endpoint.tls) else {
        return Err(io::Error::other("TLS cannot be started here"));
    };
    let limit = endpoint.read_timeout.unwrap_or(Duration::from_secs(600));
    let secured = timeout(limit, tls.handshake(plain)).await;
    let secured = secured.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?;
    Ok(Duplex::Tls(Box::new(secured)))
}

enum Read {
    Octets(usize),
    End,
    Failed(io::Error),
    Idle,
    Draining,
}

impl Session {
    async fn read(
        &self,
        stream: &mut Duplex<Connection>,
        buffer: &mut [u8],
        draining: &mut watch::Receiver<bool>,
    ) -> Read {
        let between_messages = self.open.is_none();
        let drained = async {
            if !between_messages || draining.wait_for(|d| *d).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let idle = async {
            match self.endpoint.read_timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            read = stream.read(buffer) => match read {
                Ok(0) => Read::End,
                Ok(count) => Read::Octets(count),
                Err(e) => Read::Failed(e),
            },
            () = drained => Read::Draining,
            () = idle => Read::Idle,
        }
    }

    async fn event(&mut self, event: Event, server: &mut Server) {
        match event {
            Event::Hello { name, .. } => {
                self.helo = name;
                self.open = None;
            }
            Event::StartTls => server.accept(),
            Event::Auth(credentials) => match self.authenticate(&credentials).await {
                Ok(account) => {
                    info!(self.log, "authenticated"; "user" => &account);
                    self.user = Some(account);
                    self.account = self
                        .endpoint
                        .forwards_accounts()
                        .then(|| Account::new(&credentials.username, credentials.password.expose()))
                        .flatten();
                    server.accept();
                }
                Err(answer) => server.answer(answer),
            },
            Event::Mail(mail) => match self.mail(mail).await {
                Ok(()) => server.accept(),
                Err(answer) => server.answer(answer),
            },
            Event::Rcpt(rcpt) => match self.rcpt(rcpt).await {
                Ok(()) => server.accept(),
                Err(answer) => server.answer(answer),
            },
            Event::DataBegins => match self.begin_content(server) {
                Ok(()) => server.accept(),
                Err(answer) => server.answer(answer),
            },
            Event::Content(piece) => {
                if let Some(incoming) = self.open.as_mut().and_then(|o| o.incoming.as_mut()) {
                    incoming.take(&piece).await;
                }
            }
            Event::DataEnds => self.data_ends(server).await,
            Event::Spoilt(fault) => {
                info!(self.log, "content refused"; "fault" => ?fault);
                self.open = None;
            }
            Event::Reset | Event::Quit => self.open = None,
            Event::Refused(answer) => {
                debug!(self.log, "command refused"; "code" => answer.code(), "text" => answer.text());
            }
        }
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<String, Answer> {
        let Some(auth) = &self.endpoint.auth else { return Err(Answer::internal_fault()) };
        let user = &credentials.username;
        // RFC 4616 §2: acting for somebody else needs a right that nobody has here.
        let other = credentials.authorize_as.as_ref().filter(|name| *name != user);
        let verified = match other {
            Some(_) => Err(AuthRefusal::Credentials),
            None => auth.verify(user, credentials.password.expose().as_bytes()).await,
        };
        verified.map_err(|refusal| match refusal {
            AuthRefusal::Credentials => {
                info!(self.log, "authentication failed"; "user" => user);
                // RFC 4954 §6.
                Answer::new(535, Enhanced(5, 7, 8), "Authentication credentials invalid")
            }
            AuthRefusal::Temporary(why) => {
                warn!(self.log, "credentials could not be checked"; "cause" => why);
                Answer::new(454, Enhanced(4, 7, 0), "Temporary authentication failure")
            }
        })
    }

    async fn mail(&mut self, mail: Mail) -> Result<(), Answer> {
        let mut dice = dice();
        let id = EnvelopeId::new(self.endpoint.clock.now(), &mut dice);
        let flags = mail.flags();
        // Every MAIL begins anew: what was refused before is forgotten.
        self.open = Some(Open {
            mail,
            id,
            routed: None,
            deliveries: Deliveries::new(),
            passages: Passages::default(),
            accepted: Vec::new(),
            incoming: None,
            flags,
            _permit: None,
        });
        if self.endpoint.defer_sender_reject {
            return Ok(());
        }
        let sender = self.sender().await;
        if sender.is_err() {
            self.open = None;
        }
        sender
    }

    /// Limits and source selection, made once for each transaction.
    async fn sender(&mut self) -> Result<(), Answer> {
        let Some(open) = self.open.as_mut() else { return Err(Answer::internal_fault()) };
        if let Some(routed) = &open.routed {
            return routed.as_ref().map(|_| ()).map_err(Clone::clone);
        }
        let limited = match &self.endpoint.limits {
            None => Ok(None),
            Some(limits) => {
                let source = open.mail.from.mailbox().map_or("", |m| match m.host() {
                    Host::Domain(domain) => domain.ascii(),
                    Host::Literal(_) | Host::Unqualified => "",
                });
                let who = posthaste_mail::limit::Who {
                    // Who has no address is this machine.
                    ip: Some(self.address.unwrap_or(IpAddr::from([127, 0, 0, 1]))),
                    source: Some(source),
                    destination: None,
                };
                let permit = limits.acquire(&who, &self.endpoint.clock, LONGEST_WAIT).await;
                permit
                    .map(Some)
                    .map_err(|_| Answer::new(451, Enhanced(4, 4, 5), "High load, try again later"))
            }
        };
        let routed = match limited {
            Err(answer) => Err(answer),
            Ok(permit) => {
                open._permit = permit;
                let started = self.endpoint.pipeline.start(&open.mail.from);
                started.map_err(|refusal| refused(&self.log, &refusal, open.mail.from.as_str()))
            }
        };
        let end = routed.as_ref().map(|_| ()).map_err(Clone::clone);
        open.routed = Some(routed);
        end
    }

    async fn rcpt(&mut self, rcpt: Rcpt) -> Result<(), Answer> {
        self.sender().await?;
        let Some(open) = self.open.as_mut() else { return Err(Answer::internal_fault()) };
        let Some(Ok(transaction)) = open.routed.as_mut() else {
            return Err(Answer::internal_fault());
        };
        match transaction.route(&rcpt.to) {
            Ok(hops) => {
                let stored = self.pass_on(hops, &rcpt).await?;
                let Some(open) = self.open.as_mut() else { return Err(Answer::internal_fault()) };
                open.deliveries.add(stored, rcpt.orcpt.as_ref(), rcpt.notify);
                open.accepted.push(rcpt.to);
                Ok(())
            }
            Err(refusal) => {
                self.rcpt_errors += 1;
                if self.rcpt_errors <= self.endpoint.max_logged_rcpt_errors {
                    return Err(refused(&self.log, &refusal, rcpt.to.as_str()));
                }
                Err(answer_of(&refusal))
            }
        }
    }

    /// Names the recipient to the servers it goes to straight. The other hops come back.
    async fn pass_on(
        &mut self,
        hops: Vec<Hop<Exit>>,
        rcpt: &Rcpt,
    ) -> Result<Vec<Hop<Exit>>, Answer> {
        let endpoint = Arc::clone(&self.endpoint);
        let (mut stops, mut stored) = (Vec::new(), Vec::new());
        for hop in hops {
            match endpoint.doors.get(hop.target.0) {
                Some(Door::Through(through)) => stops.push(Stop {
                    exit: hop.target,
                    through,
                    sender: hop.sender,
                    recipient: Recipient {
                        address: hop.recipient,
                        original: hop.original,
                        orcpt: rcpt.orcpt.clone(),
                        notify: rcpt.notify,
                    },
                }),
                Some(Door::Queue { .. } | Door::Dummy | Door::Closed) | None => stored.push(hop),
            }
        }
        if stops.is_empty() {
            return Ok(stored);
        }
        let origin = self.origin();
        let Some(open) = self.open.as_mut() else { return Err(Answer::internal_fault()) };
        let envelope = open.envelope(origin, endpoint.clock.now());
        let bearer = Bearer {
            dialect: endpoint.protocol.dialect,
            account: self.account.as_ref(),
            clock: &endpoint.clock,
            envelope,
        };
        open.passages.name(stops, &bearer).await?;
        Ok(stored)
    }

    fn origin(&self) -> Origin {
        Origin {
            helo: self.helo.clone(),
            address: self.address,
            user: self.user.clone(),
            hidden: self.endpoint.protocol.dialect == Dialect::Submission,
        }
    }

    fn begin_content(&mut self, server: &Server) -> Result<(), Answer> {
        let endpoint = &self.endpoint;
        let Some(open) = self.open.as_mut() else { return Err(Answer::internal_fault()) };
        let now = endpoint.clock.now();
        let hidden = endpoint.protocol.dialect == Dialect::Submission;
        let client = Client { helo: &self.helo, address: self.address, reverse_name: None };
        let trace = Trace {
            client: (!hidden).then_some(client),
            by: &endpoint.protocol.hostname,
            from: &open.mail.from,
            transport: server.transport(),
            smtputf8: open.flags.smtputf8,
            id: open.id,
            now,
        };
        let received = trace.received();
        open.incoming =
            Some(Incoming::new(&endpoint.demands, &endpoint.buffer, open.id, received, now));
        Ok(())
    }

    async fn data_ends(&mut self, server: &mut Server) {
        let Some(mut open) = self.open.take() else {
            return server.answer(Answer::internal_fault());
        };
        let Some(incoming) = open.incoming.take() else {
            return server.answer(Answer::internal_fault());
        };
        let complete = match incoming.finish(&mut open.flags).await {
            Ok(complete) => complete,
            Err(answer) => {
                info!(self.log, "message refused"; "code" => answer.code(), "text" => answer.text());
                return server.answer(answer);
            }
        };
        let envelope = Envelope {
            size: complete.body.len(),
            message_id: complete.message_id,
            ..open.envelope(self.origin(), self.endpoint.clock.now())
        };
        let custody =
            Custody { endpoint: &self.endpoint, log: &self.log, account: self.account.as_ref() };
        let parcel = Parcel {
            envelope,
            body: complete.body,
            deliveries: std::mem::take(&mut open.deliveries).into_vec(),
            passages: std::mem::take(&mut open.passages),
        };
        let results = custody.take(parcel).await;
        match self.endpoint.protocol.dialect {
            Dialect::Lmtp => server.answer_recipients(each(&open.accepted, &results)),
            Dialect::Smtp | Dialect::Submission => server.answer(one(results)),
        }
    }
}
