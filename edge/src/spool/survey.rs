//! What is there when a spool is opened.
//!
//! The database is as the last checkpoint left it, and its `tip` says up to where in the segments that was; what was written behind
//! is read again (`replay`). What then still stands in the segments and belongs to no whole group is for the check to compare, and so is
//! everything when the database was lost.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::lease::Boot;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::IVec;

use super::database::{Database, Opened};
use super::draft::{Origin, Shelf, Step, Write, Writes, verified};
use super::ended::EndedFiles;
use super::envelope::Entry;
use super::live::Live;
use super::place::Places;
use super::replay::Replay;
use super::sealed::Sealed;
use super::segment::Mark;
use super::store::Store;
use super::table::{Table, envelope_of};
use super::{Counts, SpoolError};

const FORMAT: &[u8] = b"format";
const TIP: &[u8] = b"tip";
const FORMAT_VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    version: u32,
    /// Who opened the spool last.
    boot: Boot,
}

/// What the database is up to, as of the last checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// What was written to the segments before is in the database.
    pub end: Mark,
    /// Of the first group behind.
    #[serde(default)]
    pub serial: u64,
    pub envelopes: u64,
    pub batches: u64,
    #[serde(default)]
    pub bytes: u64,
    /// What the check has not compared yet.
    pub unchecked: Vec<Unchecked>,
}

impl Tip {
    pub fn add_to(&self, facts: &mut Writes) -> Result<(), SpoolError> {
        facts.extend([fact(TIP, self)?]);
        Ok(())
    }

    pub fn counts(&self) -> Counts {
        Counts { envelopes: self.envelopes, batches: self.batches, bytes: self.bytes }
    }
}

/// The rest of a segment from `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    pub from: Mark,
    /// The database was lost: everything that did not end is wanted back, not only what clients brought.
    pub lost: bool,
}

#[derive(Debug)]
pub struct Survey {
    pub counts: Counts,
    pub live: Live,
    pub segments: BTreeSet<u64>,
    /// Number of the first segment of this process.
    pub next_segment: u64,
    /// Earlier segments need not be read again.
    pub checkpointed: u64,
    /// Of the next group.
    pub serial: u64,
    /// Groups that were read again.
    pub replayed: u64,
    pub unchecked: Vec<Unchecked>,
    /// Envelopes in the unchecked parts that were known at the start, or had ended.
    pub known: HashSet<EnvelopeId>,
    /// Names of files of bodies.
    pub large_names: Vec<String>,
}

impl Survey {
    /// Reads again what the last checkpoint does not have, and writes down that the spool was opened. `Damaged`: the database cannot
    /// be read through.
    pub fn make(
        database: &Database,
        store: &Store,
        opened: Opened,
        places: &Places,
        boot: Boot,
    ) -> Result<Survey, SpoolError> {
        let io = |e: std::io::Error| SpoolError::Io(format!("{}: {e}", places.root.display()));
        let names = Places::names(&places.segments()).map_err(io)?;
        let segments: BTreeSet<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let large_names = Places::names(&places.large()).map_err(io)?;
        // Meta records that do not verify are as good as none: everything is counted and compared.
        let format = meta::<Format>(database, FORMAT).map_or(FORMAT_VERSION, |f| f.version);
        if format > FORMAT_VERSION {
            return Err(SpoolError::Broken(format!("spool format {format} is not known")));
        }
        let tip = meta::<Tip>(database, TIP).filter(|_| opened == Opened::Sound);
        let last = segments.last().copied().unwrap_or(0);
        let mut survey = Survey {
            counts: Counts::default(),
            live: Live::default(),
            next_segment: last.max(tip.as_ref().map_or(0, |tip| tip.end.segment)) + 1,
            segments,
            checkpointed: 0,
            serial: 0,
            replayed: 0,
            unchecked: Vec::new(),
            known: HashSet::new(),
            large_names,
        };
        let live = Live::read(database).ok();
        match (tip, live, format) {
            (Some(tip), Some(live), FORMAT_VERSION) => {
                survey.live = live;
                survey.read_again(&tip, store, places)?;
            }
            (tip, _, _) => survey.begin_anew(tip.as_ref(), format, database)?,
        }
        survey.next_segment = survey.next_segment.max(survey.checkpointed);
        let mut facts = Writes::from([fact(FORMAT, &Format { version: FORMAT_VERSION, boot })?]);
        if survey.checkpointed == survey.next_segment {
            // There was no tip, or one of another form.
            facts.extend(survey.live.take_changed()?);
            survey.tip().add_to(&mut facts)?;
        }
        database.write_meta(&facts).and_then(|()| database.sync()).map_err(SpoolError::Io)?;
        Ok(survey)
    }

