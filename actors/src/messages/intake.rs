//! A message on its way in.

use actix::Message;

use posthaste_edge::body::Body;
use posthaste_mail::envelope::{Envelope, EnvelopeId, Recipient};
use posthaste_mail::status::Enhanced;

/// Endpoint or operator -> Queue: keep this. The answer comes when it is on disk; without an answer nothing is known, and the client
/// will send again.
#[derive(Debug)]
pub struct Accept {
    /// `id` is the sender's own; the queue gives the stored envelope a new one.
    pub envelope: Envelope,
    pub recipients: Vec<Recipient>,
    pub body: Body,
}

/// Why a message is not taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub status: Enhanced,
    pub text: String,
}

impl Message for Accept {
    type Result = Result<EnvelopeId, Refusal>;
}
