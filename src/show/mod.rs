//! What people and programs are shown: tables and lines for people, JSON lines for programs.
//!
//! Everything goes through `page`, which escapes what a peer could have written, so no other file has to think of it.

pub mod amount;
pub mod escape;
pub mod event;
pub mod explanation;
pub mod message;
pub mod page;
pub mod probe;
pub mod processes;
pub mod queue;
pub mod status;
pub mod sts;
pub mod table;
pub mod wire;
