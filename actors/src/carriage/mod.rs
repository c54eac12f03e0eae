//! What an attempt does in sessions and with their ends, whichever target makes them: takes them from the pool and gives them back, sends
//! the message over them, writes outcomes down and tells of them.

pub mod attempt;
pub mod counters;
pub mod live;
pub mod patience;
pub mod reuse;
pub mod unchunked;

use std::sync::Arc;

use actix::Recipient as Address;
use slog::{Logger, debug, info, warn};

use posthaste_edge::body::Body;
use posthaste_edge::clock::Clock;
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::attempt::addressee::Addressee;
use posthaste_mail::attempt::mailing::{EightBit, Mailing, is_unannounced, mailing};
use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::attempt::ports::{Rest, Transacted};
use posthaste_mail::envelope::{Envelope, Recipient};
use posthaste_mail::outcome::{Cause, Failure, Outcome, SessionFacts, Stage};
use posthaste_mail::policy::InForce;
use posthaste_mail::policy::proof::Proof;
use posthaste_mail::pool::PoolKey;
use posthaste_mail::queue::record::JournalEntry;
use posthaste_mail::wire::client::flow::Flow;
use posthaste_mail::wire::client::transaction::{Ending, Fate, Standing};

use crate::limits::Permit;
use crate::messages::delivery::{Deliver, Journal, Settled, Slot, entries};
use crate::messages::pool::{CheckIn, CheckOut, Idle, Wish};
use counters::Counters;
use live::Live;
use patience::Patience;
use reuse::{Lender, Lent};
use unchunked::Unchunked;

/// What all attempts of a target have in common here.
pub struct Outfit<'a> {
    pub counters: &'a Arc<Counters>,
    pub unchunked: &'a Unchunked,
    /// `strict_8bit`.
    pub eight_bit: EightBit,
    /// `conn_reuse_limit`: transactions of one connection.
    pub reuse_limit: u32,
    pub pool_out: &'a Address<CheckOut>,
    pub pool_in: &'a Address<CheckIn>,
}

/// One attempt, as far as it does not concern the way to a session.
pub struct Carriage {
    pub envelope: Arc<Envelope>,
    pub key: PoolKey,
    pub patience: Patience,
    pub whereabouts: Whereabouts,
    clock: Clock,
    log: Logger,
    body: Body,
    journal: Journal,
    attempt: u32,
    recipients: Vec<(u32, Recipient)>,
    /// Given back when the attempt ends.
    _slot: Slot,
    _permit: Option<Permit>,
    settled_to: Address<Settled>,
    outcomes: Vec<(u32, Outcome)>,
    last: Option<Settled>,
}

impl Carriage {
    /// `log` names the message.
    pub fn new(work: Deliver, key: PoolKey, clock: Clock, log: Logger) -> Carriage {
        Carriage {
            envelope: work.envelope,
            key,
            patience: Patience::new(
                work.lease.batch,
                work.waiting_to,
                work.called_off,
                work.whereabouts.clone(),
                work.means,
            ),
            whereabouts: work.whereabouts,
            clock,
            log,
            body: work.body,
            journal: work.journal,
            attempt: work.attempt,
            recipients: work.recipients,
            _slot: work.slot,
            _permit: work.permit,
            settled_to: work.settled_to,
            outcomes: Vec::new(),
            last: None,
        }
    }

    /// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
    pub fn into_outcomes(self) -> (Vec<(u32, Outcome)>, Option<Settled>) {
        (self.outcomes, self.last)
    }

    fn lender<'a>(&'a self, outfit: &Outfit<'a>) -> Lender<'a> {
        let Outfit { pool_out: check_out, pool_in: check_in, .. } = *outfit;
        Lender { check_out, check_in, key: &self.key, now: self.clock.now() }
    }

