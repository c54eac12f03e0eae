//! Who takes responsibility for a complete message (RFC 5321 §4.2.5): the queues, and the servers that it goes to straight.

use slog::{Logger, info, warn};

use posthaste_edge::body::Body;
use posthaste_edge::clock::dice;
use posthaste_mail::address::Mailbox;
use posthaste_mail::envelope::{Envelope, EnvelopeId, Recipient};
use posthaste_mail::pipeline::Delivery;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::client::auth::Account;
use posthaste_mail::wire::server::{Answer, Dialect};

use crate::exit::{Door, Exit};
use crate::intake::passages::Passages;
use crate::intake::session::Endpoint;
use crate::messages::intake::{Accept, Decide};

/// What is said to some of the recipients, as the client named them.
pub type Said = (Vec<Mailbox>, Result<Answer, Answer>);

/// A complete message and where it goes.
pub struct Parcel {
    /// With the id of its trace field. Sender and id may differ from copy to copy.
    pub envelope: Envelope,
    pub body: Body,
    pub deliveries: Vec<Delivery<Exit>>,
    pub passages: Passages,
}

pub struct Custody<'a> {
    pub endpoint: &'a Endpoint,
    pub log: &'a Logger,
    /// What the client logged in with, where a forwarder logs in as its client.
    pub account: Option<&'a Account>,
}

impl Custody<'_> {
    /// Hands the message to all who are to have it. Over SMTP, where one answer has to do, it is taken by all or, of the queues, by
    /// none; over LMTP each answers for itself.
    pub async fn take(&self, parcel: Parcel) -> Vec<Said> {
        let Parcel { envelope, body, deliveries, passages } = parcel;
        let arrived = envelope.arrived;
        // One queue answers for itself; several decide together, and with a server, so that a refusal by one leaves no trace in the others.
        let several = deliveries.len() + usize::from(!passages.is_empty()) > 1;
        let together = several && self.endpoint.protocol.dialect != Dialect::Lmtp;
        let mut results = Vec::with_capacity(deliveries.len());
        let mut taken = Vec::new();
        for (place, delivery) in deliveries.into_iter().enumerate() {
            // The first stored copy has the id of our trace field, each further one its own.
            let id = match place {
                0 => envelope.id,
                _ => EnvelopeId::new(arrived, &mut dice()),
            };
            let recipients = named_by_client(&delivery.recipients);
            let exit = delivery.target;
            let copy = Envelope { id, from: delivery.sender, ..envelope.clone() };
            let result = self.hand_over(exit, copy, delivery.recipients, &body, together).await;
            // A queue that fell over it may have stored it.
            if result.is_ok() || together {
                taken.push((exit, id));
            }
            let queued = || Answer::ok(format!("Ok: queued as {}", envelope.id));
            results.push((recipients, result.map(|()| queued())));
        }
        // The server comes last: what it has taken it does not give back.
        let all_stored = results.iter().all(|(_, result)| result.is_ok());
        if all_stored || !together {
            results.extend(passages.deliver(&body, envelope.flags).await);
        }
        if together {
            let keep = results.iter().all(|(_, result)| result.is_ok());
            // Of what is withdrawn nothing has to be known but that it is asked for.
            if !self.decide(&taken, keep, arrived).await
                && keep
                && let Some((_, result)) = results.first_mut()
            {
                *result = Err(Answer::internal_fault());
            }
        }
        results
    }

    async fn hand_over(
        &self,
        exit: Exit,
        envelope: Envelope,
        recipients: Vec<Recipient>,
        body: &Body,
        undecided: bool,
    ) -> Result<(), Answer> {
        let id = envelope.id;
        match self.endpoint.doors.get(exit.0) {
            None | Some(Door::Closed | Door::Through(_)) => Err(Answer::internal_fault()),
            Some(Door::Dummy) => {
                info!(self.log, "discarded"; "id" => %id, "recipients" => recipients.len());
                Ok(())
            }
            Some(Door::Queue { accept, vault, .. }) => {
                // Before the queue has the message: its first attempt follows at once.
                if let (Some(vault), Some(account)) = (vault, self.account) {
                    vault.keep(id, account);
                }
                let message = Accept { envelope, recipients, body: body.clone(), undecided };
                match accept.send(message).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(r)) => {
                        vault.iter().for_each(|vault| vault.forget(id));
                        Err(Answer::new(r.code, r.status, r.text))
                    }
                    // The queue fell over it, or is gone: nothing is known, the client sends again.
                    Err(e) => {
                        warn!(self.log, "queue did not answer"; "id" => %id, "cause" => %e);
                        Err(Answer::internal_fault())
                    }
                }
            }
        }
    }

    /// Tells every queue that took a copy what becomes of it; false if one of them could not be told.
    async fn decide(&self, taken: &[(Exit, EnvelopeId)], keep: bool, arrived: Timestamp) -> bool {
        let mut all = true;
        for (exit, id) in taken {
            if let Some(Door::Queue { decide, vault, .. }) = self.endpoint.doors.get(exit.0) {
                if !keep {
                    vault.iter().for_each(|vault| vault.forget(*id));
                }
                all &= matches!(decide.send(Decide { id: *id, keep, arrived }).await, Ok(true));
            }
        }
        all
    }
}

fn named_by_client(recipients: &[Recipient]) -> Vec<Mailbox> {
    let name = |r: &Recipient| r.original.clone().unwrap_or_else(|| r.address.clone());
    recipients.iter().map(name).collect()
}
