//! Writes policies down, one after the other, off the actor's thread. Outlives a fall of the actor, so that what it was told is kept.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Message, Recipient};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use posthaste_edge::sts_store::{Loaded, StsStore};
use posthaste_mail::address::Domain;
use posthaste_mail::sts::freshness::Entry;

/// Keeper -> StsCache: the store did not do it. The policy is used from memory all the same.
pub(super) struct StoreFault {
    pub domain: Domain,
    pub doing: &'static str,
    pub why: String,
}

impl Message for StoreFault {
    type Result = ();
}

enum Job {
    Load(oneshot::Sender<Result<Loaded, String>>),
    Save(Domain, Arc<Entry>, Recipient<StoreFault>),
    Remove(Domain, Recipient<StoreFault>),
}

/// The one who gives the orders; all of them share a list, so that what was saved is there when it is loaded.
pub struct Keeper {
    jobs: UnboundedSender<Job>,
    waiting: Arc<AtomicU64>,
}

impl Keeper {
    pub fn start(store: Arc<dyn StsStore>, runtime: &Handle) -> Keeper {
        let (jobs, coming) = unbounded_channel();
        let waiting = Arc::new(AtomicU64::new(0));
        runtime.spawn(work(store, coming, Arc::clone(&waiting)));
        Keeper { jobs, waiting }
    }

    /// Orders that are not done yet.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn load(&self) -> oneshot::Receiver<Result<Loaded, String>> {
        let (to, loaded) = oneshot::channel();
        self.give(Job::Load(to));
        loaded
    }

    pub(super) fn save(&self, domain: &Domain, entry: &Arc<Entry>, told: Recipient<StoreFault>) {
        self.give(Job::Save(domain.clone(), Arc::clone(entry), told));
    }

    pub(super) fn remove(&self, domain: &Domain, told: Recipient<StoreFault>) {
        self.give(Job::Remove(domain.clone(), told));
    }

    fn give(&self, job: Job) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if self.jobs.send(job).is_err() {
            // The runtime is ending, and the worker with it.
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

async fn work(store: Arc<dyn StsStore>, mut jobs: UnboundedReceiver<Job>, waiting: Arc<AtomicU64>) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Load(to) => {
                // Who has fallen meanwhile asks again.
                let _ = to.send(done(&store, |store| store.load()).await);
            }
            Job::Save(domain, entry, told) => {
                let saved = domain.clone();
                let end = done(&store, move |store| store.save(&saved, &entry)).await;
                tell(end, domain, "saving", &told);
            }
            Job::Remove(domain, told) => {
                let removed = domain.clone();
                let end = done(&store, move |store| store.remove(&removed)).await;
                tell(end, domain, "removing", &told);
            }
        }
        waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// On a thread that may block, and whose panic is an error.
async fn done<T: Send + 'static>(
    store: &Arc<dyn StsStore>,
    job: impl FnOnce(&dyn StsStore) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let store = Arc::clone(store);
    match tokio::task::spawn_blocking(move || job(&*store)).await {
        Ok(end) => end.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

fn tell(
    end: Result<(), String>,
    domain: Domain,
    doing: &'static str,
    told: &Recipient<StoreFault>,
) {
    if let Err(why) = end {
        told.do_send(StoreFault { domain, doing, why });
    }
}
