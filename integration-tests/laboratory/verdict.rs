//! Whether a row came out as it says: the outcome of the first attempt with its levels, and who got the message, and how.

use std::fmt::Write as _;
use std::time::Duration;

use crate::arrival::{Arrival, Heard};
use crate::harness::process::wait_until;
use crate::laboratory::Laboratory;
use crate::relay::Outcome;
use crate::row::{Expect, Row, Wish};

/// From the final reply of a server to the message in its mailbox.
const STORED: Duration = Duration::from_secs(20);

/// Sends the row's message and compares. The error says all that is different.
pub fn judge(laboratory: &Laboratory, row: &Row) -> Result<(), String> {
    let relay = &laboratory.relay;
    let recipient = row.recipient();
    relay.send(row.stance, row.wish, &recipient, row.name)?;
    let came = relay.outcome(&recipient, 1);
    let mut faults = String::new();
    if let Some(fault) = compare(&row.expect, &came) {
        let _ = writeln!(faults, "{fault}");
    }
    if came.word == "delivered" {
        wait_until("the message is stored", STORED, || {
            !laboratory.servers.arrivals(row.name).is_empty()
        });
    }
    let arrivals = laboratory.servers.arrivals(row.name);
    if !is_where_it_belongs(row, &arrivals) {
        let _ = writeln!(faults, "it came to {arrivals:?}");
    }
    if let Some(cause) = row.unfetched.filter(|cause| !relay.missed(&row.domain(), cause)) {
        let _ =
            writeln!(faults, "the log does not say that the policy cannot be had for {cause:?}");
    }
    // A probe speaks for a message that says nothing of its own.
    if row.wish == Wish::Unsaid
        && let Some(fault) = compare(&row.expect, &relay.probe(row.stance, &row.domain()))
    {
        let _ = writeln!(faults, "by a probe {fault}");
    }
    if faults.is_empty() {
        return Ok(());
    }
    let _ = writeln!(faults, "{}: expected {:?}", row.domain(), row.expect);
    for session in relay.sessions(&row.domain()) {
        let _ = writeln!(faults, "{session}");
    }
    Err(faults)
}

/// Exactly one copy, at the last of the hosts, in the clear only where the row says so, asked for and told what belongs to
/// it; or none at all.
pub fn is_where_it_belongs(row: &Row, arrivals: &[Arrival]) -> bool {
    match (&row.expect, arrivals) {
        (Expect::Delivered { tls, .. }, [one]) => {
            let last = row.hosts.last().map(|host| host.server);
            Some(one.at) == last
                && one.encrypted == (*tls != "none")
                && says_what_it_should(row, one)
        }
        (Expect::Delivered { .. }, _) => false,
        (Expect::Deferred { .. } | Expect::Failed { .. }, arrivals) => arrivals.is_empty(),
    }
}

fn says_what_it_should(row: &Row, arrival: &Arrival) -> bool {
    let Some(Heard { mail, name }) = &arrival.heard else { return true };
    let has = |parameter: &str| mail.split(' ').any(|part| part == parameter);
    let offers = arrival.at.offers_requiretls();
    let required = matches!(row.wish, Wish::Required | Wish::RequiredAndWaived);
    has("REQUIRETLS") == (required && offers)
        && row.saying.is_none_or(has)
        && row.asked.is_none_or(|at| *name == Some(row.name_of_last(at)))
}

/// What is wrong.
pub fn compare(expect: &Expect, came: &Outcome) -> Option<String> {
    let as_told = match expect {
        Expect::Delivered { mx, tls } => {
            came.word == "delivered" && came.mx == *mx && came.tls == *tls
        }
        Expect::Deferred { status, naming } => {
            came.word == "deferred" && came.status.starts_with(status) && came.text.contains(naming)
        }
        Expect::Failed { status, naming } => {
            came.word == "failed" && came.status == *status && came.text.contains(naming)
        }
    };
    (!as_told).then(|| format!("it came to {came:?}"))
}
