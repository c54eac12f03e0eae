//! A message that goes straight through. The client waits, so nothing is tried twice: the first server that a session can be made with has
//! it, and what that one says is what the client is told.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::sync::mpsc;
use tokio::time::timeout;

use posthaste_edge::body::Body;
use posthaste_edge::session::Listing;
use posthaste_mail::address::Mailbox;
use posthaste_mail::attempt::forward::{ends_the_round, nobody};
use posthaste_mail::envelope::{Envelope, MessageFlags, Recipient};
use posthaste_mail::outcome::{Cause, Failure};
use posthaste_mail::wire::client::transaction::{Fate, Standing};

use crate::carriage::live::Live;
use crate::messages::passage::Order;
use crate::targets::forward::caller::Caller;
use crate::targets::forward::declaration::{unfit, written};

/// RFC 5321 §4.5.3.2.3: a client waits five minutes for the answer to RCPT. By then it should have one.
const LONGEST_APPROACH: Duration = Duration::from_secs(4 * 60);
/// RFC 5321 §4.5.3.2.7: a server waits five minutes for a command. A client may take longer, with its content on a slow line.
const SILENCE: Duration = Duration::from_secs(2 * 60);
/// Addresses of one server that are dialled.
const MOST_ADDRESSES: usize = 5;

/// Serves one passage until its end, or until nobody wants it any more.
pub async fn run(caller: Caller, envelope: Arc<Envelope>, mut orders: mpsc::Receiver<Order>) {
    let mut crossing = Crossing { caller, envelope, state: State::Ashore };
    loop {
        let order = match timeout(SILENCE, orders.recv()).await {
            Ok(Some(order)) => order,
            Ok(None) => break,
            Err(_) => {
                crossing.stay().await;
                continue;
            }
        };
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
    named: Vec<(Mailbox, Result<(), Failure>)>,
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
                at.named.push((recipient.address.clone(), Ok(())));
                end
            }
            Err(failure) => {
                at.named.push((recipient.address.clone(), Err(failure.clone())));
                Err(failure)
            }
        };
        end.map_err(|failure| {
            at.live.recording.failed(&failure);
            let failure = failure.at(remote);
            refused(&self.caller.log, &recipient.address, &failure);
            failure
        })
    }

    /// Keeps the server waiting.
    async fn stay(&mut self) {
        if let State::At(at) = &mut self.state {
            at.live.session.stay(&mut at.listing).await;
        }
    }

    /// To a server, and MAIL.
    async fn set_out(&self, first: &Recipient) -> Result<At, Failure> {
        let reach = timeout(LONGEST_APPROACH, self.reach());
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
        let rests = |place: &usize| relay.memory.known().rests(*place, now);
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
                        let ends = ends_the_round(&failure);
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
            let all = named.into_iter().map(|(recipient, _)| {
                refused(&self.caller.log, &recipient, &failure);
                Fate::Refused(failure.clone())
            });
            return all.collect();
        }
        let ending = live.session.deliver(listing, content).await;
        live.note_fates(&(0u32..).zip(ending.fates.iter().cloned()).collect::<Vec<_>>());
        let remote = live.remote.clone();
        let mut said = ending.fates.into_iter();
        let fates = named.into_iter().map(|(recipient, named)| {
            let fate = match named {
                // It has been told already.
                Err(failure) => return Fate::Refused(failure),
                Ok(()) => said.next(),
            };
            let (failure, fate): (_, fn(Failure) -> Fate) = match fate {
                Some(Fate::Taken(reply)) => {
                    info!(self.caller.log, "passed on"; "recipient" => recipient.as_str(),
                        "server" => &remote.host, "code" => reply.code, "reply" => reply.text());
                    return Fate::Taken(reply);
                }
                Some(Fate::Refused(failure)) => (failure, Fate::Refused),
                Some(Fate::AnotherTransaction(failure)) => (failure, Fate::AnotherTransaction),
                None => (Failure::new(Cause::Internal, "no answer was kept"), Fate::Refused),
            };
            let failure = failure.at(remote.clone());
            refused(&self.caller.log, &recipient, &failure);
            fate(failure)
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

fn refused(log: &Logger, recipient: &Mailbox, failure: &Failure) {
    info!(log, "not passed on"; "recipient" => recipient.as_str(),
        "server" => failure.remote.as_ref().map(|remote| &remote.host),
        "reason" => failure.cause.word(), "code" => failure.code,
        "status" => failure.status.to_string(), "reply" => &failure.text);
}

/// The client has its answer; a farewell may be drawn out.
fn part(mut live: Live, standing: Standing) {
    if standing != Standing::Broken {
        tokio::spawn(async move { live.session.quit().await });
    }
}
