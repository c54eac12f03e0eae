//! `posthaste shutdown`.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use posthaste_mail::admin::request;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::cli::span;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::amount;

/// Stop the daemon
#[derive(Debug, Args)]
pub struct Shutdown {
    /// What deliveries in progress may take: 30s, 5m [default: the daemon's]
    #[arg(long, value_name = "D", value_parser = span::parse)]
    drain: Option<Duration>,
}

#[derive(Deserialize)]
struct Stopping {
    drain_seconds: u64,
}

impl Shutdown {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let wish = request::Shutdown { drain: self.drain.map(|drain| drain.as_secs()) };
        let stopping: Stopping = reach.connect()?.ask_for("shutdown", wish)?;
        let most = amount::span(stopping.drain_seconds);
        console.page().plain(&format!("stopping; deliveries in progress have {most}"))?;
        Ok(Exit::Done)
    }
}
