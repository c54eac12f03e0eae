//! Why a message, or all mail for a destination, does not move: what memory, disk and slots say together.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};

use posthaste_edge::clock::Clock;
use posthaste_edge::spool::{Spool, SpoolError, Stored};
use posthaste_mail::address::Mailbox;
use posthaste_mail::admin::answer::{Explanation, SiteLine};
use posthaste_mail::admin::request::Filter;
use posthaste_mail::envelope::Route;
use posthaste_mail::queue::reason::Reason;
use posthaste_mail::queue::record::{BatchId, BatchRecord, Hold};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;

use crate::messages::admin::{ExplainDestination, ExplainMessage};
use crate::servers::SharedServers;
use crate::targets::queue::QueueActor;
use crate::targets::queue::flight::route_of;
use crate::targets::queue::operator::{Found, page};

impl Handler<ExplainMessage> for QueueActor {
    type Result = ResponseActFuture<Self, Result<Option<Vec<Explanation>>, String>>;

    /// The disk first, then what memory adds: a batch that ends in between is told of as it was.
    fn handle(&mut self, message: ExplainMessage, _: &mut Context<Self>) -> Self::Result {
        let (spool, id) = (Arc::clone(&self.deps.spool), message.id);
        let read = self.deps.runtime.spawn_blocking(move || spool.load(id));
        let read = async move {
            let read = read.await.map_err(|e| e.to_string())?;
            read.map_err(|e: SpoolError| e.to_string())
        };
        Box::pin(
            read.into_actor(self)
                .map(|read, queue, _| Ok(read?.map(|stored| queue.explain_message(&stored)))),
        )
    }
}

impl Handler<ExplainDestination> for QueueActor {
    type Result = ResponseActFuture<Self, Result<Vec<Explanation>, String>>;

    fn handle(&mut self, message: ExplainDestination, _: &mut Context<Self>) -> Self::Result {
        let ExplainDestination { destination } = message;
        let (spool, clock) = (Arc::clone(&self.deps.spool), self.deps.clock.clone());
        let wanted = destination.clone();
        let read = self.deps.runtime.spawn_blocking(move || Stocks::count(&*spool, wanted, &clock));
        let read = async move {
            let read = read.await.map_err(|e| e.to_string())?;
            read.map_err(|e: SpoolError| e.to_string())
        };
        Box::pin(
            read.into_actor(self)
                .map(move |stocks, queue, _| Ok(queue.explain_stocks(&destination, &stocks?))),
        )
    }
}

/// What is on disk for one destination, and for targets that have mail for it among other mail.
struct Stocks {
    of_it: Stock,
    behind: Vec<(DestinationKey, Stock)>,
}

/// What is on disk under one key.
#[derive(Default)]
struct Stock {
    waiting: u64,
    held: u64,
    /// The one that is due first, of those that may be tried.
    first: Option<(BatchId, BatchRecord, Route)>,
    hold: Option<Hold>,
    /// There are more messages than were looked at.
    more: bool,
}

/// For counting what waits: an operator wants an answer now.
const LONGEST_COUNT: Duration = Duration::from_secs(3);

impl Stocks {
    fn count(
        spool: &dyn Spool,
        wanted: DestinationKey,
        clock: &Clock,
    ) -> Result<Stocks, SpoolError> {
        let mut stocks = Stocks { of_it: Stock::default(), behind: Vec::new() };
        let (mut after, begun) = (None, clock.now());
        loop {
            let found = page(spool, &Filter::default(), after, clock.now())?;
            for line in found.lines {
                stocks.add(line, &wanted);
            }
            match found.next {
                None => return Ok(stocks),
                Some(_) if clock.now().since(begun) > LONGEST_COUNT => {
                    stocks.of_it.more = true;
                    stocks.behind.iter_mut().for_each(|(_, stock)| stock.more = true);
                    return Ok(stocks);
                }
                Some(next) => after = Some(next),
            }
        }
    }

    fn add(&mut self, found: Found, wanted: &DestinationKey) {
        let key = found.record.destination.clone();
        if key == *wanted {
            return self.of_it.add(found);
        }
        // Who has its mail together names no domain.
        let is_of_it = |recipient: &String| {
            Mailbox::parse(recipient).is_ok_and(|to| DestinationKey::of_host(&to) == *wanted)
        };
        if !matches!(key, DestinationKey::Target(_)) || !found.recipients.iter().any(is_of_it) {
            return;
        }
        match self.behind.iter_mut().find(|(behind, _)| *behind == key) {
            Some((_, stock)) => stock.add(found),
            None => {
                let mut stock = Stock::default();
                stock.add(found);
                self.behind.push((key, stock));
            }
        }
    }
}

