//! The daemon from outside: a real process on loopback, with real and scripted peers around it.
//!
//! `harness` has the peers, one noun a file; `scenarios` has the behaviours, one a file. A test whose peer program is not installed
//! prints `SKIPPED name: program missing` and passes; with `POSTHASTE_REQUIRE_PEERS=1` in the environment it fails instead.
//! `POSTHASTE_BINARY` names another binary to test, `POSTHASTE_LONG=1` asks for the full length of the crash and load scenarios.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests live outside the daemon: they wait in real time, and a broken peer is a failed test"
)]

#[allow(dead_code, reason = "peers are whole, whichever of their parts the present scenarios use")]
mod harness;
mod scenarios;
