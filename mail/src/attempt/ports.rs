//! What an attempt may ask of the world. The real ports stand in the delivery task, the ones of tests answer at once.

use std::future::Future;
use std::net::IpAddr;

use crate::address::Domain;
use crate::attempt::addressee::Addressee;
use crate::lookup::Lookup;
use crate::outcome::{Failure, Outcome, Remote, SessionFacts};
use crate::policy::requirement::Requirement;
use crate::route::addresses::HostAddresses;
use crate::route::mx::{Candidate, MxRecord};
use crate::wire::client::transaction::{Fate, Standing};

/// What came of one transaction.
#[derive(Clone, Debug)]
pub struct Transacted {
    /// By the index that each addressee is called by.
    pub fates: Vec<(u32, Fate)>,
    pub standing: Standing,
    /// The server did not know how the content was sent, and there is another way: nothing was decided.
    pub misunderstood: bool,
    /// The server offered DSN, and was told what the sender wants.
    pub dsn_passed_on: bool,
}

/// Whether other recipients of the attempt have no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Some,
    None,
}

/// A session as the attempt sees it.
pub trait Peer: Send + Sync {
    fn remote(&self) -> Remote;
    fn facts(&self) -> SessionFacts;
    /// Recipients one transaction may have.
    fn room(&self) -> usize;
    /// Transactions it may still carry.
    fn transactions_left(&self) -> u32;
    /// Taken from the pool, so that its silent end proves nothing about the host.
    fn is_reused(&self) -> bool;
}

/// Where sessions are made.
pub trait Sessions: Send {
    type Session: Peer;
}

/// What leads to a session with a mail exchanger.
pub trait Approach: Sessions {
    fn mx(&mut self, domain: &Domain) -> impl Future<Output = Lookup<Vec<MxRecord>>> + Send;

    /// Addresses of a host in the order of trial, both families.
    fn addresses(&mut self, host: &Domain) -> impl Future<Output = Lookup<HostAddresses>> + Send;

    /// What a session with this exchanger has to be like, or why it may not be used at all. `None` for an address literal.
    fn require(
        &mut self,
        candidate: Option<&Candidate>,
    ) -> impl Future<Output = Result<Requirement, Failure>> + Send;

    /// Connects, greets, secures, and has the session judged. `None` for an address literal.
    fn connect(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Is this an address we must not deliver to (our own, loopback), unless configured otherwise?
    fn is_own(&self, address: IpAddr) -> bool;

    /// It took no connection lately: others first.
    fn rests(&self, address: IpAddr) -> bool;

    /// It lets somebody wait at this moment: of those that rest it comes last.
    fn is_silent(&self, address: IpAddr) -> bool;

    /// Is it of a family that we may and can use?
    fn is_usable(&self, address: IpAddr) -> bool;
}

/// What is done with sessions in a delivery, wherever they lead.
pub trait Delivery: Sessions {
    /// An idle session of this destination that passes today's policies.
    fn check_out(&mut self) -> impl Future<Output = Option<Self::Session>> + Send;

    /// One transaction. Never fails as a whole: what went wrong is each recipient's fate.
    fn transact(
        &mut self,
        session: &mut Self::Session,
        recipients: &[Addressee],
    ) -> impl Future<Output = Transacted> + Send;

    /// The session is no longer needed: to the pool when it is good, else to its end, for which the attempt does not wait.
    fn release(
        &mut self,
        session: Self::Session,
        standing: Standing,
    ) -> impl Future<Output = ()> + Send;

    /// Writes outcomes down, durably, and tells whoever waits for them; the last ones at the end of the attempt, which is close.
    fn settle(
        &mut self,
        outcomes: Vec<(u32, Outcome)>,
        facts: &SessionFacts,
        rest: Rest,
    ) -> impl Future<Output = ()> + Send;
}

/// A delivery by mail exchangers.
pub trait Ports: Approach + Delivery {
    /// From now on the message is one without REQUIRETLS.
    fn do_without_requiretls(&mut self);
}

/// And what a probe does with sessions: it looks, and leaves.
pub trait ProbePorts: Approach {
    fn introduction(&self, session: &Self::Session) -> Introduction;

    /// Takes leave with QUIT, before any MAIL.
    fn leave(&mut self, session: Self::Session) -> impl Future<Output = ()> + Send;
}

/// How a server introduced itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// Our own end of the connection.
    pub local: Option<IpAddr>,
    pub greeting: String,
    /// Its name in the answer to EHLO.
    pub name: String,
    pub extensions: Vec<String>,
}
