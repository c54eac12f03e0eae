//! What was found out about one mail exchanger before it is dialled.

/// About the list it stands in, its domain, and itself. All of it comes from DNS and, for MTA-STS, from the domain's policy host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxFacts {
    /// The MX answer, or the answer that there is none, is signed, says a resolver whose word counts.
    pub authentic: bool,
    pub sts: Sts,
    pub dane: Dane,
}

/// The domain's MTA-STS policy, as it applies to this exchanger (RFC 8461).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sts {
    /// There is none, or its mode is none.
    Absent,
    /// Nobody knows whether there is one.
    Unavailable(String),
    Testing(Listed),
    Enforce(Listed),
}

/// Whether the policy lists the exchanger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Yes,
    No,
}

/// The exchanger's TLSA records (RFC 7672).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dane {
    /// There are none, or they are not signed.
    NotInForce,
    /// One at least can be used.
    Usable,
    /// There are some, and none of them can be used.
    Unusable,
    /// They could not be looked up.
    Failed(String),
}

impl MxFacts {
    /// Nothing is known and nothing was asked.
    pub fn none() -> MxFacts {
        MxFacts { authentic: false, sts: Sts::Absent, dane: Dane::NotInForce }
    }
}
