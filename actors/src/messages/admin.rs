//! What the operator's requests become.

use actix::Message;
use tokio::sync::mpsc::UnboundedSender;

use posthaste_mail::admin::answer::{
    Affected, BatchLine, ChildLine, DeliveryLine, Explanation, MessageView, QueueLine,
};
use posthaste_mail::admin::finding::Finding;
use posthaste_mail::admin::request::{self, Filter};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::route::destination::DestinationKey;

/// Admin -> Root: the actor tree.
#[derive(Clone, Copy, Debug)]
pub struct ShowActors;

impl Message for ShowActors {
    type Result = Vec<ChildLine>;
}

/// Admin -> Root: make the named actor panic.
#[derive(Clone, Debug)]
pub struct PanicChild {
    pub name: String,
}

impl Message for PanicChild {
    type Result = bool;
}

/// Admin -> Queue: its depth and what runs.
#[derive(Clone, Copy, Debug)]
pub struct ShowQueue;

impl Message for ShowQueue {
    type Result = QueueView;
}

#[derive(Clone, Debug)]
pub struct QueueView {
    pub line: QueueLine,
    pub running: Vec<DeliveryLine>,
    /// What is wrong with its spool.
    pub wrong: Vec<String>,
}

/// Admin -> Queue: waiting batches that match, from after `after`, at most a page of them.
#[derive(Clone, Debug)]
pub struct ListBatches {
    pub filter: Filter,
    pub after: Option<EnvelopeId>,
}

impl Message for ListBatches {
    type Result = Result<Page, String>;
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    pub lines: Vec<BatchLine>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<EnvelopeId>,
}

/// Admin -> Queue: one message, if it is here.
#[derive(Clone, Copy, Debug)]
pub struct ShowMessage {
    pub id: EnvelopeId,
}

impl Message for ShowMessage {
    type Result = Result<Option<MessageView>, String>;
}

/// Admin -> Queue: why does this message not move? `None`: it is not here.
#[derive(Clone, Copy, Debug)]
pub struct ExplainMessage {
    pub id: EnvelopeId,
}

impl Message for ExplainMessage {
    type Result = Result<Option<Vec<Explanation>>, String>;
}

/// Admin -> Queue: the same of a destination, and of targets that its mail waits for together with other mail. Empty: nothing waits for it,
/// and nothing is known.
#[derive(Clone, Debug)]
pub struct ExplainDestination {
    pub destination: DestinationKey,
}

impl Message for ExplainDestination {
    type Result = Result<Vec<Explanation>, String>;
}

/// Admin -> Queue: change the matching batches. It is done to its end also when nobody waits for the answer.
#[derive(Clone, Debug)]
pub struct Act {
    pub act: request::Act,
    /// Who wishes it: `uid 1000`.
    pub by: String,
}

impl Message for Act {
    type Result = Result<Affected, Unable>;
}

/// Why nothing, or not everything, was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unable {
    /// It cannot be done, and nothing was.
    Refused(String),
    /// A fault of ours; part of it may be done.
    Fault(String),
}

/// Admin -> RemoteDelivery: what would a delivery meet now? `Ok` means that a task tells it until it ends, or nobody listens any more; an
/// error says why it did not begin. There are at most a few dozen findings of one probe.
#[derive(Clone, Debug)]
pub struct Examine {
    pub destination: DestinationKey,
    pub findings: UnboundedSender<Finding>,
}

impl Message for Examine {
    type Result = Result<(), String>;
}
