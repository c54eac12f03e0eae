//! Who listens to a session.

use std::fmt;

/// Told of everything as it goes over the line, inside of TLS as outside; of content only how much it was.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Commands, before they are written.
    fn sends(&self, bytes: &[u8]);

    /// Octets of replies, in any cut.
    fn receives(&self, bytes: &[u8]);

    /// Octets of content that were written.
    fn sends_content(&self, octets: usize);

    /// All of the content is out, with its end.
    fn ends_content(&self);

    /// Something that is not said in words.
    fn notes(&self, text: fmt::Arguments<'_>);
}

/// Nobody listens.
impl Listener for () {
    fn sends(&self, _: &[u8]) {}
    fn receives(&self, _: &[u8]) {}
    fn sends_content(&self, _: usize) {}
    fn ends_content(&self) {}
    fn notes(&self, _: fmt::Arguments<'_>) {}
}