    fn tip(&self) -> Tip {
        Tip {
            end: Mark { segment: self.checkpointed, offset: 0 },
            serial: self.serial,
            envelopes: self.counts.envelopes,
            batches: self.counts.batches,
            bytes: self.counts.bytes,
            unchecked: self.unchecked.clone(),
        }
    }

    fn read_again(&mut self, tip: &Tip, store: &Store, places: &Places) -> Result<(), SpoolError> {
        let mut replay = Replay::new(tip, store, &mut self.live);
        for segment in self.segments.range(tip.end.segment..) {
            replay.segment(places, *segment)?;
        }
        replay.drop_doubtful(places)?;
        // The last process may have ended before it wrote this down.
        let mut ended = EndedFiles::new(places.segments());
        for (segment, ids) in replay.ended_by_segment() {
            if self.segments.contains(&segment) {
                let _ = ended.add(segment, &ids);
            }
        }
        let (unchecked, known) = replay.unchecked(&tip.unchecked);
        (self.counts, self.serial, self.replayed) = (replay.counts, replay.serial, replay.groups);
        self.unchecked = unchecked;
        self.unchecked.retain(|part| self.segments.contains(&part.from.segment));
        self.known = known;
        if replay.has_gaps() {
            // The numbers went on counting what is not there.
            let there = self.count(store)?;
            self.known.extend(there);
        } else if !tip.unchecked.is_empty() {
            // The last check did not come to its end: what it brought back may end before this one looks for it.
            self.known.extend(there(store)?);
        }
        self.checkpointed = tip.end.segment;
        Ok(())
    }

    /// Counts what there is; returns the envelopes.
    fn count(&mut self, shelf: &dyn Shelf) -> Result<HashSet<EnvelopeId>, SpoolError> {
        let (mut counts, mut known) = (Counts::default(), HashSet::new());
        self.live.begin_anew();
        shelf.scan(Table::Envelope, Bound::Unbounded, Bound::Unbounded, &mut |key, value| {
            counts.envelopes += 1;
            known.extend(envelope_of(key));
            if let Ok(entry) = verified::<Entry>(shelf, Table::Envelope, key, value) {
                counts.bytes += entry.body.length();
                entry.mark().into_iter().for_each(|mark| self.live.came(mark.segment));
            }
            Step::On
        })?;
        shelf.scan(Table::Batch, Bound::Unbounded, Bound::Unbounded, &mut |_, _| {
            counts.batches += 1;
            Step::On
        })?;
        self.counts = counts;
        Ok(known)
    }

    /// Counts what is in the database. Without a tip it has lost something, or it is new: everything is compared.
    fn begin_anew(
        &mut self,
        tip: Option<&Tip>,
        format: u32,
        database: &Database,
    ) -> Result<(), SpoolError> {
        let known = self.count(database)?;
        self.known = known;
        // Of the first form every group was in the database at once; only what stands behind its tip may have missed it.
        let old = tip.filter(|tip| format == 1 && tip.envelopes == self.counts.envelopes);
        for segment in &self.segments {
            let start = Mark { segment: *segment, offset: 0 };
            match old {
                None => self.unchecked.push(Unchecked { from: start, lost: true }),
                Some(tip) if tip.end.segment <= *segment => {
                    self.unchecked.push(Unchecked { from: start.max(tip.end), lost: false });
                }
                Some(_) => {}
            }
        }
        self.unchecked.extend(old.iter().flat_map(|tip| &tip.unchecked));
        self.checkpointed = self.next_segment;
        Ok(())
    }
}

/// The envelopes there are.
fn there(shelf: &dyn Shelf) -> Result<HashSet<EnvelopeId>, SpoolError> {
    let mut there = HashSet::new();
    shelf.scan(Table::Envelope, Bound::Unbounded, Bound::Unbounded, &mut |key, _| {
        there.extend(envelope_of(key));
        Step::On
    })?;
    Ok(there)
}

fn fact<T: Serialize>(name: &[u8], value: &T) -> Result<(IVec, Write), SpoolError> {
    let value = Some(IVec::from(Sealed::new(value)?.into_bytes()));
    Ok((IVec::from(name), Write { value, origin: Origin::Decision }))
}

fn meta<T: DeserializeOwned>(database: &Database, name: &[u8]) -> Option<T> {
    let value = database.get(Table::Meta, name).ok().flatten()?;
    verified(database, Table::Meta, name, &value).ok()
}
