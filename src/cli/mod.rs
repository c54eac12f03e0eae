//! The command line: one file a verb. A verb reads its words, asks the daemon and shows the answer; it decides nothing about mail.

mod check;
mod explain;
mod log;
mod probe;
mod ps;
mod queue;
mod reach;
mod retry_plan;
mod run;
mod send;
mod sendmail;
mod shutdown;
mod span;
mod spool;
mod status;
mod sts;
mod trace;

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::Path;

use clap::{Parser, Subcommand};

use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::page::Page;

/// Where a verb reads and writes.
pub struct Console<'a> {
    pub input: &'a mut dyn BufRead,
    pub output: &'a mut dyn Write,
    /// Standard error.
    pub complaints: &'a mut dyn Write,
    pub colour: bool,
}

impl Console<'_> {
    pub fn page(&mut self) -> Page<'_> {
        Page::new(self.output, self.colour)
    }

    /// Tells why it did not work. Nobody is left to tell when this fails.
    fn complain(&mut self, failure: &Failure) {
        if !failure.is_silent() {
            let _ = writeln!(self.complaints, "posthaste: {failure}");
        }
    }

    /// What clap has to say: help and version are output, the rest is about wrong words.
    fn explain(&mut self, error: &clap::Error) {
        let text = error.render();
        let _ = match error.use_stderr() {
            true => write!(self.complaints, "{text}"),
            false => write!(self.output, "{text}"),
        };
    }
}

/// Outbound mail delivery daemon, and the commands that talk to it
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 refused or nothing matched, 2 usage, \
    69 daemon not reachable,\n70 internal error, 75 try again, 78 configuration error")]
struct Cli {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Check(check::Check),
    Send(send::Send),
    Sendmail(sendmail::Words),
    Status(status::Status),
    Ps(ps::Ps),
    #[command(subcommand)]
    Queue(queue::Queue),
    Trace(trace::Trace),
    Explain(explain::Explain),
    Probe(probe::Probe),
    #[command(subcommand)]
    Sts(sts::Sts),
    #[command(subcommand)]
    Log(log::Log),
    RetryPlan(retry_plan::RetryPlan),
    Shutdown(shutdown::Shutdown),
    #[command(subcommand)]
    Spool(spool::Spool),
}

/// Runs what the words of the command line say; the first is the name the program was called by.
pub fn start(words: &[OsString], console: &mut Console<'_>) -> Exit {
    let called = words.first().map(Path::new).and_then(Path::file_name);
    if called.is_some_and(|name| name == "sendmail") {
        return sendmail::start(words.get(1..).unwrap_or_default(), Reach::default(), console);
    }
    let Cli { reach, verb } = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            console.explain(&error);
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let end = match verb {
        Verb::Run(verb) => Ok(verb.perform(&reach)),
        Verb::Check(verb) => verb.perform(&reach, console),
        Verb::Send(verb) => verb.perform(&reach, console),
        Verb::Sendmail(verb) => return sendmail::start(&verb.words, reach, console),
        Verb::Status(verb) => verb.perform(&reach, console),
        Verb::Ps(verb) => verb.perform(&reach, console),
        Verb::Queue(verb) => verb.perform(&reach, console),
        Verb::Trace(verb) => verb.perform(&reach, console),
        Verb::Explain(verb) => verb.perform(&reach, console),
        Verb::Probe(verb) => verb.perform(&reach, console),
        Verb::Sts(verb) => verb.perform(&reach, console),
        Verb::Log(verb) => verb.perform(&reach, console),
        Verb::RetryPlan(verb) => verb.perform(&reach, console),
        Verb::Shutdown(verb) => verb.perform(&reach, console),
        Verb::Spool(verb) => verb.perform(&reach, console),
    };
    end.unwrap_or_else(|failure| {
        console.complain(&failure);
        failure.exit()
    })
}

#[cfg(test)]
mod tests;
