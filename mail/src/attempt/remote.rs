//! One attempt of `target.remote`: the recipients of one domain, from the lookup of its exchangers to their outcomes.
//!
//! 1. What needs no network is refused at once.
//! 2. An idle session to the destination is used if there is one.
//! 3. The exchangers are looked up and tried in order, each with its addresses (`walk`).
//! 4. A session carries as many transactions as its recipients need, and as it may carry.
//! 5. Recipients refused for a while are offered to the next exchanger once.
//! 6. What no server decided is decided from all that went wrong (`verdict`).

use crate::address::{Domain, Host};
use crate::attempt::addressee::{Addressee, addressees};
use crate::attempt::ports::{Peer, Ports, Rest, Transacted};
use crate::attempt::verdict::{Elsewhere, Said, elsewhere, is_lack};
use crate::attempt::walk::{End, Next, OtherFamily, Visitor, Walk, look_up};
use crate::dice::Dice;
use crate::envelope::{Envelope, Recipient, Route, TlsWish};
use crate::outcome::{Cause, Class, Failure, Outcome, Reach, Receipt, SessionFacts, Stage};
use crate::route::destination::DestinationKey;
use crate::wire::client::transaction::{Fate, Standing};

/// Addresses dialled in one attempt (Postfix `smtp_mx_address_limit` has the same number).
pub(super) const MOST_ADDRESSES: usize = 5;
/// Sessions in which recipients are offered, in one attempt.
const MOST_SESSIONS: usize = 2;
/// RFC 5321 §6.3: a message with more trace fields is in a loop.
const MOST_HOPS: u32 = 100;

/// What to deliver.
#[derive(Clone, Debug)]
pub struct Job {
    pub envelope: Envelope,
    pub destination: DestinationKey,
    pub recipients: Vec<(u32, Recipient)>,
    /// 1 for the first.
    pub attempt: u32,
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
    let mut walk = run.way(&job.destination, rules, ports, dice).await;
    if is_report_that_requires_tls(&job.envelope) && run.is_kept_back_by_requiretls(&walk) {
        // RFC 8689 §5: a report that has nothing of the content may travel unprotected; without it the sender would never know.
        ports.do_without_requiretls();
        run = Run::new(job);
        walk = run.way(&job.destination, rules, ports, dice).await;
    }
    run.conclude(&walk, ports).await;
}

fn is_report_that_requires_tls(envelope: &Envelope) -> bool {
    envelope.flags.tls == TlsWish::Required && matches!(envelope.route, Route::Bounce { .. })
}

/// Refusals that need no network.
fn refusal(job: &Job, rules: &Rules) -> Option<Failure> {
    let envelope = &job.envelope;
    if envelope.flags.quarantine {
        return Some(Failure::new(Cause::Quarantined, "message is quarantined, not relayed"));
    }
    if envelope.from.mailbox().is_some_and(|from| *from.host() == Host::Unqualified) {
        return Some(Failure::new(Cause::BadSender, "sender address has no domain"));
    }
    if envelope.flags.hops > MOST_HOPS {
        let text = format!("{} Received fields, this is a loop", envelope.flags.hops);
        return Some(Failure::new(Cause::Loop, text));
    }
    no_way(&job.destination, rules)
}

