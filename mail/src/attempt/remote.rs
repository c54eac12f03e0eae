//! One attempt of `target.remote`: the recipients of one domain, from the lookup of its exchangers to their outcomes.
//!
//! 1. What needs no network is refused at once.
//! 2. An idle session to the destination is used if there is one.
//! 3. The exchangers are looked up and tried in order, each with its addresses.
//! 4. A session carries as many transactions as its recipients need.
//! 5. Recipients refused for a while are offered to the next exchanger once.
//! 6. What no server decided is decided from all that went wrong: temporary if anything was.

use std::net::IpAddr;

use crate::address::Domain;
use crate::attempt::ladder::TlsDemand;
use crate::attempt::ports::{Peer, Ports, Rest, Transacted};
use crate::dice::Dice;
use crate::envelope::{Envelope, Recipient, TlsWish};
use crate::lookup::Lookup;
use crate::outcome::{Cause, Class, Failure, Outcome, Reach, Receipt, SessionFacts, Stage};
use crate::route::destination::DestinationKey;
use crate::route::mx::{Candidate, exchangers};
use crate::wire::client::transaction::Fate;

/// Addresses dialled in one attempt (Postfix `smtp_mx_address_limit` has the same number).
const MOST_ADDRESSES: usize = 5;
/// Sessions in which recipients are offered, in one attempt.
const MOST_SESSIONS: usize = 2;

/// What to deliver.
#[derive(Clone, Debug)]
pub struct Job {
    pub envelope: Envelope,
    pub destination: DestinationKey,
    pub recipients: Vec<(u32, Recipient)>,
}

/// How the target is configured.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `hostname`, in A-labels.
    pub our_name: String,
    /// `allow_address_literal`.
    pub allow_address_literal: bool,
}

/// Runs the attempt; every recipient's outcome has gone to `ports.settle` when it returns.
pub async fn attempt<P: Ports>(job: &Job, rules: &Rules, ports: &mut P, dice: &mut Dice) {
    let mut run = Run::new(job);
    if let Some(failure) = refusal(job, rules) {
        run.end_all(failure, ports).await;
        return;
    }
    if let Some(session) = ports.check_out().await {
        run.session(session, ports).await;
    }
    if run.goes_on() {
        match &job.destination {
            DestinationKey::Domain(domain) => run.domain(domain, rules, ports, dice).await,
            DestinationKey::Literal(address) => run.address(None, *address, ports).await,
            // Refused above.
            DestinationKey::Unqualified | DestinationKey::Target(_) => {}
        }
    }
    run.conclude(ports).await;
}

/// Refusals that need no network.
fn refusal(job: &Job, rules: &Rules) -> Option<Failure> {
    if job.envelope.flags.quarantine {
        return Some(Failure::new(Cause::Quarantined, "message is quarantined, not relayed"));
    }
    if job.envelope.flags.tls == TlsWish::Required {
        // RFC 8689 §4.2.1 is kept by not sending at all.
        let text = "REQUIRETLS is not supported by this target";
        return Some(Failure::new(Cause::RequireTlsImpossible, text));
    }
    match &job.destination {
        DestinationKey::Domain(_) => None,
        DestinationKey::Literal(_) if rules.allow_address_literal => None,
        DestinationKey::Literal(_) => {
            Some(Failure::new(Cause::AddressLiteral, "address literals are not accepted"))
        }
        DestinationKey::Unqualified => {
            Some(Failure::new(Cause::UnqualifiedRecipient, "recipient has no domain"))
        }
        DestinationKey::Target(name) => {
            let text = format!("target.remote cannot deliver to {name}");
            Some(Failure::new(Cause::Internal, text))
        }
    }
}

struct Run {
    /// Recipients without a final outcome, with what was said of them so far.
    pending: Vec<(u32, Recipient, Option<Failure>)>,
    /// What went wrong before any recipient was named.
    troubles: Vec<Failure>,
    addresses_tried: usize,
    sessions: usize,
    /// After the final dot no other exchanger may be asked.
    stop: bool,
}

impl Run {
    fn new(job: &Job) -> Run {
        let pending = job.recipients.iter().map(|(i, r)| (*i, r.clone(), None)).collect();
        Run { pending, troubles: Vec::new(), addresses_tried: 0, sessions: 0, stop: false }
    }

    fn goes_on(&self) -> bool {
        !self.stop
            && !self.pending.is_empty()
            && self.sessions < MOST_SESSIONS
            && self.addresses_tried < MOST_ADDRESSES
    }

