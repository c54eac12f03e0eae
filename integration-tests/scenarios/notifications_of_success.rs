//! NOTIFY=SUCCESS: a server that offers DSN takes the duty over with all parameters; in place of any other one we report.

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dns::Dns;
use crate::harness::message::{Message, id_of};
use crate::harness::notification::Notification;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SOON};
use crate::harness::postfix::{self, Postfix};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Sink};

const TO: [&str; 3] = [
    "<user@example.test> NOTIFY=SUCCESS ORCPT=rfc822;Old+2BName@elsewhere.test",
    "<quiet@example.test> NOTIFY=NEVER",
    "<plain@example.test>",
];

fn send(outbound: &Outbound, mail: &str, message: &Message) {
    let mut client = Client::greeted(outbound.listen());
    let reply = client.transact_as(mail, &TO, message.bytes()).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

#[test]
fn a_server_with_dsn_gets_the_duty_and_every_parameter() {
    let outbound = Outbound::start("success_passed_on");
    let keywords = vec!["PIPELINING", "DSN", "SIZE 0"];
    let sink = outbound.sink_with("example.test", Manners { keywords, ..Manners::default() });
    let mail = "<sender@sender.test> RET=HDRS ENVID=QQ+20314+2B1";
    send(&outbound, mail, &Message::plain("dsn", 1000));
    let message = sink.wait_for(1, SOON).remove(0);
    assert!(message.from.ends_with(" RET=HDRS ENVID=QQ+20314+2B1"), "{}", message.from);
    let mut to = message.to;
    to.sort();
    let mut expected = TO.to_vec();
    expected.sort_unstable();
    assert_eq!(to, expected);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert!(!outbound.daemon.log().contains("notification made"));
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn where_the_server_has_no_dsn_the_relaying_is_reported() {
    let outbound = Outbound::start("success_relayed");
    let sink = outbound.sink("example.test");
    let mail = "<sender@sender.test> RET=FULL ENVID=QQ314";
    send(&outbound, mail, &Message::plain("relayed", 1000));
    let message = sink.wait_for(1, SOON).remove(0);
    // RFC 3461 §5.2.2: no parameter goes to a server that does not know them.
    let said = format!("{} {}", message.from, message.to.join(" "));
    for parameter in ["RET", "ENVID", "NOTIFY", "ORCPT"] {
        assert!(!said.contains(parameter), "{said}");
    }
    let told = outbound.home.wait_for(1, AFTER_RETRIES).remove(0);
    assert!(told.from.starts_with("<>"));
    let told = Notification::read(&told.content);
    assert_eq!(told.header.get("Subject"), "Delivery report");
    assert_eq!(told.message.get("Original-Envelope-Id"), "QQ314");
    assert_eq!(told.recipients.len(), 1);
    let about = told.about("user@example.test");
    assert_eq!(about.get("Action"), "relayed");
    assert_eq!(about.get("Status"), "2.0.0");
    assert_eq!(about.get("Original-Recipient"), "rfc822; Old+Name@elsewhere.test");
    assert_eq!(about.get("Remote-MTA"), "dns; mx.example.test");
    assert_eq!(about.find("Will-Retry-Until"), None);
    assert_eq!(told.returned.kind(), "text/rfc822-headers"); // RET=FULL is for failures
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(outbound.home.count(), 1);
}

#[test]
fn a_real_postfix_reports_what_was_passed_on_to_it() {
    let area = Area::new("needs_for_postfix_dsn");
    if !area.needs(&[postfix::PROGRAM]) || !area.needs_root(postfix::PROGRAM) {
        return;
    }
    let outbound = Outbound::start("success_postfix");
    let certificate = Authority::new().leaf(&["mx.example.test"]);
    let postfix = Postfix::start(&outbound.area, "example.test", &certificate);
    outbound.dns.domain("example.test", postfix.address().ip());
    // The sender is at the same Postfix: its report arrives in the same mailbox.
    let mail = "<me@example.test> RET=HDRS ENVID=QQ+20314+2B1";
    let message = Message::plain("postfix", 1000);
    send(&outbound, mail, &message);
    let arrived = postfix.mailbox.wait_for(4, AFTER_RETRIES); // three copies and the report
    let is_report = |content: &&Vec<u8>| {
        String::from_utf8_lossy(content).contains("report-type=delivery-status")
    };
    let reports: Vec<String> = arrived
        .iter()
        .filter(is_report)
        .map(|content| String::from_utf8_lossy(content).to_ascii_lowercase())
        .collect();
    let [report] = reports.as_slice() else { panic!("{} reports", reports.len()) };
    assert!(report.contains("reporting-mta: dns; mx.example.test"), "{report}");
    assert!(report.contains("original-envelope-id: qq 314+1"), "{report}");
    assert!(report.contains("original-recipient: rfc822;old+name@elsewhere.test"), "{report}");
    assert!(report.contains("action: delivered"), "{report}");
    assert!(!report.contains("quiet@example.test"), "{report}");
    let copies = arrived.iter().filter(|content| !is_report(content));
    assert!(copies.clone().all(|content| id_of(content) == message.id()));
    assert_eq!(copies.count(), 3);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert!(!outbound.daemon.log().contains("notification made"));
}

#[test]
fn the_last_of_several_queues_reports_what_its_target_did() {
    let area = Area::new("success_dummy");
    let dns = Dns::start(area.socket());
    let home = Sink::start(area.socket());
    // Not `mx.sender.test`: that is the daemon itself.
    dns.mx("sender.test", &[(10, "home.sender.test")]);
    dns.host("home.sender.test", &[home.address().ip()]);
    let config = Config::new(&area, dns.address());
    let text = format!(
        "hostname mx.sender.test\nautogenerated_msg_domain sender.test\nstate_dir {state}\n\
         runtime_dir {run}\nresolver {dns}\ntls off\n\
         smtp tcp://{listen} {{\n    deliver_to &first\n}}\n\
         target.queue first {{\n    target &second\n    bounce {{\n        deliver_to &mx\n    }}\n}}\n\
         target.queue second {{\n    target dummy\n    bounce {{\n        deliver_to &mx\n    }}\n}}\n\
         target.remote mx {{\n    port {port}\n    allow_loopback_mx yes\n}}\n",
        state = area.file("state").display(),
        run = area.file("run").display(),
        dns = dns.address(),
        listen = config.listen,
        port = config.mx_port,
    );
    let daemon = Daemon::start(&area, &text);
    let mut client = Client::greeted(config.listen);
    let message = Message::plain("dummy", 1000);
    let mail = "<sender@sender.test> ENVID=QQ314";
    assert_eq!(client.transact_as(mail, &TO, message.bytes()).unwrap().code, 250);
    let told = Notification::read(&home.wait_for(1, SOON).remove(0).content);
    assert_eq!(told.message.get("Original-Envelope-Id"), "QQ314");
    assert_eq!(told.recipients.len(), 1);
    let about = told.about("user@example.test");
    assert_eq!(about.get("Action"), "delivered"); // nobody carries it further
    assert_eq!(about.get("Original-Recipient"), "rfc822; Old+Name@elsewhere.test");
    daemon.wait_until_queue_is_empty(SOON);
    wait_until("everything is settled", SOON, || daemon.queued().is_empty());
    let made = daemon.log().matches("notification made").count();
    assert_eq!((home.count(), made), (1, 1)); // the first queue has handed its duty on
}
