//! Faults of this machine are nobody else's: they never count as attempts, and never fail a message.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::client::Client;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dns::Dns;
use crate::harness::message::Message;
use crate::harness::outbound::{AFTER_RETRIES, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::Sink;

const QUEUE: &str = "max_parallelism 4
    max_tries 1";

/// Attempts counted so far, and what the daemon says of the reason.
fn row(daemon: &Daemon) -> Option<(u64, String)> {
    let listing = daemon.said(&["queue", "list", "--json"]);
    let row: serde_json::Value = serde_json::from_str(listing.lines().next()?).unwrap();
    let reason = row["last_failure"].as_str().unwrap_or_default().to_owned();
    Some((row["attempts"].as_u64().unwrap(), reason))
}

#[test]
fn a_name_server_that_is_down_fails_nothing() {
    let area = Area::new("resolver_is_down");
    let sink = Sink::start(area.socket());
    let mut config = Config::new(&area, area.socket());
    QUEUE.clone_into(&mut config.queue);
    let daemon = Daemon::start(&area, &config.text());
    let id = daemon.send(SENDER, &["user@there.test"], Message::plain("down", 500).bytes());
    daemon.wait_for_trace(&id, "postponed", AFTER_RETRIES);
    wait_until("the attempt is over", SOON, || {
        row(&daemon).is_some_and(|(_, reason)| reason.contains("looking up MX of there.test"))
    });
    let (attempts, reason) = row(&daemon).unwrap();
    assert_eq!(attempts, 0, "{reason}");
    let dns = Dns::start(config.resolver);
    dns.domain("there.test", sink.address().ip());
    daemon.said(&["queue", "retry", &id]);
    sink.wait_for_recipient("user@there.test", SOON);
    daemon.wait_until_queue_is_empty(SOON);
}

#[test]
fn a_process_without_descriptors_fails_nothing() {
    let area = Area::new("no_descriptors");
    if !area.needs(&["prlimit"]) {
        return;
    }
    let dns = Dns::start(area.socket());
    let sink = Sink::start(area.socket());
    dns.domain("there.test", sink.address().ip());
    let mut config = Config::new(&area, dns.address());
    QUEUE.clone_into(&mut config.queue);
    config.remote = "conn_reuse_limit 0".to_owned();
    let daemon = Daemon::start_with(&area, &config.text(), &["prlimit", "--nofile=80:80"], &[]);
    // One session to hand a message over, the others to leave it nothing to deliver it with.
    let mut client = Client::greeted(config.listen);
    let first = Message::plain("first", 500);
    let reply = client.transact(SENDER, &["first@there.test"], first.bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    sink.wait_for_recipient("first@there.test", SOON);
    let mut idle: Vec<TcpStream> = Vec::new();
    let content = Message::plain("want", 500);
    let mut handed_over = 0;
    wait_until("an attempt is put off for want of descriptors", AFTER_RETRIES, || {
        idle.extend(TcpStream::connect_timeout(&config.listen, Duration::from_secs(1)));
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
        if open >= 80 {
            let to = format!("user{handed_over}@there.test");
            let reply = client.transact(SENDER, &[&to], content.bytes()).unwrap();
            handed_over += usize::from(reply.code == 250);
            assert!(reply.code == 250 || reply.code == 451, "{reply:?}");
        }
        daemon.log().contains(" postponed")
    });
    assert!(!daemon.log().contains("failed for good"));
    drop(idle);
    wait_until("there are descriptors again", SOON, || {
        std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() < 70
    });
    daemon.said(&["queue", "retry", "--yes"]);
    sink.wait_for(1 + handed_over, AFTER_RETRIES);
    daemon.wait_until_queue_is_empty(SOON);
    assert!(!daemon.log().contains("failed for good"));
}

/// A small file system of the test's own, in memory.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(area: &Area, size: &str) -> Option<Small> {
        let path = area.folder("state");
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "posthaste-test"]).arg(&path);
        mount.status().is_ok_and(|status| status.success()).then_some(Small(path))
    }

    /// Fills it to the last octet.
    fn fill(&self) {
        let filler = self.0.join("filler");
        let output = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", filler.display()))
            .output()
            .unwrap();
        assert!(!output.status.success(), "the disk has no end");
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the daemon may still be going.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_takes_no_mail_and_delivers_what_it_has() {
    let area = Area::new("full_disk");
    if !area.needs_root("mount") {
        return;
    }
    let Some(disk) = Small::mount(&area, "200m") else {
        area.skip("mount of tmpfs");
        return;
    };
    let dns = Dns::start(area.socket());
    let there = area.socket();
    dns.domain("there.test", there.ip());
    let mut config = Config::new(&area, dns.address());
    config.queue = "initial_retry_time 200ms\n    max_retry_time 1s\n    max_tries 1000".to_owned();
    let daemon = Daemon::start(&area, &config.text());
    // Nobody listens yet: they wait.
    for number in 0..20 {
        let to = format!("early{number}@there.test");
        daemon.send(SENDER, &[&to], Message::plain(&to, 2000).bytes());
    }
    disk.fill();
    let mut client = Client::greeted(config.listen);
    let content = Message::plain("late", 2000);
    // What the file system said last is believed for a moment; a message may slip in until then.
    wait_until("no more mail is taken", SOON, || {
        let reply = client.transact(SENDER, &["between@there.test"], content.bytes()).unwrap();
        assert!(reply.code == 250 || reply.is(452, "4.3.1"), "{reply:?}");
        reply.code == 452
    });
    // `status` says it, deliveries go on.
    let status = daemon.said(&["status"]);
    assert!(status.contains("no space"), "{status}");
    let sink = Sink::start(there);
    for number in 0..20 {
        sink.wait_for_recipient(&format!("early{number}@there.test"), AFTER_RETRIES);
    }
    daemon.wait_until_queue_is_empty(SOON);
    disk.free();
    wait_until("mail is taken again", SOON, || {
        let mut client = Client::greeted(config.listen);
        let reply = client.transact(SENDER, &["late@there.test"], content.bytes()).unwrap();
        reply.code == 250
    });
    sink.wait_for_recipient("late@there.test", SOON);
    daemon.wait_until_queue_is_empty(SOON);
    let status = daemon.said(&["status"]);
    assert!(!status.contains("no space"), "{status}");
}
