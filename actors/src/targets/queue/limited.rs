//! Limits of the way out: asked before an attempt is written down, so that a batch without leave stays in the schedule as it is.
//!
//! Who has no leave waits without a slot, a worker or a write to disk: with its destination, or parked by whose limit it is
//! (`posthaste_mail::queue::parking`). The leave is held until the attempt is over.

use std::net::IpAddr;
use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::broadcast::error::RecvError;

use posthaste_mail::address::{Host, ReversePath};
use posthaste_mail::envelope::Envelope;
use posthaste_mail::limit::{Scope, Wait, Who};
use posthaste_mail::queue::agenda::{Limited, Refused};
use posthaste_mail::queue::parking::Lot;
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::route::destination::DestinationKey;

use crate::limits::{Freed, Permit, SharedLimits};
use crate::targets::queue::flight::{route_of, way_out};
use crate::targets::queue::{Deps, QueueActor};

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
        // As the account counts: whoever is unknown is this machine.
        Scope::Ip => {
            who.ip.map_or(IpAddr::from([127, 0, 0, 1]), |ip| ip.to_canonical()).to_string()
        }
        Scope::Source => who.source.unwrap_or_default().to_string(),
        Scope::All | Scope::Destination => String::new(),
    };
    lot_of(target, scope, &key)
}

/// By the key as the account knows it.
fn lot_of(target: &str, scope: Scope, key: &str) -> Lot {
    Lot::new(&match (scope, key) {
        (Scope::All | Scope::Destination, _) => format!("{scope} of {target}"),
        (Scope::Source, "") => format!("{scope} <> of {target}"),
        (Scope::Ip | Scope::Source, key) => format!("{scope} {key} of {target}"),
    })
}

/// The accounts that batches of this queue may come under, by the targets that have them.
fn all_limits(deps: &Deps) -> impl Iterator<Item = (&str, &SharedLimits)> {
    let own = deps.limits.as_ref().map(|limits| (deps.target_name.as_str(), limits));
    let ways = deps.bounce.iter().flat_map(|ways| ways.ways.iter().flatten());
    let others = ways.chain(deps.exits.iter());
    let others = others.filter_map(|way| Some((way.name.as_str(), way.limits.as_ref()?)));
    own.into_iter().chain(others)
}

/// Limits -> Queue: places were given back, perhaps by another queue.
struct Released {
    life: u64,
    /// Targets that share the account.
    targets: Arc<[String]>,
    /// `None`: some were missed.
    freed: Option<Freed>,
}

impl actix::Message for Released {
    type Result = ();
}

impl QueueActor {
    /// Who shares limits with others hears of what they give back.
    pub(super) fn hear_of_limits(&self, ctx: &mut Context<Self>) {
        let mut accounts: Vec<(SharedLimits, Vec<String>)> = Vec::new();
        for (target, limits) in all_limits(&self.deps) {
            match accounts.iter_mut().find(|(known, _)| known.is(limits)) {
                Some((_, targets)) if targets.iter().any(|known| known == target) => {}
                Some((_, targets)) => targets.push(target.to_string()),
                None => accounts.push((limits.clone(), vec![target.to_string()])),
            }
        }
        for (limits, targets) in accounts {
            let (me, life, targets) = (ctx.address(), self.state.life, Arc::from(targets));
            let mut places = limits.freed();
            let hearing = async move {
                loop {
                    let freed = match places.recv().await {
                        Ok(freed) => Some(freed),
                        Err(RecvError::Lagged(_)) => None,
                        Err(RecvError::Closed) => return,
                    };
                    me.do_send(Released { life, targets: Arc::clone(&targets), freed });
                }
            };
            // It ends with this life of the actor.
            ctx.spawn(hearing.into_actor(self));
        }
    }
}

impl Handler<Released> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Released, ctx: &mut Context<Self>) {
        if message.life != self.state.life {
            return;
        }
        let now = self.deps.clock.now();
        let Some(freed) = message.freed else {
            self.state.agenda.released_some(now);
            return self.pump(ctx);
        };
        for (scope, key) in freed.iter() {
            let destination = match scope {
                Scope::Destination => DestinationKey::parse(key),
                Scope::All | Scope::Ip | Scope::Source => None,
            };
            let lots: Vec<Lot> = match scope {
                Scope::Destination => Vec::new(),
                Scope::All | Scope::Ip | Scope::Source => {
                    message.targets.iter().map(|target| lot_of(target, *scope, key)).collect()
                }
            };
            self.state.agenda.released(destination.as_ref(), &lots, now);
        }
        self.pump(ctx);
    }
}
