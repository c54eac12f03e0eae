//! `posthaste probe`.

use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use posthaste_mail::address::Host;
use posthaste_mail::admin::finding::Finding;
use posthaste_mail::admin::request;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::probe::Report;

/// Show what a delivery to a domain would meet now: exchangers, addresses, sessions, verdict. No mail is sent
#[derive(Debug, Args)]
pub struct Probe {
    /// The domain behind the @, or [ADDRESS]
    #[arg(value_parser = domain)]
    domain: String,
    /// The target.remote that looks [default: the only one]
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// One JSON object per finding
    #[arg(long)]
    json: bool,
}

/// Text of a domain or of an address literal.
fn domain(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Err("an address is written in brackets: [192.0.2.1], [IPv6:2001:db8::1]".into());
    }
    Host::parse(text).map(|_| text.to_string()).map_err(|e| e.to_string())
}

impl Probe {
    /// That a delivery would reach nobody is a failure.
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut client = reach.connect()?;
        let target = self.target.as_deref().map(|name| name.trim_start_matches('&').to_string());
        let wish = request::Probe { domain: self.domain.clone(), target };
        let mut page = console.page();
        let (mut report, mut reaches) = (Report::default(), false);
        for item in client.follow("probe", wish)? {
            let item = item?;
            reaches |= item.pointer("/verdict/end").and_then(Value::as_str) == Some("session");
            if self.json {
                page.json(&item)?;
            } else {
                report.finding(&mut page, understood::<Finding>(item)?)?;
            }
            // A host that does not answer takes minutes; what is known is shown meanwhile.
            page.flush()?;
        }
        report.end(&mut page)?;
        Ok(if reaches { Exit::Done } else { Exit::Refused })
    }
}
