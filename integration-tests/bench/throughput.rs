//! `make bench`: smtp-source > daemon > smtp-sink, next to Debian's Postfix and to no server at all, interleaved in one run.
//!
//! Each run has a fresh instance and a fresh sink. It is over when the sink has counted every message and the queue is empty; a run that
//! loses or doubles a message ends the measurement. What the figures mean is told in `docs/benchmarks.md`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement lives outside the daemon: it waits in real time, and a broken peer ends it"
)]

#[path = "../harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a measurement uses a part of the peers")]
mod harness;
mod knob;
mod machine;
mod median;
mod relay;
mod usage;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::area::Area;
use harness::daemon::{Config, Daemon};
use harness::dns::Dns;
use harness::postfix;
use harness::process::wait_until;
use harness::smtp_sink::{self, SmtpSink};
use harness::smtp_source::{self, SmtpSource};
use median::median;
use relay::Relay;
use usage::Usage;

/// For one run. Even a slow disk with ten syncs a second for each message of its own is done by then.
const DEADLINE: Duration = Duration::from_secs(900);
const DOMAIN: &str = "load.test";

/// Who is between smtp-source and smtp-sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    /// With that `max_parallelism`.
    Posthaste(usize),
    Postfix,
    /// Nobody: the most that source and sink can do here.
    Nobody,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contestant::Posthaste(slots) => write!(f, "posthaste, max_parallelism {slots}"),
            Contestant::Postfix => f.write_str("Postfix"),
            Contestant::Nobody => f.write_str("nobody (the ceiling)"),
        }
    }
}

/// In the order in which they run, in every pair again: ours/theirs/ours/theirs.
const CONTESTANTS: [Contestant; 4] = [
    Contestant::Posthaste(16), // our default
    Contestant::Postfix,
    Contestant::Posthaste(100),
    Contestant::Nobody,
];

