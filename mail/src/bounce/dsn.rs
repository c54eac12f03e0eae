//! The notification as a message (RFC 3464, RFC 6522, RFC 3834).

use super::field::{Charset, add_date, add_field};
use super::returned::{self, Part};
use super::{Event, Notice, Reporter, status_part, text_part, wants_content};
use crate::address::{Mailbox, ReversePath};
use crate::dice::Dice;
use crate::envelope::{BodyType, EnvelopeId, MessageFlags, TlsWish};
use crate::time::Timestamp;

/// A message ready to be queued: its envelope sender is null, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The sender of the message reported on.
    pub to: Mailbox,
    pub flags: MessageFlags,
    /// Header and body, line ends CRLF.
    pub content: Vec<u8>,
    /// In angle brackets.
    pub message_id: String,
}

/// Writes a notification. `None` for a message without sender (RFC 5321 §4.5.5: nothing may be sent back), or with nobody to report
/// on. `id` is that of the notification itself.
pub fn render(
    notice: &Notice<'_>,
    reporter: Reporter<'_>,
    id: EnvelopeId,
    now: Timestamp,
    dice: &mut Dice,
) -> Option<Notification> {
    let ReversePath::Mailbox(to) = &notice.envelope.from else {
        return None;
    };
    if notice.reports.is_empty() {
        return None;
    }
    // RFC 6533 §4: UTF-8 goes back to those who sent it, or whose address is written in it.
    let charset = match notice.envelope.flags.smtputf8 || to.needs_smtputf8() {
        true => Charset::Utf8,
        false => Charset::Ascii,
    };
    let full = wants_content(notice.envelope, notice.reports);
    let parts = [
        text(notice, reporter, charset),
        status(notice, reporter, charset),
        returned::part(notice.original, full, charset),
    ];
    let boundary = boundary(&parts, dice);
    let message_id = format!("<{id}@{}>", reporter.domain.ascii());
    let mut content = header(notice, reporter, to, charset, now, &message_id);
    content.push_str(&format!(
        "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n"
    ));
    let eight_bit = parts.iter().any(|part| part.encoding == "8bit");
    let encoding = if eight_bit { "8bit" } else { "7bit" };
    add_field(&mut content, "Content-Transfer-Encoding", encoding);
    let utf8_header = !content.is_ascii();
    let content = assemble(content, &parts, &boundary);
    let eight_bit = !content.is_ascii();
    let flags = MessageFlags {
        body: if eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit },
        smtputf8: charset == Charset::Utf8,
        eight_bit,
        utf8_header,
        // The demands of the message hold for the report (RFC 8689 §5).
        tls: notice.envelope.flags.tls,
        quarantine: false,
        hops: 0,
        long_lines: false,
    };
    Some(Notification { to: to.clone(), flags, content, message_id })
}

fn header(
    notice: &Notice<'_>,
    reporter: Reporter<'_>,
    to: &Mailbox,
    charset: Charset,
    now: Timestamp,
    message_id: &str,
) -> String {
    let mut out = String::new();
    let domain = reporter.domain.ascii();
    add_field(&mut out, "From", &format!("Mail Delivery System <MAILER-DAEMON@{domain}>"));
    // Address as one word: a quoted local part may have spaces that folding must not touch.
    let to = match charset {
        Charset::Utf8 => to.to_string(),
        Charset::Ascii => to.to_ascii().unwrap_or_default(),
    };
    out.push_str(&format!("To: <{to}>\r\n"));
    add_field(&mut out, "Subject", subject(notice));
    add_date(&mut out, "Date", now);
    add_field(&mut out, "Message-ID", message_id);
    // RFC 3834 §3.1.5: what it answers.
    if let Some(original) = notice.envelope.message_id.as_deref().filter(|id| is_message_id(id)) {
        add_field(&mut out, "In-Reply-To", original);
        add_field(&mut out, "References", original);
    }
    // RFC 3834 §5
    add_field(&mut out, "Auto-Submitted", "auto-replied");
    if notice.envelope.flags.tls == TlsWish::Waived {
        // RFC 8689 §3: mail about mail that could not travel otherwise must not fail for the same reason.
        add_field(&mut out, "TLS-Required", "No");
    }
    add_field(&mut out, "MIME-Version", "1.0");
    out
}

