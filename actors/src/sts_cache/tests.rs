//! The cache with a world that answers as the test wants, and a clock that the test moves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use actix::{Addr, System};
use slog::{Discard, o};

use posthaste_edge::sts_store::{DirectoryStore, Loaded, MemoryStore, StsStore};
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::sts::Absent;
use posthaste_mail::sts::freshness::Record;
use posthaste_mail::sts::silence::Hearsay;
use tokio::sync::Semaphore;

use super::world::Later;
use super::*;
use crate::messages::policy::{ShowPolicies, ShowPolicy};
use crate::root::guard::Unborn;
use crate::root::intensity::Intensity;
use crate::root::parent;

/// All domains have the same record and policy.
struct Fake {
    record: Mutex<Record>,
    policy: Mutex<Result<String, FetchError>>,
    asked: Mutex<Vec<String>>,
    /// Leave to answer a fetch.
    leave: Semaphore,
    panics: Mutex<bool>,
}

impl World for Arc<Fake> {
    fn record(&self, name: Domain, asking: Asking) -> Later<Record> {
        let fake = Arc::clone(self);
        Box::pin(async move {
            let anew = if asking == Asking::Anew { " anew" } else { "" };
            fake.asked.lock().unwrap().push(format!("{name}{anew}"));
            fake.record.lock().unwrap().clone()
        })
    }

    fn policy(
        &self,
        domain: Domain,
        limit: Duration,
        hearsay: Hearsay,
    ) -> Later<Result<Vec<u8>, FetchError>> {
        let fake = Arc::clone(self);
        Box::pin(async move {
            let sure = if hearsay == Hearsay::Ignored { " for sure" } else { "" };
            fake.asked.lock().unwrap().push(format!("{domain} {} s{sure}", limit.as_secs()));
            let _leave = fake.leave.acquire().await;
            assert!(!*fake.panics.lock().unwrap(), "broken on purpose");
            fake.policy.lock().unwrap().clone().map(String::into_bytes)
        })
    }
}

/// A directory that takes nothing.
struct Full;

impl StsStore for Full {
    fn load(&self) -> io::Result<Loaded> {
        Err(io::Error::other("no such device"))
    }
    fn save(&self, _: &Domain, _: &Entry) -> io::Result<()> {
        Err(io::Error::other("no space left"))
    }
    fn remove(&self, _: &Domain) -> io::Result<()> {
        panic!("broken on purpose")
    }
}

struct Lab {
    cache: Addr<MtaStsCacheActor>,
    fake: Arc<Fake>,
    clock: Clock,
}

const WEEK: u64 = 604_800;

fn policy_text(max_age: u64) -> String {
    format!("version: STSv1\nmode: enforce\nmx: mx.test\nmax_age: {max_age}\n")
}

fn record(id: &str) -> Record {
    Lookup::found(vec![format!("v=STSv1; id={id}").into_bytes()])
}

fn gone() -> Record {
    Lookup::absent(Absence::NoSuchName)
}

fn failing() -> Record {
    Lookup::Failed("SERVFAIL".to_string())
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

impl Lab {
    fn new() -> Lab {
        Lab::with(Arc::new(MemoryStore::default()), 1_000_000)
    }

    fn with(store: Arc<dyn StsStore>, now: u64) -> Lab {
        let fake = Arc::new(Fake {
            record: Mutex::new(record("1")),
            policy: Mutex::new(Ok(policy_text(WEEK))),
            asked: Mutex::default(),
            leave: Semaphore::new(1000),
            panics: Mutex::new(false),
        });
        let reports = parent::reports();
        let clock = Clock::manual(Timestamp::from_secs(now));
        let runtime = tokio::runtime::Handle::current();
        let keeper = Keeper::start(store, &runtime);
        let world: Arc<dyn World> = Arc::new(Arc::clone(&fake));
        let log = Logger::root(Discard, o!());
        let chance = (clock.clone(), Dice::new(1));
        let mut deps = Deps::new("mx", log, chance, runtime, world, keeper);
        deps.tick = Duration::from_millis(10);
        let unborn = Unborn::<MtaStsCacheActor>::conceive();
        let cache = unborn.address();
        // The guard measures its pauses with the clock of the system.
        unborn.start(0, MtaStsCacheActor::new(deps), Intensity::SERVICE, reports, Clock::system());
        Lab { cache, fake, clock }
    }

    fn says(&self, record: Record) {
        *self.fake.record.lock().unwrap() = record;
    }

    fn has(&self, policy: Result<String, FetchError>) {
        *self.fake.policy.lock().unwrap() = policy;
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn asks(&self) -> StsAnswer {
        self.asks_for("a.test").await
    }

    async fn asks_for(&self, name: &str) -> StsAnswer {
        let cache = self.cache.clone().recipient();
        StsPolicyFor { domain: domain(name) }.ask(&cache, Duration::from_secs(10)).await
    }

    async fn standing(&self) -> Standing {
        match self.asks().await {
            StsAnswer::Policy { standing, .. } => standing,
            other => panic!("{other:?}"),
        }
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.asked.lock().unwrap())
    }

    async fn counts(&self, name: &str) -> u64 {
        let counters = self.cache.send(Probe).await.unwrap().unwrap().counters;
        counters.into_iter().find(|(counter, _)| *counter == name).unwrap().1
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "{what}");
    }
}

