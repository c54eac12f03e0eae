//! The answers of a lookup. Never a plain error that the caller has to classify.

use crate::address::Domain;

/// `authentic`: a resolver whose word counts says the answer, or the absence, is signed and valid (RFC 4035 §3.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    Found {
        value: T,
        authentic: bool,
        /// The name that has the records, when the one asked for is an alias of it (RFC 1034 §3.6.2). Certificates may name either.
        canonical: Option<Domain>,
    },
    Absent {
        absence: Absence,
        authentic: bool,
    },
    /// Nobody knows: no answer, or one that says nothing. Never a reason to fail a message.
    Failed(String),
    /// The name is an alias that leads to no other name: a mistake in the zone, which is usually repaired.
    Looping(String),
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
        Lookup::Found { value, authentic: false, canonical: None }
    }

    pub fn absent(absence: Absence) -> Lookup<T> {
        Lookup::Absent { absence, authentic: false }
    }

    /// The same answer with what was found read as something else.
    pub fn map<U>(self, read: impl FnOnce(T) -> U) -> Lookup<U> {
        match self {
            Lookup::Found { value, authentic, canonical } => {
                Lookup::Found { value: read(value), authentic, canonical }
            }
            Lookup::Absent { absence, authentic } => Lookup::Absent { absence, authentic },
            Lookup::Failed(why) => Lookup::Failed(why),
            Lookup::Looping(why) => Lookup::Looping(why),
            Lookup::Unasked(why) => Lookup::Unasked(why),
        }
    }
}
