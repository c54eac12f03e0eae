//! The trace field `Received` that every message gets when it comes in (RFC 5321 §4.4).

use std::net::IpAddr;

use crate::address::{Domain, ReversePath};
use crate::envelope::EnvelopeId;
use crate::time::Timestamp;

/// The protocol as the client began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The client said HELO.
    Smtp,
    /// The client said EHLO.
    Esmtp,
    Lmtp,
}

/// How a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    pub base: Base,
    pub tls: bool,
    pub authenticated: bool,
}

impl Transport {
    /// The registered type for the `with` clause (RFC 3848; RFC 6531 §4.3 for those of SMTPUTF8, which imply ESMTP).
    pub fn word(self, smtputf8: bool) -> String {
        let base = match (self.base, smtputf8) {
            (Base::Smtp | Base::Esmtp, true) => "UTF8SMTP",
            (Base::Lmtp, true) => "UTF8LMTP",
            // RFC 3848 has no types for HELO with TLS or AUTH: both are extensions, so ESMTP it is.
            (Base::Smtp, false) if self.tls || self.authenticated => "ESMTP",
            (Base::Smtp, false) => "SMTP",
            (Base::Esmtp, false) => "ESMTP",
            (Base::Lmtp, false) => "LMTP",
        };
        let tls = if self.tls { "S" } else { "" };
        let auth = if self.authenticated { "A" } else { "" };
        format!("{base}{tls}{auth}")
    }
}

/// Where a message came from, for the `from` clause.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// What EHLO, HELO or LHLO said.
    pub helo: &'a str,
    /// The peer; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The name of the address by reverse DNS, when it is known.
    pub reverse_name: Option<&'a str>,
}

/// All that the field says.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// `None` hides the client: submission.
    pub client: Option<Client<'a>>,
    /// `hostname`.
    pub by: &'a Domain,
    pub from: &'a ReversePath,
    pub transport: Transport,
    pub smtputf8: bool,
    pub id: EnvelopeId,
    pub now: Timestamp,
}

impl Trace<'_> {
    /// The whole field with its CRLF, folded at 76 columns. There is no `for` clause: it would show one recipient to the others
    /// (RFC 5321 §7.2).
    pub fn received(&self) -> String {
        let mut words = vec!["Received:".to_string()];
        words.extend(self.client.iter().flat_map(|client| self.client_words(client)));
        words.extend(["by".into(), self.by.to_string()]);
        words.extend(self.sender_comment());
        words.extend(["with".into(), self.transport.word(self.smtputf8)]);
        words.extend(["id".into(), format!("{};", self.id)]);
        words.push(self.now.rfc5322());
        fold(&words)
    }

    /// RFC 5321 §4.4 `From-domain`: the name the client gave, then what we know by ourselves. A name that is neither a domain nor an
    /// address literal is left out, and the address takes its place; without an address there is no clause at all.
    fn client_words(&self, client: &Client<'_>) -> Vec<String> {
        let address = client.address.map(literal);
        let Some(name) = self.shown_helo(client.helo).or_else(|| address.clone()) else {
            return Vec::new();
        };
        let mut words = vec!["from".to_string(), name];
        if let Some(address) = address {
            let reverse = client.reverse_name.and_then(|name| Domain::parse(name).ok());
            match reverse {
                Some(reverse) => words.extend([format!("({reverse}"), format!("{address})")]),
                None => words.push(format!("({address})")),
            }
        }
        words
    }

    /// A-labels, or U-labels in a message that needs SMTPUTF8 anyway.
    fn shown_helo(&self, helo: &str) -> Option<String> {
        if let Some(inner) = helo.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let v6 = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
            let bare = if v6.is_some() { inner.get(5..)? } else { inner };
            return bare.parse().ok().map(literal);
        }
        let domain = Domain::parse(helo).ok()?;
        Some(if self.smtputf8 { domain.unicode() } else { domain.ascii().to_string() })
    }

    /// `(envelope-sender <address>)`, a comment; nothing for the null sender, or where the address needs an SMTPUTF8 we do not have.
    fn sender_comment(&self) -> Vec<String> {
        let Some(mailbox) = self.from.mailbox() else { return Vec::new() };
        let address = match self.smtputf8 {
            true => Some(mailbox.to_string()),
            false => mailbox.to_ascii(),
        };
        let Some(address) = address else { return Vec::new() };
        vec!["(envelope-sender".to_string(), format!("<{}>)", comment_text(&address))]
    }
}

