//! What this queue knows of sites, across restarts: read once at the start, written now and then.

use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use slog::warn;

use posthaste_mail::queue::site::Site;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

use crate::targets::queue::QueueActor;

/// Between two writes.
const EVERY: Duration = Duration::from_secs(10);
/// A disk that takes longer keeps no mail waiting: a few dials are the price.
const PATIENCE: Duration = Duration::from_secs(5);

impl QueueActor {
    fn section(&self) -> String {
        format!("sites of {}", self.deps.name)
    }

    /// What earlier lives have learned comes as a message. Before it nobody is dialled.
    pub(super) fn recall_sites(&self, ctx: &mut Context<Self>) {
        let (hints, section) = (self.deps.hints.clone(), self.section());
        let (life, me, log) = (self.state.life, ctx.address(), self.deps.log.clone());
        self.deps.runtime.spawn_blocking(move || {
            // What a later version wrote and we cannot read is left out.
            let read = |(key, value): (Vec<u8>, Vec<u8>)| {
                Some((serde_json::from_slice(&key).ok()?, serde_json::from_slice(&value).ok()?))
            };
            let (entries, wrong) = hints.load(&section);
            if let Some(why) = wrong {
                warn!(log, "not all that was known of sites could be read"; "cause" => why);
            }
            let sites = entries.into_iter().filter_map(read).collect();
            me.do_send(Recalled { life, sites });
        });
        ctx.run_later(PATIENCE, move |queue, ctx| {
            if queue.state.life == life && !std::mem::replace(&mut queue.state.recalled, true) {
                warn!(queue.deps.log, "nothing is known of sites yet, going on without");
                queue.pump(ctx);
            }
        });
    }

    /// Writes what has changed, if it was not just done.
    pub(super) fn remember_sites(&mut self, now: Timestamp) {
        let clock_was_set_back = self.state.remembered > now;
        if clock_was_set_back || now.since(self.state.remembered) >= EVERY {
            self.write_sites(now);
        }
    }

    pub(super) fn write_sites(&mut self, now: Timestamp) {
        self.state.remembered = now;
        let changes = self.state.agenda.site_changes();
        if changes.is_empty() {
            return;
        }
        let (hints, section, log) =
            (self.deps.hints.clone(), self.section(), self.deps.log.clone());
        self.deps.runtime.spawn_blocking(move || {
            let written = |(key, site): (DestinationKey, Option<Site>)| {
                let site = site.map(|site| serde_json::to_vec(&site)).transpose();
                Some((serde_json::to_vec(&key).ok()?, site.ok()?))
            };
            let changes = changes.into_iter().filter_map(written).collect();
            if let Err(why) = hints.store(&section, changes) {
                warn!(log, "what is known of sites could not be written"; "cause" => why);
            }
        });
    }
}

/// Disk -> Queue: sites as an earlier life knew them.
struct Recalled {
    life: u64,
    sites: Vec<(DestinationKey, Site)>,
}

impl Message for Recalled {
    type Result = ();
}

impl Handler<Recalled> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Recalled, ctx: &mut Context<Self>) {
        if message.life != self.state.life {
            return;
        }
        self.state.recalled = true;
        let now = self.deps.clock.now();
        self.state.agenda.recall_sites(message.sites, now);
        self.pump(ctx);
    }
}
