//! The envelope: everything about a message that is not its content.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{Mailbox, ReversePath};
use crate::dice::Dice;
use crate::time::Timestamp;

/// Names one accepted envelope for ever: 48 bits of milliseconds, then 80 random bits, so that ids sort by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvelopeId(u128);

/// Digits that cannot be misread (no i, l, o, u), in ascending order, so text sorts as the number does.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl EnvelopeId {
    pub fn new(now: Timestamp, dice: &mut Dice) -> EnvelopeId {
        let millis = u128::from(now.as_micros() / 1000) & 0xffff_ffff_ffff;
        let random = (u128::from(dice.next_u64()) << 64 | u128::from(dice.next_u64())) >> 48;
        EnvelopeId(millis << 80 | random)
    }

    /// When it was made, to the millisecond.
    pub fn made(self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.0 >> 80).unwrap_or(0).saturating_mul(1000))
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> EnvelopeId {
        EnvelopeId(u128::from_be_bytes(bytes))
    }

    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = DIGITS[(rest & 31) as usize]; // masked to five bits: always inside the 32 digits
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or(""))
    }
}

/// The text is not 26 of our digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a queue id (26 digits and letters)")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for EnvelopeId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<EnvelopeId, NotAnId> {
        if text.len() != 26 {
            return Err(NotAnId);
        }
        let mut value: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let low = byte.to_ascii_lowercase();
            let digit = DIGITS.iter().position(|d| *d == low).ok_or(NotAnId)?;
            // 26 digits hold 130 bits: the first may only use three.
            if place == 0 && digit > 7 {
                return Err(NotAnId);
            }
            value = value << 5 | digit as u128;
        }
        Ok(EnvelopeId(value))
    }
}

impl TryFrom<String> for EnvelopeId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<EnvelopeId, NotAnId> {
        text.parse()
    }
}

impl From<EnvelopeId> for String {
    fn from(id: EnvelopeId) -> String {
        id.to_string()
    }
}

/// RFC 6152, RFC 3030: what MAIL declared about the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyType {
    #[default]
    SevenBit,
    EightBitMime,
    BinaryMime,
}

/// What the sender demands of TLS on the way. The two are never both wanted: REQUIRETLS wins (RFC 8689 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsWish {
    /// Nothing said: our own policies decide.
    #[default]
    Unsaid,
    /// RFC 8689 §2: `REQUIRETLS` on MAIL.
    Required,
    /// RFC 8689 §3: the header field `TLS-Required: No`.
    Waived,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFlags {
    pub body: BodyType,
    /// MAIL carried SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// The content has octets above 127.
    pub eight_bit: bool,
    /// The header has octets above 127 (RFC 6532): it needs SMTPUTF8 on the way.
    pub utf8_header: bool,
    pub tls: TlsWish,
    /// A check marked the message; `target.remote` refuses it.
    pub quarantine: bool,
    /// Hosts it has passed, ours not counted (RFC 5321 §6.3).
    #[serde(default)]
    pub hops: u32,
    /// A line has more than the 998 octets of RFC 5322 §2.1.1.
    #[serde(default)]
    pub long_lines: bool,
}

/// RFC 3461 §4.3: how much of the message a notification returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ret {
    Full,
    Headers,
}

/// RFC 3461 §4.1: which notifications a recipient's sender wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notify {
    Never,
    On { success: bool, failure: bool, delay: bool },
}

/// RFC 3461 §4.2: the recipient as the sender first wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orcpt {
    pub addr_type: String,
    /// Decoded from xtext (or from the UTF-8 form of RFC 6533).
    pub address: String,
}

