//! Limits of the way out: asked before an attempt is written down, so that a batch without leave stays in the schedule as it is.
//!
//! Who has no leave waits without a slot, a worker or a write to disk: with its destination, or parked by whose limit it is
//! (`posthaste_mail::queue::parking`). The leave is held until the attempt is over.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, WrapFuture};

use posthaste_mail::address::{Host, ReversePath};
use posthaste_mail::envelope::Envelope;
use posthaste_mail::limit::{Scope, Wait, Who};
use posthaste_mail::queue::agenda::{Limited, Refused};
use posthaste_mail::queue::parking::Lot;
use posthaste_mail::queue::record::BatchId;

use crate::limits::{Permit, SharedLimits};
use crate::targets::queue::flight::{route_of, way_out};
use crate::targets::queue::{Deps, QueueActor};

/// Releases are told of in groups.
const GROUP: Duration = Duration::from_millis(20);

/// Leave to begin, and what else may have room because of it.
#[derive(Default)]
pub(super) struct Leave {
    pub permit: Option<Permit>,
    pub lots: Vec<Lot>,
}

/// Asks the limits of the target that this batch would go to.
pub(super) async fn leave(deps: &Deps, batch: BatchId) -> Result<Leave, Refused> {
    if all_limits(deps).next().is_none() {
        return Ok(Leave::default());
    }
    let spool = Arc::clone(&deps.spool);
    let stored = tokio::task::spawn_blocking(move || spool.load_batch(batch)).await;
    // What cannot be read is told of by whoever takes the batch.
    let Ok(Ok(Some(stored))) = stored else { return Ok(Leave::default()) };
    let envelope = &stored.envelope.envelope;
    let route = route_of(&stored.batch, envelope);
    let recipient = stored.recipients.first().map(|(_, record)| &record.recipient.address);
    let Some(way) = way_out(deps, &route, recipient) else { return Ok(Leave::default()) };
    let Some(limits) = way.limits else { return Ok(Leave::default()) };
    let destination = stored.batch.destination.to_string();
    let who = who(envelope, &destination);
    let lot = |scope| lot(&way.name, scope, &who);
    match limits.try_acquire(&who, &deps.clock) {
        Ok(permit) => {
            let lots = [Scope::All, Scope::Ip, Scope::Source].into_iter().map(lot);
            Ok(Leave { permit: Some(permit), lots: lots.collect() })
        }
        Err(Wait { scope, until }) => {
            let by = match scope {
                Scope::Destination => Limited::Destination,
                Scope::All | Scope::Ip | Scope::Source => Limited::Other(lot(scope)),
            };
            Err(Refused::Limited { by, until })
        }
    }
}

/// Addresses "as observed when the message exits the server" (the manual, `limits`): those of the envelope, after all rewriting.
fn who<'a>(envelope: &'a Envelope, destination: &'a str) -> Who<'a> {
    let source = match &envelope.from {
        ReversePath::Mailbox(sender) => match sender.host() {
            Host::Domain(domain) => Some(domain.ascii()),
            Host::Literal(_) | Host::Unqualified => None,
        },
        ReversePath::Null => None,
    };
    Who { ip: envelope.origin.address, source, destination: Some(destination) }
}

fn lot(target: &str, scope: Scope, who: &Who<'_>) -> Lot {
    let key = match scope {
        Scope::Ip => who.ip.map(|ip| ip.to_string()),
        Scope::Source => Some(who.source.unwrap_or("<>").to_string()),
        Scope::All | Scope::Destination => None,
    };
    Lot::new(&match key {
        Some(key) => format!("{scope} {key} of {target}"),
        None => format!("{scope} of {target}"),
    })
}

/// The accounts that batches of this queue may come under, each once.
fn all_limits(deps: &Deps) -> impl Iterator<Item = &SharedLimits> {
    let ways = deps.bounce.iter().flat_map(|ways| ways.ways.iter().flatten());
    let others = ways.chain(deps.exits.iter()).filter_map(|way| way.limits.as_ref());
    deps.limits.iter().chain(others)
}

/// Limits -> Queue: somebody, perhaps of another queue, has given back.
struct Released {
    life: u64,
}

impl actix::Message for Released {
    type Result = ();
}

impl QueueActor {
    /// Who shares limits with others hears of what they give back.
    pub(super) fn hear_of_limits(&self, ctx: &mut Context<Self>) {
        let mut heard: Vec<SharedLimits> = Vec::new();
        for limits in all_limits(&self.deps) {
            if !heard.iter().any(|known| known.is(limits)) {
                heard.push(limits.clone());
            }
        }
        for limits in heard {
            let (me, life) = (ctx.address(), self.state.life);
            let hearing = async move {
                limits.tell_releases(GROUP, || me.do_send(Released { life })).await;
            };
            // It ends with this life of the actor.
            ctx.spawn(hearing.into_actor(self));
        }
    }
}

impl Handler<Released> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Released, ctx: &mut Context<Self>) {
        if message.life == self.state.life {
            self.state.agenda.released(self.deps.clock.now());
            self.pump(ctx);
        }
    }
}
