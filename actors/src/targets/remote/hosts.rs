//! The target's memory of hosts (`posthaste_mail::route::hosts`), shared by its attempts and kept across restarts.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slog::{Logger, warn};
use tokio::sync::Notify;

use posthaste_edge::clock::Clock;
use posthaste_edge::hints::Hints;
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::outcome::{Cause, Failure, Stage};
use posthaste_mail::route::hosts::{Failing, Hosts, Leave, Means};

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
    number: u64,
    probe: bool,
}

/// An address is not to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLeave {
    /// Another delivery has found out what would come of it.
    Known(Failure),
    /// It has let another delivery wait so long, and this one holds a slot.
    Silent(Duration),
}

impl NoLeave {
    pub fn failure(&self, address: IpAddr) -> Failure {
        match self {
            NoLeave::Known(failure) => failure.clone(),
            NoLeave::Silent(silence) => {
                let seconds = silence.as_secs();
                let text =
                    format!("{address} has not answered another delivery for {seconds} seconds");
                // Nobody was asked: it is as if it had been called off while the host had not answered.
                Failure::new(Cause::Suspended, text)
            }
        }
    }
}

impl HostMemory {
    /// Reads what an earlier life has left. Blocks on the disk. What went wrong comes with what could be read all the same.
    pub fn recall(target: &str, hints: &Hints, clock: &Clock) -> (HostMemory, Option<String>) {
        let section = format!("hosts of {target}");
        let (mut hosts, now) = (Hosts::new(), clock.now());
        let (entries, wrong) = hints.load(&section);
        for (key, value) in entries {
            let address = std::str::from_utf8(&key).ok().and_then(|text| text.parse().ok());
            if let (Some(address), Ok(failing)) = (address, serde_json::from_slice(&value)) {
                hosts.remember(address, failing, now);
            }
        }
        let (clock, hints) = (clock.clone(), hints.clone());
        let hosts = Mutex::new(hosts);
        (HostMemory { hosts, ended: Notify::new(), clock, hints, section }, wrong)
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

    pub fn silence(&self, address: IpAddr) -> Option<Duration> {
        self.hosts().silence(address, self.clock.now())
    }

    /// Leave to dial. While another delivery finds out whether this address answers it is waited for, and its word believed; but not for
    /// long by who holds a slot.
    pub async fn begin(&self, address: IpAddr, means: Means) -> Result<Dial<'_>, NoLeave> {
        let (mut means, mut asked) = (means, None);
        loop {
            let mut ended = pin!(self.ended.notified());
            // Listens before it asks, so that no end is missed.
            ended.as_mut().enable();
            match self.leave(address, means, asked.as_ref()) {
                Ok(Leave::Go(number)) => return Ok(self.dial(address, number, false)),
                Ok(Leave::Probe(number)) => return Ok(self.dial(address, number, true)),
                Ok(Leave::Silent(silence)) => return Err(NoLeave::Silent(silence)),
                Ok(Leave::Wait(known)) => asked = Some(known),
                Err(Failing { why, .. }) => {
                    let text = format!("{}, as another delivery has found out", why.text);
                    return Err(NoLeave::Known(Failure { text, ..why }));
                }
            }
            // It waits already, and is told of by its own clock if that takes long.
            means = Means::Patience;
            ended.await;
        }
    }

    fn dial(&self, address: IpAddr, number: u64, probe: bool) -> Dial<'_> {
        Dial { memory: self, address, number, probe }
    }

    /// `Err`: since it was asked, about what was known then, somebody has failed.
    fn leave(
        &self,
        address: IpAddr,
        means: Means,
        asked: Option<&Option<Failing>>,
    ) -> Result<Leave, Failing> {
        let (mut hosts, now) = (self.hosts(), self.clock.now());
        if let (Some(asked), Some(failing)) = (asked, hosts.failing(address, now))
            && asked.as_ref().is_none_or(|known| failing.until > known.until)
        {
            return Err(failing.clone());
        }
        Ok(hosts.begin(address, means, now))
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
    /// Work on a session: each step it takes is an answer.
    pub async fn follow<T>(&mut self, at: &Whereabouts, work: impl Future<Output = T>) -> T {
        let (mut work, mut phase) = (pin!(work), at.phase());
        poll_fn(|context| {
            let end = work.as_mut().poll(context);
            let now = at.phase();
            if phase != now {
                phase = now;
                let time = self.memory.clock.now();
                self.memory.hosts().goes_on(self.address, self.number, time);
            }
            end
        })
        .await
    }

    /// A session was made.
    pub fn reached(mut self, host: &str) {
        self.probe = false;
        self.memory.hosts().reached(host, self.address, self.memory.clock.now());
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
            Cause::OwnResources | Cause::Suspended | Cause::Interrupted | Cause::Internal => return,
            // Somebody is there, whatever he says.
            _ => hosts.answered(self.address, now),
        }
        drop(hosts);
        self.probe = false;
    }
}

