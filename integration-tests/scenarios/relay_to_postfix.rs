//! `target.smtp` and a real Postfix: STARTTLS and TLS before the greeting, SASL by Dovecot, certificates of clients, servers that stand in for
//! each other.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::{Authority, Certificate};
use crate::harness::dovecot::{self, Dovecot, PASSWORD};
use crate::harness::forwarding::Forwarding;
use crate::harness::message::Message;
use crate::harness::outbound::{SENDER, SOON};
use crate::harness::postfix::{self, Postfix};
use crate::harness::sink::Sink;

const TO: &str = "user@elsewhere.test";

struct Place {
    area: Area,
    authority: Authority,
    certificate: Certificate,
}

/// `None`: a program is missing.
fn place(test: &str, programs: &[&str]) -> Option<Place> {
    let area = Area::new(test);
    if !(area.needs(programs) && area.needs_root(postfix::PROGRAM)) {
        return None;
    }
    let authority = Authority::new();
    let certificate = authority.leaf(&["relay.example.test"]);
    Some(Place { area, authority, certificate })
}

impl Place {
    /// Sends a message by these lines; the daemon, and the queue id.
    fn send(&self, lines: &str, message: &Message) -> (Forwarding, String) {
        let root_ca = self.authority.write(&self.area);
        let lines = lines.replace("ROOT_CA", &root_ca.display().to_string());
        let forwarding = Forwarding::start(&self.area, "smtp", &lines);
        forwarding.dns.host("relay.example.test", &["127.0.0.1".parse().unwrap()]);
        let id = forwarding.daemon.send(SENDER, &[TO], message.bytes());
        (forwarding, id)
    }
}

fn sasl(dovecot: &Dovecot) -> String {
    format!(
        "  -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_type=dovecot
  -o smtpd_sasl_path={}
  -o smtpd_tls_auth_only=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n",
        dovecot.auth_socket().display()
    )
}

fn target(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}

#[test]
fn credentials_are_taken_over_starttls_and_over_tls_before_the_greeting() {
    let programs = [postfix::PROGRAM, dovecot::PROGRAM];
    for (scheme, more) in [("tcp", ""), ("tls", "  -o smtpd_tls_wrappermode=yes\n")] {
        for mechanism in ["plain", "login"] {
            let test = format!("sasl_{scheme}_{mechanism}");
            let Some(place) = place(&test, &programs) else { return };
            let dovecot = Dovecot::start(&place.area);
            let certificate = place.authority.leaf(&["relay.example.test", "127.0.0.1"]);
            let options = sasl(&dovecot) + more;
            let postfix = Postfix::relay(&place.area, &certificate, &options);
            let address = postfix.address();
            let by_name = format!("{scheme}://relay.example.test:{}", address.port());
            let message = Message::plain(&test, 3000);
            let root_ca = place.authority.write(&place.area);
            let lines = format!(
                "targets {by_name}
                auth {mechanism} ann@example.test {PASSWORD}
                tls_client {{ root_ca {} }}",
                root_ca.display()
            );
            let forwarding = Forwarding::start(&place.area, "smtp", &lines);
            forwarding.dns.host("relay.example.test", &[address.ip()]);
            forwarding.daemon.send(SENDER, &[TO], message.bytes());
            let arrived = postfix.mailbox.wait_for(1, SOON);
            message.assert_arrived(&arrived[0], &postfix::ADDED);
            let log = postfix.log();
            assert!(log.contains("sasl_username=ann"), "{log}");
            assert!(!forwarding.daemon.log().contains(PASSWORD));
        }
    }
}

#[test]
fn wrong_credentials_hold_mail_and_are_not_shown_again_at_once() {
    let programs = [postfix::PROGRAM, dovecot::PROGRAM];
    let Some(place) = place("sasl_wrong", &programs) else { return };
    let dovecot = Dovecot::start(&place.area);
    let postfix = Postfix::relay(&place.area, &place.certificate, &sasl(&dovecot));
    let message = Message::plain("sasl_wrong", 1000);
    let lines = format!(
        "targets {}\nauth plain ann@example.test wrong-password\ntls_client {{ root_ca ROOT_CA }}",
        target("tcp", postfix.address())
    );
    let (forwarding, id) = place.send(&lines, &message);
    let trace = forwarding.daemon.wait_for_trace(&id, "4.7.8", SOON);
    assert!(trace.contains("535"), "{trace}");
    // Retries come after a second, and would lock the account.
    forwarding.daemon.wait_for_trace(&id, "shown again at", SOON);
    let log = forwarding.daemon.log();
    assert!(log.contains("server refuses our credentials"), "{log}");
    let tried = postfix.log().matches("authentication failed").count();
    assert_eq!(tried, 1, "{}", postfix.log());
    assert_eq!(forwarding.daemon.queued().len(), 1);
    assert!(!log.contains("wrong-password") && !trace.contains("wrong-password"));
}

