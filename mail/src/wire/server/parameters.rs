//! What MAIL and RCPT say: path and extension parameters, parsed into types.

use crate::address::{Host, Mailbox, ReversePath};
use crate::envelope::{BodyType, MessageFlags, Notify, Orcpt, Ret, TlsWish};
use crate::status::Enhanced;

use super::path::{self, Parameter, Path};
use super::reply::Answer;
use super::xtext;

/// A MAIL command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// As it was received, without a source route.
    pub from: ReversePath,
    /// RFC 1870: the octets the client is about to send, as it declares them.
    pub size: Option<u64>,
    pub body: BodyType,
    pub smtputf8: bool,
    /// RFC 8689 §2; only ever set within TLS.
    pub require_tls: bool,
    pub ret: Option<Ret>,
    /// RFC 3461 §4.4, decoded.
    pub envid: Option<String>,
    /// RFC 4954 §5: who submitted the message, as the client claims; to be believed from trusted clients only.
    pub submitter: Option<ReversePath>,
}

impl Mail {
    /// The flags of an envelope as far as MAIL sets them.
    pub fn flags(&self) -> MessageFlags {
        MessageFlags {
            body: self.body,
            smtputf8: self.smtputf8,
            tls: if self.require_tls { TlsWish::Required } else { TlsWish::Unsaid },
            ..MessageFlags::default()
        }
    }
}

/// A RCPT command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// As it was received, without a source route.
    pub to: Mailbox,
    pub notify: Option<Notify>,
    pub orcpt: Option<Orcpt>,
}

/// Which extensions may be used in the session at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offered {
    pub dsn: bool,
    pub auth: bool,
    pub requiretls: bool,
    pub max_message_size: Option<u64>,
}

/// RFC 6531 §3.4: which addresses may have characters beyond ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    Ascii,
    Utf8,
}

/// Reads what stands behind `MAIL FROM:`.
pub(super) fn mail(text: &str, offered: &Offered) -> Result<Mail, Answer> {
    let path = path::take(text).ok_or_else(|| malformed("Syntax: MAIL FROM:<address>"))?;
    let mut mail = Mail {
        from: ReversePath::Null,
        size: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        ret: None,
        envid: None,
        submitter: None,
    };
    let mut seen = Vec::new();
    for word in path.parameters.split_ascii_whitespace() {
        let parameter = parameter(word, &mut seen)?;
        mail_parameter(&mut mail, &parameter, offered)?;
    }
    let charset = if mail.smtputf8 { Addresses::Utf8 } else { Addresses::Ascii };
    ascii_values(&path, charset)?;
    mail.from = sender(path.inner, charset)?;
    // RFC 1870 §6.1: a size that cannot be taken is refused before the content is sent.
    if offered.max_message_size.is_some_and(|most| mail.size.is_some_and(|size| size > most)) {
        return Err(too_big());
    }
    Ok(mail)
}

fn mail_parameter(mail: &mut Mail, p: &Parameter<'_>, offered: &Offered) -> Result<(), Answer> {
    match (p.keyword.to_ascii_uppercase().as_str(), p.value) {
        ("SIZE", Some(value)) => mail.size = Some(size(value)?),
        ("BODY", Some(value)) => mail.body = body(value)?,
        // RFC 6531 §3.4: no value.
        ("SMTPUTF8", None) => mail.smtputf8 = true,
        // RFC 8689 §4.1: no value, and only where it was announced.
        ("REQUIRETLS", None) if offered.requiretls => mail.require_tls = true,
        ("RET", Some(value)) if offered.dsn => mail.ret = Some(ret(value)?),
        ("ENVID", Some(value)) if offered.dsn => mail.envid = Some(envid(value)?),
        ("AUTH", Some(value)) if offered.auth => mail.submitter = Some(submitter(value)?),
        ("SIZE" | "BODY", None) => return Err(malformed("Parameter needs a value")),
        ("RET" | "ENVID", None) if offered.dsn => return Err(malformed("Parameter needs a value")),
        ("AUTH", None) if offered.auth => return Err(malformed("Parameter needs a value")),
        ("SMTPUTF8", Some(_)) => return Err(malformed("SMTPUTF8 takes no value")),
        ("REQUIRETLS", Some(_)) if offered.requiretls => {
            return Err(malformed("REQUIRETLS takes no value"));
        }
        _ => return Err(unknown_parameter()),
    }
    Ok(())
}

