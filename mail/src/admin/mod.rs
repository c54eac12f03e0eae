//! What an operator asks and is told, as types. Both sides of the socket use them.

pub mod answer;
pub mod finding;
pub mod request;
pub mod wire;

/// Raised when an answer changes its meaning; members are only ever added without.
pub const PROTOCOL: u32 = 1;
