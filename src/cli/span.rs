//! Spans of time as operators write them: `90s`, `15m`, `3h`, `2d`, `1w`, and several in a row: `1d12h`.
//!
//! The configuration's durations are those of Go and have no days; here days are what is usually meant.

use std::time::Duration;

/// Whole numbers with the units `s m h d w`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a span such as 90s, 15m, 3h, 2d or 1d12h".to_string();
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(digits);
        let mut letters = behind.chars();
        let unit: u64 = match letters.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            _ => return Err(wrong()),
        };
        rest = letters.as_str();
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        total = seconds.and_then(|seconds| total.checked_add(seconds)).ok_or_else(wrong)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::dice::Dice;

    #[test]
    fn spans_in_every_form() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("90m", 5400),
            ("3h", 10_800),
            ("2d", 172_800),
            ("1w", 604_800),
            ("1d12h", 129_600),
            ("1m1m", 120),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_span() {
        for text in [
            "",
            "5",
            "d",
            "5x",
            "5 m",
            "-5m",
            "+5m",
            "1.5h",
            "5M",
            "1d2",
            "5ms",
            "99999999999999999999s", // more than 64 bits
            "99999999999999999w",    // too many seconds
            "٣h",                    // digits of another alphabet
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parsers_take_any_text() {
        let letters = ["0", "9", "s", "d", "ä", "-", " ", "99999999999999999999", "\0", "w"];
        let mut dice = Dice::new(3);
        for _ in 0..20_000 {
            let text: String =
                (0..dice.below(7)).map(|_| letters[dice.below(letters.len())]).collect();
            let _ = parse(&text);
        }
    }
}
