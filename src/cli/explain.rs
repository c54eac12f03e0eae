//! `posthaste explain`.

use clap::Args;
use serde_json::json;

use posthaste_mail::admin::answer::Explanation;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::explanation::explanation;

/// Tell why a message, or mail for a domain, is not moving: since when, until when, what would change it
#[derive(Debug, Args)]
pub struct Explain {
    /// Queue id, or a destination as `queue list` names it
    #[arg(value_name = "ID|DOMAIN")]
    what: String,
    /// One JSON object a queue and destination
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut client = reach.connect()?;
        let mut page = console.page();
        let mut found = 0;
        for item in client.list("explain", json!({ "what": self.what }))? {
            let item = item?;
            if self.json {
                page.json(&item)?;
            } else {
                let told: Explanation = understood(item)?;
                if found > 0 {
                    page.plain("")?;
                }
                explanation(&mut page, &told)?;
            }
            found += 1;
        }
        if found == 0 && !self.json {
            page.plain(&format!("nothing waits for {}, and nothing is known of it", self.what))?;
        }
        Ok(if found == 0 { Exit::Refused } else { Exit::Done })
    }
}
