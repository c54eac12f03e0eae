//! One attempt of `target.remote`: the recipients of one domain, from the lookup of its exchangers to their outcomes.
//!
//! 1. What needs no network is refused at once.
//! 2. An idle session to the destination is used if there is one.
//! 3. The exchangers are looked up and tried in order, each with its addresses (`walk`).
//! 4. A session carries as many transactions as its recipients need, and as it may carry.
//! 5. Recipients refused for a while are offered to the next exchanger once.
//! 6. What no server decided is decided from all that went wrong (`verdict`).

use crate::address::{Domain, Host};
use crate::attempt::ports::Ports;
use crate::attempt::run::{Pending, Run, View};
use crate::attempt::verdict::elsewhere;
use crate::attempt::walk::{End, OtherFamily, Visitor, Walk, look_up};
use crate::dice::Dice;
use crate::envelope::{Envelope, Route, TlsWish};
use crate::outcome::{Cause, Failure, Reach};
use crate::route::destination::DestinationKey;

pub use crate::attempt::run::Job;

/// Sessions in which recipients are offered, in one attempt.
const MOST_SESSIONS: usize = 2;
/// A mail exchanger brings the message to the next server, for all we know.
const VIEW: View = View { elsewhere, reach: Reach::Server, sessions: MOST_SESSIONS };
/// Addresses dialled in one attempt (Postfix `smtp_mx_address_limit` has the same number).
pub(super) const MOST_ADDRESSES: usize = 5;
/// RFC 5321 §6.3: a message with more trace fields is in a loop.
pub(super) const MOST_HOPS: u32 = 100;

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
    let mut run = Run::new(job, VIEW);
    if let Some(failure) = refusal(job, rules) {
        run.end_all(failure, ports).await;
        return;
    }
    let mut walk = run.way(&job.destination, rules, ports, dice).await;
    if is_report_that_requires_tls(&job.envelope) && run.is_kept_back_by_requiretls(&walk) {
        // RFC 8689 §5: a report that has nothing of the content may travel unprotected; without it the sender would never know.
        ports.do_without_requiretls();
        run = Run::new(job, VIEW);
        walk = run.way(&job.destination, rules, ports, dice).await;
    }
    run.conclude(|said| walk.verdict(said), ports).await;
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

impl Run {
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
            self.offer(session, OtherFamily::Absent, ports).await;
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
            Err(failure) => walk.troubles.push(failure.into()),
        }
    }
}

impl<P: Ports> Visitor<P> for Run {
    fn goes_on(&self) -> bool {
        Run::goes_on(self)
    }

    fn has_room(&self) -> bool {
        Run::has_room(self)
    }

    fn is_done_with(&self, host: &str) -> bool {
        Run::is_done_with(self, host)
    }

    fn is_unanswered(&self) -> bool {
        Run::is_unanswered(self)
    }

    async fn session(&mut self, session: P::Session, other: OtherFamily, ports: &mut P) -> End {
        self.offer(session, other, ports).await
    }
}

#[cfg(test)]
pub mod tests;
