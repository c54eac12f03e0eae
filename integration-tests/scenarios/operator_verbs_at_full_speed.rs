//! Operators hold, release, retry, reroute and drop everything again and again while the daemon delivers: every recipient gets the
//! message once, or was dropped.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, Outbound};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

const DOMAINS: usize = 40;
const MESSAGES: usize = 400;

#[test]
fn every_recipient_is_served_once_or_dropped() {
    let outbound = Outbound::start_with("full_speed", &[], |config| {
        // Every order to try again is an attempt: nobody is to be given up for it.
        config.queue.push_str("\nmax_tries 1000000");
        config.global.push_str(&format!(
            "\ntarget.remote relay {{
                port {}
                allow_loopback_mx yes
            }}",
            config.mx_port
        ));
    });
    // Some time for each; what one of the senders sends is put off again and again.
    let slowly = Manners {
        answer: Box::new(|at, line| {
            sleep(Duration::from_millis(if at == Moment::Dot { 20 } else { 0 }));
            let off = at == Moment::Mail && line.contains("<ss@");
            off.then(|| "450 4.2.1 come back".to_owned())
        }),
        ..Manners::default()
    };
    let sink = outbound.sink_with("d0.test", slowly);
    for domain in 1..DOMAINS {
        outbound.dns.domain(&format!("d{domain}.test"), sink.address().ip());
    }
    let listen = outbound.listen();
    let sender = std::thread::spawn(move || {
        let mut client = Client::greeted(listen);
        for number in 0..MESSAGES {
            let to = format!("<r{number}@d{}.test>", number % DOMAINS);
            let from = format!("<{}@sender.test>", "s".repeat(1 + number % 3));
            let content = Message::plain(&format!("m{number}"), 600);
            assert_eq!(client.transact_as(&from, &[&to], content.bytes()).unwrap().code, 250);
        }
    });
    let daemon = &outbound.daemon;
    let mut round = 0;
    while !sender.is_finished() || round < 12 {
        round += 1;
        let domain = format!("d{}.test", round % DOMAINS);
        daemon.said_or_nothing(&["queue", "hold", "--yes", "--reason", "everything"]);
        daemon.said_or_nothing(&["queue", "reroute", "relay", "--yes", "--domain", &domain]);
        daemon.said_or_nothing(&["queue", "drop", "--yes", "--domain", &domain, "--held"]);
        daemon.said_or_nothing(&["queue", "release", "--yes"]);
        daemon.said_or_nothing(&["queue", "retry", "--yes"]);
    }
    sender.join().unwrap();
    daemon.said_or_nothing(&["queue", "release", "--yes"]);
    wait_until("only those who are put off are left", AFTER_RETRIES, || {
        let served = sink.count();
        sleep(Duration::from_secs(3)); // longer than a retry takes
        served == sink.count()
    });
    daemon.said_or_nothing(&["queue", "drop", "--yes"]);
    wait_until("nothing is left", AFTER_RETRIES, || {
        daemon.said_or_nothing(&["queue", "drop", "--yes"]);
        daemon.has_nothing_left()
    });
    let recipient = |line: &str| -> Option<String> {
        let (_, rest) = line.split_once("recipient: ")?;
        Some(rest.split([',', ' ']).next()?.to_owned())
    };
    let dropped = || -> HashSet<String> {
        let log = daemon.log();
        let lines = log.lines().filter(|line| line.contains("recipient dropped"));
        lines.filter_map(recipient).collect()
    };
    // The log is written a moment later.
    wait_until("everybody was served or dropped", AFTER_RETRIES, || {
        dropped().len() + sink.count() >= MESSAGES
    });
    let (dropped, log) = (dropped(), daemon.log());
    let served: Vec<String> = sink
        .transactions()
        .iter()
        .flat_map(|t| t.to.clone())
        .map(|to| to.split(['<', '>']).nth(1).unwrap_or_default().to_owned())
        .collect();
    let once: HashSet<String> = served.iter().cloned().collect();
    assert_eq!(once.len(), served.len(), "somebody got it twice");
    assert!(once.is_disjoint(&dropped), "somebody got what was dropped");
    assert_eq!(once.len() + dropped.len(), MESSAGES);
    assert!(!dropped.is_empty() && once.len() > 20, "{} {}", dropped.len(), once.len());
    assert_eq!(outbound.home.count(), 0); // nobody was told
    assert!(!log.contains("panic"));
}
