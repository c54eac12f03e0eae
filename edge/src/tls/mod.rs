//! TLS of SMTP sessions, both sides, and to web servers (`web`). Nothing outside this folder names the library behind it, but
//! for `seal`, which has another use for it.
//!
//! The client makes one handshake that accepts any certificate, and reads the verdict afterwards: what it proves is for the policies
//! to use, not for the library to act on.

mod client;
mod dane;
mod roots;
mod server;
mod settings;
#[cfg(test)]
mod trial;
mod verdict;
mod web;

pub use client::{ClientTls, Demand, HandshakeError, Reference, decodes};
pub use server::{ServerTls, ServerTlsError};
pub use settings::{Cipher, Curve, Identity, TlsSettings, Version, Versions};
pub use verdict::TlsFacts;
pub use web::{WebStream, WebTls, WebTlsError};

/// An encrypted stream over whatever carries it.
pub type TlsStream<S> = tokio_openssl::SslStream<S>;
