//! A message on its way in.

use actix::Message;

use posthaste_edge::body::Body;
use posthaste_mail::envelope::{Envelope, EnvelopeId, Recipient};
use posthaste_mail::status::Enhanced;
use posthaste_mail::time::Timestamp;

/// Endpoint or operator -> Queue: keep this. The answer comes when it is on disk; without an answer nothing is known, and the client
/// will send again.
#[derive(Debug)]
pub struct Accept {
    /// `id` is the sender's own; the queue gives the stored envelope a new one.
    pub envelope: Envelope,
    pub recipients: Vec<Recipient>,
    pub body: Body,
    /// The message goes to several queues: this one keeps it off its schedule until `Decide` comes.
    pub undecided: bool,
}

/// Why a message is not taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub status: Enhanced,
    pub text: String,
}

/// Endpoint -> Queue: all queues of the message have it, or it is withdrawn. `false`: there was nothing to decide. Without an answer, or
/// without the question, the next start withdraws it; no client was told that it was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Decide {
    pub id: EnvelopeId,
    pub keep: bool,
    /// As the envelope says.
    pub arrived: Timestamp,
}

impl Message for Decide {
    type Result = bool;
}

impl Message for Accept {
    type Result = Result<EnvelopeId, Refusal>;
}
