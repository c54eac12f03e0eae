//! One message on its way through a pipeline: the sender once, then each recipient.

use std::sync::Arc;

use super::modify::{modify_recipient, modify_sender, too_many};
use super::{Action, Hop, Pipeline, Refusal, Source, Way};
use crate::address::{Mailbox, ReversePath};
use crate::table::MAX_VALUES;

/// Pipelines inside pipelines; a circle would go on for ever. A hundred fit in a quarter of a thread's stack.
const MAX_DEPTH: usize = 100;

/// A message between MAIL and the end of its recipients. Sender modifiers run once for each pipeline and message, so that all
/// recipients of a target have the same sender, whatever happens to a table meanwhile.
#[derive(Debug)]
pub struct Transaction<T> {
    pipeline: Arc<Pipeline<T>>,
    source: Arc<Source<T>>,
    sender: ReversePath,
    /// Pipelines entered with this sender so far.
    nested: Vec<Transaction<T>>,
}

impl<T: Clone> Pipeline<T> {
    /// Begins a message. A `reject` for its source block still waits for the recipients.
    pub fn start(self: &Arc<Self>, from: &ReversePath) -> Result<Transaction<T>, Refusal> {
        let sender = modify_sender(&self.modifiers, from.clone())?;
        let source = Arc::clone(self.sources.select(sender.mailbox())?);
        let sender = modify_sender(&source.modifiers, sender)?;
        Ok(Transaction { pipeline: Arc::clone(self), source, sender, nested: Vec::new() })
    }
}

impl<T: Clone> Transaction<T> {
    /// The sender that targets of this pipeline get.
    pub fn sender(&self) -> &ReversePath {
        &self.sender
    }

    /// Where a recipient goes: everywhere or, with a refusal, nowhere.
    pub fn route(&mut self, recipient: &Mailbox) -> Result<Vec<Hop<T>>, Refusal> {
        let mut hops = Vec::new();
        self.walk(recipient, recipient, 0, &mut hops)?;
        Ok(hops)
    }

    fn walk(
        &mut self,
        recipient: &Mailbox,
        original: &Mailbox,
        depth: usize,
        hops: &mut Vec<Hop<T>>,
    ) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            let refusal = Refusal::internal("local routing goes in circles, try again later");
            return Err(refusal.at(&self.pipeline.place));
        }
        let source = Arc::clone(&self.source);
        for recipient in modify_recipient(&self.pipeline.modifiers, recipient)? {
            for recipient in modify_recipient(&source.modifiers, &recipient)? {
                let destination = source.destinations.select(Some(&recipient))?;
                let ways = match &destination.action {
                    Action::Reject(reject, place) => return Err(reject.refusal(place)),
                    Action::Send(ways) => ways,
                };
                for recipient in modify_recipient(&destination.modifiers, &recipient)? {
                    for way in ways {
                        self.leave(way, &recipient, original, depth, hops)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one recipient through one exit.
    fn leave(
        &mut self,
        way: &Way<T>,
        recipient: &Mailbox,
        original: &Mailbox,
        depth: usize,
        hops: &mut Vec<Hop<T>>,
    ) -> Result<(), Refusal> {
        let next = match way {
            Way::Target(target) => {
                // Bounds the walk too: every branch of it ends in a hop or in a refusal.
                if hops.len() >= MAX_VALUES {
                    return Err(too_many().at(&self.pipeline.place));
                }
                let changed = recipient != original;
                hops.push(Hop {
                    target: target.clone(),
                    sender: self.sender.clone(),
                    recipient: recipient.clone(),
                    original: changed.then(|| original.clone()),
                });
                return Ok(());
            }
            Way::Nested(nested) => nested,
            Way::Shared(shared, place) => shared.pipeline().ok_or_else(|| {
                let refusal = Refusal::internal("local routing is not ready, try again later");
                refusal.at(place).with_detail(&format!("msgpipeline {} is unbound", shared.name()))
            })?,
        };
        self.enter(next)?.walk(recipient, original, depth + 1, hops)
    }

    /// The transaction in a nested pipeline, begun when it is first needed.
    fn enter(&mut self, pipeline: &Arc<Pipeline<T>>) -> Result<&mut Transaction<T>, Refusal> {
        let known = self.nested.iter().position(|t| Arc::ptr_eq(&t.pipeline, pipeline));
        let index = match known {
            Some(index) => index,
            None => {
                self.nested.push(pipeline.start(&self.sender)?);
                self.nested.len() - 1
            }
        };
        // The index was found or made just above.
        self.nested.get_mut(index).ok_or_else(|| Refusal::internal("local routing failed"))
    }
}