    async fn domain<P: Ports>(
        &mut self,
        domain: &Domain,
        rules: &Rules,
        ports: &mut P,
        dice: &mut Dice,
    ) {
        let answer = ports.mx(domain).await;
        let found = match exchangers(domain, answer, &rules.our_name, dice) {
            Ok(found) => found,
            Err(failure) => {
                self.troubles.push(failure);
                return;
            }
        };
        for candidate in &found.candidates {
            if !self.goes_on() {
                return;
            }
            if self.candidate(candidate, found.implicit, ports).await == Verdict::OurselvesReached {
                return;
            }
        }
    }

    async fn candidate<P: Ports>(
        &mut self,
        candidate: &Candidate,
        implicit: bool,
        ports: &mut P,
    ) -> Verdict {
        let host = &candidate.host;
        let addresses = match ports.addresses(host).await {
            Lookup::Found { value, .. } if !value.is_empty() => value,
            Lookup::Found { .. } | Lookup::Absent { .. } => {
                let text = if implicit {
                    format!("{host} has neither MX nor address records")
                } else {
                    format!("MX host {host} has no address")
                };
                self.troubles.push(Failure::new(Cause::NoAddress, text));
                return Verdict::GoOn;
            }
            Lookup::Failed(why) => {
                let text = format!("looking up addresses of {host}: {why}");
                self.troubles.push(Failure::new(Cause::AddressLookupFailed, text));
                return Verdict::GoOn;
            }
            Lookup::Unasked(why) => {
                let text = format!("looking up addresses of {host}: {why}");
                self.troubles.push(Failure::new(Cause::OwnResources, text));
                return Verdict::GoOn;
            }
        };
        if addresses.iter().any(|a| ports.is_own(*a)) {
            // RFC 5321 §5.1: an exchanger that is ourselves ends the list, whatever name it has.
            let text = format!("mail exchanger {host} is this host or a loopback address");
            self.troubles.push(Failure::new(Cause::Loop, text));
            return Verdict::OurselvesReached;
        }
        for address in addresses {
            if !self.goes_on() {
                break;
            }
            self.address(Some(host), address, ports).await;
        }
        Verdict::GoOn
    }

    async fn address<P: Ports>(&mut self, host: Option<&Domain>, address: IpAddr, ports: &mut P) {
        if ports.is_own(address) {
            let text = format!("{address} is this host or a loopback address");
            self.troubles.push(Failure::new(Cause::Loop, text));
            return;
        }
        self.addresses_tried += 1;
        match ports.connect(host, address, TlsDemand::Opportunistic).await {
            Ok(session) => self.session(session, ports).await,
            Err(failure) => {
                // Called off by ourselves: nobody else is asked, and it does not count.
                self.stop |= matches!(failure.clone().outcome(), Outcome::Postponed(_));
                self.troubles.push(failure);
            }
        }
    }

    /// Offers the pending recipients in one session, in as many transactions as they need.
    async fn session<P: Ports>(&mut self, mut session: P::Session, ports: &mut P) {
        let reused = session.is_reused();
        if !reused {
            self.sessions += 1;
        }
        let mut offered: Vec<(u32, Recipient)> =
            self.pending.iter().map(|(i, r, _)| (*i, r.clone())).collect();
        let mut in_sync = true;
        while in_sync && !offered.is_empty() {
            let rest = offered.split_off(offered.len().min(session.room().max(1)));
            let done = ports.transact(&mut session, &offered).await;
            in_sync = done.in_sync;
            let again = self.transaction(&session, done, ports).await;
            // A server that takes nobody and asks for another transaction would be asked for ever.
            let progress = again.len() < offered.len();
            offered.retain(|(i, _)| again.contains(i));
            offered.extend(rest);
            in_sync = in_sync && progress;
        }
        ports.release(session, in_sync).await;
    }

    /// Sorts the fates of one transaction; returns those to be offered in another one.
    async fn transaction<P: Ports>(
        &mut self,
        session: &P::Session,
        done: Transacted,
        ports: &mut P,
    ) -> Vec<u32> {
        let remote = session.remote();
        let mut ended = Vec::new();
        let mut again = Vec::new();
        for (index, fate) in done.fates {
            match fate {
                Fate::Taken(reply) => {
                    let receipt = Receipt {
                        code: reply.code,
                        status: reply.enhanced,
                        text: crate::outcome::one_line(&reply.text()),
                        remote: Some(remote.clone()),
                        dsn_passed_on: done.dsn_passed_on,
                        reach: Reach::Server,
                    };
                    ended.push((index, Outcome::Delivered(receipt)));
                }
                Fate::AnotherTransaction(failure) => {
                    self.note(index, failure.at(remote.clone()));
                    again.push(index);
                }
                Fate::Refused(failure) => {
                    let failure = failure.at(remote.clone());
                    match offer_elsewhere(&failure, session.is_reused()) {
                        Elsewhere::Yes => self.note(index, failure),
                        Elsewhere::No => {
                            self.stop |= failure.cause == Cause::UnknownAfterDot;
                            ended.push((index, failure.outcome()));
                        }
                    }
                }
            }
        }
        self.end(ended, &session.facts(), ports).await;
        again
    }

