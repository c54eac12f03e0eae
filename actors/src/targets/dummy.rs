//! DummyActor: `dummy` accepts everything and throws it away.

use actix::{Actor, Context, Handler, MessageResult, Supervised};

use posthaste_mail::outcome::{Outcome, Reach, Receipt, SessionFacts};

use crate::messages::delivery::Deliver;
use crate::messages::lifecycle::{Drain, PanicNow, Probe, Pulse};
use crate::targets::finish_all;

#[derive(Default)]
pub struct DummyActor {
    discarded: u64,
}

impl Actor for DummyActor {
    type Context = Context<Self>;
}

impl Supervised for DummyActor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.discarded = 0;
    }
}

impl Handler<Deliver> for DummyActor {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, message: Deliver, _: &mut Context<Self>) -> Self::Result {
        self.discarded += 1;
        let outcome = Outcome::Delivered(Receipt {
            code: 250,
            status: None,
            text: "discarded".to_string(),
            remote: None,
            dsn_passed_on: false,
            reach: Reach::Mailbox,
        });
        finish_all(message, &outcome, SessionFacts::default());
        MessageResult(Ok(()))
    }
}

impl Handler<Drain> for DummyActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {}
}

impl Handler<Probe> for DummyActor {
    type Result = MessageResult<Probe>;

    fn handle(&mut self, _: Probe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Some(Pulse { counters: vec![("discarded", self.discarded)] }))
    }
}

impl Handler<PanicNow> for DummyActor {
    type Result = ();

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("as the operator asked");
    }
}
