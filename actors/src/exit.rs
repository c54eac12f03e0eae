//! Where a pipeline lets messages out: targets by number, and the doors behind the numbers.

use actix::Recipient;

use crate::messages::intake::{Accept, Decide};

/// A configured target, by its place in the list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exit(pub usize);

/// What stands behind an exit.
#[derive(Clone)]
pub enum Door {
    Queue {
        accept: Recipient<Accept>,
        decide: Recipient<Decide>,
    },
    /// Accepts and discards.
    Dummy,
    /// Nothing can be handed over here; the configuration sees to it that nobody comes.
    Closed,
}
