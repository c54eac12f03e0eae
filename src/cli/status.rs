//! `posthaste status`.

use clap::Args;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;

/// Show version, uptime, queues and what is wrong now
#[derive(Debug, Args)]
pub struct Status {
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let answer = reach.connect()?.ask("status", ())?;
        let mut page = console.page();
        match self.json {
            true => page.json(&answer)?,
            false => show::status::status(&mut page, &understood(answer)?)?,
        }
        Ok(Exit::Done)
    }
}
