//! Limits in use: the `limits { }` block read, and the account of it shared by all who are limited.
//!
//! What is allowed is decided in `posthaste_mail::limit`; here are the lock around it, the waiting, and the guard that gives back. A
//! block `limits NAME { }` has one account, common to everyone who says `limits &NAME`; a block written where it is used has its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_config::problem::{Problem, Problems};
use posthaste_config::values::{self, fault, no_block};
use posthaste_config::{GroupRef, Node, TopKind};
use posthaste_edge::clock::Clock;
use posthaste_mail::limit::{Held, Limits, Line, Scope, Wait, Who};
use posthaste_mail::time::Timestamp;
use tokio::sync::{Notify, broadcast};
use tokio::time::{sleep, timeout};

use crate::reading::Reading;

/// The blocks of the top level that this file reads.
pub const MODULES: [(&str, TopKind); 1] = [("limits", TopKind::Instance)];

/// How long an endpoint waits for leave before it answers 451 4.4.5 (maddy's manual: at most 5 seconds).
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A handle on one account. Clones are the same account.
#[derive(Clone, Debug)]
pub struct SharedLimits(Arc<Account>);

#[derive(Debug)]
struct Account {
    limits: Mutex<Limits>,
    /// Told to all who wait whenever somebody gives back: each waits for a key of its own.
    released: Notify,
    /// The same with whose places they were, for queues.
    freed: broadcast::Sender<Freed>,
}

/// Places that somebody has given back.
pub type Freed = Arc<[(Scope, String)]>;
/// Kept for a queue that is slow to hear; beyond, it is told that it missed some.
const UNHEARD: usize = 1024;

/// Leave to go on. Dropping it gives back, on every path.
#[must_use = "dropping it gives the leave back"]
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    /// Empty only while it is dropped.
    held: Option<Held>,
}

impl SharedLimits {
    pub fn new(limits: Limits) -> SharedLimits {
        let (freed, _) = broadcast::channel(UNHEARD);
        let limits = Mutex::new(limits);
        SharedLimits(Arc::new(Account { limits, released: Notify::new(), freed }))
    }

    /// No limits at all.
    pub fn unlimited() -> SharedLimits {
        SharedLimits::new(Limits::new(Vec::new()))
    }

    /// Places that are given back from now on.
    pub fn freed(&self) -> broadcast::Receiver<Freed> {
        self.0.freed.subscribe()
    }

    /// Clones are the same account.
    pub fn is(&self, other: &SharedLimits) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Leave now or not. For a queue, which waits without a worker.
    pub fn try_acquire(&self, who: &Who<'_>, clock: &Clock) -> Result<Permit, Wait> {
        self.attempt(who, clock).map_err(|(wait, _)| wait)
    }

    /// Leave within `wait`, or the last refusal. A token that is due later than that is not waited for: nothing brings it sooner.
    pub async fn acquire(
        &self,
        who: &Who<'_>,
        clock: &Clock,
        wait: Duration,
    ) -> Result<Permit, Wait> {
        let mut last = match self.attempt(who, clock) {
            Ok(permit) => return Ok(permit),
            Err((refusal, _)) => refusal,
        };
        let deadline = clock.now().plus(wait);
        let waiting = async {
            loop {
                let mut released = pin!(self.0.released.notified());
                // Listens before it asks, so that a release in between is not missed.
                released.as_mut().enable();
                let (refusal, now) = match self.attempt(who, clock) {
                    Ok(permit) => return Some(permit),
                    Err(refused) => refused,
                };
                last = refusal;
                match refusal.until {
                    Some(due) if due > deadline => return None,
                    Some(due) => sleep(due.since(now)).await,
                    None => released.await,
                }
            }
        };
        match timeout(wait, waiting).await {
            Ok(Some(permit)) => Ok(permit),
            Ok(None) | Err(_) => Err(last),
        }
    }

    /// The refusal comes with the moment it was made at.
    fn attempt(&self, who: &Who<'_>, clock: &Clock) -> Result<Permit, (Wait, Timestamp)> {
        let mut limits = self.0.limits();
        // Read under the lock, so that the account never sees time run backwards.
        let now = clock.now();
        let held = limits.try_acquire(who, now).map_err(|wait| (wait, now))?;
        Ok(Permit { account: Arc::clone(&self.0), held: Some(held) })
    }
}

impl Account {
    // A poisoned lock is used on: the account changes by single steps that do not panic.
    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let freed = match self.account.freed.receiver_count() {
                0 => Vec::new(),
                _ => held.places(),
            };
            self.account.limits().release(held);
            self.account.released.notify_waiters();
            if !freed.is_empty() {
                // Nobody may listen any more.
                let _ = self.account.freed.send(freed.into());
            }
        }
    }
}

