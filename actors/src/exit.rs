//! Where a pipeline lets messages out: targets by number, and the doors behind the numbers.

use std::sync::Arc;

use actix::Recipient;

use posthaste_mail::wire::client::opening::Dialect;

use crate::limits::SharedLimits;
use crate::messages::intake::{Accept, Decide};
use crate::messages::passage::Begin;
use crate::vault::Vault;

/// A configured target, by its place in the list of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exit(pub usize);

/// What stands behind an exit.
#[derive(Clone)]
pub enum Door {
    Queue {
        accept: Recipient<Accept>,
        decide: Recipient<Decide>,
        /// Its target is a forwarder with `auth forward`: what the client logged in with waits here.
        vault: Option<Arc<Vault>>,
    },
    /// A forwarder: its server answers while the client waits.
    Through(Through),
    /// Accepts and discards.
    Dummy,
    /// Nothing can be handed over here; the configuration sees to it that nobody comes.
    Closed,
}

/// How a forwarder is reached without a queue.
#[derive(Clone)]
pub struct Through {
    pub begin: Recipient<Begin>,
    /// What its servers speak.
    pub spoken: Dialect,
    /// `auth forward`: it logs in as the client.
    pub as_client: bool,
    pub limits: Option<SharedLimits>,
}
