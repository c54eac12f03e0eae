//! `posthaste run`.

use clap::Args;

use posthaste_actors::Options;

use crate::cli::reach::Reach;
use crate::exit::Exit;

/// Run the daemon in the foreground
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub settings: Settings,
    /// Offer methods that break things on purpose
    #[arg(long, hide = true)]
    pub debug_faults: bool,
}

/// Global directives on the command line, which win over those of the file.
#[derive(Debug, Args)]
pub struct Settings {
    /// Set a global directive
    #[arg(long = "set", value_name = "DIRECTIVE=VALUE", value_parser = assignment)]
    pub overrides: Vec<String>,
}

fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((directive, _)) if !directive.is_empty() => Ok(text.to_string()),
        _ => Err("expected DIRECTIVE=VALUE".to_string()),
    }
}

impl Run {
    pub fn perform(self, reach: &Reach) -> Exit {
        let options = Options {
            overrides: self.settings.overrides,
            debug_faults: self.debug_faults,
            ..reach.options()
        };
        // A code that does not fit is none that anybody knows.
        u8::try_from(posthaste_actors::run(&options)).map_or(Exit::Internal, Exit::Daemon)
    }
}
