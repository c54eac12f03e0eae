//! `email_with_domain DOMAIN...`: the key as a local part, at each of the domains.

use super::{LookupError, Table};
use crate::address::{AddressError, Domain, Mailbox};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailWithDomain {
    domains: Vec<Domain>,
}

impl EmailWithDomain {
    /// At least one domain; values come in the order given here.
    pub fn new(domains: &[&str]) -> Result<EmailWithDomain, AddressError> {
        if domains.is_empty() {
            return Err(AddressError::NoDomain);
        }
        let domains = domains.iter().map(|text| Domain::parse(text)).collect::<Result<_, _>>()?;
        Ok(EmailWithDomain { domains })
    }
}

impl Table for EmailWithDomain {
    /// A key that no quoting makes a local part (empty, too long, control characters) has no value.
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError> {
        if key.is_empty() {
            return Ok(Vec::new());
        }
        let with = |local: &str| -> Vec<String> {
            let addresses = self.domains.iter().map(|d| format!("{local}@{}", d.unicode()));
            addresses.filter(|address| Mailbox::parse(address).is_ok()).collect()
        };
        Ok(match with(key) {
            plain if !plain.is_empty() => plain,
            _ => with(&quoted(key)),
        })
    }
}

/// RFC 5321 §4.1.2 `Quoted-string`: quotes and backslashes behind a backslash.
fn quoted(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 2);
    text.push('"');
    for c in key.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_at_each_domain() {
        let table = EmailWithDomain::new(&["example.org", "XN--MNCHEN-3YA.example."]).unwrap();
        for (key, expected) in [
            ("ann", "ann@example.org|ann@münchen.example"),
            ("ann b", "\"ann b\"@example.org|\"ann b\"@münchen.example"), // needs quotes
            ("a@b", "\"a@b\"@example.org|\"a@b\"@münchen.example"),
            ("a\"b", "\"a\\\"b\"@example.org|\"a\\\"b\"@münchen.example"),
            ("", ""),
            ("a\nb", ""),
        ] {
            assert_eq!(table.lookup(key).unwrap().join("|"), expected, "{key:?}");
        }
        assert!(table.lookup(&"x".repeat(65)).unwrap().is_empty());
    }

    #[test]
    fn domains_are_checked() {
        assert_eq!(EmailWithDomain::new(&[]), Err(AddressError::NoDomain));
        assert_eq!(EmailWithDomain::new(&["a..b"]), Err(AddressError::BadLabels));
    }
}
