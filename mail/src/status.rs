//! Enhanced mail system status codes (RFC 3463): three numbers whose first repeats the class of the reply.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Enhanced {
    /// Reads `class.subject.detail` where the class is 2, 4 or 5 and the others have at most three digits (RFC 3463 §2).
    pub fn parse(text: &str) -> Option<Enhanced> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let subject = digits(parts.next()?)?;
        let detail = digits(parts.next()?)?;
        parts.next().is_none().then_some(Enhanced(class, subject, detail))
    }

    /// The code that says nothing but the class, for servers that send none.
    pub fn of_class(code: u16) -> Enhanced {
        match code {
            200..=299 => Enhanced(2, 0, 0),
            500..=599 => Enhanced(5, 0, 0),
            _ => Enhanced(4, 0, 0),
        }
    }
}

fn digits(text: &str) -> Option<u16> {
    let fits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_of_a_known_class() {
        assert_eq!(Enhanced::parse("4.7.500"), Some(Enhanced(4, 7, 500)));
        for bad in
            ["", "4", "4.7", "3.1.1", "4.7.1000", "4.-7.1", "4.7.1.2", "4..1", "44.1.1", "4.7.١"]
        {
            assert_eq!(Enhanced::parse(bad), None, "{bad:?}");
        }
    }
}
