//! A failure is told to the sender once, completely, in a form that programs and people can read; and to nobody else.

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::notification::Notification;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SENDER, SOON};
use crate::harness::postfix::{self, Postfix};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment, Sink};
use crate::harness::swaks;

/// A server that refuses everybody at this moment with this reply.
fn refusing(moment: Moment, reply: &'static str) -> Manners {
    let answer = Box::new(move |at, _: &str| (at == moment).then(|| reply.to_owned()));
    Manners { answer, ..Manners::default() }
}

/// Sends with parameters as a client that knows DSN does.
fn send_as(outbound: &Outbound, mail: &str, to: &[&str], content: &[u8]) {
    let mut client = Client::greeted(outbound.listen());
    let reply = client.transact_as(mail, to, content).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
}

fn first_at_home(outbound: &Outbound) -> Notification {
    let message = outbound.home.wait_for(1, AFTER_RETRIES).remove(0);
    assert!(message.from.starts_with("<>"), "{}", message.from); // RFC 3461 §6.1
    Notification::read(&message.content)
}

/// How many notifications a queue has counted as told to nobody.
fn untold(outbound: &Outbound) -> u64 {
    let status: serde_json::Value =
        serde_json::from_str(&outbound.daemon.said(&["status", "--json"])).unwrap();
    status["queues"][0]["untold"].as_u64().expect("member untold")
}

#[test]
fn what_postfix_refuses_comes_back_to_who_sent_it_with_swaks() {
    let area = Area::new("needs_for_postfix");
    if !area.needs(&[postfix::PROGRAM, swaks::PROGRAM]) || !area.needs_root(postfix::PROGRAM) {
        return;
    }
    let outbound = Outbound::start("bounce_of_postfix");
    let certificate = Authority::new().leaf(&["mx.example.test"]);
    let postfix = Postfix::start(&outbound.area, "example.test", &certificate);
    outbound.dns.domain("example.test", postfix.address().ip());
    let message = Message::plain("refused", 3000);
    let to = "reject@example.test";
    let sent = swaks::send(&outbound.area, outbound.listen(), SENDER, to, &message, &[]);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stdout));
    let told = first_at_home(&outbound);

    let header = &told.header;
    assert_eq!(header.get("From"), "Mail Delivery System <MAILER-DAEMON@sender.test>");
    assert_eq!(header.get("To"), "<sender@sender.test>");
    assert_eq!(header.get("Subject"), "Undelivered mail returned to sender");
    assert_eq!(header.get("Auto-Submitted"), "auto-replied"); // RFC 3834 §5
    assert_eq!(header.get("MIME-Version"), "1.0");
    assert_eq!(header.get("In-Reply-To"), "<refused@sender.test>");
    assert!(header.get("Message-ID").ends_with("@sender.test>"));
    assert!(header.get("Date").ends_with("+0000"));

    let about = &told.message;
    assert_eq!(about.get("Reporting-MTA"), "dns; mx.sender.test");
    assert_eq!(about.get("Received-From-MTA"), "dns; client.test");
    assert!(about.get("Arrival-Date").ends_with("+0000"));
    assert_eq!(about.find("Original-Envelope-Id"), None); // none was given
    assert_eq!(told.recipients.len(), 1);
    let about = told.about(to);
    assert_eq!(about.get("Final-Recipient"), "rfc822; reject@example.test");
    assert_eq!(about.get("Action"), "failed");
    assert_eq!(about.get("Status"), "5.1.1");
    assert_eq!(about.get("Remote-MTA"), "dns; mx.example.test");
    let diagnostic = about.get("Diagnostic-Code");
    assert!(diagnostic.starts_with("smtp; 550 5.1.1 "), "{diagnostic}");
    assert!(diagnostic.contains("no such user"), "{diagnostic}");
    assert!(about.get("Last-Attempt-Date").ends_with("+0000"));
    assert_eq!(about.find("Will-Retry-Until"), None); // RFC 3464 §2.3.9: for delays only

    assert!(told.text.contains("could not be delivered"), "{}", told.text);
    assert!(told.text.contains("<reject@example.test>") && told.text.contains("said: 550 5.1.1"));
    assert_eq!(told.returned.kind(), "text/rfc822-headers");
    let returned = told.returned.text();
    assert!(
        returned.contains("Subject: test refused\r\n") && !returned.contains("quick brown fox")
    );
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((outbound.home.count(), untold(&outbound)), (1, 0));
}

