//! Where mail goes: destinations, MX order, forwarding endpoints.

pub mod destination;
pub mod mx;
