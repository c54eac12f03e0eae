//! Which host gets the mail, from what DNS says: RFC 5321 §5.1, RFC 7505.

use hickory_resolver::proto::rr::RecordType;

use crate::harness::outbound::{Outbound, SOON};
use crate::harness::sink::{Manners, Moment};

#[test]
fn the_lowest_preference_comes_first() {
    let outbound = Outbound::start("lowest_preference");
    let (first, first_address) = outbound.lone_sink();
    let (second, second_address) = outbound.lone_sink();
    let (third, third_address) = outbound.lone_sink();
    outbound.dns.mx("example.test", &[(30, "c.test"), (10, "a.test"), (20, "b.test")]);
    outbound.dns.host("a.test", &[first_address]).host("b.test", &[second_address]);
    outbound.dns.host("c.test", &[third_address]);
    for number in 0..5 {
        outbound.send(&format!("user{number}@example.test"));
    }
    first.wait_for(5, SOON);
    assert_eq!((second.connections(), third.connections()), (0, 0));
}

#[test]
fn the_next_host_is_asked_when_one_fails() {
    let outbound = Outbound::start_with("next_host", &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned(); // in one attempt
    });
    let busy = Manners {
        answer: Box::new(|moment, _| {
            (moment == Moment::Greeting).then(|| "421 4.3.2 too busy".to_owned())
        }),
        ..Manners::default()
    };
    let refusing = outbound.sink_with("unused.test", busy);
    let (taking, taking_address) = outbound.lone_sink();
    let nobody = outbound.area.address(); // nobody listens there
    outbound
        .dns
        .mx("example.test", &[(10, "a.test"), (20, "b.test"), (30, "c.test"), (40, "d.test")]);
    outbound.dns.host("a.test", &[nobody.into()]).host("b.test", &[refusing.address().ip()]);
    outbound.dns.host("d.test", &[taking_address]); // c.test has no address at all
    outbound.send("user@example.test");
    taking.wait_for_recipient("user@example.test", SOON);
    assert_eq!(refusing.connections(), 1);
}

#[test]
fn an_address_record_is_a_mail_exchanger_when_there_is_no_other() {
    let outbound = Outbound::start("implicit_mx");
    let (sink, address) = outbound.lone_sink();
    outbound.dns.no_data("example.test", RecordType::MX).host("example.test", &[address]);
    outbound.send("user@example.test");
    sink.wait_for_recipient("user@example.test", SOON);
    assert!(outbound.dns.was_asked("example.test", RecordType::MX));
}

#[test]
fn an_alias_is_followed() {
    let outbound = Outbound::start("alias_followed");
    let (sink, address) = outbound.lone_sink();
    outbound.dns.mx("example.test", &[(10, "alias.test")]).cname("alias.test", "real.test");
    outbound.dns.host("real.test", &[address]).cname("other.test", "example.test");
    outbound.send("user@example.test");
    outbound.send("user@other.test"); // the domain itself is an alias
    sink.wait_for_recipient("user@example.test", SOON);
    sink.wait_for_recipient("user@other.test", SOON);
}

#[test]
fn a_truncated_answer_is_asked_for_again() {
    let outbound = Outbound::start("truncated_mx");
    let sink = outbound.sink("example.test");
    outbound.dns.truncated("example.test", RecordType::MX);
    outbound.send("user@example.test");
    sink.wait_for_recipient("user@example.test", SOON);
}

#[test]
fn null_mx_fails_at_once() {
    let outbound = Outbound::start("null_mx");
    outbound.dns.mx("example.test", &[(0, ".")]);
    outbound.send("user@example.test");
    outbound.assert_notified("user@example.test", "5.1.10"); // RFC 7505 §4
    assert!(!outbound.dns.was_asked("example.test", RecordType::A));
}

#[test]
fn a_domain_that_does_not_exist_fails_at_once() {
    let outbound = Outbound::start("no_such_domain");
    outbound.send("user@nobody.test");
    outbound.assert_notified("user@nobody.test", "5.1.2");
}

#[test]
fn a_name_that_is_reserved_is_not_asked_for() {
    let outbound = Outbound::start("reserved_name");
    outbound.send("user@example.invalid");
    outbound.assert_notified("user@example.invalid", "5.1.2"); // RFC 6761 §6.4
    assert!(!outbound.dns.asked().iter().any(|asked| asked.name.ends_with("invalid")));
}
