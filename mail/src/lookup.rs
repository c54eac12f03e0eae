//! The three answers of a lookup. Never a plain error that the caller has to classify.

/// `authentic`: a resolver whose word counts says the answer, or the absence, is signed and valid (RFC 4035 §3.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    Found {
        value: T,
        authentic: bool,
    },
    Absent {
        absence: Absence,
        authentic: bool,
    },
    /// Nobody knows: no answer, or one that says nothing. Never a reason to fail a message.
    Failed(String),
    /// Nobody could even be asked: a fault of our own machine or of its name servers, which says nothing about the name.
    Unasked(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// NXDOMAIN: the name does not exist.
    NoSuchName,
    /// NODATA: the name has no record of this type.
    NoSuchRecord,
}

impl<T> Lookup<T> {
    pub fn found(value: T) -> Lookup<T> {
        Lookup::Found { value, authentic: false }
    }

    pub fn absent(absence: Absence) -> Lookup<T> {
        Lookup::Absent { absence, authentic: false }
    }
}
