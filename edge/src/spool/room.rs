//! Is there room for new messages?

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use posthaste_mail::time::Timestamp;

use crate::clock::Clock;

/// How long an answer of the file system is believed.
const BELIEVED: Duration = Duration::from_millis(100);
const LARGEST_RESERVE: u64 = 64 << 20;

/// Below the reserve new messages are refused, so that those in the queue can go on.
#[derive(Debug)]
pub struct Room {
    directory: PathBuf,
    reserve: Option<u64>,
    clock: Clock,
    last: Mutex<Option<(Timestamp, bool)>>,
}

impl Room {
    /// `reserve` in octets; by default 64 MiB or a hundredth of the file system, whichever is less.
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

    fn measure(&self) -> bool {
        // If the file system does not answer, the write itself will tell.
        let Ok(system) = rustix::fs::statvfs(&self.directory) else { return true };
        let octets = |blocks: u64| blocks.saturating_mul(system.f_frsize);
        let reserve = self.reserve.unwrap_or(LARGEST_RESERVE.min(octets(system.f_blocks) / 100));
        octets(system.f_bavail) > reserve
    }
}
