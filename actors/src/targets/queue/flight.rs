//! One attempt, from the lease to the target's hands.

use std::sync::Arc;

use actix::{Addr, AsyncContext, Context, Handler, Recipient};
use slog::{debug, error, info, warn};
use tokio::sync::watch;

use posthaste_edge::clock::dice;
use posthaste_edge::spool::{SpoolError, Taken};
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::admin::answer::Event;
use posthaste_mail::admin::request::Filter;
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::envelope::{Envelope, Route};
use posthaste_mail::outcome::{Cause, Failure, Outcome, Stage};
use posthaste_mail::queue::agenda::Refused;
use posthaste_mail::queue::amendment::{Amendment, Order};
use posthaste_mail::queue::lease::Lease;
use posthaste_mail::queue::ledger::{NotLeasable, Terms};
use posthaste_mail::queue::parking::Lot;
use posthaste_mail::queue::record::{BatchId, BatchRecord};
use posthaste_mail::queue::turns::Room;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::route::hosts::Means;
use posthaste_mail::time::Timestamp;

use crate::limits::{Permit, SharedLimits};
use crate::messages::delivery::{Busy, Deliver, Finished, Journal, Settled, Slot};
use crate::targets::queue::limited::{Leave, leave};
use crate::targets::queue::notice::Way;
use crate::targets::queue::{Deps, Flight, LEASE_SPAN, QueueActor};
use crate::task::spawn_reporting;

impl QueueActor {
    pub(super) fn take_off(
        &mut self,
        batch: BatchId,
        destination: DestinationKey,
        room: Room,
        slot: Slot,
        ctx: &mut Context<Self>,
    ) {
        self.state.serial += 1;
        let now = self.deps.clock.now();
        let (call_off, called_off) = watch::channel(false);
        let whereabouts = Whereabouts::default();
        let number = self.state.serial;
        let flight = Flight {
            number,
            destination,
            since: now,
            begun: tokio::time::Instant::now(),
            recipients: 0,
            attempt: 0,
            slot: Some(slot.clone()),
            call_off: Some(call_off),
            patient: room == Room::Patience,
            whereabouts: whereabouts.clone(),
            lease: None,
        };
        self.flies(batch, flight);
        let terms = Terms {
            boot: self.deps.boot.clone(),
            serial: self.state.serial,
            now,
            span: LEASE_SPAN,
        };
        let (deps, me) = (self.deps.clone(), ctx.address());
        let means = match room {
            Room::Slot => Means::Slot,
            Room::Patience => Means::Patience,
        };
        let place = (slot, means);
        let work = launch(deps, batch, terms, place, whereabouts, called_off, me.clone());
        spawn_reporting(&self.deps.runtime, work, move |end| {
            let end = end.unwrap_or_else(Launch::Grounded);
            me.do_send(Launched { batch, number, end });
        });
    }
}

/// How a launch ended.
enum Launch {
    /// The target has it; `Finished` will follow.
    Flying {
        recipients: usize,
        attempt: u32,
        lease: Lease,
        lots: Vec<Lot>,
    },
    NotNow(NotLeasable),
    /// A limit of the target's has no room.
    Limited(Refused),
    /// The batch is no longer in the spool.
    Gone,
    /// Nothing was started; the batch is where it was.
    Grounded(String),
    Broken(SpoolError),
}

