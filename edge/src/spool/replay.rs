//! Reads again what was written to the segments after the last checkpoint.
//!
//! Every group ends with its changes, and each has the number after the one before. So what is behind the last whole group was never
//! answered; and where a number is missing something is damaged, and what stands there is for the check to compare.

use std::collections::{HashMap, HashSet};
use std::io;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::Accepted;

use super::change::{Change, Changes, decode};
use super::draft::{Origin, Shelf, Write, Writes};
use super::incoming::{Rows, place_of};
use super::live::Live;
use super::place::Places;
use super::segment::{self, Kind, Mark};
use super::store::Store;
use super::survey::{Tip, Unchecked};
use super::table::{PerTable, Table, envelope_key};
use super::{Counts, SpoolError};

pub struct Replay<'a> {
    store: &'a Store,
    live: &'a mut Live,
    pub counts: Counts,
    /// Of the next group.
    pub serial: u64,
    pub groups: u64,
    /// Up to here everything is known.
    end: Mark,
    gaps: Vec<Mark>,
    /// Messages that stand behind the last whole group, or behind the first gap; and those that ended.
    stray: HashSet<EnvelopeId>,
    ended: HashSet<EnvelopeId>,
    /// Segments that were read, after `end`.
    behind: Vec<u64>,
}

impl<'a> Replay<'a> {
    pub fn new(tip: &Tip, store: &'a Store, live: &'a mut Live) -> Replay<'a> {
        Replay {
            store,
            live,
            counts: tip.counts(),
            serial: tip.serial,
            groups: 0,
            end: tip.end,
            gaps: Vec::new(),
            stray: HashSet::new(),
            ended: HashSet::new(),
            behind: Vec::new(),
        }
    }

    /// Segments come in their order.
    pub fn segment(&mut self, places: &Places, number: u64) -> Result<(), SpoolError> {
        let content = match std::fs::read(segment::path(&places.segments(), number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| SpoolError::Io(format!("segment {number}: {e}")))?,
        };
        if number > self.end.segment {
            self.behind.push(number);
        }
        let from = if number == self.end.segment { self.end.offset } else { 0 };
        for found in segment::records(number, &content, from) {
            let changes = match found.head.kind {
                Kind::Changes => decode(found.body),
                Kind::Inline | Kind::Apart => {
                    self.stray.insert(found.head.id);
                    None
                }
            };
            let Some(changes) = changes.filter(|changes| changes.serial >= self.serial) else {
                continue;
            };
            if changes.serial > self.serial {
                self.gaps.push(self.end);
                self.gaps.extend(self.behind.iter().map(|s| Mark { segment: *s, offset: 0 }));
            }
            if self.gaps.is_empty() {
                self.stray.clear();
            }
            self.group(number, &content, &changes)?;
            let after = found.offset.saturating_add(found.head.record_length());
            self.end = Mark { segment: number, offset: after };
            self.behind.clear();
        }
        Ok(())
    }

    fn group(&mut self, number: u64, content: &[u8], group: &Changes) -> Result<(), SpoolError> {
        let mut writes: PerTable<Writes> = PerTable::default();
        for change in &group.changes {
            match change {
                Change::Came { offset } => {
                    self.live.came(number);
                    self.came(Mark { segment: number, offset: *offset }, content, &mut writes)?;
                }
                Change::Brought { segment } => self.live.came(*segment),
                Change::Ended { id, segment } => {
                    self.live.ended(*segment);
                    self.ended.insert(*id);
                }
                Change::Put { table, key, value } => {
                    let write = Write { value: Some(value.clone()), origin: Origin::Decision };
                    writes.of_mut(*table).insert(key.clone(), write);
                }
                Change::Gone { table, key } => {
                    let write = Write { value: None, origin: Origin::Decision };
                    writes.of_mut(*table).insert(key.clone(), write);
                }
            }
        }
        self.store.apply(&writes, &HashSet::new());
        self.counts = group.counts;
        self.serial = group.serial.saturating_add(1);
        self.groups += 1;
        Ok(())
    }

    /// The records of a message follow from what was accepted. Its content is not looked at: that is done when it is needed.
    fn came(
        &self,
        at: Mark,
        content: &[u8],
        writes: &mut PerTable<Writes>,
    ) -> Result<(), SpoolError> {
        let Some((head, envelope)) = segment::envelope_at(content, at) else { return Ok(()) };
        let accepted = serde_json::from_slice::<Accepted>(envelope).ok();
        let rows = accepted.and_then(|accepted| Rows::new(&accepted, head.body_length).ok());
        let Some(rows) = rows.filter(|rows| rows.id == head.id) else {
            self.store.note_damage(Table::Envelope, &envelope_key(head.id));
            return Ok(());
        };
        let (place, anchor) = place_of(&head, at);
        rows.write(writes, &place, anchor)
    }

    /// What the check has to compare, and which envelopes of it need no comparison.
    pub fn unchecked(&self, before: &[Unchecked]) -> (Vec<Unchecked>, HashSet<EnvelopeId>) {
        let rest = self.behind.iter().map(|s| Mark { segment: *s, offset: 0 });
        let marks = self.gaps.iter().copied().chain([self.end]).chain(rest);
        let mut first: HashMap<u64, Unchecked> = HashMap::new();
        let new = marks.map(|from| Unchecked { from, lost: false });
        for part in before.iter().copied().chain(new) {
            let known = first.entry(part.from.segment).or_insert(part);
            *known = Unchecked { from: known.from.min(part.from), lost: known.lost || part.lost };
        }
        let mut parts: Vec<Unchecked> = first.into_values().collect();
        parts.sort_by_key(|part| part.from);
        let there = |id: &&EnvelopeId| {
            matches!(self.store.get(Table::Envelope, &envelope_key(**id)), Ok(Some(_)) | Err(_))
        };
        let mut known: HashSet<EnvelopeId> = self.stray.iter().filter(there).copied().collect();
        known.extend(&self.ended);
        (parts, known)
    }
}
