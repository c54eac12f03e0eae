//! Commands as values. Rendering is the only way to bytes, and nothing with CR or LF in it renders.

use crate::address::{Mailbox, ReversePath};
use crate::envelope::{BodyType, Notify, Orcpt, Ret};

/// Parameters of MAIL; each is written only when the session announced its extension (the caller sees to it).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    pub size: Option<u64>,
    pub body: Option<BodyType>,
    pub smtputf8: bool,
    pub require_tls: bool,
    pub ret: Option<Ret>,
    pub envid: Option<String>,
    pub submitter: Submitter,
}

/// RFC 4954 §5: who submitted the message, as far as the server may believe whoever has logged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Submitter {
    #[default]
    Unsaid,
    /// We have shown who we are, and vouch for nobody else.
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters {
    pub notify: Option<Notify>,
    pub orcpt: Option<Orcpt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    Lhlo(String),
    StartTls,
    Mail { path: String, parameters: MailParameters },
    Rcpt { path: String, parameters: RcptParameters },
    Data,
    Rset,
    Noop,
    Quit,
}

/// The value has a character that no command may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprintable;

impl Command {
    /// MAIL for this sender; `None` when its local part needs SMTPUTF8 and the session has none.
    pub fn mail(from: &ReversePath, parameters: MailParameters) -> Option<Command> {
        let path = match from {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(mailbox) => wire_form(mailbox, parameters.smtputf8)?,
        };
        Some(Command::Mail { path, parameters })
    }

    /// RCPT for this recipient; `None` as for `mail`.
    pub fn rcpt(to: &Mailbox, smtputf8: bool, parameters: RcptParameters) -> Option<Command> {
        Some(Command::Rcpt { path: wire_form(to, smtputf8)?, parameters })
    }

    /// Appends the command and CRLF.
    pub fn render(&self, out: &mut Vec<u8>) -> Result<(), Unprintable> {
        let line = match self {
            Command::Ehlo(name) => format!("EHLO {name}"),
            Command::Helo(name) => format!("HELO {name}"),
            Command::Lhlo(name) => format!("LHLO {name}"),
            Command::StartTls => "STARTTLS".to_string(),
            Command::Mail { path, parameters } => {
                format!("MAIL FROM:<{path}>{}", mail_tail(parameters))
            }
            Command::Rcpt { path, parameters } => {
                format!("RCPT TO:<{path}>{}", rcpt_tail(parameters))
            }
            Command::Data => "DATA".to_string(),
            Command::Rset => "RSET".to_string(),
            Command::Noop => "NOOP".to_string(),
            Command::Quit => "QUIT".to_string(),
        };
        // `no_crlf_from_data`: whatever came in, one command stays one line.
        if line.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err(Unprintable);
        }
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// RFC 6531 §3.3: with SMTPUTF8 the address as it was received, without it the A-label form.
fn wire_form(mailbox: &Mailbox, smtputf8: bool) -> Option<String> {
    if smtputf8 { Some(mailbox.as_str().to_string()) } else { mailbox.to_ascii() }
}

fn mail_tail(parameters: &MailParameters) -> String {
    let mut tail = String::new();
    if let Some(size) = parameters.size {
        tail += &format!(" SIZE={size}"); // RFC 1870 §6
    }
    match parameters.body {
        None => {}
        Some(BodyType::SevenBit) => tail += " BODY=7BIT", // RFC 6152 §2
        Some(BodyType::EightBitMime) => tail += " BODY=8BITMIME",
        Some(BodyType::BinaryMime) => tail += " BODY=BINARYMIME", // RFC 3030 §3
    }
    if parameters.smtputf8 {
        tail += " SMTPUTF8"; // RFC 6531 §3.4
    }
    if parameters.require_tls {
        tail += " REQUIRETLS"; // RFC 8689 §2
    }
    match parameters.ret {
        None => {}
        Some(Ret::Full) => tail += " RET=FULL", // RFC 3461 §4.3
        Some(Ret::Headers) => tail += " RET=HDRS",
    }
    if let Some(envid) = &parameters.envid {
        tail += &format!(" ENVID={}", xtext(envid)); // RFC 3461 §4.4
    }
    match parameters.submitter {
        Submitter::Unsaid => {}
        Submitter::Unknown => tail += " AUTH=<>",
    }
    tail
}

fn rcpt_tail(parameters: &RcptParameters) -> String {
    let mut tail = String::new();
    match parameters.notify {
        None => {}
        Some(Notify::Never) => tail += " NOTIFY=NEVER", // RFC 3461 §4.1
        Some(Notify::On { success, failure, delay }) => {
            let wanted = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let words: Vec<&str> = wanted.iter().filter(|w| w.0).map(|w| w.1).collect();
            if !words.is_empty() {
                tail += &format!(" NOTIFY={}", words.join(","));
            }
        }
    }
    if let Some(orcpt) = &parameters.orcpt {
        tail += &format!(" ORCPT={}", orcpt_value(orcpt)); // RFC 3461 §4.2
    }
    tail
}

/// RFC 3461 §4.2, and RFC 6533 §3 for the type `utf-8`, which has an encoding of its own.
pub fn orcpt_value(orcpt: &Orcpt) -> String {
    let coded = match orcpt.addr_type.eq_ignore_ascii_case("utf-8") {
        true => utf8_xtext(&orcpt.address),
        false => xtext(&orcpt.address),
    };
    format!("{};{coded}", orcpt.addr_type)
}

/// RFC 6533 §3 `utf-8-addr-xtext`, which every server that offers DSN takes, with SMTPUTF8 or without.
fn utf8_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '+' | '=' => out += &format!("\\x{{{:02X}}}", u32::from(c)),
            '!'..='~' => out.push(c),
            _ => out += &format!("\\x{{{:02X}}}", u32::from(c)),
        }
    }
    out
}

