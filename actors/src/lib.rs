//! Who does it, when, and what happens when it crashes.
//!
//! `configuration` reads the file into settings, `compose` makes the actors of them and introduces them to each other, `root` watches
//! over them. A message comes in through `intake`, is kept and scheduled by `targets::queue`, and goes out through the other targets,
//! which have `carriage` in common, with sessions of the `pool`, within `limits`, by what `sts_cache` knows of the policies of their domains. `vault` keeps what clients logged in with until
//! their message is sent, `servers` what is known of those that forwarders lead to. `trace` and `wire` remember what happened to messages and what was said in sessions;
//! `admin` answers the operator, `messages` is all that is said in between. `offline` works on spools while no daemon does.

pub mod admin;
pub mod carriage;
pub mod compose;
pub mod configuration;
pub mod content;
pub mod exit;
pub mod intake;
pub mod limits;
pub mod log;
pub mod messages;
pub mod offline;
#[cfg(test)]
mod peer;
pub mod pool;
pub mod reading;
pub mod root;
pub mod routing;
pub mod servers;
pub mod sts_cache;
pub mod targets;
pub mod task;
pub mod trace;
pub mod vault;
pub mod wire;

use std::path::PathBuf;

use posthaste_config::Problem;

pub use compose::run;

/// How the daemon is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub config: PathBuf,
    /// `--set`: `directive=value`.
    pub overrides: Vec<String>,
    /// `--debug-faults`: the operator may break things on purpose.
    pub debug_faults: bool,
}

/// What `check` found.
pub struct Checked {
    pub problems: Vec<Problem>,
    /// None of them is an error.
    pub ok: bool,
}

/// Reads the configuration and reports every problem. Touches nothing on disk.
pub fn check(options: &Options) -> Checked {
    let read = configuration::read(&options.config, &options.overrides);
    Checked { ok: read.configuration.is_some(), problems: read.problems }
}

/// The name of the user who runs this, when the environment does not say it.
pub fn user_name() -> Option<String> {
    posthaste_edge::machine::user_name()
}

/// The operator's socket as the configuration names it; `None` if it cannot be read.
pub fn socket_path(options: &Options) -> Option<PathBuf> {
    configuration::socket_path(&options.config, &options.overrides)
}
