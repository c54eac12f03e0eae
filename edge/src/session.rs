//! Drives the client machine over a stream: every wait has a deadline, every reply a bound.

mod content;
mod listener;
mod listing;

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::outcome::{Cause, Failure, Stage, one_line};
use posthaste_mail::wire::capabilities::Capabilities;
use posthaste_mail::wire::client::auth::{AuthStep, Exchange, Login};
use posthaste_mail::wire::client::flow::Flow;
use posthaste_mail::wire::client::opening::{
    Dialect, Opening, OpeningError, OpeningStep, StartTls,
};
use posthaste_mail::wire::client::transaction::{Ending, Step, Transaction};
use posthaste_mail::wire::command::Command;
use posthaste_mail::wire::reply::{Reply, ReplyParser};

use crate::body::Body;
use crate::fault;
use crate::socket::Connection;
use crate::tls::{ClientTls, Demand, Reference, TlsFacts, TlsStream};
use crate::whereabouts::Whereabouts;

pub use listener::Listener;
pub use listing::Listing;

/// How long each phase may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// RFC 5321 §4.5.3.2.1: 5 minutes.
    pub greeting: Duration,
    /// `command_timeout`, for each command and for the handshake.
    pub command: Duration,
    /// RFC 5321 §4.5.3.2.5: 3 minutes without progress while content is written.
    pub block: Duration,
    /// `submission_timeout`, for the reply to the final dot.
    pub submission: Duration,
    /// From MAIL to the final dot, so that a peer that is never quite too slow does not keep a task for ever: with 100 recipients
    /// `command_timeout` alone allows eight hours. The content has what `SLOWEST` gives it besides.
    pub transaction: Duration,
}

/// mox allows a session half an hour.
pub const TRANSACTION_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Octets of content a second that a peer has to take, on the average (Postfix `smtp_min_data_rate`).
const SLOWEST: u64 = 500;

const RESET_LIMIT: Duration = Duration::from_secs(20);
const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// A peer that refused in mid-content gets this long to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Content is read, encoded and written in pieces of this size.
const PIECE: usize = 64 * 1024;
/// Octets read of replies at once.
const REPLY_PIECE: usize = 4096;

/// What carries the session.
#[derive(Debug)]
enum Stream {
    Plain(Connection),
    Tls(Box<TlsStream<Connection>>),
    /// Between the two, while the handshake owns the connection.
    Gone,
}

impl Stream {
    fn connection(&self) -> Option<&Connection> {
        match self {
            Stream::Plain(plain) => Some(plain),
            Stream::Tls(tls) => Some(tls.get_ref()),
            Stream::Gone => None,
        }
    }

    /// Appends what is there, as far as room was reserved.
    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Stream::Plain(plain) => plain.read_buf(buffer).await,
            Stream::Tls(tls) => tls.read_buf(buffer).await,
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(plain) => plain.write(bytes).await,
            Stream::Tls(tls) => tls.write(bytes).await,
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(plain) => plain.flush().await,
            Stream::Tls(tls) => tls.flush().await,
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// How a session is opened.
pub struct Opened<'a> {
    pub dialect: Dialect,
    /// What we call ourselves.
    pub our_name: &'a str,
    pub starttls: StartTls,
    pub tls: &'a ClientTls,
    /// Whom the certificate has to name.
    pub host: Reference<'a>,
    /// What is going to be asked of the certificate.
    pub demand: Demand<'a>,
    pub timeouts: Timeouts,
    pub listener: Arc<dyn Listener>,
    /// Who looks on.
    pub whereabouts: Option<Whereabouts>,
}

/// A greeted session, ready for transactions. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session {
    stream: Stream,
    parser: ReplyParser,
    unread: Vec<u8>,
    /// A whole reply that came while content was written.
    early: Option<Reply>,
    dialect: Dialect,
    starttls: StartTls,
    timeouts: Timeouts,
    /// What the server said first.
    greeting: String,
    capabilities: Capabilities,
    tls: Option<TlsFacts>,
    needs_reset: bool,
    progress: Arc<AtomicU64>,
    listener: Arc<dyn Listener>,
    whereabouts: Option<Whereabouts>,
}