#[test]
fn what_the_client_named_is_named_to_it() {
    let outbound = Outbound::start("bounce_names");
    let _refusing = outbound.sink_with("example.test", refusing(Moment::Rcpt, "550 5.1.1 no"));
    let small = Message::plain("small", 3000);
    send_as(
        &outbound,
        "<sender@sender.test> RET=FULL ENVID=QQ+20314+2B1",
        &["<user@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;Old+2BName@elsewhere.test"],
        small.bytes(),
    );
    let told = first_at_home(&outbound);
    assert_eq!(told.message.get("Original-Envelope-Id"), "QQ 314+1"); // RFC 3461 §6.3: decoded
    let about = told.about("user@example.test");
    assert_eq!(about.get("Original-Recipient"), "rfc822; Old+Name@elsewhere.test");
    // RET=FULL: the message comes back whole.
    assert_eq!(told.returned.kind(), "message/rfc822");
    let body = told.returned.text();
    assert!(body.contains("quick brown fox") && body.contains("X-Test-Id: small"), "{body}");
}

#[test]
fn a_large_message_comes_back_as_its_header() {
    let outbound = Outbound::start("bounce_of_large");
    let _refusing =
        outbound.sink_with("example.test", refusing(Moment::Dot, "552 5.3.4 too large"));
    // Above 1 MiB the body is a file of its own.
    let large = Message::plain("large", 2_500_000);
    send_as(&outbound, "<sender@sender.test> RET=FULL", &["<user@example.test>"], large.bytes());
    let told = first_at_home(&outbound);
    assert_eq!(told.about("user@example.test").get("Status"), "5.3.4");
    assert_eq!(told.returned.kind(), "text/rfc822-headers");
    assert!(told.returned.text().contains("X-Test-Id: large"));
}

#[test]
fn whoever_wants_no_report_gets_none() {
    let outbound = Outbound::start("bounce_unwanted");
    let refusing = outbound.sink_with("example.test", refusing(Moment::Rcpt, "550 5.1.1 no"));
    let to = [
        "<a@example.test> NOTIFY=NEVER",
        "<b@example.test> NOTIFY=SUCCESS,DELAY",
        "<c@example.test> NOTIFY=FAILURE",
        "<d@example.test>",
    ];
    send_as(&outbound, "<sender@sender.test>", &to, Message::plain("wishes", 1000).bytes());
    let told = first_at_home(&outbound);
    let named =
        |fields: &crate::harness::notification::Fields| fields.get("Final-Recipient").to_owned();
    let recipients: Vec<String> = told.recipients.iter().map(named).collect();
    assert_eq!(recipients, ["rfc822; c@example.test", "rfc822; d@example.test"]);
    // And for one who wants none at all nothing is sent.
    send_as(&outbound, "<sender@sender.test>", &to[..1], Message::plain("never", 1000).bytes());
    let refusals = || refusing.lines().concat().iter().filter(|l| l.starts_with("RCPT")).count();
    wait_until("both were tried", SOON, || refusals() == 5);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((outbound.home.count(), untold(&outbound)), (1, 0));
}

