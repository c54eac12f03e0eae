//! The values of keys, in memory: `static { entry KEY VALUE... }`, and the content of a file table.

use std::collections::HashMap;

use super::{LookupError, Table};

/// Keys with their values. A key met again appends its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(HashMap<String, Vec<String>>);

impl Entries {
    pub fn new() -> Entries {
        Entries::default()
    }

    /// Adds values to a key. A key without values has one empty value: it exists, which is all that `destination_in` asks.
    pub fn add(&mut self, key: &str, values: &[&str]) {
        let stored = self.0.entry(key.to_string()).or_default();
        match values {
            [] => stored.push(String::new()),
            values => stored.extend(values.iter().map(ToString::to_string)),
        }
    }

    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Table for Entries {
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError> {
        Ok(self.values(key).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_met_again_appends() {
        let mut entries = Entries::new();
        entries.add("ann", &["a@example.org", "b@example.org"]);
        entries.add("ann", &["c@example.org"]);
        assert_eq!(
            entries.lookup("ann").unwrap(),
            ["a@example.org", "b@example.org", "c@example.org"]
        );
        assert_eq!(entries.lookup("bob").unwrap(), Vec::<String>::new());
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn a_key_without_values_exists() {
        let mut entries = Entries::new();
        entries.add("", &[]);
        assert_eq!(entries.lookup("").unwrap(), [""]);
    }
}
