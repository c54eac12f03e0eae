//! `queue show` for people: facts of the envelope, batches, recipients, history.

use std::io;

use posthaste_mail::admin::answer::{BatchLine, MessageView, RecipientLine, TraceEvent};
use posthaste_mail::envelope::Envelope;

use crate::show::amount::{moment, size};
use crate::show::event::{event, failed};
use crate::show::page::{Page, Tone};
use crate::show::queue::{path, tone, why};
use crate::show::table::{Column, Table};

const BATCHES: &[Column] = &[
    Column::Text("DESTINATION"),
    Column::Text("STATE"),
    Column::Number("RECIPIENTS"),
    Column::Number("TRIES"),
    Column::Text("NEXT ATTEMPT"),
    Column::Text("LAST FAILURE"),
];

const RECIPIENTS: &[Column] =
    &[Column::Text("RECIPIENT"), Column::Text("STANDING"), Column::Text("WHY")];

/// A message that is in a queue, or only remembered.
pub fn message(
    page: &mut Page<'_>,
    message: Option<&MessageView>,
    history: &[TraceEvent],
) -> io::Result<()> {
    match message {
        Some(view) => waiting(page, view)?,
        None => page.plain("in no queue any more")?,
    }
    if history.is_empty() {
        return Ok(());
    }
    page.plain("")?;
    page.line(Tone::Title, "HISTORY")?;
    history.iter().try_for_each(|happened| event(page, happened))
}

fn waiting(page: &mut Page<'_>, view: &MessageView) -> io::Result<()> {
    for (name, value) in facts(&view.queue, &view.envelope) {
        page.plain(&format!("{name:<11} {value}"))?;
    }
    page.plain("")?;
    let mut batches = Table::new(BATCHES);
    for batch in &view.batches {
        batches.row(page, tone(&batch.state), batch_row(batch))?;
    }
    batches.show(page)?;
    page.plain("")?;
    let mut recipients = Table::new(RECIPIENTS);
    for recipient in &view.recipients {
        let (tone, row) = recipient_row(recipient);
        recipients.row(page, tone, row)?;
    }
    recipients.show(page)
}

/// What an envelope says, in words; what it does not say is left out.
fn facts(queue: &str, envelope: &Envelope) -> Vec<(&'static str, String)> {
    let origin = &envelope.origin;
    let address = origin.address.map(|address| format!("[{address}]"));
    let client: Vec<String> = [Some(origin.helo.clone()), address, origin.user.clone()]
        .into_iter()
        .flatten()
        .filter(|word| !word.is_empty())
        .collect();
    let mut facts = vec![
        ("id", envelope.id.to_string()),
        ("queue", queue.to_string()),
        ("from", path(envelope.from.as_str())),
        ("size", size(envelope.size)),
        ("arrived", moment(&envelope.arrived.rfc3339())),
    ];
    let more = [
        ("client", client.join(" ")),
        ("message-id", envelope.message_id.clone().unwrap_or_default()),
        ("envid", envelope.envid.clone().unwrap_or_default()),
        ("flags", flags(envelope)),
    ];
    facts.extend(more.into_iter().filter(|(_, value)| !value.is_empty()));
    facts
}

