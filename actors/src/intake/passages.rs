//! What goes straight from a client to the servers of forwarders: their answers become ours.
//!
//! One answer has to do for all recipients where the client speaks SMTP, and servers don't decide together. So a transaction goes to one
//! server only, and to one mailbox where that server answers for each: the others are told 452, and clients name them again in another
//! transaction (RFC 5321 §4.5.3.1.10). With LMTP every recipient has its own answer, and none of this is needed.

use posthaste_edge::body::Body;
use posthaste_edge::clock::Clock;
use posthaste_mail::address::{Host, Mailbox, ReversePath};
use posthaste_mail::envelope::{Envelope, MessageFlags, Recipient};
use posthaste_mail::limit::Who;
use posthaste_mail::outcome::Failure;
use posthaste_mail::status::Enhanced;
use posthaste_mail::wire::client::auth::Account;
use posthaste_mail::wire::client::opening::Dialect as Spoken;
use posthaste_mail::wire::client::transaction::Fate;
use posthaste_mail::wire::server::{Answer, Dialect};

use crate::exit::{Exit, Through};
use crate::intake::custody::Said;
use crate::limits::{LONGEST_WAIT, Permit};
use crate::messages::passage::{Begin, Passage};

/// Those of one transaction.
#[derive(Default)]
pub struct Passages {
    all: Vec<Open>,
    /// One recipient was taken by one server and refused by another: the client cannot be told the truth about it.
    torn: bool,
}

struct Open {
    exit: Exit,
    sender: ReversePath,
    spoken: Spoken,
    passage: Passage,
    /// As the client named them, and whether the server took them.
    named: Vec<(Mailbox, bool)>,
    _permit: Option<Permit>,
}

impl Open {
    fn has_somebody(&self) -> bool {
        self.named.iter().any(|(_, taken)| *taken)
    }
}

/// A recipient at one forwarder.
pub struct Stop<'a> {
    pub exit: Exit,
    pub through: &'a Through,
    pub sender: ReversePath,
    pub recipient: Recipient,
}

/// Who brings the message.
pub struct Bearer<'a> {
    pub dialect: Dialect,
    pub account: Option<&'a Account>,
    pub clock: &'a Clock,
    /// As it is known so far; each server has its own sender.
    pub envelope: Envelope,
}

impl Passages {
    /// Nobody waits for the content.
    pub fn is_empty(&self) -> bool {
        !self.all.iter().any(Open::has_somebody)
    }

    /// Names one recipient of the client at every server it goes to; the first refusal is the answer.
    pub async fn name(&mut self, stops: Vec<Stop<'_>>, bearer: &Bearer<'_>) -> Result<(), Answer> {
        if bearer.dialect != Dialect::Lmtp {
            // Where nobody was taken nothing is under way: a server that is down keeps no other from its mail.
            self.all.retain(Open::has_somebody);
            // Said before anybody is named: the others of the transaction need not suffer for it.
            if are_apart(&stops) {
                let text = "This recipient is at several servers, which cannot answer as one";
                return Err(Answer::new(451, Enhanced(4, 3, 5), text));
            }
        }
        let mut taken = false;
        for stop in stops {
            if let Err(answer) = self.stop(stop, bearer).await {
                self.torn |= taken;
                return Err(answer);
            }
            taken = true;
        }
        Ok(())
    }

    async fn stop(&mut self, stop: Stop<'_>, bearer: &Bearer<'_>) -> Result<(), Answer> {
        let Stop { exit, through, sender, recipient } = stop;
        let found = self.all.iter().position(|open| open.exit == exit && open.sender == sender);
        let one_answer = bearer.dialect != Dialect::Lmtp;
        let elsewhere = found.is_none() && !self.all.is_empty();
        let second = found
            .and_then(|place| self.all.get(place))
            .is_some_and(|open| open.spoken == Spoken::Lmtp && open.has_somebody());
        if one_answer && (elsewhere || second) {
            let text = "Goes to another server or mailbox, send it in a transaction of its own";
            return Err(Answer::new(452, Enhanced(4, 5, 3), text));
        }
        let place = match found {
            Some(place) => place,
            None => {
                self.all.push(begin(exit, through, sender, bearer).await?);
                self.all.len() - 1
            }
        };
        let Some(open) = self.all.get_mut(place) else { return Err(Answer::internal_fault()) };
        let original = recipient.original.clone().unwrap_or_else(|| recipient.address.clone());
        let named = open.passage.name(recipient).await;
        open.named.push((original, named.is_ok()));
        named.map_err(|failure| told_on(&failure))
    }

