//! One attempt of `target.smtp` or `target.lmtp`: the recipients of one message, to the first of the configured servers that will have it.
//!
//! 1. What needs no network is refused at once.
//! 2. An idle session is used if there is one.
//! 3. The servers are tried in their order, those that were down lately last, until a session stands: encrypted where it has to be, and
//!    logged in where we are to. Each is tried at all its addresses.
//! 4. What is said to a recipient is its outcome. Only who wants no message at all now, before it was sent any, is left for the next one.
//! 5. Nobody is there: temporary, with what every one of them had to say.

use std::future::Future;

use crate::address::Host;
use crate::attempt::ports::Delivery;
use crate::attempt::remote::MOST_HOPS;
use crate::attempt::run::{Job, Run, View};
use crate::attempt::verdict::{self, Coverage, Elsewhere, Said, Wear};
use crate::attempt::walk::{End, Next, OtherFamily};
use crate::outcome::{Cause, Class, Failure, Reach, Stage, one_line};
use crate::wire::client::opening::Dialect;

/// Addresses of one server that are dialled in an attempt.
const MOST_ADDRESSES: usize = 5;
/// Servers that are offered the message in an attempt. All that are configured, within reason: their order is the same in every attempt,
/// so one that is never reached never has any mail.
const MOST_SESSIONS: usize = 10;
/// An idle session that breaks, or another way to send the content, takes one.
const FEWEST_SESSIONS: usize = 2;

/// What this attempt may ask of the world besides. Servers are known by their place in the configuration.
pub trait ForwardPorts: Delivery {
    /// One address of a server.
    type Way: Send + Sync;

    /// How many servers there are.
    fn servers(&self) -> usize;

    /// As sessions with it name their remote end.
    fn name(&self, place: usize) -> String;

    /// It was down lately: others first.
    fn rests(&self, place: usize) -> bool;

    /// Its addresses, in the order of trial.
    fn ways(
        &mut self,
        place: usize,
    ) -> impl Future<Output = Result<Vec<Self::Way>, Failure>> + Send;

