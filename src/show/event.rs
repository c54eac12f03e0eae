//! `trace` for people: a line an event: when, which message, what, who, what was answered, how it was protected.

use std::io;

use posthaste_mail::admin::answer::{Event, TraceEvent};
use posthaste_mail::level::TlsLevel;
use posthaste_mail::outcome::{Failure, Outcome, Receipt, Remote, SessionFacts};

use crate::show::amount::{count, moment, size};
use crate::show::page::{Page, Tone};
use crate::show::queue::path;

pub fn event(page: &mut Page<'_>, event: &TraceEvent) -> io::Result<()> {
    let (tone, word, text) = told(&event.event);
    let TraceEvent { time, id, queue, .. } = event;
    let line = format!("{time} {id} {queue} {word:<9} {text}");
    page.line(tone, line.trim_end())
}

/// Events that were lost because this reader was too slow; `noun` is what one is called.
pub fn missed(page: &mut Page<'_>, events: u64, noun: &str) -> io::Result<()> {
    page.line(Tone::Bad, &format!("{} not shown: this reader is too slow", count(events, noun)))
}

fn told(event: &Event) -> (Tone, &str, String) {
    match event {
        Event::Accepted { from, recipients, size: octets, destinations } => {
            let (size, recipients) = (size(*octets), count(*recipients, "recipient"));
            let to = destinations.join(", ");
            (Tone::Plain, "accepted", format!("from {}, {size}, {recipients} to {to}", path(from)))
        }
        Event::Attempt { destination, attempt, recipients } => {
            let recipients = count(*recipients, "recipient");
            (Tone::Plain, "attempt", format!("{attempt} to {destination}, {recipients}"))
        }
        Event::Outcome { recipient, destination: _, attempt, outcome, facts } => {
            let (tone, answer) = match outcome {
                Outcome::Delivered(receipt) => (Tone::Good, received(receipt)),
                Outcome::Failed(failure) => (Tone::Bad, failed(failure)),
                Outcome::Deferred(failure)
                | Outcome::Postponed(failure)
                | Outcome::Unknown(failure) => (Tone::Waiting, failed(failure)),
            };
            let session = session(facts);
            (tone, outcome.word(), format!("{recipient}: {answer}; attempt {attempt}, {session}"))
        }
        Event::Retry { destination, attempts, due, recipients } => {
            let recipients = count(*recipients, "recipient");
            let due = moment(due);
            let attempts = count(u64::from(*attempts), "attempt");
            (
                Tone::Waiting,
                "retry",
                format!("at {due} to {destination}, {recipients}, after {attempts}"),
            )
        }
        Event::Ended { recipient, end, text } => {
            let tone = match end.as_str() {
                "delivered" => Tone::Good,
                "failed" => Tone::Bad,
                _ => Tone::Plain,
            };
            (tone, "ended", format!("{recipient}: {end} {text}"))
        }
        Event::Operator { destination, act, by, text } => {
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            (Tone::Waiting, "operator", format!("{act} by {by}, to {destination}{text}"))
        }
        Event::Removed => (Tone::Plain, "removed", "from the queue".to_string()),
    }
}

fn received(receipt: &Receipt) -> String {
    let status = receipt.status.map(|status| format!(" {status}")).unwrap_or_default();
    let said = format!("{}{status} {}", receipt.code, receipt.text);
    by(receipt.remote.as_ref(), " said", &said)
}

/// The failure in a few words: its cause, and what was answered, or what we met there.
pub fn failed(failure: &Failure) -> String {
    let told = format!("{} {} {}", failure.code, failure.status, failure.text);
    format!("{}, {}", failure.cause.word(), by(failure.remote.as_ref(), failure.said(), &told))
}

fn by(remote: Option<&Remote>, said: &str, told: &str) -> String {
    match remote {
        None => told.to_string(),
        Some(Remote { host, address: None }) => format!("{host}{said}: {told}"),
        Some(Remote { host, address: Some(address) }) => {
            format!("{host} [{address}]{said}: {told}")
        }
    }
}

