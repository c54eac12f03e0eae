//! Tables: a key in, values out.
//!
//! Rules (`source_in`, `destination_in`) and modifiers (`replace_rcpt`, `replace_sender`) ask tables. A table is a pure function of
//! its key and of the snapshot it holds; what reads files and refreshes snapshots lives elsewhere. Keys arrive in comparison form
//! (`Mailbox::normalized`); a table compares them as they are.

pub mod chain;
pub mod email_localpart;
pub mod email_with_domain;
pub mod entries;
pub mod file;
pub mod identity;
pub mod regexp;

use std::fmt;

pub use chain::{Chain, Step};
pub use email_localpart::{EmailLocalpart, NotAnAddress};
pub use email_with_domain::EmailWithDomain;
pub use entries::Entries;
pub use file::{FileTable, FileWarning, ParsedFile, parse_file_table};
pub use identity::Identity;
pub use regexp::{Regexp, RegexpError, RegexpOptions};

/// A map from texts to texts. Shared by rules and sessions, so it is `Send + Sync`.
pub trait Table: Send + Sync + fmt::Debug {
    /// All values of `key`, in order; none means that the table has no such key. An error says nothing about the key: whoever asks
    /// must answer "try again later", never "no".
    fn lookup(&self, key: &str) -> Result<Vec<String>, LookupError>;
}

/// A table that cannot answer now. Always temporary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError {
    /// Which table, and what is wrong with it. For the log, not for clients.
    pub text: String,
}

impl LookupError {
    pub fn new(text: impl Into<String>) -> LookupError {
        LookupError { text: text.into() }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for LookupError {}

/// At most this many values come of one key or one address; more is taken for a mistake in the configuration.
pub const MAX_VALUES: usize = 10_000;

#[cfg(test)]
pub(crate) mod broken {
    use super::{LookupError, Table};

    /// A table that never answers.
    #[derive(Debug)]
    pub struct Broken;

    impl Table for Broken {
        fn lookup(&self, _: &str) -> Result<Vec<String>, LookupError> {
            Err(LookupError::new("reading aliases: permission denied"))
        }
    }
}
