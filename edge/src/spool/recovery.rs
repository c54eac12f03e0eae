//! A message that is brought back from a segment.

use posthaste_mail::queue::record::BodyPlace;

use super::SpoolError;
use super::draft::{Draft, Origin};
use super::envelope::Entry;
use super::incoming::Rows;
use super::segment::Mark;
use super::table::{Table, envelope_key};
use super::work::{Effects, signed};

pub struct Recovery {
    pub rows: Rows,
    pub place: BodyPlace,
    pub mark: Mark,
    pub extent: Extent,
}

/// What of a message is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: nobody has counted it yet.
    Whole,
    /// What the database forgot without noticing: it is among the numbers still.
    Forgotten,
    /// Only the envelope's record is damaged; the others are there, and it is counted.
    Entry,
}

impl Recovery {
    /// False when the store has it after all. True with what it comes to for the numbers; the segment is named when it gains an envelope.
    pub fn make(
        &self,
        draft: &mut Draft<'_>,
        effects: &mut Effects,
        brought: &mut Vec<u64>,
    ) -> Result<bool, SpoolError> {
        let Recovery { rows, place, mark, extent } = self;
        let anchor = matches!(place, BodyPlace::File { .. }).then_some(*mark);
        let key = envelope_key(rows.id);
        if *extent == Extent::Entry {
            if !matches!(draft.get::<Entry>(Table::Envelope, &key), Err(SpoolError::Damaged(_))) {
                return Ok(false);
            }
            rows.store_entry(draft, place, anchor, Origin::Decision)?;
            return Ok(true);
        }
        if draft.raw(Table::Envelope, &key)?.is_some() {
            return Ok(false);
        }
        let whole = draft.with_prefix(Table::Batch, &key)?.is_empty();
        if whole {
            rows.store(draft, place, anchor, Origin::Decision)?;
        } else {
            // Only the envelope was forgotten: what is known of its recipients is worth more than what was accepted.
            rows.store_entry(draft, place, anchor, Origin::Decision)?;
        }
        if *extent == Extent::Whole {
            effects.envelopes += 1;
            effects.batches += if whole { signed(rows.batches) } else { 0 };
            effects.bytes += signed(rows.length);
            brought.push(mark.segment);
        }
        Ok(true)
    }
}
