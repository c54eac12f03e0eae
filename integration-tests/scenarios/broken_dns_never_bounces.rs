//! What DNS cannot say today it may say tomorrow: the mail waits, and nobody is told that it failed.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use crate::harness::outbound::{AFTER_RETRIES, Outbound};
use crate::harness::sink::{Manners, Moment, Sink};

/// Tries that are not used up while a test waits.
fn start(test: &str) -> Outbound {
    Outbound::start_with(test, &[], |config| {
        config.queue = format!("max_tries 1000\n{}", config.queue);
    })
}

/// The mail for each domain waits with this status; then, with the domain repaired, it arrives. Nothing is bounced.
fn waits_and_arrives(outbound: &Outbound, sink: &Sink, domains: &[&str], status: &str) {
    let mut sent: Vec<String> =
        domains.iter().map(|domain| outbound.send(&format!("user@{domain}"))).collect();
    for (id, domain) in sent.iter().zip(domains) {
        let trace = outbound.daemon.wait_for_trace(id, "deferred", AFTER_RETRIES);
        assert!(trace.contains(&format!("451 {status}")), "{domain}: {trace}");
    }
    let mut waiting = outbound.daemon.queued();
    waiting.sort();
    sent.sort();
    assert_eq!(waiting, sent);
    for domain in domains {
        outbound.dns.forget(domain).domain(domain, sink.address().ip());
    }
    for domain in domains {
        sink.wait_for_recipient(&format!("user@{domain}"), AFTER_RETRIES);
    }
    assert_eq!(outbound.home.count(), 0);
}

#[test]
fn every_way_of_not_answering_is_waited_for() {
    let outbound = start("dns_no_answer");
    let (sink, _) = outbound.lone_sink();
    let dns = &outbound.dns;
    for (domain, code) in [
        ("servfail.test", ResponseCode::ServFail),
        ("refused.test", ResponseCode::Refused),
        ("notimp.test", ResponseCode::NotImp),
        ("formerr.test", ResponseCode::FormErr),
    ] {
        dns.fails(domain, RecordType::MX, code);
    }
    dns.is_silent("silent.test", RecordType::MX);
    dns.mx("cut.test", &[(10, "mx.cut.test")]).truncated("cut.test", RecordType::MX).refuse_tcp();
    let domains =
        ["servfail.test", "refused.test", "notimp.test", "formerr.test", "silent.test", "cut.test"];
    waits_and_arrives(&outbound, &sink, &domains, "4.4.3");
}

#[test]
fn aliases_in_a_circle_are_waited_for() {
    let outbound = start("dns_circle");
    let (sink, _) = outbound.lone_sink();
    let dns = &outbound.dns;
    dns.cname("circle.test", "other.test").cname("other.test", "circle.test");
    dns.cname("itself.test", "itself.test");
    // The domain is in order, its exchanger is not.
    dns.mx("example.test", &[(10, "mx.example.test")]).cname("mx.example.test", "mx.example.test");
    let domains = ["circle.test", "itself.test", "example.test"];
    waits_and_arrives(&outbound, &sink, &domains, "4.4.4");
}

#[test]
fn one_family_is_enough() {
    let outbound = start("dns_one_family");
    let sink = outbound.sink("example.test");
    outbound.dns.fails("mx.example.test", RecordType::AAAA, ResponseCode::ServFail);
    outbound.send("user@example.test");
    sink.wait_for_recipient("user@example.test", AFTER_RETRIES);
}

#[test]
fn a_refusal_is_not_the_last_word_while_a_family_is_unknown() {
    let outbound = start("dns_other_family");
    let refusing = Manners {
        answer: Box::new(|moment, _| {
            (moment == Moment::Greeting).then(|| "554 5.3.2 no mail here".to_owned())
        }),
        ..Manners::default()
    };
    let refusing = outbound.sink_with("example.test", refusing);
    outbound.dns.fails("mx.example.test", RecordType::AAAA, ResponseCode::ServFail);
    let (taking, _) = outbound.lone_sink();
    waits_and_arrives(&outbound, &taking, &["example.test"], "4.4.4");
    assert!(refusing.connections() > 0);
}
