//! `send`: a message from the operator's socket, taken as a message from this machine.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use posthaste_edge::clock::dice;
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::admin::request::Send;
use posthaste_mail::envelope::{
    BodyType, Envelope, EnvelopeId, MessageFlags, Notify, Origin, Recipient, Ret, Route,
};
use posthaste_mail::status::Enhanced;
use posthaste_mail::trace::{Base, Trace, Transport};

use crate::admin::{Desk, QueueDoor};
use crate::content::{Demands, Incoming, Submission};
use crate::messages::intake::{Accept, Refusal};

/// Reads the content and hands the message to its queue.
pub(super) async fn take<R: AsyncRead + Unpin>(
    wish: &Send,
    content: &mut R,
    desk: &Desk,
) -> io::Result<Result<EnvelopeId, Refusal>> {
    let (from, recipients, queue, hostname) = match read(wish, desk) {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let now = desk.clock.now();
    let id = EnvelopeId::new(now, &mut dice());
    let smtputf8 = recipients.iter().any(|r| r.address.needs_smtputf8())
        || from.mailbox().is_some_and(Mailbox::needs_smtputf8);
    let trace = Trace {
        client: None,
        by: &hostname,
        from: &from,
        transport: Transport { base: Base::Smtp, tls: false, authenticated: false },
        smtputf8,
        id,
        now,
    };
    let demands = Demands {
        max_header_size: 1 << 20,
        max_received: 50,
        submission: Submission::Complete,
        hostname: hostname.clone(),
    };
    let mut nul = false;
    let mut incoming = Incoming::new(&demands, &desk.buffer, id, trace.received(), now);
    let (mut lines, mut buffer, mut left) = (LineEnds::default(), vec![0; 64 * 1024], wish.length);
    while left > 0 {
        let count = content.read(&mut buffer).await?;
        if count == 0 {
            let text = "the connection ended inside the message";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        left = left.saturating_sub(count as u64);
        nul |= buffer.iter().take(count).any(|octet| *octet == 0);
        incoming.take(&lines.crlf(buffer.get(..count).unwrap_or_default())).await;
    }
    incoming.take(lines.end()).await;
    if nul {
        // RFC 5321 §4.5.2 and RFC 5322 §4: as a listener refuses it.
        return Ok(Err(refusal(550, Enhanced(5, 6, 0), "the message contains NUL")));
    }
    let mut flags = MessageFlags { smtputf8, ..MessageFlags::default() };
    let complete = match incoming.finish(&mut flags).await {
        Ok(complete) => complete,
        Err(answer) => return Ok(Err(refusal(answer.code(), answer.enhanced(), &answer.text()))),
    };
    if flags.eight_bit {
        flags.body = BodyType::EightBitMime;
    }
    let envelope = Envelope {
        id,
        from,
        flags,
        ret: ret(wish),
        envid: wish.envid.clone(),
        origin: Origin { helo: hostname.to_string(), hidden: true, ..Origin::default() },
        arrived: now,
        size: complete.body.len(),
        message_id: complete.message_id,
        route: Route::Target,
    };
    let accept = Accept { envelope, recipients, body: complete.body, undecided: false };
    Ok(match queue.accept.send(accept).await {
        Ok(answer) => answer,
        Err(e) => Err(refusal(451, Enhanced(4, 3, 0), &format!("queue does not answer: {e}"))),
    })
}

type Wanted<'a> = (ReversePath, Vec<Recipient>, &'a QueueDoor, posthaste_mail::address::Domain);

fn read<'a>(wish: &Send, desk: &'a Desk) -> Result<Wanted<'a>, Refusal> {
    let from = ReversePath::try_from(wish.from.clone())
        .map_err(|e| refusal(501, Enhanced(5, 1, 7), &format!("sender {:?}: {e}", wish.from)))?;
    let notify = notify(wish)?;
    let recipients: Vec<Recipient> = wish
        .to
        .iter()
        .map(|to| {
            let address = Mailbox::parse(to)
                .map_err(|e| refusal(501, Enhanced(5, 1, 3), &format!("recipient {to:?}: {e}")))?;
            Ok(Recipient { notify, ..Recipient::new(address) })
        })
        .collect::<Result<_, Refusal>>()?;
    if recipients.is_empty() {
        return Err(refusal(554, Enhanced(5, 5, 1), "no recipients"));
    }
    let queue = match &wish.target {
        Some(name) => desk.queues.iter().find(|q| q.name == *name),
        None => desk.queues.first(),
    };
    let queue = queue.ok_or_else(|| {
        let name = wish.target.clone().unwrap_or_default();
        refusal(550, Enhanced(5, 3, 5), &format!("there is no queue {name}"))
    })?;
    let hostname = posthaste_mail::address::Domain::parse(&desk.identity.hostname)
        .map_err(|_| refusal(451, Enhanced(4, 3, 5), "hostname is not a domain name"))?;
    Ok((from, recipients, queue, hostname))
}

fn ret(wish: &Send) -> Option<Ret> {
    match wish.ret.as_deref().map(str::to_ascii_uppercase).as_deref() {
        Some("FULL") => Some(Ret::Full),
        Some("HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

/// RFC 3461 §4.1: NEVER alone, or any of the others.
fn notify(wish: &Send) -> Result<Option<Notify>, Refusal> {
    let Some(words) = &wish.notify else { return Ok(None) };
    let words = words.to_ascii_uppercase();
    if words == "NEVER" {
        return Ok(Some(Notify::Never));
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in words.split(',') {
        match word.trim() {
            "SUCCESS" => success = true,
            "FAILURE" => failure = true,
            "DELAY" => delay = true,
            other => {
                let text = format!("notify: {other:?} is none of never, success, failure, delay");
                return Err(refusal(501, Enhanced(5, 5, 4), &text));
            }
        }
    }
    Ok(Some(Notify::On { success, failure, delay }))
}

fn refusal(code: u16, status: Enhanced, text: &str) -> Refusal {
    Refusal { code, status, text: text.to_string() }
}

/// Files have LF, mail has CRLF.
#[derive(Default)]
struct LineEnds {
    after_cr: bool,
    at_line_start: bool,
    any: bool,
}

impl LineEnds {
    fn crlf(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() + piece.len() / 32);
        for &octet in piece {
            self.any = true;
            match octet {
                b'\n' if self.after_cr => out.push(b'\n'),
                b'\n' => out.extend_from_slice(b"\r\n"),
                // A lone CR ends a line as well; nothing else could be meant by it.
                other => {
                    if self.after_cr {
                        out.push(b'\n');
                    }
                    out.push(other);
                }
            }
            self.after_cr = octet == b'\r';
            self.at_line_start = octet == b'\n';
        }
        out
    }

    fn end(&mut self) -> &'static [u8] {
        match (self.any, self.after_cr, self.at_line_start) {
            (true, true, _) => b"\n",
            (true, false, false) => b"\r\n",
            _ => b"",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pieces: &[&str]) -> String {
        let mut lines = LineEnds::default();
        let mut out: Vec<u8> = pieces.iter().flat_map(|p| lines.crlf(p.as_bytes())).collect();
        out.extend_from_slice(lines.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        assert_eq!(whole(&["a\nb\r\nc"]), "a\r\nb\r\nc\r\n");
        assert_eq!(whole(&["a\r", "\nb\n"]), "a\r\nb\r\n");
        assert_eq!(whole(&["a\rb"]), "a\r\nb\r\n");
        assert_eq!(whole(&["a\r"]), "a\r\n");
        assert_eq!(whole(&[""]), "");
    }
}
