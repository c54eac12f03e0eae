//! `mx_auth { local_policy ... }` and `dnssec`: no mail goes where less is offered than is demanded, and none is bounced for it.

use hickory_resolver::proto::rr::RecordType;

use crate::harness::certificates::{Authority, Certificate, self_signed};
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Sink};

/// A daemon with these lines in `mx_auth`, and an authority it trusts.
fn start(test: &str, lines: &str) -> (Outbound, Authority) {
    let authority = Authority::new();
    let mut kept = None;
    let outbound = Outbound::start_with(test, &[], |config| {
        let area = crate::harness::area::Area::new(&format!("{test}_roots"));
        let root = authority.write(&area);
        config.remote =
            format!("tls_client {{ root_ca {} }}\nmx_auth {{\n{lines}\n}}", root.display());
        kept = Some(area);
    });
    drop(kept);
    (outbound, authority)
}

fn secured(outbound: &Outbound, domain: &str, certificate: &Certificate) -> Sink {
    let manners = Manners { tls: Some(certificate.acceptor()), ..Manners::default() };
    outbound.sink_with(domain, manners)
}

/// Waits until the message to this domain was put off with this status, and checks that nobody was given it.
fn assert_put_off(outbound: &Outbound, sink: &Sink, domain: &str, status: &str) {
    let id = outbound.send(&format!("user@{domain}"));
    outbound.daemon.wait_for_trace(&id, status, SOON);
    assert_eq!(sink.count(), 0);
    let said: Vec<String> = sink.lines().into_iter().flatten().collect();
    assert!(!said.iter().any(|line| line.starts_with("MAIL")), "{said:?}");
    assert_eq!(outbound.home.count(), 0, "a policy bounces nothing");
}

#[test]
fn a_minimum_of_encryption_keeps_mail_from_servers_without() {
    let policy = "local_policy {\n    min_tls_level encrypted\n}";
    let (outbound, _) = start("policy_encrypted", policy);
    let clear = outbound.sink("clear.test");
    assert_put_off(&outbound, &clear, "clear.test", "4.7.1");
    // No second connection in the clear, however the first one ended.
    assert!(clear.lines().iter().all(|lines| lines.iter().all(|line| line != "STARTTLS")));
    let any = secured(&outbound, "any.test", &self_signed(&["mx.elsewhere.test"]));
    outbound.send("user@any.test");
    let taken = any.wait_for(1, SOON);
    assert!(taken[0].tls.is_some());
    // The sender may waive it (RFC 8689 §3).
    let message = Message::plain("waived", 500);
    let waived = [b"TLS-Required: No\r\n".as_slice(), message.bytes()].concat();
    outbound.daemon.send(SENDER, &["waives@clear.test"], &waived);
    clear.wait_for_recipient("waives@clear.test", SOON);
}

#[test]
fn a_minimum_of_authentication_wants_a_certificate_of_the_right_name() {
    let policy = "local_policy {\n    min_tls_level authenticated\n}";
    let (outbound, authority) = start("policy_authenticated", policy);
    let other = secured(&outbound, "other.test", &authority.leaf(&["mx.elsewhere.test"]));
    assert_put_off(&outbound, &other, "other.test", "4.7.1");
    let unknown = secured(&outbound, "unknown.test", &self_signed(&["mx.unknown.test"]));
    assert_put_off(&outbound, &unknown, "unknown.test", "4.7.1");
    let old = secured(&outbound, "old.test", &authority.expired(&["mx.old.test"]));
    assert_put_off(&outbound, &old, "old.test", "4.7.1");
    let good = secured(&outbound, "good.test", &authority.leaf(&["mx.good.test"]));
    // Two, the second over the session of the first: it is judged again, and good again.
    for number in 1..=2 {
        outbound.send(&format!("user{number}@good.test"));
        good.wait_for(number, SOON);
    }
    assert_eq!(good.connections(), 1);
    let log = outbound.daemon.log();
    assert!(log.contains("tls_level: authenticated"), "{log}");
}

#[test]
fn an_exchanger_of_an_unsigned_list_is_not_dialled_where_dnssec_is_demanded() {
    let policy = "dnssec\nlocal_policy {\n    min_mx_level dnssec\n}";
    let (outbound, _) = start("policy_dnssec", policy);
    let unsigned = outbound.sink("unsigned.test");
    assert_put_off(&outbound, &unsigned, "unsigned.test", "4.7.0");
    assert_eq!(unsigned.connections(), 0);
    let signed = outbound.sink("signed.test");
    outbound.dns.authentic("signed.test");
    outbound.send("user@signed.test");
    signed.wait_for(1, SOON);
    wait_until("the level is told", SOON, || outbound.daemon.log().contains("mx_level: dnssec"));
    // The proof that there is no MX counts as well.
    let implicit = outbound.sink("mx.implicit.test");
    outbound.dns.host("implicit.test", &[implicit.address().ip()]);
    outbound.dns.no_data("implicit.test", RecordType::MX).authentic("implicit.test");
    outbound.send("user@implicit.test");
    implicit.wait_for(1, SOON);
    // This name server vouches for nothing of the root: an operator is told.
    wait_until("the resolver is examined", SOON, || {
        outbound.daemon.said(&["status"]).contains("without AD bit")
    });
    // The domain is repaired: what waited goes out.
    outbound.dns.authentic("unsigned.test");
    unsigned.wait_for(1, std::time::Duration::from_secs(90));
}
