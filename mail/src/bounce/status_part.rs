//! The part for machines: `message/delivery-status`, fields in the order of the grammar (RFC 3464 §2.2, §2.3).

use super::field::{
    Charset, add_address, add_date, add_field, clean, host_name, typed_address, utf8_address,
};
use super::{Event, Notice, Report, Reporter};
use crate::address::ReversePath;
use crate::envelope::Orcpt;
use crate::outcome::{Cause, Failure, Receipt};
use crate::status::Enhanced;

pub(super) fn write(notice: &Notice<'_>, reporter: Reporter<'_>, charset: Charset) -> String {
    let mut out = String::new();
    about_message(&mut out, notice, reporter, charset);
    for report in notice.reports {
        // RFC 3464 §2.1: groups are separated by an empty line.
        out.push_str("\r\n");
        about_recipient(&mut out, report, charset);
    }
    out
}

fn about_message(out: &mut String, notice: &Notice<'_>, reporter: Reporter<'_>, charset: Charset) {
    let envelope = notice.envelope;
    // RFC 3461 §6.3 (b): ENVID without its xtext encoding.
    if let Some(envid) = &envelope.envid {
        add_field(out, "Original-Envelope-Id", &clean(envid, charset));
    }
    add_field(out, "Reporting-MTA", &format!("dns; {}", reporter.hostname.ascii()));
    // Whoever submitted over an authenticated session stays private.
    if !envelope.origin.hidden && !envelope.origin.helo.is_empty() {
        let helo = host_name(&envelope.origin.helo);
        add_field(out, "Received-From-MTA", &format!("dns; {helo}"));
    }
    add_date(out, "Arrival-Date", envelope.arrived);
    add_field(out, "X-Posthaste-Queue-ID", &envelope.id.to_string());
    if let ReversePath::Mailbox(sender) = &envelope.from {
        add_address(out, "X-Posthaste-Sender", &typed_address(sender, charset));
    }
}

fn about_recipient(out: &mut String, report: &Report<'_>, charset: Charset) {
    let recipient = report.recipient;
    if let Some(orcpt) = &recipient.orcpt {
        add_address(out, "Original-Recipient", &original_recipient(orcpt, charset));
    }
    // What an alias expands to is nobody's business outside: the address the client gave is named.
    let named = recipient.original.as_ref().unwrap_or(&recipient.address);
    add_address(out, "Final-Recipient", &typed_address(named, charset));
    add_field(out, "Action", report.event.word());
    match report.event {
        Event::Failed { failure, .. } | Event::Delayed { failure, .. } => {
            about_failure(out, failure, charset);
        }
        Event::Relayed(receipt) | Event::Delivered(receipt) => {
            about_receipt(out, receipt, charset);
        }
    }
    // RFC 3464 §2.3.7: a field of the recipient, not of the message.
    if let Some(moment) = report.last_attempt {
        add_date(out, "Last-Attempt-Date", moment);
    }
    if let Event::Delayed { will_retry_until: Some(moment), .. } = report.event {
        // RFC 3464 §2.3.9: for delayed recipients only.
        add_date(out, "Will-Retry-Until", moment);
    }
}

fn about_failure(out: &mut String, failure: &Failure, charset: Charset) {
    // RFC 3464 §2.3.4: 4.x.x with `failed` says that a temporary failure lasted too long.
    add_field(out, "Status", &failure.status.to_string());
    if let Some(remote) = &failure.remote {
        add_field(out, "Remote-MTA", &format!("dns; {}", host_name(&remote.host)));
    }
    // RFC 3464 §2.3.6: `smtp` is for replies of servers; our own findings have a type of their own.
    let replied = matches!(failure.cause, Cause::Refused(_));
    let kind = if replied { "smtp" } else { "x-posthaste" };
    let text = clean(&failure.text, charset);
    let diagnostic = format!("{kind}; {} {} {text}", failure.code, failure.status);
    add_field(out, "Diagnostic-Code", &diagnostic);
}

fn about_receipt(out: &mut String, receipt: &Receipt, charset: Charset) {
    let status = receipt.status.filter(|status| status.0 == 2).unwrap_or(Enhanced(2, 0, 0));
    add_field(out, "Status", &status.to_string());
    if let Some(remote) = &receipt.remote {
        add_field(out, "Remote-MTA", &format!("dns; {}", host_name(&remote.host)));
    }
    let text = clean(&receipt.text, charset);
    add_field(out, "Diagnostic-Code", &format!("smtp; {} {status} {text}", receipt.code));
}

/// RFC 3461 §6.3 (c): ORCPT without its xtext encoding; a `utf-8` address keeps one that fits the part.
fn original_recipient(orcpt: &Orcpt, charset: Charset) -> String {
    let atom = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let kind: String = orcpt.addr_type.chars().filter(atom).take(64).collect();
    if kind.eq_ignore_ascii_case("utf-8") || !orcpt.address.is_ascii() {
        return format!("utf-8; {}", utf8_address(&orcpt.address, charset));
    }
    format!("{kind}; {}", clean(&orcpt.address, charset))
}
