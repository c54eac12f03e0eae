//! Notifications to senders: made in the transaction that marks their recipients failed, stored in this queue, delivered by the
//! `bounce` pipeline's choice.

use std::sync::{Arc, Mutex, PoisonError};

use actix::Recipient as Address;
use slog::{Logger, info, warn};

use posthaste_edge::body::Body;
use posthaste_edge::spool::{Ending, Notices};
use posthaste_mail::address::ReversePath;
use posthaste_mail::bounce::{Event, GaveUp, Notice, Original, Report, Reporter, render};
use posthaste_mail::dice::Dice;
use posthaste_mail::envelope::{Envelope, EnvelopeId, Notify, Origin, Recipient, Route};
use posthaste_mail::queue::ledger::End;
use posthaste_mail::queue::record::Accepted;
use posthaste_mail::route::destination::{DestinationKey, Splitting};
use posthaste_mail::time::Timestamp;

use crate::messages::delivery::Deliver;
use crate::targets::queue::accept::split;
use crate::targets::queue::settings::Bounce;

/// A target of the `bounce` pipeline.
#[derive(Clone)]
pub struct Way {
    pub name: String,
    pub deliver: Address<Deliver>,
    pub splitting: Splitting,
    /// The pipeline leads back to this very queue.
    pub own: bool,
}

#[derive(Clone)]
pub struct Ways {
    pub bounce: Bounce,
    /// By `Exit`.
    pub ways: Vec<Option<Way>>,
}

/// Notifications that were made, for the schedule once they are stored.
pub type Made = Arc<Mutex<Vec<(EnvelopeId, Timestamp, Vec<DestinationKey>)>>>;

/// What the writing of notifications needs, brought together before the transaction.
pub struct Writer {
    pub ways: Ways,
    /// The header of the failed message, or all of it.
    pub original: Vec<u8>,
    pub whole: bool,
    pub now: Timestamp,
    pub dice: Dice,
    pub log: Logger,
    pub made: Made,
}

impl Writer {
    pub fn notices(mut self) -> Notices {
        Box::new(move |ending| self.write(&ending))
    }

    fn write(&mut self, ending: &Ending<'_>) -> Vec<(Accepted, Body)> {
        let envelope = &ending.envelope.envelope;
        let attempts = ending.settlement.attempts;
        let reports: Vec<Report<'_>> = ending
            .settlement
            .ended
            .iter()
            .filter_map(|ended| {
                let End::Failed { failure, gave_up } = &ended.end else { return None };
                let record = ending.recipients.iter().find(|(i, _)| *i == ended.index)?;
                let recipient = &record.1.recipient;
                wants_failure(recipient).then(|| Report {
                    recipient,
                    event: Event::Failed {
                        failure,
                        gave_up: gave_up
                            .then(|| GaveUp { attempts, after: self.now.since(envelope.arrived) }),
                    },
                    last_attempt: Some(self.now),
                })
            })
            .collect();
        let original = if self.whole {
            Original::Content(&self.original)
        } else {
            Original::Header(&self.original)
        };
        let notice = Notice { envelope, reports: &reports, original };
        let reporter =
            Reporter { hostname: &self.ways.bounce.hostname, domain: &self.ways.bounce.domain };
        let id = EnvelopeId::new(self.now, &mut self.dice);
        // `null_sender_never_bounces`: nothing is rendered for it.
        let Some(notification) = render(&notice, reporter, id, self.now, &mut self.dice) else {
            return Vec::new();
        };
        let hops = self.ways.bounce.pipeline.start(&ReversePath::Null);
        let hops = hops.and_then(|mut transaction| transaction.route(&notification.to));
        let hops = match hops {
            Ok(hops) => hops,
            Err(refusal) => {
                warn!(self.log, "notification not sent: the bounce pipeline refuses its recipient";
                    "id" => %envelope.id, "recipient" => %notification.to,
                    "code" => refusal.code, "text" => &refusal.text,
                    "rule" => refusal.rule.as_ref().map(ToString::to_string));
                return Vec::new();
            }
        };
        let body = Body::memory(notification.content);
        let mut stored = Vec::new();
        for (place, hop) in hops.into_iter().enumerate() {
            let Some(Some(way)) = self.ways.ways.get(hop.target.0) else { continue };
            let id = if place == 0 { id } else { EnvelopeId::new(self.now, &mut self.dice) };
            let notice = Envelope {
                id,
                from: ReversePath::Null,
                flags: notification.flags,
                ret: None,
                envid: None,
                origin: Origin::default(),
                arrived: self.now,
                size: body.len(),
                message_id: Some(notification.message_id.clone()),
                route: if way.own {
                    Route::Target
                } else {
                    Route::Bounce { target: way.name.clone() }
                },
            };
            let batches = split(&way.splitting, vec![Recipient::new(hop.recipient)]);
            let keys = batches.iter().map(|(key, _)| key.clone()).collect();
            info!(self.log, "notification made"; "id" => %envelope.id, "dsn_id" => %id,
                "recipient" => %notification.to, "way" => &way.name);
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push((id, self.now, keys));
            stored.push((Accepted { envelope: notice, batches, undecided: false }, body.clone()));
        }
        stored
    }
}

/// RFC 3461 §4.1: without NOTIFY failures are reported.
fn wants_failure(recipient: &Recipient) -> bool {
    match recipient.notify {
        None => true,
        Some(Notify::Never) => false,
        Some(Notify::On { failure, .. }) => failure,
    }
}
