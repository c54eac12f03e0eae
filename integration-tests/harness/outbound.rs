//! Everything a delivery needs, put together: the daemon, DNS under the test's control, and a mailbox for the sender.
//!
//! `sender.test` has a mail exchanger of its own, `home`, to which notifications go. Retries come after one second.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use crate::harness::area::Area;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dns::Dns;
use crate::harness::message::Message;
use crate::harness::sink::{Manners, Sink, Transaction};

/// For a delivery that should happen now.
pub const SOON: Duration = Duration::from_secs(20);
/// For a delivery at the second or third attempt.
pub const AFTER_RETRIES: Duration = Duration::from_secs(60);
pub const SENDER: &str = "sender@sender.test";

/// Retries after a second, and notifications to the sender's own mail exchanger.
const QUEUE: &str = "max_parallelism 64
    initial_retry_time 1s
    retry_time_scale 1.0
    max_retry_time 2s
    bounce {
        deliver_to &mx
    }";

pub struct Outbound {
    // In the order in which they are dropped: the daemon goes first, the area last.
    pub daemon: Daemon,
    /// The mail exchanger of the sender's domain.
    pub home: Sink,
    pub dns: Dns,
    pub config: Config,
    pub area: Area,
}

impl Outbound {
    pub fn start(test: &str) -> Outbound {
        Outbound::start_with(test, &[], |_| {})
    }

    /// `options` go to `posthaste run`; `adapt` changes the usual configuration.
    pub fn start_with(test: &str, options: &[&str], adapt: impl FnOnce(&mut Config)) -> Outbound {
        let area = Area::new(test);
        let dns = Dns::start(area.socket());
        let home = Sink::start(area.socket());
        // Not `mx.sender.test`: that is the daemon's own name, and a loop.
        dns.mx("sender.test", &[(10, "home.sender.test")]);
        dns.host("home.sender.test", &[home.address().ip()]);
        let mut config = Config::new(&area, dns.address());
        QUEUE.clone_into(&mut config.queue);
        adapt(&mut config);
        let daemon = Daemon::start_with(&area, &config.text(), &[], options);
        Outbound { daemon, home, dns, config, area }
    }

    /// Where the daemon takes mail.
    pub fn listen(&self) -> SocketAddr {
        self.config.listen
    }

    /// A recording server as the only mail exchanger of the domain.
    pub fn sink(&self, domain: &str) -> Sink {
        self.sink_with(domain, Manners::default())
    }

    pub fn sink_with(&self, domain: &str, manners: Manners) -> Sink {
        let sink = Sink::with(self.area.socket(), manners);
        self.dns.domain(domain, sink.address().ip());
        sink
    }

    /// A recording server that no domain points to yet, and its address.
    pub fn lone_sink(&self) -> (Sink, IpAddr) {
        let sink = Sink::start(self.area.socket());
        let address = sink.address().ip();
        (sink, address)
    }

    /// Hands a small message to the daemon; its queue id.
    pub fn send(&self, to: &str) -> String {
        self.daemon.send(SENDER, &[to], Message::plain(to, 1000).bytes())
    }

    /// What `ps` has under that name: of actors, deliveries or sessions.
    pub fn shown(&self, name: &str) -> Vec<Value> {
        let all = self.daemon.said(&["ps", "--json"]);
        let items = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        items.filter_map(|mut item| item.get_mut(name).map(Value::take)).collect()
    }

    /// A number that the actor of this kind counts.
    pub fn counted(&self, kind: &str, name: &str) -> u64 {
        let actors = self.shown("actor");
        let actor = actors.iter().find(|actor| actor["kind"] == kind).unwrap();
        let counters = actor["counters"].as_array().unwrap();
        counters.iter().find(|counter| counter[0] == name).unwrap()[1].as_u64().unwrap()
    }

    /// Waits for the notification about the recipient and checks its status (RFC 3464 §2.3.4).
    pub fn assert_notified(&self, recipient: &str, status: &str) -> Transaction {
        let told = format!("Final-Recipient: rfc822; {recipient}").to_ascii_lowercase();
        let about = |message: &Transaction| message.text().to_ascii_lowercase().contains(&told);
        let mut found = None;
        crate::harness::process::wait_until(
            &format!("a notification about {recipient} is at the sender's"),
            AFTER_RETRIES,
            || {
                found = self.home.transactions().into_iter().find(about);
                found.is_some()
            },
        );
        let notification = found.unwrap();
        assert!(notification.from.starts_with("<>"), "{recipient}: from {}", notification.from);
        let text = notification.text();
        assert!(text.contains(&format!("Status: {status}")), "{recipient}: not {status}:\n{text}");
        notification
    }
}