impl Orcpt {
    /// This address, with its type. RFC 6533 §3: what is not ASCII has the type `utf-8`.
    pub fn of(mailbox: &Mailbox) -> Orcpt {
        match mailbox.as_str().is_ascii() {
            true => Orcpt { addr_type: "rfc822".to_string(), address: mailbox.to_string() },
            false => Orcpt { addr_type: "utf-8".to_string(), address: mailbox.to_string() },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub address: Mailbox,
    /// What the client asked for, when the pipeline changed it. Notifications name this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Mailbox>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<Orcpt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

impl Recipient {
    pub fn new(address: Mailbox) -> Recipient {
        Recipient { address, original: None, orcpt: None, notify: None }
    }

    /// RFC 3461 §4.1: without NOTIFY failures are reported.
    pub fn wants_failures(&self) -> bool {
        match self.notify {
            None => true,
            Some(Notify::Never) => false,
            Some(Notify::On { failure, .. }) => failure,
        }
    }

    /// RFC 3461 §4.1: without NOTIFY a server may take FAILURE alone or FAILURE,DELAY as meant. We take the second: whoever has set
    /// `delay_warning` wants senders to know. RFC 3461 §5.2.5: a list without DELAY forbids the report.
    pub fn wants_delays(&self) -> bool {
        match self.notify {
            None => true,
            Some(Notify::Never) => false,
            Some(Notify::On { delay, .. }) => delay,
        }
    }

    /// RFC 3461 §4.1: success is reported only to those who ask.
    pub fn wants_success(&self) -> bool {
        match self.notify {
            None | Some(Notify::Never) => false,
            Some(Notify::On { success, .. }) => success,
        }
    }
}

/// Where a message came in. `hidden` sessions (submission) are left out of trace fields and notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub helo: String,
    pub address: Option<IpAddr>,
    /// Authenticated user, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub hidden: bool,
}

/// Which way out of the queue an envelope takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// To the queue's target.
    #[default]
    Target,
    /// A notification made by this queue, on its way to the target its `bounce` pipeline chose.
    Bounce { target: String },
    /// Where an operator sends a batch of it. Known to the attempt only: the record of the batch has it, never a stored envelope.
    Rerouted { target: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub id: EnvelopeId,
    pub from: ReversePath,
    pub flags: MessageFlags,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// RFC 3461 §4.4, decoded from xtext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    pub origin: Origin,
    pub arrived: Timestamp,
    /// Octets of the content as stored, CRLF line ends, our trace field included.
    pub size: u64,
    /// The header's Message-ID, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default)]
    pub route: Route,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_arrival_as_text_and_bytes() {
        let mut dice = Dice::new(5);
        let early = EnvelopeId::new(Timestamp::from_secs(1_000), &mut dice);
        let late = EnvelopeId::new(Timestamp::from_secs(1_001), &mut dice);
        assert!(early < late && early.to_string() < late.to_string());
        assert!(early.to_bytes() < late.to_bytes());
    }

    #[test]
    fn notify_says_what_is_reported() {
        let on = |success, failure, delay| Some(Notify::On { success, failure, delay });
        for (notify, expected) in [
            (None, [false, true, true]), // RFC 3461 §4.1: failures, and delays if we like
            (Some(Notify::Never), [false, false, false]),
            (on(true, false, false), [true, false, false]),
            (on(false, true, false), [false, true, false]),
            (on(false, false, true), [false, false, true]),
            (on(true, true, true), [true, true, true]),
        ] {
            let mut bob = Recipient::new(Mailbox::parse("bob@b.example").unwrap());
            bob.notify = notify;
            let wants = [bob.wants_success(), bob.wants_failures(), bob.wants_delays()];
            assert_eq!(wants, expected, "{notify:?}");
        }
    }

    #[test]
    fn ids_read_back() {
        let id = EnvelopeId::new(Timestamp::from_secs(1_795_489_920), &mut Dice::new(1));
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        assert_eq!(EnvelopeId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn other_texts_are_not_ids() {
        for bad in [
            "",
            "1",
            "zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "0000000000000000000000000l",
            "../../etc/passwd",
        ] {
            assert_eq!(bad.parse::<EnvelopeId>(), Err(NotAnId), "{bad}");
        }
    }
}
