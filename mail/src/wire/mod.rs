//! SMTP and LMTP as bytes and events. No socket, no clock: what is read goes in, what is to be written comes out.
//!
//! - `client`, with `command`, `reply`, `capabilities` and `data`: the side that sends.
//! - `server`: the side that receives.
//! - `password`: one as it is said on either side.
//! - `transcript`: what was said in a session, for an operator.

pub mod capabilities;
pub mod client;
pub mod command;
pub mod data;
pub mod password;
pub mod reply;
pub mod server;
pub mod transcript;
