//! `posthaste trace`.

use clap::Args;
use serde_json::Value;

use posthaste_mail::admin::request;
use posthaste_mail::envelope::EnvelopeId;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::event::{event, missed};
use crate::show::page::Page;
use crate::show::wire;

/// Show what happened to messages, or what happens now
#[derive(Debug, Args)]
pub struct Trace {
    /// Only this message
    id: Option<EnvelopeId>,
    /// Only attempts for this destination
    #[arg(long, conflicts_with = "id")]
    domain: Option<String>,
    /// Live events from now on, instead of the history
    #[arg(long, short)]
    follow: bool,
    /// What goes over the wire, without credentials and content; not followed, the last session that failed
    #[arg(long, short)]
    wire: bool,
    /// One JSON object per event
    #[arg(long)]
    json: bool,
}

impl Trace {
    fn method(&self) -> &'static str {
        match (self.wire, self.follow) {
            (false, false) => "trace",
            (false, true) => "trace.follow",
            (true, false) => "trace.wire",
            (true, true) => "trace.wire.follow",
        }
    }

    /// A history that is empty is a failure when it was asked for by name.
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut client = reach.connect()?;
        let which = request::Trace { id: self.id, domain: self.domain.clone() };
        let mut page = console.page();
        let mut found = 0;
        let events = match self.follow {
            true => client.follow(self.method(), which)?,
            false => client.list(self.method(), which)?,
        };
        for item in events {
            self.show(&mut page, item?)?;
            found += 1;
        }
        let named = self.id.is_some() || self.domain.is_some();
        Ok(if found == 0 && named && !self.follow { Exit::Refused } else { Exit::Done })
    }

    fn show(&self, page: &mut Page<'_>, item: Value) -> Result<(), Failure> {
        if self.json {
            page.json(&item)?;
        } else if let Some(events) = item.get("missed").and_then(Value::as_u64) {
            missed(page, events, if self.wire { "line" } else { "event" })?;
        } else if self.wire && self.follow {
            wire::line(page, &understood(item)?)?;
        } else if self.wire {
            wire::failed(page, &understood(item)?)?;
        } else {
            event(page, &understood(item)?)?;
        }
        // Who follows wants to see it now.
        if self.follow {
            page.flush()?;
        }
        Ok(())
    }
}
