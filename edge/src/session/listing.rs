//! A transaction whose recipients are named one after the other, for somebody who passes each answer on.

use std::future::{Ready, ready};
use std::io;

use tokio::time::Instant;

use posthaste_mail::outcome::{Cause, Failure, Stage};
use posthaste_mail::wire::client::transaction::{Ending, Fate, Transaction};
use posthaste_mail::wire::command::Command;

use super::{Session, Stream, lost};
use crate::body::Body;

/// Begun with MAIL; it ends with the content, or with RSET before the next one.
#[derive(Debug)]
pub struct Listing {
    transaction: Transaction,
    begun: Instant,
}

/// A server is kept waiting for this many times what a transaction may take it: an hour. Whoever has its content on a slower line, or never
/// comes with it, keeps no session of somebody else for ever.
const PATIENCE: u32 = 2;

/// Nothing has to be written down before the dot.
type AtOnce = fn(Vec<usize>) -> Ready<Result<(), Failure>>;

impl Session {
    /// Says MAIL. A refusal is told to every recipient that is named.
    pub async fn list(&mut self, mail: Vec<u8>) -> Listing {
        let mut transaction = Transaction::listing(self.dialect, mail);
        // RFC 5321 §4.1.4: RSET ends what the last one left open.
        if self.needs_reset && !self.reset().await {
            transaction.lost(lost(Stage::Rset, &io::ErrorKind::UnexpectedEof.into()));
        }
        // Until the content is there, a client that dawdles between its recipients keeps no one waiting but itself.
        self.step(&mut transaction).await;
        self.needs_reset = true;
        Listing { transaction, begun: Instant::now() }
    }

    /// Whether the server takes this recipient.
    pub async fn name(&mut self, listing: &mut Listing, rcpt: Vec<u8>) -> Result<(), Failure> {
        let transaction = &mut listing.transaction;
        let place = transaction.name(rcpt);
        self.step(transaction).await;
        match transaction.fate(place) {
            None | Some(Fate::Taken(_)) => Ok(()),
            Some(Fate::Refused(failure) | Fate::AnotherTransaction(failure)) => {
                Err(failure.clone())
            }
        }
    }

    /// Says NOOP, so that the server goes on waiting while somebody else takes his time. If it has lost its patience already, that is what
    /// the next recipient or the content meets; so it is where his time is up, and the server is let go.
    pub async fn stay(&mut self, listing: &mut Listing) {
        let Listing { transaction, begun } = listing;
        if transaction.is_over() {
            return;
        }
        if begun.elapsed() >= self.timeouts.transaction * PATIENCE {
            let text = "the server was kept waiting too long for the content";
            transaction.lost(Failure::new(Cause::TimedOut(Stage::Content), text));
            self.quit().await;
            return self.close_if_broken(transaction);
        }
        let mut bytes = Vec::new();
        let asked = match Command::Noop.render(&mut bytes) {
            Ok(()) => self.write(&bytes, Stage::Rcpt).await,
            Err(_) => return,
        };
        let answered = match asked {
            Ok(()) => self.reply(Stage::Rcpt).await,
            Err(failure) => Err(failure),
        };
        match answered {
            // RFC 5321 §3.8: 421 to whatever it is; any other answer says that the server is there.
            Ok(reply) if reply.code == 421 => transaction.reply(reply),
            Ok(_) => {}
            Err(failure) => transaction.lost(failure),
        }
        self.close_if_broken(transaction);
    }

    async fn step(&mut self, transaction: &mut Transaction) {
        let ceiling = self.ceiling(0);
        self.drive::<AtOnce, _>(transaction, ceiling, None).await;
        self.close_if_broken(transaction);
    }

    /// Whoever is still to be told of it needs no connection for that, and may take long to ask.
    fn close_if_broken(&mut self, transaction: &Transaction) {
        if transaction.is_broken() {
            self.stream = Stream::Gone;
        }
    }

    /// Sends the content to those who were taken. The fates are in the order of naming.
    pub async fn deliver(&mut self, listing: Listing, content: &Body) -> Ending {
        let Listing { mut transaction, .. } = listing;
        transaction.close();
        let at_once: AtOnce = |_| ready(Ok(()));
        let ceiling = self.ceiling(content.len());
        self.drive(&mut transaction, ceiling, Some((content, at_once))).await;
        self.finish(transaction)
    }
}
