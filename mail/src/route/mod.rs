//! Where mail goes: destinations, MX order, addresses of hosts, forwarding endpoints.

pub mod addresses;
pub mod destination;
pub mod hosts;
pub mod mx;
pub mod servers;
