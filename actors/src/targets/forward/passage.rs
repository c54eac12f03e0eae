//! A message that goes straight through. The client waits, so nothing is tried twice: the first server that a session can be made with has
//! it, and what that one says is what the client is told.

use std::sync::Arc;
use std::time::Duration;

use slog::{info, warn};
use tokio::sync::mpsc;

use posthaste_edge::body::Body;
use posthaste_edge::session::Listing;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::forward::nobody;
use posthaste_mail::attempt::mailing::{EightBit, Mailing, mailing};
use posthaste_mail::envelope::{BodyType, Envelope, MessageFlags, Recipient};
use posthaste_mail::outcome::{Cause, Failure, Outcome};
use posthaste_mail::wire::capabilities::Capabilities;
use posthaste_mail::wire::client::transaction::{Fate, Standing};

use crate::carriage::live::Live;
use crate::messages::passage::Order;
use crate::targets::forward::caller::Caller;

/// RFC 5321 §4.5.3.2.3: a client waits five minutes for the answer to RCPT. By then it should have one.
const LONGEST_APPROACH: Duration = Duration::from_secs(4 * 60);
/// Addresses of one server that are dialled.
const MOST_ADDRESSES: usize = 5;

/// Serves one passage until its end, or until nobody wants it any more.
pub async fn run(caller: Caller, envelope: Arc<Envelope>, mut orders: mpsc::Receiver<Order>) {
    let mut crossing = Crossing { caller, envelope, state: State::Ashore };
    while let Some(order) = orders.recv().await {
        match order {
            // Whoever has gone meanwhile is not told.
            Order::Name { recipient, answer } => {
                let named = crossing.name(*recipient).await;
                let _ = answer.send(named);
            }
            Order::Deliver { content, flags, answer } => {
                let fates = crossing.deliver(&content, flags).await;
                let _ = answer.send(fates);
                break;
            }
        }
    }
    crossing.end().await;
}

struct Crossing {
    caller: Caller,
    envelope: Arc<Envelope>,
    state: State,
}

enum State {
    /// Nobody was named.
    Ashore,
    At(Box<At>),
    /// No server could be had: everybody is told the same.
    Nowhere(Failure),
    Over,
}

struct At {
    live: Live,
    listing: Listing,
    /// Named to the server, in order; or why one could not be.
    named: Vec<Result<(), Failure>>,
    standing: Standing,
}

impl Crossing {
    async fn name(&mut self, recipient: Recipient) -> Result<(), Failure> {
        if let State::Ashore = self.state {
            self.state = match self.set_out(&recipient).await {
                Ok(at) => State::At(Box::new(at)),
                Err(failure) => State::Nowhere(failure),
            };
        }
        let at = match &mut self.state {
            State::At(at) => at,
            State::Nowhere(failure) => return Err(failure.clone()),
            State::Ashore | State::Over => {
                return Err(Failure::new(Cause::Internal, "the transaction is over"));
            }
        };
        let offered = at.live.session.capabilities();
        let written = written(&self.envelope, &recipient, offered, self.caller.relay.eight_bit);
        let remote = at.live.remote.clone();
        let end = match written {
            Ok((_, line)) => {
                let end = at.live.session.name(&mut at.listing, line).await;
                at.named.push(Ok(()));
                end
            }
            Err(failure) => {
                at.named.push(Err(failure.clone()));
                Err(failure)
            }
        };
        end.map_err(|failure| {
            at.live.recording.failed(&failure);
            failure.at(remote)
        })
    }

    /// To a server, and MAIL.
    async fn set_out(&self, first: &Recipient) -> Result<At, Failure> {
        let reach = tokio::time::timeout(LONGEST_APPROACH, self.reach());
        let mut live = reach.await.unwrap_or_else(|_| {
            let text = "no server could be reached in four minutes";
            Err(Failure::new(Cause::Unreachable, text))
        })?;
        let offered = live.session.capabilities();
        let written = written(&self.envelope, first, offered, self.caller.relay.eight_bit);
        let mail = match written {
            Ok((mail, _)) => mail,
            Err(failure) => {
                let remote = live.remote.clone();
                live.session.quit().await;
                return Err(failure.at(remote));
            }
        };
        let listing = live.session.list(mail).await;
        Ok(At { live, listing, named: Vec::new(), standing: Standing::Good })
    }