/// Whatever came of it, it is over, and those who wait may ask again.
impl Drop for Dial<'_> {
    fn drop(&mut self) {
        let mut hosts = self.memory.hosts();
        if self.probe {
            hosts.gave_up(self.address);
        }
        hosts.end(self.address, self.number);
        drop(hosts);
        self.memory.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::attempt::phase::Phase;
    use posthaste_mail::outcome::Outcome;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn blank() -> HostMemory {
        let clock = Clock::manual(posthaste_mail::time::Timestamp::from_secs(1_000_000));
        HostMemory::recall("mx", &Hints::default(), &clock).0
    }

    /// The memory, with one address that has failed.
    async fn failed() -> HostMemory {
        let memory = blank();
        memory
            .begin(ADDRESS, Means::Slot)
            .await
            .ok()
            .unwrap()
            .failed(&failure_of(Cause::Unreachable));
        assert!(memory.rests(ADDRESS));
        memory
    }

    fn failure_of(cause: Cause) -> Failure {
        Failure::new(cause, "192.0.2.1: refused")
    }

    #[tokio::test]
    async fn others_wait_for_the_word_of_the_one_who_tries() {
        let memory = failed().await;
        let probe = memory.begin(ADDRESS, Means::Slot).await.ok().unwrap();
        let (others, ()) = tokio::join!(memory.begin(ADDRESS, Means::Slot), async {
            tokio::task::yield_now().await;
            memory.clock.advance(Duration::from_secs(1));
            probe.failed(&failure_of(Cause::Unreachable));
        });
        let said = others.err().unwrap().failure(ADDRESS);
        assert_eq!(said.cause, Cause::Unreachable);
        assert!(said.text.contains("another delivery"), "{}", said.text);
        let probe = memory.begin(ADDRESS, Means::Slot).await.ok().unwrap();
        let (others, ()) = tokio::join!(memory.begin(ADDRESS, Means::Slot), async {
            tokio::task::yield_now().await;
            probe.reached("mx.test");
        });
        assert!(others.is_ok());
        assert!(!memory.rests(ADDRESS));
    }

    #[tokio::test]
    async fn a_dial_that_is_called_off_leaves_the_probe_to_the_next() {
        let memory = failed().await;
        let probe = memory.begin(ADDRESS, Means::Slot).await.ok().unwrap();
        let (next, ()) = tokio::join!(memory.begin(ADDRESS, Means::Slot), async {
            tokio::task::yield_now().await;
            drop(probe);
        });
        next.ok().unwrap().failed(&failure_of(Cause::OwnResources));
        let refused = failure_of(Cause::Refused(Stage::Greeting));
        memory.begin(ADDRESS, Means::Slot).await.ok().unwrap().failed(&refused);
        assert!(!memory.rests(ADDRESS));
    }

    #[tokio::test]
    async fn only_who_holds_no_slot_waits_for_a_silent_address() {
        let memory = blank();
        let first = memory.begin(ADDRESS, Means::Slot).await.ok().unwrap();
        memory.clock.advance(Duration::from_secs(15));
        let silent = memory.begin(ADDRESS, Means::Slot).await.err().unwrap();
        assert_eq!(silent, NoLeave::Silent(Duration::from_secs(15)));
        let failure = silent.failure(ADDRESS);
        assert!(matches!(failure.clone().outcome(), Outcome::Postponed(_)), "{failure}");
        // It speaks after all.
        let (patient, ()) = tokio::join!(memory.begin(ADDRESS, Means::Patience), async {
            tokio::task::yield_now().await;
            first.reached("mx.test");
        });
        let second = patient.ok().unwrap();
        assert!(!memory.rests(ADDRESS));
        // Once more, and now it fails.
        let (patient, ()) = tokio::join!(memory.begin(ADDRESS, Means::Patience), async {
            tokio::task::yield_now().await;
            second.failed(&failure_of(Cause::TimedOut(Stage::Greeting)));
        });
        let known = patient.err().unwrap().failure(ADDRESS);
        assert_eq!(known.cause, Cause::TimedOut(Stage::Greeting));
    }

    #[tokio::test]
    async fn a_silent_dial_that_is_called_off_is_left_to_one_of_those_who_wait() {
        let memory = blank();
        let first = memory.begin(ADDRESS, Means::Slot).await.ok().unwrap();
        memory.clock.advance(Duration::from_secs(15));
        let patient = || memory.begin(ADDRESS, Means::Patience);
        let mut waiting = pin!(async {
            tokio::select! {
                dial = patient() => dial.ok().unwrap(),
                dial = patient() => dial.ok().unwrap(),
            }
        });
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("nobody has ended"),
            () = tokio::task::yield_now() => drop(first),
        }
        let _second = waiting.await;
        assert_eq!(
            memory.hosts().begin(ADDRESS, Means::Patience, memory.clock.now()),
            Leave::Wait(None)
        );
        assert!(!memory.rests(ADDRESS));
    }

    #[tokio::test]
    async fn steps_on_the_way_to_a_session_are_answers() {
        let memory = blank();
        let mut slow = memory.begin(ADDRESS, Means::Slot).await.ok().unwrap();
        let at = Whereabouts::default();
        let work = async {
            for stage in [Stage::Greeting, Stage::Ehlo, Stage::StartTls] {
                memory.clock.advance(Duration::from_secs(8));
                at.step(Phase::In(stage));
                tokio::task::yield_now().await;
                assert!(!memory.rests(ADDRESS));
            }
            memory.clock.advance(Duration::from_secs(10));
            assert!(memory.rests(ADDRESS));
        };
        slow.follow(&at, work).await;
        drop(slow);
        assert!(!memory.rests(ADDRESS));
    }
}
