//! The text of a policy (RFC 8461 §3.2).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::matching::MxPattern;

/// The greatest `max_age`: about a year.
const LONGEST_LIFE: u32 = 31_557_600;
/// `mx` lines, of which no domain needs that many.
const MOST_PATTERNS: usize = 1000;

/// A policy that is valid as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    pub max_age: Duration,
    /// Exchangers the domain's mail may go to. May be empty only with `Mode::None`.
    pub mx: Vec<MxPattern>,
}

/// What is to be done about an exchanger that violates the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Mail must not go to it.
    Enforce,
    /// Mail goes to it, and the domain is told in a report.
    Testing,
    /// Nothing: the domain has, or announces to have, no policy.
    None,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        })
    }
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    NotUtf8,
    /// A line is not `key: value`; its number.
    NoField(usize),
    Version,
    Mode,
    MaxAge,
    /// The value of an `mx` line.
    Mx(String),
    TooManyMx,
    /// The field is not there.
    Missing(&'static str),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::NotUtf8 => f.write_str("not UTF-8"),
            PolicyError::NoField(line) => write!(f, "line {line} is not \"key: value\""),
            PolicyError::Version => f.write_str("version is not STSv1"),
            PolicyError::Mode => f.write_str("mode is none of enforce, testing, none"),
            PolicyError::MaxAge => f.write_str("max_age is not 1 to 10 digits"),
            PolicyError::Mx(value) => {
                write!(f, "mx is neither a name nor *. and a name: {value:?}")
            }
            PolicyError::TooManyMx => write!(f, "more than {MOST_PATTERNS} mx lines"),
            PolicyError::Missing(field) => write!(f, "there is no {field}"),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    pub fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
        let text = std::str::from_utf8(text).map_err(|_| PolicyError::NotUtf8)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (number, line) in lines(text) {
            let (key, value) = field(line).ok_or(PolicyError::NoField(number))?;
            match key {
                // RFC 8461 §3.2: of fields that may stand once, the first counts, except mx.
                "version" if version.is_none() => version = Some(self::version(value)?),
                "mode" if mode.is_none() => mode = Some(self::mode(value)?),
                "max_age" if max_age.is_none() => max_age = Some(self::max_age(value)?),
                "mx" if mx.len() == MOST_PATTERNS => return Err(PolicyError::TooManyMx),
                "mx" => mx.push(self::pattern(value)?),
                // RFC 8461 §3.2: unknown fields are ignored.
                _ => {}
            }
        }
        // RFC 8461 §3.2 wants it in the first line; elsewhere it says the same.
        version.ok_or(PolicyError::Missing("version"))?;
        let mode = mode.ok_or(PolicyError::Missing("mode"))?;
        let max_age = max_age.ok_or(PolicyError::Missing("max_age"))?;
        // RFC 8461 §3.2: at least one mx, unless the mode is none.
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Missing("mx"));
        }
        Ok(Policy { mode, max_age, mx })
    }
}

/// Lines that end with LF or CRLF, the last perhaps with neither, counted from one. Empty ones are skipped.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let numbered = lines.enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim_matches(BLANKS).is_empty())
}

/// RFC 5234 §B.1: WSP.
const BLANKS: [char; 2] = [' ', '\t'];

fn field(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let named = !key.is_empty()
        && key.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet));
    let value = value.trim_matches(BLANKS);
    // A CR that ends no line, and its like, are in no field (RFC 8461 §3.2, `sts-policy-ext-value`).
    (named && !value.chars().any(char::is_control)).then_some((key, value))
}

fn version(value: &str) -> Result<(), PolicyError> {
    if value == "STSv1" { Ok(()) } else { Err(PolicyError::Version) }
}

fn mode(value: &str) -> Result<Mode, PolicyError> {
    match value {
        "enforce" => Ok(Mode::Enforce),
        "testing" => Ok(Mode::Testing),
        "none" => Ok(Mode::None),
        _ => Err(PolicyError::Mode),
    }
}

/// RFC 8461 §3.2: 1*10DIGIT, at most 31557600. More is taken for the most.
fn max_age(value: &str) -> Result<Duration, PolicyError> {
    let fits = (1..=10).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    let seconds: Option<u64> = value.parse().ok().filter(|_| fits);
    let seconds = seconds.ok_or(PolicyError::MaxAge)?;
    Ok(Duration::from_secs(seconds.min(u64::from(LONGEST_LIFE))))
}