fn run(test: impl Future<Output = ()>) {
    System::new().block_on(test);
}

#[test]
fn a_policy_is_fetched_once_and_used_until_its_record_changes() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        assert_eq!(lab.asked(), ["_mta-sts.a.test", "a.test 30 s"]);
        assert_eq!(lab.standing().await, Standing::Current);
        assert!(lab.asked().is_empty()); // seen a moment ago
        lab.pass(60);
        assert_eq!(lab.standing().await, Standing::Current);
        assert_eq!(lab.asked(), ["_mta-sts.a.test"]);
        lab.pass(60);
        lab.says(record("2"));
        assert_eq!(lab.standing().await, Standing::Current);
        assert_eq!(lab.asked(), ["_mta-sts.a.test", "a.test 30 s"]);
        assert_eq!((lab.counts("fetched").await, lab.counts("hits").await), (2, 4));
    });
}

#[test]
fn who_asks_meanwhile_waits_for_the_same_fetch() {
    run(async {
        let lab = Lab::new();
        lab.fake.leave.forget_permits(1000);
        let ask = || lab.asks();
        let all = async { tokio::join!(ask(), ask(), ask(), lab.asks_for("b.test")) };
        let release = async {
            lab.until("both are fetched", async || lab.fake.asked.lock().unwrap().len() == 4).await;
            lab.fake.leave.add_permits(1000);
        };
        let ((a, b, c, _), ()) = tokio::join!(all, release);
        assert!(a == b && b == c && matches!(a, StsAnswer::Policy { .. }));
        let mut asked = lab.asked();
        asked.sort();
        assert_eq!(asked, ["_mta-sts.a.test", "_mta-sts.b.test", "a.test 30 s", "b.test 30 s"]);
    });
}

#[test]
fn the_process_waits_for_operators_and_not_for_policy_hosts() {
    run(async {
        let lab = Lab::new();
        lab.fake.leave.forget_permits(1000);
        let under_way = async |asked: usize| {
            lab.until("asked", async || lab.fake.asked.lock().unwrap().len() == asked).await;
            lab.counts("running").await
        };
        let refresh = RefreshPolicy { domain: domain("b.test") };
        let story = async {
            assert_eq!(under_way(2).await, 0); // the record and the policy
            let operator = async { lab.cache.send(refresh).await.unwrap() };
            let (shown, ()) = tokio::join!(operator, async {
                assert_eq!(under_way(4).await, 1);
                lab.fake.leave.add_permits(1000);
            });
            assert!(shown.is_ok(), "{shown:?}");
        };
        let (answer, ()) = tokio::join!(lab.asks(), story);
        assert!(matches!(answer, StsAnswer::Policy { .. }));
    });
}

#[test]
fn without_a_record_there_is_no_policy_and_with_failing_servers_nobody_knows() {
    run(async {
        let lab = Lab::new();
        lab.says(gone());
        assert!(matches!(lab.asks().await, StsAnswer::Absent(Absent::NoRecord(_))));
        lab.says(failing());
        let lookup = Unavailable::RecordLookup("SERVFAIL".to_string());
        assert_eq!(lab.asks().await, StsAnswer::Unavailable(lookup));
        lab.says(Lookup::Unasked("no server".to_string()));
        let ours = Unavailable::Ours("no server".to_string());
        assert_eq!(lab.asks().await, StsAnswer::Unavailable(ours));
        assert_eq!((lab.counts("absent").await, lab.counts("unavailable").await), (1, 2));
        assert_eq!(lab.asked(), ["_mta-sts.a.test"; 3]); // nothing was fetched
        let long = format!("{}.test", ["a"; 122].join("."));
        assert!(matches!(lab.asks_for(&long).await, StsAnswer::Absent(Absent::NoRecord(_))));
        assert!(lab.asked().is_empty()); // no name to ask for
    });
}

