//! An attempt as a task: it ends before its lease does, and reports its end exactly once.

use std::future::Future;
use std::time::Duration;

use actix::Recipient as Address;
use slog::{Logger, warn};
use tokio::runtime::Handle;

use posthaste_mail::attempt::remote::Job;
use posthaste_mail::outcome::{Cause, Failure, Outcome, Stage};
use posthaste_mail::queue::lease::Lease;

use crate::messages::delivery::{Deliver, Finished, Settled};
use crate::task::spawn_reporting;

/// An attempt ends this long before its lease, so that the lease's deadline frees only leases whose task is gone.
const MARGIN: Duration = Duration::from_secs(300);

/// All outcomes of the attempt, and those of them that nobody was told of, for the closing message.
pub type Outcomes = (Vec<(u32, Outcome)>, Option<Settled>);

/// What is to be delivered, and who waits for the end of it.
pub struct Attempt {
    pub job: Job,
    lease: Lease,
    finished_to: Address<Finished>,
}

impl Attempt {
    pub fn of(order: &Deliver) -> Attempt {
        let job = Job {
            envelope: (*order.envelope).clone(),
            destination: order.destination.clone(),
            recipients: order.recipients.clone(),
            attempt: order.attempt,
        };
        let (lease, finished_to) = (order.lease.clone(), order.finished_to.clone());
        Attempt { job, lease, finished_to }
    }

    /// How long it may take.
    pub fn limit(&self) -> Duration {
        self.lease.deadline.since(self.lease.taken).saturating_sub(MARGIN)
    }

    /// Runs it. `work` gives the outcomes there are, and whether it came to its end within the limit. `log` names the message.
    pub fn run(
        self,
        runtime: &Handle,
        log: Logger,
        work: impl Future<Output = (Outcomes, bool)> + Send + 'static,
    ) {
        let Attempt { lease, finished_to, .. } = self;
        spawn_reporting(runtime, work, move |end| {
            let ((outcomes, last), fault) = match end {
                Ok((ended, true)) => (ended, None),
                Ok((ended, false)) => {
                    let text = "the attempt took too long";
                    (ended, Some(Failure::new(Cause::TimedOut(Stage::Connect), text)))
                }
                Err(panic) => {
                    warn!(log, "delivery task panicked"; "cause" => &panic);
                    let text = format!("internal fault: {panic}");
                    ((Vec::new(), None), Some(Failure::new(Cause::Internal, text)))
                }
            };
            finished_to.do_send(Finished { lease, outcomes, fault, last });
        });
    }
}
