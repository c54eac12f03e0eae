//! Who does it, when, and what happens when it crashes.

pub mod messages;
pub mod pool;
pub mod root;
pub mod targets;
pub mod task;
pub mod trace;

use std::path::PathBuf;

/// What the daemon is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub config: PathBuf,
    /// `directive=value`.
    pub overrides: Vec<String>,
    pub debug_faults: bool,
}

/// What reading the configuration came to.
#[derive(Clone, Debug)]
pub struct Checked {
    pub problems: Vec<posthaste_config::Problem>,
    pub ok: bool,
}

/// The daemon, in the foreground; returns the exit code.
pub fn run(_: &Options) -> i32 {
    70
}

/// Reads the configuration and touches nothing.
pub fn check(_: &Options) -> Checked {
    Checked { problems: Vec::new(), ok: true }
}

/// The operator's socket as the configuration names it.
pub fn socket_path(_: &Options) -> Option<PathBuf> {
    None
}