#[test]
fn what_cannot_be_fetched_is_left_alone_for_five_minutes() {
    run(async {
        let lab = Lab::new();
        let absent = |why: FetchError| StsAnswer::Absent(Absent::NotFetched(why));
        lab.has(Err(FetchError::Status(404)));
        assert_eq!(lab.asks().await, absent(FetchError::Status(404)));
        assert_eq!(lab.asked().len(), 2);
        lab.has(Ok(policy_text(WEEK)));
        lab.pass(299);
        assert_eq!(lab.asks().await, absent(FetchError::Status(404)));
        assert_eq!(lab.asked(), ["_mta-sts.a.test"]);
        lab.pass(1);
        assert_eq!(lab.standing().await, Standing::Current);

        lab.has(Ok("<html>".to_string()));
        let answer = lab.asks_for("b.test").await;
        assert_eq!(answer.result_type(), Some(ResultType::StsPolicyInvalid));
        lab.has(Err(FetchError::Certificate("expired".to_string())));
        let answer = lab.asks_for("c.test").await;
        assert_eq!(answer.result_type(), Some(ResultType::StsWebpkiInvalid));
        for (count, expected) in [("fetch_errors", 1), ("invalid", 1), ("webpki_invalid", 1)] {
            assert_eq!(lab.counts(count).await, expected, "{count}");
        }
    });
}

#[test]
fn hearsay_of_a_silent_host_costs_a_domain_one_minute_and_no_policy_that_is_kept() {
    run(async {
        let lab = Lab::new();
        let silent = |for_seconds: u64| {
            let until = lab.clock.now().plus(Duration::from_secs(for_seconds));
            FetchError::Silent { told: "not a word from 192.0.2.1".to_string(), until }
        };
        let absent = |why: FetchError| StsAnswer::Absent(Absent::NotFetched(why));
        let kept = lab.asks_for("kept.test").await;
        assert!(matches!(kept, StsAnswer::Policy { .. }), "{kept:?}");
        lab.asked();
        let why = silent(60);
        lab.has(Err(why.clone()));
        assert_eq!(lab.asks().await, absent(why.clone()));
        assert_eq!(lab.asked(), ["_mta-sts.a.test", "a.test 30 s"]);
        lab.pass(59);
        assert_eq!(lab.asks().await, absent(why.clone())); // it is not tried
        assert_eq!(lab.asked(), ["_mta-sts.a.test"]);
        // The next time the domain asks for itself, though others go on having heard nothing.
        lab.pass(1);
        lab.has(Ok(policy_text(WEEK)));
        assert_eq!(lab.standing().await, Standing::Current);
        assert_eq!(lab.asked(), ["_mta-sts.a.test", "a.test 30 s for sure"]);
        // And if it hears nothing, it is left alone like any other.
        lab.has(Err(why.clone()));
        assert_eq!(lab.asks_for("b.test").await, absent(why));
        lab.pass(60);
        lab.has(Err(FetchError::TimedOut));
        assert_eq!(lab.asks_for("b.test").await, absent(FetchError::TimedOut));
        lab.asked();
        lab.pass(299);
        assert_eq!(lab.asks_for("b.test").await, absent(FetchError::TimedOut));
        assert_eq!(lab.asked(), ["_mta-sts.b.test"]);
        lab.pass(1);
        assert_eq!(lab.asks_for("b.test").await, absent(FetchError::TimedOut));
        assert_eq!(lab.asked(), ["_mta-sts.b.test", "b.test 30 s"]);
        // What is kept holds, and is not taken for absent.
        lab.says(record("2"));
        lab.has(Err(silent(60)));
        let holds = lab.asks_for("kept.test").await;
        assert!(
            matches!(&holds, StsAnswer::Policy { standing: Standing::Outdated(_), .. }),
            "{holds:?}"
        );
        assert_eq!((lab.counts("put_off").await, lab.counts("fetch_errors").await), (3, 2));
    });
}

