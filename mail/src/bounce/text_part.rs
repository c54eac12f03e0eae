//! The part for people.

use std::time::Duration;

use super::field::{Charset, clean, host_name, wrap};
use super::{Event, GaveUp, Notice, Report, Reporter};
use crate::outcome::{Cause, Failure};

pub(super) fn write(notice: &Notice<'_>, reporter: Reporter<'_>, charset: Charset) -> String {
    let mut out = String::new();
    let host = reporter.hostname.ascii();
    paragraph(&mut out, &format!("This is the mail delivery system at {host}."));
    for (heading, of_kind) in SECTIONS {
        let reports = notice.reports.iter().filter(|report| of_kind(&report.event));
        let mut reports = reports.peekable();
        if reports.peek().is_some() {
            paragraph(&mut out, heading);
        }
        for report in reports {
            about_recipient(&mut out, report, charset);
        }
    }
    let accepted = notice.envelope.arrived.rfc5322();
    paragraph(&mut out, &format!("The message was accepted on {accepted}."));
    let domain = reporter.domain.ascii();
    wrap(
        &mut out,
        "",
        "",
        &format!("For help, write to postmaster@{domain} and name the message id"),
    );
    paragraph(&mut out, &format!("{}.", notice.envelope.id));
    // The last paragraph ends the part; its empty line would be one too many.
    out.truncate(out.len().saturating_sub(2));
    out
}

type Kind = fn(&Event<'_>) -> bool;

const SECTIONS: [(&str, Kind); 4] = [
    (
        "Your message could not be delivered to these recipients. No further attempts will be made.",
        |event| matches!(event, Event::Failed { .. }),
    ),
    (
        "Your message could not be delivered to these recipients yet. You need not send it again; delivery will be tried further.",
        |event| matches!(event, Event::Delayed { .. }),
    ),
    ("Your message was delivered to these recipients.", |event| {
        matches!(event, Event::Delivered(_))
    }),
    (
        "Your message was passed on to a server that does not report delivery to these recipients.",
        |event| matches!(event, Event::Relayed(_)),
    ),
];

fn about_recipient(out: &mut String, report: &Report<'_>, charset: Charset) {
    let recipient = report.recipient;
    let named = recipient.original.as_ref().unwrap_or(&recipient.address);
    let shown = match charset {
        Charset::Utf8 => named.to_string(),
        Charset::Ascii => named.to_ascii().unwrap_or_else(|| clean(named.as_str(), charset)),
    };
    wrap(out, "  ", "  ", &format!("<{shown}>"));
    match report.event {
        Event::Failed { failure, gave_up } => {
            detail(out, &said(failure, charset));
            if let Some(gave_up) = gave_up {
                detail(out, &format!("Gave up after {}.", patience(gave_up)));
            }
        }
        Event::Delayed { failure, will_retry_until } => {
            detail(out, &said(failure, charset));
            if let Some(moment) = will_retry_until {
                detail(out, &format!("Will be tried until {}.", moment.rfc5322()));
            }
        }
        Event::Relayed(receipt) | Event::Delivered(receipt) => {
            detail(out, &format!("{} {}", receipt.code, clean(&receipt.text, charset)));
        }
    }
    if let Some(moment) = report.last_attempt {
        detail(out, &format!("Last attempt on {}.", moment.rfc5322()));
    }
    out.push_str("\r\n");
}

fn paragraph(out: &mut String, text: &str) {
    wrap(out, "", "", text);
    out.push_str("\r\n");
}

fn detail(out: &mut String, text: &str) {
    wrap(out, "    ", "    ", text);
}

fn said(failure: &Failure, charset: Charset) -> String {
    let reply = format!("{} {} {}", failure.code, failure.status, clean(&failure.text, charset));
    let Some(remote) = &failure.remote else { return reply };
    let host = match &remote.address {
        None => host_name(&remote.host),
        Some(address) => format!("{} ({})", host_name(&remote.host), host_name(address)),
    };
    match failure.cause {
        Cause::Refused(stage) => format!("{host} said: {reply} (in reply to {})", stage.command()),
        // What we found out ourselves is not put into the server's mouth.
        _ => format!("{host}: {reply}"),
    }
}

/// `20 attempts in 3 days`
fn patience(gave_up: GaveUp) -> String {
    let attempts = match gave_up.attempts {
        1 => "1 attempt".to_string(),
        n => format!("{n} attempts"),
    };
    format!("{attempts} in {}", span(gave_up.after))
}

/// The largest unit of which there are at least two, rounded down.
fn span(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    match minutes {
        0 => "less than a minute".to_string(),
        1 => "1 minute".to_string(),
        2..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_words() {
        for (seconds, expected) in [
            (0, "less than a minute"),
            (60, "1 minute"),
            (119 * 60, "119 minutes"),
            (120 * 60, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (u64::MAX, "213503982334601 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
