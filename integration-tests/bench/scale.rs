//! `make bench-scale`: what a very deep queue costs: memory, the time from start to the first due delivery, and acceptance.
//!
//! The queue is filled through the spool's own code (`filling`), then the daemon is started on it. A second daemon with an empty queue
//! takes the same loads in turn with the first. What the figures mean is told in `docs/benchmarks.md`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement lives outside the daemon: it waits in real time, and a broken peer ends it"
)]

mod filling;
#[path = "../harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a measurement uses a part of the peers")]
mod harness;
mod knob;
mod machine;
mod median;
#[allow(dead_code, reason = "only a line of /proc is wanted here")]
mod usage;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use filling::Filling;
use harness::area::Area;
use harness::daemon::{Config, Daemon};
use harness::dns::Dns;
use harness::process::wait_until;
use harness::smtp_sink::{self, SmtpSink};
use harness::smtp_source::{self, SmtpSource};
use median::median;
use usage::kilobytes;

/// A daemon that reads a million records first.
const READY: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(600);
const DUE_DOMAIN: &str = "due.test";
const DUE: usize = 20;
const SESSIONS: usize = 20;

fn main() {
    let area = Area::new("scale");
    if !area.needs(&[smtp_source::PROGRAM, smtp_sink::PROGRAM]) {
        std::process::exit(1);
    }
    let deferred = knob::number("BENCH_SCALE", 1_000_000);
    let pairs = knob::number("BENCH_PAIRS", 5);
    let messages = knob::number("BENCH_MESSAGES", 5000);
    println!("a queue of {deferred} deferred messages\n");
    machine::print(area.path());
    println!("policy  full durability: body and records on disk (fdatasync) before 250\n");

    let sink = SmtpSink::counting(&area);
    let dns = Dns::start(area.socket());
    dns.domain(DUE_DOMAIN, sink.address().ip());
    let config = Config::new(&area, dns.address());
    let filling = Filling {
        deferred,
        domains: (deferred / 100).clamp(1, 10_000),
        due: DUE,
        due_domain: DUE_DOMAIN,
        length: 1000,
    };
    let begin = Instant::now();
    filling.write(&area.file("state/outbound"));
    println!(
        "filled with {deferred} messages of 1 KB to {} domains, due in 2 to 12 hours, and {DUE} due now, in {:.0} s",
        filling.domains,
        begin.elapsed().as_secs_f64()
    );

    let spool = octets(&area.file("state/outbound")) as f64 / f64::from(1 << 30);
    println!("{:44}{:>9.2} GB", "the spool on disk", spool);

    let (deep, first) = start(&area, &config, &sink);
    let memory = |key| kilobytes(deep.pid(), "status", key) as f64 / 1024.0;
    wait_until("all that is due is delivered", DEADLINE, || sink.counts().messages >= DUE);
    println!("{:44}{:>9.2} s   aim: under 3", "process start to first due delivery", first);
    println!("{:44}{:>9.0} MB", "resident (VmRSS) then", memory("VmRSS:"));

    let shallow_area = Area::new("scale-empty");
    let shallow_config = Config {
        area: shallow_area.path().to_owned(),
        listen: shallow_area.socket(),
        mx_port: area.port(),
        ..config.clone()
    };
    let shallow = Daemon::start(&shallow_area, &shallow_config.text());
    let mut arrived = DUE;
    let mut send = |server| {
        let source = SmtpSource {
            server,
            from: "sender@sender.test",
            to: &format!("user@{DUE_DOMAIN}"),
            messages,
            sessions: SESSIONS,
            length: 2048,
        };
        let begin = Instant::now();
        source.run();
        let took = begin.elapsed();
        arrived += messages;
        wait_until("the sink has counted all", DEADLINE, || sink.counts().messages >= arrived);
        messages as f64 / took.as_secs_f64()
    };
    let rates: Vec<(f64, f64)> = (0..pairs)
        .map(|pair| {
            // Who goes first changes, for a run may leave work behind for the next.
            if pair % 2 == 0 {
                let deep = send(config.listen);
                (deep, send(shallow_config.listen))
            } else {
                let shallow = send(shallow_config.listen);
                (send(config.listen), shallow)
            }
        })
        .collect();
    println!(
        "{:44}{:>9.0} /s   2 KB, {SESSIONS} sessions, {messages} messages, median of {pairs}",
        "accepted by the deep queue",
        median(rates.iter().map(|(deep, _)| *deep))
    );
    println!(
        "{:44}{:>9.0} /s   interleaved with the above",
        "accepted by an empty queue",
        median(rates.iter().map(|(_, shallow)| *shallow))
    );
    let ratio = median(rates.iter().map(|(deep, shallow)| deep / shallow)) * 100.0;
    println!("{:44}{:>9.0} %    aim: over 90", "deep / empty, median of the pairs' ratios", ratio);
    println!("{:44}{:>9.0} MB", "resident (VmRSS) after that", memory("VmRSS:"));
    println!("{:44}{:>9.0} MB   aim: under 300", "its peak (VmHWM)", memory("VmHWM:"));
    let shallow_peak = kilobytes(shallow.pid(), "status", "VmHWM:") as f64 / 1024.0;
    println!("{:44}{:>9.0} MB", "peak of the daemon with the empty queue", shallow_peak);
    for (number, (deep, shallow)) in rates.iter().enumerate() {
        println!("  pair {}: accepted/s deep {deep:.0}, empty {shallow:.0}", number + 1);
    }
    // What was deferred is deferred still, and nothing came twice.
    assert_eq!(sink.counts().messages, arrived);
    wait_until("only what was deferred waits", DEADLINE, || waiting(&deep) == deferred as u64);
}

/// Starts the daemon; and how many seconds later the first message was at the sink.
fn start(area: &Area, config: &Config, sink: &SmtpSink) -> (Daemon, f64) {
    let begin = Instant::now();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            wait_until("the first due message is delivered", READY, || sink.counts().messages > 0);
            begin.elapsed().as_secs_f64()
        });
        let daemon = Daemon::start_within(area, &config.text(), READY);
        (daemon, first.join().unwrap())
    })
}

/// What the files below a folder take on the disk.
fn octets(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { octets(&entry.path()) } else { metadata.blocks() * 512 }
        })
        .sum()
}

/// Messages in the queue, as the daemon counts them.
fn waiting(daemon: &Daemon) -> u64 {
    let status: serde_json::Value =
        serde_json::from_str(&daemon.said(&["status", "--json"])).unwrap();
    status["queues"][0]["envelopes"].as_u64().unwrap_or_else(|| panic!("no count in {status}"))
}