async fn launch(
    deps: Deps,
    batch: BatchId,
    terms: Terms,
    (slot, means): (Slot, Means),
    whereabouts: Whereabouts,
    called_off: watch::Receiver<bool>,
    me: Addr<QueueActor>,
) -> Launch {
    // Before anything is written: a batch that has to wait stays as it is, and is no attempt.
    let Leave { permit, lots } = match leave(&deps, batch).await {
        Ok(leave) => leave,
        Err(refused) => return Launch::Limited(refused),
    };
    // `lease_before_packet`: the attempt is on disk before anybody looks anything up.
    let seed = dice().next_u64();
    let taken = match deps.spool.take(batch, terms, deps.plan.clone(), seed).await {
        Ok(Ok(taken)) => taken,
        Ok(Err(not)) => return Launch::NotNow(not),
        Err(SpoolError::NotFound) => return Launch::Gone,
        Err(error @ SpoolError::Broken(_)) => return Launch::Broken(error),
        Err(error) => return Launch::Grounded(error.to_string()),
    };
    let lease = taken.lease.clone();
    let flying = Launch::Flying {
        recipients: taken.recipients.len(),
        attempt: taken.batch.attempts,
        lease: lease.clone(),
        lots,
    };
    let indices: Vec<u32> = taken.recipients.iter().map(|(i, _)| *i).collect();
    if let Err((outcomes, fault)) =
        hand_over(&deps, taken, (slot, means, permit), whereabouts, called_off, &me, &indices).await
    {
        me.do_send(Finished { lease, outcomes, fault, last: None });
    }
    flying
}

type NotHanded = (Vec<(u32, Outcome)>, Option<Failure>);

async fn hand_over(
    deps: &Deps,
    taken: Taken,
    (slot, means, permit): (Slot, Means, Option<Permit>),
    whereabouts: Whereabouts,
    called_off: watch::Receiver<bool>,
    me: &Addr<QueueActor>,
    indices: &[u32],
) -> Result<(), NotHanded> {
    let all = |failure: Failure| {
        let outcomes = indices.iter().map(|i| (*i, failure.clone().outcome())).collect();
        (outcomes, None)
    };
    let id = taken.envelope.envelope.id;
    let body = match deps.spool.fresh_body(id) {
        Some(body) => Ok(Ok(body)),
        None => {
            let (spool, place) = (Arc::clone(&deps.spool), taken.envelope.body.clone());
            tokio::task::spawn_blocking(move || spool.body(id, &place)).await
        }
    };
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            warn!(deps.log, "body could not be opened"; "id" => %id, "cause" => %error);
            if let SpoolError::Damaged(_) = error {
                set_aside(deps, taken.lease.batch, &error).await;
            }
            // Nobody was asked, whatever it was: descriptors, the disk, damage.
            let text = format!("reading the message: {error}");
            return Err(all(Failure::new(Cause::OwnResources, text)));
        }
        Err(error) => return Err(all(Failure::new(Cause::Internal, error.to_string()))),
    };
    let recipient = taken.recipients.first().map(|(_, record)| &record.recipient.address);
    let route = route_of(&taken.batch, &taken.envelope.envelope);
    let Some(WayOut { deliver: target, name: target_name, .. }) = way_out(deps, &route, recipient)
    else {
        let missing = |text: String| Failure::new(Cause::TargetUnavailable, text);
        return Err(match &route {
            // Nobody was asked, and nobody but the operator can change it: that is no attempt, or it would end in a bounce.
            Route::Rerouted { target } => {
                let text =
                    format!("{target}, where this was rerouted to, is not in the configuration");
                let failure = missing(text);
                let postponed = |i: &u32| (*i, Outcome::Postponed(failure.clone()));
                (indices.iter().map(postponed).collect(), None)
            }
            Route::Target | Route::Bounce { .. } => {
                let text =
                    "the bounce pipeline no longer leads to where this notification was sent";
                all(missing(text.to_string()))
            }
        });
    };
    // The queue's own target, or the one an operator or the bounce pipeline chose.
    if deps.is_suspended(&target_name) {
        let text = format!("{target_name} panicked too often and is suspended");
        return Err(all(Failure::new(Cause::Suspended, text)));
    }
    let destination = taken.batch.destination.clone();
    let event = Event::Attempt {
        destination: destination.to_string(),
        attempt: taken.batch.attempts,
        recipients: taken.recipients.len() as u64,
    };
    deps.trace.note(&deps.name, id, event);
    whereabouts.enter(Phase::Delivering);
    let message = Deliver {
        attempt: taken.batch.attempts,
        envelope: Arc::new(Envelope { route, ..taken.envelope.envelope }),
        destination,
        recipients: taken.recipients.into_iter().map(|(i, r)| (i, r.recipient)).collect(),
        body,
        journal: Journal::new(Arc::clone(&deps.spool), taken.lease.batch),
        lease: taken.lease,
        slot,
        means,
        permit,
        whereabouts,
        called_off,
        settled_to: me.clone().recipient(),
        waiting_to: me.clone().recipient(),
        finished_to: me.clone().recipient(),
    };
    match target.send(message).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Busy(failure))) => Err(all(failure)),
        // The target fell over this message: that is a fault of ours, and counts, so that a poison message comes to an end.
        Err(error) => {
            let text = format!("target {target_name}: {error}");
            Err((Vec::new(), Some(Failure::new(Cause::Internal, text))))
        }
    }
}

