//! The security laboratory: every combination of DANE, MTA-STS, DNSSEC, REQUIRETLS and local minima against real servers.
//!
//! Signed, unsigned and falsified zones (nsd behind a validating unbound), policy hosts (nginx), and mail exchangers with good and bad
//! certificates (Postfix, Exim, and sinks for what neither of them does) are started once, and one daemon with an endpoint for each way
//! of setting it up. Each row of the tables is a test by its own name: `cargo test --test laboratory ee-` runs those that begin so. A row
//! says what is published, what is demanded, and what must come of the first attempt; that nobody else got the message, nor anybody in
//! the clear, is looked up in the mailboxes, for every row once more at the end.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests live outside the daemon: they wait in real time, and a broken peer is a failed test"
)]

mod arrival;
#[path = "../harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the laboratory uses a part of the peers")]
mod harness;
mod laboratory;
mod policy;
mod published;
mod relay;
mod row;
mod server;
mod stance;
mod story;
mod table;
mod tlsa;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use laboratory::Laboratory;
use row::Row;
use story::Story;

/// Tests mostly wait: many at a time, unless the command line says otherwise.
const AT_A_TIME: usize = 24;

/// The laboratory is started by the first test that needs it.
struct Place {
    rows: Vec<Row>,
    stories: Vec<Story>,
    laboratory: OnceLock<Option<Laboratory>>,
    /// Rows that came out as they should, by number.
    judged: Mutex<Vec<usize>>,
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_A_TIME));
    let (rows, stories) = (table::rows(), story::stories());
    let (laboratory, judged) = (OnceLock::new(), Mutex::new(Vec::new()));
    let place = Arc::new(Place { rows, stories, laboratory, judged });
    let mut trials = Vec::new();
    for number in 0..place.rows.len() {
        let name = place.rows[number].name;
        let place = Arc::clone(&place);
        trials.push(Trial::ignorable_test(name, move || place.row(number)));
    }
    for number in 0..place.stories.len() {
        let name = place.stories[number].name;
        let place = Arc::clone(&place);
        trials.push(Trial::ignorable_test(name, move || place.story(number)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let Place { rows, laboratory, judged, .. } =
        Arc::into_inner(place).expect("all tests have ended");
    let mut strays = Vec::new();
    if let Some(Some(mut laboratory)) = laboratory.into_inner() {
        let judged = judged.into_inner().unwrap();
        strays = laboratory.strays(judged.into_iter().map(|number| &rows[number]));
        if conclusion.has_failed() || !strays.is_empty() {
            laboratory.area.keep();
        }
    }
    for stray in &strays {
        eprintln!("{stray}");
    }
    if !strays.is_empty() {
        std::process::exit(1);
    }
    conclusion.exit();
}

impl Place {
    /// `None` where it cannot be started for want of a program, or has failed to start before.
    fn laboratory(&self) -> Result<Option<&Laboratory>, Failed> {
        let mut fault = None;
        let laboratory = self.laboratory.get_or_init(|| {
            let start = || Laboratory::start(&self.rows, &self.stories);
            catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(|_| {
                fault = Some("the laboratory does not start");
                None
            })
        });
        fault.map_or(Ok(laboratory.as_ref()), |fault| Err(fault.into()))
    }

    fn row(&self, number: usize) -> Result<Completion, Failed> {
        let row = &self.rows[number];
        let Some(laboratory) = self.laboratory()? else { return Ok(Completion::ignored()) };
        let needs_exim = row.hosts.iter().any(|host| host.server.is_exim());
        if needs_exim && !laboratory.servers.has_exim() {
            return Ok(Completion::ignored_with("exim4 missing"));
        }
        verdict::judge(laboratory, row)?;
        self.judged.lock().unwrap().push(number);
        Ok(Completion::Completed)
    }

    fn story(&self, number: usize) -> Result<Completion, Failed> {
        let Some(laboratory) = self.laboratory()? else { return Ok(Completion::ignored()) };
        self.stories[number].run(laboratory)?;
        Ok(Completion::Completed)
    }
}
