//! Segment files: what was written, in the order it was written.
//!
//! A record is a header of 48 octets, an envelope, a body, and zeros up to a multiple of 8. Two kinds are messages: the `Accepted` as
//! JSON and the content behind it, or in a file of its own. The third are the changes of a group of jobs (`change`), without envelope.
//! The header's checksum covers the number of the segment and the offset, so that a record is only believed in the place where it was
//! written: neither a torn tail nor a message that contains a segment can be taken for one. Numbers are little-endian.
//!
//! ```text
//!  0  magic "PHsg"      4  version      5  kind      6  maker      7  zero
//!  8  length of the envelope, 4 octets          12  length of the body, 8 octets
//! 20  envelope id, 16 octets
//! 36  crc32c of the envelope    40  crc32c of the body    44  crc32c of segment number, offset and what stands before
//! ```

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use posthaste_mail::envelope::EnvelopeId;
use serde::{Deserialize, Serialize};

pub const HEADER: usize = 48;
const MAGIC: [u8; 4] = *b"PHsg";
const VERSION: u8 = 1;

/// A place in the segments: records are written in this order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mark {
    pub segment: u64,
    pub offset: u64,
}

/// Where the body of a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Behind the envelope.
    Inline,
    /// In a file of its own.
    Apart,
    /// No message: the changes of a group.
    Changes,
}

/// Who brought the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A client: nobody else knows of it once it is acknowledged.
    Client,
    /// A settlement of this queue: if the settlement did not reach the store, it will be made again.
    Settlement,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub maker: Maker,
    pub id: EnvelopeId,
    pub envelope_length: u32,
    pub envelope_sum: u32,
    pub body_length: u64,
    pub body_sum: u32,
}

