//! A moment, as an argument.
//!
//! Nothing in this package reads a clock: whoever calls brings `now`. A `Timestamp` counts microseconds since the Unix epoch, so it
//! sorts as a number and fits a key of the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const ZERO: Timestamp = Timestamp(0);

    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros)
    }

    pub const fn from_secs(secs: u64) -> Timestamp {
        Timestamp(secs.saturating_mul(1_000_000))
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This moment plus `span`; stays at the last representable moment instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Timestamp {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }

    #[must_use]
    pub fn minus(self, span: Duration) -> Timestamp {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(micros))
    }

    /// Time from `earlier` to this moment; zero when the clock went backwards.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// RFC 5322 §3.3 `date-time`, in UTC: `Tue, 24 Nov 2026 03:12:00 +0000`.
    pub fn rfc5322(self) -> String {
        self.shown("%a, %d %b %Y %H:%M:%S +0000")
    }

    /// RFC 3339 with milliseconds, in UTC: `2026-11-24T03:12:00.000Z`.
    pub fn rfc3339(self) -> String {
        self.shown("%Y-%m-%dT%H:%M:%S.%3fZ")
    }

    /// A moment beyond the calendar (year 9999) shows as the last one in it.
    fn shown(self, format: &str) -> String {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        let moment = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
        moment.strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_as_the_two_standards_want_it() {
        let moment = Timestamp::from_micros(1_795_489_920_123_456);
        assert_eq!(moment.rfc3339(), "2026-11-24T03:12:00.123Z");
        assert_eq!(moment.rfc5322(), "Tue, 24 Nov 2026 03:12:00 +0000");
    }

    #[test]
    fn never_wraps() {
        assert_eq!(Timestamp::from_micros(u64::MAX).plus(Duration::MAX).as_micros(), u64::MAX);
        assert_eq!(Timestamp::from_secs(1).minus(Duration::from_secs(2)), Timestamp::ZERO);
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(u64::MAX).rfc5322().len(), 31);
    }
}
