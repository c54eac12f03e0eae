//! Everything actors say to each other; no logic.

pub mod admin;
pub mod delivery;
pub mod intake;
pub mod lifecycle;
pub mod passage;
pub mod policy;
pub mod pool;
