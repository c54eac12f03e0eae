//! Any octets as the text of a policy.

use posthaste_mail::address::Domain;
use posthaste_mail::sts::matching::{MxPattern, allows};
use posthaste_mail::sts::policy::{Mode, Policy};

pub fn run(input: &[u8]) {
    let read = Policy::parse(input);
    // Whether lines end with LF or CRLF does not matter; a CR elsewhere does.
    let unix = String::from_utf8_lossy(input).replace("\r\n", "\n");
    if std::str::from_utf8(input).is_ok() && !unix.contains('\r') {
        assert_eq!(Policy::parse(unix.as_bytes()), read);
        assert_eq!(Policy::parse(unix.replace('\n', "\r\n").as_bytes()), read);
        // Nor does a line that is not known yet.
        let last = if unix.ends_with('\n') { "" } else { "\n" };
        assert_eq!(Policy::parse(format!("{unix}{last}future: x:y").as_bytes()), read);
    }
    let Ok(policy) = read else { return };
    assert!(policy.max_age.as_secs() <= 31_557_600);
    assert!(policy.mode == Mode::None || !policy.mx.is_empty());
    let mut text =
        format!("version: STSv1\nmode: {}\nmax_age: {}\n", policy.mode, policy.max_age.as_secs());
    for pattern in &policy.mx {
        text += &format!("mx: {pattern}\n");
        matches(pattern);
    }
    assert_eq!(Policy::parse(text.as_bytes()), Ok(policy), "shown and read again");
}

fn matches(pattern: &MxPattern) {
    let text = pattern.to_string();
    let is = |host: &str| {
        Domain::parse(host).is_ok_and(|host| allows(std::slice::from_ref(pattern), &host))
    };
    match text.strip_prefix("*.") {
        Some(rest) => {
            assert!(!is(rest) && !is(&format!("a.b.{rest}")));
            assert!(is(&format!("a.{rest}")) || rest.len() > 250);
        }
        None => assert!(is(&text) && !is(&format!("a.{text}"))),
    }
}
