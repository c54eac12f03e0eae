//! Spans of time, as Go writes them.
//!
//! The arguments are joined without a separator: `1h 5m` is `1h5m`. humantime parses; a gate before it lets pass only the units of the
//! language, because to humantime `5M` is five months.

use std::time::Duration;

use super::{fault, words};
use crate::problem::{Problem, shown};
use crate::tree::Node;

/// U+00B5 and U+03BC are both called micro.
const UNITS: [&str; 7] = ["ns", "us", "µs", "ms", "s", "m", "h"];

/// 2^63 nanoseconds, some 292 years: the longest Go can say.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// Decimal numbers with the units `ns us µs ms s m h`, or `0`.
pub fn duration(node: &Node) -> Result<Duration, Problem> {
    parse(&words(node)?.concat()).map_err(|text| fault(node, text))
}

/// A duration, or the single word `off`.
pub fn duration_or_off(node: &Node) -> Result<Option<Duration>, Problem> {
    match words(node)? {
        [word] if word == "off" => Ok(None),
        _ => duration(node).map(Some),
    }
}

fn parse(text: &str) -> Result<Duration, String> {
    let text = text.replace('\u{3bc}', "µ");
    let found = shown(&text);
    if text.starts_with('-') {
        return Err(format!("duration {found} is negative"));
    }
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let mut units = text.split(is_digit).filter(|unit| !unit.is_empty()).peekable();
    if units.peek().is_none() && text != "0" {
        return Err(format!("duration {found} has no unit, one of {}", UNITS.join(" ")));
    }
    if let Some(unit) = units.find(|unit| !UNITS.contains(unit)) {
        let (unit, known) = (shown(unit), UNITS.join(" "));
        return Err(format!("duration {found} has the unit {unit}, expected one of {known}"));
    }
    let span = humantime::parse_duration(&text).map_err(|e| format!("duration {found}: {e}"))?;
    match span <= LONGEST {
        true => Ok(span),
        false => Err(format!("duration {found} is longer than 292 years")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, node};
    use super::*;

    fn good(args: &str, millis: u64) {
        assert_eq!(duration(&node(args)).unwrap(), Duration::from_millis(millis), "{args}");
    }

    fn bad(args: &str, text: &str) {
        let said = complaint(duration(&node(args)));
        assert!(said.starts_with("t:1: x: ") && said.contains(text), "{args}: {said}");
    }

    #[test]
    fn durations_in_every_form() {
        good("5m", 300_000);
        good("1h 5m", 3_900_000); // joined without separator
        good("2h30m", 9_000_000);
        good("1.5h", 5_400_000);
        good("1h0.5m", 3_630_000);
        good("1m1m", 120_000);
        good("300ms", 300);
        good("1 5 m", 900_000); // 15m
        good("0", 0);
        good("0s", 0);
        assert_eq!(duration(&node("100us")).unwrap(), Duration::from_micros(100));
        assert_eq!(duration(&node("100µs")).unwrap(), Duration::from_micros(100));
        assert_eq!(duration(&node("100μs")).unwrap(), Duration::from_micros(100)); // Greek mu
    }

    #[test]
    fn what_is_no_duration() {
        bad("150", "has no unit");
        bad("0.5", "has no unit");
        bad("\"\"", "has no unit");
        bad("-5m", "is negative");
        bad("5M", "has the unit M"); // five months to humantime
        for unit in ["d", "w", "y", "month", "hour", "sec", "x"] {
            bad(&format!("5{unit}"), "has the unit");
        }
        bad("\"5 m\"", "has the unit");
        bad("1h1d", "has the unit d");
        bad("5", "has no unit");
        bad("m", "duration m");
        bad("5m5", "duration 5m5");
        bad("1..5m", "duration");
        bad("9999999999h", "longer than 292 years");
        bad("99999999999999999999999999h", "duration");
        bad("", "expects at least one argument");
        bad("5m {\na\n}", "takes no block");
    }

    #[test]
    fn some_durations_can_be_switched_off() {
        assert_eq!(duration_or_off(&node("off")).unwrap(), None);
        assert_eq!(duration_or_off(&node("5s")).unwrap(), Some(Duration::from_secs(5)));
        assert!(complaint(duration(&node("off"))).contains("has the unit off"));
        assert!(duration_or_off(&node("off 5s")).is_err());
    }

    #[test]
    fn parsers_take_any_bytes() {
        let letters = ["0", "9", ".", "-", "m", "s", "h", "µ", "M", " ", "99999999999", "n", "+"];
        let mut dice = posthaste_mail::dice::Dice::new(5);
        for _ in 0..50_000 {
            let text: String =
                (0..dice.below(8)).map(|_| letters[dice.below(letters.len())]).collect();
            let _ = parse(&text);
        }
    }
}
