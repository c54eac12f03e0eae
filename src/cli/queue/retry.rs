//! `posthaste queue retry`.

use clap::Args;

use posthaste_mail::admin::answer::Affected;
use posthaste_mail::admin::request::Filter;

use crate::cli::Console;
use crate::cli::queue::selection::Selection;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;

/// Try again now what waits for its next attempt
#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    selection: Selection,
    /// Needed to retry everything
    #[arg(long)]
    yes: bool,
}

impl Retry {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let filters = self.selection.filters(console.input)?;
        if filters.iter().any(Filter::is_empty) && !self.yes {
            let text = "without a filter everything is tried again: add --yes if that is wanted";
            return Err(Failure::Usage(text.to_string()));
        }
        let mut client = reach.connect()?;
        let mut total = Affected::default();
        for filter in &filters {
            let affected: Affected = client.ask_for("queue.retry", filter)?;
            total.matched += affected.matched;
            total.changed += affected.changed;
        }
        let Affected { matched, changed } = total;
        console.page().plain(&format!("{matched} matched, {changed} tried again now"))?;
        Ok(if matched > 0 { Exit::Done } else { Exit::Refused })
    }
}
