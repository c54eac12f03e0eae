//! The peers that ask who comes: Postfix by Dovecot's passwords and by certificates, and Exim by all mechanisms there are.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::dovecot::PASSWORD;
use crate::harness::exim::{self, Exim};
use crate::harness::message::Message;
use crate::harness::mounts;
use crate::harness::smarthost::{Entrance, Smarthost};
use crate::harness::swaks;

const FROM: &str = "sender@sender.test";
const TO: &str = "user@example.test";

#[test]
fn each_door_of_the_smarthost_asks_for_its_own() {
    let area = Area::new("smarthost_doors");
    if !area.needs(&[swaks::PROGRAM]) || !swaks::speaks_tls(&area) {
        return;
    }
    let Some(host) = Smarthost::start(&area) else { return };
    let (certificate, key) = host.authority.leaf(&["client.test"]).write(&area, "client");
    let show = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let plain = ["--auth", "PLAIN", "--auth-user", "ann", "--auth-password", PASSWORD];
    let login = ["--auth", "LOGIN", "--auth-user", "ann", "--auth-password", PASSWORD];
    let wrong = ["--auth", "PLAIN", "--auth-user", "ann", "--auth-password", "wrong"];
    let message = Message::plain("doors", 1000);
    let rows: &[(Entrance, &[&[&str]], bool)] = &[
        (Entrance::Clear, &[], true),
        (Entrance::Clear, &[&["--tls"]], false),
        (Entrance::Clear, &[&plain], true),
        (Entrance::StartTls, &[], true),
        (Entrance::StartTls, &[&["--tls"]], true),
        (Entrance::Unproven, &[&["--tls"]], true),
        (Entrance::Implicit, &[&["--tls-on-connect"]], true),
        (Entrance::Neighbour, &[], false),
        (Entrance::Neighbour, &[&login], true),
        (Entrance::Neighbour, &[&wrong], false),
        (Entrance::Login, &[&["--tls"]], false),
        (Entrance::Login, &[&plain], false), // not without TLS
        (Entrance::Login, &[&["--tls"], &plain], true),
        (Entrance::Login, &[&["--tls"], &wrong], false),
        (Entrance::OnlyLogin, &[&["--tls-on-connect"], &login], true),
        (Entrance::OnlyLogin, &[&["--tls-on-connect"], &plain], false),
        (Entrance::Certified, &[&["--tls"]], false),
        (Entrance::Certified, &[&["--tls"], &show], true),
        (Entrance::Strict, &[&["--tls"]], false),
        (Entrance::Strict, &[&["--tls"], &show], true),
    ];
    for (entrance, options, taken) in rows {
        let output =
            swaks::send(&area, host.address(*entrance), FROM, TO, &message, &options.concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), *taken, "{entrance:?} {options:?}: {said}");
    }
}

#[test]
fn exim_knows_who_logs_in_and_who_shows_a_certificate() {
    let area = Area::new("exim_members");
    if !area.needs(&[exim::PROGRAM]) || !mounts::can_be_made(&area) {
        return;
    }
    let authority = Authority::new();
    let roots = authority.write(&area);
    let server = authority.leaf(&["members.test"]);
    let exim = Exim::for_members(&area, &server, &roots, ("ann", PASSWORD));
    let identity = authority.leaf(&["client.test"]).write(&area, "client");
    let plain = openssl::base64::encode_block(format!("\0ann\0{PASSWORD}").as_bytes());
    let wrong = openssl::base64::encode_block(b"\0ann\0wrong");

    let mut client = secured(&exim, None);
    assert!(!client.say("EHLO client.test").unwrap().text().contains("EXTERNAL"));
    assert_eq!(client.say(&format!("AUTH PLAIN {wrong}")).unwrap().code, 535);
    assert_eq!(client.say("AUTH EXTERNAL =").unwrap().code, 504); // not offered
    assert_eq!(client.transact(FROM, &[TO], b"Subject: x\r\n\r\n").unwrap().code, 550);
    assert_eq!(client.say("RSET").unwrap().code, 250);
    assert_eq!(client.say(&format!("AUTH PLAIN {plain}")).unwrap().code, 235);
    assert_eq!(client.transact(FROM, &[TO], b"Subject: x\r\n\r\n").unwrap().code, 250);

    let mut client = secured(&exim, Some(&identity));
    let offers = client.say("EHLO client.test").unwrap().text();
    assert!(offers.contains("AUTH PLAIN LOGIN EXTERNAL"), "{offers}");
    assert_eq!(client.say("AUTH EXTERNAL =").unwrap().code, 235);
    assert_eq!(client.transact(FROM, &[TO], b"Subject: x\r\n\r\n").unwrap().code, 250);
    assert_eq!(exim.mailbox.wait_for(2, Duration::from_secs(20)).len(), 2);
    let log = exim.log();
    for how in ["A=plain:ann", "A=external:client.test"] {
        assert!(log.contains(how), "{log}");
    }
}

/// After STARTTLS, with the client's certificate and key.
fn secured(exim: &Exim, identity: Option<&(PathBuf, PathBuf)>) -> Client {
    let mut client = Client::greeted(exim.address());
    assert_eq!(client.say("STARTTLS").unwrap().code, 220);
    client.connection().connect_tls_as("members.test", identity).unwrap();
    client
}