/// The accounts of named blocks, each made when it is first asked for.
#[derive(Debug, Default)]
pub struct LimitBlocks {
    named: RefCell<BTreeMap<String, SharedLimits>>,
}

impl LimitBlocks {
    /// The account that a `limits` directive means. What is wrong with it is reported, and left out.
    pub fn read(&self, reading: &Reading<'_>, group: &GroupRef<'_>) -> SharedLimits {
        let wanted = match group {
            GroupRef::Inline(node) => return account(node, reading.problems),
            GroupRef::Instance(wanted) => wanted,
        };
        let Some(block) = reading.instance(wanted, "limits", &MODULES) else {
            return SharedLimits::unlimited();
        };
        let mut named = self.named.borrow_mut();
        let made = named
            .entry(block.name().to_string())
            .or_insert_with(|| account(&block.node, reading.problems));
        made.clone()
    }
}

fn account(node: &Node, problems: &Problems) -> SharedLimits {
    let title = node.title();
    let read = |child: &Node| match line(child) {
        Ok(line) => Some(line),
        Err(problem) => {
            problems.push(problem.within(&title));
            None
        }
    };
    SharedLimits::new(Limits::new(node.children().iter().filter_map(read).collect()))
}

/// `SCOPE rate BURST [PERIOD]` or `SCOPE concurrency MAX`; the period is 1s unless given.
fn line(node: &Node) -> Result<Line, Problem> {
    let Some(scope) = Scope::EVERY.into_iter().find(|scope| scope.name() == node.name) else {
        let known = Scope::EVERY.iter().map(|scope| scope.name());
        return Err(Problem::unknown(&node.at, "scope", &node.name, known));
    };
    no_block(node)?;
    let made = match node.args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["rate", burst] => Line::rate(scope, number(node, burst)?, Duration::from_secs(1)),
        ["rate", burst, period] => {
            let period = values::duration(&alone(node, period))?;
            Line::rate(scope, number(node, burst)?, period)
        }
        ["concurrency", max] => Line::concurrency(scope, number(node, max)?),
        ["rate", ..] => return Err(fault(node, "rate expects BURST [PERIOD]")),
        ["concurrency", ..] => return Err(fault(node, "concurrency expects MAX")),
        [] => return Err(fault(node, "expects rate or concurrency")),
        [kind, ..] => {
            let problem = Problem::unknown(&node.at, "limit", kind, ["rate", "concurrency"]);
            return Err(problem.within(&node.name));
        }
    };
    made.map_err(|error| fault(node, error.to_string()))
}

fn number(node: &Node, word: &str) -> Result<i64, Problem> {
    values::integer(&alone(node, word), 0..=i64::MAX)
}

