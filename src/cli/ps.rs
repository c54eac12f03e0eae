//! `posthaste ps`.

use clap::Args;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;

/// Show the actors, the deliveries in progress and the idle sessions
#[derive(Debug, Args)]
pub struct Ps {
    /// One JSON object per actor, delivery and session
    #[arg(long)]
    json: bool,
}

impl Ps {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut client = reach.connect()?;
        let mut page = console.page();
        let (mut actors, mut deliveries, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
        for item in client.list("ps", ())? {
            let mut item = item?;
            if self.json {
                page.json(&item)?;
            } else if let Some(actor) = item.get_mut("actor") {
                actors.push(understood(actor.take())?);
            } else if let Some(delivery) = item.get_mut("delivery") {
                deliveries.push(understood(delivery.take())?);
            } else if let Some(session) = item.get_mut("session") {
                sessions.push(understood(session.take())?);
            }
        }
        if !self.json {
            show::processes::processes(&mut page, &actors, &deliveries, &sessions)?;
        }
        Ok(Exit::Done)
    }
}