impl Stock {
    fn add(&mut self, found: Found) {
        self.waiting += 1;
        if let Some(hold) = &found.record.hold {
            self.held += 1;
            self.hold.get_or_insert_with(|| hold.clone());
            return;
        }
        let earlier = |(_, first, _): &(BatchId, BatchRecord, Route)| first.due <= found.record.due;
        if !self.first.as_ref().is_some_and(earlier) {
            self.first = Some((found.batch, found.record, found.route));
        }
    }
}

impl QueueActor {
    fn explain_message(&self, stored: &Stored) -> Vec<Explanation> {
        let now = self.deps.clock.now();
        let envelope = &stored.envelope.envelope;
        let explain = |(index, record): &(u32, BatchRecord)| {
            let batch = BatchId { envelope: envelope.id, index: *index };
            let route = route_of(record, envelope);
            let reason = self.reason(batch, record, &route, now);
            let of_batch =
                stored.recipients.iter().filter(|(b, _, r)| b == index && r.standing.is_waiting());
            let recipients = of_batch.map(|(.., r)| r.recipient.address.to_string());
            let which = format!("--id {}", envelope.id);
            let told = self.explanation(&reason, &which, &record.destination, now);
            // Whatever is near of the schedule, it waits itself.
            let waits = match reason {
                Reason::Delivering { .. } | Reason::Awaiting { .. } | Reason::Settling => 0,
                _ => 1,
            };
            let held = u64::from(matches!(reason, Reason::Held(_)));
            let site = SiteLine { waiting: told.site.waiting.max(waits), held, ..told.site };
            Explanation {
                id: Some(envelope.id),
                recipients: recipients.collect(),
                attempts: Some(record.attempts),
                last_failure: record.last_failure.as_ref().map(ToString::to_string),
                site,
                forwarder: self.servers(self.target_of(&route)).map(|servers| servers.line(now)),
                ..told
            }
        };
        stored.batches.iter().map(explain).collect()
    }

    fn explain_stocks(&self, wanted: &DestinationKey, stocks: &Stocks) -> Vec<Explanation> {
        let of_it = self.explain_destination(wanted, &stocks.of_it);
        let behind = stocks.behind.iter().filter_map(|(key, stock)| {
            let told = self.explain_destination(key, stock)?;
            Some(Explanation { domain: Some(wanted.to_string()), ..told })
        });
        of_it.into_iter().chain(behind).collect()
    }

    /// `None`: nothing waits for it here, and nothing is known of it.
    fn explain_destination(&self, key: &DestinationKey, stock: &Stock) -> Option<Explanation> {
        let now = self.deps.clock.now();
        let site = self.state.agenda.site(key, now);
        let servers = match key {
            DestinationKey::Target(target) => self.servers(target),
            _ => None,
        };
        // Another queue's forwarder is that one's to tell of.
        let is_own =
            servers.is_some() && *key == DestinationKey::Target(self.deps.target_name.clone());
        if stock.waiting == 0 && !stock.more && !site.known && !is_own {
            return None;
        }
        let in_the_way = self.state.agenda.obstacle(key, now);
        let reason = match (in_the_way, &stock.first, &stock.hold) {
            // What stands in the way of all comes before what the next one waits for.
            (Some(dead @ Reason::Dead(_)), ..) => dead,
            (_, Some((batch, record, envelope_route)), _) => {
                let route = match &record.rerouted {
                    Some(target) => Route::Rerouted { target: target.clone() },
                    None => envelope_route.clone(),
                };
                self.reason(*batch, record, &route, now)
            }
            (_, None, Some(hold)) => Reason::Held(hold.clone()),
            (Some(reason), None, None) => reason,
            (None, None, None) => match key {
                DestinationKey::Target(target) => {
                    self.route_held(target, now).unwrap_or(Reason::Idle)
                }
                _ => Reason::Idle,
            },
        };
        let which = match key {
            // As a shell has to read it.
            DestinationKey::Target(_) | DestinationKey::Literal(_) => format!("--domain '{key}'"),
            DestinationKey::Domain(_) | DestinationKey::Unqualified => format!("--domain {key}"),
        };
        let told = self.explanation(&reason, &which, key, now);
        let site = SiteLine {
            waiting: stock.waiting,
            held: stock.held,
            more_on_disk: stock.more,
            next_due: stock.first.as_ref().map(|(_, record, _)| record.due.rfc3339()),
            ..told.site
        };
        let forwarder = servers.map(|servers| servers.line(now));
        Some(Explanation { site, forwarder, ..told })
    }

