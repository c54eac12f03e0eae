//! `posthaste queue list`.

use clap::Args;

use posthaste_mail::admin::request::Filter;

use crate::cli::Console;
use crate::cli::queue::selection::Selection;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::queue::Batches;

/// List what waits, a line per message and destination
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    selection: Selection,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

impl List {
    /// An empty queue is no failure; a filter that matches nothing is.
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.selection.filters(console.input)?;
        let wants_all = filters.first().is_some_and(|filter| *filter == Filter::default());
        let mut client = reach.connect()?;
        let mut page = console.page();
        let mut table = Batches::new();
        let mut found = 0;
        for filter in &filters {
            for item in client.list("queue.list", filter)? {
                let item = item?;
                found += 1;
                match self.json {
                    true => page.json(&item)?,
                    false => table.row(&mut page, &understood(item)?)?,
                }
            }
        }
        if !self.json {
            table.end(&mut page, found)?;
        }
        Ok(if found > 0 || wants_all { Exit::Done } else { Exit::Refused })
    }
}