impl Head {
    pub fn encode(&self, at: Mark) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = match self.kind {
            Kind::Inline => 1,
            Kind::Apart => 2,
            Kind::Changes => 3,
        };
        bytes[6] = match self.maker {
            Maker::Client => 1,
            Maker::Settlement => 2,
        };
        bytes[8..12].copy_from_slice(&self.envelope_length.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.body_length.to_le_bytes());
        bytes[20..36].copy_from_slice(&self.id.to_bytes());
        bytes[36..40].copy_from_slice(&self.envelope_sum.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_sum.to_le_bytes());
        let sum = header_sum(&bytes, at);
        bytes[44..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None`: no record begins here.
    pub fn decode(bytes: &[u8; HEADER], at: Mark) -> Option<Head> {
        let four = |from: usize| -> Option<u32> {
            bytes.get(from..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
        };
        if bytes[..4] != MAGIC || bytes[4] != VERSION || four(44)? != header_sum(bytes, at) {
            return None;
        }
        let kind = match bytes[5] {
            1 => Kind::Inline,
            2 => Kind::Apart,
            3 => Kind::Changes,
            _ => return None,
        };
        let maker = match bytes[6] {
            1 => Maker::Client,
            2 => Maker::Settlement,
            _ => return None,
        };
        Some(Head {
            kind,
            maker,
            id: EnvelopeId::from_bytes(*bytes.get(20..)?.first_chunk()?),
            envelope_length: four(8)?,
            envelope_sum: four(36)?,
            body_length: u64::from_le_bytes(*bytes.get(12..)?.first_chunk()?),
            body_sum: four(40)?,
        })
    }

    /// Octets of the body that stand in the segment.
    fn inline_length(&self) -> u64 {
        match self.kind {
            Kind::Inline | Kind::Changes => self.body_length,
            Kind::Apart => 0,
        }
    }

    /// Octets of the whole record, the zeros behind it included.
    pub fn record_length(&self) -> u64 {
        let length = (HEADER as u64)
            .saturating_add(u64::from(self.envelope_length))
            .saturating_add(self.inline_length());
        length.checked_next_multiple_of(8).unwrap_or(u64::MAX)
    }

    /// Where the body begins when the record begins at `offset`.
    pub fn body_offset(&self, offset: u64) -> u64 {
        offset.saturating_add(HEADER as u64).saturating_add(u64::from(self.envelope_length))
    }
}

fn header_sum(bytes: &[u8; HEADER], at: Mark) -> u32 {
    let sum = crc32c::crc32c(&at.segment.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &at.offset.to_le_bytes());
    crc32c::crc32c_append(sum, &bytes[..44])
}

/// A whole record as found in a segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub offset: u64,
    pub head: Head,
    pub envelope: &'a [u8],
    /// Empty when it lies apart.
    pub body: &'a [u8],
}

/// Every sound record of a segment from `from` on. What is torn, zero or damaged is passed over.
pub fn records(number: u64, content: &[u8], from: u64) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    let Some(mut offset) = usize::try_from(from).ok().and_then(|f| f.checked_next_multiple_of(8))
    else {
        return found;
    };
    while let Some(rest) = content.get(offset..).filter(|rest| rest.len() >= HEADER) {
        match record(number, rest, offset as u64) {
            Some(record) => {
                offset = offset.saturating_add(
                    usize::try_from(record.head.record_length()).unwrap_or(usize::MAX),
                );
                found.push(record);
            }
            None => {
                // Records begin at multiples of 8.
                let steps = rest.chunks_exact(8).skip(1).position(|c| c.starts_with(&MAGIC));
                let Some(steps) = steps else { break };
                offset += 8 * (steps + 1);
            }
        }
    }
    found
}

/// The heads of messages whose records do not verify, from `from` on.
pub fn torn_heads(number: u64, content: &[u8], from: u64) -> Vec<Head> {
    let sound: HashSet<u64> = records(number, content, from).iter().map(|f| f.offset).collect();
    let Some(from) = from.checked_next_multiple_of(8) else { return Vec::new() };
    let start = usize::try_from(from).unwrap_or(usize::MAX);
    let pieces = content.get(start..).unwrap_or_default().chunks_exact(8);
    let marked = pieces.enumerate().filter(|(_, piece)| piece.starts_with(&MAGIC));
    let places = marked.map(|(steps, _)| from + 8 * steps as u64);
    let torn = places.filter(|offset| !sound.contains(offset)).filter_map(|offset| {
        let rest = content.get(usize::try_from(offset).ok()?..)?;
        Head::decode(rest.first_chunk()?, Mark { segment: number, offset })
    });
    torn.filter(|head| head.kind != Kind::Changes).collect()
}

/// Header and envelope of the record at a place, whatever became of its body.
pub fn envelope_at(content: &[u8], at: Mark) -> Option<(Head, &[u8])> {
    let rest = content.get(usize::try_from(at.offset).ok()?..)?;
    let (header, rest) = rest.split_first_chunk::<HEADER>()?;
    let head = Head::decode(header, at)?;
    let envelope = rest.get(..usize::try_from(head.envelope_length).ok()?)?;
    (crc32c::crc32c(envelope) == head.envelope_sum).then_some((head, envelope))
}

fn record(number: u64, rest: &[u8], offset: u64) -> Option<Found<'_>> {
    let (header, rest) = rest.split_first_chunk::<HEADER>()?;
    let head = Head::decode(header, Mark { segment: number, offset })?;
    let (envelope, rest) = rest.split_at_checked(usize::try_from(head.envelope_length).ok()?)?;
    let body = rest.get(..usize::try_from(head.inline_length()).ok()?)?;
    let sound = crc32c::crc32c(envelope) == head.envelope_sum
        && (head.kind == Kind::Apart || crc32c::crc32c(body) == head.body_sum);
    sound.then_some(Found { offset, head, envelope, body })
}

/// Name of a segment's file.
pub fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}"))
}

/// The disk or the quota is used up.
pub fn out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;
    use posthaste_mail::time::Timestamp;

    use super::*;
    use crate::spool::suite::Scratch;
    use crate::spool::writer::{NoAppend, Writer};

    fn head(dice: &mut Dice, envelope: &[u8], body: &[u8]) -> Head {
        Head {
            kind: Kind::Inline,
            maker: Maker::Client,
            id: EnvelopeId::new(Timestamp::ZERO, dice),
            envelope_length: envelope.len() as u32,
            envelope_sum: crc32c::crc32c(envelope),
            body_length: body.len() as u64,
            body_sum: crc32c::crc32c(body),
        }
    }

    /// Three records in segment 1, as on disk, and where they begin.
    fn three(directory: &Path) -> (Vec<u8>, Vec<Mark>) {
        let mut dice = Dice::new(2);
        let mut writer = Writer::new(directory.to_path_buf(), 4096, 1);
        let mut marks = Vec::new();
        for body in [&b"one"[..], b"", b"three three three"] {
            let head = head(&mut dice, b"{}", body);
            marks.push(writer.append(&head, b"{}", body).unwrap());
        }
        writer.flush(|| {}).unwrap();
        writer.close().unwrap();
        (std::fs::read(path(directory, 1)).unwrap(), marks)
    }

    #[test]
    fn records_are_found_again() {
        let scratch = Scratch::new();
        let (content, marks) = three(scratch.path());
        let found = records(1, &content, 0);
        let offsets: Vec<u64> = found.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, marks.iter().map(|mark| mark.offset).collect::<Vec<_>>());
        assert_eq!(records(1, &content, marks[1].offset).len(), 2);
        assert!(records(2, &content, 0).is_empty()); // not this segment's
        assert!(records(1, &content, u64::MAX).is_empty());
    }

    #[test]
    fn a_torn_tail_is_ignored() {
        let scratch = Scratch::new();
        let (content, marks) = three(scratch.path());
        for cut in marks[2].offset as usize..content.len() - 7 {
            assert_eq!(records(1, &content[..cut], 0).len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_record_hides_no_others() {
        let scratch = Scratch::new();
        let (content, marks) = three(scratch.path());
        for byte in marks[0].offset as usize..marks[1].offset as usize - 3 {
            let mut damaged = content.clone();
            damaged[byte] ^= 0x10;
            assert_eq!(records(1, &damaged, 0).len(), 2, "byte {byte}");
        }
    }

    #[test]
    fn a_record_inside_a_body_is_no_record() {
        let scratch = Scratch::new();
        let (stolen, _) = three(scratch.path());
        let mut writer = Writer::new(scratch.path().to_path_buf(), 4096, 9);
        let outer = head(&mut Dice::new(3), b"{}", &stolen);
        writer.append(&outer, b"{}", &stolen).unwrap();
        writer.flush(|| {}).unwrap();
        let mut content = std::fs::read(path(scratch.path(), 9)).unwrap();
        assert_eq!(records(9, &content, 0).len(), 1);
        content[0] = 0; // the outer record is not found, and still the inner ones are not believed
        assert!(records(9, &content, 0).is_empty());
    }

    #[test]
    fn a_group_never_spans_segments() {
        let scratch = Scratch::new();
        let mut writer = Writer::new(scratch.path().to_path_buf(), 256, 5);
        let body = [b'x'; 100];
        let head = head(&mut Dice::new(4), b"{}", &body);
        let append = |writer: &mut Writer| writer.append(&head, b"{}", &body);
        assert_eq!(append(&mut writer).unwrap(), Mark { segment: 5, offset: 0 });
        assert!(matches!(append(&mut writer), Err(NoAppend::GroupFull)));
        writer.flush(|| {}).unwrap();
        assert_eq!(append(&mut writer).unwrap(), Mark { segment: 6, offset: 0 });
        let length = writer.pending();
        writer.cut(0);
        assert_eq!(append(&mut writer).unwrap(), Mark { segment: 6, offset: 0 });
        writer.flush(|| {}).unwrap();
        assert_eq!(writer.end(), Mark { segment: 6, offset: length as u64 });
        assert_eq!(std::fs::metadata(path(scratch.path(), 5)).unwrap().len(), 152);
    }

    #[test]
    fn a_large_record_has_its_own_segment() {
        let scratch = Scratch::new();
        let mut writer = Writer::new(scratch.path().to_path_buf(), 256, 1);
        let body = vec![b'x'; 5000];
        let head = head(&mut Dice::new(4), b"{}", &body);
        writer.append(&head, b"{}", &body).unwrap();
        writer.flush(|| {}).unwrap();
        let content = std::fs::read(path(scratch.path(), 1)).unwrap();
        assert_eq!(records(1, &content, 0).len(), 1);
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(6);
        for _ in 0..500 {
            let mut content: Vec<u8> =
                (0..dice.below(400)).map(|_| dice.next_u64() as u8).collect();
            for place in
                (0..content.len()).step_by(8).filter(|_| dice.fraction() < 0.5).collect::<Vec<_>>()
            {
                let end = content.len().min(place + 4);
                content[place..end].copy_from_slice(&MAGIC[..end - place]);
            }
            assert!(records(1, &content, 0).is_empty());
        }
    }
}