    /// Where a batch goes.
    fn target_of<'a>(&'a self, route: &'a Route) -> &'a str {
        match route {
            Route::Target => &self.deps.target_name,
            Route::Bounce { target } | Route::Rerouted { target } => target,
        }
    }

    /// Of this target, if it is a forwarder.
    fn servers(&self, target: &str) -> Option<&SharedServers> {
        let way = self.deps.exits.iter().find(|way| way.name == target)?;
        way.servers.as_deref()
    }

    fn route_held(&self, target: &str, now: Timestamp) -> Option<Reason> {
        let held = self.servers(target)?.held(now)?;
        Some(Reason::RouteHeld { target: target.to_string(), held })
    }

    fn reason(
        &self,
        batch: BatchId,
        record: &BatchRecord,
        route: &Route,
        now: Timestamp,
    ) -> Reason {
        if let Some(flight) = self.state.flights.get(&batch) {
            let (attempt, since) = (flight.attempt.max(1), flight.since);
            return match flight.patient {
                true => Reason::Awaiting { attempt, since },
                false => Reason::Delivering { attempt, since },
            };
        }
        let itself = self.state.agenda.waits_for(batch);
        if record.lease.is_some() || itself == Some(Reason::Settling) {
            return Reason::Settling;
        }
        if record.is_undecided() {
            return Reason::Undecided;
        }
        if let Some(hold) = &record.hold {
            return Reason::Held(hold.clone());
        }
        let target = self.target_of(route);
        if *route != Route::Target && self.deps.exits.iter().all(|way| way.name != *target) {
            return Reason::TargetMissing { target: target.to_string() };
        }
        // What was found out by others of its target holds for it, too.
        if let Some(held) = self.route_held(target, now) {
            return held;
        }
        if record.due > now {
            let last = record.last_failure.clone();
            let last = last.map(|why| (record.last_attempt.unwrap_or(record.arrived), why));
            return Reason::Retry { attempts: record.attempts, last, due: record.due };
        }
        itself.unwrap_or_else(|| self.obstacle(&record.destination, target, now))
    }

    /// What keeps the first due batch of a destination waiting.
    fn obstacle(&self, key: &DestinationKey, target: &str, now: Timestamp) -> Reason {
        if self.state.draining {
            return Reason::Draining;
        }
        for target in [target, &self.deps.target_name] {
            if self.deps.is_suspended(target) {
                return Reason::Suspended { target: target.to_string() };
            }
        }
        if let Some(reason) = self.state.agenda.obstacle(key, now) {
            return reason;
        }
        match self.deps.slots.available_permits() {
            0 => Reason::NoSlot { slots: self.deps.max_parallelism },
            _ => Reason::Turn,
        }
    }

    fn explanation(
        &self,
        reason: &Reason,
        which: &str,
        key: &DestinationKey,
        now: Timestamp,
    ) -> Explanation {
        let (queued, site) = (self.state.agenda.queued(key), self.state.agenda.site(key, now));
        Explanation {
            queue: self.deps.name.clone(),
            id: None,
            destination: key.to_string(),
            recipients: Vec::new(),
            reason: reason.word().to_string(),
            text: reason.text(),
            since: reason.since().map(Timestamp::rfc3339),
            until: reason.until().map(Timestamp::rfc3339),
            remedy: reason.remedy(which, key),
            attempts: None,
            last_failure: None,
            site: SiteLine {
                running: u64::from(site.busy),
                window: u64::from(site.site.window()),
                dead_until: site.site.death(site.rules, now).map(|d| d.until.rfc3339()),
                waiting: queued.waiting as u64,
                held: 0,
                more_on_disk: queued.more,
                next_due: queued.next.map(Timestamp::rfc3339),
            },
            domain: None,
            forwarder: None,
        }
    }
}
