//! `posthaste log`.

use clap::{Subcommand, ValueEnum};

use posthaste_mail::admin::request;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Change what the daemon logs
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Switch debug lines on or off until the daemon ends
    Debug {
        switch: Switch,
        /// Name of a target [default: all]
        target: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Log {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let Log::Debug { switch, target } = self;
        let wish = request::Debug { on: *switch == Switch::On, target: target.clone() };
        reach.connect()?.ask("log.debug", wish)?;
        let word = match switch {
            Switch::On => "on",
            Switch::Off => "off",
        };
        let whose = target.as_deref().unwrap_or("all targets");
        console.page().plain(&format!("debug {word}: {whose}"))?;
        Ok(Exit::Done)
    }
}