/// Levels and TLS of a session.
pub fn session(facts: &SessionFacts) -> String {
    let mut text = format!("mx {}, tls {}", facts.mx_level, facts.tls_level);
    let engine: Vec<&str> =
        [&facts.tls_version, &facts.tls_cipher].into_iter().flatten().map(String::as_str).collect();
    if !engine.is_empty() {
        text.push_str(&format!(" ({})", engine.join(" ")));
    }
    match (&facts.tls_error, facts.tls_level) {
        (Some(why), TlsLevel::None) => text.push_str(&format!(", TLS failed: {why}")),
        (Some(why), _) => text.push_str(&format!(", certificate not proven: {why}")),
        (None, _) => {}
    }
    if let Some(said) = &facts.policies {
        text.push_str(&format!(", policies: {said}"));
    }
    if facts.reused {
        text.push_str(", session reused");
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::show::page::written;
    use posthaste_mail::envelope::EnvelopeId;
    use posthaste_mail::level::MxLevel;
    use posthaste_mail::outcome::{Cause, Reach, Stage};
    use posthaste_mail::status::Enhanced;
    use posthaste_mail::time::Timestamp;

    pub fn trace_event(event: Event) -> TraceEvent {
        let at = Timestamp::from_secs(1_795_489_920);
        let id = EnvelopeId::from_bytes([0; 16]);
        TraceEvent { at, time: at.rfc3339(), id, queue: "outbound".into(), event }
    }

    fn remote(address: Option<&str>) -> Option<Remote> {
        Some(Remote { host: "mx.example.net".into(), address: address.map(str::to_string) })
    }

    fn outcome(outcome: Outcome, facts: SessionFacts) -> Event {
        let (recipient, destination) = ("bob@example.net".into(), "example.net".into());
        Event::Outcome { recipient, destination, attempt: 2, outcome, facts }
    }

    fn says(told: Event, text: &str) {
        let head = "2026-11-24T03:12:00.000Z 00000000000000000000000000 outbound";
        assert_eq!(written(|page| event(page, &trace_event(told))), format!("{head} {text}\n"));
    }

    #[test]
    fn every_event_has_a_line() {
        let accepted = |from: &str| Event::Accepted {
            from: from.into(),
            recipients: 2,
            size: 2048,
            destinations: vec!["example.net".into(), "example.com".into()],
        };
        says(
            accepted("ann@example.org"),
            "accepted  from ann@example.org, 2 KiB, 2 recipients to example.net, example.com",
        );
        says(accepted(""), "accepted  from <>, 2 KiB, 2 recipients to example.net, example.com");
        says(
            Event::Attempt { destination: "example.net".into(), attempt: 1, recipients: 1 },
            "attempt   1 to example.net, 1 recipient",
        );
        let due = "2026-11-24T03:30:00.000Z".to_string();
        says(
            Event::Retry { destination: "example.net".into(), attempts: 1, due, recipients: 2 },
            "retry     at 2026-11-24T03:30:00Z to example.net, 2 recipients, after 1 attempt",
        );
        let (recipient, end, text) = ("b@example.net".into(), "failed".into(), "gave up".into());
        says(Event::Ended { recipient, end, text }, "ended     b@example.net: failed gave up");
        says(Event::Removed, "removed   from the queue");
    }

    #[test]
    fn outcomes_tell_answer_and_protection() {
        let receipt = Receipt {
            code: 250,
            status: Some(Enhanced(2, 0, 0)),
            text: "queued as 1\u{1b}[2J".into(),
            remote: remote(Some("192.0.2.1")),
            dsn_passed_on: false,
            reach: Reach::Server,
        };
        let facts = SessionFacts {
            mx_level: MxLevel::Dnssec,
            tls_level: TlsLevel::Authenticated,
            tls_version: Some("TLSv1.3".into()),
            tls_cipher: Some("TLS_AES_256_GCM_SHA384".into()),
            reused: true,
            ..SessionFacts::default()
        };
        says(
            outcome(Outcome::Delivered(receipt), facts),
            "delivered bob@example.net: mx.example.net [192.0.2.1] said: 250 2.0.0 queued as 1\\u{1b}[2J; attempt 2, \
             mx dnssec, tls authenticated (TLSv1.3 TLS_AES_256_GCM_SHA384), session reused",
        );
        let plain = SessionFacts::default;
        let policies = Some("dnssec signed; dane usable".to_string());
        assert_eq!(
            session(&SessionFacts { policies, ..plain() }),
            "mx none, tls none, policies: dnssec signed; dane usable"
        );
        let refused = Failure::refused(Stage::Rcpt, 550, Some(Enhanced(5, 1, 1)), "no such user");
        let refused = Failure { remote: remote(None), ..refused };
        says(
            outcome(Outcome::Failed(refused), plain()),
            "failed    bob@example.net: refused, mx.example.net said: 550 5.1.1 no such user; attempt 2, mx none, tls none",
        );
        let unproven = |tls_level, why: &str| SessionFacts {
            tls_level,
            tls_error: Some(why.into()),
            ..SessionFacts::default()
        };
        let busy = || {
            let busy = Failure::refused(Stage::Rcpt, 450, Some(Enhanced(4, 2, 1)), "later");
            Outcome::Deferred(Failure { remote: remote(None), ..busy })
        };
        let told = "deferred  bob@example.net: refused, mx.example.net said: 450 4.2.1 later; attempt 2, mx none, tls";
        says(
            outcome(busy(), unproven(TlsLevel::Encrypted, "self-signed certificate")),
            &format!("{told} encrypted, certificate not proven: self-signed certificate"),
        );
        says(
            outcome(busy(), unproven(TlsLevel::None, "no shared cipher")),
            &format!("{told} none, TLS failed: no shared cipher"),
        );
        let lost = Failure::new(Cause::Lost(Stage::Data), "the server closed the connection");
        let lost = Failure { remote: remote(Some("192.0.2.1")), ..lost };
        says(
            outcome(Outcome::Deferred(lost.clone()), plain()),
            &format!(
                "deferred  bob@example.net: {}, mx.example.net [192.0.2.1]: {} {} {}; attempt 2, mx none, tls none",
                lost.cause.word(),
                lost.code,
                lost.status,
                lost.text
            ),
        );
        let dns = Failure::new(Cause::DnsFailed, "looking up MX of example.net: timeout");
        says(
            outcome(Outcome::Deferred(dns), plain()),
            "deferred  bob@example.net: dns, 451 4.4.3 looking up MX of example.net: timeout; attempt 2, mx none, tls none",
        );
    }

    #[test]
    fn lost_events_are_admitted() {
        for (lost, noun, told) in [(3, "event", "3 events"), (1, "line", "1 line")] {
            assert_eq!(
                written(|page| missed(page, lost, noun)),
                format!("{told} not shown: this reader is too slow\n")
            );
        }
    }
}
