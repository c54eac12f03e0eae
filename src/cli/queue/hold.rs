//! `posthaste queue hold`.

use clap::Args;

use posthaste_mail::admin::request::Verb;

use crate::cli::Console;
use crate::cli::queue::act::{Assent, perform};
use crate::cli::queue::selection::Which;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Keep it off the schedule until it is released
#[derive(Debug, Args)]
pub struct Hold {
    #[command(flatten)]
    which: Which,
    /// Last failure: its word, or part of its code and text (--reason of the other verbs)
    #[arg(long, value_name = "TEXT")]
    failure: Option<String>,
    /// Why it is held; shown with it
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    reason: String,
    /// Needed when there is no filter
    #[arg(long)]
    yes: bool,
}

impl Hold {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.which.filters(self.failure.as_ref(), console.input)?;
        let verb = Verb::Hold { because: self.reason.clone() };
        perform(&verb, &filters, Assent::of(self.yes), reach, console)
    }
}