    /// A session with the first server that will have one, those that were down lately last.
    async fn reach(&self) -> Result<Live, Failure> {
        let caller = &self.caller;
        let relay = &caller.relay;
        let now = caller.clock.now();
        let rests = |place: &usize| relay.memory.servers().rests(*place, now);
        let (resting, fresh): (Vec<usize>, Vec<usize>) = (0..relay.servers.len()).partition(rests);
        let mut troubles = Vec::new();
        for place in fresh.into_iter().chain(resting) {
            let Some(server) = relay.servers.get(place) else { continue };
            let ways = match relay.ways(server).await {
                Ok(ways) => ways,
                Err(failure) => {
                    troubles.push(failure);
                    continue;
                }
            };
            for way in ways.iter().take(MOST_ADDRESSES) {
                let _dialling = relay.memory.begin(place, caller.clock.now());
                match caller.reach(place, server, way).await {
                    Ok(live) => {
                        caller.told(&live);
                        return Ok(live);
                    }
                    Err(failure) => {
                        info!(caller.log, "session"; "server" => &server.name,
                            "reason" => failure.cause.word(), "smtp_code" => failure.code,
                            "smtp_enchcode" => failure.status.to_string(), "smtp_msg" => &failure.text);
                        // Ours, or the client's: the next server would say the same.
                        let ends = matches!(failure.clone().outcome(), Outcome::Postponed(_))
                            || matches!(
                                failure.cause,
                                Cause::CredentialsRefused | Cause::CredentialsMissing
                            );
                        let answered = matches!(failure.cause, Cause::Refused(_));
                        if ends {
                            return Err(failure);
                        }
                        troubles.push(failure);
                        if answered {
                            break;
                        }
                    }
                }
            }
        }
        Err(nobody(&troubles))
    }

    async fn deliver(&mut self, content: &Body, flags: MessageFlags) -> Vec<Fate> {
        let State::At(at) = std::mem::replace(&mut self.state, State::Over) else {
            warn!(self.caller.log, "content for nobody");
            return Vec::new();
        };
        let At { mut live, listing, named, .. } = *at;
        let eight_bit = self.caller.relay.eight_bit;
        if let Some(failure) = unfit(flags, live.session.capabilities(), eight_bit) {
            live.recording.failed(&failure);
            let failure = failure.at(live.remote.clone());
            part(live, Standing::Parting);
            return named.iter().map(|_| Fate::Refused(failure.clone())).collect();
        }
        let ending = live.session.deliver(listing, content).await;
        live.note_fates(&(0u32..).zip(ending.fates.iter().cloned()).collect::<Vec<_>>());
        let remote = live.remote.clone();
        let mut said = ending.fates.into_iter();
        let fates = named.into_iter().map(|named| match named {
            Err(failure) => Fate::Refused(failure),
            Ok(()) => match said.next() {
                Some(Fate::Refused(failure)) => Fate::Refused(failure.at(remote.clone())),
                Some(Fate::AnotherTransaction(failure)) => {
                    Fate::AnotherTransaction(failure.at(remote.clone()))
                }
                Some(taken @ Fate::Taken(_)) => taken,
                None => Fate::Refused(Failure::new(Cause::Internal, "no answer was kept")),
            },
        });
        let fates = fates.collect();
        part(live, ending.standing);
        fates
    }

    async fn end(self) {
        if let State::At(at) = self.state {
            part(at.live, at.standing);
        }
    }
}

/// The client has its answer; a farewell may be drawn out.
fn part(mut live: Live, standing: Standing) {
    if standing != Standing::Broken {
        tokio::spawn(async move { live.session.quit().await });
    }
}

/// MAIL, and RCPT for this recipient. The content is not known yet: of it the server is told what the client has told, if it can be.
fn written(
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
fn unfit(flags: MessageFlags, offered: &Capabilities, eight_bit: EightBit) -> Option<Failure> {
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
