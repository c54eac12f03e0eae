//! A lost index is made anew from the bodies, and what comes back is delivered without another restart.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use crate::harness::outbound::{AFTER_RETRIES, Outbound};

#[test]
fn messages_of_a_lost_index_are_delivered() {
    let mut test = Outbound::start("spool_is_rebuilt");
    test.dns.fails("lost.test", RecordType::MX, ResponseCode::ServFail);
    for number in 0..20 {
        test.send(&format!("user{number}@lost.test"));
    }
    test.daemon.kill9();
    std::fs::remove_dir_all(test.area.file("state/outbound/db")).unwrap();
    let sink = test.sink("lost.test");
    test.daemon.restart(&test.area);
    sink.wait_for(20, AFTER_RETRIES);
    test.daemon.wait_until_queue_is_empty(AFTER_RETRIES);
}
