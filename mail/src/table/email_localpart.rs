//! `email_localpart` and `email_localpart_optional`: the local part of an address, without quotes.

use super::{LookupError, Table};
use crate::address::Mailbox;

/// What a key that is no address comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnAddress {
    /// `email_localpart`: it has no value.
    Missing,
    /// `email_localpart_optional`: it is its own value.
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmailLocalpart(pub NotAnAddress);

impl Table for EmailLocalpart {
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError> {
        Ok(match (Mailbox::parse(key), self.0) {
            (Ok(mailbox), _) => vec![unquote(mailbox.local())],
            (Err(_), NotAnAddress::Missing) => Vec::new(),
            (Err(_), NotAnAddress::Kept) => vec![key.to_string()],
        })
    }
}

/// RFC 5321 §4.1.2: the string that a `Quoted-string` stands for.
fn unquote(local: &str) -> String {
    let Some(content) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return local.to_string();
    };
    let mut plain = String::with_capacity(content.len());
    let mut chars = content.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_without_quotes() {
        for (key, missing, kept) in [
            ("ann@example.org", "ann", "ann"),
            ("\"ann @ a\"@example.org", "ann @ a", "ann @ a"),
            (r#""a\"b\\"@example.org"#, r#"a"b\"#, r#"a"b\"#),
            ("postmaster", "postmaster", "postmaster"),
            ("ann", "", "ann"),
            ("ann@", "", "ann@"),
        ] {
            let look = |not_an| EmailLocalpart(not_an).lookup(key).unwrap().join("|");
            assert_eq!(look(NotAnAddress::Missing), missing, "{key}");
            assert_eq!(look(NotAnAddress::Kept), kept, "{key}");
        }
        assert!(EmailLocalpart(NotAnAddress::Missing).lookup("ann").unwrap().is_empty());
    }
}
