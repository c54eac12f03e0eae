//! The recipients of one attempt: offered in sessions, wherever those lead, until each has its outcome or nobody is left to ask.

use crate::attempt::addressee::{Addressee, addressees};
use crate::attempt::ports::{Delivery, Peer, Rest, Transacted};
use crate::attempt::verdict::{Elsewhere, Said, Wear, for_want_of_tls, is_enough, is_lack};
use crate::attempt::walk::{End, Next, OtherFamily};
use crate::envelope::{Envelope, Recipient};
use crate::outcome::{Cause, Class, Failure, Outcome, Reach, Receipt, SessionFacts, Stage};
use crate::route::destination::DestinationKey;
use crate::wire::client::transaction::{Fate, Standing};

/// What to deliver.
#[derive(Clone, Debug)]
pub struct Job {
    pub envelope: Envelope,
    pub destination: DestinationKey,
    pub recipients: Vec<(u32, Recipient)>,
    /// 1 for the first.
    pub attempt: u32,
}

/// How a target looks at what servers say.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Who may be asked next about a recipient that met a failure, in a session of this wear.
    pub elsewhere: fn(&Failure, Wear) -> Elsewhere,
    /// How far a server that takes a message brings it.
    pub reach: Reach,
    /// Sessions in which recipients are offered, in one attempt.
    pub sessions: usize,
}

/// A recipient, or several with the same address, without a final outcome.
pub(super) struct Pending {
    addressee: Addressee,
    pub said: Vec<Said>,
}

pub(super) struct Run {
    view: View,
    pub pending: Vec<Pending>,
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
    pub fn new(job: &Job, view: View) -> Run {
        let pending = |addressee| Pending { addressee, said: Vec::new() };
        Run {
            view,
            pending: addressees(&job.recipients).into_iter().map(pending).collect(),
            sessions: 0,
            answered: Vec::new(),
            first_attempt: job.attempt <= 1,
            family_changed: false,
            misunderstood: false,
            stop: false,
        }
    }

    pub fn goes_on(&self) -> bool {
        !self.stop && !self.pending.is_empty()
    }

    /// May there be another session?
    pub fn has_room(&self) -> bool {
        self.sessions < self.view.sessions
    }

    /// The host has answered already: it is not asked again.
    pub fn is_done_with(&self, host: &str) -> bool {
        self.answered.iter().any(|h| h == host)
    }

    /// Nobody has said anything yet about any of the recipients.
    pub fn is_unanswered(&self) -> bool {
        self.pending.iter().all(|pending| pending.said.is_empty())
    }

