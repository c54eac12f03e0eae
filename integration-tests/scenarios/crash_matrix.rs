//! SIGKILL at every durable step of a message's way: what was acknowledged comes to exactly one end.
//!
//! For each point the daemon is started armed, is given messages of every fate one after the other, dies at the point, is started again
//! and brings everything to its end. Then it is counted: accepted = delivered + notified, nothing is lost, and there is one copy too
//! many at most, and only where the peer has taken what the journal does not know of (RFC 1047).
//!
//! Steps that a message takes only now and then are in `crash_of_orders`, `crash_of_decisions` and `crash_of_bringing_back`.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::area::long_run;
use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment, Sink};

pub const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than from one checkpoint to the next.
const SLOW: Duration = Duration::from_secs(8);

/// Whether the peer may have a message without the journal knowing it.
const IN_DOUBT: &[&str] = &[
    "dot.answered",
    "wire.dot",
    "wire.reply",
    "outcome.staged",
    "settle.staged",
    // These come by the clock, whatever a message has come to: on a slow machine they meet one on its way.
    "checkpoint.written",
    "checkpoint.synced",
    "checkpoint.tipped",
    "checkpoint.done",
];

pub const QUEUE: &str = "max_parallelism 1
    max_tries 1000
    initial_retry_time 100ms
    retry_time_scale 1.0
    max_retry_time 200ms
    bounce {
        deliver_to &mx
    }";

/// Of every group.
pub const STEPS: &[&str] = &["staged", "written", "synced", "applied", "answered"];

#[test]
fn accepting() {
    let mut points = steps(&["accept"]);
    points.extend(["large.written", "large.synced"].map(String::from));
    Matrix::start("crash_accepting").run(&points);
}

#[test]
fn attempting() {
    let mut points = steps(&["take", "dot", "outcome"]);
    points.extend(["wire.dot", "wire.reply"].map(String::from));
    Matrix::start("crash_attempting").run(&points);
}

#[test]
fn settling() {
    Matrix::start("crash_settling").run(&steps(&["settle", "notify"]));
}

#[test]
fn removing() {
    let removal = ["remove.large", "remove.ended", "remove.segment"];
    let checkpoint =
        ["checkpoint.written", "checkpoint.synced", "checkpoint.tipped", "checkpoint.done"];
    let points: Vec<String> = removal.into_iter().chain(checkpoint).map(String::from).collect();
    Matrix::start("crash_removing").run(&points);
}

