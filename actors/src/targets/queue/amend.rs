//! What an operator changes, one or a hundred thousand batches at a time.
//!
//! A task walks through the spool page by page and hands every batch that matches to the spool, some hundreds before the first has
//! answered; the spool decides on each as it is then. The actor is told page by page, so that what it holds in memory follows the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Addr, AsyncContext, Context, Handler, Message, ResponseFuture};
use slog::info;
use tokio::task::JoinSet;

use posthaste_edge::clock::dice;
use posthaste_edge::spool::{Notices, SpoolError, Ticket};
use posthaste_mail::admin::answer::{Affected, Event};
use posthaste_mail::admin::request::{Filter, Verb};
use posthaste_mail::queue::amendment::{Amended, Amendment, Kept, Order, Reroute};
use posthaste_mail::queue::ledger::{Finish, may_finish};
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

use crate::messages::admin::{Act, Unable};
use crate::targets::queue::notice::Made;
use crate::targets::queue::operator::{Found, page};
use crate::targets::queue::settle::{Unsettled, Written, look, writer};
use crate::targets::queue::{Deps, QueueActor};
use crate::task::caught;

/// Changes handed to the spool before the first of them has answered: enough for large groups, and all that is kept in memory.
const IN_FLIGHT: usize = 512;
/// Batches being ended at a time: each has its message read, and a notification made.
const ENDING: usize = 64;

impl Handler<Act> for QueueActor {
    type Result = ResponseFuture<Result<Affected, Unable>>;

    fn handle(&mut self, message: Act, ctx: &mut Context<Self>) -> Self::Result {
        let Act { act, by } = message;
        let order = match Wish::of(&self.deps, &act.verb, &act.filter, &by) {
            Ok(order) => order,
            Err(unable) => return Box::pin(async { Err(unable) }),
        };
        let me = ctx.address();
        let round = Round {
            deps: self.deps.clone(),
            me,
            act: act.verb.done(),
            by,
            wish: order,
            affected: Affected::default(),
            moved: HashMap::new(),
            revived: HashSet::new(),
        };
        // It goes on when the operator does not wait for the answer.
        let run = self.deps.runtime.spawn(round.run(act.filter, act.count_only));
        Box::pin(async move { run.await.unwrap_or_else(|e| Err(Unable::Fault(e.to_string()))) })
    }
}

/// The order as the spool takes it.
enum Wish {
    Amend(Arc<Order<Amendment>>),
    Finish(Arc<Order<Finish>>),
}

impl Wish {
    fn of(deps: &Deps, verb: &Verb, filter: &Filter, by: &str) -> Result<Wish, Unable> {
        let amend = |what| Ok(Wish::Amend(Arc::new(Order { what, which: filter.without_ids() })));
        let finish = |what| Ok(Wish::Finish(Arc::new(Order { what, which: filter.without_ids() })));
        match verb {
            Verb::Retry => amend(Amendment::Retry),
            Verb::Release => amend(Amendment::Release),
            Verb::Hold { because } => {
                amend(Amendment::Hold { reason: because.clone(), by: by.to_string() })
            }
            Verb::Fail => finish(Finish::Fail),
            Verb::Drop => finish(Finish::Drop),
            Verb::Reroute { target } => {
                let way = deps.exits.iter().find(|way| way.name == *target);
                let way = way.ok_or_else(|| Unable::Refused(format!("no target {target}")))?;
                if way.own {
                    let text = format!("queue {target} cannot be rerouted to itself");
                    return Err(Unable::Refused(text));
                }
                amend(Amendment::Reroute(Reroute {
                    target: target.clone(),
                    splitting: way.splitting.clone(),
                    own: deps.target_name.clone(),
                }))
            }
        }
    }

    /// What would be done to a batch as it was found.
    fn would(&self, found: &Found, now: Timestamp) -> Result<(), Kept> {
        match self {
            Wish::Amend(order) => order.what.apply(&found.record, &found.route, now).map(drop),
            Wish::Finish(_) => may_finish(&found.record),
        }
    }
}

/// One walk through the spool.
struct Round {
    deps: Deps,
    me: Addr<QueueActor>,
    /// The verb, as what was done.
    act: &'static str,
    by: String,
    wish: Wish,
    affected: Affected,
    /// What the actor has to be told: where the schedule has these batches now.
    moved: HashMap<BatchId, Option<Timestamp>>,
    /// Destinations that are to be tried, whatever is known of them.
    revived: HashSet<DestinationKey>,
}