    /// Connects, greets, secures, logs in, and has the session judged.
    fn connect(
        &mut self,
        place: usize,
        way: &Self::Way,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;
}

/// Runs the attempt; every recipient's outcome has gone to `ports.settle` when it returns.
pub async fn forward<P: ForwardPorts>(job: &Job, dialect: Dialect, ports: &mut P) {
    let reach = match dialect {
        Dialect::Smtp => Reach::Server,
        // RFC 2033 §1: what a LMTP server takes it has delivered.
        Dialect::Lmtp => Reach::Mailbox,
    };
    let sessions = ports.servers().clamp(FEWEST_SESSIONS, MOST_SESSIONS);
    let mut run = Run::new(job, View { elsewhere, reach, sessions });
    if let Some(failure) = refusal(job) {
        run.end_all(failure, ports).await;
        return;
    }
    if let Some(session) = ports.check_out().await {
        run.offer(session, OtherFamily::Absent, ports).await;
    }
    let mut round = Round { troubles: Vec::new(), coverage: Coverage::Whole, stop: false };
    let (resting, fresh): (Vec<usize>, Vec<usize>) =
        (0..ports.servers()).partition(|place| ports.rests(*place));
    for place in fresh.into_iter().chain(resting) {
        if round.stop || !run.goes_on() {
            break;
        }
        if !run.has_room() {
            round.coverage = Coverage::Partial;
            break;
        }
        if !run.is_done_with(&ports.name(place)) {
            round.server(place, &mut run, ports).await;
        }
    }
    run.conclude(|said| round.verdict(said), ports).await;
}

/// Refusals that need no network.
fn refusal(job: &Job) -> Option<Failure> {
    let envelope = &job.envelope;
    if envelope.from.mailbox().is_some_and(|from| *from.host() == Host::Unqualified) {
        return Some(Failure::new(Cause::BadSender, "sender address has no domain"));
    }
    if envelope.flags.hops > MOST_HOPS {
        let text = format!("{} Received fields, this is a loop", envelope.flags.hops);
        return Some(Failure::new(Cause::Loop, text));
    }
    None
}

/// The servers of a target stand in for each other while nobody has answered. An answer about a recipient would be the same everywhere.
fn elsewhere(failure: &Failure, wear: Wear) -> Elsewhere {
    match failure.cause {
        Cause::Refused(Stage::Rcpt) if failure.code != 421 => Elsewhere::Nowhere,
        _ => verdict::elsewhere(failure, wear),
    }
}

/// Is there no use in asking another server?
pub fn ends_the_round(failure: &Failure) -> bool {
    match failure.cause {
        // They don't know who we are: asking the next one locks accounts. Or we don't.
        Cause::CredentialsRefused | Cause::CredentialsMissing => true,
        // What this machine lacks for one, an address of its family or a socket, it may have for another.
        Cause::OwnResources => false,
        // Called off by ourselves, or nobody logs in.
        _ => failure.is_no_attempt(),
    }
}

/// Nobody is there: one failure from what each of the servers had to say.
pub fn nobody(troubles: &[Failure]) -> Failure {
    let (troubles, coverage, stop) = (troubles.to_vec(), Coverage::Whole, false);
    Round { troubles, coverage, stop }.verdict(&[]).failure
}

/// The way through the servers.
struct Round {
    /// Why there was no session.
    troubles: Vec<Failure>,
    coverage: Coverage,
    /// Nobody else may be asked.
    stop: bool,
}

impl Round {
    /// All addresses of one server, until it has answered.
    async fn server<P: ForwardPorts>(&mut self, place: usize, run: &mut Run, ports: &mut P) {
        let ways = match ports.ways(place).await {
            Ok(ways) => ways,
            Err(failure) => {
                self.stop |= failure.is_no_attempt();
                self.troubles.push(failure);
                return;
            }
        };
        for way in ways.iter().take(MOST_ADDRESSES) {
            if !run.goes_on() || !run.has_room() {
                return;
            }
            if self.way(place, way, run, ports).await == Next::Host {
                return;
            }
        }
    }

    async fn way<P: ForwardPorts>(
        &mut self,
        place: usize,
        way: &P::Way,
        run: &mut Run,
        ports: &mut P,
    ) -> Next {
        loop {
            match ports.connect(place, way).await {
                Ok(session) => match run.offer(session, OtherFamily::Absent, ports).await {
                    // Each session of these decides about one recipient at least, but for one that was misunderstood.
                    End::Again => {}
                    End::Over(next) => return next,
                },
                Err(failure) => {
                    self.stop |= ends_the_round(&failure);
                    // A server that has answered answers so at each of its addresses.
                    let answered = matches!(failure.cause, Cause::Refused(_) | Cause::AuthMissing);
                    self.troubles.push(failure);
                    return if self.stop || answered { Next::Host } else { Next::Address };
                }
            }
        }
    }

    fn verdict(&self, said: &[Said]) -> Said {
        let troubles: Vec<Said> = self.troubles.iter().cloned().map(Said::from).collect();
        let mut verdict = verdict::verdict(said, &troubles, self.coverage, 0);
        let failure = &mut verdict.failure;
        // Several servers, and nothing that one of them alone has said: all of it.
        let alone = matches!(failure.cause, Cause::Refused(_)) || failure.is_no_attempt();
        if said.is_empty()
            && self.troubles.len() > 1
            && failure.class() == Class::Temporary
            && !alone
        {
            let each = self.troubles.iter().map(|trouble| match &trouble.remote {
                Some(remote) => format!("{}: {}", remote.host, trouble.text),
                None => trouble.text.clone(),
            });
            failure.text = one_line(&each.collect::<Vec<_>>().join("; "));
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