#[test]
fn our_certificate_opens_the_door() {
    let Some(place) = place("client_certificate", &[postfix::PROGRAM]) else { return };
    let root_ca = place.authority.write(&place.area);
    let options = format!(
        "  -o smtpd_tls_security_level=encrypt -o smtpd_tls_req_ccert=yes
  -o smtpd_tls_CAfile={}
  -o smtpd_recipient_restrictions=permit_tls_all_clientcerts,reject
  -o smtpd_relay_restrictions=permit_tls_all_clientcerts,reject\n",
        root_ca.display()
    );
    let postfix = Postfix::relay(&place.area, &place.certificate, &options);
    let ours = place.authority.leaf(&["mx.sender.test"]);
    let (chain, key) = ours.write(&place.area, "ours");
    let message = Message::plain("client_certificate", 1000);
    let lines = format!(
        "targets {}
        tls_client {{ root_ca ROOT_CA
            cert {}
            key {}
        }}",
        target("tcp", postfix.address()),
        chain.display(),
        key.display()
    );
    let (forwarding, _) = place.send(&lines, &message);
    let arrived = postfix.mailbox.wait_for(1, SOON);
    message.assert_arrived(&arrived[0], &postfix::ADDED);
    drop(forwarding);
    // And nothing else does: the server ends the session when no certificate comes (RFC 8446 §4.4.2.4).
    let without = Area::new("no_client_certificate");
    let lines = format!(
        "targets {}\ntls_client {{ root_ca {} }}",
        target("tcp", postfix.address()),
        root_ca.display()
    );
    let forwarding = Forwarding::start(&without, "smtp", &lines);
    let id = forwarding.daemon.send(SENDER, &[TO], message.bytes());
    forwarding.daemon.wait_for_trace(&id, "deferred", SOON);
    assert_eq!(postfix.mailbox.messages().len(), 1);
}

#[test]
fn require_tls_wants_the_name_that_is_written_in_the_target() {
    let Some(place) = place("require_tls", &[postfix::PROGRAM]) else { return };
    let postfix = Postfix::relay(&place.area, &place.certificate, "");
    let message = Message::plain("require_tls", 1000);
    // The certificate has a name, and the target an address.
    let lines = format!(
        "targets {}\nrequire_tls yes\ntls_client {{ root_ca ROOT_CA }}",
        target("tcp", postfix.address())
    );
    let (forwarding, id) = place.send(&lines, &message);
    forwarding.daemon.wait_for_trace(&id, "4.7.5", SOON);
    assert!(postfix.mailbox.messages().is_empty());
}

#[test]
fn who_is_down_is_stood_in_for() {
    let area = Area::new("stand_in");
    let (dead, sink) = (area.socket(), Sink::start(area.socket()));
    let lines = format!("targets tcp://{dead} tcp://{}", sink.address());
    let forwarding = Forwarding::start(&area, "smtp", &lines);
    let message = Message::plain("stand_in", 1000);
    forwarding.daemon.send(SENDER, &[TO], message.bytes());
    sink.wait_for(1, SOON);
    // All down is temporary, and tells of each.
    let place = Area::new("all_down");
    let lines = format!("targets tcp://{dead} tcp://{}", place.socket());
    let forwarding = Forwarding::start(&place, "smtp", &lines);
    let id = forwarding.daemon.send(SENDER, &[TO], message.bytes());
    let trace = forwarding.daemon.wait_for_trace(&id, "4.4.1", SOON);
    assert_eq!(forwarding.daemon.queued().len(), 1, "{trace}");
}

#[test]
fn a_session_is_used_again() {
    let area = Area::new("relay_reuse");
    let sink = Sink::start(area.socket());
    let forwarding = Forwarding::start(&area, "smtp", &format!("targets tcp://{}", sink.address()));
    for number in 0..3 {
        let message = Message::plain(&format!("relay_reuse_{number}"), 1000);
        forwarding.daemon.send(SENDER, &[TO], message.bytes());
        sink.wait_for(number + 1, Duration::from_secs(20));
        forwarding.daemon.wait_until_queue_is_empty(SOON);
    }
    assert_eq!(sink.connections(), 1);
}
