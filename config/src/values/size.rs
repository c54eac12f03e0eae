//! Amounts of data.

use std::fmt;

use super::{fault, words};
use crate::problem::{Problem, shown};
use crate::tree::Node;

/// Octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Size {
    pub fn octets(self) -> u64 {
        self.0
    }
}

const UNITS: [(char, u64); 5] =
    [('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10), ('B', 1), ('b', 1)];

/// As it is written in a configuration: `1G 5M`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut rest = self.0;
        for (unit, factor) in UNITS.into_iter().filter(|(unit, _)| *unit != 'b') {
            let count = rest / factor;
            rest %= factor;
            if count > 0 {
                let space = if rest > 0 { " " } else { "" };
                write!(f, "{count}{unit}{space}")?;
            }
        }
        Ok(())
    }
}

/// Digits with one of `G M K B b`, powers of 1024; several items are added. A zero needs no unit.
pub fn size(node: &Node) -> Result<Size, Problem> {
    parse(&words(node)?.join(" ")).map_err(|text| fault(node, text))
}

fn parse(text: &str) -> Result<Size, String> {
    let mut total = 0u64;
    let mut items = text.split(' ').filter(|item| !item.is_empty()).peekable();
    if items.peek().is_none() {
        return Err("expects a size like 32M, found nothing".to_string());
    }
    for item in items {
        let octets = one(item)?;
        total = total.checked_add(octets).ok_or_else(|| too_large(text))?;
    }
    Ok(Size(total))
}

fn one(item: &str) -> Result<u64, String> {
    let (digits, factor) = match UNITS.iter().find(|(unit, _)| item.ends_with(*unit)) {
        Some((unit, factor)) => (item.trim_end_matches(*unit), *factor),
        None => (item, 0), // right for zeros only
    };
    let one_unit = item.len() - digits.len() <= 1;
    if !one_unit || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("size {} is not digits with one of the units G M K B", shown(item)));
    }
    let count: u64 = digits.parse().map_err(|_| too_large(item))?;
    match (count, factor) {
        (0, _) => Ok(0),
        (_, 0) => Err(format!("size {} has no unit, one of G M K B", shown(item))),
        (count, factor) => count.checked_mul(factor).ok_or_else(|| too_large(item)),
    }
}

fn too_large(text: &str) -> String {
    format!("size {} is too large", shown(text))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{complaint, node};
    use super::*;

    fn good(args: &str, octets: u64) {
        let found = size(&node(args)).unwrap();
        assert_eq!(found.octets(), octets, "{args}");
        assert_eq!(parse(&found.to_string()).unwrap(), found, "{found} reads back");
    }

    fn bad(args: &str, text: &str) {
        let said = complaint(size(&node(args)));
        assert!(said.starts_with("t:1: x: ") && said.contains(text), "{args}: {said}");
    }

    #[test]
    fn sizes_in_every_form() {
        good("32M", 32 << 20);
        good("1G", 1 << 30);
        good("5K", 5120);
        good("100B", 100);
        good("100b", 100);
        good("1G 5M 7b", (1 << 30) + (5 << 20) + 7); // items are added
        good("\"1M 1K\"", (1 << 20) + 1024);
        good("0", 0);
        good("0M", 0);
        good("17179869183G", 17_179_869_183 << 30);
    }

    #[test]
    fn what_is_no_size() {
        bad("32", "has no unit");
        bad("32m", "is not digits with one of the units");
        bad("32k", "is not digits");
        bad("32M5K", "is not digits");
        bad("1.5G", "is not digits");
        bad("-1M", "is not digits");
        bad("+1M", "is not digits");
        bad("MM", "is not digits");
        bad("1MM", "is not digits");
        bad("M", "is not digits");
        bad("1 M", "has no unit"); // items are joined with a space
        bad("\"\"", "found nothing");
        bad("", "expects at least one argument");
        bad("17179869184G", "is too large");
        bad("99999999999999999999999G", "is too large");
        bad("17179869183G 1G", "is too large");
        bad("1M {\na\n}", "takes no block");
    }
}