    /// Offers the pending recipients in one session, in as many transactions as they need and it may carry.
    pub async fn offer<D: Delivery>(
        &mut self,
        mut session: D::Session,
        other: OtherFamily,
        ports: &mut D,
    ) -> End {
        let mut offered: Vec<Addressee> =
            self.pending.iter().map(|pending| pending.addressee.clone()).collect();
        let (first, pending) = (offered.len(), self.pending.len());
        let (mut standing, mut next, mut counts) = (Standing::Good, Next::Address, false);
        let (mut again, mut turned_away) = (false, false);
        while standing == Standing::Good && !offered.is_empty() && session.transactions_left() > 0 {
            let undecided = self.pending.len();
            let rest = offered.split_off(offered.len().min(session.room().max(1)));
            let done = ports.transact(&mut session, &offered).await;
            standing = done.standing;
            let served = undecided < pending;
            let wear = if served { Wear::Served } else { Wear::of(&session) };
            let sorted = self.transaction(&session, wear, done, other, ports).await;
            next = sorted.next;
            counts |= sorted.counts;
            again |= sorted.plainly;
            turned_away = sorted.turned_away;
            // A server that takes nobody and asks for another transaction would be asked for ever.
            let progress = sorted.again.len() < offered.len();
            offered.retain(|addressee| sorted.again.contains(&addressee.index()));
            offered.extend(rest);
            // Whoever has had enough of this session may have the rest in another.
            again |= served && sorted.broken.as_ref().is_some_and(is_enough);
            let decided = sorted.decided && self.pending.len() < undecided;
            if standing == Standing::Parting && decided && !offered.is_empty() {
                // The content was not wanted, and for good: those who are left may hear it in a session of their own.
                again = true;
                offered.clear();
            } else if standing != Standing::Good || !progress {
                // They were not named to the server; what ended the session is why.
                self.left_over(&offered, sorted.broken, &session);
                offered.clear();
            }
        }
        self.sessions += usize::from(counts);
        if self.is_done_with(&session.remote().host) {
            next = Next::Host; // also when it took the recipients of the last transaction
        }
        again |= standing == Standing::Good && !offered.is_empty() && offered.len() < first;
        // RFC 9422 §4.1 and our own limit: one that may carry nothing more is not kept for others.
        let used_up = session.transactions_left() == 0;
        let leaves = if turned_away || used_up { Standing::Parting } else { Standing::Good };
        ports.release(session, standing.max(leaves)).await;
        if again { End::Again } else { End::Over(next) }
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
    async fn transaction<D: Delivery>(
        &mut self,
        session: &D::Session,
        wear: Wear,
        done: Transacted,
        other: OtherFamily,
        ports: &mut D,
    ) -> Sorted {
        let (remote, facts) = (session.remote(), session.facts());
        let may_change_family =
            self.first_attempt && !self.family_changed && other == OtherFamily::Present;
        let plainly = done.misunderstood && !self.misunderstood;
        self.misunderstood |= done.misunderstood;
        let mut ended = Vec::new();
        let (turned_away, decided) = (is_turned_away(&done.fates), is_decided(&done.fates));
        let mut sorted = Sorted {
            again: Vec::new(),
            next: Next::Address,
            plainly,
            counts: false,
            turned_away,
            decided,
            broken: None,
        };
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
                        reach: self.view.reach,
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
                    let by_reply = matches!(failure.cause, Cause::Refused(_))
                        && !(wear != Wear::None && is_enough(&failure));
                    let failure = for_want_of_tls(failure, &facts).at(remote.clone());
                    sorted.counts |= by_reply || !(is_lack(failure.cause) || session.is_reused());
                    // Whatever else was said before, it is 421 that ends a session.
                    if sorted.broken.is_none() || is_enough(&failure) {
                        sorted.broken = Some(failure.clone());
                    }
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
                    match (self.view.elsewhere)(&failure, wear) {
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
    async fn end<D: Delivery>(
        &mut self,
        ended: Vec<(u32, Outcome)>,
        facts: &SessionFacts,
        ports: &mut D,
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

    pub async fn end_all<D: Delivery>(&mut self, failure: Failure, ports: &mut D) {
        let index = |pending: &Pending| pending.addressee.index();
        let all = self.pending.iter().map(|p| (index(p), failure.clone().outcome())).collect();
        self.end(all, &SessionFacts::default(), ports).await;
    }

    /// What no server decided.
    pub async fn conclude<D: Delivery>(
        &mut self,
        verdict: impl Fn(&[Said]) -> Said,
        ports: &mut D,
    ) {
        let mut ends: Vec<(SessionFacts, Vec<(u32, Outcome)>)> = Vec::new();
        for Pending { addressee, said } in &self.pending {
            let Said { failure, facts } = verdict(said);
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

/// What one transaction came to.
struct Sorted {
    /// Addressees for another transaction.
    again: Vec<u32>,
    next: Next,
    /// Those whose content was not understood may have it in the way that every server knows.
    plainly: bool,
    /// Somebody was offered to the server, or it failed at once: one of the sessions of the attempt.
    counts: bool,
    /// Nothing came of it for now, and this may be said of the session.
    turned_away: bool,
    /// Whatever was said was said for good.
    decided: bool,
    /// What ended the session, if it was ended.
    broken: Option<Failure>,
}

/// Somebody's mail was taken, or nobody's was refused for a while only.
fn is_decided(fates: &[(u32, Fate)]) -> bool {
    let is_taken = |(_, fate): &(u32, Fate)| matches!(fate, Fate::Taken(_));
    let is_final = |(_, fate): &(u32, Fate)| match fate {
        Fate::Refused(failure) => failure.class() == Class::Permanent,
        Fate::Taken(_) | Fate::AnotherTransaction(_) => true,
    };
    fates.iter().any(is_taken) || fates.iter().all(is_final)
}

/// Refused for a while, whoever it was for. Some servers mean the session: Postfix' postscreen says 450 to every recipient of a client's
/// first one and wants to see another, and others count the messages of a session. Kept, it would turn away all that came after;
/// greylisting pays a dial for it.
fn is_turned_away(fates: &[(u32, Fate)]) -> bool {
    let for_now = |fate: &Fate| match fate {
        Fate::Refused(failure) => {
            matches!(failure.cause, Cause::Refused(_)) && failure.class() == Class::Temporary
        }
        Fate::Taken(_) | Fate::AnotherTransaction(_) => false,
    };
    let is_taken = |(_, fate): &(u32, Fate)| matches!(fate, Fate::Taken(_));
    fates.iter().any(|(_, fate)| for_now(fate)) && !fates.iter().any(is_taken)
}

/// A refusal for policy before any recipient was named: the reputation of our address may be meant, and the other family has another.
fn may_be_about_our_address(failure: &Failure) -> bool {
    failure.cause == Cause::Refused(Stage::Mail)
        && failure.class() == Class::Permanent
        && failure.status.1 == 7
}