/// A policy with one pattern that cannot be understood is refused as a whole: the exchanger that was meant would be lost.
fn pattern(value: &str) -> Result<MxPattern, PolicyError> {
    MxPattern::parse(value).ok_or_else(|| PolicyError::Mx(value.chars().take(100).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n\
                        mx: backupmx.example.com\nmax_age: 604800\n";

    fn good(text: &str) -> Policy {
        Policy::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    fn bad(text: &str, why: PolicyError) {
        assert_eq!(Policy::parse(text.as_bytes()), Err(why), "{text:?}");
    }

    fn with(lines: &str) -> String {
        format!("version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1\n{lines}")
    }

    #[test]
    fn the_example_of_the_standard() {
        let policy = good(GOOD); // RFC 8461 §3.2
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        let mx: Vec<String> = policy.mx.iter().map(ToString::to_string).collect();
        assert_eq!(mx, ["mail.example.com", "*.example.net", "backupmx.example.com"]);
    }

    #[test]
    fn lines_end_as_they_like() {
        for text in [
            GOOD.replace('\n', "\r\n"),
            GOOD.replacen('\n', "\r\n", 2),  // mixed
            GOOD.trim_end().to_string(),     // the last without an end
            GOOD.replace(": ", ":"),         // no white space
            GOOD.replace(": ", ":\t  "),     // much of it
            GOOD.replace('\n', " \t\n"),     // and behind
            GOOD.replace('\n', "\n\n"),      // empty lines
            GOOD.replace('\n', "\r\n \r\n"), // nearly empty lines
            format!("\n{GOOD}\r\n"),
        ] {
            assert_eq!(good(&text), good(GOOD), "{text:?}");
        }
        bad(&GOOD.replace('\n', "\r"), PolicyError::NoField(1)); // CR alone ends no line
        bad(
            &GOOD.replacen("STSv1", "STSv1\r", 1).replacen('\n', "x\n", 1),
            PolicyError::NoField(1),
        );
    }

    #[test]
    fn fields_in_any_order_and_the_first_of_each() {
        let twice = with("mode: none\nmax_age: 9\nversion: STSv2\nmx: b.test");
        let policy = good(&twice);
        assert_eq!((policy.mode, policy.max_age.as_secs(), policy.mx.len()), (Mode::Enforce, 1, 2));
        assert_eq!(good("max_age: 1\nmx: a.test\nmode: enforce\nversion: STSv1"), good(&with("")));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let known = good(&with(""));
        for line in ["future: x", "future: a:b: c", "x-y.z_1: ä", "future:", "Mode: none", "MX: *"]
        {
            assert_eq!(good(&with(line)), known, "{line}");
        }
        bad(&with("no field"), PolicyError::NoField(5));
        bad(&with(": x"), PolicyError::NoField(5));
        bad(&with("key : x"), PolicyError::NoField(5)); // RFC 8461 §3.2: the colon follows at once
        bad(&with(" key: x"), PolicyError::NoField(5));
        bad(&with("future: a\0b"), PolicyError::NoField(5));
        bad("<!DOCTYPE html>", PolicyError::NoField(1));
    }

    #[test]
    fn every_field_has_its_form() {
        for version in ["STSv2", "stsv1", "", "STSv1 STSv1"] {
            bad(&GOOD.replace("STSv1", version), PolicyError::Version);
        }
        for mode in ["Enforce", "report", "", "enforce testing"] {
            bad(&GOOD.replace("enforce", mode), PolicyError::Mode);
        }
        for age in ["", "-1", "+1", "1.5", "1d", "0x10", "12345678901", "１"] {
            bad(&GOOD.replace("604800", age), PolicyError::MaxAge);
        }
        let age = |text| good(&GOOD.replace("604800", text)).max_age.as_secs();
        assert_eq!((age("0"), age("0000000007"), age("31557600")), (0, 7, 31_557_600));
        assert_eq!((age("31557601"), age("9999999999")), (31_557_600, 31_557_600)); // clamped
        for mx in [
            "*",
            "*mail.test",
            "mx.*.test",
            "192.0.2.1",
            "[192.0.2.1]",
            "2001:db8::1",
            "ä.test",
            "",
        ] {
            bad(&with(&format!("mx: {mx}")), PolicyError::Mx(mx.to_string()));
        }
    }

    #[test]
    fn every_field_has_to_be_there() {
        for field in ["version", "mode", "max_age"] {
            let left: Vec<&str> = GOOD.lines().filter(|l| !l.starts_with(field)).collect();
            bad(&left.join("\n"), PolicyError::Missing(field));
        }
        let without = GOOD.lines().filter(|l| !l.starts_with("mx")).collect::<Vec<_>>().join("\n");
        bad(&without, PolicyError::Missing("mx"));
        bad(&without.replace("enforce", "testing"), PolicyError::Missing("mx"));
        assert!(good(&without.replace("enforce", "none")).mx.is_empty());
        assert_eq!(good(&GOOD.replace("enforce", "none")).mx.len(), 3);
        bad("", PolicyError::Missing("version"));
        assert_eq!(Policy::parse(b"version: STSv1\xff"), Err(PolicyError::NotUtf8));
        bad(&with(&"mx: b.test\n".repeat(1000)), PolicyError::TooManyMx);
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = crate::dice::Dice::new(8461);
        let pieces =
            ["version: STSv1\n", "mode: none\n", "mx: *.b.test\n", "\r", ":", " ", "x", "\0"];
        let mut found = 0;
        for round in 0..50_000 {
            let mut text = GOOD.as_bytes().to_vec();
            for _ in 0..dice.below(4) {
                let place = dice.below(text.len() + 1);
                let end = place + dice.below(text.len() - place + 1).min(30);
                text.splice(place..end, pieces[dice.below(pieces.len())].bytes());
            }
            if round % 7 == 0 {
                text = (0..dice.below(60)).map(|_| dice.below(256) as u8).collect();
            }
            if let Ok(policy) = Policy::parse(&text) {
                assert!(policy.mode == Mode::None || !policy.mx.is_empty());
                assert!(policy.max_age.as_secs() <= u64::from(LONGEST_LIFE));
                found += 1;
            }
        }
        assert!(found > 20, "{found}");
    }
}
