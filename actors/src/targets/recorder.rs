//! Everybody a target talks to, in a test: takes what it is handed, and passes on what it hears.

use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, Context, Handler, MessageResult, System};
use slog::{Discard, Logger, o};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};

use posthaste_edge::body::Body;
use posthaste_edge::spool::{Spool, Taken};
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::envelope::{Envelope, EnvelopeId, MessageFlags, Origin, Recipient, Route};
use posthaste_mail::outcome::{Outcome, Reach, Receipt, SessionFacts};
use posthaste_mail::route::hosts::Means;
use posthaste_mail::time::Timestamp;

use crate::messages::delivery::{Busy, Deliver, Finished, Journal, Settled, Slot, WaitingLong};
use crate::messages::lifecycle::Fatal;
use crate::messages::pool::{CheckIn, CheckOut, Claim};
use crate::targets::finish_all;

pub struct Recorder {
    finished: UnboundedSender<Finished>,
    /// Recipients it was handed, by address.
    taken: Arc<Mutex<Vec<String>>>,
}

/// What a test holds of it.
pub struct Recorded {
    pub address: Addr<Recorder>,
    pub finished: UnboundedReceiver<Finished>,
    pub taken: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub fn begin() -> Recorded {
        let (sender, finished) = unbounded_channel();
        let taken = Arc::default();
        let recorder = Recorder { finished: sender, taken: Arc::clone(&taken) };
        Recorded { address: recorder.start(), finished, taken }
    }
}

/// Runs a test with actors in it.
pub fn with_actors<T>(test: impl Future<Output = T>) -> T {
    System::new().block_on(test)
}

pub fn silent() -> Logger {
    Logger::root(Discard, o!())
}

pub fn envelope(id: EnvelopeId, arrived: Timestamp) -> Envelope {
    Envelope {
        id,
        from: ReversePath::Mailbox(Mailbox::parse("sender@sender.test").unwrap()),
        flags: MessageFlags::default(),
        ret: None,
        envid: None,
        origin: Origin::default(),
        arrived,
        size: 0,
        message_id: None,
        route: Route::Target,
    }
}

pub fn recipient(address: &str) -> Recipient {
    Recipient::new(Mailbox::parse(address).unwrap())
}

pub fn body() -> Body {
    Body::memory(b"Subject: x\r\n\r\ny\r\n".to_vec())
}

/// What was taken out of a spool, as the queue hands it over.
pub fn work(taken: Taken, journal: &Arc<dyn Spool>, to: &Addr<Recorder>) -> Deliver {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    Deliver {
        attempt: taken.batch.attempts,
        envelope: Arc::new(taken.envelope.envelope),
        destination: taken.batch.destination,
        recipients: taken.recipients.into_iter().map(|(i, r)| (i, r.recipient)).collect(),
        body: body(),
        journal: Journal::new(Arc::clone(journal), taken.lease.batch),
        lease: taken.lease,
        slot: Slot::new(permit),
        means: Means::Slot,
        permit: None,
        whereabouts: Whereabouts::default(),
        called_off: watch::channel(false).1,
        settled_to: to.clone().recipient(),
        waiting_to: to.clone().recipient(),
        finished_to: to.clone().recipient(),
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<Deliver> for Recorder {
    type Result = MessageResult<Deliver>;

    /// All of it is delivered.
    fn handle(&mut self, message: Deliver, _: &mut Context<Self>) -> Self::Result {
        let names = message.recipients.iter().map(|(_, r)| r.address.to_string());
        self.taken.lock().unwrap().extend(names);
        let receipt = Receipt {
            code: 250,
            status: None,
            text: "taken".to_string(),
            remote: None,
            dsn_passed_on: true,
            reach: Reach::Server,
        };
        finish_all(message, &Outcome::Delivered(receipt), SessionFacts::default());
        MessageResult(Ok::<(), Busy>(()))
    }
}

impl Handler<Finished> for Recorder {
    type Result = ();

    fn handle(&mut self, message: Finished, _: &mut Context<Self>) {
        let _ = self.finished.send(message);
    }
}

impl Handler<Settled> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Settled, _: &mut Context<Self>) {}
}

impl Handler<WaitingLong> for Recorder {
    type Result = ();

    fn handle(&mut self, _: WaitingLong, _: &mut Context<Self>) {}
}

impl Handler<Fatal> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Fatal, _: &mut Context<Self>) {}
}

impl Handler<CheckOut> for Recorder {
    type Result = Option<Claim>;

    fn handle(&mut self, _: CheckOut, _: &mut Context<Self>) -> Self::Result {
        None
    }
}

impl Handler<CheckIn> for Recorder {
    type Result = ();

    fn handle(&mut self, _: CheckIn, _: &mut Context<Self>) {}
}
