//! What a server is told of content that is not known yet, and what is found out about it in the end.

use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::mailing::{EightBit, Mailing, mailing};
use posthaste_mail::envelope::{BodyType, Envelope, MessageFlags, Recipient};
use posthaste_mail::outcome::{Cause, Failure};
use posthaste_mail::wire::capabilities::Capabilities;

/// MAIL, and RCPT for this recipient. The content is not known yet: of it the server is told what the client has told, if it can be.
pub fn written(
    envelope: &Envelope,
    recipient: &Recipient,
    offered: &Capabilities,
    eight_bit: EightBit,
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut envelope = envelope.clone();
    let flags = &mut envelope.flags;
    flags.eight_bit = flags.body == BodyType::EightBitMime;
    // RFC 6531 §3.4. Said needlessly it is no reason to refuse: `unfit` looks at the header itself.
    flags.utf8_header = flags.smtputf8 && offered.smtputf8;
    let mut offered = offered.clone();
    offered.size = offered.size.filter(|_| envelope.size > 0);
    offered.eight_bit_mime &= flags.eight_bit;
    let one = [Addressee::new(0, recipient.clone())];
    let Mailing { mail, mut recipients, mut refused } =
        mailing(&envelope, &one, &offered, eight_bit)?;
    match (recipients.pop(), refused.pop()) {
        (Some((_, rcpt)), _) => Ok((mail, rcpt)),
        (None, Some((_, failure))) => Err(failure),
        (None, None) => Err(Failure::new(Cause::Internal, "a command cannot be written")),
    }
}

/// The content turns out to need what the server does not offer.
pub fn unfit(flags: MessageFlags, offered: &Capabilities, eight_bit: EightBit) -> Option<Failure> {
    // RFC 6531 §3.4: a header in UTF-8 goes nowhere without SMTPUTF8.
    if flags.utf8_header && !offered.smtputf8 {
        let text = "the header needs SMTPUTF8, which the server does not offer";
        return Some(Failure::new(Cause::SenderNeedsSmtputf8, text));
    }
    if flags.eight_bit && !offered.eight_bit_mime && eight_bit == EightBit::OnlyAnnounced {
        let text = "content is 8-bit, and the server does not offer 8BITMIME";
        return Some(Failure::new(Cause::NeedsEightBitMime, text));
    }
    None
}

#[cfg(test)]
mod tests {
    use posthaste_mail::address::{Mailbox, ReversePath};
    use posthaste_mail::envelope::{EnvelopeId, Origin, Route};
    use posthaste_mail::status::Enhanced;
    use posthaste_mail::time::Timestamp;

    use super::*;

    fn envelope(flags: MessageFlags) -> Envelope {
        Envelope {
            id: EnvelopeId::from_bytes([0; 16]),
            from: ReversePath::Mailbox(Mailbox::parse("a@sender.test").unwrap()),
            flags,
            ret: None,
            envid: None,
            origin: Origin::default(),
            arrived: Timestamp::ZERO,
            size: 0,
            message_id: None,
            route: Route::Target,
        }
    }

    fn all() -> Capabilities {
        Capabilities {
            size: Some(1000),
            eight_bit_mime: true,
            smtputf8: true,
            ..Capabilities::default()
        }
    }

    fn said(flags: MessageFlags, to: &str, offered: &Capabilities) -> String {
        let to = Recipient::new(Mailbox::parse(to).unwrap());
        let (mail, rcpt) = written(&envelope(flags), &to, offered, EightBit::AsItIs).unwrap();
        String::from_utf8([mail, rcpt].concat()).unwrap()
    }

    #[test]
    fn of_the_content_the_server_is_told_what_the_client_told() {
        let plain = "MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@x.test>\r\n";
        assert_eq!(said(MessageFlags::default(), "b@x.test", &all()), plain);
        let flags = MessageFlags { body: BodyType::EightBitMime, ..MessageFlags::default() };
        let mail = "MAIL FROM:<a@sender.test> BODY=8BITMIME\r\nRCPT TO:<b@x.test>\r\n";
        assert_eq!(said(flags, "b@x.test", &all()), mail);
        assert_eq!(said(flags, "b@x.test", &Capabilities::default()), plain);
        let flags = MessageFlags { smtputf8: true, ..MessageFlags::default() };
        let mail = "MAIL FROM:<a@sender.test> SMTPUTF8\r\nRCPT TO:<b@x.test>\r\n";
        assert_eq!(said(flags, "b@x.test", &all()), mail); // whoever is named later may need it
        assert_eq!(said(flags, "b@x.test", &Capabilities::default()), plain);
    }

    #[test]
    fn content_that_turns_out_to_need_more_is_not_sent() {
        let utf8 = MessageFlags { utf8_header: true, eight_bit: true, ..MessageFlags::default() };
        let eight_bit = MessageFlags { eight_bit: true, ..MessageFlags::default() };
        let bare = Capabilities::default();
        let status = |flags, offered: &Capabilities, how| {
            unfit(flags, offered, how).map(|f| (f.code, f.status))
        };
        let utf8_refused = Some((550, Enhanced(5, 6, 7)));
        assert_eq!(status(utf8, &bare, EightBit::AsItIs), utf8_refused);
        assert_eq!(status(utf8, &all(), EightBit::OnlyAnnounced), None);
        assert_eq!(status(eight_bit, &bare, EightBit::AsItIs), None);
        let strict = Some((554, Enhanced(5, 6, 3)));
        assert_eq!(status(eight_bit, &bare, EightBit::OnlyAnnounced), strict);
        assert_eq!(status(MessageFlags::default(), &bare, EightBit::OnlyAnnounced), None);
    }
}
