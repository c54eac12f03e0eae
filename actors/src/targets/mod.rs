//! Delivery targets: one folder a kind.

pub mod queue;
pub mod remote;
