//! One line of a `limits { }` block: `SCOPE rate BURST [PERIOD]` or `SCOPE concurrency MAX`.

use std::fmt;
use std::time::Duration;

use super::bucket::Rate;

/// What a limit is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything together.
    All,
    /// Each client address.
    Ip,
    /// Each domain of senders.
    Source,
    /// Each next hop.
    Destination,
}

impl Scope {
    /// In the order in which they are asked.
    pub const EVERY: [Scope; 4] = [Scope::All, Scope::Ip, Scope::Source, Scope::Destination];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::Ip => "ip",
            Scope::Source => "source",
            Scope::Destination => "destination",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A line, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    scope: Scope,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A limit of 0.
    Unlimited,
    Rate(Rate),
    /// This many at once.
    Concurrency(u64),
}

/// A line that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    NegativeBurst,
    NegativeMax,
    ZeroPeriod,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LineError::NegativeBurst => "a burst cannot be negative",
            LineError::NegativeMax => "a maximum cannot be negative",
            LineError::ZeroPeriod => "a period must be longer than zero",
        })
    }
}

impl std::error::Error for LineError {}

impl Line {
    /// `rate BURST [PERIOD]`: at most `burst` at once, and as many again in every period. 0 is no limit.
    pub fn rate(scope: Scope, burst: i64, period: Duration) -> Result<Line, LineError> {
        let burst = u64::try_from(burst).map_err(|_| LineError::NegativeBurst)?;
        if period.is_zero() {
            return Err(LineError::ZeroPeriod);
        }
        let kind = Rate::new(burst, period).map_or(Kind::Unlimited, Kind::Rate);
        Ok(Line { scope, kind })
    }

    /// `concurrency MAX`: at most this many at the same time. 0 is no limit.
    pub fn concurrency(scope: Scope, max: i64) -> Result<Line, LineError> {
        let kind = match u64::try_from(max) {
            Ok(0) => Kind::Unlimited,
            Ok(max) => Kind::Concurrency(max),
            Err(_) => return Err(LineError::NegativeMax),
        };
        Ok(Line { scope, kind })
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn zero_is_no_limit_and_less_is_an_error() {
        let rate = |burst, period| Line::rate(Scope::All, burst, period).map(|line| line.kind);
        let concurrency = |max| Line::concurrency(Scope::Ip, max).map(|line| line.kind);
        assert_eq!(rate(0, SECOND), Ok(Kind::Unlimited));
        assert!(matches!(rate(1, SECOND), Ok(Kind::Rate(_))));
        assert!(matches!(rate(i64::MAX, Duration::MAX), Ok(Kind::Rate(_))));
        assert_eq!(rate(-1, SECOND), Err(LineError::NegativeBurst));
        assert_eq!(rate(i64::MIN, SECOND), Err(LineError::NegativeBurst));
        assert_eq!(rate(1, Duration::ZERO), Err(LineError::ZeroPeriod));
        assert_eq!(rate(0, Duration::ZERO), Err(LineError::ZeroPeriod));
        assert_eq!(concurrency(0), Ok(Kind::Unlimited));
        assert_eq!(concurrency(7), Ok(Kind::Concurrency(7)));
        assert_eq!(concurrency(-1), Err(LineError::NegativeMax));
    }

    #[test]
    fn scopes_are_called_as_they_are_written() {
        let names: Vec<String> = Scope::EVERY.iter().map(Scope::to_string).collect();
        assert_eq!(names, ["all", "ip", "source", "destination"]);
    }
}