#[test]
fn a_refresh_that_hearsay_put_off_is_made_for_sure_the_next_time() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        lab.pass(24 * 3600);
        lab.until("fetched anew", async || lab.counts("fetched").await == 2).await;
        lab.asked();
        let until = lab.clock.now().plus(Duration::from_secs(24 * 3600 + 60));
        lab.has(Err(FetchError::Silent { told: String::new(), until }));
        lab.pass(24 * 3600);
        lab.until("put off", async || lab.counts("put_off").await == 1).await;
        lab.has(Ok(policy_text(WEEK)));
        lab.pass(2 * 3600);
        lab.until("fetched", async || lab.counts("fetched").await == 3).await;
        let asked = ["_mta-sts.a.test", "a.test 60 s"];
        assert_eq!(lab.asked(), [&asked[..], &[asked[0], "a.test 60 s for sure"]].concat());
    });
}

#[test]
fn a_policy_holds_while_record_and_host_are_under_attack() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        let mut passed = 0;
        for (record, policy) in [
            (gone(), Ok(String::new())),
            (failing(), Ok(String::new())),
            (record("2"), Err(FetchError::TimedOut)),
            (record("3"), Ok("mode: none".to_string())),
            (record("4"), Err(FetchError::Ours("no descriptors".to_string()))),
        ] {
            lab.says(record);
            lab.has(policy);
            lab.pass(3600);
            passed += 3600;
            assert_ne!(lab.standing().await, Standing::Current);
        }
        assert_eq!(lab.counts("stale").await, 5);
        // Until it expires; a fault of ours is no absence even then.
        lab.pass(WEEK - passed);
        assert!(matches!(lab.asks().await, StsAnswer::Unavailable(Unavailable::Ours(_))));
        lab.says(gone());
        assert!(matches!(lab.asks().await, StsAnswer::Absent(_)));
    });
}

#[test]
fn a_violation_has_the_servers_asked_anew() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        lab.asked();
        lab.cache.do_send(StsViolated { domain: domain("a.test") });
        lab.cache.do_send(StsViolated { domain: domain("unknown.test") });
        assert_eq!(lab.standing().await, Standing::Current);
        assert_eq!(lab.asked(), ["_mta-sts.a.test anew"]);
        assert_eq!(lab.standing().await, Standing::Current);
        assert!(lab.asked().is_empty());
    });
}

#[test]
fn a_policy_in_use_is_fetched_anew_every_day() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        lab.asked();
        for round in 2..5 {
            lab.pass(24 * 3600);
            lab.until("fetched anew", async || lab.counts("fetched").await == round).await;
            assert_eq!(lab.asked(), ["_mta-sts.a.test", "a.test 60 s"]);
        }
        let shown = lab.cache.send(ShowPolicy { domain: domain("a.test") }).await.unwrap().unwrap();
        let days = Timestamp::from_secs(1_000_000 + 3 * 24 * 3600);
        assert_eq!(shown.line.fetched, days.rfc3339());
        assert_eq!(shown.line.expires, days.plus(Duration::from_secs(WEEK)).rfc3339());
        assert_eq!(shown.line.last_used, Timestamp::from_secs(1_000_000).rfc3339());

        // A refresh that fails keeps what is there, and is tried again within two hours.
        lab.has(Err(FetchError::Status(500)));
        lab.pass(24 * 3600);
        lab.until("failed", async || lab.counts("fetch_errors").await == 1).await;
        lab.pass(2 * 3600);
        lab.until("failed again", async || lab.counts("fetch_errors").await == 2).await;
        assert_eq!(lab.counts("policies").await, 1);
        // Nor does a vanished record end it.
        lab.says(gone());
        assert!(matches!(lab.standing().await, Standing::WithoutRecord(_)));
    });
}

#[test]
fn mail_does_not_wait_for_a_refresh() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        lab.fake.leave.forget_permits(1000);
        lab.pass(24 * 3600);
        lab.until("asked", async || lab.fake.asked.lock().unwrap().len() == 4).await;
        assert!(matches!(lab.standing().await, Standing::Unchecked(_)));
        lab.fake.leave.add_permits(1);
        lab.until("fetched", async || lab.counts("fetched").await == 2).await;
        assert_eq!(lab.standing().await, Standing::Current);
    });
}

#[test]
fn what_nobody_uses_is_not_kept_fresh_and_then_not_kept() {
    run(async {
        let lab = Lab::new();
        assert_eq!(lab.standing().await, Standing::Current);
        lab.pass(179 * 24 * 3600);
        lab.until("looked at", async || !lab.asked().is_empty()).await; // the refresh of the first day
        lab.until("fetched", async || lab.counts("fetched").await == 2).await;
        lab.asked();
        lab.pass(24 * 3600);
        lab.until("dropped", async || lab.counts("policies").await == 0).await;
        assert!(lab.asked().is_empty());
    });
}

