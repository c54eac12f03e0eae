//! Notifications to senders: made in the transaction that settles what they tell of, stored in this queue, delivered by the `bounce`
//! pipeline's choice.
//!
//! The pipeline is asked before the transaction: a table that does not answer now is no reason to lose a notification.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Recipient as Address;

use posthaste_edge::body::Body;
use posthaste_edge::spool::{Ending, Notices};
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::bounce::news::reports;
use posthaste_mail::bounce::{Notice, Original, Reporter, render};
use posthaste_mail::dice::Dice;
use posthaste_mail::envelope::{Envelope, EnvelopeId, Origin, Recipient, Route};
use posthaste_mail::pipeline::Refusal;
use posthaste_mail::queue::record::Accepted;
use posthaste_mail::route::destination::{DestinationKey, Splitting};
use posthaste_mail::time::Timestamp;

use crate::limits::SharedLimits;
use crate::messages::delivery::Deliver;
use crate::servers::SharedServers;
use crate::targets::queue::accept::split;
use crate::targets::queue::settings::Bounce;

/// A target of the `bounce` pipeline.
#[derive(Clone)]
pub struct Way {
    pub name: String,
    pub deliver: Address<Deliver>,
    pub splitting: Splitting,
    /// `limits` of this target.
    pub limits: Option<SharedLimits>,
    /// Of a forwarder.
    pub servers: Option<Arc<SharedServers>>,
    /// The pipeline leads back to this very queue.
    pub own: bool,
}

#[derive(Clone)]
pub struct Ways {
    pub bounce: Bounce,
    /// By `Exit`.
    pub ways: Vec<Option<Way>>,
}

impl Ways {
    /// Where the pipeline sends a notification for this sender.
    pub fn route(&self, to: &Mailbox) -> Result<Vec<(Way, Mailbox)>, Refusal> {
        let hops = self.bounce.pipeline.start(&ReversePath::Null)?.route(to)?;
        let way = |target: usize| self.ways.get(target).cloned().flatten();
        Ok(hops.into_iter().filter_map(|hop| Some((way(hop.target.0)?, hop.recipient))).collect())
    }
}

/// What came of the writing, for the log and the schedule once it is stored.
#[derive(Default)]
pub struct Made {
    pub notes: Vec<Note>,
    /// Somebody should have been told, and the pipeline has no way to them.
    pub refused: Option<String>,
    /// The writing began and did not come to its end: it panicked.
    pub unfinished: bool,
}

/// A notification that was made.
pub struct Note {
    pub id: EnvelopeId,
    pub to: String,
    pub way: String,
    /// `failed delayed`: the events it tells of.
    pub tells: String,
    pub due: Timestamp,
    pub destinations: Vec<DestinationKey>,
}

/// What the writing of notifications needs, brought together before the transaction.
pub struct Writer {
    pub ways: Arc<Ways>,
    /// What `Ways::route` said for the sender.
    pub routed: Result<Vec<(Way, Mailbox)>, Refusal>,
    /// The header of the message, or all of it.
    pub original: Vec<u8>,
    pub whole: bool,
    pub now: Timestamp,
    pub dice: Dice,
    pub made: Arc<Mutex<Made>>,
}

impl Writer {
    pub fn notices(mut self) -> Notices {
        Box::new(move |ending| {
            self.made().unfinished = true;
            let written = self.write(&ending);
            self.made().unfinished = false;
            written
        })
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&mut self, ending: &Ending<'_>) -> Vec<(Accepted, Body)> {
        let envelope = &ending.envelope.envelope;
        let reports = reports(envelope, ending.settlement, &ending.recipients, self.now);
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
        let routed = match &self.routed {
            Ok(routed) if routed.is_empty() => {
                self.made().refused = Some("the bounce pipeline leads nowhere".to_string());
                return Vec::new();
            }
            Ok(routed) => routed.clone(),
            Err(refusal) => {
                self.made().refused = Some(told(refusal));
                return Vec::new();
            }
        };
        let body = Body::memory(notification.content);
        let tells: Vec<&str> = reports.iter().map(|report| report.event.word()).collect();
        let mut stored = Vec::new();
        for (place, (way, recipient)) in routed.into_iter().enumerate() {
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
            let batches = split(&way.splitting, vec![Recipient::new(recipient)]);
            self.made().notes.push(Note {
                id,
                to: notification.to.to_string(),
                way: way.name,
                tells: tells.join(" "),
                due: self.now,
                destinations: batches.iter().map(|(key, _)| key.clone()).collect(),
            });
            stored.push((Accepted { envelope: notice, batches, undecided: false }, body.clone()));
        }
        stored
    }
}

/// A refusal for the log, with the rule that made it.
pub fn told(refusal: &Refusal) -> String {
    let rule = refusal.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default();
    let detail = refusal.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{} {} {}{detail}{rule}", refusal.code, refusal.enhanced, refusal.text)
}
