//! SMTP and LMTP as bytes and events. No socket, no clock: what is read goes in, what is to be written comes out.
//!
//! - `server`: the side that receives.

pub mod server;
