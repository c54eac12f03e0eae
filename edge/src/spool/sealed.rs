//! The form of every value in the store: a version, a checksum, JSON.
//!
//! A `Sealed` cannot be larger than 64 KB, because larger pages would leave the one file whose syncs we control; what does not fit is
//! refused before anything is written. What is read is checked before it is believed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SpoolError;

/// The form written now; readers refuse others.
const VERSION: u8 = 1;
/// Version and checksum.
const FRONT: usize = 5;
/// Octets a value may have, all included.
pub const LIMIT: usize = 64 << 10;

/// A value ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    pub fn new<T: Serialize>(value: &T) -> Result<Sealed, SpoolError> {
        let mut bytes = vec![0; FRONT];
        serde_json::to_writer(&mut bytes, value)
            .map_err(|e| SpoolError::Damaged(format!("a record cannot be written: {e}")))?;
        Sealed::close(bytes)
    }

    /// Seals JSON put together from encoded parts, so that the parts are encoded once.
    pub fn of_parts(parts: &[&[u8]]) -> Result<Sealed, SpoolError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(FRONT + length);
        bytes.resize(FRONT, 0);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Sealed::close(bytes)
    }

    fn close(mut bytes: Vec<u8>) -> Result<Sealed, SpoolError> {
        if bytes.len() > LIMIT {
            let size = bytes.len();
            return Err(SpoolError::Damaged(format!(
                "a record of {size} octets, {LIMIT} are allowed"
            )));
        }
        let sum = checksum(VERSION, bytes.get(FRONT..).unwrap_or_default());
        if let Some(front) = bytes.first_chunk_mut::<FRONT>() {
            front[0] = VERSION;
            front[1..].copy_from_slice(&sum.to_le_bytes());
        }
        Ok(Sealed(bytes))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a stored value; `Err` says what is wrong with it.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (front, json) = bytes.split_first_chunk::<FRONT>().ok_or("too short")?;
    let [version, sum @ ..] = *front;
    if version != VERSION {
        return Err(format!("unknown version {version}"));
    }
    if u32::from_le_bytes(sum) != checksum(version, json) {
        return Err("checksum".into());
    }
    serde_json::from_slice(json).map_err(|e| e.to_string())
}

/// Does the checksum agree? What the value says is not looked at.
pub fn is_sound(bytes: &[u8]) -> bool {
    open::<serde::de::IgnoredAny>(bytes).is_ok()
}

fn checksum(version: u8, json: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[version]), json)
}

#[cfg(test)]
mod tests {
    use posthaste_mail::dice::Dice;
    use posthaste_mail::queue::record::BatchRecord;

    use super::*;

    #[test]
    fn reads_back_what_was_sealed() {
        let bytes = Sealed::new(&vec![1u32, 2, 3]).unwrap().into_bytes();
        assert_eq!(open::<Vec<u32>>(&bytes), Ok(vec![1, 2, 3]));
        let parts = Sealed::of_parts(&[b"[1,", b"2", b",3]"]).unwrap().into_bytes();
        assert_eq!(parts, bytes);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = Sealed::new(&"a text").unwrap().into_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<String>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(open::<String>(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_large_value_is_refused() {
        assert!(Sealed::new(&"x".repeat(LIMIT - FRONT - 2)).is_ok());
        assert!(Sealed::new(&"x".repeat(LIMIT - FRONT - 1)).is_err());
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(4);
        for _ in 0..2000 {
            let mut bytes: Vec<u8> = (0..dice.below(60)).map(|_| dice.next_u64() as u8).collect();
            assert!(open::<BatchRecord>(&bytes).is_err());
            // With a true checksum, so that the JSON reader is reached.
            if bytes.len() > FRONT {
                let sum = checksum(VERSION, &bytes[FRONT..]);
                bytes[0] = VERSION;
                bytes[1..FRONT].copy_from_slice(&sum.to_le_bytes());
                assert!(open::<BatchRecord>(&bytes).is_err());
            }
        }
    }
}