/// These points of a step and how often it is passed before, or in the long run all of `times`.
pub fn few_or_all(
    few: &[(usize, &'static str)],
    times: std::ops::Range<usize>,
) -> Vec<(usize, &'static str)> {
    match long_run() {
        true => times.flat_map(|time| STEPS.iter().map(move |step| (time, *step))).collect(),
        false => few.to_vec(),
    }
}

fn steps(kinds: &[&str]) -> Vec<String> {
    kinds.iter().flat_map(|kind| STEPS.iter().map(move |step| format!("{kind}.{step}"))).collect()
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Good,
    Large,
    Hard,
    /// One recipient is taken, the other refused once: the first has its outcome before the attempt ends.
    Soft,
    /// Refused for some seconds, so that it is there at the next checkpoint.
    Slow,
}

struct Sent {
    to: Vec<String>,
    fate: Fate,
    acknowledged: bool,
}

struct Matrix {
    outbound: Outbound,
    good: Sink,
    soft: Sink,
    slow: Sink,
    /// Messages so far, for addresses that nobody had before.
    count: usize,
    _hard: Sink,
}

impl Matrix {
    fn start(test: &str) -> Matrix {
        let outbound =
            Outbound::start_with(test, &[], |config| QUEUE.clone_into(&mut config.queue));
        let good = outbound.sink("good.test");
        let hard = outbound.sink_with("hard.test", refusing(|_| Some("550 5.1.1 no such user")));
        let seen = Mutex::new(HashSet::new());
        let soft = outbound.sink_with(
            "soft.test",
            refusing(move |line| {
                let first = seen.lock().unwrap().insert(line.to_owned());
                (line.contains("<m") && first).then_some("450 4.2.1 later")
            }),
        );
        let begun = Mutex::new(HashMap::new());
        let slow = outbound.sink_with(
            "slow.test",
            refusing(move |line| {
                let mut begun = begun.lock().unwrap();
                let since: &mut Instant = begun.entry(line.to_owned()).or_insert_with(Instant::now);
                (since.elapsed() < SLOW).then_some("450 4.2.1 later")
            }),
        );
        Matrix { outbound, good, soft, slow, count: 0, _hard: hard }
    }

    fn run(mut self, points: &[String]) {
        // A point is passed many times; the long run dies at several of them.
        for point in points {
            // A life lets go of the one segment that the last life left behind; its own is open.
            let often = long_run() && point != "remove.segment";
            for time in if often { 0..4 } else { 0..1 } {
                self.die_at(point, time);
            }
        }
        self.outbound.area.report(&format!("{} points, {} messages", points.len(), self.count));
    }

    fn die_at(&mut self, point: &str, time: usize) {
        let kill = format!("POSTHASTE_KILL_AT={point}:{time}");
        self.outbound.daemon.start_again(&self.outbound.area, &["env", &kill]);
        let mut sent = Vec::new();
        let rounds = if time == 0 { 1 } else { 4 };
        let mut fates = [Fate::Good, Fate::Hard, Fate::Soft, Fate::Large].repeat(rounds);
        if point.starts_with("checkpoint") {
            // Nothing is brought up to date in a daemon that has nothing to do.
            fates.extend([Fate::Slow].repeat(time + 1));
        }
        for fate in fates {
            sent.extend(self.send(fate));
        }
        let daemon = &mut self.outbound.daemon;
        wait_until(&format!("the daemon dies at {kill}"), DEADLINE, || !daemon.is_running());
        daemon.start_again(&self.outbound.area, &[]);
        daemon.wait_until_it_answers(DEADLINE);
        daemon.wait_until_queue_is_empty(DEADLINE);
        let mut extra = 0;
        for message in &sent {
            for to in &message.to {
                let copies = self.copies(to, message.fate);
                let least = usize::from(message.acknowledged);
                assert!(copies >= least, "{kill}: {to} ({:?}) is lost", message.fate);
                extra += copies.saturating_sub(1);
            }
        }
        let most = usize::from(IN_DOUBT.contains(&point));
        assert!(extra <= most, "{kill}: {extra} copies too many");
    }

    /// Hands one over and waits for its end, or for the daemon's.
    fn send(&mut self, fate: Fate) -> Option<Sent> {
        self.count += 1;
        let (domain, size) = match fate {
            Fate::Good => ("good.test", 1000),
            Fate::Large => ("good.test", 1_200_000),
            Fate::Hard => ("hard.test", 1000),
            Fate::Soft => ("soft.test", 1000),
            Fate::Slow => ("slow.test", 1000),
        };
        let mut to = vec![format!("m{}@{domain}", self.count)];
        if fate == Fate::Soft {
            to.push(format!("also{}@{domain}", self.count));
        }
        let listen = self.outbound.listen();
        let daemon = &mut self.outbound.daemon;
        let mut client = None;
        wait_until("the daemon listens, or is dead", DEADLINE, || {
            client = Client::connect(listen).ok();
            client.is_some() || !daemon.is_running()
        });
        let (mut client, _) = client?;
        client.say("EHLO client.test").ok()?;
        let content = Message::plain(&to[0], size);
        let people: Vec<&str> = to.iter().map(String::as_str).collect();
        let reply = client.transact(SENDER, &people, content.bytes());
        let acknowledged = reply.is_ok_and(|reply| reply.code == 250);
        let message = Sent { to, fate, acknowledged };
        if acknowledged {
            let what = format!("{:?} come to their end, or the daemon", message.to);
            wait_until(&what, DEADLINE, || {
                let mut all = message.to.iter();
                let ended = all.all(|to| self.copies(to, fate) > 0);
                (ended && self.outbound.daemon.has_nothing_left())
                    || !self.outbound.daemon.is_running()
            });
        }
        Some(message)
    }

    fn copies(&self, to: &str, fate: Fate) -> usize {
        let of = |sink: &Sink| sink.transactions().iter().filter(|t| t.is_for(to)).count();
        match fate {
            Fate::Good | Fate::Large => of(&self.good),
            Fate::Soft => of(&self.soft),
            Fate::Slow => of(&self.slow),
            Fate::Hard => {
                let told = format!("Final-Recipient: rfc822; {to}");
                let home = self.outbound.home.transactions();
                home.iter().filter(|notification| notification.text().contains(&told)).count()
            }
        }
    }
}

fn refusing(answer: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> Manners {
    let rcpt = move |moment: Moment, line: &str| match moment {
        Moment::Rcpt => answer(line).map(String::from),
        Moment::Greeting | Moment::Ehlo | Moment::Mail | Moment::Data | Moment::Dot => None,
    };
    Manners { answer: Box::new(rcpt), ..Manners::default() }
}
