//! The queue's state: what is stored, who may attempt what, when to try again.
//!
//! An accepted envelope is split by destination into *batches*; a batch is what a lease covers: it has its own attempt count, its own
//! due time and its own end. `record` says what is stored, `lease` who may attempt, `schedule` when, and `ledger` ties them together.
//! `amendment` is what an operator changes, `archive` the form of a queue outside of its spool.

pub mod agenda;
pub mod amendment;
pub mod archive;
pub mod lease;
pub mod ledger;
pub mod lines;
pub mod parking;
pub mod reader;
pub mod reason;
pub mod record;
pub mod schedule;
pub mod silence;
pub mod site;
pub mod sites;
pub mod turns;
