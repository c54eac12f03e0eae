//! Numbers with a range.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{fault, word};
use crate::problem::{Problem, shown};
use crate::tree::Node;

/// A decimal number with an optional sign, within `range`, in any integer type.
pub fn integer<T>(node: &Node, range: RangeInclusive<T>) -> Result<T, Problem>
where
    T: TryFrom<i128> + PartialOrd + Display + Copy,
{
    let text = word(node)?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // More digits than the widest type holds are a number, too, only out of range.
    let value = text.parse::<i128>().ok().and_then(|wide| T::try_from(wide).ok());
    match value.filter(|value| range.contains(value)) {
        Some(value) => Ok(value),
        None => {
            let (from, to) = (range.start(), range.end());
            let what = if is_number { "a number" } else { "a whole number" };
            Err(fault(node, format!("expects {what} from {from} to {to}, found {}", shown(text))))
        }
    }
}

/// A number with fraction or exponent, finite and within `range`. Hexadecimal ones, `inf` and `nan` are refused.
pub fn float(node: &Node, range: RangeInclusive<f64>) -> Result<f64, Problem> {
    let text = word(node)?;
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite() && range.contains(v));
    value.ok_or_else(|| {
        let bounds = match (*range.start(), *range.end()) {
            (f64::MIN, f64::MAX) => String::new(),
            (from, f64::MAX) => format!(" of at least {from}"),
            (f64::MIN, to) => format!(" of at most {to}"),
            (from, to) => format!(" from {from} to {to}"),
        };
        fault(node, format!("expects a finite number{bounds}, found {}", shown(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, node};
    use super::*;

    #[test]
    fn integers_keep_to_their_range() {
        let port = |text| integer::<u16>(&node(text), 1..=65535);
        assert_eq!(port("25").unwrap(), 25);
        assert_eq!(port("+25").unwrap(), 25);
        assert_eq!(port("65535").unwrap(), 65535);
        for out in ["0", "-1", "65536", "99999999999999999999999999999999999999999999"] {
            let text = format!("t:1: x: expects a number from 1 to 65535, found {out}");
            assert_eq!(complaint(port(out)), text);
        }
        for no in ["many", "0x10", "1_000", "1.5", "5M", "+", "\"1 \"", "\"\"", "٣"] {
            assert!(
                complaint(port(no)).starts_with("t:1: x: expects a whole number from 1 to 65535"),
                "{no}"
            );
        }
        assert_eq!(complaint(port("1 2")), "t:1: x: expects one argument, found 2");
        assert_eq!(complaint(port("")), "t:1: x: expects one argument, found none");
        assert_eq!(complaint(port("1 {\nb\n}")), "t:1: x: takes no block");
        assert_eq!(integer::<i32>(&node("-5"), i32::MIN..=i32::MAX).unwrap(), -5);
        assert_eq!(integer::<u64>(&node("18446744073709551615"), 0..=u64::MAX).unwrap(), u64::MAX);
        assert!(integer::<u64>(&node("18446744073709551616"), 0..=u64::MAX).is_err());
    }

    #[test]
    fn floats_are_finite() {
        let any = |text| float(&node(text), f64::MIN..=f64::MAX);
        assert_eq!(any("1.25").unwrap(), 1.25);
        assert_eq!(any("-1e3").unwrap(), -1000.0);
        assert_eq!(any(".5").unwrap(), 0.5);
        for no in ["inf", "-inf", "nan", "1e999", "0x1p2", "x", "\"\""] {
            assert!(
                complaint(any(no)).starts_with("t:1: x: expects a finite number, found"),
                "{no}"
            );
        }
        let scale = |text| float(&node(text), 1.0..=f64::MAX);
        assert_eq!(
            complaint(scale("0.5")),
            "t:1: x: expects a finite number of at least 1, found 0.5"
        );
        let share = |text| float(&node(text), 0.0..=1.0);
        assert_eq!(complaint(share("2")), "t:1: x: expects a finite number from 0 to 1, found 2");
    }
}
