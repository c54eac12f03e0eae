//! `queue list` for people: a line a batch.

use std::io;

use posthaste_mail::admin::answer::{BatchLine, HoldLine};

use crate::show::amount::{moment, size};
use crate::show::page::{Page, Tone};
use crate::show::table::{Column, Table};

const BATCHES: &[Column] = &[
    Column::Text("ID"),
    Column::Text("QUEUE"),
    Column::Text("STATE"),
    Column::Number("TRIES"),
    Column::Text("DUE"),
    Column::Number("SIZE"),
    Column::Text("FROM"),
    Column::Text("TO"),
    Column::Text("LAST FAILURE"),
];

/// A listing that is shown as it comes in.
pub struct Batches(Table);

impl Batches {
    pub fn new() -> Batches {
        Batches(Table::new(BATCHES))
    }

    pub fn row(&mut self, page: &mut Page<'_>, batch: &BatchLine) -> io::Result<()> {
        let row = vec![
            batch.id.to_string(),
            batch.queue.clone(),
            batch.state.clone(),
            batch.attempts.to_string(),
            moment(&batch.due),
            size(batch.size),
            path(&batch.from),
            recipients(batch),
            why(batch),
        ];
        self.0.row(page, tone(&batch.state), row)
    }

    pub fn end(mut self, page: &mut Page<'_>, batches: u64) -> io::Result<()> {
        self.0.show(page)?;
        match batches {
            0 => page.plain("nothing waits"),
            _ => Ok(()),
        }
    }
}

/// Why it still waits: what an operator did, then the last failure, in a word and in full.
pub fn why(batch: &BatchLine) -> String {
    let failure = match (&batch.reason, &batch.last_failure) {
        (Some(reason), Some(failure)) => format!("{reason}, {failure}"),
        (None, Some(failure)) => failure.clone(),
        (_, None) => String::new(),
    };
    let parts = [batch.hold.as_ref().map(held), rerouted(batch), Some(failure)];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|p| !p.is_empty()).collect();
    parts.join("; ")
}

/// `held by uid 0 since 2026-11-24T03:12:00Z: customer asked`
fn held(hold: &HoldLine) -> String {
    format!("held by {} since {}: {}", hold.by, moment(&hold.since), hold.reason)
}

fn rerouted(batch: &BatchLine) -> Option<String> {
    let target = batch.rerouted.as_ref()?;
    let missing = if batch.target_missing { ", which is not in the configuration" } else { "" };
    Some(format!("rerouted to {target}{missing}"))
}

/// A reverse path; the null one as SMTP writes it.
pub fn path(address: &str) -> String {
    if address.is_empty() { "<>".to_string() } else { address.to_string() }
}

pub fn tone(state: &str) -> Tone {
    match state {
        "delivering" => Tone::Good,
        "held" => Tone::Waiting,
        _ => Tone::Plain,
    }
}

/// The first recipient, and how many more there are.
fn recipients(batch: &BatchLine) -> String {
    match batch.recipients.as_slice() {
        [] => batch.destination.clone(),
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} +{}", more.len()),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::show::page::written;
    use posthaste_mail::envelope::EnvelopeId;

    pub fn batch() -> BatchLine {
        BatchLine {
            queue: "outbound".into(),
            id: EnvelopeId::from_bytes([0; 16]),
            from: "ann@example.org".into(),
            destination: "example.net".into(),
            recipients: vec!["bob@example.net".into()],
            size: 1536,
            arrived: "2026-11-24T03:12:00.123Z".into(),
            attempts: 2,
            state: "waiting".into(),
            due: "2026-11-24T03:30:00.000Z".into(),
            last_failure: Some("mx said: 451 4.7.1 later\u{1b}[2J".into()),
            reason: Some("refused".into()),
            hold: None,
            rerouted: None,
            target_missing: false,
        }
    }

    #[test]
    fn what_an_operator_did_comes_first() {
        let hold = HoldLine {
            reason: "customer asked".into(),
            by: "uid 0".into(),
            since: "2026-11-24T03:12:00.123Z".into(),
        };
        let rerouted = Some("relay".to_string());
        let failed = "refused, mx said: 451 4.7.1 later\u{1b}[2J";
        let held = "held by uid 0 since 2026-11-24T03:12:00Z: customer asked";
        let both = BatchLine { hold: Some(hold), rerouted, ..batch() };
        assert_eq!(why(&both), format!("{held}; rerouted to relay; {failed}"));
        let gone = BatchLine {
            target_missing: true,
            hold: None,
            last_failure: None,
            reason: None,
            ..both
        };
        assert_eq!(why(&gone), "rerouted to relay, which is not in the configuration");
    }

    #[test]
    fn a_batch_has_a_line() {
        let null = BatchLine {
            from: String::new(),
            recipients: vec![
                "a@example.net".into(),
                "b@example.net".into(),
                "c@example.net".into(),
            ],
            state: "held".into(),
            last_failure: None,
            reason: None,
            ..batch()
        };
        let shown = written(|page| {
            let mut batches = Batches::new();
            batches.row(page, &batch())?;
            batches.row(page, &null)?;
            batches.end(page, 2)
        });
        assert_eq!(
            shown,
            "ID                          QUEUE     STATE    TRIES  DUE                      SIZE  FROM             TO                LAST FAILURE\n\
             00000000000000000000000000  outbound  waiting      2  2026-11-24T03:30:00Z  1.5 KiB  ann@example.org  bob@example.net   refused, mx said: 451 4.7.1 later\\u{1b}[2J\n\
             00000000000000000000000000  outbound  held         2  2026-11-24T03:30:00Z  1.5 KiB  <>               a@example.net +2\n"
        );
        assert_eq!(written(|page| Batches::new().end(page, 0)), "nothing waits\n");
    }
}
