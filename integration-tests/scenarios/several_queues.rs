//! A message for several queues is taken by all of them or by none.

use crate::harness::area::Area;
use crate::harness::client::Client;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dns::Dns;
use crate::harness::message::Message;

/// Two queues on one message; the second one's directory is on a file system without room.
#[test]
fn a_refusal_by_one_leaves_no_trace_in_the_other() {
    let area = Area::new("several_queues");
    if !area.needs_root("mount") {
        return;
    }
    let small = area.folder("small");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=20m", "none"])
        .arg(&small)
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        area.skip("mount of a small file system");
        return;
    }
    let _mounted = Mounted(small.clone());
    let dns = Dns::start(area.socket());
    let config = Config::new(&area, dns.address());
    let text = format!(
        "hostname mx.sender.test\nstate_dir {state}\nruntime_dir {run}\nresolver {dns}\ntls off\n\
         smtp tcp://{listen} {{\n    destination one.test {{\n        deliver_to &first\n    }}\n    \
         default_destination {{\n        deliver_to &second\n    }}\n}}\n\
         target.queue first {{\n    target dummy\n}}\n\
         target.queue second {{\n    target dummy\n    location {small}\n}}\n",
        state = area.file("state").display(),
        run = area.file("run").display(),
        dns = dns.address(),
        listen = config.listen,
        small = small.display(),
    );
    let mut daemon = Daemon::start(&area, &text);
    let mut client = Client::greeted(config.listen);
    let message = Message::plain("both", 2000);
    let recipients = ["a@one.test", "b@two.test"];
    let reply = client.transact("sender@sender.test", &recipients, message.bytes()).unwrap();
    assert_eq!(reply.code, 452, "{reply:?}");
    // The one with room alone is fine: nothing is wrong with the first queue.
    let reply = client.transact("sender@sender.test", &recipients[..1], message.bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    daemon.wait_until_queue_is_empty(std::time::Duration::from_secs(20));
    let answer = daemon.operator().call("status", serde_json::json!({})).unwrap();
    let status = answer.result.unwrap();
    let delivered: Vec<u64> = status["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["delivered"].as_u64().unwrap())
        .collect();
    assert_eq!(delivered, [1, 0], "only the message that was acknowledged");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn both_deliver_what_both_have_taken() {
    let area = Area::new("several_queues_keep");
    let dns = Dns::start(area.socket());
    let config = Config::new(&area, dns.address());
    let text = format!(
        "hostname mx.sender.test\nstate_dir {state}\nruntime_dir {run}\nresolver {dns}\ntls off\n\
         smtp tcp://{listen} {{\n    destination one.test {{\n        deliver_to &first\n    }}\n    \
         default_destination {{\n        deliver_to &second\n    }}\n}}\n\
         target.queue first {{\n    target dummy\n}}\n\
         target.queue second {{\n    target dummy\n}}\n",
        state = area.file("state").display(),
        run = area.file("run").display(),
        dns = dns.address(),
        listen = config.listen,
    );
    let mut daemon = Daemon::start(&area, &text);
    let mut client = Client::greeted(config.listen);
    let message = Message::plain("both", 2000);
    for _ in 0..20 {
        let recipients = ["a@one.test", "b@two.test"];
        let reply = client.transact("sender@sender.test", &recipients, message.bytes()).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    daemon.wait_until_queue_is_empty(std::time::Duration::from_secs(20));
    assert_eq!(daemon.terminate(), Some(0));
}

/// Unmounts, also when the test fails.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