impl Session {
    /// Greeting, EHLO, STARTTLS when wanted and offered, EHLO again.
    pub async fn open(stream: impl Into<Connection>, how: Opened<'_>) -> Result<Session, Failure> {
        let mut session = Session {
            stream: Stream::Plain(stream.into()),
            parser: ReplyParser::default(),
            unread: Vec::new(),
            early: None,
            dialect: how.dialect,
            starttls: how.starttls,
            timeouts: how.timeouts,
            greeting: String::new(),
            capabilities: Capabilities::default(),
            tls: None,
            needs_reset: false,
            progress: Arc::default(),
            listener: Arc::clone(&how.listener),
            whereabouts: how.whereabouts.clone(),
        };
        let mut opening = Opening::new(how.dialect, how.our_name, how.starttls);
        loop {
            let step = match opening.step() {
                Ok(step) => step,
                Err(e) => return Err(session.opening_failed(e)),
            };
            match step {
                OpeningStep::Write(bytes) => session.write(&bytes, how.dialect.hello()).await?,
                OpeningStep::Await(stage) => {
                    let reply = session.reply(stage).await?;
                    if stage == Stage::Greeting {
                        session.greeting = one_line(&reply.text());
                    }
                    if let Err(e) = opening.reply(&reply) {
                        return Err(session.opening_failed(e));
                    }
                }
                OpeningStep::Handshake => {
                    session.secure(&how).await?;
                    opening.secured();
                }
                OpeningStep::Ready => {
                    session.capabilities = opening.capabilities();
                    return Ok(session);
                }
            }
        }
    }

    /// AUTH, once the session stands. Whether it is one for credentials is for the caller to know. After a failure it is good for QUIT.
    pub async fn log_in(&mut self, login: &Login) -> Result<(), Failure> {
        let mut exchange = Exchange::new(login, &self.capabilities.auth)?;
        loop {
            match exchange.step() {
                AuthStep::Write(bytes) => self.write(&bytes, Stage::Auth).await?,
                AuthStep::Await => exchange.reply(&self.reply(Stage::Auth).await?)?,
                AuthStep::Done => {
                    self.capabilities.logged_in = true;
                    return Ok(());
                }
            }
        }
    }

    /// The attempt does not wait for a farewell that a peer may draw out.
    fn opening_failed(mut self, error: OpeningError) -> Failure {
        self.whereabouts = None;
        tokio::spawn(async move { self.quit().await });
        match error {
            OpeningError::Failed(failure) | OpeningError::StartTlsRefused(failure) => failure,
        }
    }

