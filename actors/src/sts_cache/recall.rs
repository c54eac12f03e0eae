//! What the store has: read when the actor begins to live, and again if it could not be.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use slog::{debug, error, warn};

use posthaste_edge::sts_store::Loaded;
use posthaste_mail::sts::freshness;

use super::flight::Purpose;
use super::{Asker, MtaStsCacheActor};
use crate::task::spawn_reporting;

/// After this the store is read again when it could not be.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// The store -> StsCache: what is there.
pub(super) struct Remembered {
    life: u64,
    loaded: Result<Loaded, String>,
}

impl Message for Remembered {
    type Result = ();
}

impl MtaStsCacheActor {
    pub(super) fn load(&self, ctx: &mut Context<Self>) {
        let (life, loading, cache) = (self.deps.life, self.deps.keeper.load(), ctx.address());
        spawn_reporting(&self.deps.runtime, loading, move |end| {
            let loaded = match end {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(_)) => Err("the store has ended".to_string()),
                Err(panic) => Err(panic),
            };
            cache.do_send(Remembered { life, loaded });
        });
    }
}

impl Handler<Remembered> for MtaStsCacheActor {
    type Result = ();

    fn handle(&mut self, message: Remembered, ctx: &mut Context<Self>) {
        if message.life != self.deps.life {
            return;
        }
        let now = self.deps.clock.now();
        match message.loaded {
            Ok(Loaded { mut entries, ignored }) => {
                // If there are too many, those used last are to stay.
                entries.sort_by_key(|(_, entry)| entry.last_used);
                for why in ignored {
                    warn!(self.deps.log, "file in the MTA-STS cache ignored"; "cause" => why);
                }
                for (domain, entry) in entries {
                    // Where it could not be read at first, a newer one may have been fetched.
                    let known = self.state.shelf.get(&domain);
                    if known.is_some_and(|known| known.fetched >= entry.fetched) {
                        continue;
                    }
                    let at = freshness::refresh_at_start(&entry, now, &mut self.deps.dice);
                    self.state.refreshes.set(&domain, at);
                    for leaving in self.state.shelf.put(domain, Arc::new(entry)) {
                        self.drop_all_of(&leaving, ctx);
                    }
                }
                debug!(self.deps.log, "MTA-STS cache read"; "policies" => self.state.shelf.len());
            }
            Err(why) => {
                self.state.counts.store_faults += 1;
                // Nobody waits for a disk. But a policy that is there holds, whatever becomes of its host, so it is looked for again.
                self.state.read_again = Some(now.plus(READ_AGAIN));
                error!(self.deps.log, "MTA-STS cache cannot be read, policies are fetched anew";
                    "cause" => why);
            }
        }
        self.state.loaded = true;
        for (domain, asker) in std::mem::take(&mut self.state.early) {
            match asker {
                Asker::Delivery(to) => self.look_up(domain, to, ctx),
                asker @ Asker::Operator(_) => {
                    self.start(domain, Purpose::Refresh, Some(asker), ctx);
                }
            }
        }
    }
}
