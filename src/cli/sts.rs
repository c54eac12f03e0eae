//! `posthaste sts`: the cache of MTA-STS policies.

use clap::{Args, Subcommand};
use serde_json::Value;

use posthaste_mail::admin::answer::{StsLine, StsView};
use posthaste_mail::admin::request;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::amount::count;
use crate::show::sts::{Policies, policy};

/// Look at the MTA-STS policies of other domains, and act on them
#[derive(Debug, Subcommand)]
pub enum Sts {
    List(List),
    Show(Show),
    Refresh(Refresh),
    Forget(Forget),
}

/// Show all policies, a line each
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this cache, which is named like its mx_auth block
    #[arg(long, value_name = "NAME")]
    cache: Option<String>,
    /// One JSON object per policy
    #[arg(long)]
    json: bool,
}

/// Show the policy of a domain, with its text
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    which: Which,
    /// One JSON object a cache
    #[arg(long)]
    json: bool,
}

/// Fetch the policy of a domain now
#[derive(Debug, Args)]
pub struct Refresh {
    #[command(flatten)]
    which: Which,
    /// One JSON object a cache
    #[arg(long)]
    json: bool,
}

/// Drop the policy of a domain: the next delivery fetches it again, and without one goes on unprotected
#[derive(Debug, Args)]
pub struct Forget {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The domain of the recipients
    domain: String,
    /// Only in this cache, which is named like its mx_auth block
    #[arg(long, value_name = "NAME")]
    cache: Option<String>,
}

impl Which {
    fn params(&self) -> request::Sts {
        request::Sts { domain: Some(self.domain.clone()), cache: self.cache.clone() }
    }
}

impl Sts {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        match self {
            Sts::List(verb) => verb.perform(reach, console),
            Sts::Show(verb) => views("sts.show", &verb.which, verb.json, reach, console),
            Sts::Refresh(verb) => views("sts.refresh", &verb.which, verb.json, reach, console),
            Sts::Forget(verb) => verb.perform(reach, console),
        }
    }
}

impl List {
    fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut client = reach.connect()?;
        let mut page = console.page();
        let mut policies = Policies::default();
        let which = request::Sts { domain: None, cache: self.cache.clone() };
        for item in client.list("sts.list", which)? {
            let item = item?;
            if self.json {
                page.json(&item)?;
            } else {
                let line: StsLine = understood(item)?;
                policies.add(&mut page, &line)?;
            }
        }
        if !self.json {
            policies.end(&mut page)?;
        }
        Ok(Exit::Done)
    }
}

fn views(
    method: &str,
    which: &Which,
    json: bool,
    reach: &Reach,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let mut client = reach.connect()?;
    let mut page = console.page();
    for (number, item) in client.list(method, which.params())?.enumerate() {
        let item = item?;
        if json {
            page.json(&item)?;
        } else {
            let view: StsView = understood(item)?;
            if number > 0 {
                page.plain("")?;
            }
            policy(&mut page, &view)?;
        }
    }
    Ok(Exit::Done)
}

impl Forget {
    fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let answer = reach.connect()?.ask("sts.forget", self.which.params())?;
        let forgotten = answer.get("forgotten").and_then(Value::as_u64).unwrap_or_default();
        console.page().plain(&format!("forgotten in {}", count(forgotten, "cache")))?;
        Ok(Exit::Done)
    }
}
