//! `ps` for people: the actors, then the deliveries in progress.

use std::io;

use posthaste_mail::admin::answer::{ChildLine, DeliveryLine};

use crate::show::amount::span;
use crate::show::page::{Page, Tone};
use crate::show::table::{Column, Table};

const ACTORS: &[Column] = &[
    Column::Text("ACTOR"),
    Column::Text("KIND"),
    Column::Text("STATE"),
    Column::Number("RESTARTS"),
    Column::Text("COUNTERS"),
    Column::Text("LAST FAULT"),
];

const DELIVERIES: &[Column] = &[
    Column::Text("QUEUE"),
    Column::Text("ID"),
    Column::Text("DESTINATION"),
    Column::Number("RECIPIENTS"),
    Column::Number("ATTEMPT"),
    Column::Text("PHASE"),
    Column::Number("SINCE"),
];

pub fn processes(
    page: &mut Page<'_>,
    actors: &[ChildLine],
    deliveries: &[DeliveryLine],
) -> io::Result<()> {
    let mut table = Table::new(ACTORS);
    for actor in actors {
        let (tone, row) = actor_row(actor);
        table.row(page, tone, row)?;
    }
    table.show(page)?;
    page.plain("")?;
    if deliveries.is_empty() {
        return page.plain("no delivery in progress");
    }
    let mut table = Table::new(DELIVERIES);
    for delivery in deliveries {
        table.row(page, Tone::Plain, delivery_row(delivery))?;
    }
    table.show(page)
}

fn actor_row(actor: &ChildLine) -> (Tone, Vec<String>) {
    let state =
        if actor.answers { actor.state.clone() } else { format!("{}, no answer", actor.state) };
    let tone = match actor.state.as_str() {
        "running" if actor.answers => Tone::Plain,
        "suspended" => Tone::Waiting,
        _ => Tone::Bad,
    };
    let counters: Vec<String> =
        actor.counters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let row = vec![
        actor.name.clone(),
        actor.kind.clone(),
        state,
        actor.restarts.to_string(),
        counters.join(" "),
        actor.last_fault.clone().unwrap_or_default(),
    ];
    (tone, row)
}

fn delivery_row(delivery: &DeliveryLine) -> Vec<String> {
    vec![
        delivery.queue.clone(),
        delivery.id.to_string(),
        delivery.destination.clone(),
        delivery.recipients.to_string(),
        delivery.attempt.to_string(),
        delivery.phase.clone(),
        span(delivery.seconds),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::page::written;
    use posthaste_mail::envelope::EnvelopeId;

    #[test]
    fn actors_and_deliveries_have_a_line_each() {
        let actor = ChildLine {
            name: "outbound".into(),
            kind: "target.queue".into(),
            state: "running".into(),
            restarts: 2,
            last_fault: Some("panicked: x\u{7}".into()),
            counters: vec![("running".into(), 1), ("waiting".into(), 20)],
            answers: true,
        };
        let silent = ChildLine {
            answers: false,
            restarts: 0,
            last_fault: None,
            counters: vec![],
            ..actor.clone()
        };
        let delivery = DeliveryLine {
            queue: "outbound".into(),
            id: EnvelopeId::from_bytes([0; 16]),
            destination: "example.org".into(),
            recipients: 3,
            attempt: 1,
            phase: "delivering".into(),
            seconds: 75,
        };
        assert_eq!(
            written(|page| processes(page, &[actor, silent.clone()], &[delivery])),
            "ACTOR     KIND          STATE               RESTARTS  COUNTERS              LAST FAULT\n\
             outbound  target.queue  running                    2  running=1 waiting=20  panicked: x\\u{7}\n\
             outbound  target.queue  running, no answer         0\n\
             \n\
             QUEUE     ID                          DESTINATION  RECIPIENTS  ATTEMPT  PHASE        SINCE\n\
             outbound  00000000000000000000000000  example.org           3        1  delivering  1m 15s\n"
        );
        let idle = written(|page| processes(page, &[silent], &[]));
        assert!(idle.ends_with("\n\nno delivery in progress\n"), "{idle}");
    }
}
