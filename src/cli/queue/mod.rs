//! `posthaste queue`: one language of filters for all that is done with waiting mail.

mod act;
mod drop;
mod fail;
mod hold;
mod list;
mod release;
mod reroute;
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
    Hold(hold::Hold),
    Release(release::Release),
    Fail(fail::Fail),
    Drop(drop::Drop),
    Reroute(reroute::Reroute),
}

impl Queue {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        match self {
            Queue::List(verb) => verb.perform(reach, console),
            Queue::Show(verb) => verb.perform(reach, console),
            Queue::Retry(verb) => verb.perform(reach, console),
            Queue::Hold(verb) => verb.perform(reach, console),
            Queue::Release(verb) => verb.perform(reach, console),
            Queue::Fail(verb) => verb.perform(reach, console),
            Queue::Drop(verb) => verb.perform(reach, console),
            Queue::Reroute(verb) => verb.perform(reach, console),
        }
    }
}
