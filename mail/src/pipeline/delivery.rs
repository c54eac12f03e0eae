//! What comes out of a pipeline: hops, and the deliveries they are grouped into.

use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Notify, Orcpt, Recipient};

/// One address at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop<T> {
    pub target: T,
    /// As the modifiers on this way left it.
    pub sender: ReversePath,
    pub recipient: Mailbox,
    /// What the client asked for, when that differs. Notifications name this one.
    pub original: Option<Mailbox>,
}

/// All recipients of a message that one target gets from one sender: one delivery, one envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<T> {
    pub target: T,
    pub sender: ReversePath,
    /// In the order of the RCPT commands. The same address may be here twice, for two originals.
    pub recipients: Vec<Recipient>,
}

/// The deliveries of a message so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliveries<T>(Vec<Delivery<T>>);

impl<T> Default for Deliveries<T> {
    fn default() -> Deliveries<T> {
        Deliveries(Vec::new())
    }
}

impl<T: PartialEq> Deliveries<T> {
    pub fn new() -> Deliveries<T> {
        Deliveries::default()
    }

    /// Adds the hops of one accepted RCPT with its DSN parameters. Hops of equal target and sender share a delivery, whichever
    /// pipelines they came through.
    pub fn add(&mut self, hops: Vec<Hop<T>>, orcpt: Option<&Orcpt>, notify: Option<Notify>) {
        for Hop { target, sender, recipient: address, original } in hops {
            let recipient = Recipient { address, original, orcpt: orcpt.cloned(), notify };
            let mut open = self.0.iter_mut();
            match open.find(|open| open.target == target && open.sender == sender) {
                Some(delivery) => delivery.recipients.push(recipient),
                None => self.0.push(Delivery { target, sender, recipients: vec![recipient] }),
            }
        }
    }

    /// In order of first appearance: that is the order in which targets get the message.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery<T>> {
        self.0.iter()
    }

    pub fn into_vec(self) -> Vec<Delivery<T>> {
        self.0
    }
}
