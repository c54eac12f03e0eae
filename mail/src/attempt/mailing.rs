//! What MAIL and RCPT say to this server for this envelope.

use crate::attempt::addressee::Addressee;
use crate::envelope::{BodyType, Envelope, Orcpt, Recipient, Ret, TlsWish};
use crate::outcome::{Cause, Failure};
use crate::wire::capabilities::Capabilities;
use crate::wire::command::{Command, MailParameters, RcptParameters, Submitter, orcpt_value};

/// RFC 5321 §4.5.3.1.8: every server takes a hundred recipients.
pub const MOST_RECIPIENTS: usize = 100;

/// `strict_8bit`: what becomes of 8-bit content at a server that does not offer 8BITMIME.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EightBit {
    /// Sent as it is: the servers that cut the eighth bit off have died out, and turning the content into 7-bit breaks signatures.
    #[default]
    AsItIs,
    /// RFC 6152 §3, third choice: the server cannot have it.
    OnlyAnnounced,
}

/// Rendered commands of one transaction, and the recipients it cannot carry.
#[derive(Debug, Default)]
pub struct Mailing {
    pub mail: Vec<u8>,
    /// Index of the recipient and its RCPT.
    pub recipients: Vec<(u32, Vec<u8>)>,
    pub refused: Vec<(u32, Failure)>,
}

/// How many recipients one transaction with this server may have.
pub fn room(capabilities: &Capabilities) -> usize {
    // RFC 9422 §4.2 may lower or raise it; beyond our own limit nothing is won.
    capabilities.rcpt_max.map_or(MOST_RECIPIENTS, |max| MOST_RECIPIENTS.min(max as usize)).max(1)
}

/// Writes the commands. A message the server cannot take at all gives the one failure for everybody.
pub fn mailing(
    envelope: &Envelope,
    addressees: &[Addressee],
    capabilities: &Capabilities,
    eight_bit: EightBit,
) -> Result<Mailing, Failure> {
    // RFC 1870 §6.1: a message above the declared size is not sent at all.
    if let Some(limit) = capabilities.size.filter(|limit| *limit > 0 && envelope.size > *limit) {
        let text =
            format!("message of {} octets is above the server's limit of {limit}", envelope.size);
        return Err(Failure::new(Cause::TooLarge, text));
    }
    // RFC 6531 §3.4: only when an address or the header needs it, and only when offered.
    let sender_needs = envelope.flags.utf8_header
        || envelope.from.mailbox().is_some_and(|sender| sender.needs_smtputf8());
    let wanted = sender_needs || addressees.iter().any(|a| a.recipient.address.needs_smtputf8());
    let smtputf8 = wanted && capabilities.smtputf8;
    if sender_needs && !smtputf8 {
        let text = "sender or header needs SMTPUTF8, which the server does not offer";
        return Err(Failure::new(Cause::SenderNeedsSmtputf8, text));
    }
    if eight_bit == EightBit::OnlyAnnounced && is_unannounced(envelope, capabilities) {
        let text = "content is 8-bit, and the server does not offer 8BITMIME";
        return Err(Failure::new(Cause::NeedsEightBitMime, text));
    }
    let unprintable = || Failure::new(Cause::Internal, "a command cannot be written");
    let parameters = mail_parameters(envelope, capabilities, smtputf8);
    let mut mailing = Mailing::default();
    Command::mail(&envelope.from, parameters)
        .ok_or_else(unprintable)?
        .render(&mut mailing.mail)
        .map_err(|_| unprintable())?;
    for addressee in addressees {
        let (index, recipient) = (addressee.index(), &addressee.recipient);
        let parameters = rcpt_parameters(recipient, capabilities);
        let mut line = Vec::new();
        match Command::rcpt(&recipient.address, smtputf8, parameters) {
            Some(command) if command.render(&mut line).is_ok() => {
                mailing.recipients.push((index, line));
            }
            Some(_) => mailing.refused.push((index, unprintable())),
            None => {
                let text = "recipient needs SMTPUTF8, which the server does not offer";
                let failure = Failure::new(Cause::RecipientNeedsSmtputf8, text);
                mailing.refused.push((index, failure));
            }
        }
    }
    Ok(mailing)
}

/// 8-bit content for a server without 8BITMIME.
pub fn is_unannounced(envelope: &Envelope, capabilities: &Capabilities) -> bool {
    envelope.flags.eight_bit && !capabilities.eight_bit_mime
}

