//! Every touch of the outside world, turned into values and errors: no retries, no fallbacks, no policy, no log.

pub mod body;
pub mod buffer;
pub mod clock;
pub mod spool;