/// RFC 3461 §4: `+` with two hex digits for everything outside 33 to 126, for `+` and for `=`.
pub fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' | 0..=32 | 127..=255 => out += &format!("+{byte:02X}"),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: Command) -> String {
        let mut out = Vec::new();
        command.render(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    #[test]
    fn parameters_in_order() {
        let parameters = MailParameters {
            size: Some(10),
            body: Some(BodyType::EightBitMime),
            smtputf8: false,
            require_tls: true,
            ret: Some(Ret::Headers),
            envid: Some("a+b c".into()),
            submitter: Submitter::Unknown,
        };
        let mail = Command::mail(&ReversePath::Mailbox(mailbox("a@b.test")), parameters).unwrap();
        assert_eq!(
            shown(mail),
            "MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME REQUIRETLS RET=HDRS ENVID=a+2Bb+20c AUTH=<>\r\n"
        );
        let orcpt = Orcpt { addr_type: "rfc822".into(), address: "x=y@b.test".into() };
        let notify = Notify::On { success: true, failure: false, delay: true };
        let parameters = RcptParameters { notify: Some(notify), orcpt: Some(orcpt) };
        let rcpt = Command::rcpt(&mailbox("a@b.test"), false, parameters).unwrap();
        assert_eq!(
            shown(rcpt),
            "RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+3Dy@b.test\r\n"
        );
    }

    #[test]
    fn addresses_beyond_ascii_have_an_encoding_of_their_own() {
        let orcpt =
            Orcpt { addr_type: "utf-8".into(), address: "jürgen+a=b@köln.example".into() };
        assert_eq!(orcpt_value(&orcpt), "utf-8;j\\x{FC}rgen\\x{2B}a\\x{3D}b@k\\x{F6}ln.example");
    }

    #[test]
    fn null_sender_and_bare_commands() {
        let mail = Command::mail(&ReversePath::Null, MailParameters::default()).unwrap();
        assert_eq!(shown(mail), "MAIL FROM:<>\r\n");
        assert_eq!(shown(Command::Data), "DATA\r\n");
    }

    #[test]
    fn domains_go_out_as_a_labels_without_smtputf8() {
        let rcpt = |text, utf8| Command::rcpt(&mailbox(text), utf8, RcptParameters::default());
        assert_eq!(
            shown(rcpt("a@münchen.example", false).unwrap()),
            "RCPT TO:<a@xn--mnchen-3ya.example>\r\n"
        );
        assert_eq!(rcpt("ä@b.test", false), None);
        assert_eq!(shown(rcpt("ä@b.test", true).unwrap()), "RCPT TO:<ä@b.test>\r\n");
    }

    #[test]
    fn no_crlf_from_data() {
        let evil = Command::Ehlo("mx\r\nRCPT TO:<x@y>".into());
        assert_eq!(evil.render(&mut Vec::new()), Err(Unprintable));
        let orcpt = Orcpt { addr_type: "rfc822".into(), address: "a\r\nDATA".into() };
        let parameters = RcptParameters { notify: None, orcpt: Some(orcpt) };
        let rcpt = Command::rcpt(&mailbox("a@b.test"), false, parameters).unwrap();
        assert_eq!(shown(rcpt), "RCPT TO:<a@b.test> ORCPT=rfc822;a+0D+0ADATA\r\n");
    }
}
