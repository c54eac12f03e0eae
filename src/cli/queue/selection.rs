//! Which batches are meant: the words of the command line as filters of the daemon.

use std::io::BufRead;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use posthaste_mail::admin::request::Filter;
use posthaste_mail::envelope::{EnvelopeId, NotAnId};

use crate::cli::span;
use crate::failure::Failure;

/// Ids in one request: their line stays well below the 1 MiB that the daemon reads.
const IDS_A_REQUEST: usize = 10_000;

#[derive(Debug, Default, Args)]
pub struct Selection {
    #[command(flatten)]
    which: Which,
    /// Last failure: its word, or part of its code and text
    #[arg(long, value_name = "TEXT", visible_alias = "failure")]
    reason: Option<String>,
}

impl Selection {
    /// The filters to be sent one after another; none at all when standard input has no ids, which must not mean everything.
    pub fn filters(&self, input: &mut dyn BufRead) -> Result<Vec<Filter>, Failure> {
        self.which.filters(self.reason.as_ref(), input)
    }
}

/// The filter but for the last failure, which has another name where `--reason` is why something is done.
#[derive(Debug, Default, Args)]
pub struct Which {
    /// Queue ids; '-' reads them from standard input
    #[arg(value_name = "ID|-")]
    words: Vec<Word>,
    /// Queue ids, as a list with commas
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<EnvelopeId>,
    /// Part of the sender's address
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// Part of a recipient's address
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    /// Destination, exactly
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// In the queue for at least this long: 90m, 3h, 2d
    #[arg(long, value_name = "D", value_parser = span::parse)]
    older: Option<Duration>,
    /// Attempts made, at least
    #[arg(long, value_name = "N")]
    tries: Option<u32>,
    /// Held by an operator
    #[arg(long)]
    held: bool,
    /// Queue of this name
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Id(EnvelopeId),
    StandardInput,
}

impl FromStr for Word {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Word, NotAnId> {
        match text {
            "-" => Ok(Word::StandardInput),
            id => id.parse().map(Word::Id),
        }
    }
}

impl Which {
    /// As `Selection::filters`.
    pub fn filters(
        &self,
        failure: Option<&String>,
        input: &mut dyn BufRead,
    ) -> Result<Vec<Filter>, Failure> {
        let mut ids = self.id.clone();
        let mut named = !ids.is_empty();
        for word in &self.words {
            named = true;
            match word {
                Word::Id(id) => ids.push(*id),
                Word::StandardInput => read_ids(input, &mut ids)?,
            }
        }
        ids.sort();
        ids.dedup();
        let filter = Filter {
            queue: self.queue.clone(),
            id: Vec::new(),
            from: self.from.clone(),
            to: self.to.clone(),
            domain: self.domain.clone(),
            reason: failure.cloned(),
            older: self.older.map(|span| span.as_secs()),
            tries: self.tries,
            held: self.held,
        };
        if !named {
            return Ok(vec![filter]);
        }
        let parts = ids.chunks(IDS_A_REQUEST);
        Ok(parts.map(|ids| Filter { id: ids.to_vec(), ..filter.clone() }).collect())
    }
}

fn read_ids(input: &mut dyn BufRead, ids: &mut Vec<EnvelopeId>) -> Result<(), Failure> {
    for line in input.lines() {
        let line = line.map_err(|e| Failure::Input("standard input".to_string(), e))?;
        for word in line.split_whitespace() {
            let id = word.parse().map_err(|e| Failure::Usage(format!("{word}: {e}")))?;
            ids.push(id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00000000000000000000000001";
    const B: &str = "00000000000000000000000002";

    fn filters(words: &[&str], input: &str) -> Result<Vec<Filter>, Failure> {
        let words = words.iter().map(|word| word.parse().unwrap()).collect();
        let which = Which { words, ..Which::default() };
        Selection { which, reason: None }.filters(&mut input.as_bytes())
    }

    fn ids(list: &[&str]) -> Vec<EnvelopeId> {
        list.iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn nothing_said_is_everything() {
        assert_eq!(filters(&[], B).unwrap(), [Filter::default()]); // standard input is not read
    }

    #[test]
    fn ids_come_as_words_and_from_standard_input() {
        let both = Filter { id: ids(&[A, B]), ..Filter::default() };
        assert_eq!(filters(&[B, A, A], "").unwrap(), std::slice::from_ref(&both));
        assert_eq!(filters(&[A, "-"], &format!("\n {B}\t{B}\n")).unwrap(), [both]);
        let Err(Failure::Usage(text)) = filters(&["-"], "x y") else { panic!() };
        assert_eq!(text, "x: not a queue id (26 digits and letters)");
    }

    #[test]
    fn no_ids_on_standard_input_are_not_everything() {
        assert_eq!(filters(&["-"], "").unwrap(), []);
        assert_eq!(filters(&["-"], " \n\n").unwrap(), []);
    }

    #[test]
    fn many_ids_are_several_requests() {
        let id = |number: u128| EnvelopeId::from_bytes(number.to_be_bytes());
        let input: String =
            (0..IDS_A_REQUEST as u128 + 1).map(|n| format!("{}\n", id(n))).collect();
        let parts: Vec<usize> =
            filters(&["-"], &input).unwrap().iter().map(|filter| filter.id.len()).collect();
        assert_eq!(parts, [IDS_A_REQUEST, 1]);
    }
}
