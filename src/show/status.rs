//! `status` for people.

use std::io;

use posthaste_mail::admin::answer::{QueueLine, Status};

use crate::show::amount::{size, span};
use crate::show::page::{Page, Tone};
use crate::show::table::{Column, Table};

const QUEUES: &[Column] = &[
    Column::Text("QUEUE"),
    Column::Text("TARGET"),
    Column::Number("MESSAGES"),
    Column::Number("BATCHES"),
    Column::Number("SIZE"),
    Column::Number("OLDEST"),
    Column::Number("RUNNING"),
    Column::Number("ACCEPTED"),
    Column::Number("DELIVERED"),
    Column::Number("DEFERRED"),
    Column::Number("FAILED"),
    Column::Number("UNKNOWN"),
    Column::Number("UNTOLD"),
];

pub fn status(page: &mut Page<'_>, status: &Status) -> io::Result<()> {
    let up = span(status.uptime_seconds);
    page.line(Tone::Title, &format!("posthaste {}, pid {}, up {up}", status.version, status.pid))?;
    page.plain(&format!("hostname       {}", status.hostname))?;
    page.plain(&format!("state          {}", status.state_dir))?;
    page.plain(&format!("configuration  generation {}", status.generation))?;
    page.plain("")?;
    let mut queues = Table::new(QUEUES);
    for queue in &status.queues {
        queues.row(page, Tone::Plain, queue_row(queue))?;
    }
    queues.show(page)?;
    if status.wrong.is_empty() {
        return page.line(Tone::Good, "nothing is wrong");
    }
    status.wrong.iter().try_for_each(|wrong| page.line(Tone::Bad, &format!("wrong: {wrong}")))
}

fn queue_row(queue: &QueueLine) -> Vec<String> {
    vec![
        queue.queue.clone(),
        queue.target.clone(),
        queue.envelopes.to_string(),
        queue.batches.to_string(),
        size(queue.bytes),
        queue.oldest_age_seconds.map(span).unwrap_or_default(),
        format!("{}/{}", queue.running, queue.max_parallelism),
        queue.accepted.to_string(),
        queue.delivered.to_string(),
        queue.deferred.to_string(),
        queue.failed.to_string(),
        queue.unknown.to_string(),
        queue.untold.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::page::written;

    #[test]
    fn what_a_daemon_says_of_itself() {
        let queue = QueueLine {
            queue: "outbound".into(),
            target: "mx".into(),
            envelopes: 12,
            batches: 14,
            bytes: 2048,
            running: 3,
            max_parallelism: 16,
            oldest_age_seconds: Some(7500),
            accepted: 100,
            delivered: 80,
            failed: 1,
            deferred: 30,
            unknown: 2,
            untold: 0,
        };
        let mut facts = Status {
            version: "0.1.0".into(),
            pid: 42,
            uptime_seconds: 90_000,
            generation: 1,
            hostname: "mx.example.org".into(),
            state_dir: "/var/lib/posthaste".into(),
            queues: vec![queue],
            wrong: vec![],
        };
        let head = "posthaste 0.1.0, pid 42, up 1d 1h\n\
            hostname       mx.example.org\n\
            state          /var/lib/posthaste\n\
            configuration  generation 1\n\n\
            QUEUE     TARGET  MESSAGES  BATCHES   SIZE  OLDEST  RUNNING  ACCEPTED  DELIVERED  DEFERRED  FAILED  UNKNOWN  UNTOLD\n\
            outbound  mx            12       14  2 KiB   2h 5m     3/16       100         80        30       1        2       0\n";
        assert_eq!(written(|page| status(page, &facts)), format!("{head}nothing is wrong\n"));
        facts.wrong.push("actor queue is restarting".into());
        let shown = written(|page| status(page, &facts));
        assert_eq!(shown, format!("{head}wrong: actor queue is restarting\n"));
    }
}
