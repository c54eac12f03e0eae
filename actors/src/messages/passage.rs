//! A message that goes straight through, from a client to a forwarder's server, with the server's answers to the client.

use actix::Message;
use tokio::sync::{mpsc, oneshot};

use posthaste_edge::body::Body;
use posthaste_mail::envelope::{Envelope, MessageFlags, Recipient};
use posthaste_mail::outcome::Failure;
use posthaste_mail::wire::client::auth::Account;
use posthaste_mail::wire::client::transaction::Fate;

/// Endpoint -> Forward: a client has named the first recipient of a message that goes straight to this target.
pub struct Begin {
    /// As far as it is known before the content is; the size is the one that the client has declared, or 0.
    pub envelope: Envelope,
    /// What the client logged in with, for `auth forward`.
    pub client: Option<Account>,
}

impl Message for Begin {
    type Result = Result<Passage, Failure>;
}

/// One transaction with the server. To drop it is to give it up: the server has no content then.
#[derive(Debug)]
pub struct Passage(pub mpsc::Sender<Order>);

/// Endpoint -> passage task.
#[derive(Debug)]
pub enum Order {
    Name {
        recipient: Box<Recipient>,
        answer: oneshot::Sender<Result<(), Failure>>,
    },
    /// All are named. The answers are in the order of naming, those that were refused included.
    Deliver {
        content: Body,
        /// What the content has shown.
        flags: MessageFlags,
        answer: oneshot::Sender<Vec<Fate>>,
    },
}

impl Passage {
    /// Whether the server takes this recipient.
    pub async fn name(&self, recipient: Recipient) -> Result<(), Failure> {
        let (answer, told) = oneshot::channel();
        let order = Order::Name { recipient: Box::new(recipient), answer };
        self.0.send(order).await.map_err(|_| fallen())?;
        told.await.map_err(|_| fallen())?
    }

    /// What the server says to the content.
    pub async fn deliver(self, content: Body, flags: MessageFlags) -> Result<Vec<Fate>, Failure> {
        let (answer, told) = oneshot::channel();
        self.0.send(Order::Deliver { content, flags, answer }).await.map_err(|_| fallen())?;
        told.await.map_err(|_| fallen())
    }
}

fn fallen() -> Failure {
    Failure::new(posthaste_mail::outcome::Cause::Internal, "the forwarding task has fallen")
}
