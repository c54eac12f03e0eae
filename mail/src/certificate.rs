//! What a certificate proved, or why it proved nothing.

use std::fmt;

use crate::tlsa::record::TlsaRecord;

/// Why a certificate was not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistrust {
    pub reason: Reason,
    /// As the TLS library says it.
    pub text: String,
}

impl fmt::Display for Mistrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The kinds that reports tell apart (RFC 8460 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Expired,
    /// It carries none of the names it should.
    NameMismatch,
    /// Its chain leads to nobody who is trusted.
    NotTrusted,
    /// No TLSA record matches.
    NoRecordMatches,
    /// Weak keys, bad signatures, and the rest.
    Other,
}

/// How a certificate was proven by DANE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaneMatch {
    pub record: TlsaRecord,
    /// Of what matched, counted from the leaf.
    pub depth: u32,
    /// The name in the leaf that fits one of those it may carry; none is looked at for DANE-EE (RFC 7672 §3.1.1).
    pub name: Option<String>,
}

impl fmt::Display for DaneMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsaRecord { usage, selector, matching, .. } = self.record;
        write!(f, "TLSA {usage} {selector} {matching} at depth {}", self.depth)?;
        match &self.name {
            Some(name) => write!(f, " for {name}"),
            None => Ok(()),
        }
    }
}

/// What a session's certificate is worth by DANE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaneVerdict {
    /// No records were in force.
    NotAsked,
    /// None of the records could be used after all: the certificate proves nothing by them.
    NoneUsable,
    Matched(DaneMatch),
    Refused(Mistrust),
}

impl fmt::Display for DaneVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaneVerdict::NotAsked => f.write_str("no TLSA in force"),
            DaneVerdict::NoneUsable => f.write_str("no TLSA record is usable"),
            DaneVerdict::Matched(found) => write!(f, "matches {found}"),
            DaneVerdict::Refused(why) => write!(f, "TLSA not matched: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_told_in_one_line() {
        let record = TlsaRecord { usage: 2, selector: 0, matching: 1, data: vec![7; 32] };
        let found = DaneMatch { record, depth: 1, name: Some("*.example.test".to_string()) };
        assert_eq!(found.to_string(), "TLSA 2 0 1 at depth 1 for *.example.test");
    }
}
