//! Parses the command line, calls one verb and turns its result into an exit code.

mod cli;
mod client;
mod exit;
mod failure;
mod heap;
mod show;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::cli::Console;

fn main() -> ExitCode {
    heap::bound_arenas();
    // What people read has colours; https://no-color.org switches them off.
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let colour = wanted && io::stdout().is_terminal();
    let mut console = Console {
        input: &mut io::stdin().lock(),
        output: &mut io::stdout().lock(),
        complaints: &mut io::stderr(),
        colour,
    };
    let words: Vec<_> = std::env::args_os().collect();
    ExitCode::from(cli::start(&words, &mut console).code())
}
