//! One delivery attempt, from the next hop to the outcome of each recipient.
//!
//! The attempt is a readable function over the trait `Ports`: it resolves, prefers, connects, transacts and reports, in that order on
//! the page, and owns no socket, no timer and no actor.

pub mod addressee;
pub mod credentials;
pub mod forward;
pub mod ladder;
pub mod mailing;
pub mod phase;
pub mod ports;
pub mod probe;
pub mod remote;
mod run;
pub mod verdict;
pub mod walk;
