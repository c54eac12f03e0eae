//! A queue among actors of a test: what this machine cannot do now costs a message nothing but time.

use std::time::Duration;

use actix::Recipient as Address;
use posthaste_edge::spool::{DiskSpool, MemorySpool, Options};
use posthaste_mail::admin::request::{self, Filter, Verb};
use posthaste_mail::outcome::Cause;
use posthaste_mail::queue::record::BatchRecord;

use super::*;
use crate::messages::admin::Act;
use crate::messages::intake::Accept;
use crate::targets::recorder::{
    Recorded, Recorder, body, envelope, recipient, silent, with_actors,
};

fn boot() -> Boot {
    Boot { node: "mx".into(), number: 1 }
}

/// The deps of a queue whose target is called `mx`.
fn deps(spool: Arc<dyn Spool>, target: Address<Deliver>, others: &Recorded) -> Deps {
    let clock = Clock::system();
    let way = notice::Way {
        name: "relay".to_string(),
        deliver: others.address.clone().recipient(),
        splitting: Splitting::Whole("relay".to_string()),
        own: false,
        limits: None,
        servers: None,
    };
    Deps {
        name: "queue".to_string(),
        log: silent(),
        clock: clock.clone(),
        runtime: tokio::runtime::Handle::current(),
        spool,
        boot: boot(),
        target,
        target_name: "mx".to_string(),
        limits: None,
        bounce: None,
        splitting: Splitting::ByHost,
        exits: Arc::new([way]),
        plan: Plan { max_tries: 1, ..Plan::default() },
        max_parallelism: 4,
        suspended: Arc::default(),
        slots: Arc::new(Semaphore::new(4)),
        patience: Arc::new(Semaphore::new(4)),
        trace: Arc::new(Trace::new(clock)),
        hints: Hints::default(),
        fatal: others.address.clone().recipient(),
    }
}

fn message() -> Accept {
    let now = Clock::system().now();
    Accept {
        envelope: envelope(EnvelopeId::new(now, &mut posthaste_edge::clock::dice()), now),
        recipients: vec![recipient("user@there.test")],
        body: body(),
        undecided: false,
    }
}

/// Waits until the only batch of a message is like that; `None`: it is gone.
async fn until(spool: &dyn Spool, id: EnvelopeId, like: impl Fn(Option<&BatchRecord>) -> bool) {
    let met = async {
        loop {
            let batch = spool.load_batch(BatchId { envelope: id, index: 0 }).unwrap();
            if like(batch.as_ref().map(|stored| &stored.batch)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.unwrap();
}

/// It waits as if it had never been tried, for this cause.
fn is_untried(batch: Option<&BatchRecord>, cause: Cause) -> bool {
    batch.is_some_and(|batch| {
        let why = batch.last_failure.as_ref().map(|failure| failure.cause);
        batch.lease.is_none() && why == Some(cause) && batch.attempts == 0
    })
}

#[test]
fn what_the_next_queue_has_no_room_for_is_postponed() {
    let place = std::env::temp_dir().join(format!("posthaste-queue-{}", std::process::id()));
    with_actors(async {
        let others = Recorder::begin();
        let full = Options { reserve: Some(u64::MAX), ..Options::default() };
        let full = Arc::new(DiskSpool::open(&place, full, boot()).unwrap());
        let next = deps(full, others.address.clone().recipient(), &others);
        let next = QueueActor::new(next).start();
        let spool: Arc<dyn Spool> = Arc::new(MemorySpool::new());
        let first = deps(Arc::clone(&spool), next.recipient(), &others);
        let first = QueueActor::new(first).start();
        let id = first.send(message()).await.unwrap().unwrap();
        until(&*spool, id, |batch| is_untried(batch, Cause::OwnResources)).await;
    });
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn what_is_rerouted_to_a_suspended_target_waits_for_it() {
    with_actors(async {
        let others = Recorder::begin();
        let spool: Arc<dyn Spool> = Arc::new(MemorySpool::new());
        let own = deps(Arc::clone(&spool), others.address.clone().recipient(), &others);
        let queue = QueueActor::new(own).start();
        let act = |verb: Verb| {
            let act = request::Act { verb, filter: Filter::default(), count_only: false };
            queue.send(Act { act, by: "uid 0".to_string() })
        };
        let suspended = |target: &str| TargetSuspended { target: target.to_string() };
        let resumed = |target: &str| TargetResumed { target: target.to_string() };
        // The queue's own target rests until the message is on its other way.
        queue.send(suspended("mx")).await.unwrap();
        queue.send(suspended("relay")).await.unwrap();
        let id = queue.send(message()).await.unwrap().unwrap();
        act(Verb::Reroute { target: "relay".to_string() }).await.unwrap().unwrap();
        queue.send(resumed("mx")).await.unwrap();
        until(&*spool, id, |batch| is_untried(batch, Cause::Suspended)).await;
        assert!(others.taken.lock().unwrap().is_empty());
        queue.send(resumed("relay")).await.unwrap();
        act(Verb::Retry).await.unwrap().unwrap();
        until(&*spool, id, |batch| batch.is_none()).await;
        assert_eq!(*others.taken.lock().unwrap(), ["user@there.test"]);
    });
}
