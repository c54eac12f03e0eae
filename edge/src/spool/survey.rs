//! What is there when a spool is opened: which envelopes keep which segments, and which records may have missed the database.
//!
//! Records reach the segments first and the database second, group by group, and every group writes into the database how far the
//! segments were used (`Tip`). So whatever stands behind the tip is of the one group that was cut short, or of groups the database
//! forgot; what stands before it and has no envelope was delivered. A database that lost envelopes without noticing is told by their
//! number, which the tip has too.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::lease::Boot;
use serde::{Deserialize, Serialize};

use super::database::{Database, Opened};
use super::draft::{Draft, Shelf, Step, verified};
use super::envelope::Entry;
use super::place::Places;
use super::segment::Mark;
use super::table::{PerTable, Table, envelope_of};
use super::{Counts, SpoolError};

const FORMAT: &[u8] = b"format";
pub const TIP: &[u8] = b"tip";
const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    version: u32,
    /// Who opened the spool last.
    boot: Boot,
}

/// How far the segments are known to the database, as of the last group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    pub end: Mark,
    pub envelopes: u64,
    pub batches: u64,
    /// What the check has not compared yet.
    pub unchecked: Vec<Unchecked>,
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
    pub tip: Tip,
    pub counts: Counts,
    /// Envelopes that keep a segment.
    pub live: HashMap<u64, u64>,
    pub segments: BTreeSet<u64>,
    /// Envelopes in the unchecked parts that the database knew at the start.
    pub known: HashSet<EnvelopeId>,
    /// Envelopes whose record does not verify.
    pub damaged: HashSet<EnvelopeId>,
    /// Envelopes whose bodies lie in files of their own, and the names of such files.
    pub apart: HashSet<EnvelopeId>,
    pub large_names: Vec<String>,
}

impl Survey {
    /// Reads every envelope record, and writes down that the spool was opened. `Damaged`: the database cannot be read through.
    pub fn make(
        database: &Database,
        opened: Opened,
        places: &Places,
        boot: Boot,
    ) -> Result<Survey, SpoolError> {
        let io = |e: std::io::Error| SpoolError::Io(format!("{}: {e}", places.root.display()));
        let names = Places::names(&places.segments()).map_err(io)?;
        let segments: BTreeSet<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let large_names = Places::names(&places.large()).map_err(io)?;
        let mut draft = Draft::new(database);
        // Meta records that do not verify are as good as none: everything is compared.
        let format = draft.get::<Format>(Table::Meta, FORMAT).ok().flatten();
        if let Some(Format { version, .. }) = format.filter(|f| f.version != FORMAT_VERSION) {
            return Err(SpoolError::Broken(format!("spool format {version} is not known")));
        }
        let tip = draft.get::<Tip>(Table::Meta, TIP).ok().flatten();
        let mut survey = Survey {
            tip: Tip::default(),
            counts: Counts::default(),
            live: HashMap::new(),
            segments,
            known: HashSet::new(),
            damaged: HashSet::new(),
            apart: HashSet::new(),
            large_names,
        };
        let places_of_known = survey.read_envelopes(database)?;
        let sound =
            tip.filter(|tip| opened == Opened::Sound && tip.envelopes == survey.counts.envelopes);
        survey.counts.batches = match &sound {
            Some(tip) => tip.batches,
            None => count(database, Table::Batch)?,
        };
        survey.tip = Tip {
            end: Mark { segment: survey.next_segment(sound.as_ref()), offset: 0 },
            envelopes: survey.counts.envelopes,
            batches: survey.counts.batches,
            unchecked: unchecked(&survey.segments, sound.as_ref()),
        };
        let within = |mark: &Mark| {
            let part = |u: &Unchecked| u.from.segment == mark.segment && *mark >= u.from;
            survey.tip.unchecked.iter().any(part)
        };
        survey.known = places_of_known
            .into_iter()
            .filter(|(_, mark)| mark.as_ref().is_none_or(within))
            .map(|(id, _)| id)
            .collect();
        draft.put(Table::Meta, FORMAT, &Format { version: FORMAT_VERSION, boot })?;
        draft.put(Table::Meta, TIP, &survey.tip)?;
        let writes: PerTable<_> = draft.into_writes();
        database.apply(&writes).and_then(|()| database.sync()).map_err(SpoolError::Io)?;
        Ok(survey)
    }

    /// Counts the envelopes; returns where each has its record.
    fn read_envelopes(
        &mut self,
        database: &Database,
    ) -> Result<Vec<(EnvelopeId, Option<Mark>)>, SpoolError> {
        let mut found = Vec::new();
        database.scan(Table::Envelope, Bound::Unbounded, Bound::Unbounded, &mut |key, value| {
            let Some(id) = envelope_of(key) else { return Step::On };
            self.counts.envelopes += 1;
            match verified::<Entry>(database, Table::Envelope, key, value) {
                Ok(entry) => {
                    self.counts.bytes += entry.body.length();
                    let mark = entry.mark();
                    if let Some(mark) = mark {
                        *self.live.entry(mark.segment).or_default() += 1;
                    }
                    if entry.anchor.is_some() {
                        self.apart.insert(id);
                    }
                    found.push((id, mark));
                }
                Err(_) => {
                    self.damaged.insert(id);
                    found.push((id, None));
                }
            }
            Step::On
        })?;
        Ok(found)
    }

    fn next_segment(&self, tip: Option<&Tip>) -> u64 {
        let last = self.segments.last().copied().unwrap_or(0);
        last.max(tip.map_or(0, |tip| tip.end.segment)).saturating_add(1)
    }
}

fn unchecked(segments: &BTreeSet<u64>, tip: Option<&Tip>) -> Vec<Unchecked> {
    let whole = |segment: u64| Mark { segment, offset: 0 };
    let Some(tip) = tip else {
        return segments.iter().map(|s| Unchecked { from: whole(*s), lost: true }).collect();
    };
    let mut parts = BTreeMap::new();
    for segment in segments {
        if *segment == tip.end.segment {
            parts.insert(*segment, Unchecked { from: tip.end, lost: false });
        } else if *segment > tip.end.segment {
            parts.insert(*segment, Unchecked { from: whole(*segment), lost: false });
        }
    }
    for old in tip.unchecked.iter().filter(|old| segments.contains(&old.from.segment)) {
        let part = parts.entry(old.from.segment).or_insert(*old);
        *part = Unchecked { from: part.from.min(old.from), lost: part.lost || old.lost };
    }
    parts.into_values().collect()
}

fn count(database: &Database, table: Table) -> Result<u64, SpoolError> {
    let mut count = 0;
    database.scan(table, Bound::Unbounded, Bound::Unbounded, &mut |_, _| {
        count += 1;
        Step::On
    })?;
    Ok(count)
}
