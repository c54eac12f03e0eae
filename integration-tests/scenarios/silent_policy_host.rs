//! One policy host that takes connections and says nothing, for many domains: it holds up their mail once, and nobody else's.

use std::time::Duration;

use crate::harness::dialogue::Dialogue;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;

const DOMAINS: usize = 200;

#[test]
fn a_silent_policy_host_of_many_domains_holds_up_nobody_else() {
    let outbound = Outbound::start_with("silent_policy_host", &[], |config| {
        config.queue = config.queue.replace("max_parallelism 64", "max_parallelism 16");
        let port = config.mx_port;
        config.remote = format!(
            "mx_auth {{
        mtasts {{
            https_port {port}
        }}
    }}"
        );
    });
    let silent = Dialogue::parse("silent", "! hang\n").unwrap().play(outbound.area.socket(), None);
    let address = silent.sink.address().ip();
    let sink = outbound.sink("policed.test");
    for number in 0..DOMAINS {
        let domain = format!("d{number}.test");
        outbound.dns.mx(&domain, &[(10, "mx.policed.test")]);
        outbound.dns.txt(&format!("_mta-sts.{domain}"), &["v=STSv1; id=1"]);
        outbound.dns.host(&format!("mta-sts.{domain}"), &[address]);
    }
    let all: Vec<String> = (0..DOMAINS).map(|number| format!("user@d{number}.test")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    outbound.daemon.send(SENDER, &all, Message::plain("many", 1000).bytes());
    wait_until("all slots wait for the policy host", SOON, || silent.sink.connections() >= 16);
    let lively = outbound.sink("lively.test");
    outbound.send("user@lively.test");
    // Ten seconds of patience, then one for each sixteen: RFC 8461 §3.3, mail goes on without a policy that cannot be had. With patience for
    // all of them it would be two minutes.
    lively.wait_for(1, Duration::from_secs(90));
    sink.wait_for(DOMAINS, Duration::from_secs(60));
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(silent.sink.connections(), DOMAINS, "each is asked once");
    assert!(outbound.counted("mtasts", "put_off") > 100);
    assert_eq!(outbound.home.count(), 0);
}
