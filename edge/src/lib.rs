//! Every touch of the outside world, turned into values and errors: no retries, no fallbacks, no policy, no log.

pub mod body;
pub mod buffer;
pub mod clock;
pub mod dial;
pub mod dns;
pub mod duplex;
pub mod fault;
pub mod hints;
pub mod https;
pub mod machine;
pub mod seal;
pub mod session;
pub mod signal;
pub mod socket;
pub mod spool;
pub mod sts_store;
pub mod tls;
pub mod whereabouts;