/// RFC 5321 §4.1.3: an IPv6 address has a tag.
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// RFC 5322 §3.2.2: parentheses and backslashes in a comment are quoted.
fn comment_text(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if matches!(c, '(' | ')' | '\\') {
            quoted.push('\\');
        }
        quoted.push(if c.is_control() { ' ' } else { c });
    }
    quoted
}

/// RFC 5322 §2.2.3: a line break goes in front of the space that was there, so unfolding gives back the same text.
fn fold(words: &[String]) -> String {
    let mut field = String::new();
    let mut column = 0;
    for word in words {
        let width = word.chars().count();
        if column > 0 {
            if column + 1 + width > 76 {
                field.push_str("\r\n");
                column = 0;
            }
            field.push(' ');
            column += 1;
        }
        field.push_str(word);
        column += width;
    }
    field.push_str("\r\n");
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    struct Case {
        helo: &'static str,
        address: &'static str,
        reverse_name: Option<&'static str>,
        hidden: bool,
        from: &'static str,
        smtputf8: bool,
        transport: Transport,
    }

    const ESMTP: Transport = Transport { base: Base::Esmtp, tls: false, authenticated: false };

    impl Default for Case {
        fn default() -> Case {
            Case {
                helo: "client.example",
                address: "192.0.2.1",
                reverse_name: None,
                hidden: false,
                from: "a@example.org",
                smtputf8: false,
                transport: ESMTP,
            }
        }
    }

    impl Case {
        fn folded(&self) -> String {
            let client = Client {
                helo: self.helo,
                address: self.address.parse().ok(),
                reverse_name: self.reverse_name,
            };
            Trace {
                client: (!self.hidden).then_some(client),
                by: &Domain::parse("mx.example.org").unwrap(),
                from: &ReversePath::try_from(self.from.to_string()).unwrap(),
                transport: self.transport,
                smtputf8: self.smtputf8,
                id: EnvelopeId::from_bytes([0; 16]),
                now: Timestamp::from_secs(1_795_489_920),
            }
            .received()
        }

        fn shows(&self, expected: &str) {
            let tail = "id 00000000000000000000000000; Tue, 24 Nov 2026 03:12:00 +0000";
            let unfolded = self.folded().replace("\r\n ", " ");
            assert_eq!(unfolded, format!("Received: {expected} {tail}\r\n"));
        }
    }

    #[test]
    fn the_usual_field_is_folded_at_76_columns() {
        let case = Case { reverse_name: Some("host.client.example"), ..Case::default() };
        assert_eq!(
            case.folded(),
            "Received: from client.example (host.client.example [192.0.2.1]) by\r\n \
             mx.example.org (envelope-sender <a@example.org>) with ESMTP id\r\n \
             00000000000000000000000000; Tue, 24 Nov 2026 03:12:00 +0000\r\n"
        );
    }

    #[test]
    fn clients_in_every_form() {
        let by = "by mx.example.org (envelope-sender <a@example.org>) with ESMTP";
        for (helo, address, expected) in [
            ("client.example", "192.0.2.1", "from client.example ([192.0.2.1])"),
            ("client.example", "2001:db8::1", "from client.example ([IPv6:2001:db8::1])"),
            ("[192.0.2.9]", "192.0.2.1", "from [192.0.2.9] ([192.0.2.1])"),
            ("[IPv6:2001:db8::9]", "192.0.2.1", "from [IPv6:2001:db8::9] ([192.0.2.1])"),
            ("[2001:DB8::9]", "192.0.2.1", "from [IPv6:2001:db8::9] ([192.0.2.1])"),
            ("münchen.example", "192.0.2.1", "from xn--mnchen-3ya.example ([192.0.2.1])"),
            ("evil (x) by y", "192.0.2.1", "from [192.0.2.1] ([192.0.2.1])"),
            ("[evil]", "192.0.2.1", "from [192.0.2.1] ([192.0.2.1])"),
            ("a\r\nX-Evil: 1", "192.0.2.1", "from [192.0.2.1] ([192.0.2.1])"),
            ("client.example", "", "from client.example"), // a Unix socket
        ] {
            Case { helo, address, ..Case::default() }.shows(&format!("{expected} {by}"));
        }
        Case { helo: "e v i l", address: "", ..Case::default() }.shows(by);
        Case { reverse_name: Some("e v(i)l"), ..Case::default() }
            .shows(&format!("from client.example ([192.0.2.1]) {by}"));
    }

    #[test]
    fn submission_hides_the_client() {
        Case { hidden: true, ..Case::default() }
            .shows("by mx.example.org (envelope-sender <a@example.org>) with ESMTP");
    }

    #[test]
    fn senders_in_every_form() {
        let head = "from client.example ([192.0.2.1]) by mx.example.org";
        Case { from: "", ..Case::default() }.shows(&format!("{head} with ESMTP"));
        Case { from: "\"a(b)\\\\c\"@example.org", ..Case::default() }.shows(&format!(
            "{head} (envelope-sender <\"a\\(b\\)\\\\\\\\c\"@example.org>) with ESMTP"
        ));
        Case { from: "ä@example.org", ..Case::default() }.shows(&format!("{head} with ESMTP"));
        Case { from: "ä@example.org", smtputf8: true, ..Case::default() }
            .shows(&format!("{head} (envelope-sender <ä@example.org>) with UTF8SMTP"));
    }

    #[test]
    fn with_types_are_the_registered_ones() {
        let word = |base, tls, authenticated, smtputf8| {
            Transport { base, tls, authenticated }.word(smtputf8)
        };
        assert_eq!(word(Base::Smtp, false, false, false), "SMTP");
        assert_eq!(word(Base::Smtp, true, false, false), "ESMTPS");
        assert_eq!(word(Base::Esmtp, false, false, false), "ESMTP");
        assert_eq!(word(Base::Esmtp, false, true, false), "ESMTPA");
        assert_eq!(word(Base::Esmtp, true, false, false), "ESMTPS");
        assert_eq!(word(Base::Esmtp, true, true, false), "ESMTPSA");
        assert_eq!(word(Base::Lmtp, true, true, false), "LMTPSA");
        assert_eq!(word(Base::Esmtp, true, true, true), "UTF8SMTPSA");
        assert_eq!(word(Base::Smtp, false, false, true), "UTF8SMTP");
        assert_eq!(word(Base::Lmtp, false, false, true), "UTF8LMTP");
    }

    #[test]
    fn no_crlf_from_data() {
        let mut dice = Dice::new(111);
        let domain = Domain::parse("mx.example.org").unwrap();
        for _ in 0..5000 {
            let text: String = (0..dice.below(80))
                .filter_map(|_| char::from_u32(dice.below(0x200) as u32))
                .collect();
            let client = Client { helo: &text, address: None, reverse_name: Some(&text) };
            let field = Trace {
                client: Some(client),
                by: &domain,
                from: &ReversePath::Null,
                transport: ESMTP,
                smtputf8: dice.below(2) == 0,
                id: EnvelopeId::from_bytes([1; 16]),
                now: Timestamp::ZERO,
            }
            .received();
            let unfolded = field.replace("\r\n ", " ");
            let line = unfolded.strip_suffix("\r\n").unwrap();
            assert!(!line.contains(['\r', '\n', '\0']), "{text:?}");
        }
    }
}
