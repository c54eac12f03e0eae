//! STARTTLS between our own ends, and certificates as they should be.

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

use crate::harness::area::Area;
use crate::harness::certificates::{Authority, Certificate, self_signed};
use crate::harness::client::Client;
use crate::harness::sink::{Manners, Sink};

#[test]
fn the_sink_tells_encrypted_mail_from_plain() {
    let area = Area::new("sink_starttls");
    let certificate = Authority::new().leaf(&["mx.example.test"]);
    let manners = Manners { tls: Some(certificate.acceptor()), ..Manners::default() };
    let sink = Sink::with(area.socket(), manners);
    for encrypted in [false, true] {
        let mut client = Client::greeted(sink.address());
        if encrypted {
            assert_eq!(client.say("STARTTLS").unwrap().code, 220);
            client.connection().connect_tls("mx.example.test").unwrap();
            let capabilities = client.say("EHLO client.test").unwrap();
            assert!(!capabilities.text().contains("STARTTLS"));
        }
        let reply =
            client.transact("a@b.test", &["c@d.test"], b"Subject: x\r\n\r\n.x\r\n").unwrap();
        assert_eq!(reply.code, 250);
    }
    let got = sink.transactions();
    assert_eq!(got[0].tls, None);
    assert_eq!(got[1].tls.as_deref(), Some("TLSv1.3"));
    assert!(got.iter().all(|one| one.content == b"Subject: x\r\n\r\n.x\r\n"));
}

#[test]
fn certificates_are_as_good_or_bad_as_they_say() {
    let area = Area::new("certificates");
    let authority = Authority::new();
    for (certificate, verdict) in [
        (authority.leaf(&["mx.example.test"]), 0),
        (authority.leaf(&["*.example.test"]), 0),
        (authority.leaf(&["other.test"]), 62), // another name
        (authority.expired(&["mx.example.test"]), 10), // expired
        (self_signed(&["mx.example.test"]), 18), // vouches for itself
    ] {
        assert_eq!(verify(&area, &authority, &certificate), verdict);
    }
}

/// What a client that knows the authority finds, for the name mx.example.test.
fn verify(area: &Area, authority: &Authority, certificate: &Certificate) -> i32 {
    let manners = Manners { tls: Some(certificate.acceptor()), ..Manners::default() };
    let sink = Sink::with(area.socket(), manners);
    let mut client = Client::greeted(sink.address());
    assert_eq!(client.say("STARTTLS").unwrap().code, 220);
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.cert_store_mut().add_cert(authority.root().clone()).unwrap();
    let plain = client.connection().take_plain().unwrap();
    let stream = connector.build().connect("mx.example.test", plain).unwrap();
    stream.ssl().verify_result().as_raw()
}
