//! `delay_warning`: a sender hears once that a message has to wait, and until when it will be tried.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::notification::Notification;
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

/// Refuses by the beginning of the local part: `late` for now, `never` for good; takes everybody else.
fn mixed() -> Manners {
    let answer = |at, line: &str| {
        let to = |who: &str| at == Moment::Rcpt && line.contains(&format!("<{who}"));
        match () {
            () if to("late") => Some("450 4.2.1 come back".to_owned()),
            () if to("never") => Some("550 5.1.1 no such user".to_owned()),
            () => None,
        }
    };
    Manners { answer: Box::new(answer), ..Manners::default() }
}

fn patient(test: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = "initial_retry_time 1s
            retry_time_scale 1.0
            max_tries 5000
            delay_warning 2s
            bounce {
                deliver_to &mx
            }"
        .to_owned();
    })
}

#[test]
fn a_delay_is_told_once_also_across_a_restart() {
    let mut outbound = patient("delay_once");
    let sink = outbound.sink_with("example.test", mixed());
    let mut client = Client::greeted(outbound.listen());
    let to = [
        "<late@example.test> ORCPT=rfc822;late@example.test",
        "<late.never@example.test> NOTIFY=NEVER",
        "<late.success@example.test> NOTIFY=SUCCESS,FAILURE",
        "<late.delay@example.test> NOTIFY=DELAY",
    ];
    let content = Message::plain("late", 1000);
    let mail = "<sender@sender.test> ENVID=E1 RET=FULL";
    assert_eq!(client.transact_as(mail, &to, content.bytes()).unwrap().code, 250);
    let message = outbound.home.wait_for(1, AFTER_RETRIES).remove(0);
    assert!(message.from.starts_with("<>"));
    let told = Notification::read(&message.content);
    assert_eq!(told.header.get("Subject"), "Delivery of your mail is delayed");
    assert_eq!(told.message.get("Original-Envelope-Id"), "E1");
    assert_eq!(told.recipients.len(), 2);
    for recipient in ["late@example.test", "late.delay@example.test"] {
        let about = told.about(recipient);
        assert_eq!((about.get("Action"), about.get("Status")), ("delayed", "4.2.1"));
        assert_eq!(about.get("Diagnostic-Code"), "smtp; 450 4.2.1 come back");
        let until = about.get("Will-Retry-Until");
        assert!(until.ends_with("+0000") && until != about.get("Last-Attempt-Date"), "{until}");
    }
    let about = told.about("late@example.test");
    assert_eq!(about.get("Original-Recipient"), "rfc822; late@example.test");
    assert!(told.text.contains("You need not send it again"), "{}", told.text);
    assert!(told.text.contains("Will be tried until"), "{}", told.text);
    assert_eq!(told.returned.kind(), "text/rfc822-headers"); // RFC 3461 §4.3: FULL is for failures

    // Further attempts, in this life and the next one, tell nothing new.
    let area = &outbound.area;
    for _ in 0..2 {
        let tried = sink.connections();
        wait_until("it is tried further", AFTER_RETRIES, || sink.connections() >= tried + 2);
        outbound.daemon.kill9();
        outbound.daemon.restart(area);
    }
    let tried = sink.connections();
    wait_until("it is tried further", AFTER_RETRIES, || sink.connections() >= tried + 2);
    assert_eq!(outbound.home.count(), 1);
}

#[test]
fn mail_without_sender_is_late_in_silence() {
    let outbound = patient("delay_null");
    let sink = outbound.sink_with("example.test", mixed());
    outbound.daemon.send("", &["late@example.test"], Message::plain("null", 1000).bytes());
    sleep(Duration::from_secs(2)); // what has to pass is the age itself
    let tried = sink.connections();
    wait_until("it is tried when it is old", AFTER_RETRIES, || sink.connections() >= tried + 2);
    assert!(!outbound.daemon.log().contains("notification made"));
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn one_attempt_that_ends_in_three_ways_gives_one_notification() {
    let outbound = Outbound::start_with("three_ways", &[], |config| {
        // The first attempt is late already when the greeting comes.
        config.queue = "initial_retry_time 1h
            delay_warning 1s
            bounce {
                deliver_to &mx
            }"
        .to_owned();
    });
    let Manners { answer, keywords, .. } = mixed();
    let slow = move |at, line: &str| {
        if at == Moment::Greeting {
            sleep(Duration::from_millis(1500));
        }
        answer(at, line)
    };
    let manners = Manners { answer: Box::new(slow), keywords, ..Manners::default() };
    let sink = outbound.sink_with("example.test", manners);
    let mut client = Client::greeted(outbound.listen());
    let to = [
        "<good@example.test> NOTIFY=SUCCESS",
        "<never@example.test>",
        "<late@example.test>",
        "<fine@example.test>",
    ];
    let content = Message::plain("three", 1000);
    assert_eq!(client.transact_as("<sender@sender.test>", &to, content.bytes()).unwrap().code, 250);
    let message = outbound.home.wait_for(1, SOON).remove(0);
    let told = Notification::read(&message.content);
    assert_eq!(told.header.get("Subject"), "Mail undelivered to some of its recipients");
    let action = |who: &str| told.about(who).get("Action").to_owned();
    assert_eq!(action("good@example.test"), "relayed");
    assert_eq!(action("never@example.test"), "failed");
    assert_eq!(action("late@example.test"), "delayed");
    assert_eq!(told.recipients.len(), 3);
    let place =
        |text: &str| told.text.find(text).unwrap_or_else(|| panic!("{text}: {}", told.text));
    let failed = place("No further attempts");
    let delayed = place("You need not send it again");
    let relayed = place("passed on to a server that does not");
    assert!(failed < delayed && delayed < relayed);
    assert!(failed < place("<never@example.test>") && place("<never@example.test>") < delayed);
    assert!(delayed < place("<late@example.test>") && place("<late@example.test>") < relayed);
    assert!(relayed < place("<good@example.test>"));
    assert_eq!((sink.count(), outbound.home.count()), (1, 1));
    wait_until("only the late one waits", SOON, || outbound.daemon.queued().len() == 1);
}
