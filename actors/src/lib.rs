//! Who does it, when, and what happens when it crashes.

pub mod intake;
pub mod messages;
pub mod pool;
pub mod reading;
pub mod root;
pub mod targets;
pub mod task;
pub mod trace;
