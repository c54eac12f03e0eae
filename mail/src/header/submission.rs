//! What submission demands of a header and adds to it (RFC 6409 §6.3, §8).
//!
//! Bcc is not removed: whom the sender wanted to hide is between the sender and its mail program.

use std::fmt;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::address::Domain;
use crate::envelope::EnvelopeId;
use crate::status::Enhanced;
use crate::time::Timestamp;
use crate::wire::server::Answer;

use super::Header;
use super::address_list::{self, Found, comment_length};

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    NoFrom,
    /// RFC 5322 §3.6: this field may stand once.
    Repeated(&'static str),
    /// This field is not an address list, or lists nobody.
    BadAddresses(&'static str),
    /// RFC 5322 §3.6.2: several authors, and no Sender to say who sent it.
    NoSender,
    BadDate,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::NoFrom => f.write_str("message has no From field"),
            Violation::Repeated(name) => write!(f, "message has more than one {name} field"),
            Violation::BadAddresses(name) => write!(f, "malformed addresses in {name} field"),
            Violation::NoSender => f.write_str("several From addresses need a Sender field"),
            Violation::BadDate => f.write_str("malformed Date field"),
        }
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for Answer {
    /// RFC 6409 §6.3: 554.
    fn from(violation: Violation) -> Answer {
        Answer::new(554, Enhanced(5, 6, 0), violation.to_string())
    }
}

/// Checks the fields that name people and time.
pub fn check(header: &Header) -> Result<(), Violation> {
    for name in ["From", "Sender", "Date"] {
        if header.named(name).nth(1).is_some() {
            return Err(Violation::Repeated(name));
        }
    }
    let from = header.named("From").next().ok_or(Violation::NoFrom)?.value();
    let authors = addresses("From", &from, |found| found.mailboxes > 0)?;
    if let Some(sender) = header.named("Sender").next() {
        addresses("Sender", &sender.value(), |found| (found.addresses, found.mailboxes) == (1, 1))?;
    } else if authors.mailboxes > 1 {
        return Err(Violation::NoSender);
    }
    for name in ["To", "Cc", "Reply-To"] {
        for field in header.named(name) {
            addresses(name, &field.value(), |found| found.addresses > 0)?;
        }
    }
    for field in header.named("Bcc") {
        addresses("Bcc", &field.value(), |_| true)?; // RFC 5322 §3.6.3: Bcc may be empty
    }
    match header.named("Date").next() {
        Some(date) if !is_date(&date.value()) => Err(Violation::BadDate),
        _ => Ok(()),
    }
}

/// The fields that are missing, to be put in front of the content: Message-ID and Date (RFC 6409 §8.2, §8.3). Empty when both are there.
pub fn missing_fields(
    header: &Header,
    id: EnvelopeId,
    hostname: &Domain,
    now: Timestamp,
) -> String {
    let mut fields = String::new();
    if !header.has("Message-ID") {
        fields.push_str(&format!("Message-ID: <{id}@{hostname}>\r\n"));
    }
    if !header.has("Date") {
        fields.push_str(&format!("Date: {}\r\n", now.rfc5322()));
    }
    fields
}

fn addresses(
    name: &'static str,
    value: &str,
    enough: impl Fn(&Found) -> bool,
) -> Result<Found, Violation> {
    address_list::read(value).filter(enough).ok_or(Violation::BadAddresses(name))
}

/// RFC 5322 §3.3, the obsolete zones of §4.3 included. The day of the week may be wrong.
fn is_date(value: &str) -> bool {
    static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let Some(plain) = without_comments(value) else { return false };
    PARSER.parse_timestamp(plain.trim()).is_ok()
}

fn without_comments(value: &str) -> Option<String> {
    let mut plain = String::new();
    let mut rest = value;
    while let Some(start) = rest.find('(') {
        plain.push_str(rest.get(..start)?);
        let comment = rest.get(start..)?;
        rest = comment.get(comment_length(comment)?..)?;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn verdict(fields: &str) -> Result<(), Violation> {
        check(&Header::of(fields.replace('|', "\r\n").as_bytes(), 9999))
    }

    #[test]
    fn headers_that_are_fine() {
        for fields in [
            "From: a@b.example",
            "from: Ann|\t<a@b.example>|To: c@d.example|Cc: Us:;|Bcc:|Reply-To: <a@b.example>",
            "From: a@b.example, c@d.example|Sender: a@b.example",
            "From: a@b.example|Date: Tue, 24 Nov 2026 03:12:00 +0000",
            "From: a@b.example|Date: 24 Nov 2026 03:12 GMT",
            "From: a@b.example|Date: Tue, 24 Nov 2026 03:12:00 -0800 (PST)",
            "From: a@b.example|Date: Mon, 24 Nov 2026 03:12:00 +0000", // it was a Tuesday
        ] {
            assert_eq!(verdict(fields), Ok(()), "{fields}");
        }
    }

    #[test]
    fn headers_that_are_refused() {
        for (fields, why) in [
            ("", Violation::NoFrom),
            ("To: a@b.example||From: a@b.example", Violation::NoFrom), // that is the body
            ("From:", Violation::BadAddresses("From")),
            ("From: Us:;", Violation::BadAddresses("From")),
            ("From: Ann", Violation::BadAddresses("From")),
            ("From: a@b.example|From: a@b.example", Violation::Repeated("From")),
            ("From: a@b.example|Date: x|Date: x", Violation::Repeated("Date")),
            ("From: a@b.example, c@d.example", Violation::NoSender),
            ("From: a@b.example|Sender:", Violation::BadAddresses("Sender")),
            ("From: a@b.example|Sender: a@b.c, d@e.f", Violation::BadAddresses("Sender")),
            ("From: a@b.example|To:", Violation::BadAddresses("To")),
            ("From: a@b.example|Cc: x", Violation::BadAddresses("Cc")),
            ("From: a@b.example|Bcc: x", Violation::BadAddresses("Bcc")),
            ("From: a@b.example|Reply-To: x", Violation::BadAddresses("Reply-To")),
            ("From: a@b.example|Date: yesterday", Violation::BadDate),
            ("From: a@b.example|Date:", Violation::BadDate),
            ("From: a@b.example|Date: 24 Nov 2026 03:12 GMT (open", Violation::BadDate),
        ] {
            assert_eq!(verdict(fields), Err(why), "{fields}");
            assert_eq!(Answer::from(why).code(), 554);
        }
    }

    #[test]
    fn missing_fields_are_added() {
        let added = |fields: &str| {
            let header = Header::of(fields.as_bytes(), 9999);
            let id = EnvelopeId::from_bytes([0; 16]);
            let hostname = Domain::parse("mx.example.org").unwrap();
            missing_fields(&header, id, &hostname, Timestamp::from_secs(1_795_489_920))
        };
        let id = "Message-ID: <00000000000000000000000000@mx.example.org>\r\n";
        let date = "Date: Tue, 24 Nov 2026 03:12:00 +0000\r\n";
        assert_eq!(added("From: a@b.example\r\n"), format!("{id}{date}"));
        assert_eq!(added("message-id: <x@y>\r\n"), date);
        assert_eq!(added("Date: x\r\n"), id);
        assert_eq!(added("Date: x\r\nMessage-ID: <x@y>\r\n"), "");
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(161);
        let words = [
            "From:", "Sender:", "Date:", " ", "24", "Nov", "2026", "03:12", "+0000", "(", ")",
            "a@b.c", "\r\n", ",", "ä", "Tue,", ":", "-", "99", "\0",
        ];
        for _ in 0..30_000 {
            let fields: String =
                (0..dice.below(16)).map(|_| words[dice.below(words.len())]).collect();
            let _ = verdict(&fields);
        }
    }
}