/// The directive with one of its words, for the readers of single values.
fn alone(node: &Node, word: &str) -> Node {
    Node { args: vec![word.to_string()], children: None, ..node.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests::read;

    /// The accounts of all `limits` directives in the blocks of the top level.
    fn accounts(text: &str) -> (Vec<SharedLimits>, Vec<String>) {
        read(text, |reading, blocks| {
            let named = LimitBlocks::default();
            let directives = blocks.iter().flat_map(|block| block.node.children());
            directives
                .filter(|node| node.name == "limits")
                .map(|node| named.read(reading, &GroupRef::of(node).unwrap()))
                .collect()
        })
    }

    fn only(body: &str) -> SharedLimits {
        let (mut accounts, problems) =
            accounts(&format!("submission tcp://:25 {{\nlimits {{\n{body}\n}}\n}}"));
        assert_eq!(problems, Vec::<String>::new());
        accounts.remove(0)
    }

    fn complaints(body: &str) -> Vec<String> {
        accounts(&format!("submission tcp://:25 {{\nlimits {{\n{body}\n}}\n}}")).1
    }

    fn manual() -> Clock {
        Clock::manual(Timestamp::from_secs(1_000_000))
    }

    fn source(domain: &str) -> Who<'_> {
        Who { source: Some(domain), ..Who::default() }
    }

    #[test]
    fn lines_in_every_form() {
        for (body, granted) in [
            ("all rate 3", 3),
            ("all rate 3 1h", 3),
            ("all rate 5\nall rate 2 1m30s", 2), // all apply
            ("source concurrency 4", 4),
            ("ip concurrency +2", 2),
            ("destination concurrency 1", 10), // no destination is asked for
            ("all rate 0\nall concurrency 0", 10),
            ("", 10),
        ] {
            let (limits, clock) = (only(body), manual());
            let permits: Vec<Permit> =
                (0..10).filter_map(|_| limits.try_acquire(&source("a"), &clock).ok()).collect();
            assert_eq!(permits.len(), granted, "{body}");
        }
    }

    #[test]
    fn wrong_lines_are_told_with_their_place() {
        for (line, said) in [
            ("al rate 1", "unknown scope al, did you mean all?"),
            ("endpoint rate 1", "unknown scope endpoint"),
            ("all rats 1", "all: unknown limit rats, did you mean rate?"),
            ("all", "all: expects rate or concurrency"),
            ("all rate", "all: rate expects BURST [PERIOD]"),
            ("all rate 1 1s 1s", "all: rate expects BURST [PERIOD]"),
            ("all concurrency", "all: concurrency expects MAX"),
            (
                "ip rate many",
                "ip: expects a whole number from 0 to 9223372036854775807, found many",
            ),
            ("ip rate -1", "ip: expects a number from 0 to 9223372036854775807, found -1"),
            ("ip concurrency -1", "ip: expects a number from 0 to 9223372036854775807, found -1"),
            ("ip rate 1 0", "ip: a period must be longer than zero"),
            ("ip rate 1 -5s", "ip: duration -5s is negative"),
            ("ip rate 1 5", "ip: duration 5 has no unit, one of ns us µs ms s m h"),
            ("all rate 1 { x }", "all: takes no block"),
        ] {
            assert_eq!(complaints(line), [format!("c:3: limits: {said}")], "{line}");
        }
        assert_eq!(complaints("x rate 1\nall y").len(), 2); // all of them at once
    }

    #[test]
    fn a_named_block_is_one_account() {
        let text = "limits shared other { all concurrency 2 }\nsubmission tcp://:25 {\nlimits &shared\n}\ntarget.remote out {\nlimits &other\n}\ntarget.remote own {\nlimits { all concurrency 1 }\n}";
        let (accounts, problems) = accounts(text);
        assert_eq!(problems, Vec::<String>::new());
        let clock = manual();
        let first = accounts[0].try_acquire(&Who::default(), &clock).unwrap();
        let second = accounts[1].try_acquire(&Who::default(), &clock).unwrap();
        assert!(accounts[0].try_acquire(&Who::default(), &clock).is_err());
        assert!(accounts[2].try_acquire(&Who::default(), &clock).is_ok());
        drop(first);
        assert!(accounts[1].try_acquire(&Who::default(), &clock).is_ok());
        drop(second);
        let text = "target.remote out {\n}\nsubmission tcp://:25 {\nlimits &out\n}";
        assert_eq!(super::tests::accounts(text).1, ["c:4: &out is a target.remote and not limits"]);
    }

    #[tokio::test]
    async fn a_release_wakes_who_waits_for_the_same_key() {
        let (limits, clock) = (only("source concurrency 1"), manual());
        let wait = Duration::from_secs(60);
        let a = limits.acquire(&source("a"), &clock, wait).await.unwrap();
        let b = limits.acquire(&source("b"), &clock, wait).await.unwrap();
        let waiter = tokio::spawn({
            let (limits, clock) = (limits.clone(), clock.clone());
            async move { limits.acquire(&source("a"), &clock, wait).await }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(b); // somebody else's
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waiter.is_finished());
        drop(a);
        assert!(waiter.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn waiting_ends() {
        let (limits, clock) = (only("all concurrency 1"), manual());
        let _held = limits.acquire(&Who::default(), &clock, Duration::ZERO).await.unwrap();
        let wait = limits.acquire(&Who::default(), &clock, Duration::from_millis(20)).await;
        assert_eq!(wait.unwrap_err(), Wait { scope: Scope::All, until: None });
        // An hour is not waited for, even with much patience.
        let limits = only("all rate 1 1h");
        let first = limits.acquire(&Who::default(), &clock, LONGEST_WAIT).await;
        assert!(first.is_ok());
        let patience = Duration::from_secs(3000);
        let wait = limits.acquire(&Who::default(), &clock, patience).await.unwrap_err();
        assert_eq!(wait.until, Some(clock.now().plus(Duration::from_secs(3600))));
    }

    #[tokio::test]
    async fn a_token_that_is_due_soon_is_waited_for() {
        let (limits, clock) = (only("all rate 1 30ms"), Clock::system());
        let wait = Duration::from_secs(60);
        let start = clock.now();
        for _ in 0..4 {
            assert!(limits.acquire(&Who::default(), &clock, wait).await.is_ok());
        }
        assert!(clock.now().since(start) >= Duration::from_millis(90));
    }

    #[tokio::test]
    async fn an_abandoned_wait_leaves_nothing_behind() {
        let (limits, clock) = (only("all concurrency 1"), manual());
        let held = limits.try_acquire(&Who::default(), &clock).unwrap();
        let who = Who::default();
        let waiting = limits.acquire(&who, &clock, Duration::from_secs(60));
        assert!(timeout(Duration::from_millis(5), waiting).await.is_err());
        drop(held);
        assert!(limits.try_acquire(&Who::default(), &clock).is_ok());
    }
}