fn flags(envelope: &Envelope) -> String {
    use posthaste_mail::envelope::{BodyType, Route, TlsWish};
    let flags = &envelope.flags;
    let body = match flags.body {
        BodyType::SevenBit => None,
        BodyType::EightBitMime => Some("8bitmime"),
        BodyType::BinaryMime => Some("binarymime"),
    };
    let tls = match flags.tls {
        TlsWish::Unsaid => None,
        TlsWish::Required => Some("requiretls"),
        TlsWish::Waived => Some("tls-required-no"),
    };
    let route = match envelope.route {
        Route::Target | Route::Rerouted { .. } => None,
        Route::Bounce { .. } => Some("notification"),
    };
    let words = [
        body,
        flags.smtputf8.then_some("smtputf8"),
        tls,
        flags.quarantine.then_some("quarantine"),
        route,
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn batch_row(batch: &BatchLine) -> Vec<String> {
    vec![
        batch.destination.clone(),
        batch.state.clone(),
        batch.recipients.len().to_string(),
        batch.attempts.to_string(),
        moment(&batch.due),
        why(batch),
    ]
}

fn recipient_row(recipient: &RecipientLine) -> (Tone, Vec<String>) {
    let tone = match recipient.standing.as_str() {
        "delivered" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Plain,
    };
    let why = recipient.last_failure.as_ref().map(failed).or_else(|| recipient.reply.clone());
    let row = vec![recipient.address.clone(), recipient.standing.clone(), why.unwrap_or_default()];
    (tone, row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::event::tests::trace_event;
    use crate::show::page::written;
    use crate::show::queue::tests::batch;
    use posthaste_mail::address::ReversePath;
    use posthaste_mail::admin::answer::Event;
    use posthaste_mail::envelope::{EnvelopeId, MessageFlags, Origin, Route, TlsWish};
    use posthaste_mail::outcome::{Cause, Failure};
    use posthaste_mail::time::Timestamp;

    fn view() -> MessageView {
        let envelope = Envelope {
            id: EnvelopeId::from_bytes([0; 16]),
            from: ReversePath::try_from("ann@example.org".to_string()).unwrap(),
            flags: MessageFlags { tls: TlsWish::Required, smtputf8: true, ..Default::default() },
            ret: None,
            envid: None,
            origin: Origin {
                helo: "client.example".into(),
                address: "192.0.2.9".parse().ok(),
                ..Default::default()
            },
            arrived: Timestamp::from_secs(1_795_489_920),
            size: 1536,
            message_id: Some("<1@example.org>".into()),
            route: Route::Target,
        };
        let recipient = |address: &str, standing: &str| RecipientLine {
            address: address.into(),
            batch: 0,
            standing: standing.into(),
            reply: None,
            last_failure: None,
        };
        let unreachable = Failure::new(Cause::Unreachable, "connection refused");
        let recipients = vec![
            RecipientLine {
                last_failure: Some(unreachable),
                ..recipient("bob@example.net", "waiting")
            },
            RecipientLine {
                reply: Some("250 ok".into()),
                ..recipient("eve@example.com", "delivered")
            },
        ];
        MessageView { queue: "outbound".into(), envelope, batches: vec![batch()], recipients }
    }

    #[test]
    fn a_message_from_its_envelope_to_its_history() {
        let history = [trace_event(Event::Removed)];
        assert_eq!(
            written(|page| message(page, Some(&view()), &history)),
            "id          00000000000000000000000000\n\
             queue       outbound\n\
             from        ann@example.org\n\
             size        1.5 KiB\n\
             arrived     2026-11-24T03:12:00Z\n\
             client      client.example [192.0.2.9]\n\
             message-id  <1@example.org>\n\
             flags       smtputf8 requiretls\n\
             \n\
             DESTINATION  STATE    RECIPIENTS  TRIES  NEXT ATTEMPT          LAST FAILURE\n\
             example.net  waiting           1      2  2026-11-24T03:30:00Z  refused, mx said: 451 4.7.1 later\\u{1b}[2J\n\
             \n\
             RECIPIENT        STANDING   WHY\n\
             bob@example.net  waiting    unreachable, 451 4.4.1 connection refused\n\
             eve@example.com  delivered  250 ok\n\
             \n\
             HISTORY\n\
             2026-11-24T03:12:00.000Z 00000000000000000000000000 outbound removed   from the queue\n"
        );
    }

    #[test]
    fn a_message_that_is_only_remembered() {
        let shown = written(|page| message(page, None, &[trace_event(Event::Removed)]));
        assert!(shown.starts_with("in no queue any more\n\nHISTORY\n2026-"), "{shown}");
        assert_eq!(written(|page| message(page, None, &[])), "in no queue any more\n");
    }
}
