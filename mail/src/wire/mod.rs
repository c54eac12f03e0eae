//! SMTP and LMTP as bytes and events, without a socket. The client side stands here, the server side in `server`.

pub mod capabilities;
pub mod client;
pub mod command;
pub mod data;
pub mod reply;