#[test]
fn a_fall_takes_no_policy_away_and_nobody_is_told_there_is_none() {
    run(async {
        let place = Place::new("fall");
        let lab = Lab::with(place.store(), 1_000_000);
        assert_eq!(lab.standing().await, Standing::Current);
        // One who waits while the cache falls.
        lab.fake.leave.forget_permits(1000);
        let waiting = lab.asks_for("b.test");
        let falls = async {
            lab.until("asked", async || lab.fake.asked.lock().unwrap().len() == 4).await;
            lab.cache.do_send(PanicNow);
        };
        let (answer, ()) = tokio::join!(waiting, falls);
        assert!(matches!(answer, StsAnswer::Unavailable(Unavailable::Ours(_))), "{answer:?}");
        lab.says(failing());
        assert!(matches!(lab.standing().await, Standing::Unchecked(_))); // from the store
        // What the older life had sent out means nobody.
        lab.fake.leave.add_permits(1000);
        lab.says(gone());
        assert!(matches!(lab.asks_for("b.test").await, StsAnswer::Absent(_)));
    });
}

#[test]
fn a_restart_takes_no_policy_away() {
    run(async {
        let place = Place::new("restart");
        let lab = Lab::with(place.store(), 1_000_000);
        assert_eq!(lab.standing().await, Standing::Current);
        lab.until("written", async || lab.counts("running").await == 0).await;
        let lab = Lab::with(place.store(), 1_000_000 + 3600);
        lab.says(failing());
        assert!(matches!(lab.standing().await, Standing::Unchecked(_)));
        // What is old is fetched anew within an hour.
        let lab = Lab::with(place.store(), 1_000_000 + 24 * 3600);
        lab.until("read", async || lab.counts("policies").await == 1).await;
        lab.pass(3600);
        lab.until("fetched", async || lab.counts("fetched").await == 1).await;
        lab.until("written", async || lab.counts("running").await == 0).await;
        let lab = Lab::with(place.store(), 1_000_000 + WEEK);
        lab.says(gone());
        assert!(matches!(lab.standing().await, Standing::WithoutRecord(_))); // longer by a day
    });
}

#[test]
fn a_store_that_fails_costs_no_policy() {
    run(async {
        let lab = Lab::with(Arc::new(Full), 1_000_000);
        assert_eq!(lab.standing().await, Standing::Current);
        lab.until("told", async || lab.counts("store_faults").await == 2).await;
        lab.says(failing());
        lab.pass(3600);
        assert!(matches!(lab.standing().await, Standing::Unchecked(_)));
        lab.until("read again", async || lab.counts("store_faults").await == 3).await;
        assert!(lab.cache.send(ForgetPolicy { domain: domain("a.test") }).await.unwrap());
        lab.until("told", async || lab.counts("store_faults").await == 4).await; // it panicked
        assert_eq!(lab.counts("running").await, 0);
    });
}

/// Without descriptors at first.
struct Late(MemoryStore, Mutex<u32>);

impl StsStore for Late {
    fn load(&self) -> io::Result<Loaded> {
        let mut left = self.1.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(io::Error::other("too many open files"));
        }
        self.0.load()
    }
    fn save(&self, domain: &Domain, entry: &Entry) -> io::Result<()> {
        self.0.save(domain, entry)
    }
    fn remove(&self, domain: &Domain) -> io::Result<()> {
        self.0.remove(domain)
    }
}

#[test]
fn a_store_that_cannot_be_read_at_first_is_read_again() {
    run(async {
        let store = MemoryStore::default();
        for name in ["a.test", "b.test"] {
            let text = policy_text(WEEK);
            let policy = Policy::parse(text.as_bytes()).unwrap();
            let id = RecordId::parse("1").unwrap();
            let entry = Entry::fetched(id, (text, policy), None, Timestamp::from_secs(999_000));
            store.save(&domain(name), &entry).unwrap();
        }
        let lab = Lab::with(Arc::new(Late(store, Mutex::new(2))), 1_000_000);
        assert_eq!(lab.standing().await, Standing::Current); // fetched
        lab.says(gone());
        assert!(matches!(lab.asks_for("b.test").await, StsAnswer::Absent(_)));
        lab.pass(60);
        lab.until("read in vain", async || lab.counts("store_faults").await == 2).await;
        lab.pass(60);
        lab.until("read", async || lab.counts("policies").await == 2).await;
        assert!(matches!(lab.asks_for("b.test").await, StsAnswer::Policy { .. }));
        // What was fetched meanwhile is newer than what is read.
        let shown = lab.cache.send(ShowPolicy { domain: domain("a.test") }).await.unwrap().unwrap();
        assert_eq!(shown.line.fetched, Timestamp::from_secs(1_000_000).rfc3339());
    });
}