/// Reads what stands behind `RCPT TO:`.
pub(super) fn rcpt(text: &str, offered: &Offered, charset: Addresses) -> Result<Rcpt, Answer> {
    let path = path::take(text).ok_or_else(|| malformed("Syntax: RCPT TO:<address>"))?;
    let mut notify = None;
    let mut orcpt = None;
    let mut seen = Vec::new();
    for word in path.parameters.split_ascii_whitespace() {
        let p = parameter(word, &mut seen)?;
        match (p.keyword.to_ascii_uppercase().as_str(), p.value) {
            ("NOTIFY", Some(value)) if offered.dsn => notify = Some(read_notify(value)?),
            ("ORCPT", Some(value)) if offered.dsn => orcpt = Some(read_orcpt(value)?),
            ("NOTIFY" | "ORCPT", None) if offered.dsn => {
                return Err(malformed("Parameter needs a value"));
            }
            _ => return Err(unknown_parameter()),
        }
    }
    ascii_values(&path, charset)?;
    if charset == Addresses::Ascii && !path.inner.is_ascii() {
        // RFC 6531 §3.5: 553 for a recipient.
        return Err(Answer::new(553, Enhanced(5, 6, 7), "Address needs SMTPUTF8"));
    }
    let to = Mailbox::parse(path.inner)
        .map_err(|e| Answer::new(501, Enhanced(5, 1, 3), format!("Bad recipient: {e}")))?;
    Ok(Rcpt { to, notify, orcpt })
}

fn sender(inner: &str, charset: Addresses) -> Result<ReversePath, Answer> {
    if charset == Addresses::Ascii && !inner.is_ascii() {
        // RFC 6531 §3.5: 550 for a sender.
        return Err(Answer::new(550, Enhanced(5, 6, 7), "Address needs SMTPUTF8"));
    }
    let bad = |why: String| Answer::new(501, Enhanced(5, 1, 7), format!("Bad sender: {why}"));
    let from = ReversePath::try_from(inner.to_string()).map_err(|e| bad(e.to_string()))?;
    // RFC 5321 §4.1.1.3: only a recipient may be `postmaster` without a domain.
    match from.mailbox().map(Mailbox::host) {
        Some(Host::Unqualified) => Err(bad("address has no domain".into())),
        Some(Host::Domain(_) | Host::Literal(_)) | None => Ok(from),
    }
}

/// One parameter, each keyword once.
fn parameter<'a>(word: &'a str, seen: &mut Vec<String>) -> Result<Parameter<'a>, Answer> {
    let parameter = path::parameter(word).ok_or_else(|| malformed("Malformed parameter"))?;
    let keyword = parameter.keyword.to_ascii_uppercase();
    if seen.contains(&keyword) {
        return Err(malformed("Parameter given twice"));
    }
    seen.push(keyword);
    Ok(parameter)
}

/// RFC 6531 §3.4: parameter values beyond ASCII need SMTPUTF8 just as addresses do.
fn ascii_values(path: &Path<'_>, charset: Addresses) -> Result<(), Answer> {
    match charset {
        Addresses::Ascii if !path.parameters.is_ascii() => {
            Err(malformed("Parameter value needs SMTPUTF8"))
        }
        Addresses::Ascii | Addresses::Utf8 => Ok(()),
    }
}

/// RFC 1870 §6: at most 20 digits. What does not fit 64 bits is more than any limit.
fn size(value: &str) -> Result<u64, Answer> {
    if value.len() > 20 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed("Malformed SIZE"));
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}

/// RFC 6152 §3; BINARYMIME is not announced (see `capabilities`).
fn body(value: &str) -> Result<BodyType, Answer> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        "BINARYMIME" => Err(malformed("BODY=BINARYMIME is not supported")),
        _ => Err(malformed("Unknown BODY type")),
    }
}

/// RFC 3461 §4.3.
fn ret(value: &str) -> Result<Ret, Answer> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Ret::Full),
        "HDRS" => Ok(Ret::Headers),
        _ => Err(malformed("Malformed RET")),
    }
}

/// RFC 3461 §4.4: at most 100 characters, before or after decoding.
fn envid(value: &str) -> Result<String, Answer> {
    xtext::decode(value).filter(|_| value.len() <= 100).ok_or_else(|| malformed("Malformed ENVID"))
}

/// RFC 4954 §5: an address in xtext, or `<>` for nobody known.
fn submitter(value: &str) -> Result<ReversePath, Answer> {
    if value == "<>" {
        return Ok(ReversePath::Null);
    }
    xtext::decode(value)
        .and_then(|address| Mailbox::parse(&address).ok())
        .map(ReversePath::Mailbox)
        .ok_or_else(|| malformed("Malformed AUTH parameter"))
}

/// RFC 3461 §4.1: NEVER alone, or a list of the others.
fn read_notify(value: &str) -> Result<Notify, Answer> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let wanted = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut success,
            "FAILURE" => &mut failure,
            "DELAY" => &mut delay,
            _ => return Err(malformed("Malformed NOTIFY")),
        };
        if std::mem::replace(wanted, true) {
            return Err(malformed("Malformed NOTIFY"));
        }
    }
    Ok(Notify::On { success, failure, delay })
}

