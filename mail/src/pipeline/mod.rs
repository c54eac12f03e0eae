//! Which targets an address goes to.
//!
//! The body of an endpoint, of `bounce { }`, of `msgpipeline NAME { }` and of `reroute { }` is a pipeline. A reader of the
//! configuration turns its directives into a `Block` (`grammar`), `Pipeline::build` checks the rules of the grammar and reports every
//! problem with the place it was given. Then, for each message:
//!
//! 1. `start` applies the root's modifiers to the sender, selects the `source` block by what came out and applies its modifiers;
//! 2. `route`, for each recipient, applies the root's modifiers (one address may become several), then those of the source block;
//! 3. for each result the `destination` block is selected; it rejects, or applies its modifiers, and every address that results goes
//!    to every exit of the block, in the order of the file;
//! 4. an exit is a target, or another pipeline, which begins at 1 with the sender and the address it is given.
//!
//! A recipient goes everywhere or nowhere: the first refusal is the answer for all of it, and no hop is returned. What a table cannot
//! tell is tried again later, never guessed. Nothing here talks to a target: hops are grouped into deliveries and handed over
//! elsewhere.

mod construction;
mod delivery;
mod fault;
mod grammar;
mod modify;
mod refusal;
mod reject;
mod reroute;
mod rule;
mod selection;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

pub use construction::Built;
pub use delivery::{Deliveries, Delivery, Hop};
pub use fault::{Fault, PipelineError, PipelineWarning};
pub use grammar::{Block, Directive, Exit, Place, Verb};
pub use modify::Modifier;
pub use refusal::Refusal;
pub use reject::{Reject, RejectWarning};
pub use reroute::{AlreadyBound, SharedPipeline};
pub use rule::Rule;
pub use transaction::Transaction;

use modify::PlacedModifier;
use selection::Selection;

/// A checked pipeline. `T` names a target: an index or an address, cheap to clone and equal to itself.
#[derive(Debug)]
pub struct Pipeline<T> {
    place: Place,
    modifiers: Vec<PlacedModifier>,
    sources: Selection<Source<T>>,
}

/// What a `source` block decides for its senders.
#[derive(Debug)]
struct Source<T> {
    modifiers: Vec<PlacedModifier>,
    destinations: Selection<Destination<T>>,
}

/// What a `destination` block does with its recipients.
#[derive(Debug)]
struct Destination<T> {
    modifiers: Vec<PlacedModifier>,
    action: Action<T>,
}

#[derive(Debug)]
enum Action<T> {
    Reject(Reject, Place),
    /// Every exit gets every recipient, in this order. Never empty.
    Send(Vec<Way<T>>),
}

/// An exit as the transaction walks it.
#[derive(Debug)]
enum Way<T> {
    Target(T),
    /// `reroute { }`: a pipeline of its own, used here only.
    Nested(Arc<Pipeline<T>>),
    /// `deliver_to &msgpipeline`: bound when all blocks are read.
    Shared(SharedPipeline<T>, Place),
}

impl<T: Clone + PartialEq> Pipeline<T> {
    /// Every target this pipeline can reach, through nested pipelines too, each once, in the order of the file.
    pub fn targets(&self) -> Vec<T> {
        let mut targets = Vec::new();
        reroute::visit_ways(self, &mut |way| {
            if let Way::Target(target) = way
                && !targets.contains(target)
            {
                targets.push(target.clone());
            }
        });
        targets
    }

    /// Where the pipeline stands in the configuration.
    pub fn place(&self) -> &Place {
        &self.place
    }
}