    fn note(&mut self, index: u32, failure: Failure) {
        if let Some(slot) = self.pending.iter_mut().find(|(i, _, _)| *i == index) {
            slot.2 = Some(failure);
        }
    }

    async fn end<P: Ports>(
        &mut self,
        ended: Vec<(u32, Outcome)>,
        facts: &SessionFacts,
        ports: &mut P,
    ) {
        if ended.is_empty() {
            return;
        }
        self.pending.retain(|(i, _, _)| !ended.iter().any(|(done, _)| done == i));
        let rest = if self.pending.is_empty() { Rest::None } else { Rest::Some };
        ports.settle(ended, facts, rest).await;
    }

    async fn end_all<P: Ports>(&mut self, failure: Failure, ports: &mut P) {
        let all = self.pending.iter().map(|(i, _, _)| (*i, failure.clone().outcome())).collect();
        self.end(all, &SessionFacts::default(), ports).await;
    }

    /// What no server decided.
    async fn conclude<P: Ports>(&mut self, ports: &mut P) {
        let overall = overall(&self.troubles);
        let ended = self
            .pending
            .iter()
            .map(|(index, _, said)| {
                (*index, said.clone().unwrap_or_else(|| overall.clone()).outcome())
            })
            .collect();
        self.end(ended, &SessionFacts::default(), ports).await;
    }
}

#[derive(PartialEq, Eq)]
enum Verdict {
    GoOn,
    /// RFC 5321 §5.1: no exchanger at or behind our own place may be tried.
    OurselvesReached,
}

enum Elsewhere {
    Yes,
    No,
}

/// May another exchanger be asked about a recipient that met this failure?
fn offer_elsewhere(failure: &Failure, reused: bool) -> Elsewhere {
    let temporary = failure.class() == Class::Temporary;
    match failure.cause {
        // Refused for a while, or the line broke, before the content went out.
        Cause::Refused(Stage::Mail | Stage::Rcpt) if temporary => Elsewhere::Yes,
        Cause::Lost(stage) | Cause::TimedOut(stage) | Cause::Protocol(stage) => match stage {
            Stage::Connect
            | Stage::Greeting
            | Stage::Ehlo
            | Stage::StartTls
            | Stage::Auth
            | Stage::Mail
            | Stage::Rcpt
            | Stage::Rset
            | Stage::Quit => Elsewhere::Yes,
            // An idle session that was closed meanwhile shows it at the first command, whichever that is.
            Stage::Data if reused => Elsewhere::Yes,
            Stage::Data | Stage::Content | Stage::Dot => Elsewhere::No,
        },
        // What this server lacks another may have.
        Cause::SenderNeedsSmtputf8 | Cause::RecipientNeedsSmtputf8 | Cause::TooLarge => {
            Elsewhere::Yes
        }
        _ => Elsewhere::No,
    }
}

/// One failure from all: temporary if any is, and of those the most telling; else what the most preferred exchanger said.
fn overall(troubles: &[Failure]) -> Failure {
    let weight = |cause: Cause| match cause {
        // A real trouble met before we called the attempt off tells more, and counts.
        Cause::OwnLimit | Cause::Suspended | Cause::Interrupted | Cause::OwnResources => 0,
        Cause::TlsMissing | Cause::TlsUnproven | Cause::MxNotAllowed | Cause::PolicyUnavailable => {
            5
        }
        Cause::Refused(Stage::StartTls) | Cause::Lost(Stage::StartTls) => 4,
        Cause::Refused(_) | Cause::Protocol(_) => 3,
        Cause::Lost(_) | Cause::TimedOut(_) | Cause::Unreachable => 2,
        _ => 1,
    };
    let temporary = troubles.iter().filter(|f| f.class() == Class::Temporary);
    // `max_by_key` takes the last of equals: reversed, so that the most preferred exchanger speaks.
    let telling = temporary.rev().max_by_key(|f| weight(f.cause));
    telling
        .or(troubles.first())
        .cloned()
        .unwrap_or_else(|| Failure::new(Cause::Unreachable, "no mail exchanger could be tried"))
}

#[cfg(test)]
pub mod tests;