/// RFC 3461 §4.2: `addr-type ; xtext`, at most 500 characters; RFC 6533 §3 for the type `utf-8`.
fn read_orcpt(value: &str) -> Result<Orcpt, Answer> {
    let bad = || malformed("Malformed ORCPT");
    let (addr_type, coded) = value.split_once(';').ok_or_else(bad)?;
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    if value.len() > 500 || coded.is_empty() || addr_type.is_empty() || !addr_type.bytes().all(atom)
    {
        return Err(bad());
    }
    let address = if addr_type.eq_ignore_ascii_case("utf-8") {
        xtext::decode_utf8(coded)
    } else {
        xtext::decode(coded)
    };
    Ok(Orcpt { addr_type: addr_type.to_ascii_lowercase(), address: address.ok_or_else(bad)? })
}

/// RFC 1870 §6.1.
pub(super) fn too_big() -> Answer {
    Answer::new(552, Enhanced(5, 3, 4), "Message is too big")
}

fn malformed(text: &str) -> Answer {
    Answer::new(501, Enhanced(5, 5, 4), text)
}

/// RFC 5321 §4.1.1.11.
fn unknown_parameter() -> Answer {
    Answer::new(555, Enhanced(5, 5, 4), "Parameter is not known or not offered here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const ALL: Offered =
        Offered { dsn: true, auth: true, requiretls: true, max_message_size: Some(1000) };
    const NONE: Offered =
        Offered { dsn: false, auth: false, requiretls: false, max_message_size: None };

    fn good(text: &str) -> Mail {
        mail(text, &ALL).unwrap_or_else(|answer| panic!("{text}: {answer:?}"))
    }

    fn refused(text: &str, offered: &Offered) -> (u16, Enhanced) {
        let answer = mail(text, offered).expect_err(text);
        (answer.code(), answer.enhanced())
    }

    fn good_rcpt(text: &str) -> Rcpt {
        rcpt(text, &ALL, Addresses::Utf8).unwrap_or_else(|answer| panic!("{text}: {answer:?}"))
    }

    fn refused_rcpt(text: &str, offered: &Offered) -> (u16, Enhanced) {
        let answer = rcpt(text, offered, Addresses::Ascii).expect_err(text);
        (answer.code(), answer.enhanced())
    }

    #[test]
    fn mail_with_everything() {
        let mail = good(
            "<a@example.org> SIZE=1000 body=8bitmime SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+2Bb AUTH=c+2Bd@e.example",
        );
        assert_eq!(mail.from.as_str(), "a@example.org");
        assert_eq!((mail.size, mail.body), (Some(1000), BodyType::EightBitMime));
        assert!(mail.smtputf8 && mail.require_tls);
        assert_eq!((mail.ret, mail.envid.as_deref()), (Some(Ret::Headers), Some("a+b")));
        assert_eq!(mail.submitter.as_ref().map(ReversePath::as_str), Some("c+d@e.example"));
        assert_eq!(mail.flags().tls, TlsWish::Required);
        assert!(mail.flags().smtputf8);
        assert_eq!(good("<> AUTH=<>").submitter, Some(ReversePath::Null));
        assert_eq!(good("<>").from, ReversePath::Null);
        assert_eq!(good("<@x.example:a@example.org>").from.as_str(), "a@example.org");
        assert_eq!(good("<ä@example.org> SMTPUTF8").from.as_str(), "ä@example.org");
    }

    #[test]
    fn mail_refusals_have_their_codes() {
        let malformed = (501, Enhanced(5, 5, 4));
        for text in [
            "a@example.org",
            "Ann <a@example.org>",
            "<a@example.org> =",
            "<a@example.org> SIZE",
            "<a@example.org> SIZE=x",
            "<a@example.org> SIZE=-1",
            "<a@example.org> SIZE=1 size=1",
            "<a@example.org> BODY=9BIT",
            "<a@example.org> BODY=BINARYMIME",
            "<a@example.org> SMTPUTF8=yes",
            "<a@example.org> REQUIRETLS=yes",
            "<a@example.org> RET",
            "<a@example.org> RET=BODY",
            "<a@example.org> ENVID",
            "<a@example.org> ENVID=ä",
            "<a@example.org> ENVID=a+0D+0Ab",
            "<a@example.org> AUTH",
            "<a@example.org> AUTH=nobody",
        ] {
            assert_eq!(refused(text, &ALL), malformed, "{text}");
        }
        assert_eq!(refused(&format!("<> ENVID={}", "a".repeat(101)), &ALL), malformed);
        assert_eq!(refused("<a@b..c>", &ALL), (501, Enhanced(5, 1, 7)));
        assert_eq!(refused("<postmaster>", &ALL), (501, Enhanced(5, 1, 7)));
        assert_eq!(refused("<ä@example.org>", &ALL), (550, Enhanced(5, 6, 7)));
        assert_eq!(refused("<a@münchen.example>", &ALL), (550, Enhanced(5, 6, 7)));
        assert_eq!(refused("<a@example.org> SIZE=1001", &ALL), (552, Enhanced(5, 3, 4)));
        assert_eq!(refused("<> SIZE=99999999999999999999", &ALL), (552, Enhanced(5, 3, 4)));
    }

    #[test]
    fn what_is_not_offered_is_not_known() {
        let unknown = (555, Enhanced(5, 5, 4));
        for word in ["RET=FULL", "ENVID=a", "AUTH=<>", "REQUIRETLS", "MT-PRIORITY=3", "X"] {
            assert_eq!(refused(&format!("<a@example.org> {word}"), &NONE), unknown, "{word}");
        }
        for word in ["NOTIFY=NEVER", "ORCPT=rfc822;a@b", "SIZE=1", "X"] {
            assert_eq!(refused_rcpt(&format!("<a@example.org> {word}"), &NONE), unknown, "{word}");
        }
    }

    #[test]
    fn rcpt_with_everything() {
        let rcpt = good_rcpt("<b@example.org> NOTIFY=success,DELAY ORCPT=RFC822;b+2Bc@example.org");
        assert_eq!(rcpt.notify, Some(Notify::On { success: true, failure: false, delay: true }));
        let orcpt = rcpt.orcpt.unwrap();
        assert_eq!(
            (orcpt.addr_type.as_str(), orcpt.address.as_str()),
            ("rfc822", "b+c@example.org")
        );
        assert_eq!(good_rcpt("<b@example.org> NOTIFY=NEVER").notify, Some(Notify::Never));
        assert_eq!(good_rcpt("<Postmaster>").to.host(), &Host::Unqualified);
        for coded in ["utf-8;\\x{E4}@b.example", "UTF-8;ä@b.example"] {
            let rcpt = good_rcpt(&format!("<b@example.org> ORCPT={coded}"));
            assert_eq!(rcpt.orcpt.unwrap().address, "ä@b.example");
        }
    }

    #[test]
    fn rcpt_refusals_have_their_codes() {
        let malformed = (501, Enhanced(5, 5, 4));
        for word in [
            "NOTIFY",
            "NOTIFY=NEVER,SUCCESS",
            "NOTIFY=SUCCESS,SUCCESS",
            "NOTIFY=SUCCESS,",
            "NOTIFY=ALWAYS",
            "ORCPT",
            "ORCPT=rfc822",
            "ORCPT=rfc822;",
            "ORCPT=;a",
            "ORCPT=a@b;c",
            "ORCPT=rfc822;a+0Ab",
            "ORCPT=utf-8;\\x{0A}",
            "ORCPT=utf-8;ä", // no SMTPUTF8
            "NOTIFY=NEVER NOTIFY=NEVER",
        ] {
            assert_eq!(refused_rcpt(&format!("<a@example.org> {word}"), &ALL), malformed, "{word}");
        }
        let long = format!("<a@example.org> ORCPT=rfc822;{}", "a".repeat(500));
        assert_eq!(refused_rcpt(&long, &ALL), malformed);
        assert_eq!(refused_rcpt("<>", &ALL), (501, Enhanced(5, 1, 3)));
        assert_eq!(refused_rcpt("<ann>", &ALL), (501, Enhanced(5, 1, 3)));
        assert_eq!(refused_rcpt("<ä@example.org>", &ALL), (553, Enhanced(5, 6, 7)));
        assert_eq!(refused_rcpt("ann@example.org", &ALL), malformed);
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(81);
        let words = [
            "<",
            ">",
            "a@b.example",
            " ",
            "SIZE",
            "=",
            "5",
            "ORCPT",
            "utf-8;",
            "\\x{",
            "}",
            "+",
            "0D",
            "ä",
            "AUTH",
            "NOTIFY",
            "NEVER",
            ",",
            "\"",
            "ENVID",
            "RET=FULL",
            "SMTPUTF8",
            "\u{85}",
        ];
        for _ in 0..50_000 {
            let text: String =
                (0..dice.below(10)).map(|_| words[dice.below(words.len())]).collect();
            if let Ok(mail) = mail(&text, &ALL) {
                assert!(!mail.envid.is_some_and(|envid| envid.contains(char::is_control)));
            }
            if let Ok(rcpt) = rcpt(&text, &ALL, Addresses::Utf8) {
                assert!(!rcpt.orcpt.is_some_and(|o| o.address.contains(char::is_control)));
            }
        }
    }
}
