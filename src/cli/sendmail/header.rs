//! What the classic interface reads from and does to the header of a message.

use posthaste_mail::header::{Header, Scanner};

use crate::cli::sendmail::address_list::{self, Unreadable};

/// The recipients that the header names. RFC 5322 §3.6.6: a message that was sent again goes to those it was sent to again.
pub fn recipients(content: &[u8]) -> Result<Vec<String>, Unreadable> {
    let header = Header::of(content, usize::MAX);
    let again = ["Resent-To", "Resent-Cc", "Resent-Bcc"];
    let names = match again.iter().any(|name| header.has(name)) {
        true => again,
        false => ["To", "Cc", "Bcc"],
    };
    let mut recipients = Vec::new();
    for name in names {
        for field in header.named(name) {
            recipients.extend(address_list::read(&field.value())?);
        }
    }
    Ok(recipients)
}

/// RFC 5322 §3.6.3: nobody is shown the blind copies.
pub fn without_blind_copies(content: Vec<u8>) -> Vec<u8> {
    let header = Header::of(&content, usize::MAX);
    let (fields, body) = content.split_at(header.as_bytes().len().min(content.len()));
    let mut kept = Vec::with_capacity(content.len());
    let mut dropping = false;
    for line in fields.split_inclusive(|octet| *octet == b'\n') {
        // RFC 5322 §2.2.3: folded lines go with their field.
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            dropping = is_blind_copy(line);
        }
        if !dropping {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(body);
    kept
}

fn is_blind_copy(line: &[u8]) -> bool {
    let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
    name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc")
}

/// A message without From gets one that names its sender (programs leave that to sendmail), unless it has none.
pub fn with_author(content: Vec<u8>, sender: &str, name: Option<&str>) -> Vec<u8> {
    let mut scanner = Scanner::new(usize::MAX);
    scanner.feed(&content);
    let scan = scanner.finish();
    // A control character in the address is for the daemon to refuse, not for the header to break at.
    if scan.header.has("From") || sender.is_empty() || sender.contains(char::is_control) {
        return content;
    }
    let field = match name.and_then(quoted) {
        Some(name) => format!("From: {name} <{sender}>\r\n"),
        None => format!("From: {sender}\r\n"),
    };
    [field.as_bytes(), scan.separator().as_bytes(), &content].concat()
}

/// RFC 5322 §3.2.4. A name beyond ASCII would need more than quotes, and is left out.
fn quoted(name: &str) -> Option<String> {
    let plain = |octet: u8| octet == b' ' || octet.is_ascii_graphic();
    if name.trim().is_empty() || !name.bytes().all(plain) {
        return None;
    }
    Some(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_mail::dice::Dice;

    const MESSAGE: &str = "From: ann@example.org\nTo: Bob <b@example.net>,\n c@example.net\nbcc : d@example.net,\n\te@example.net\n\
        CC: f@example.net\nBcc:\nSubject: Bcc: x\n\nBcc: body\n";

    #[test]
    fn recipients_of_the_header() {
        let found = recipients(MESSAGE.as_bytes()).unwrap();
        assert_eq!(
            found.join(" "),
            "b@example.net c@example.net f@example.net d@example.net e@example.net"
        );
        let again = format!("Resent-To: g@example.net\nresent-bcc: h@example.net\n{MESSAGE}");
        assert_eq!(recipients(again.as_bytes()).unwrap(), ["g@example.net", "h@example.net"]);
        let none: [String; 0] = [];
        assert_eq!(recipients(b"Subject: x\n\nTo: b@example.net\n").unwrap(), none);
        assert_eq!(recipients(b"no header\nTo: b@example.net\n").unwrap(), none);
        assert!(recipients(b"To: Ann b@example.net\n\n").is_err());
    }

    #[test]
    fn blind_copies_leave_the_header_and_nothing_else() {
        let expected = "From: ann@example.org\nTo: Bob <b@example.net>,\n c@example.net\n\
            CC: f@example.net\nSubject: Bcc: x\n\nBcc: body\n";
        let kept = |text: &str| String::from_utf8(without_blind_copies(text.into())).unwrap();
        assert_eq!(kept(MESSAGE), expected);
        assert_eq!(kept(&MESSAGE.replace('\n', "\r\n")), expected.replace('\n', "\r\n"));
        assert_eq!(kept("Resent-Bcc: a@x\nBccx: b\nA: 1"), "Bccx: b\nA: 1");
        assert_eq!(kept("hello\nBcc: a@x\n"), "hello\nBcc: a@x\n"); // all body
    }

    #[test]
    fn a_message_without_author_gets_one() {
        let with = |text: &str, sender, name| {
            String::from_utf8(with_author(text.into(), sender, name)).unwrap()
        };
        assert_eq!(with("A: 1\n\nb\n", "a@x", None), "From: a@x\r\nA: 1\n\nb\n");
        assert_eq!(
            with("\nb\n", "a@x", Some("Ann \"A\" \\")),
            "From: \"Ann \\\"A\\\" \\\\\" <a@x>\r\n\nb\n"
        );
        assert_eq!(with("b\n", "a@x", Some("Änn")), "From: a@x\r\n\r\nb\n"); // no header at all
        assert_eq!(with("FROM: b@y\n\n", "a@x", Some("Ann")), "FROM: b@y\n\n");
        assert_eq!(with("b\n", "", None), "b\n"); // the null sender is nobody
        assert_eq!(with("b\n", "a@x\r\nB: 1", None), "b\n");
    }

    #[test]
    fn any_content_keeps_its_body() {
        let pieces: [&[u8]; 9] =
            [b"Bcc: a", b"To: b", b":", b"\n", b"\r\n", b" ", b"\xff", b"", b"x"];
        let mut dice = Dice::new(17);
        for _ in 0..20_000 {
            let content: Vec<u8> = (0..dice.below(12))
                .flat_map(|_| pieces[dice.below(pieces.len())].to_vec())
                .collect();
            let length = Header::of(&content, usize::MAX).as_bytes().len();
            let kept = without_blind_copies(content.clone());
            assert!(kept.ends_with(&content[length..]));
            assert!(!Header::of(&kept, usize::MAX).has("Bcc"), "{content:?}");
            let _ = recipients(&content);
        }
    }
}