#[test]
fn utf8_comes_back_as_utf8() {
    let outbound = Outbound::start("bounce_utf8");
    let keywords = vec!["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];
    let home = Sink::with(
        outbound.area.socket(),
        Manners { keywords: keywords.clone(), ..Manners::default() },
    );
    outbound.dns.domain("utf8.test", home.address().ip());
    let manners = Manners { keywords, ..refusing(Moment::Rcpt, "550 5.1.1 unbekannt") };
    let _refusing = outbound.sink_with("example.test", manners);
    let content = "Subject: Grüße\r\nFrom: jürgen@utf8.test\r\n\r\nhallo\r\n".as_bytes();
    let mut client = Client::greeted(outbound.listen());
    let mail = "<jürgen@utf8.test> SMTPUTF8 BODY=8BITMIME";
    let reply = client.transact_as(mail, &["<börk@example.test>"], content).unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let message = home.wait_for(1, AFTER_RETRIES).remove(0);
    assert!(message.from.starts_with("<>") && message.from.contains("SMTPUTF8"));
    assert!(message.is_for("jürgen@utf8.test"));
    let told = Notification::read(&message.content);
    assert_eq!(told.header.get("To"), "<jürgen@utf8.test>");
    assert_eq!(told.parts[1].kind(), "message/global-delivery-status"); // RFC 6533 §4
    let about = told.about("börk@example.test");
    assert_eq!(about.get("Final-Recipient"), "utf-8; börk@example.test");
    assert_eq!(told.returned.kind(), "message/global-headers"); // RFC 6533 §6
    assert!(told.returned.text().contains("Subject: Grüße\r\n"));
    assert!(told.text.contains("<börk@example.test>"));
}

#[test]
fn the_bounce_pipeline_speaks_the_whole_language() {
    let outbound = Outbound::start_with("bounce_language", &[], |config| {
        config.global += "\ntable.static moved {\n    entry old@sender.test new@moved.test\n}";
        config.queue = "initial_retry_time 1h
            bounce {
                source elsewhere.test {
                    reject 550 5.7.1 \"notifications have no sender\"
                }
                default_source {
                    destination refused.test {
                        reject 554 5.7.1 \"no notifications for them\"
                    }
                    destination old@sender.test {
                        modify {
                            replace_rcpt &moved
                        }
                        reroute {
                            destination moved.test {
                                deliver_to &outbound
                            }
                            default_destination {
                                reject
                            }
                        }
                    }
                    default_destination {
                        deliver_to &mx
                    }
                }
            }"
        .to_owned();
    });
    let _refusing = outbound.sink_with("example.test", refusing(Moment::Rcpt, "550 5.1.1 no"));
    let moved = outbound.sink("moved.test");
    let content = Message::plain("rules", 1000);
    let from = |sender: &str| outbound.daemon.send(sender, &["user@example.test"], content.bytes());
    // A rule with a table, rerouted, back through the same queue.
    from("old@sender.test");
    let message = moved.wait_for_recipient("new@moved.test", AFTER_RETRIES);
    let told = Notification::read(&message.content);
    assert_eq!(told.header.get("To"), "<old@sender.test>"); // the one it is about
    assert_eq!(told.about("user@example.test").get("Status"), "5.1.1");
    // The ordinary way.
    from(SENDER);
    outbound.home.wait_for_recipient(SENDER, AFTER_RETRIES);
    // Refused by a rule: said and counted.
    let id = from("ann@refused.test");
    wait_until("it is said", SOON, || {
        outbound.daemon.log().lines().any(|line| {
            line.contains("the bounce pipeline refuses its recipient")
                && line.contains(&id)
                && line.contains("no notifications for them")
        })
    });
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((moved.count(), outbound.home.count(), untold(&outbound)), (1, 1, 1));
}

#[test]
fn a_bounce_pipeline_that_has_no_answer_now_loses_no_notification() {
    let mut outbound = Outbound::start_with("bounce_later", &[], |config| {
        let table = config.area.join("aliases");
        std::fs::write(&table, "sender@sender.test: no address\n").unwrap();
        config.queue = format!(
            "initial_retry_time 1h
            bounce {{
                modify {{
                    replace_rcpt file {}
                }}
                deliver_to &mx
            }}",
            table.display()
        );
    });
    let refusing = outbound.sink_with("example.test", refusing(Moment::Rcpt, "550 5.1.1 no"));
    let id = outbound.send("user@example.test");
    wait_until("the settlement waits for the table", SOON, || {
        outbound.daemon.log().contains("the bounce pipeline does not answer: 451 4.3.0")
    });
    assert_eq!(outbound.daemon.queued(), [id]);
    // The table is mended; the next life finds the outcome in the journal, and the way.
    outbound.daemon.kill9();
    outbound.area.write("aliases", "sender@sender.test: sender@sender.test\n");
    outbound.daemon.restart(&outbound.area);
    let told = first_at_home(&outbound);
    assert_eq!(told.about("user@example.test").get("Status"), "5.1.1");
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!((refusing.connections(), outbound.home.count()), (1, 1));
}

#[test]
fn a_notification_that_is_refused_ends_in_the_log() {
    let outbound = Outbound::start("bounce_refused");
    let _refusing = outbound.sink_with("example.test", refusing(Moment::Rcpt, "550 5.1.1 no"));
    let unwilling =
        outbound.sink_with("unwilling.test", refusing(Moment::Dot, "554 5.7.1 no mail"));
    let id = outbound.daemon.send(
        "ann@unwilling.test",
        &["user@example.test"],
        Message::plain("lost", 1000).bytes(),
    );
    wait_until("the end of the notification is logged", AFTER_RETRIES, || {
        outbound.daemon.log().lines().any(|line| {
            line.contains("nobody is told of a failure: the sender is null")
                && line.contains("ann@unwilling.test")
                && line.contains("554 5.7.1 no mail")
        })
    });
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(unwilling.connections(), 1, "refused for good is not tried again");
    assert_eq!((outbound.home.count(), untold(&outbound)), (0, 1));
    // The line before says which notification it was.
    let made = outbound.daemon.log();
    assert!(made.lines().any(|line| line.contains("notification made") && line.contains(&id)));
}

#[test]
fn without_bounce_nobody_is_told_and_the_start_says_so() {
    let outbound = Outbound::start_with("no_bounce", &[], |config| {
        config.queue = "initial_retry_time 1h\ndelay_warning 1s".to_owned();
    });
    let refusing = outbound.sink_with("example.test", refusing(Moment::Rcpt, "550 5.1.1 no"));
    let log = outbound.daemon.log();
    assert!(log.contains("no bounce block: senders will not be told"), "{log}");
    assert!(log.contains("delay_warning has no effect without a bounce block"), "{log}");
    outbound.send("user@example.test");
    wait_until("it was tried", SOON, || refusing.connections() == 1);
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert!(!outbound.daemon.log().contains("notification made"));
    assert_eq!(outbound.home.count(), 0);
}
