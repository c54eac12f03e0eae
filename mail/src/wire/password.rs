//! A password on its way from a client or a configuration to whoever checks it.

use std::fmt;

/// It cannot be printed; only `expose` gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(password: impl Into<String>) -> Password {
        Password(password.into())
    }

    /// The password itself, for the one who checks it or has to show it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it_by_mistake() {
        let password = Password::new("correct horse");
        assert!(!format!("{password:?} {:#?}", Some(&password)).contains("horse"));
        assert_eq!(password.expose(), "correct horse");
    }
}
