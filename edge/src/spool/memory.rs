//! The spool for tests of the other packages: the same work on the same records, kept in maps and gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::amendment::{Amended, Amendment, Order};
use posthaste_mail::queue::archive::Archived;
use posthaste_mail::queue::ledger::{Finish, NotLeasable, Report, Settlement, Terms};
use posthaste_mail::queue::record::{Accepted, BatchId, BodyPlace, JournalEntry};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::time::Timestamp;
use sled::IVec;
use tokio::sync::watch;

use super::draft::{Draft, Origin, Shelf, Step};
use super::incoming::Rows;
use super::table::{PerTable, Table, envelope_key};
use super::work::{self, Effects, Ground};
use super::{
    Counts, Due, Ending, Findings, Leased, Notices, Spool, SpoolError, Stored, StoredBatch, Taken,
    Ticket, read,
};
use crate::body::Body;

#[derive(Debug)]
pub struct MemorySpool {
    state: Mutex<State>,
    broken: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    shelf: Maps,
    bodies: HashMap<EnvelopeId, Body>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Maps(PerTable<BTreeMap<IVec, IVec>>);

impl Default for MemorySpool {
    fn default() -> MemorySpool {
        MemorySpool { state: Mutex::default(), broken: watch::Sender::new(None) }
    }
}

impl MemorySpool {
    pub fn new() -> MemorySpool {
        MemorySpool::default()
    }

