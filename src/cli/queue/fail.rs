//! `posthaste queue fail`.

use clap::Args;

use posthaste_mail::admin::request::Verb;

use crate::cli::Console;
use crate::cli::queue::act::{Assent, perform};
use crate::cli::queue::selection::Selection;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// End it as failed; the sender is told
#[derive(Debug, Args)]
pub struct Fail {
    #[command(flatten)]
    selection: Selection,
    /// Needed to change anything; without it the number is told
    #[arg(long)]
    yes: bool,
}

impl Fail {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.selection.filters(console.input)?;
        perform(&Verb::Fail, &filters, Assent::of(self.yes), reach, console)
    }
}
