//! A message whose body is damaged is set aside with its id, and holds up nobody.

use std::os::unix::fs::FileExt;

use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment};

#[test]
fn a_damaged_body_is_set_aside() {
    let mut outbound = Outbound::start("damaged_body");
    let busy = Manners {
        answer: Box::new(|moment, _| (moment == Moment::Mail).then(|| "450 4.3.2 later".into())),
        ..Manners::default()
    };
    let first = outbound.sink_with("there.test", busy);
    let content = |name: &str| Message::plain(name, 4000);
    let bad = outbound.daemon.send(SENDER, &["bad@there.test"], content("bad").bytes());
    let good = outbound.daemon.send(SENDER, &["good@there.test"], content("good").bytes());
    outbound.daemon.wait_for_trace(&bad, "4.3.2", SOON);
    outbound.daemon.wait_for_trace(&good, "4.3.2", SOON);
    outbound.daemon.terminate();

    // One octet of the content, in the segment.
    let segments = outbound.area.file("state/outbound/segments");
    let marked = b"<bad@sender.test>";
    let mut hit = 0;
    for entry in std::fs::read_dir(segments).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for (at, _) in bytes.windows(marked.len()).enumerate().filter(|(_, w)| *w == marked) {
            // The last occurrence in a record stands in its content; in the envelope in front of it there are quotes behind.
            if bytes[at + marked.len()] == b'\r' {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(b"X", at as u64 + 1).unwrap();
                hit += 1;
            }
        }
    }
    assert_eq!(hit, 1, "the content of the message is found once");

    drop(first);
    let second = outbound.sink("there.test");
    outbound.daemon.restart(&outbound.area);
    second.wait_for_recipient("good@there.test", SOON);
    let listing = || outbound.daemon.said_or_nothing(&["queue", "list", "--held", "--json"]);
    wait_until("the damaged one is held", SOON, || listing().contains(&bad));
    let shown = outbound.daemon.said(&["queue", "show", &bad]);
    assert!(shown.contains("checksum"), "{shown}");
    let status = outbound.daemon.said(&["status"]);
    assert!(status.contains("do not verify"), "{status}");
    assert_eq!((second.count(), outbound.home.count()), (1, 0)); // and nobody is told that it failed
    // The operator says what becomes of it: the notification cannot return what is damaged, and is sent all the same.
    outbound.daemon.said(&["queue", "fail", &bad, "--yes"]);
    outbound.assert_notified("bad@there.test", "5.");
    outbound.daemon.wait_until_queue_is_empty(SOON);
}
