//! Reads again what was written to the segments after the last checkpoint.
//!
//! Every group ends with its changes, and each has the number after the one before. What is behind the last whole group was never
//! answered, and a last group whose messages are not all there is none. Where a number is missing something is damaged, and what stands
//! there is for the check to compare.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::{Accepted, BodyPlace};

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
    ended: HashMap<EnvelopeId, u64>,
    /// Segments that were read, after `end`.
    behind: Vec<u64>,
    /// A group whose messages are not whole: torn, if it is the last one, else damaged later.
    doubtful: Option<Group>,
}

/// A group as it was read.
struct Group {
    segment: u64,
    /// Where its changes begin, and behind its last record.
    at: u64,
    end: u64,
    changes: Changes,
    /// Messages that came in, in their order; one that cannot be read is missing.
    came: Vec<(Rows, BodyPlace, Option<Mark>)>,
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
            ended: HashMap::new(),
            behind: Vec::new(),
            doubtful: None,
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
            let next = self.doubtful.as_ref().map_or(self.serial, |d| d.changes.serial + 1);
            let Some(changes) = changes.filter(|changes| changes.serial >= next) else { continue };
            // Another group follows, so it was answered.
            if let Some(doubtful) = self.doubtful.take() {
                self.group(doubtful)?;
            }
            let whole = changes.messages.are_whole(&content, found.offset);
            let group = Group {
                segment: number,
                at: found.offset,
                end: found.offset.saturating_add(found.head.record_length()),
                came: self.came(number, &content, &changes),
                changes,
            };
            match whole {
                true => self.group(group)?,
                false => self.doubtful = Some(group),
            }
        }
        Ok(())
    }

    fn group(&mut self, group: Group) -> Result<(), SpoolError> {
        let Group { segment, end, changes, came, .. } = group;
        if changes.serial > self.serial {
            self.gaps.push(self.end);
            let behind = self.behind.iter().filter(|s| **s < segment);
            self.gaps.extend(behind.map(|s| Mark { segment: *s, offset: 0 }));
        }
        if self.gaps.is_empty() {
            self.stray.clear();
        }
        let mut writes: PerTable<Writes> = PerTable::default();
        for (rows, place, anchor) in &came {
            rows.write(&mut writes, place, *anchor)?;
        }
        for change in &changes.changes {
            let (table, key, value) = match change {
                Change::Came { .. } => {
                    self.live.came(segment);
                    continue;
                }
                Change::Brought { segment } => {
                    self.live.came(*segment);
                    continue;
                }
                Change::Ended { id, segment } => {
                    self.live.ended(*segment);
                    self.ended.insert(*id, *segment);
                    continue;
                }
                Change::Put { table, key, value } => (table, key, Some(value.clone())),
                Change::Gone { table, key } => (table, key, None),
            };
            let write = Write { value, origin: Origin::Decision };
            writes.of_mut(*table).insert(key.clone(), write);
        }
        self.store.apply(&writes, &HashSet::new());
        self.counts = changes.counts;
        self.serial = changes.serial.saturating_add(1);
        self.groups += 1;
        self.end = Mark { segment, offset: end };
        self.behind.retain(|behind| *behind > segment);
        Ok(())
    }

    /// The records of messages follow from what was accepted. Their content is not looked at: that is done when it is needed.
    fn came(
        &self,
        segment: u64,
        content: &[u8],
        changes: &Changes,
    ) -> Vec<(Rows, BodyPlace, Option<Mark>)> {
        let mut came = Vec::new();
        for change in &changes.changes {
            let Change::Came { offset } = change else { continue };
            let at = Mark { segment, offset: *offset };
            let Some((head, envelope)) = segment::envelope_at(content, at) else { continue };
            let accepted = serde_json::from_slice::<Accepted>(envelope).ok();
            let rows = accepted.and_then(|accepted| Rows::new(&accepted, head.body_length).ok());
            match rows.filter(|rows| rows.id == head.id) {
                Some(rows) => {
                    let (place, anchor) = place_of(&head, at);
                    came.push((rows, place, anchor));
                }
                None => self.store.note_damage(Table::Envelope, &envelope_key(head.id)),
            }
        }
        came
    }

    /// A last group that is torn is made unreadable, durably: its number goes to another group now, and what follows that one must not be
    /// taken for what followed the torn one.
    pub fn drop_doubtful(&mut self, places: &Places) -> Result<(), SpoolError> {
        let Some(Group { segment, at, .. }) = self.doubtful.take() else { return Ok(()) };
        let path = segment::path(&places.segments(), segment);
        let file = File::options().write(true).open(path);
        let erased = file.and_then(|file| {
            file.write_all_at(&[0; segment::HEADER], at)?;
            file.sync_data()
        });
        erased.map_err(|e| SpoolError::Io(format!("segment {segment}: {e}")))
    }

    /// What ended, by the segment that held it.
    pub fn ended_by_segment(&self) -> BTreeMap<u64, Vec<EnvelopeId>> {
        let mut by_segment: BTreeMap<u64, Vec<EnvelopeId>> = BTreeMap::new();
        for (id, segment) in &self.ended {
            by_segment.entry(*segment).or_default().push(*id);
        }
        by_segment
    }

    /// Is something damaged or lost that others were written behind?
    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
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
        known.extend(self.ended.keys());
        (parts, known)
    }
}