type Pending = (BatchId, DestinationKey, Ticket<Amended>);
type Finished = (BatchId, Result<Result<(), Kept>, Unsettled>);

impl Round {
    async fn run(mut self, filter: Filter, count_only: bool) -> Result<Affected, Unable> {
        let (mut pending, mut ending) = (VecDeque::new(), JoinSet::new());
        let mut after = None;
        loop {
            let (spool, which) = (Arc::clone(&self.deps.spool), filter.clone());
            let now = self.deps.clock.now();
            let read = tokio::task::spawn_blocking(move || page(&*spool, &which, after, now));
            let found = read.await.map_err(|e| Unable::Fault(e.to_string()))?;
            let found = found.map_err(|e| Unable::Fault(e.to_string()))?;
            for found in found.lines {
                self.affected.matched += 1;
                if count_only {
                    let would = self.wish.would(&found, now);
                    self.count(would);
                    continue;
                }
                match &self.wish {
                    Wish::Amend(order) => {
                        let ticket = self.deps.spool.amend(found.batch, Arc::clone(order), now);
                        let destination = found.record.destination;
                        pending.push_back((found.batch, destination, ticket));
                    }
                    Wish::Finish(order) => {
                        let (deps, order) = (self.deps.clone(), Arc::clone(order));
                        let told = Told {
                            me: self.me.clone(),
                            act: self.act,
                            by: self.by.clone(),
                            destination: found.record.destination.to_string(),
                        };
                        ending.spawn(finish(deps, found.batch, order, told));
                    }
                }
                self.wait(&mut pending, IN_FLIGHT).await?;
                self.join(&mut ending, ENDING).await?;
            }
            self.tell();
            match found.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.wait(&mut pending, 0).await?;
        self.join(&mut ending, 0).await?;
        self.tell();
        Ok(self.affected)
    }

    /// Waits until no more than `most` are on their way.
    async fn wait(&mut self, pending: &mut VecDeque<Pending>, most: usize) -> Result<(), Unable> {
        while pending.len() > most
            && let Some((batch, destination, ticket)) = pending.pop_front()
        {
            match ticket.await {
                Ok(Amended { end, scheduled }) => {
                    self.count(end);
                    self.amended(batch, destination, end, scheduled);
                }
                Err(error) => self.failed(error.into())?,
            }
        }
        Ok(())
    }

    async fn join(&mut self, ending: &mut JoinSet<Finished>, most: usize) -> Result<(), Unable> {
        while ending.len() > most
            && let Some(ended) = ending.join_next().await
        {
            match ended {
                Ok((_, Ok(end))) => self.count(end),
                Ok((_, Err(error))) => self.failed(error)?,
                Err(error) => self.failed(Unsettled::Panicked(error.to_string()))?,
            }
        }
        Ok(())
    }

    fn count(&mut self, end: Result<(), Kept>) {
        match end {
            Ok(()) => self.affected.changed += 1,
            Err(Kept::Delivering) => self.affected.delivering += 1,
            Err(Kept::AsItWas | Kept::Unmatched) => {}
        }
    }

    /// One batch could not be changed; a broken spool ends the round.
    fn failed(&mut self, error: Unsettled) -> Result<(), Unable> {
        match error {
            // It came to its end meanwhile, or nobody means it any more.
            Unsettled::Spool(SpoolError::NotFound) => Ok(()),
            Unsettled::Spool(SpoolError::Broken(why)) => Err(Unable::Fault(why)),
            error @ (Unsettled::Spool(
                SpoolError::Full
                | SpoolError::Damaged(_)
                | SpoolError::Locked(_)
                | SpoolError::Io(_),
            )
            | Unsettled::NoWay(_)
            | Unsettled::Panicked(_)) => {
                self.affected.failed += 1;
                self.affected.why.get_or_insert_with(|| error.to_string());
                Ok(())
            }
        }
    }

    fn amended(
        &mut self,
        batch: BatchId,
        destination: DestinationKey,
        end: Result<(), Kept>,
        scheduled: Option<Timestamp>,
    ) {
        let Wish::Amend(order) = &self.wish else { return };
        let text = match &order.what {
            // What is due already is looked for, wherever it is.
            Amendment::Retry if end.is_ok() || end == Err(Kept::AsItWas) => {
                self.moved.insert(batch, scheduled);
                if scheduled.is_some() {
                    self.revived.insert(destination.clone());
                }
                String::new()
            }
            Amendment::Retry | Amendment::Release => String::new(),
            Amendment::Hold { reason, .. } => reason.clone(),
            Amendment::Reroute(reroute) => reroute.target.clone(),
        };
        if end.is_err() {
            return;
        }
        self.moved.insert(batch, scheduled);
        let (me, by) = (self.me.clone(), self.by.clone());
        let told = Told { me, act: self.act, by, destination: destination.to_string() };
        told.note(&self.deps, batch, text);
    }

    fn tell(&mut self) {
        if !self.moved.is_empty() {
            let batches = std::mem::take(&mut self.moved);
            self.me.do_send(Moved { batches, revived: std::mem::take(&mut self.revived) });
        }
    }
}

/// Who did what to which destination of a message.
struct Told {
    me: Addr<QueueActor>,
    act: &'static str,
    by: String,
    destination: String,
}

impl Told {
    fn note(self, deps: &Deps, batch: BatchId, text: String) {
        let Told { act, by, destination, .. } = self;
        info!(deps.log, "changed by an operator"; "id" => %batch.envelope, "act" => act,
            "by" => &by, "destination" => &destination, "what" => &text);
        let event = Event::Operator { destination, act: act.to_string(), by, text };
        deps.trace.note(&deps.name, batch.envelope, event);
    }
}

/// Ends one batch; the notification is stored with it.
async fn finish(deps: Deps, batch: BatchId, order: Arc<Order<Finish>>, told: Told) -> Finished {
    let end = caught(finished(deps, batch, order, told)).await;
    (batch, end.unwrap_or_else(|panic| Err(Unsettled::Panicked(panic))))
}

async fn finished(
    deps: Deps,
    batch: BatchId,
    order: Arc<Order<Finish>>,
    told: Told,
) -> Result<Result<(), Kept>, Unsettled> {
    let (now, made) = (deps.clock.now(), Arc::new(Mutex::new(Made::default())));
    let (notices, has_sender): (Notices, bool) = match order.what {
        Finish::Drop => (Box::new(|_| Vec::new()), true),
        Finish::Fail => {
            let prospect = look(&deps, batch, |_, _, people| {
                people.iter().any(|(_, record)| {
                    let wants = &record.recipient;
                    record.standing.is_waiting()
                        && (wants.wants_failures() || wants.wants_success())
                })
            })
            .await?;
            let has_sender = prospect.has_sender;
            let writer = writer(&deps, prospect, now, dice(), &made)?;
            let nobody = || -> Notices { Box::new(|_| Vec::new()) };
            (writer.map_or_else(nobody, |writer| writer.notices()), has_sender)
        }
    };
    let settlement = deps.spool.finish_with(batch, order, now, notices).await?;
    if let Some(kept) = settlement.kept() {
        return Ok(Err(kept));
    }
    let me = told.me.clone();
    told.note(&deps, batch, String::new());
    let made = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
    me.do_send(Ended { batch, written: Written { settlement, has_sender }, made });
    Ok(Ok(()))
}

/// Operator's task -> Queue: the spool has ended a batch.
struct Ended {
    batch: BatchId,
    written: Written,
    made: Made,
}

impl Message for Ended {
    type Result = ();
}

impl Handler<Ended> for QueueActor {
    type Result = ();

    fn handle(&mut self, message: Ended, ctx: &mut Context<Self>) {
        let Ended { batch, written, made } = message;
        let now = self.deps.clock.now();
        self.state.agenda.moved(batch, None, now);
        if let Some(record) = written.settlement.batch.as_ref().filter(|r| r.hold.is_none()) {
            self.schedule(batch, record.due, record.destination.clone());
        }
        self.settled(batch, &written);
        self.noted(batch, made, 0, &written);
        self.pump(ctx);
    }
}

/// Operator's task -> Queue: these batches have another place in the schedule, or none.
struct Moved {
    batches: HashMap<BatchId, Option<Timestamp>>,
    revived: HashSet<DestinationKey>,
}

impl Message for Moved {
    type Result = ();
}

impl Handler<Moved> for QueueActor {
    type Result = ();

    /// What memory has of them goes; the schedule is read again where they are now.
    fn handle(&mut self, message: Moved, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        for key in &message.revived {
            self.state.agenda.revive(key, now);
        }
        for (batch, at) in message.batches {
            self.state.agenda.moved(batch, at, now);
        }
        self.pump(ctx);
    }
}
