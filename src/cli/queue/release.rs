//! `posthaste queue release`.

use clap::Args;

use posthaste_mail::admin::request::Verb;

use crate::cli::Console;
use crate::cli::queue::act::{Assent, perform};
use crate::cli::queue::selection::Selection;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Put what is held back on the schedule
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    selection: Selection,
    /// Needed when there is no filter
    #[arg(long)]
    yes: bool,
}

impl Release {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.selection.filters(console.input)?;
        perform(&Verb::Release, &filters, Assent::of(self.yes), reach, console)
    }
}