    /// What the servers say to the content: of each recipient that was taken, as the client named it.
    pub async fn deliver(self, content: &Body, flags: MessageFlags) -> Vec<Said> {
        let mut results = Vec::new();
        for Open { passage, named, .. } in self.all.into_iter().filter(Open::has_somebody) {
            // It would be sent to somebody the client believes it was not.
            let fates = match self.torn {
                true => Err(torn()),
                false => passage.deliver(content.clone(), flags).await.map_err(|f| told_on(&f)),
            };
            for (place, (original, _)) in named.into_iter().enumerate().filter(|(_, (_, t))| *t) {
                let said = match &fates {
                    Err(answer) => Err(answer.clone()),
                    Ok(fates) => told(fates.get(place)),
                };
                results.push((vec![original], said));
            }
        }
        results
    }
}

/// RFC 5321 §3.8: 421 ends a session. The one it ends is ours with the server, not the client's with us.
fn told_on(failure: &Failure) -> Answer {
    match failure.code {
        421 => Answer::new(451, failure.status, failure.text.as_str()),
        _ => Answer::from(failure),
    }
}

/// They go to more than one server, or in more than one transaction.
fn are_apart(stops: &[Stop<'_>]) -> bool {
    stops.windows(2).any(|pair| match pair {
        [one, other] => one.exit != other.exit || one.sender != other.sender,
        _ => false,
    })
}

fn torn() -> Answer {
    let text = "A recipient is taken by one server and refused by another, try again later";
    Answer::new(451, Enhanced(4, 3, 0), text)
}

fn told(fate: Option<&Fate>) -> Result<Answer, Answer> {
    match fate {
        Some(Fate::Taken(reply)) => {
            let status = reply.enhanced.unwrap_or(Enhanced(2, 0, 0));
            Ok(Answer::new(reply.code, status, reply.text()))
        }
        Some(Fate::Refused(failure) | Fate::AnotherTransaction(failure)) => Err(told_on(failure)),
        None => Err(Answer::internal_fault()),
    }
}

async fn begin(
    exit: Exit,
    through: &Through,
    sender: ReversePath,
    bearer: &Bearer<'_>,
) -> Result<Open, Answer> {
    if through.as_client && bearer.account.is_none() {
        // RFC 4954 §6.
        return Err(Answer::new(530, Enhanced(5, 7, 0), "Authentication required"));
    }
    let permit = match &through.limits {
        None => None,
        Some(limits) => {
            let source = sender.mailbox().map_or("", |mailbox| match mailbox.host() {
                Host::Domain(domain) => domain.ascii(),
                Host::Literal(_) | Host::Unqualified => "",
            });
            let who =
                Who { ip: bearer.envelope.origin.address, source: Some(source), destination: None };
            let busy = |_| Answer::new(451, Enhanced(4, 4, 5), "High load, try again later");
            Some(limits.acquire(&who, bearer.clock, LONGEST_WAIT).await.map_err(busy)?)
        }
    };
    let envelope = Envelope { from: sender.clone(), ..bearer.envelope.clone() };
    let client = bearer.account.filter(|_| through.as_client).cloned();
    let begun = through.begin.send(Begin { envelope, client }).await;
    let passage = match begun {
        Ok(Ok(passage)) => passage,
        Ok(Err(failure)) => return Err(told_on(&failure)),
        Err(_) => return Err(Answer::internal_fault()),
    };
    let named = Vec::new();
    Ok(Open { exit, sender, spoken: through.spoken, passage, named, _permit: permit })
}

#[cfg(test)]
mod tests;
