//! The fake DNS server says what the test told it to.

use std::net::{IpAddr, Ipv4Addr};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::harness::area::Area;
use crate::harness::dns::{Dns, ask};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

fn udp(dns: &Dns, name: &str, kind: RecordType) -> Message {
    ask(dns.address(), name, kind, true, false).unwrap()
}

#[test]
fn records_denials_and_failures() {
    let area = Area::new("fake_dns_records");
    let dns = Dns::start(area.socket());
    dns.domain("Example.test", HOST).txt("_mta-sts.example.test", &["v=STSv1;", " id=1"]);
    dns.fails("broken.test", RecordType::MX, ResponseCode::ServFail);
    dns.is_silent("silent.test", RecordType::MX).no_data("empty.test", RecordType::MX);
    dns.mx("null.test", &[(0, ".")]);

    assert_eq!(udp(&dns, "example.TEST", RecordType::MX).answers.len(), 1);
    let host = udp(&dns, "mx.example.test", RecordType::A);
    assert!(matches!(host.answers[0].data, RData::A(address) if IpAddr::V4(address.0) == HOST));
    let six = udp(&dns, "mx.example.test", RecordType::AAAA);
    assert_eq!((six.metadata.response_code, six.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(six.authorities.len(), 1); // a denial carries the SOA
    let text = udp(&dns, "_mta-sts.example.test", RecordType::TXT);
    assert!(matches!(&text.answers[0].data, RData::TXT(txt) if txt.txt_data.len() == 2));
    let null = udp(&dns, "null.test", RecordType::MX);
    assert!(matches!(&null.answers[0].data, RData::MX(mx) if mx.exchange.is_root()));

    let code = |name, kind| udp(&dns, name, kind).metadata.response_code;
    assert_eq!(code("broken.test", RecordType::MX), ResponseCode::ServFail);
    assert_eq!(code("nobody.test", RecordType::MX), ResponseCode::NXDomain);
    assert_eq!(code("empty.test", RecordType::MX), ResponseCode::NoError);
    assert_eq!(code("_tcp.empty.test", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(code("test", RecordType::A), ResponseCode::NoError); // something exists below it
    assert!(ask(dns.address(), "silent.test", RecordType::MX, true, false).is_err());
    assert!(dns.was_asked("silent.test", RecordType::MX));
}

#[test]
fn truncated_answers_are_whole_over_tcp() {
    let area = Area::new("fake_dns_truncated");
    let dns = Dns::start(area.socket());
    dns.domain("example.test", HOST).truncated("example.test", RecordType::MX);
    let short = udp(&dns, "example.test", RecordType::MX);
    assert!(short.metadata.truncation && short.answers.is_empty());
    let whole = ask(dns.address(), "example.test", RecordType::MX, true, true).unwrap();
    assert!(!whole.metadata.truncation && whole.answers.len() == 1);
    assert!(dns.asked().iter().any(|asked| asked.over_tcp));
}

#[test]
fn a_chain_is_authentic_when_every_name_is() {
    let area = Area::new("fake_dns_chain");
    let dns = Dns::start(area.socket());
    dns.host("mx.test", &[HOST]).cname("alias.test", "mx.test").tlsa(
        "_25._tcp.mx.test",
        (3, 1, 1),
        &[7; 32],
    );
    dns.authentic("alias.test").authentic("_25._tcp.mx.test");
    let chain = udp(&dns, "alias.test", RecordType::A);
    assert_eq!((chain.answers.len(), chain.metadata.authentic_data), (2, false));
    dns.authentic("mx.test");
    assert!(udp(&dns, "alias.test", RecordType::A).metadata.authentic_data);
    let tlsa = udp(&dns, "_25._tcp.mx.test", RecordType::TLSA);
    assert!(matches!(&tlsa.answers[0].data, RData::TLSA(data) if data.cert_data == [7; 32]));
    // As a resolver does: no AD in the answer when the query had none.
    let plain = ask(dns.address(), "mx.test", RecordType::A, false, false).unwrap();
    assert!(!plain.metadata.authentic_data);
}
