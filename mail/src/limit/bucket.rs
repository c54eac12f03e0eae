//! The token bucket.
//!
//! It starts full with `burst` tokens and fills smoothly, `burst` of them in a period, so that every stretch of time passes at most the
//! burst and its share. Arithmetic is in whole numbers: a token is `period` nanoseconds of level, and each nanosecond adds `burst`.
//! Sums that leave 128 bits (a period of ages) stay at the top, which is a full bucket.

use std::time::Duration;

use crate::time::Timestamp;

/// What a line says: the same for every key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Tokens; at least one.
    burst: u128,
    /// Nanoseconds; at least one.
    period: u128,
}

/// How full it was, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    level: u128,
    at: Timestamp,
}

impl Rate {
    /// `None` when it limits nothing: a burst or a period of zero.
    pub fn new(burst: u64, period: Duration) -> Option<Rate> {
        let rate = Rate { burst: u128::from(burst), period: period.as_nanos() };
        (rate.burst > 0 && rate.period > 0).then_some(rate)
    }

    pub fn period(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.period).unwrap_or(u64::MAX))
    }

    pub fn full(&self, now: Timestamp) -> Bucket {
        Bucket { level: self.capacity(), at: now }
    }

    /// When a token will be there; `None` when one is.
    pub fn due(&self, bucket: &Bucket, now: Timestamp) -> Option<Timestamp> {
        let bucket = self.at(bucket, now);
        self.reaches(&bucket, self.period)
    }

    /// Takes a token that is there.
    pub fn take(&self, bucket: &mut Bucket, now: Timestamp) {
        *bucket = self.at(bucket, now);
        bucket.level = bucket.level.saturating_sub(self.period);
    }

    /// When it will be full again, or has been.
    pub fn full_at(&self, bucket: &Bucket) -> Timestamp {
        self.reaches(bucket, self.capacity()).unwrap_or(bucket.at)
    }

    fn capacity(&self) -> u128 {
        self.burst.saturating_mul(self.period)
    }

    /// The bucket as it is now. A clock that went back by more than a period was set, and time counts on from there; by less, the
    /// moments of the past are not filled in twice.
    fn at(&self, bucket: &Bucket, now: Timestamp) -> Bucket {
        let passed = now.since(bucket.at).as_nanos();
        let level = bucket.level.saturating_add(passed.saturating_mul(self.burst));
        let set_back = bucket.at.since(now).as_nanos() > self.period;
        let at = if set_back { now } else { bucket.at.max(now) };
        Bucket { level: level.min(self.capacity()), at }
    }

    /// When the level is reached; `None` when it is.
    fn reaches(&self, bucket: &Bucket, level: u128) -> Option<Timestamp> {
        let missing = level.checked_sub(bucket.level).filter(|missing| *missing > 0)?;
        let nanos = missing.div_ceil(self.burst);
        // Rounded up to what a `Timestamp` can say, so that the token is really there.
        let micros = u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX);
        Some(bucket.at.plus(Duration::from_micros(micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(10_000_000 + millis * 1000)
    }

    fn rate(burst: u64, period: Duration) -> Rate {
        Rate::new(burst, period).unwrap()
    }

    /// Takes a token if there is one.
    fn taken(rate: &Rate, bucket: &mut Bucket, now: Timestamp) -> bool {
        let there = rate.due(bucket, now).is_none();
        if there {
            rate.take(bucket, now);
        }
        there
    }

    #[test]
    fn starts_full_and_fills_smoothly() {
        let rate = rate(4, Duration::from_secs(1)); // one in 250 ms
        let mut bucket = rate.full(at(0));
        for (millis, granted) in [
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (249, false),
            (250, true),
            (499, false),
            (500, true),
            (10_000, true), // full, and no fuller
            (10_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, false),
        ] {
            assert_eq!(taken(&rate, &mut bucket, at(millis)), granted, "{millis}");
        }
        assert_eq!(rate.due(&bucket, at(10_000)), Some(at(10_250)));
        assert_eq!(rate.full_at(&bucket), at(11_000));
    }

    #[test]
    fn the_moment_it_names_is_the_first_one() {
        for (burst, period) in [
            (3, Duration::from_secs(1)), // does not divide
            (7, Duration::from_millis(1)),
            (1, Duration::from_nanos(1)),
            (1, Duration::from_secs(86_400)),
            (1_000_003, Duration::from_secs(7)),
        ] {
            let rate = rate(burst, period);
            let mut bucket = rate.full(at(0));
            let mut granted = 0;
            while granted < burst && taken(&rate, &mut bucket, at(0)) {
                granted += 1;
            }
            assert_eq!(granted, burst);
            let due = rate.due(&bucket, at(0)).unwrap();
            let before = due.minus(Duration::from_micros(1));
            assert!(rate.due(&bucket, due).is_none());
            assert!(before == at(0) || rate.due(&bucket, before).is_some(), "{burst}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_neither_gives_nor_starves() {
        let rate = rate(1, Duration::from_secs(1));
        let mut bucket = rate.full(at(100_000));
        assert!(taken(&rate, &mut bucket, at(100_000)));
        // Back by less than a period: time that was counted is not counted again.
        assert!(!taken(&rate, &mut bucket, at(99_500)));
        assert_eq!(rate.due(&bucket, at(99_500)), Some(at(101_000)));
        // Back by more: the token comes one period after the new now, not an hour later.
        assert_eq!(rate.due(&bucket, at(5_000)), Some(at(6_000)));
    }

    #[test]
    fn extremes_do_not_overflow() {
        for (burst, period) in [
            (u64::MAX, Duration::MAX),
            (u64::MAX, Duration::from_nanos(1)),
            (1, Duration::MAX),
            (i64::MAX as u64, Duration::from_nanos(i64::MAX as u64)),
        ] {
            let rate = rate(burst, period);
            let mut bucket = rate.full(Timestamp::ZERO);
            for now in [Timestamp::ZERO, Timestamp::from_micros(u64::MAX), at(0)] {
                assert!(
                    rate.due(&bucket, now)
                        .is_none_or(|due| due > now || due.as_micros() == u64::MAX)
                );
                rate.take(&mut bucket, now);
                rate.full_at(&bucket);
                rate.period();
            }
        }
        assert_eq!(Rate::new(0, Duration::MAX), None);
        assert_eq!(Rate::new(1, Duration::ZERO), None);
    }
}
