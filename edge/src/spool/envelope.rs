//! The stored form of an envelope: the record, and for bodies that lie apart the place of the segment's record.

use posthaste_mail::envelope::Envelope;
use posthaste_mail::queue::record::{BodyPlace, EnvelopeRecord};
use serde::Deserialize;

use super::SpoolError;
use super::sealed::Sealed;
use super::segment::Mark;

/// An `EnvelopeRecord` with one member more. In `BodyPlace::Segment` the offset is that of the record, not of the body behind it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub envelope: Envelope,
    pub body: BodyPlace,
    #[serde(default)]
    pub anchor: Option<Mark>,
}

impl Entry {
    /// The segment's record that keeps this envelope; `None` only in the memory spool.
    pub fn mark(&self) -> Option<Mark> {
        match self.body {
            BodyPlace::Segment { segment, offset, .. } => Some(Mark { segment, offset }),
            BodyPlace::File { .. } => self.anchor,
        }
    }

    pub fn into_record(self) -> EnvelopeRecord {
        EnvelopeRecord { envelope: self.envelope, body: self.body }
    }
}

/// The record of an envelope that is encoded already.
pub fn encode_entry(
    envelope: &[u8],
    place: &BodyPlace,
    anchor: Option<Mark>,
) -> Result<Sealed, SpoolError> {
    let body = part(place)?;
    let anchor = part(&anchor)?;
    Sealed::of_parts(&[
        b"{\"envelope\":",
        envelope,
        b",\"body\":",
        &body,
        b",\"anchor\":",
        &anchor,
        b"}",
    ])
}

fn part<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, SpoolError> {
    serde_json::to_vec(value)
        .map_err(|e| SpoolError::Damaged(format!("a record cannot be written: {e}")))
}