fn subject(notice: &Notice<'_>) -> &'static str {
    let (mut failed, mut delayed, mut relayed, mut delivered) = (false, false, false, false);
    for report in notice.reports {
        match report.event {
            Event::Failed { .. } => failed = true,
            Event::Delayed { .. } => delayed = true,
            Event::Relayed(_) => relayed = true,
            Event::Delivered(_) => delivered = true,
        }
    }
    // The gravest is named; that it is not true of everybody is said too.
    match (failed, delayed, relayed || delivered) {
        (true, false, false) => "Undelivered mail returned to sender",
        (true, _, _) => "Mail undelivered to some of its recipients",
        (false, true, false) => "Delivery of your mail is delayed",
        (false, true, true) => "Delivery of your mail is delayed for some of its recipients",
        (false, false, _) => "Delivery report",
    }
}

/// Good enough to be quoted: one bracketed word of graphic ASCII (RFC 5322 §3.6.4).
fn is_message_id(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    inner.is_some_and(|inner| {
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>');
        !inner.is_empty() && inner.len() <= 200 && inner.bytes().all(plain)
    })
}

fn text(notice: &Notice<'_>, reporter: Reporter<'_>, charset: Charset) -> Part {
    let (content_type, encoding) = match charset {
        Charset::Ascii => ("text/plain; charset=us-ascii", "7bit"),
        Charset::Utf8 => ("text/plain; charset=utf-8", "8bit"),
    };
    let content = text_part::write(notice, reporter, charset).into_bytes();
    Part { description: "Notification", content_type, encoding, content }
}

fn status(notice: &Notice<'_>, reporter: Reporter<'_>, charset: Charset) -> Part {
    let (content_type, encoding) = match charset {
        Charset::Ascii => ("message/delivery-status", "7bit"),
        // RFC 6533 §4
        Charset::Utf8 => ("message/global-delivery-status", "8bit"),
    };
    let content = status_part::write(notice, reporter, charset).into_bytes();
    Part { description: "Delivery report", content_type, encoding, content }
}

/// A boundary that no part contains (RFC 2046 §5.1.1): 48 random digits, thrown again if ever they do.
fn boundary(parts: &[Part], dice: &mut Dice) -> String {
    let mut throw =
        || format!("{:016x}{:016x}{:016x}", dice.next_u64(), dice.next_u64(), dice.next_u64());
    let taken = |boundary: &str| {
        let found = |part: &Part| part.content.windows(48).any(|w| w == boundary.as_bytes());
        parts.iter().any(found)
    };
    let mut boundary = throw();
    // A second throw is as good as certain; the bound is there to have one.
    for _ in 0..8 {
        if !taken(&boundary) {
            break;
        }
        boundary = throw();
    }
    boundary
}

fn assemble(header: String, parts: &[Part], boundary: &str) -> Vec<u8> {
    let mut out = header.into_bytes();
    out.extend_from_slice(b"\r\nThis is a delivery status notification in MIME format.\r\n");
    for part in parts {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Description: {}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: {}\r\n\r\n",
            part.description, part.content_type, part.encoding
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&part.content);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::address::Domain;
    use crate::bounce::{GaveUp, Original, Report};
    use crate::envelope::{Envelope, Orcpt, Origin, Recipient, Ret, Route};
    use crate::outcome::{Cause, Failure, Reach, Receipt, Remote, Stage};
    use crate::status::Enhanced;

    const NOW: u64 = 1_795_489_920;

    fn envelope(from: &str) -> Envelope {
        Envelope {
            id: EnvelopeId::from_bytes([1; 16]),
            from: ReversePath::try_from(from.to_string()).unwrap(),
            flags: MessageFlags::default(),
            ret: None,
            envid: None,
            origin: Origin { helo: "client.example".into(), ..Origin::default() },
            arrived: Timestamp::from_secs(NOW - 86_400),
            size: 100,
            message_id: None,
            route: Route::Target,
        }
    }

    fn recipient(address: &str) -> Recipient {
        Recipient::new(Mailbox::parse(address).unwrap())
    }

    fn refused() -> Failure {
        let text = "no such user\r\nX-Evil: 1";
        Failure::refused(Stage::Rcpt, 550, Some(Enhanced(5, 1, 1)), text)
            .at(Remote { host: "mx.b.example".into(), address: Some("192.0.2.1".into()) })
    }

    fn rendered(
        envelope: &Envelope,
        reports: &[Report<'_>],
        original: Original<'_>,
    ) -> Option<Notification> {
        let hostname = Domain::parse("mail.a.example").unwrap();
        let domain = Domain::parse("a.example").unwrap();
        let reporter = Reporter { hostname: &hostname, domain: &domain };
        let notice = Notice { envelope, reports, original };
        let id = EnvelopeId::from_bytes([2; 16]);
        render(&notice, reporter, id, Timestamp::from_secs(NOW), &mut Dice::new(1))
    }

    fn failed<'a>(recipient: &'a Recipient, failure: &'a Failure) -> Report<'a> {
        let last_attempt = Some(Timestamp::from_secs(NOW - 60));
        Report { recipient, event: Event::Failed { failure, gave_up: None }, last_attempt }
    }

    #[test]
    fn a_failure_to_the_letter() {
        let mut envelope = envelope("ann@a.example");
        envelope.envid = Some("QQ 314".into());
        envelope.message_id = Some("<1@a.example>".into());
        let mut bob = recipient("secret-alias@c.example");
        bob.original = Some(Mailbox::parse("Bob@b.example").unwrap());
        bob.orcpt = Some(Orcpt { addr_type: "rfc822".into(), address: "bob+x@b.example".into() });
        let eve = recipient("eve@b.example");
        let (refused, local) = (refused(), Failure::new(Cause::Unreachable, "no host answered"));
        let gave_up = Some(GaveUp { attempts: 20, after: Duration::from_secs(3 * 86_400) });
        let late = Event::Failed { failure: &local, gave_up };
        let reports =
            [failed(&bob, &refused), Report { recipient: &eve, event: late, last_attempt: None }];
        let header = Original::Header(b"Subject: hi\r\nFrom: ann@a.example\r\n\r\n");
        let notification = rendered(&envelope, &reports, header).unwrap();
        let content = String::from_utf8(notification.content).unwrap();
        let start = content.find("boundary=\"").unwrap() + 10;
        let boundary = content[start..start + 48].to_string();
        let expected = r#"From: Mail Delivery System <MAILER-DAEMON@a.example>
To: <ann@a.example>
Subject: Undelivered mail returned to sender
Date: Tue, 24 Nov 2026 03:12:00 +0000
Message-ID: <0208104081040g20810g408104@a.example>
In-Reply-To: <1@a.example>
References: <1@a.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="BOUNDARY"
Content-Transfer-Encoding: 7bit

This is a delivery status notification in MIME format.

--BOUNDARY
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: 7bit

This is the mail delivery system at mail.a.example.

Your message could not be delivered to these recipients. No further attempts
will be made.

  <Bob@b.example>
    mx.b.example (192.0.2.1) said: 550 5.1.1 no such user X-Evil: 1 (in
    reply to RCPT TO)
    Last attempt on Tue, 24 Nov 2026 03:11:00 +0000.

  <eve@b.example>
    451 4.4.1 no host answered
    Gave up after 20 attempts in 3 days.

The message was accepted on Mon, 23 Nov 2026 03:12:00 +0000.

For help, write to postmaster@a.example and name the message id
ENVELOPE.

--BOUNDARY
Content-Description: Delivery report
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Original-Envelope-Id: QQ 314
Reporting-MTA: dns; mail.a.example
Received-From-MTA: dns; client.example
Arrival-Date: Mon, 23 Nov 2026 03:12:00 +0000
X-Posthaste-Queue-ID: ENVELOPE
X-Posthaste-Sender: rfc822; ann@a.example

Original-Recipient: rfc822; bob+x@b.example
Final-Recipient: rfc822; Bob@b.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 550 5.1.1 no such user X-Evil: 1
Last-Attempt-Date: Tue, 24 Nov 2026 03:11:00 +0000

Final-Recipient: rfc822; eve@b.example
Action: failed
Status: 4.4.1
Diagnostic-Code: x-posthaste; 451 4.4.1 no host answered

--BOUNDARY
Content-Description: Header of the message
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 7bit

Subject: hi
From: ann@a.example

--BOUNDARY--
"#
        .replace("BOUNDARY", &boundary)
        .replace("ENVELOPE", &envelope.id.to_string())
        .replace("<0208104081040g20810g408104@a.example>", &notification.message_id)
        .replace('\n', "\r\n");
        assert_eq!(content, expected);
        assert_eq!(notification.to.as_str(), "ann@a.example");
        assert_eq!(notification.flags, MessageFlags::default());
        assert!(!content.contains("secret-alias")); // what an alias expands to stays here
    }

    #[test]
    fn nothing_goes_to_the_null_sender() {
        let (bob, failure) = (recipient("bob@b.example"), refused());
        let header = Original::Header(b"A: b\r\n");
        assert_eq!(rendered(&envelope(""), &[failed(&bob, &failure)], header), None);
        assert_eq!(rendered(&envelope("ann@a.example"), &[], header), None);
    }

    fn lines(notification: &Notification) -> Vec<String> {
        let text = String::from_utf8_lossy(&notification.content).into_owned();
        text.split("\r\n").map(ToString::to_string).collect()
    }

    fn has(notification: &Notification, line: &str) -> bool {
        lines(notification).iter().any(|l| l == line)
    }

    #[test]
    fn delays_and_deliveries() {
        let bob = recipient("bob@b.example");
        let failure = Failure::new(Cause::Unreachable, "no host answered");
        let until = Timestamp::from_secs(NOW + 86_400);
        let receipt = Receipt {
            code: 250,
            status: Some(Enhanced(2, 1, 5)),
            text: "ok".into(),
            remote: Some(Remote { host: "mx.b.example".into(), address: None }),
            dsn_passed_on: false,
            reach: Reach::Server,
        };
        let delayed = Event::Delayed { failure: &failure, will_retry_until: Some(until) };
        for (event, subject, expected) in [
            (
                delayed,
                "Delivery of your mail is delayed",
                vec![
                    "Action: delayed",
                    "Status: 4.4.1",
                    "Will-Retry-Until: Wed, 25 Nov 2026 03:12:00 +0000",
                    "    Will be tried until Wed, 25 Nov 2026 03:12:00 +0000.",
                ],
            ),
            (
                Event::Relayed(&receipt),
                "Delivery report",
                vec!["Action: relayed", "Status: 2.1.5", "Diagnostic-Code: smtp; 250 2.1.5 ok"],
            ),
            (
                Event::Delivered(&receipt),
                "Delivery report",
                vec!["Action: delivered", "Remote-MTA: dns; mx.b.example"],
            ),
        ] {
            let mut envelope = envelope("ann@a.example");
            envelope.ret = Some(Ret::Full); // asks for content in `failed` only
            envelope.origin.hidden = true;
            let report = Report { recipient: &bob, event, last_attempt: None };
            let content = Original::Content(b"A: b\r\n\r\nbody\r\n");
            let notification = rendered(&envelope, &[report], content).unwrap();
            assert!(has(&notification, &format!("Subject: {subject}")));
            for line in expected {
                assert!(has(&notification, line), "{line}");
            }
            assert!(!has(&notification, "body"));
            assert!(!lines(&notification).iter().any(|l| l.starts_with("Received-From-MTA")));
        }
    }

    #[test]
    fn different_ends_share_a_notification() {
        let bob = recipient("bob@b.example");
        let failure = refused();
        let later = Failure::new(Cause::Unreachable, "no host answered");
        let receipt = Receipt {
            code: 250,
            status: None,
            text: "queued".into(),
            remote: None,
            dsn_passed_on: false,
            reach: Reach::Server,
        };
        let report = |event| Report { recipient: &bob, event, last_attempt: None };
        let failed = report(Event::Failed { failure: &failure, gave_up: None });
        let delayed = report(Event::Delayed { failure: &later, will_retry_until: None });
        let relayed = report(Event::Relayed(&receipt));
        for (reports, subject) in [
            (vec![failed], "Undelivered mail returned to sender"),
            (vec![relayed, failed, delayed], "Mail undelivered to some of its recipients"),
            (vec![relayed, failed], "Mail undelivered to some of its recipients"),
            (vec![delayed, failed], "Mail undelivered to some of its recipients"),
            (vec![delayed], "Delivery of your mail is delayed"),
            (vec![delayed, relayed], "Delivery of your mail is delayed for some of its recipients"),
            (vec![relayed], "Delivery report"),
        ] {
            let mut envelope = envelope("ann@a.example");
            envelope.ret = Some(Ret::Full);
            let content = Original::Content(b"A: b\r\n\r\nbody\r\n");
            let notification = rendered(&envelope, &reports, content).unwrap();
            assert!(has(&notification, &format!("Subject: {subject}")), "{subject}");
            let shown = lines(&notification);
            let actions = shown.iter().filter(|l| l.starts_with("Action: ")).count();
            assert_eq!(actions, reports.len());
            // RFC 3461 §4.3: one failure is enough for RET=FULL to count.
            let any_failed = reports.iter().any(|r| matches!(r.event, Event::Failed { .. }));
            assert_eq!(has(&notification, "body"), any_failed, "{subject}");
            // Every kind has its paragraph for people, the failures first.
            let place = |start: &str| shown.iter().position(|l| l.starts_with(start));
            let failed = place("Your message could not be delivered to these recipients. No");
            assert_eq!(failed.is_some(), any_failed, "{subject}");
            let other = place("Your message was passed on");
            assert!(failed.is_none() || other.is_none_or(|other| Some(other) > failed));
        }
    }

    #[test]
    fn content_is_returned_when_asked_and_allowed() {
        let (bob, failure) = (recipient("bob@b.example"), refused());
        let returned = |ret, tls, size| {
            let mut envelope = envelope("ann@a.example");
            (envelope.ret, envelope.flags.tls, envelope.size) = (ret, tls, size);
            let content = Original::Content(b"A: b\r\n\r\nbody\r\n");
            let notification = rendered(&envelope, &[failed(&bob, &failure)], content).unwrap();
            assert_eq!(has(&notification, "TLS-Required: No"), tls == TlsWish::Waived);
            assert_eq!(notification.flags.tls, tls);
            has(&notification, "body")
        };
        assert!(returned(Some(Ret::Full), TlsWish::Unsaid, 100));
        assert!(returned(Some(Ret::Full), TlsWish::Waived, 100));
        assert!(!returned(Some(Ret::Full), TlsWish::Required, 100)); // RFC 8689 §5
        assert!(!returned(Some(Ret::Full), TlsWish::Unsaid, 2 << 20));
        assert!(!returned(Some(Ret::Headers), TlsWish::Unsaid, 100));
        assert!(!returned(None, TlsWish::Unsaid, 100));
    }

    #[test]
    fn utf8_goes_only_to_those_who_sent_it() {
        let bob = recipient("bøb@b.example");
        let mut failure = refused();
        failure.text = "ingen sådan bruger".into();
        let header = Original::Header("Subject: blåbær\r\n".as_bytes());
        let reports = [failed(&bob, &failure)];
        let plain = rendered(&envelope("ann@münchen.example"), &reports, header).unwrap();
        assert!(plain.content.is_ascii() && !plain.flags.smtputf8 && !plain.flags.eight_bit);
        for line in [
            "To: <ann@xn--mnchen-3ya.example>",
            "Content-Type: message/delivery-status",
            "Final-Recipient: utf-8; b\\x{F8}b@b.example",
            "Diagnostic-Code: smtp; 550 5.1.1 ingen s?dan bruger",
            "Content-Type: text/rfc822-headers",
            "Subject: bl=C3=A5b=C3=A6r",
        ] {
            assert!(has(&plain, line), "{line}");
        }
        let mut envelope = envelope("ann@münchen.example");
        envelope.flags.smtputf8 = true;
        let utf8 = rendered(&envelope, &reports, header).unwrap();
        assert!(utf8.flags.smtputf8 && utf8.flags.eight_bit && utf8.flags.utf8_header);
        for line in [
            "To: <ann@münchen.example>",
            "Content-Transfer-Encoding: 8bit",
            "Content-Type: message/global-delivery-status",
            "X-Posthaste-Sender: utf-8; ann@münchen.example",
            "Final-Recipient: utf-8; bøb@b.example",
            "Diagnostic-Code: smtp; 550 5.1.1 ingen sådan bruger",
            "Content-Type: message/global-headers",
            "Subject: blåbær",
        ] {
            assert!(has(&utf8, line), "{line}");
        }
    }

    #[test]
    fn text_of_peers_breaks_nothing() {
        let mut dice = Dice::new(31);
        let marks: Vec<char> = "ab \r\n\u{0}-:;\\\"<>é\u{2028}\u{1b}".chars().collect();
        for round in 0..500 {
            let mut text = |length| -> String {
                (0..dice.below(length)).map(|_| marks[dice.below(marks.len())]).collect()
            };
            let mut envelope = envelope("ann@a.example");
            envelope.flags.smtputf8 = round % 2 == 0;
            envelope.envid = Some(text(80));
            envelope.message_id = Some(format!("<{}>", text(6)));
            envelope.origin.helo = text(40);
            let mut bob = recipient("bob@b.example");
            bob.orcpt = Some(Orcpt { addr_type: text(8), address: text(60) });
            let mut failure = Failure::new(Cause::Refused(Stage::Rcpt), "");
            failure.text = text(2_000); // as an old record might have it
            failure.remote = Some(Remote { host: text(300), address: Some(text(40)) });
            let header = text(400);
            let original = Original::Header(header.as_bytes());
            let notification = rendered(&envelope, &[failed(&bob, &failure)], original).unwrap();
            let content = &notification.content;
            assert!(round % 2 == 0 || content.is_ascii());
            let mut before = 0;
            for &byte in content {
                assert!(byte != 0);
                assert_eq!(byte == b'\n', before == b'\r', "bare line end");
                before = byte;
            }
            assert!(content.split(|b| *b == b'\n').all(|line| line.len() <= 999));
            let shown = lines(&notification);
            let start = shown.iter().find_map(|l| l.strip_prefix(" boundary=\"")).unwrap();
            let mark = format!("--{}", start.trim_end_matches('"'));
            let boundaries = shown.iter().filter(|l| l.starts_with(&mark)).count();
            assert_eq!(boundaries, 4);
            assert_eq!(shown.iter().filter(|l| l.starts_with("Action:")).count(), 1);
        }
    }
}
