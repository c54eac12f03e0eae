//! Restart now, after a pause, or not: decided from the falls so far.

use std::time::Duration;

use posthaste_mail::time::Timestamp;

/// What happens when a child falls too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The process ends, the service manager starts it anew.
    EndProcess,
    /// The child rests this long and comes back.
    Suspend(Duration),
    /// The child is restarted for ever, at the longest pause.
    Never,
}

/// How a kind of child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    pub most: usize,
    pub within: Duration,
    pub first_pause: Duration,
    pub longest_pause: Duration,
    pub excess: Excess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Restart(Duration),
    Suspend(Duration),
    EndProcess,
}

impl Intensity {
    /// A queue: without it nothing moves.
    pub const QUEUE: Intensity = Intensity {
        most: 5,
        within: Duration::from_secs(60),
        first_pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(10),
        excess: Excess::EndProcess,
    };
    /// A target: the others go on without it.
    pub const TARGET: Intensity =
        Intensity { excess: Excess::Suspend(Duration::from_secs(300)), ..Intensity::QUEUE };
    /// Listeners, pools, the operator's socket.
    pub const SERVICE: Intensity = Intensity {
        longest_pause: Duration::from_secs(60),
        excess: Excess::Never,
        ..Intensity::QUEUE
    };

    /// Decides after the fall at `now`; `falls` are all falls remembered so far and are pruned here.
    pub fn decide(&self, falls: &mut Vec<Timestamp>, now: Timestamp) -> Decision {
        falls.push(now);
        falls.retain(|at| now.since(*at) < self.within);
        let count = falls.len();
        if count > self.most {
            match self.excess {
                Excess::EndProcess => return Decision::EndProcess,
                Excess::Suspend(rest) => {
                    falls.clear();
                    return Decision::Suspend(rest);
                }
                Excess::Never => {}
            }
        }
        let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        Decision::Restart((self.first_pause * 2u32.pow(doublings)).min(self.longest_pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(intensity: Intensity, seconds: &[u64]) -> Vec<Decision> {
        let mut memory = Vec::new();
        seconds
            .iter()
            .map(|s| intensity.decide(&mut memory, Timestamp::from_secs(1000 + s)))
            .collect()
    }

    #[test]
    fn crash_loop_pauses() {
        let pauses = falls(Intensity::QUEUE, &[0, 1, 2, 3, 4]);
        let millis = [100, 200, 400, 800, 1600];
        assert_eq!(pauses, millis.map(|m| Decision::Restart(Duration::from_millis(m))));
    }

    #[test]
    fn the_sixth_fall_within_a_minute_is_too_many() {
        assert_eq!(falls(Intensity::QUEUE, &[0, 1, 2, 3, 4, 5])[5], Decision::EndProcess);
        let rest = Decision::Suspend(Duration::from_secs(300));
        assert_eq!(falls(Intensity::TARGET, &[0, 1, 2, 3, 4, 5])[5], rest);
        assert!(
            matches!(falls(Intensity::SERVICE, &[0; 40])[39], Decision::Restart(p) if p.as_secs() == 60)
        );
    }

    #[test]
    fn old_falls_are_forgotten() {
        let seldom = falls(Intensity::QUEUE, &[0, 60, 120, 180, 240, 300, 360]);
        assert!(seldom.iter().all(|d| *d == Decision::Restart(Duration::from_millis(100))));
    }
}
