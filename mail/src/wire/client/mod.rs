//! The client machine: replies in, bytes out, no socket.
//!
//! A session is an `Opening` (greeting, EHLO, STARTTLS, EHLO again), an `Exchange` where we log in, and then any number of `Transaction`s.
//! They tell the driver what to do next with a step, and are told what came of it; the driver owns the stream and the clock.

pub mod auth;
pub mod flow;
pub mod opening;
pub mod transaction;
