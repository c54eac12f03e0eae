//! `ps` for people: the actors, the deliveries in progress, the sessions kept for later ones.

use std::io;

use posthaste_mail::admin::answer::{ChildLine, DeliveryLine, SessionLine};

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
    Column::Number("FOR"),
    Column::Number("SINCE"),
    Column::Text("MX"),
];

const SESSIONS: &[Column] = &[
    Column::Text("TARGET"),
    Column::Text("DESTINATION"),
    Column::Text("MX"),
    Column::Text("ADDRESS"),
    Column::Text("TLS"),
    Column::Number("TRANSACTIONS"),
    Column::Number("IDLE"),
    Column::Number("AGE"),
];

pub fn processes(
    page: &mut Page<'_>,
    actors: &[ChildLine],
    deliveries: &[DeliveryLine],
    sessions: &[SessionLine],
) -> io::Result<()> {
    let mut table = Table::new(ACTORS);
    for actor in actors {
        let (tone, row) = actor_row(actor);
        table.row(page, tone, row)?;
    }
    table.show(page)?;
    page.plain("")?;
    if deliveries.is_empty() {
        page.plain("no delivery in progress")?;
    } else {
        let mut table = Table::new(DELIVERIES);
        for delivery in deliveries {
            table.row(page, Tone::Plain, delivery_row(delivery))?;
        }
        table.show(page)?;
    }
    page.plain("")?;
    if sessions.is_empty() {
        return page.plain("no idle session");
    }
    let mut table = Table::new(SESSIONS);
    for session in sessions {
        table.row(page, Tone::Plain, session_row(session))?;
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
    let slot = if delivery.patient { ", no slot" } else { "" };
    let address = delivery.address.as_ref().map(|address| format!("[{address}]"));
    vec![
        delivery.queue.clone(),
        delivery.id.to_string(),
        delivery.destination.clone(),
        delivery.recipients.to_string(),
        delivery.attempt.to_string(),
        format!("{}{slot}", delivery.phase),
        span(delivery.phase_seconds),
        span(delivery.seconds),
        [delivery.mx.clone(), address].into_iter().flatten().collect::<Vec<_>>().join(" "),
    ]
}

fn session_row(session: &SessionLine) -> Vec<String> {
    vec![
        session.target.clone(),
        session.destination.clone(),
        session.mx.clone(),
        session.address.clone(),
        session.tls_level.to_string(),
        session.transactions.to_string(),
        span(session.idle_seconds),
        span(session.age_seconds),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::page::written;
    use posthaste_mail::envelope::EnvelopeId;
    use posthaste_mail::level::TlsLevel;

    #[test]
    fn actors_deliveries_and_sessions_have_a_line_each() {
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
            phase: "greeting".into(),
            phase_seconds: 12,
            mx: Some("a.example.org".into()),
            address: Some("192.0.2.1".into()),
            patient: true,
            seconds: 75,
        };
        let session = SessionLine {
            target: "mx".into(),
            destination: "example.org".into(),
            mx: "a.example.org".into(),
            address: "192.0.2.1".into(),
            tls_level: TlsLevel::Authenticated,
            transactions: 4,
            idle_seconds: 12,
            age_seconds: 130,
        };
        assert_eq!(
            written(|page| processes(page, &[actor, silent.clone()], &[delivery], &[session])),
            "ACTOR     KIND          STATE               RESTARTS  COUNTERS              LAST FAULT\n\
             outbound  target.queue  running                    2  running=1 waiting=20  panicked: x\\u{7}\n\
             outbound  target.queue  running, no answer         0\n\
             \n\
             QUEUE     ID                          DESTINATION  RECIPIENTS  ATTEMPT  PHASE              FOR   SINCE  MX\n\
             outbound  00000000000000000000000000  example.org           3        1  greeting, no slot  12s  1m 15s  a.example.org [192.0.2.1]\n\
             \n\
             TARGET  DESTINATION  MX             ADDRESS    TLS            TRANSACTIONS  IDLE     AGE\n\
             mx      example.org  a.example.org  192.0.2.1  authenticated             4   12s  2m 10s\n"
        );
        let idle = written(|page| processes(page, &[silent], &[], &[]));
        assert!(idle.ends_with("\n\nno delivery in progress\n\nno idle session\n"), "{idle}");
    }
}
