//! The laboratory itself: nsd and unbound tell signed from unsigned and from falsified.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::harness::area::Area;
use crate::harness::dns::ask;
use crate::harness::process::{command, run};
use crate::harness::zone::{Lab, PROGRAMS, Zones};

#[test]
fn unbound_vouches_for_signed_names_only() {
    let area = Area::new("unbound_vouches");
    if !area.needs(&PROGRAMS) {
        return;
    }
    let records = "@ MX 10 mx\nmx A 127.0.0.9\n_25._tcp.mx TLSA 3 1 1 ( \
                   0000000000000000000000000000000000000000000000000000000000000000 )";
    let zones = Zones::new().signed("signed.test", records).unsigned("plain.test", records).bogus(
        "bogus.test",
        records,
        &[("127.0.0.9", "127.0.0.66")],
    );
    let lab = Lab::start(&area, zones);
    let resolve = |name: &str, kind| ask(lab.resolver(), name, kind, true, false).unwrap();

    for kind in [RecordType::MX, RecordType::TLSA] {
        let owner = |zone| match kind {
            RecordType::MX => format!("{zone}.test"),
            _ => format!("_25._tcp.mx.{zone}.test"),
        };
        let signed = resolve(&owner("signed"), kind);
        assert_eq!((signed.answers.len(), signed.metadata.authentic_data), (1, true), "{signed}");
        let plain = resolve(&owner("plain"), kind);
        assert_eq!((plain.answers.len(), plain.metadata.authentic_data), (1, false), "{plain}");
    }
    let falsified = resolve("mx.bogus.test", RecordType::A);
    assert_eq!(falsified.metadata.response_code, ResponseCode::ServFail);
    let untouched = resolve("bogus.test", RecordType::MX);
    assert!(untouched.metadata.authentic_data); // only the altered set is bogus
    let nobody = resolve("nobody.signed.test", RecordType::A);
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
    assert!(nobody.metadata.authentic_data);
    let outside = resolve("example.org", RecordType::A);
    assert_eq!(outside.metadata.response_code, ResponseCode::NXDomain); // nothing leaves the machine

    let authoritative =
        ask(lab.authoritative(), "mx.plain.test", RecordType::A, false, true).unwrap();
    assert!(matches!(authoritative.answers[0].data, RData::A(_)));
}

#[test]
fn dig_agrees() {
    let area = Area::new("dig_agrees");
    if !area.needs(&[&PROGRAMS[..], &["dig"]].concat()) {
        return;
    }
    let lab = Lab::start(&area, Zones::new().signed("signed.test", "@ MX 10 mx\nmx A 127.0.0.9"));
    let server = format!("@{}", lab.resolver().ip());
    let port = lab.resolver().port().to_string();
    let said = run(command("dig").args([&server, "-p", &port, "+adflag", "signed.test", "MX"]));
    let flags = said.lines().find(|line| line.contains("flags:")).unwrap();
    assert!(flags.contains(" ad"), "{said}");
    assert!(said.contains("10 mx.signed.test."), "{said}");
}