fn mail_parameters(
    envelope: &Envelope,
    capabilities: &Capabilities,
    smtputf8: bool,
) -> MailParameters {
    let required = envelope.flags.tls == TlsWish::Required;
    // RFC 8689 §4.2.1 and §5: a server that does not promise to protect the message must not return its content either.
    let ret = match required && !capabilities.require_tls {
        true => Some(Ret::Headers),
        false => envelope.ret,
    };
    MailParameters {
        size: capabilities.size.map(|_| envelope.size),
        // RFC 6152 §3: declared when offered.
        body: capabilities.eight_bit_mime.then_some(if envelope.flags.eight_bit {
            BodyType::EightBitMime
        } else {
            BodyType::SevenBit
        }),
        smtputf8,
        require_tls: capabilities.require_tls && required,
        ret: ret.filter(|_| capabilities.dsn),
        envid: envelope.envid.clone().filter(|_| capabilities.dsn),
        submitter: match capabilities.logged_in {
            true => Submitter::Unknown,
            false => Submitter::Unsaid,
        },
    }
}

fn rcpt_parameters(recipient: &Recipient, capabilities: &Capabilities) -> RcptParameters {
    if !capabilities.dsn {
        return RcptParameters::default();
    }
    // RFC 3461 §5.2.1: NOTIFY and ORCPT go on as they came. Where no ORCPT came and rules of ours changed the address, the one that the
    // client used may be given: the reports of others then name what the sender knows.
    let named = || {
        let orcpt = recipient.original.as_ref().map(Orcpt::of)?;
        // RFC 3461 §4.2: at most 500 characters.
        (orcpt_value(&orcpt).len() <= 500).then_some(orcpt)
    };
    RcptParameters { notify: recipient.notify, orcpt: recipient.orcpt.clone().or_else(named) }
}

