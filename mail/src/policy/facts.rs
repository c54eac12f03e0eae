//! What was found out about one mail exchanger before it is dialled.

use crate::address::Domain;
use crate::policy::settings::Policies;
use crate::sts::policy::Mode;
use crate::sts::{Absent, StsAnswer, Unavailable, matching};
use crate::tlsa::Dane;

/// Attempts that wait for name servers that will not say whether there is an MTA-STS record. There are domains whose servers never will.
const PATIENT_ATTEMPTS: u32 = 3;

/// About the list it stands in, its domain, and itself. All of it comes from DNS and, for MTA-STS, from the domain's policy host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxFacts {
    /// The MX answer, or the answer that there is none, is signed, says a resolver whose word counts.
    pub authentic: bool,
    /// Why our resolver cannot say what is signed, if it cannot: then nothing follows from `authentic` being false.
    pub resolver_fault: Option<String>,
    pub sts: Sts,
    /// Its TLSA records (RFC 7672).
    pub dane: Dane,
}

/// The domain's MTA-STS policy, as it applies to this exchanger (RFC 8461).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sts {
    /// There is none, or its mode is none.
    Absent,
    /// There should be one, and it could not be had: it demands nothing (RFC 8461 §5.1). Why.
    NotFetched(String),
    /// Nobody knows whether there is one.
    Unavailable(String),
    /// Nobody knows, and it was waited for long enough: it demands nothing. Why.
    Unsettled(String),
    /// The same, by a fault of our own.
    Unasked(String),
    Testing(Listed),
    Enforce(Listed),
}

/// Whether the policy lists the exchanger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Yes,
    No,
}

impl MxFacts {
    /// Nothing is known and nothing was asked.
    pub fn none() -> MxFacts {
        let dane = Dane::NotInForce("not asked".to_string());
        MxFacts { authentic: false, resolver_fault: None, sts: Sts::Absent, dane }
    }
}

impl MxFacts {
    /// What each configured policy has to say, in one line; `None` if none is configured.
    pub fn told(&self, policies: &Policies) -> Option<String> {
        let mut told = Vec::new();
        if policies.dnssec {
            told.push(if self.authentic { "dnssec signed" } else { "dnssec unsigned" });
        }
        if policies.mtasts {
            told.push(match self.sts {
                Sts::Absent => "mtasts none",
                Sts::NotFetched(_) => "mtasts not fetched",
                Sts::Unavailable(_) | Sts::Unsettled(_) | Sts::Unasked(_) => "mtasts unknown",
                Sts::Testing(Listed::Yes) => "mtasts testing",
                Sts::Testing(Listed::No) => "mtasts testing, not listed",
                Sts::Enforce(Listed::Yes) => "mtasts enforce",
                Sts::Enforce(Listed::No) => "mtasts enforce, not listed",
            });
        }
        if policies.dane {
            told.push(match self.dane {
                Dane::NotInForce(_) => "dane none",
                Dane::Usable(_) => "dane usable",
                Dane::Unusable(_) => "dane unusable",
                Dane::Failed(_) | Dane::Unasked(_) => "dane unknown",
            });
        }
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl Sts {
    /// What is known of the domain's policy, for this host. `attempt`: of the message, from 1.
    pub fn of(answer: &StsAnswer, host: &Domain, attempt: u32) -> Sts {
        match answer {
            StsAnswer::Policy { entry, .. } => {
                let policy = &entry.policy;
                let listed = match matching::allows(&policy.mx, host) {
                    true => Listed::Yes,
                    false => Listed::No,
                };
                match policy.mode {
                    Mode::Enforce => Sts::Enforce(listed),
                    Mode::Testing => Sts::Testing(listed),
                    Mode::None => Sts::Absent,
                }
            }
            StsAnswer::Absent(Absent::NoRecord(_)) => Sts::Absent,
            StsAnswer::Absent(absent @ Absent::NotFetched(_)) => {
                Sts::NotFetched(absent.to_string())
            }
            // RFC 8461 §3.1 lets mail go on as if there were none. Whoever cannot ask for it will hardly find the exchangers, so waiting costs little and
            // leaves nothing to win for one who only suppresses answers.
            StsAnswer::Unavailable(unknown @ Unavailable::RecordLookup(_))
                if attempt > PATIENT_ATTEMPTS =>
            {
                Sts::Unsettled(unknown.to_string())
            }
            StsAnswer::Unavailable(Unavailable::RecordLookup(why)) => Sts::Unavailable(why.clone()),
            StsAnswer::Unavailable(Unavailable::Ours(why)) => Sts::Unasked(why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_know_waits_thrice_and_never_says_that_there_is_none() {
        let host = Domain::parse("mx.test").unwrap();
        let unknown = Unavailable::RecordLookup("SERVFAIL".to_string());
        let answer = StsAnswer::Unavailable(unknown);
        let of = |attempt| Sts::of(&answer, &host, attempt);
        for attempt in 1..=PATIENT_ATTEMPTS {
            assert_eq!(of(attempt), Sts::Unavailable("SERVFAIL".to_string()));
        }
        let why = "looking up the MTA-STS record: SERVFAIL".to_string();
        assert_eq!(of(PATIENT_ATTEMPTS + 1), Sts::Unsettled(why));
        let policies = Policies { mtasts: true, ..Policies::default() };
        for attempt in [1, PATIENT_ATTEMPTS + 1] {
            let facts = MxFacts { sts: of(attempt), ..MxFacts::none() };
            assert_eq!(facts.told(&policies).as_deref(), Some("mtasts unknown"));
        }
        // A fault of our own does not end by being waited for.
        let ours = StsAnswer::Unavailable(Unavailable::Ours("no descriptors".to_string()));
        assert_eq!(Sts::of(&ours, &host, 99), Sts::Unasked("no descriptors".to_string()));
    }
}
