//! `posthaste queue drop`.

use clap::Args;

use posthaste_mail::admin::request::Verb;

use crate::cli::Console;
use crate::cli::queue::act::{Assent, perform};
use crate::cli::queue::selection::Selection;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Take it off; nobody is told
#[derive(Debug, Args)]
pub struct Drop {
    #[command(flatten)]
    selection: Selection,
    /// Needed to change anything; without it the number is told
    #[arg(long)]
    yes: bool,
}

impl Drop {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.selection.filters(console.input)?;
        perform(&Verb::Drop, &filters, Assent::of(self.yes), reach, console)
    }
}