/// A message whose body is damaged or missing is held: nobody can be sent it, and whether it is to fail is the operator's to say.
async fn set_aside(deps: &Deps, batch: BatchId, why: &SpoolError) {
    error!(deps.log, "message set aside, its body cannot be read"; "id" => %batch.envelope,
        "batch" => %batch, "cause" => %why);
    let hold = Amendment::Hold { reason: why.to_string(), by: DAMAGE.to_string() };
    let order = Arc::new(Order { what: hold, which: Filter::default() });
    if let Err(error) = deps.spool.amend(batch, order, deps.clock.now()).await {
        warn!(deps.log, "message could not be held"; "batch" => %batch, "cause" => %error);
    }
}

/// Who holds what cannot be read; `posthaste queue release` has it tried again.
const DAMAGE: &str = "damage";

/// Where a batch goes: as its envelope says, or an operator.
pub(super) fn route_of(batch: &BatchRecord, envelope: &Envelope) -> Route {
    match &batch.rerouted {
        Some(target) => Route::Rerouted { target: target.clone() },
        None => envelope.route.clone(),
    }
}

/// A target, with what its `limits` are.
pub(super) struct WayOut {
    pub deliver: Recipient<Deliver>,
    pub name: String,
    pub limits: Option<SharedLimits>,
}

/// The queue's target, the one an operator chose, or for a notification the one its pipeline chose. When that one is gone from the configuration, or has another
/// name there, the pipeline is asked again.
pub(super) fn way_out(deps: &Deps, route: &Route, recipient: Option<&Mailbox>) -> Option<WayOut> {
    let of = |way: &Way| WayOut {
        deliver: way.deliver.clone(),
        name: way.name.clone(),
        limits: way.limits.clone(),
    };
    let name = match route {
        Route::Target => {
            return Some(WayOut {
                deliver: deps.target.clone(),
                name: deps.target_name.clone(),
                limits: deps.limits.clone(),
            });
        }
        Route::Rerouted { target } => {
            return deps.exits.iter().find(|way| way.name == *target).map(of);
        }
        Route::Bounce { target } => target,
    };
    let ways = deps.bounce.as_ref()?;
    let named = ways.ways.iter().flatten().find(|way| way.name == *name);
    let way = named.or_else(|| {
        let mut transaction = ways.bounce.pipeline.start(&ReversePath::Null).ok()?;
        let hop = transaction.route(recipient?).ok()?.into_iter().next()?;
        ways.ways.get(hop.target.0)?.as_ref()
    })?;
    Some(of(way))
}

/// Launch -> Queue.
struct Launched {
    batch: BatchId,
    number: u64,
    end: Launch,
}

impl actix::Message for Launched {
    type Result = ();
}

