//! `posthaste queue`: one language of filters for all that is done with waiting mail.

mod list;
mod retry;
mod selection;
mod show;

use clap::Subcommand;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Look at waiting mail and act on it
#[derive(Debug, Subcommand)]
pub enum Queue {
    List(list::List),
    Show(show::Show),
    Retry(retry::Retry),
}

impl Queue {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        match self {
            Queue::List(verb) => verb.perform(reach, console),
            Queue::Show(verb) => verb.perform(reach, console),
            Queue::Retry(verb) => verb.perform(reach, console),
        }
    }
}