/// How much of the message a notification about it returns.
pub fn returned(envelope: &Envelope) -> Ret {
    envelope.ret.unwrap_or(Ret::Headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Mailbox, ReversePath};
    use crate::attempt::remote::tests::envelope;
    use crate::envelope::Notify;
    use crate::status::Enhanced;

    fn to(addresses: &[&str]) -> Vec<Addressee> {
        let recipient = |a: &&str| Recipient::new(Mailbox::parse(a).unwrap());
        addresses.iter().map(recipient).zip(0u32..).map(|(r, i)| Addressee::new(i, r)).collect()
    }

    fn mailing(
        envelope: &Envelope,
        addressees: &[Addressee],
        capabilities: &Capabilities,
    ) -> Result<Mailing, Failure> {
        super::mailing(envelope, addressees, capabilities, EightBit::AsItIs)
    }

    fn written(mailing: &Mailing) -> String {
        let lines = mailing.recipients.iter().flat_map(|r| r.1.clone());
        String::from_utf8(mailing.mail.iter().copied().chain(lines).collect()).unwrap()
    }

    #[test]
    fn nothing_is_declared_that_was_not_offered() {
        let mut envelope = envelope();
        envelope.flags.eight_bit = true;
        envelope.envid = Some("x".into());
        let mut people = to(&["b@example.org"]);
        people[0].recipient.notify = Some(Notify::Never);
        let bare = mailing(&envelope, &people, &Capabilities::default()).unwrap();
        assert_eq!(written(&bare), "MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@example.org>\r\n");
        let rich = Capabilities {
            size: Some(0),
            eight_bit_mime: true,
            dsn: true,
            smtputf8: true,
            ..Capabilities::default()
        };
        assert_eq!(
            written(&mailing(&envelope, &people, &rich).unwrap()),
            "MAIL FROM:<a@sender.test> SIZE=1000 BODY=8BITMIME ENVID=x\r\n\
             RCPT TO:<b@example.org> NOTIFY=NEVER\r\n"
        );
    }

    #[test]
    fn wishes_for_reports_go_on_as_they_came() {
        let dsn = Capabilities { dsn: true, ..Capabilities::default() };
        let mut envelope = envelope();
        (envelope.ret, envelope.envid) = (Some(Ret::Full), Some("QQ 3+14".into()));
        let mut people = to(&["b@example.org", "c@example.org", "d@example.org", "e@example.org"]);
        people[0].recipient.notify =
            Some(Notify::On { success: true, failure: true, delay: false });
        people[0].recipient.orcpt =
            Some(Orcpt { addr_type: "rfc822".into(), address: "Bob+x@old.example".into() });
        // A changed address: ORCPT as it came outranks the original.
        people[0].recipient.original = Some(Mailbox::parse("other@example.org").unwrap());
        people[1].recipient.original = Some(Mailbox::parse("list+a@example.org").unwrap());
        people[2].recipient.original = Some(Mailbox::parse("jürgen@köln.example").unwrap());
        people[2].recipient.notify = Some(Notify::Never);
        assert_eq!(
            written(&mailing(&envelope, &people, &dsn).unwrap()),
            "MAIL FROM:<a@sender.test> RET=FULL ENVID=QQ+203+2B14\r\n\
             RCPT TO:<b@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@old.example\r\n\
             RCPT TO:<c@example.org> ORCPT=rfc822;list+2Ba@example.org\r\n\
             RCPT TO:<d@example.org> NOTIFY=NEVER ORCPT=utf-8;j\\x{FC}rgen@k\\x{F6}ln.example\r\n\
             RCPT TO:<e@example.org>\r\n"
        );
    }

    #[test]
    fn a_message_above_the_declared_size_is_not_sent() {
        let small = Capabilities { size: Some(999), ..Capabilities::default() };
        let failure = mailing(&envelope(), &to(&["b@example.org"]), &small).unwrap_err();
        assert_eq!((failure.code, failure.cause), (552, Cause::TooLarge));
        let exact = Capabilities { size: Some(1000), ..Capabilities::default() };
        assert!(mailing(&envelope(), &to(&["b@example.org"]), &exact).is_ok());
    }

    #[test]
    fn unannounced_eight_bit_content_is_sent_unless_that_is_forbidden() {
        let people = to(&["b@example.org"]);
        let strict = |envelope: &Envelope, capabilities: &Capabilities| {
            super::mailing(envelope, &people, capabilities, EightBit::OnlyAnnounced)
        };
        let bare = Capabilities::default();
        let offered = Capabilities { eight_bit_mime: true, ..Capabilities::default() };
        let mut envelope = envelope();
        assert!(strict(&envelope, &bare).is_ok()); // every server takes 7-bit content
        envelope.flags.eight_bit = true;
        assert!(mailing(&envelope, &people, &bare).is_ok());
        assert!(written(&strict(&envelope, &offered).unwrap()).contains(" BODY=8BITMIME"));
        let failure = strict(&envelope, &bare).unwrap_err();
        let expected = (554, Enhanced(5, 6, 3), Cause::NeedsEightBitMime);
        assert_eq!((failure.code, failure.status, failure.cause), expected);
    }

    #[test]
    fn smtputf8_only_when_needed() {
        let offered = Capabilities { smtputf8: true, ..Capabilities::default() };
        let plain = mailing(&envelope(), &to(&["b@münchen.example"]), &offered).unwrap();
        assert!(!written(&plain).contains("SMTPUTF8"));
        assert!(written(&plain).contains("<b@xn--mnchen-3ya.example>"));
        let people = to(&["ä@example.org", "b@example.org"]);
        assert!(written(&mailing(&envelope(), &people, &offered).unwrap()).contains("SMTPUTF8"));
        let without = mailing(&envelope(), &people, &Capabilities::default()).unwrap();
        assert_eq!(without.refused[0].1.code, 553);
        assert_eq!(without.recipients.len(), 1); // the other one goes
        let mut odd = envelope();
        odd.from = ReversePath::Mailbox(Mailbox::parse("ä@sender.test").unwrap());
        assert_eq!(mailing(&odd, &people, &Capabilities::default()).unwrap_err().code, 550);
    }

    #[test]
    fn whoever_has_logged_in_vouches_for_nobody_else() {
        let people = to(&["b@example.org"]);
        let mail = |logged_in| {
            let offered =
                Capabilities { auth: vec!["PLAIN".into()], logged_in, ..Capabilities::default() };
            written(&mailing(&envelope(), &people, &offered).unwrap())
        };
        assert!(mail(true).starts_with("MAIL FROM:<a@sender.test> AUTH=<>\r\n"));
        assert!(!mail(false).contains("AUTH")); // RFC 4954 §5: only in an authenticated session
    }

    #[test]
    fn room_for_recipients() {
        let with = |rcpt_max| Capabilities { rcpt_max, ..Capabilities::default() };
        assert_eq!(room(&with(None)), 100);
        assert_eq!(room(&with(Some(7))), 7);
        assert_eq!(room(&with(Some(100_000))), 100);
    }
}