    /// An idle session that passes what is in force now.
    pub async fn check_out<F, R>(&mut self, outfit: &Outfit<'_>, in_force: F) -> Option<Live>
    where
        F: Fn(Proof) -> R,
        R: Future<Output = InForce>,
    {
        self.whereabouts.enter(Phase::IdleSession);
        let lender = Lender {
            check_out: outfit.pool_out,
            check_in: outfit.pool_in,
            key: &self.key,
            now: self.clock.now(),
        };
        let idle = *self.patience.before(lender.lend(in_force)).await??;
        let Idle { mut session, remote, facts, proof, .. } = idle;
        let Idle { opened, last_used, transactions, recording, .. } = idle;
        session.show_to(Some(self.whereabouts.clone()));
        let phase = Phase::In(Stage::Mail);
        self.whereabouts.at(phase, &remote.host, Some(proof.address));
        recording.carries(self.envelope.id);
        outfit.counters.reused.add_one();
        Some(Live {
            session,
            remote,
            facts: SessionFacts { reused: true, ..facts },
            proof,
            opened,
            transactions,
            reuse_limit: outfit.reuse_limit,
            lent: Some(Lent { transactions, last_used }),
            recording,
            unfinished: None,
        })
    }

    /// One transaction. Never fails as a whole: what went wrong is each recipient's fate.
    pub async fn transact(
        &mut self,
        outfit: &Outfit<'_>,
        live: &mut Live,
        addressees: &[Addressee],
    ) -> Transacted {
        let capabilities = live.session.capabilities();
        let made = mailing(&self.envelope, addressees, capabilities, outfit.eight_bit);
        let Mailing { mail, recipients: commands, refused } = match made {
            Ok(mailing) => mailing,
            Err(failure) => {
                live.recording.failed(&failure);
                return refused_all(addressees, &failure);
            }
        };
        let dsn_passed_on = capabilities.dsn;
        let mut fates: Vec<(u32, Fate)> =
            refused.into_iter().map(|(i, f)| (i, Fate::Refused(f))).collect();
        if commands.is_empty() {
            live.note_fates(&fates);
            return untouched(fates, dsn_passed_on);
        }
        let chunks = outfit.unchunked.chunks(live.proof.address);
        let flow = Flow::of(live.session.dialect(), capabilities, self.body.len(), chunks);
        let unannounced = is_unannounced(&self.envelope, capabilities);
        live.transactions += 1;
        let (indices, lines): (Vec<u32>, Vec<Vec<u8>>) = commands.into_iter().unzip();
        let journal = self.journal.clone();
        // Everybody behind an address that is named once.
        let everybody = |index: &u32| {
            let named = addressees.iter().find(|addressee| addressee.index() == *index);
            named.map_or_else(Vec::new, |addressee| addressee.indices.clone())
        };
        let places: Vec<Vec<u32>> = indices.iter().map(everybody).collect();
        let (counters, log) = (Arc::clone(outfit.counters), self.log.clone());
        let (mx, long_lines) = (live.remote.host.clone(), self.envelope.flags.long_lines);
        // Somebody was accepted, so the content goes out.
        let count = move || {
            if unannounced {
                counters.eight_bit_unannounced.add_one();
                info!(log, "8-bit content to a server without 8BITMIME"; "mx" => &mx);
            }
            if long_lines {
                counters.long_lines.add_one();
                debug!(log, "content has lines above 998 octets"; "mx" => &mx);
            }
        };
        // The journal knows of the dot before the peer does: a crash from here on is known as *outcome unknown*.
        let before_dot = move |accepted: Vec<usize>| async move {
            count();
            let entries = accepted
                .iter()
                .filter_map(|place| places.get(*place))
                .flatten()
                .map(|index| (*index, JournalEntry::DotSent))
                .collect();
            // Nothing was taken yet: without the word of it the dot is not sent.
            let written = journal.write(entries).await;
            written.map_err(|e| Failure::new(Cause::OwnResources, e.to_string()))
        };
        let progress = live.session.progress();
        let work = live.session.transact(flow, mail, lines, &self.body, before_dot);
        let ending = self.patience.within(&progress, work).await;
        fates.extend(indices.into_iter().zip(ending.fates));
        live.note_fates(&fates);
        let Ending { standing, chunk_unknown: misunderstood, .. } = ending;
        if misunderstood {
            outfit.unchunked.note(live.proof.address);
            info!(self.log, "server announces CHUNKING and does not know BDAT"; "mx" => &live.remote.host);
        }
        Transacted { fates, standing, misunderstood, dsn_passed_on }
    }

    /// The session is no longer needed.
    pub fn release(&self, outfit: &Outfit<'_>, live: Live, standing: Standing) {
        if let Some(failure) = &live.unfinished {
            live.recording.failed(failure);
        }
        let wish = match standing {
            Standing::Good => Wish::Keep,
            // The pool says QUIT in a task of its own, also while the daemon stops.
            Standing::Parting => Wish::Part,
            // Closed by being dropped: a stream that is out of step gets no QUIT.
            Standing::Broken => return,
        };
        let idle = Idle {
            last_used: reuse::last_used(live.lent, live.transactions, self.clock.now()),
            session: live.session,
            remote: live.remote,
            facts: SessionFacts { reused: false, ..live.facts },
            proof: live.proof,
            opened: live.opened,
            transactions: live.transactions,
            recording: live.recording,
        };
        self.lender(outfit).give_back(Box::new(idle), wish);
    }

    /// Writes outcomes down and tells of them; the last ones at the end of the attempt, which is close.
    pub async fn settle(
        &mut self,
        outcomes: Vec<(u32, Outcome)>,
        facts: &SessionFacts,
        rest: Rest,
    ) {
        self.whereabouts.step(Phase::Settling);
        self.outcomes.extend(outcomes.iter().cloned());
        let address = |index: u32| {
            let found = self.recipients.iter().find(|(i, _)| *i == index);
            found.map_or_else(String::new, |(_, r)| r.address.to_string())
        };
        let settled = Settled {
            envelope: Arc::clone(&self.envelope),
            attempt: self.attempt,
            destination: self.key.destination.clone(),
            outcomes: outcomes.iter().map(|(i, o)| (address(*i), o.clone())).collect(),
            facts: facts.clone(),
        };
        if rest == Rest::None {
            self.last = Some(settled);
            return;
        }
        if let Err(e) = self.journal.write(entries(&outcomes)).await {
            warn!(self.log, "outcome could not be journaled"; "cause" => %e);
        }
        self.settled_to.do_send(settled);
    }
}

fn refused_all(addressees: &[Addressee], failure: &Failure) -> Transacted {
    let fates = addressees.iter().map(|a| (a.index(), Fate::Refused(failure.clone()))).collect();
    untouched(fates, false)
}

/// No transaction was made, and the session is as it was.
fn untouched(fates: Vec<(u32, Fate)>, dsn_passed_on: bool) -> Transacted {
    Transacted { fates, standing: Standing::Good, misunderstood: false, dsn_passed_on }
}
