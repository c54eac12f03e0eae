//! Is there room for new messages, and for what those that are there already need?

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthaste_mail::time::Timestamp;

use crate::clock::Clock;

/// How long an answer of the file system is believed.
const BELIEVED: Duration = Duration::from_millis(100);
const LEAST_RESERVE: u64 = 24 << 20;
const LARGEST_RESERVE: u64 = 64 << 20;
/// The database takes up to so many times what is written to it,
const GROWTH: u64 = 3;
/// and the file grows by such pieces.
const PIECE: u64 = 8 << 20;

/// Below the reserve new messages are refused, so that those in the queue can go on.
#[derive(Debug)]
pub struct Room {
    directory: PathBuf,
    reserve: Option<u64>,
    clock: Clock,
    last: Mutex<Option<(Timestamp, bool)>>,
}

impl Room {
    /// `reserve` in octets; by default a hundredth of the file system, at least 24 and at most 64 MiB.
    pub fn new(directory: PathBuf, reserve: Option<u64>, clock: Clock) -> Room {
        Room { directory, reserve, clock, last: Mutex::new(None) }
    }

    pub fn is_left(&self) -> bool {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            // A clock that was set back must not freeze the answer.
            Some((at, answer)) if now >= at && now.since(at) < BELIEVED => answer,
            _ => {
                let answer = self.measure();
                *last = Some((now, answer));
                answer
            }
        }
    }

    /// Can the database take so many octets?
    pub fn is_enough(&self, octets: usize) -> bool {
        self.free().is_none_or(|(free, _)| free > octets as u64 * GROWTH + PIECE)
    }

    fn measure(&self) -> bool {
        let Some((free, size)) = self.free() else { return true };
        let reserve = || (size / 100).clamp(LEAST_RESERVE, LARGEST_RESERVE);
        free > self.reserve.unwrap_or_else(reserve)
    }

    /// Octets that are free, and that there are. If the file system does not answer, the write itself will tell.
    fn free(&self) -> Option<(u64, u64)> {
        let system = rustix::fs::statvfs(&self.directory).ok()?;
        let octets = |blocks: u64| blocks.saturating_mul(system.f_frsize);
        Some((octets(system.f_bavail), octets(system.f_blocks)))
    }
}
