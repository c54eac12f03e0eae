//! `posthaste queue show`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use posthaste_mail::admin::answer::{MessageView, TraceEvent};
use posthaste_mail::envelope::EnvelopeId;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::message::message;

/// Show all that is known of a message
#[derive(Debug, Args)]
pub struct Show {
    /// Queue id
    id: EnvelopeId,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Known {
    message: Option<MessageView>,
    history: Vec<TraceEvent>,
}

impl Show {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let answer = reach.connect()?.ask("queue.show", json!({ "id": self.id }))?;
        let mut page = console.page();
        if self.json {
            page.json(&answer)?;
        } else {
            let known: Known = understood(answer)?;
            message(&mut page, known.message.as_ref(), &known.history)?;
        }
        Ok(Exit::Done)
    }
}
