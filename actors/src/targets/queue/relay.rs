//! A queue as the target of another one: what it has stored counts as delivered.

use actix::{AsyncContext, Context, Handler, MessageResult};

use posthaste_edge::clock::dice;
use posthaste_mail::envelope::{Envelope, EnvelopeId, Route};
use posthaste_mail::outcome::{Cause, Failure, Outcome, Reach, Receipt, SessionFacts};

use crate::messages::delivery::{Busy, Deliver};
use crate::messages::intake::Accept;
use crate::targets::finish_all;
use crate::targets::queue::QueueActor;
use crate::task::spawn_reporting;

impl Handler<Deliver> for QueueActor {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, message: Deliver, ctx: &mut Context<Self>) -> Self::Result {
        if self.state.draining {
            let failure = Failure::new(Cause::Interrupted, "the daemon is stopping");
            return MessageResult(Err(Busy(failure)));
        }
        let now = self.deps.clock.now();
        // A copy of its own, with an id of its own: the other queue keeps its records until this one has answered.
        let envelope = Envelope {
            id: EnvelopeId::new(now, &mut dice()),
            arrived: now,
            route: Route::Target,
            ..(*message.envelope).clone()
        };
        let recipients = message.recipients.iter().map(|(_, r)| r.clone()).collect();
        let accept = Accept { envelope, recipients, body: message.body.clone(), undecided: false };
        let me = ctx.address();
        let work = async move {
            let outcome = match me.send(accept).await {
                Ok(Ok(id)) => Outcome::Delivered(Receipt {
                    code: 250,
                    status: None,
                    text: format!("queued as {id}"),
                    remote: None,
                    // It stores NOTIFY, RET, ENVID and ORCPT with the message, and reports when its own target is done.
                    dsn_passed_on: true,
                    reach: Reach::Server,
                }),
                // A full disk, a stop: faults of this machine.
                Ok(Err(refusal)) => Failure::new(Cause::OwnResources, refusal.text).outcome(),
                Err(e) => Failure::new(Cause::Internal, e.to_string()).outcome(),
            };
            finish_all(message, &outcome, SessionFacts::default());
        };
        spawn_reporting(&self.deps.runtime, work, |_| {});
        MessageResult(Ok(()))
    }
}
