//! MTA-STS (RFC 8461): what a domain says about the exchangers of its mail, read strictly, and how long that is believed.
//!
//! `record` reads the TXT record that says there is a policy, `response` judges what the policy host sends, `policy` reads the text,
//! `matching` compares exchangers with it, `freshness` decides what is known, what has to be fetched, and what an asker is told, `silence`
//! which policy hosts are not worth waiting for. Nothing here asks anybody; what is demanded of a session because of a policy is in `crate::policy`.

pub mod freshness;
pub mod matching;
pub mod policy;
pub mod record;
pub mod response;
pub mod shelf;
pub mod silence;

use std::fmt;
use std::sync::Arc;

use crate::address::Domain;
use freshness::Entry;
use response::{FetchError, ResultType};

/// What is known of a domain's policy, for one who wants to send it mail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum StsAnswer {
    /// It has one. Of `Mode::None` it is one that demands nothing.
    Policy { entry: Arc<Entry>, standing: Standing },
    /// It has none that could be had: mail goes on as if there were no such thing as MTA-STS (RFC 8461 §3.3, §5.1).
    Absent(Absent),
    /// Nobody can say. It is not the same as none.
    Unavailable(Unavailable),
}

/// How sure it is that the policy is the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The record names this one, or did a minute ago.
    Current,
    /// There is a newer one that could not be fetched. This one holds until it expires (RFC 8461 §5.1).
    Outdated(FetchError),
    /// There is no valid record any more. To take a policy back its mode has to be none, so this one holds (RFC 8461 §2.1, §8.3).
    WithoutRecord(String),
    /// Nobody could look whether there is a newer one.
    Unchecked(String),
}

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The domain does not say that it has one, or says it in an invalid way.
    NoRecord(String),
    /// It says so, but the policy cannot be had; for reports.
    NotFetched(FetchError),
}

/// Why nobody can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The name servers of the record fail. The asker waits for them, but not for ever.
    RecordLookup(String),
    /// A fault of our own: it must never weaken what a domain demands.
    Ours(String),
}

impl StsAnswer {
    /// What a report says of it when there should have been a policy.
    pub fn result_type(&self) -> Option<ResultType> {
        match self {
            StsAnswer::Policy { standing: Standing::Outdated(why), .. }
            | StsAnswer::Absent(Absent::NotFetched(why)) => why.result_type(),
            StsAnswer::Policy { .. }
            | StsAnswer::Absent(Absent::NoRecord(_))
            | StsAnswer::Unavailable(_) => None,
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absent::NoRecord(why) => write!(f, "no MTA-STS record: {why}"),
            Absent::NotFetched(why) => write!(f, "no MTA-STS policy: {why}"),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::RecordLookup(why) => write!(f, "looking up the MTA-STS record: {why}"),
            Unavailable::Ours(why) => write!(f, "MTA-STS policy not available: {why}"),
        }
    }
}

/// Where the record is (RFC 8461 §3.1). `None`: the name would be longer than DNS can carry, so there is no record.
pub fn record_name(domain: &Domain) -> Option<Domain> {
    Domain::parse(&format!("_mta-sts.{domain}")).ok()
}

/// The host that serves the policy, which is also the name its certificate has to carry (RFC 8461 §3.3).
pub fn policy_host(domain: &Domain) -> Option<Domain> {
    Domain::parse(&format!("mta-sts.{domain}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_the_whole_domain() {
        let domain = Domain::parse("münchen.example").unwrap();
        assert_eq!(record_name(&domain).unwrap().ascii(), "_mta-sts.xn--mnchen-3ya.example");
        assert_eq!(policy_host(&domain).unwrap().ascii(), "mta-sts.xn--mnchen-3ya.example");
        let long = Domain::parse(&format!("{}.example", ["a"; 122].join("."))).unwrap();
        assert_eq!(long.ascii().len(), 251);
        assert_eq!((record_name(&long), policy_host(&long)), (None, None));
    }
}
