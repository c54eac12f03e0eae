//! How long an attempt may wait for others before the queue wants its slot back, and how the queue calls it off.
//!
//! Decision 21: ten seconds of waiting, for a name server, a connection, a greeting, or in the midst of a session, and the slot is better
//! used by somebody else. Each answer on the way to a session begins them anew: a slow host is not a silent one. As long as there is no session the queue may call the attempt off; afterwards it is waited out.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Recipient as Address;
use tokio::sync::watch;
use tokio::time::Instant;

use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::queue::agenda::Within;
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::route::hosts::Means;

use crate::messages::delivery::WaitingLong;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Patience {
    batch: BatchId,
    waiting_to: Address<WaitingLong>,
    called_off: watch::Receiver<bool>,
    whereabouts: Whereabouts,
    limit: Duration,
    /// What is spent while it waits.
    means: Means,
    /// Once is enough.
    told: bool,
}

impl Patience {
    pub fn new(
        batch: BatchId,
        waiting_to: Address<WaitingLong>,
        called_off: watch::Receiver<bool>,
        whereabouts: Whereabouts,
        means: Means,
    ) -> Patience {
        Patience { batch, waiting_to, called_off, whereabouts, limit: LIMIT, means, told: false }
    }

    /// Work before there is a session. `None`: the queue has called it off.
    pub async fn before<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut called_off = self.called_off.clone();
        let off = async {
            // A queue that was restarted has let go of its end: that calls nothing off.
            if called_off.wait_for(|off| *off).await.is_err() {
                pending::<()>().await;
            }
        };
        let (mut work, mut off) = (pin!(work), pin!(off));
        let mut over = pin!(tokio::time::sleep(self.limit));
        loop {
            tokio::select! {
                end = &mut work => return Some(end),
                () = &mut over, if !self.told => {
                    let left = self.limit.saturating_sub(self.whereabouts.look().lasting);
                    if left.is_zero() {
                        self.tell(Within::Dialling);
                    } else {
                        over.as_mut().reset(Instant::now() + left);
                    }
                }
                () = &mut off => return None,
            }
        }
    }

    /// Work in a session, whose progress is counted.
    pub async fn within<T>(&mut self, progress: &AtomicU64, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut silence = pin!(stands_still(progress));
        loop {
            tokio::select! {
                biased;
                end = &mut work => return end,
                () = &mut silence, if !self.told => self.tell(Within::Session),
            }
        }
    }

    /// The host is silent, as others have found out: the queue need not wait to be told.
    pub fn knows_silence(&mut self) {
        self.tell(Within::Dialling);
    }

    pub fn means(&self) -> Means {
        self.means
    }

    fn tell(&mut self, within: Within) {
        self.told = true;
        if within == Within::Dialling {
            // It goes on without its slot, or not at all.
            self.means = Means::Patience;
        }
        self.waiting_to.do_send(WaitingLong { batch: self.batch, within });
    }
}

/// Returns when nothing has moved for as long as our patience lasts.
async fn stands_still(progress: &AtomicU64) {
    let mut last = None;
    loop {
        let now = progress.load(Ordering::Relaxed);
        if last.replace(now) == Some(now) {
            return;
        }
        tokio::time::sleep(LIMIT).await;
    }
}

#[cfg(test)]
mod tests;