    /// Fails as a disk would: every later ticket is `Broken`.
    pub fn break_down(&self, why: &str) {
        self.broken.send_replace(Some(why.to_string()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The maps change only after a job is complete: a panic in between leaves them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle_for(
        &self,
        ground: Ground,
        plan: Plan,
        now: Timestamp,
        seed: u64,
        notices: Notices,
    ) -> Ticket<Settlement> {
        self.change(|draft, change| {
            let settled = work::settle(draft, &ground, &plan, now, seed)?;
            change.effects.add(settled.effects);
            if let Some((envelope, recipients)) = settled.ending {
                let settlement = &settled.settlement;
                let ending = Ending { envelope, recipients, settlement };
                for (accepted, body) in notices(ending) {
                    change.accept(draft, &accepted, body)?;
                }
            }
            Ok(settled.settlement)
        })
    }

    /// Runs one job and makes its changes at once, or none of them.
    fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Draft<'_>, &mut Change) -> Result<T, SpoolError>,
    ) -> Ticket<T> {
        let result = match self.broken.borrow().clone() {
            Some(why) => Err(SpoolError::Broken(why)),
            None => self.state().change(job),
        };
        Box::pin(std::future::ready(result))
    }
}

/// What a job changes beside the records.
#[derive(Default)]
struct Change {
    effects: Effects,
    bodies: Vec<(EnvelopeId, Body)>,
}

impl Change {
    fn accept(
        &mut self,
        draft: &mut Draft<'_>,
        accepted: &Accepted,
        body: Body,
    ) -> Result<(), SpoolError> {
        let rows = Rows::new(accepted, body.len())?;
        rows.store(draft, &BodyPlace::File { length: rows.length }, None, Origin::Message)?;
        self.effects.came(&rows);
        self.bodies.push((rows.id, body));
        Ok(())
    }
}

impl State {
    fn change<T>(
        &mut self,
        job: impl FnOnce(&mut Draft<'_>, &mut Change) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let mut change = Change::default();
        let mut draft = Draft::new(&self.shelf);
        let value = job(&mut draft, &mut change)?;
        let writes = draft.into_writes();
        for table in Table::ALL {
            let map = self.shelf.0.of_mut(table);
            for (key, write) in writes.of(table) {
                match &write.value {
                    Some(value) => map.insert(key.clone(), value.clone()),
                    None => map.remove(key),
                };
            }
        }
        self.bodies.extend(change.bodies);
        for (id, _) in &change.effects.ended {
            self.bodies.remove(id);
        }
        self.counts = self.counts.after(&change.effects);
        Ok(value)
    }
}

impl Shelf for Maps {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<IVec>, SpoolError> {
        Ok(self.0.of(table).get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        visit: &mut dyn FnMut(&IVec, &IVec) -> Step,
    ) -> Result<(), SpoolError> {
        for (key, value) in self.0.of(table).range::<[u8], _>((from, to)) {
            if visit(key, value) == Step::Enough {
                break;
            }
        }
        Ok(())
    }

    fn note_damage(&self, _: Table, _: &[u8]) {}
}

impl Spool for MemorySpool {
    fn accept(&self, accepted: Accepted, body: Body) -> Ticket<()> {
        self.change(|draft, change| change.accept(draft, &accepted, body))
    }

    fn take(
        &self,
        batch: BatchId,
        terms: Terms,
        plan: Plan,
        seed: u64,
    ) -> Ticket<Result<Taken, NotLeasable>> {
        self.change(|draft, _| work::take(draft, batch, &terms, &plan, seed))
    }

    fn journal(&self, batch: BatchId, entries: Vec<(u32, JournalEntry)>) -> Ticket<()> {
        self.change(|draft, _| work::journal(draft, batch, &entries))
    }

    fn settle_with(
        &self,
        report: Report,
        plan: Plan,
        now: Timestamp,
        seed: u64,
        notices: Notices,
    ) -> Ticket<Settlement> {
        self.settle_for(Ground::Attempt(report), plan, now, seed, notices)
    }

    fn amend(
        &self,
        batch: BatchId,
        order: Arc<Order<Amendment>>,
        now: Timestamp,
    ) -> Ticket<Amended> {
        self.change(|draft, change| work::amend(draft, batch, &order, now, &mut change.effects))
    }

    fn finish_with(
        &self,
        batch: BatchId,
        order: Arc<Order<Finish>>,
        now: Timestamp,
        notices: Notices,
    ) -> Ticket<Settlement> {
        let ground = Ground::Operator { batch, order };
        self.settle_for(ground, Plan::default(), now, 0, notices)
    }

    fn decide(&self, id: EnvelopeId, keep: bool) -> Ticket<bool> {
        self.change(|draft, change| work::decide(draft, id, keep, &mut change.effects))
    }

    fn import(&self, archived: Archived, body: Body) -> Ticket<bool> {
        self.change(|draft, change| {
            if draft.raw(Table::Envelope, &envelope_key(archived.envelope.id))?.is_some() {
                return Ok(false);
            }
            change.accept(draft, &archived.accepted(), body)?;
            work::import(draft, &archived)?;
            Ok(true)
        })
    }

    fn due(
        &self,
        after: Option<(Timestamp, BatchId)>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Due>, SpoolError> {
        read::due(&self.state().shelf, after, until, limit)
    }

    fn undecided(&self) -> Result<Vec<EnvelopeId>, SpoolError> {
        read::undecided(&self.state().shelf)
    }

    fn leases(&self) -> Result<Vec<Leased>, SpoolError> {
        read::leases(&self.state().shelf)
    }

    fn load(&self, id: EnvelopeId) -> Result<Option<Stored>, SpoolError> {
        read::load(&self.state().shelf, id)
    }

    fn load_batch(&self, batch: BatchId) -> Result<Option<StoredBatch>, SpoolError> {
        read::load_batch(&self.state().shelf, batch)
    }

    fn envelopes(
        &self,
        after: Option<EnvelopeId>,
        limit: usize,
    ) -> Result<Vec<EnvelopeId>, SpoolError> {
        read::envelopes(&self.state().shelf, after, limit)
    }

    fn body(&self, id: EnvelopeId, _: &BodyPlace) -> Result<Body, SpoolError> {
        self.state().bodies.get(&id).cloned().ok_or(SpoolError::NotFound)
    }

    fn archived(&self, id: EnvelopeId) -> Result<Option<(Archived, BodyPlace)>, SpoolError> {
        read::archived(&self.state().shelf, id)
    }

    fn fresh_body(&self, _: EnvelopeId) -> Option<Body> {
        None
    }

    fn counts(&self) -> Counts {
        self.state().counts
    }

    fn damaged(&self) -> u64 {
        0
    }

    fn wrong(&self) -> Vec<String> {
        Vec::new()
    }

    fn broken(&self) -> watch::Receiver<Option<String>> {
        self.broken.subscribe()
    }

    fn check(&self) -> Result<Findings, SpoolError> {
        Ok(Findings::default())
    }
}
