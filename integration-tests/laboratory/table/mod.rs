//! The rows, by what they are about.

mod aliases;
mod anchors;
mod both;
mod certificates;
mod minima;
mod mtasts;
mod policy_hosts;
mod requiretls;
mod transport;
mod unusable;
mod waived;

use crate::row::Row;

pub fn rows() -> Vec<Row> {
    let rows = [
        transport::rows(),
        certificates::rows(),
        anchors::rows(),
        unusable::rows(),
        aliases::rows(),
        mtasts::rows(),
        policy_hosts::rows(),
        both::rows(),
        requiretls::rows(),
        waived::rows(),
        minima::rows(),
    ]
    .concat();
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "two rows of one name would be one domain");
    // What nobody writes down cannot be compared, and such a row could not fail.
    let mut overheard = rows.iter().filter(|row| row.saying.is_some() || row.asked.is_some());
    let unheard = overheard
        .find(|row| !row.hosts.last().is_some_and(|host| host.server.listens_closely()))
        .map(|row| row.name);
    assert_eq!(unheard, None, "this server does not write down what the row is about");
    rows
}
