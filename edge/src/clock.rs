//! The only reader of time and of the system's randomness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_mail::dice::Dice;
use posthaste_mail::time::Timestamp;

/// Tells the time; the manual kind stands still until a test moves it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    pub fn manual(start: Timestamp) -> Clock {
        Clock(Source::Manual(Arc::new(AtomicU64::new(start.as_micros()))))
    }

    #[allow(clippy::disallowed_methods)] // the one place
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::ZERO.plus(since)
            }
            Source::Manual(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; the system's is not ours to move.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(micros) = &self.0 {
            micros.store(self.now().plus(span).as_micros(), Ordering::SeqCst);
        }
    }
}

/// Fresh dice, seeded by the operating system.
pub fn dice() -> Dice {
    let mut seed = [0u8; 8];
    match getrandom::fill(&mut seed) {
        Ok(()) => Dice::new(u64::from_ne_bytes(seed)),
        // Jitter and ids stay distinct by time if the system has no entropy to give.
        Err(_) => Dice::new(Clock::system().now().as_micros()),
    }
}