/// Why there is no way to this destination, if there is none whatever the network says.
pub(super) fn no_way(destination: &DestinationKey, rules: &Rules) -> Option<Failure> {
    match destination {
        DestinationKey::Domain(domain) if domain.can_be_looked_up() => None,
        DestinationKey::Domain(domain) => {
            // RFC 5321 §2.3.5: only names that can be resolved are used in mail.
            let text = format!("domain {domain} has a label that begins with a hyphen");
            Some(Failure::new(Cause::NoSuchDomain, text))
        }
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

/// A recipient, or several with the same address, without a final outcome.
struct Pending {
    addressee: Addressee,
    said: Vec<Said>,
}

struct Run {
    pending: Vec<Pending>,
    sessions: usize,
    /// Hosts that answered about recipients: they are not asked twice.
    answered: Vec<String>,
    first_attempt: bool,
    /// The other family was asked after a refusal that may have been about our address.
    family_changed: bool,
    /// Content was not understood as it was sent, and the same host asked again: once an attempt.
    misunderstood: bool,
    /// After the final dot no other exchanger may be asked.
    stop: bool,
}

impl Run {
    fn new(job: &Job) -> Run {
        let pending = |addressee| Pending { addressee, said: Vec::new() };
        Run {
            pending: addressees(&job.recipients).into_iter().map(pending).collect(),
            sessions: 0,
            answered: Vec::new(),
            first_attempt: job.attempt <= 1,
            family_changed: false,
            misunderstood: false,
            stop: false,
        }
    }

    /// To whoever decides about the recipients, as far as anybody does.
    async fn way<P: Ports>(
        &mut self,
        destination: &DestinationKey,
        rules: &Rules,
        ports: &mut P,
        dice: &mut Dice,
    ) -> Walk {
        let mut walk = Walk::new(MOST_ADDRESSES);
        if let Some(session) = ports.check_out().await {
            self.session(session, OtherFamily::Absent, ports).await;
        }
        match destination {
            DestinationKey::Domain(domain) if self.goes_on() => {
                self.domain(domain, rules, &mut walk, ports, dice).await;
            }
            DestinationKey::Literal(address) => walk.literal(*address, self, ports).await,
            // Done, or refused before.
            _ => {}
        }
        walk
    }

    fn goes_on(&self) -> bool {
        !self.stop && !self.pending.is_empty()
    }

    /// Nobody was asked, because all who could be lack what the message requires.
    fn is_kept_back_by_requiretls(&self, walk: &Walk) -> bool {
        let kept_back = |pending: &Pending| {
            let failure = walk.verdict(&pending.said).failure;
            failure.cause == Cause::RequireTlsImpossible
        };
        !self.pending.is_empty() && self.pending.iter().all(kept_back)
    }

    async fn domain<P: Ports>(
        &mut self,
        domain: &Domain,
        rules: &Rules,
        walk: &mut Walk,
        ports: &mut P,
        dice: &mut Dice,
    ) {
        match look_up(domain, &rules.our_name, ports, dice).await {
            Ok(found) => walk.exchangers(domain, &found, self, ports).await,
            Err(failure) => walk.troubles.push(failure),
        }
    }

    fn left_over<S: Peer>(&mut self, offered: &[Addressee], broken: Option<Failure>, session: &S) {
        let Some(broken) = broken else { return };
        let failure = match broken.class() {
            Class::Temporary if broken.cause != Cause::UnknownAfterDot => broken,
            Class::Temporary | Class::Permanent => {
                let text = format!("the session ended before this recipient was named: {broken}");
                Failure::new(Cause::Lost(Stage::Mail), text).at(session.remote())
            }
        };
        for addressee in offered {
            self.note(addressee.index(), failure.clone(), session.facts());
        }
    }

    /// Sorts the fates of one transaction.
    async fn transaction<P: Ports>(
        &mut self,
        session: &P::Session,
        done: Transacted,
        other: OtherFamily,
        ports: &mut P,
    ) -> Sorted {
        let (remote, facts) = (session.remote(), session.facts());
        let may_change_family =
            self.first_attempt && !self.family_changed && other == OtherFamily::Present;
        let plainly = done.misunderstood && !self.misunderstood;
        self.misunderstood |= done.misunderstood;
        let mut ended = Vec::new();
        let mut sorted =
            Sorted { again: Vec::new(), next: Next::Address, plainly, counts: false, broken: None };
        for (index, fate) in done.fates {
            match fate {
                Fate::Taken(reply) => {
                    sorted.counts = true;
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
                    sorted.counts = true;
                    let failure = failure.at(remote.clone());
                    sorted.broken.get_or_insert_with(|| failure.clone());
                    self.note(index, failure, facts.clone());
                    sorted.again.push(index);
                }
                Fate::Refused(failure) => {
                    let failure = failure.at(remote.clone());
                    let by_reply = matches!(failure.cause, Cause::Refused(_));
                    sorted.counts |= by_reply || !(is_lack(failure.cause) || session.is_reused());
                    sorted.broken.get_or_insert_with(|| failure.clone());
                    if may_change_family && may_be_about_our_address(&failure) {
                        sorted.next = Next::AddressOfOtherFamily;
                        self.family_changed = true;
                        self.note(index, failure, facts.clone());
                        continue;
                    }
                    if plainly && failure.cause == Cause::Protocol(Stage::Data) {
                        self.note(index, failure, facts.clone());
                        continue;
                    }
                    match elsewhere(&failure, session.is_reused()) {
                        Elsewhere::NextAddress => self.note(index, failure, facts.clone()),
                        Elsewhere::NextHost => {
                            sorted.next = Next::Host;
                            self.note(index, failure, facts.clone());
                        }
                        Elsewhere::Nowhere => {
                            self.stop |= failure.cause == Cause::UnknownAfterDot;
                            ended.push((index, failure.outcome()));
                        }
                    }
                }
            }
        }
        if sorted.next == Next::Host {
            self.answered.push(remote.host.clone());
        }
        self.end(ended, &facts, ports).await;
        sorted
    }

    fn note(&mut self, index: u32, failure: Failure, facts: SessionFacts) {
        if let Some(place) = self.pending.iter_mut().find(|p| p.addressee.index() == index) {
            place.said.push(Said { failure, facts });
        }
    }

    /// Outcomes by the first index of each addressee.
    async fn end<P: Ports>(
        &mut self,
        ended: Vec<(u32, Outcome)>,
        facts: &SessionFacts,
        ports: &mut P,
    ) {
        let mut outcomes = Vec::new();
        self.pending.retain(|pending| {
            let addressee = &pending.addressee;
            let end = ended.iter().find(|(index, _)| *index == addressee.index());
            if let Some((_, outcome)) = end {
                outcomes.extend(addressee.indices.iter().map(|i| (*i, outcome.clone())));
            }
            end.is_none()
        });
        if outcomes.is_empty() {
            return;
        }
        let rest = if self.pending.is_empty() { Rest::None } else { Rest::Some };
        ports.settle(outcomes, facts, rest).await;
    }

    async fn end_all<P: Ports>(&mut self, failure: Failure, ports: &mut P) {
        let index = |pending: &Pending| pending.addressee.index();
        let all = self.pending.iter().map(|p| (index(p), failure.clone().outcome())).collect();
        self.end(all, &SessionFacts::default(), ports).await;
    }

    /// What no server decided.
    async fn conclude<P: Ports>(&mut self, walk: &Walk, ports: &mut P) {
        let mut ends: Vec<(SessionFacts, Vec<(u32, Outcome)>)> = Vec::new();
        for Pending { addressee, said } in &self.pending {
            let Said { failure, facts } = walk.verdict(said);
            let end = (addressee.index(), failure.outcome());
            match ends.iter_mut().find(|(of, _)| *of == facts) {
                Some((_, ended)) => ended.push(end),
                None => ends.push((facts, vec![end])),
            }
        }
        for (facts, ended) in ends {
            self.end(ended, &facts, ports).await;
        }
    }
}

impl<P: Ports> Visitor<P> for Run {
    fn goes_on(&self) -> bool {
        Run::goes_on(self)
    }

    fn has_room(&self) -> bool {
        self.sessions < MOST_SESSIONS
    }

    fn is_done_with(&self, host: &str) -> bool {
        self.answered.iter().any(|h| h == host)
    }

    fn is_unanswered(&self) -> bool {
        self.pending.iter().all(|pending| pending.said.is_empty())
    }

    /// Offers the pending recipients in one session, in as many transactions as they need and it may carry.
    async fn session(&mut self, mut session: P::Session, other: OtherFamily, ports: &mut P) -> End {
        let mut offered: Vec<Addressee> =
            self.pending.iter().map(|pending| pending.addressee.clone()).collect();
        let first = offered.len();
        let (mut standing, mut next, mut counts) = (Standing::Good, Next::Address, false);
        let mut again = false;
        while standing == Standing::Good && !offered.is_empty() && session.transactions_left() > 0 {
            let rest = offered.split_off(offered.len().min(session.room().max(1)));
            let done = ports.transact(&mut session, &offered).await;
            standing = done.standing;
            let sorted = self.transaction(&session, done, other, ports).await;
            next = sorted.next;
            counts |= sorted.counts;
            again |= sorted.plainly;
            // A server that takes nobody and asks for another transaction would be asked for ever.
            let progress = sorted.again.len() < offered.len();
            offered.retain(|addressee| sorted.again.contains(&addressee.index()));
            offered.extend(rest);
            if standing != Standing::Good || !progress {
                // They were not named to the server; what ended the session is why.
                self.left_over(&offered, sorted.broken, &session);
                offered.clear();
            }
        }
        self.sessions += usize::from(counts);
        again |= standing == Standing::Good && !offered.is_empty() && offered.len() < first;
        ports.release(session, standing).await;
        if again { End::Again } else { End::Over(next) }
    }
}

/// What one transaction came to.
struct Sorted {
    /// Addressees for another transaction.
    again: Vec<u32>,
    next: Next,
    /// Those whose content was not understood may have it in the way that every server knows.
    plainly: bool,
    /// Somebody was offered to the server, or it failed at once: one of the sessions of the attempt.
    counts: bool,
    broken: Option<Failure>,
}

/// A refusal for policy before any recipient was named: the reputation of our address may be meant, and the other family has another.
fn may_be_about_our_address(failure: &Failure) -> bool {
    failure.cause == Cause::Refused(Stage::Mail)
        && failure.class() == Class::Permanent
        && failure.status.1 == 7
}

#[cfg(test)]
pub mod tests;