#[derive(Clone, Copy, Debug)]
struct Load {
    length: usize,
    sessions: usize,
    messages: usize,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
struct Figures {
    accepted: f64,
    delivered: f64,
    /// Seconds of CPU for 1,000 messages.
    cpu: f64,
    usage: Usage,
}

fn main() {
    let area = Area::new("bench");
    let ready = area.needs(&[postfix::PROGRAM, smtp_source::PROGRAM, smtp_sink::PROGRAM])
        && area.needs_root(postfix::PROGRAM);
    if !ready {
        std::process::exit(1);
    }
    let pairs = knob::number("BENCH_PAIRS", 5);
    let messages = knob::number("BENCH_MESSAGES", 5000);
    println!(
        "smtp-source > contestant > smtp-sink on loopback; medians of {pairs} runs each, interleaved\n"
    );
    machine::print(area.path());
    println!(
        "policy  full durability on both sides: posthaste has body and records on disk (fdatasync) before its 250,"
    );
    println!(
        "        Postfix the queue file (fsync); no message may be missing at the sink, or come twice"
    );
    println!(
        "limits  posthaste: max_parallelism as given, 16 is the default; MX looked up at a name server of the bench"
    );
    println!(
        "        Postfix: default_process_limit 100, smtp_destination_concurrency_limit 20. Changed from its defaults:"
    );
    println!("{}", relay::CHANGES);
    drop(area);
    for length in [2 << 10, 100 << 10] {
        for sessions in [20, 100] {
            // Fifty times the octets: fewer messages say the same.
            let share = if length > 10_000 { 2 } else { 1 };
            let load = Load { length, sessions, messages: (messages / share).max(sessions) };
            compare(load, pairs);
        }
    }
}

fn compare(load: Load, pairs: usize) {
    let Load { length, sessions, messages } = load;
    println!("\n{} KB, {sessions} sessions, {messages} messages", length >> 10);
    println!(
        "{:30}{:>12}{:>13}{:>12}{:>10}{:>10}{:>12}",
        "", "accepted/s", "delivered/s", "CPU s/1000", "peak MB", "Pss MB", "of ceiling"
    );
    let rounds: Vec<[Figures; 4]> =
        (0..pairs).map(|_| CONTESTANTS.map(|contestant| run(contestant, load))).collect();
    let middle = |seat: usize, figure: fn(&Figures) -> f64| {
        median(rounds.iter().map(|round| figure(&round[seat])))
    };
    // Ratios are taken inside a pair, whose runs lie seconds apart, before their median is.
    let ratio = |seat: usize, to: usize, figure: fn(&Figures) -> f64| {
        median(rounds.iter().map(|round| figure(&round[seat]) / figure(&round[to])))
    };
    let (postfix, nobody) = (1, 3);
    for (seat, contestant) in CONTESTANTS.iter().enumerate() {
        let figures = [
            format!("{:.0}", middle(seat, |f| f.accepted)),
            format!("{:.0}", middle(seat, |f| f.delivered)),
        ];
        let cost = match contestant {
            Contestant::Posthaste(_) | Contestant::Postfix => [
                format!("{:.3}", middle(seat, |f| f.cpu)),
                format!("{:.1}", middle(seat, |f| f.usage.peak as f64 / 1024.0)),
                format!("{:.1}", middle(seat, |f| f.usage.proportional as f64 / 1024.0)),
            ],
            Contestant::Nobody => ["-", "-", "-"].map(str::to_owned),
        };
        println!(
            "{:30}{:>12}{:>13}{:>12}{:>10}{:>10}{:>11.0}%",
            contestant.to_string(),
            figures[0],
            figures[1],
            cost[0],
            cost[1],
            cost[2],
            ratio(seat, nobody, |f| f.delivered) * 100.0
        );
    }
    for (seat, contestant) in CONTESTANTS.iter().enumerate() {
        match contestant {
            Contestant::Posthaste(_) => println!(
                "{contestant} / Postfix: accepted {:.2}, delivered {:.2}, CPU {:.2}, peak memory {:.2}",
                ratio(seat, postfix, |f| f.accepted),
                ratio(seat, postfix, |f| f.delivered),
                ratio(seat, postfix, |f| f.cpu),
                ratio(seat, postfix, |f| f.usage.peak as f64)
            ),
            Contestant::Postfix | Contestant::Nobody => {}
        }
    }
    for (number, round) in rounds.iter().enumerate() {
        let each = round.map(|f| format!("{:.0}", f.delivered)).join(" ");
        println!("  pair {}: delivered/s {each}", number + 1);
    }
}

fn run(contestant: Contestant, load: Load) -> Figures {
    let area = Area::new("bench");
    let sink = SmtpSink::counting(&area);
    match contestant {
        Contestant::Posthaste(slots) => {
            let dns = Dns::start(area.socket());
            dns.domain(DOMAIN, sink.address().ip());
            let mut config = Config::new(&area, dns.address());
            config.queue = format!("max_parallelism {slots}");
            let daemon = Daemon::start(&area, &config.text());
            let idle = || daemon.queued().is_empty();
            measure(load, &sink, config.listen, Some(daemon.pid()), &idle)
        }
        Contestant::Postfix => {
            let relay = Relay::start(&area, sink.address());
            measure(load, &sink, relay.address(), Some(relay.pid()), &|| relay.is_empty())
        }
        Contestant::Nobody => measure(load, &sink, sink.address(), None, &|| true),
    }
}

/// Sends the load to `server` once it is warm, and waits until all of it is at the sink.
fn measure(
    load: Load,
    sink: &SmtpSink,
    server: SocketAddr,
    pid: Option<u32>,
    idle: &dyn Fn() -> bool,
) -> Figures {
    let to = format!("user@{DOMAIN}");
    let source = |messages| SmtpSource {
        server,
        from: "sender@sender.test",
        to: &to,
        messages,
        sessions: load.sessions,
        length: load.length,
    };
    let arrive = |count: usize| {
        wait_until("the sink has counted all", DEADLINE, || sink.counts().messages >= count);
    };
    let usage = || pid.map(Usage::of_tree).unwrap_or_default();
    // One message a session, so that every process that will work has been started.
    source(load.sessions).run();
    arrive(load.sessions);
    wait_until("the queue is empty after the first messages", DEADLINE, idle);
    let before = usage();
    let begin = Instant::now();
    source(load.messages).run();
    let accepted = begin.elapsed();
    arrive(load.sessions + load.messages);
    let delivered = begin.elapsed();
    wait_until("the queue is empty", DEADLINE, idle);
    let after = usage();
    // What comes twice would make the figure better than it is.
    assert_eq!(sink.counts().messages, load.sessions + load.messages, "messages came twice");
    let rate = |time: Duration| load.messages as f64 / time.as_secs_f64();
    let cpu = after.cpu.saturating_sub(before.cpu);
    Figures {
        accepted: rate(accepted),
        delivered: rate(delivered),
        cpu: cpu.as_secs_f64() * 1000.0 / load.messages as f64,
        usage: after,
    }
}
