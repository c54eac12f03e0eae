//! Which segments are kept, and for how long: while an envelope needs them, a start would read them, or the check has to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::BodyPlace;

use super::disk::Shared;
use super::ended::EndedFiles;
use super::envelope::Entry;
use super::live::Live;
use super::place::Places;
use super::segment;
use super::survey::Survey;
use crate::fault;

/// An envelope that left the queue; `None`: its entry did not verify.
type Gone = (EnvelopeId, Option<Entry>);

pub struct Retention {
    places: Places,
    shared: Arc<Shared>,
    pub live: Live,
    ended: EndedFiles,
    /// Closed segments no envelope keeps.
    idle: BTreeSet<u64>,
    /// Segments the check still needs.
    pinned: BTreeSet<u64>,
}

impl Retention {
    pub fn new(places: Places, shared: Arc<Shared>, survey: &Survey) -> Retention {
        let idle = survey.segments.iter().filter(|s| !survey.live.keeps(**s)).copied();
        Retention {
            ended: EndedFiles::new(places.segments()),
            places,
            shared,
            live: survey.live.clone(),
            idle: idle.collect(),
            pinned: survey.segments.clone(),
        }
    }

    /// The check is done.
    pub fn unpin(&mut self) {
        self.pinned.clear();
    }

    /// A segment that is not written to any more may go, once nobody keeps it.
    pub fn left(&mut self, before: Option<u64>, now: Option<u64>) {
        if let Some(segment) = before.filter(|_| before != now)
            && !self.live.keeps(segment)
        {
            self.idle.insert(segment);
        }
    }

    /// Takes over what a group changed.
    pub fn book(&mut self, came: impl Iterator<Item = u64>, ended: &[Gone]) {
        for segment in came {
            self.live.came(segment);
            self.idle.remove(&segment);
        }
        for (_, entry) in ended {
            let Some(mark) = entry.as_ref().and_then(Entry::mark) else { continue };
            self.live.ended(mark.segment);
            if !self.live.keeps(mark.segment) {
                self.idle.insert(mark.segment);
            }
        }
    }

    /// Lets go of bodies whose envelopes are gone for good. A failure here leaves a file for the next check.
    ///
    /// `current` is the open segment; those before `checkpointed` are not read again at a start.
    pub fn release(&mut self, ended: &[Gone], current: Option<u64>, checkpointed: u64) {
        let mut by_segment: BTreeMap<u64, Vec<EnvelopeId>> = BTreeMap::new();
        for (id, entry) in ended {
            let Some(entry) = entry else { continue };
            if matches!(entry.body, BodyPlace::File { .. }) {
                let _ = std::fs::remove_file(self.places.large_file(*id));
                fault::reached("remove", "large");
            }
            if let Some(mark) = entry.mark() {
                by_segment.entry(mark.segment).or_default().push(*id);
            }
        }
        let free: Vec<u64> = self
            .idle
            .range(..checkpointed)
            .filter(|s| Some(**s) != current && !self.pinned.contains(s))
            .copied()
            .collect();
        for (segment, ids) in by_segment.iter().filter(|(s, _)| !free.contains(s)) {
            let _ = self.ended.add(*segment, ids);
            fault::reached("remove", "ended");
        }
        for segment in free {
            self.shared.forget_segment(segment);
            let path = segment::path(&self.places.segments(), segment);
            #[cfg(test)]
            let power = self.places.power.lock();
            #[cfg(test)]
            power.iter().for_each(|disk| disk.removing(&path));
            if std::fs::remove_file(path).is_ok() {
                fault::reached("remove", "segment");
                let _ = self.ended.remove(segment);
                self.idle.remove(&segment);
            }
        }
    }
}