    async fn secure(&mut self, how: &Opened<'_>) -> Result<(), Failure> {
        // RFC 3207 §4.2, and plain sense: what came in the clear behind the 220 is an injection.
        if !self.unread.is_empty() || self.parser.is_within() {
            let text = "the server sent data between its answer to STARTTLS and the handshake";
            return Err(Failure::new(Cause::Injected, text));
        }
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(Failure::new(Cause::Internal, "TLS is on already"));
        };
        let limit = self.timeouts.command;
        let handshake = how.tls.handshake(plain, how.host, how.demand);
        match timeout(limit, handshake).await {
            Err(_) => Err(timed_out(Stage::StartTls, limit)),
            Ok(Err(e)) if e.local => Err(Failure::new(Cause::Internal, format!("TLS: {e}"))),
            Ok(Err(e)) => {
                let text = format!("TLS handshake failed: {e}");
                Err(Failure::new(Cause::HandshakeFailed, text))
            }
            Ok(Ok((tls, facts))) => {
                self.stream = Stream::Tls(Box::new(tls));
                self.listener.notes(format_args!("TLS on: {facts}"));
                self.tls = Some(facts);
                Ok(())
            }
        }
    }

    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// `None` for a session in the clear.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// Counts whole replies and pieces of content: as long as it stands still, the peer is silent.
    pub fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress)
    }

    /// Whoever uses it from now on is looked at by somebody else, or by nobody.
    pub fn show_to(&mut self, whereabouts: Option<Whereabouts>) {
        self.whereabouts = whereabouts;
    }

    fn enters(&self, stage: Stage) {
        if let Some(whereabouts) = &self.whereabouts {
            whereabouts.step(Phase::In(stage));
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What was said about STARTTLS when the session was opened.
    pub fn starttls(&self) -> StartTls {
        self.starttls
    }

    /// Our own end.
    pub fn local_address(&self) -> Option<IpAddr> {
        Some(self.stream.connection()?.local_address()?.ip())
    }

    /// One transaction. `before_dot` is told which recipients (by place) are about to be handed over, and the final dot waits for it;
    /// if it fails, the connection is given up instead.
    pub async fn transact<F, D>(
        &mut self,
        flow: Flow,
        mail: Vec<u8>,
        recipients: Vec<Vec<u8>>,
        content: &Body,
        before_dot: F,
    ) -> Ending
    where
        F: FnOnce(Vec<usize>) -> D,
        D: Future<Output = Result<(), Failure>>,
    {
        let count = recipients.len();
        // RFC 5321 §4.1.4: a MAIL inside an open transaction is out of sequence; RSET ends what the last one left open.
        if self.needs_reset && !self.reset().await {
            return Ending::lost(count, lost(Stage::Rset, &io::ErrorKind::UnexpectedEof.into()));
        }
        let mut transaction = Transaction::new(self.dialect, flow, mail, recipients);
        let ceiling = self.ceiling(content.len());
        self.drive(&mut transaction, ceiling, Some((content, before_dot))).await;
        self.finish(transaction)
    }

    /// When a transaction that begins now has to be at its dot.
    fn ceiling(&self, content: u64) -> Instant {
        Instant::now() + self.timeouts.transaction + Duration::from_secs(content / SLOWEST)
    }

    fn finish(&mut self, transaction: Transaction) -> Ending {
        fault::reached("wire", "reply");
        let ending = transaction.finish();
        self.needs_reset = ending.needs_reset;
        ending
    }

    /// Goes on until the transaction is over, or waits for another recipient.
    async fn drive<F, D>(
        &mut self,
        transaction: &mut Transaction,
        ceiling: Instant,
        mut content: Option<(&Body, F)>,
    ) where
        F: FnOnce(Vec<usize>) -> D,
        D: Future<Output = Result<(), Failure>>,
    {
        loop {
            let failure = match transaction.step() {
                Step::Done | Step::Hold => return,
                Step::Write(bytes) => {
                    let stage = transaction.stage();
                    by(ceiling, stage, self.write(&bytes, stage)).await.err()
                }
                Step::Await(stage) => match self.reply_by(ceiling, stage).await {
                    Ok(reply) => {
                        transaction.reply(reply);
                        None
                    }
                    Err(failure) => Some(failure),
                },
                Step::Content => match content.take() {
                    Some((content, before_dot)) => {
                        self.content(transaction, content, ceiling, before_dot).await
                    }
                    None => Some(Failure::new(Cause::Internal, "content was asked for twice")),
                },
                Step::Chunk => match content.take() {
                    Some((content, before_dot)) => {
                        self.chunk(transaction, content, before_dot).await
                    }
                    None => Some(Failure::new(Cause::Internal, "content was asked for twice")),
                },
            };
            if let Some(failure) = failure {
                transaction.lost(failure);
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8], stage: Stage) -> Result<(), Failure> {
        self.enters(stage);
        let limit = self.timeouts.command;
        self.listener.sends(bytes);
        let all = async {
            while !bytes.is_empty() {
                let written = self.stream.write(bytes).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                bytes = bytes.get(written..).unwrap_or_default();
            }
            self.stream.flush().await
        };
        timeout(limit, all).await.map_err(|_| timed_out(stage, limit))?.map_err(|e| lost(stage, &e))
    }

    /// A reply of a transaction. The ceiling is not for the last one: who does not wait for that never knows what became of the mail.
    async fn reply_by(&mut self, ceiling: Instant, stage: Stage) -> Result<Reply, Failure> {
        match stage {
            Stage::Dot => self.reply(stage).await,
            _ => by(ceiling, stage, self.reply(stage)).await,
        }
    }

    /// One reply. The deadline is for the whole of it, so that a peer that drips octets meets it too.
    async fn reply(&mut self, stage: Stage) -> Result<Reply, Failure> {
        self.enters(stage);
        let limit = match stage {
            Stage::Greeting => self.timeouts.greeting,
            Stage::Dot => self.timeouts.submission,
            _ => self.timeouts.command,
        };
        timeout(limit, self.read_reply(stage)).await.map_err(|_| timed_out(stage, limit))?
    }

    async fn read_reply(&mut self, stage: Stage) -> Result<Reply, Failure> {
        loop {
            if let Some(reply) = self.parsed(stage)? {
                return Ok(reply);
            }
            // Not into an array here: it would be part of every future up to the task, and be moved with it.
            self.unread.reserve(REPLY_PIECE);
            match self.stream.read(&mut self.unread).await {
                Ok(0) => return Err(lost(stage, &io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) => return Err(lost(stage, &e)),
            }
        }
    }

    /// A reply, if all of it has been read.
    fn parsed(&mut self, stage: Stage) -> Result<Option<Reply>, Failure> {
        if let Some(early) = self.early.take() {
            return Ok(Some(early));
        }
        let mut rest = &self.unread[..];
        let parsed = self.parser.feed(&mut rest);
        let used = self.unread.len() - rest.len();
        if let Some(read) = self.unread.get(..used).filter(|read| !read.is_empty()) {
            self.listener.receives(read);
        }
        self.unread.drain(..used);
        let parsed = parsed.map_err(|e| Failure::new(Cause::Protocol(stage), e.to_string()))?;
        self.progress.fetch_add(u64::from(parsed.is_some()), Ordering::Relaxed);
        Ok(parsed)
    }

    /// Nothing unread, nothing waiting, not closed: the peer believes that it is our turn.
    pub fn is_quiet(&self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.poll_disturbed(&mut context).is_pending()
    }

    /// Waits until the peer says something unasked, or closes.
    pub async fn disturbed(&self) {
        poll_fn(|context| self.poll_disturbed(context)).await;
    }

    fn poll_disturbed(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.stream.connection().filter(|_| self.unread.is_empty()) {
            Some(connection) => connection.poll_disturbed(context),
            None => Poll::Ready(()),
        }
    }

    /// Another transaction may begin without RSET: the peer waits for us, and no MAIL was left open.
    pub fn is_ready(&self) -> bool {
        !self.needs_reset && self.is_quiet()
    }

    /// RSET, answered with 2yz in good time: the peer is there, listens, and has forgotten any MAIL left open. A 421 that lies here
    /// already is an answer to nothing, and means that the session is over (RFC 5321 §3.8).
    pub async fn reset(&mut self) -> bool {
        if !self.is_quiet() {
            return false;
        }
        let mut bytes = Vec::new();
        let reset = async {
            Command::Rset.render(&mut bytes).ok()?;
            self.write(&bytes, Stage::Rset).await.ok()?;
            let reply = self.reply(Stage::Rset).await.ok()?;
            reply.is_positive().then_some(())
        };
        let done = matches!(timeout(RESET_LIMIT, reset).await, Ok(Some(())));
        self.needs_reset &= !done;
        done
    }

    /// Says QUIT and waits a little. Nothing that goes wrong here means anything.
    pub async fn quit(&mut self) {
        let mut bytes = Vec::new();
        let farewell = async {
            if Command::Quit.render(&mut bytes).is_ok()
                && self.write(&bytes, Stage::Quit).await.is_ok()
            {
                let _ = self.reply(Stage::Quit).await;
            }
        };
        let _ = timeout(QUIT_LIMIT, farewell).await;
    }
}

/// What a transaction has to have done by then.
async fn by<T>(
    ceiling: Instant,
    stage: Stage,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout_at(ceiling, work).await.unwrap_or_else(|_| {
        let text = format!("the server took too long over the transaction as a whole ({stage})");
        Err(Failure::new(Cause::TimedOut(stage), text))
    })
}

fn timed_out(stage: Stage, limit: Duration) -> Failure {
    Failure::new(Cause::TimedOut(stage), format!("no answer within {}s ({stage})", limit.as_secs()))
}

fn lost(stage: Stage, error: &io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("the server closed the connection ({stage})"),
        _ => format!("connection lost ({stage}): {error}"),
    };
    Failure::new(Cause::Lost(stage), text)
}

#[cfg(test)]
mod tests;