#[test]
fn a_fetch_that_panics_is_a_fault_of_ours() {
    run(async {
        let lab = Lab::new();
        *lab.fake.panics.lock().unwrap() = true;
        let ours = Unavailable::Ours("broken on purpose".to_string());
        assert_eq!(lab.asks().await, StsAnswer::Unavailable(ours));
        *lab.fake.panics.lock().unwrap() = false;
        assert_eq!(lab.standing().await, Standing::Current); // nothing is held against the domain
        lab.pass(3600);
        lab.says(record("2"));
        *lab.fake.panics.lock().unwrap() = true;
        assert!(matches!(lab.standing().await, Standing::Outdated(FetchError::Ours(_))));
        assert_eq!(lab.counts("own_faults").await, 2);
    });
}

#[test]
fn operators_look_fetch_and_forget() {
    run(async {
        let lab = Lab::new();
        let show =
            async |name: &str| lab.cache.send(ShowPolicy { domain: domain(name) }).await.unwrap();
        let refresh = async |name: &str| {
            lab.cache.send(RefreshPolicy { domain: domain(name) }).await.unwrap()
        };
        assert_eq!(show("a.test").await.unwrap_err(), "no policy of a.test in the cache");
        let view = refresh("a.test").await.unwrap();
        assert_eq!(lab.asked(), ["_mta-sts.a.test anew", "a.test 60 s for sure"]);
        assert_eq!(
            (view.line.mode.as_str(), view.line.mx.as_slice()),
            ("enforce", &["mx.test".to_string()][..])
        );
        assert_eq!((view.line.cache.as_str(), view.text), ("mx", policy_text(WEEK)));
        lab.has(Err(FetchError::Status(404)));
        let failed = refresh("a.test").await.unwrap_err();
        assert!(failed.contains("404") && failed.contains("holds on"), "{failed}");
        assert!(show("a.test").await.unwrap().line.last_failure.unwrap().contains("404"));
        assert!(refresh("b.test").await.unwrap_err().contains("404"));
        assert!(show("b.test").await.unwrap_err().contains("not tried again before"));
        lab.says(gone());
        assert!(refresh("c.test").await.unwrap_err().contains("no MTA-STS record"));

        let page = lab.cache.send(ShowPolicies { after: None }).await.unwrap();
        assert_eq!((page.lines.len(), page.next), (1, None));
        assert!(lab.cache.send(ForgetPolicy { domain: domain("a.test") }).await.unwrap());
        assert!(!lab.cache.send(ForgetPolicy { domain: domain("a.test") }).await.unwrap());
        assert!(matches!(lab.asks().await, StsAnswer::Absent(_)));
        assert_eq!(lab.counts("hits").await, 0); // operators use nothing
    });
}

#[test]
fn pages_follow_each_other() {
    run(async {
        let store = MemoryStore::default();
        let policy = |mx: usize| {
            let text = policy_text(WEEK) + &"mx: another.test\n".repeat(mx - 1);
            let policy = Policy::parse(text.as_bytes()).unwrap();
            (text, policy)
        };
        for number in 0..1234 {
            let id = RecordId::parse("1").unwrap();
            let mx = if number < 10 { 900 } else { 1 };
            let entry = Entry::fetched(id, policy(mx), None, Timestamp::from_secs(999_000));
            store.save(&domain(&format!("d{number}.test")), &entry).unwrap();
        }
        let lab = Lab::with(Arc::new(store), 1_000_000);
        lab.until("read", async || lab.counts("policies").await == 1234).await;
        let (mut after, mut all) = (None, std::collections::BTreeSet::new());
        loop {
            let page = lab.cache.send(ShowPolicies { after }).await.unwrap();
            let patterns: usize = page.lines.iter().map(|line| line.mx.len()).sum();
            assert!(page.lines.len() <= 500 && patterns < 3000, "{patterns}");
            for line in page.lines {
                assert!(all.insert(line.domain), "shown twice");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all.len(), 1234);
    });
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("sts-cache-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Place(path)
    }

    fn store(&self) -> Arc<dyn StsStore> {
        Arc::new(DirectoryStore::open(Path::new(&self.0)).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
