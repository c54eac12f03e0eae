//! The target's memory of hosts (`posthaste_mail::route::hosts`), shared by its attempts and kept across restarts.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slog::{Logger, warn};
use tokio::sync::Notify;

use posthaste_edge::clock::Clock;
use posthaste_edge::hints::Hints;
use posthaste_mail::outcome::{Cause, Failure, Stage};
use posthaste_mail::route::hosts::{Failing, Hosts, Leave};

/// Between two writes.
const EVERY: Duration = Duration::from_secs(10);

pub struct HostMemory {
    hosts: Mutex<Hosts>,
    /// Told to all who wait, whichever address it was.
    ended: Notify,
    clock: Clock,
    hints: Hints,
    section: String,
}

/// A dial that is under way. Dropped without a word it says nothing.
pub struct Dial<'a> {
    memory: &'a HostMemory,
    address: IpAddr,
    probe: bool,
}

impl HostMemory {
    /// Reads what an earlier life has left. Blocks on the disk.
    pub fn recall(target: &str, hints: &Hints, clock: &Clock) -> HostMemory {
        let section = format!("hosts of {target}");
        let (mut hosts, now) = (Hosts::new(), clock.now());
        for (key, value) in hints.load(&section) {
            let address = std::str::from_utf8(&key).ok().and_then(|text| text.parse().ok());
            if let (Some(address), Ok(failing)) = (address, serde_json::from_slice(&value)) {
                hosts.remember(address, failing, now);
            }
        }
        let (clock, hints) = (clock.clone(), hints.clone());
        HostMemory { hosts: Mutex::new(hosts), ended: Notify::new(), clock, hints, section }
    }

    // A poisoned lock is used on: the memory changes by single steps that do not panic.
    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn rests(&self, address: IpAddr) -> bool {
        self.hosts().rests(address, self.clock.now())
    }

    pub fn prefer(&self, host: &str, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        self.hosts().prefer(host, addresses)
    }

    pub fn failing(&self, address: IpAddr) -> Option<Failing> {
        self.hosts().failing(address, self.clock.now()).cloned()
    }

    /// Leave to dial. While another delivery finds out whether this address answers again it is waited for, and its word believed.
    pub async fn begin(&self, address: IpAddr) -> Result<Dial<'_>, Failure> {
        loop {
            let mut ended = pin!(self.ended.notified());
            // Listens before it asks, so that no end is missed.
            ended.as_mut().enable();
            let known = match self.hosts().begin(address, self.clock.now()) {
                Leave::Go => return Ok(Dial { memory: self, address, probe: false }),
                Leave::Probe => return Ok(Dial { memory: self, address, probe: true }),
                Leave::Wait(known) => known,
            };
            loop {
                ended.as_mut().await;
                ended.set(self.ended.notified());
                ended.as_mut().enable();
                match self.failing(address) {
                    Some(Failing { until, why, .. }) if until > known.until => {
                        let text = format!("{}, as another delivery has found out", why.text);
                        return Err(Failure { text, ..why });
                    }
                    // The end was that of another address.
                    Some(_) if self.hosts().is_probed(address) => {}
                    Some(_) | None => break,
                }
            }
        }
    }

    /// Writes what has changed. Blocks on the disk.
    pub fn write(&self) -> Result<(), String> {
        let changes = self.hosts().changes();
        if changes.is_empty() {
            return Ok(());
        }
        let written = |(address, failing): (IpAddr, Option<Failing>)| {
            let failing = failing.map(|failing| serde_json::to_vec(&failing)).transpose();
            Some((address.to_string().into_bytes(), failing.ok()?))
        };
        self.hints.store(&self.section, changes.into_iter().filter_map(written).collect())
    }
}

/// Writes now and then, for as long as the process lives.
pub fn keep(memory: &Arc<HostMemory>, log: Logger, runtime: &tokio::runtime::Handle) {
    let memory = Arc::clone(memory);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let memory = Arc::clone(&memory);
            let written = tokio::task::spawn_blocking(move || memory.write()).await;
            if let Ok(Err(why)) = written {
                warn!(log, "what is known of hosts could not be written"; "cause" => why);
            }
        }
    });
}

impl Dial<'_> {
    /// A session was made.
    pub fn reached(mut self, host: &str) {
        self.probe = false;
        self.memory.hosts().reached(host, self.address);
        self.memory.ended.notify_waiters();
    }

    /// It ended otherwise.
    pub fn failed(mut self, why: &Failure) {
        let mut hosts = self.memory.hosts();
        let now = self.memory.clock.now();
        match why.cause {
            Cause::Unreachable | Cause::TimedOut(Stage::Connect | Stage::Greeting) => {
                hosts.failed(self.address, why.clone(), now);
            }
            // Ourselves: that says nothing.
            Cause::OwnResources | Cause::Suspended | Cause::Interrupted | Cause::Internal => {
                if self.probe {
                    hosts.gave_up(self.address);
                }
            }
            // Somebody is there, whatever he says.
            _ => hosts.answered(self.address),
        }
        drop(hosts);
        self.probe = false;
        self.memory.ended.notify_waiters();
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.memory.hosts().gave_up(self.address);
            self.memory.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// The memory, with one address that has failed.
    async fn failed() -> HostMemory {
        let clock = Clock::manual(posthaste_mail::time::Timestamp::from_secs(1_000_000));
        let memory = HostMemory::recall("mx", &Hints::default(), &clock);
        memory.begin(ADDRESS).await.ok().unwrap().failed(&failure(Cause::Unreachable));
        assert!(memory.rests(ADDRESS));
        memory
    }

    fn failure(cause: Cause) -> Failure {
        Failure::new(cause, "192.0.2.1: refused")
    }

    #[tokio::test]
    async fn others_wait_for_the_word_of_the_one_who_tries() {
        let memory = failed().await;
        let probe = memory.begin(ADDRESS).await.ok().unwrap();
        let (others, ()) = tokio::join!(memory.begin(ADDRESS), async {
            tokio::task::yield_now().await;
            memory.clock.advance(Duration::from_secs(1));
            probe.failed(&failure(Cause::Unreachable));
        });
        let said = others.err().unwrap();
        assert_eq!(said.cause, Cause::Unreachable);
        assert!(said.text.contains("another delivery"), "{}", said.text);
        let probe = memory.begin(ADDRESS).await.ok().unwrap();
        let (others, ()) = tokio::join!(memory.begin(ADDRESS), async {
            tokio::task::yield_now().await;
            probe.reached("mx.test");
        });
        assert!(others.is_ok());
        assert!(!memory.rests(ADDRESS));
    }

    #[tokio::test]
    async fn a_dial_that_is_called_off_leaves_the_probe_to_the_next() {
        let memory = failed().await;
        let probe = memory.begin(ADDRESS).await.ok().unwrap();
        let (next, ()) = tokio::join!(memory.begin(ADDRESS), async {
            tokio::task::yield_now().await;
            drop(probe);
        });
        next.ok().unwrap().failed(&failure(Cause::OwnResources));
        let refused = failure(Cause::Refused(Stage::Greeting));
        memory.begin(ADDRESS).await.ok().unwrap().failed(&refused);
        assert!(!memory.rests(ADDRESS));
    }
}