impl Handler<Launched> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Launched, ctx: &mut Context<Self>) {
        let Launched { batch, number, end } = message;
        if let Launch::Broken(error) = &end {
            self.broken(error);
        }
        let flight = self.state.flights.get_mut(&batch).filter(|flight| flight.number == number);
        // Over already, or of an earlier life; then the leases on disk tell of it.
        let Some(flight) = flight else { return };
        let refused = match end {
            Launch::Flying { recipients, attempt, lease, lots } => {
                flight.recipients = recipients;
                flight.attempt = attempt;
                flight.lease = Some(lease);
                if !lots.is_empty() {
                    self.state.agenda.granted(batch, lots, self.deps.clock.now());
                    self.pump(ctx);
                }
                return;
            }
            Launch::NotNow(NotLeasable::Abandoned(lease)) => {
                self.end_abandoned(lease, ctx);
                return self.pump(ctx);
            }
            Launch::Limited(refused) => refused,
            Launch::NotNow(NotLeasable::NotDue(due)) => Refused::NotDue(due),
            Launch::NotNow(not @ (NotLeasable::Leased | NotLeasable::Held)) => {
                debug!(self.deps.log, "not leasable"; "batch" => %batch, "why" => ?not);
                Refused::NotOurs
            }
            Launch::Gone | Launch::Broken(_) => Refused::NotOurs,
            Launch::Grounded(why) => {
                warn!(self.deps.log, "attempt could not begin"; "batch" => %batch, "cause" => why);
                Refused::Grounded
            }
        };
        self.lands(batch);
        self.state.agenda.refuse(batch, refused, self.deps.clock.now());
        self.pump(ctx);
    }
}

impl Handler<Settled> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Settled, _: &mut Context<Self>) {
        self.tell(message);
    }
}

impl QueueActor {
    /// One line for each recipient outcome.
    pub(super) fn tell(&self, settled: Settled) {
        let Settled { envelope, attempt, destination, outcomes, facts } = settled;
        let target = match &envelope.route {
            Route::Target => &self.deps.target_name,
            Route::Bounce { target } | Route::Rerouted { target } => target,
        };
        for (recipient, outcome) in outcomes {
            let (code, status, text, remote) = match &outcome {
                Outcome::Delivered(receipt) => {
                    (receipt.code, receipt.status, receipt.text.clone(), receipt.remote.clone())
                }
                Outcome::Deferred(f)
                | Outcome::Failed(f)
                | Outcome::Postponed(f)
                | Outcome::Unknown(f) => (f.code, Some(f.status), f.text.clone(), f.remote.clone()),
            };
            let waited = self.deps.clock.now().since(envelope.arrived);
            info!(self.deps.log, "{}", outcome.word();
                "id" => %envelope.id,
                "message_id" => &envelope.message_id,
                "from" => envelope.from.to_string(),
                "recipient" => &recipient,
                "target" => target,
                "mx" => remote.as_ref().map(|r| r.host.clone()),
                "address" => remote.as_ref().and_then(|r| r.address.clone()),
                "mx_level" => %facts.mx_level,
                "tls_level" => %facts.tls_level,
                "tls_version" => &facts.tls_version,
                "tls_cipher" => &facts.tls_cipher,
                "tls_err" => &facts.tls_error,
                "command" => outcome.failure().and_then(|f| f.cause.stage()).map(Stage::command),
                "code" => code,
                "status" => status.map(|s| s.to_string()),
                "reply" => text,
                "attempt" => attempt,
                "seconds_in_queue" => waited.as_secs_f64());
            let event = Event::Outcome {
                recipient,
                destination: destination.to_string(),
                attempt,
                outcome,
                facts: facts.clone(),
            };
            self.deps.trace.note(&self.deps.name, envelope.id, event);
        }
    }
}

/// What a flight that nobody reports on any more is ended with.
pub(super) fn interrupted(lease: &Lease, now: Timestamp) -> Failure {
    let text = if now >= lease.deadline {
        "the attempt did not end in time"
    } else {
        "the daemon ended while the attempt ran"
    };
    Failure::new(Cause::Interrupted, text)
}
