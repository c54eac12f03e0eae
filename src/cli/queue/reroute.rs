//! `posthaste queue reroute`.

use clap::Args;

use posthaste_mail::admin::request::Verb;

use crate::cli::Console;
use crate::cli::queue::act::{Assent, perform};
use crate::cli::queue::selection::Selection;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Send it by another target; the queue's own undoes that
#[derive(Debug, Args)]
pub struct Reroute {
    /// Name of a configured target
    target: String,
    #[command(flatten)]
    selection: Selection,
    /// Needed to change anything; without it the number is told
    #[arg(long)]
    yes: bool,
}

impl Reroute {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.selection.filters(console.input)?;
        let verb = Verb::Reroute { target: self.target.trim_start_matches('&').to_string() };
        perform(&verb, &filters, Assent::of(self.yes), reach, console)
    }
}
