//! SIGKILL in the middle of a load: every message that got its 250 is delivered by the daemon's next life.

use std::time::Duration;

use crate::harness::area::{Area, long_run};
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dns::Dns;
use crate::harness::process::wait_until;
use crate::harness::sink::Sink;
use crate::harness::source::{Load, Source};

const DEADLINE: Duration = Duration::from_secs(180);
const PARALLEL: usize = 32;

#[test]
fn kill9_under_load_loses_nothing() {
    // How many acknowledgements there are when the daemon dies; the long run dies early, late, and often.
    let deaths: &[&[usize]] = if long_run() {
        &[&[1], &[20], &[700], &[1990], &[200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800]]
    } else {
        &[&[700]]
    };
    for points in deaths {
        kill_at(points);
    }
}

fn kill_at(points: &[usize]) {
    let area = Area::new("kill9_under_load");
    let dns = Dns::start(area.socket());
    let sink = Sink::start(area.socket());
    dns.domain("load.test", sink.address().ip());
    let mut config = Config::new(&area, dns.address());
    config.queue =
        format!("max_parallelism {PARALLEL}\n    initial_retry_time 1s\n    max_retry_time 2s");
    let mut daemon = Daemon::start(&area, &config.text());

    let load = Load {
        server: config.listen,
        from: "sender@sender.test".to_owned(),
        domain: "load.test".to_owned(),
        messages: 2000,
        sessions: 20,
        size: 2000,
        deadline: DEADLINE,
    };
    let source = Source::start(&load);
    for point in points {
        wait_until(&format!("{point} messages are acknowledged"), DEADLINE, || {
            source.acknowledged() >= *point
        });
        daemon.kill9();
        daemon.restart(&area);
    }
    let tally = source.finish();
    assert_eq!(tally.acknowledged.len(), load.messages);
    wait_until("all acknowledged messages are delivered", DEADLINE, || {
        let delivered = sink.copies();
        tally.acknowledged.iter().all(|recipient| delivered.contains_key(recipient))
    });
    daemon.wait_until_queue_is_empty(DEADLINE);

    let delivered = sink.copies();
    let twice: Vec<&String> =
        delivered.iter().filter(|(_, count)| **count > 1).map(|(name, _)| name).collect();
    // The client sends again what it has no reply to; only the others are ours (RFC 1047).
    let ours = twice.iter().filter(|name| !tally.in_doubt.contains(**name)).count();
    area.report(&format!(
        "killed at {points:?}: {} acknowledged, {} delivered, {} duplicates, {ours} of them not of the client's making",
        tally.acknowledged.len(),
        delivered.len(),
        twice.len(),
    ));
    // A message can come twice only when the daemon died between its final 250 and the journal.
    assert!(ours <= PARALLEL * points.len(), "{ours} duplicates of ours: {twice:?}");
}
