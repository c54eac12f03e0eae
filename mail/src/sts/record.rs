//! The TXT record at `_mta-sts.DOMAIN`: is there a policy, and which (RFC 8461 §3.1).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest `id`.
const LONGEST_ID: usize = 32;

/// Says whether the policy is another than before: compared, never ordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId(String);

impl RecordId {
    /// RFC 8461 §3.1: `sts-id = 1*32(ALPHA / DIGIT)`.
    pub fn parse(text: &str) -> Result<RecordId, NoRecord> {
        let fits = (1..=LONGEST_ID).contains(&text.len());
        if fits && text.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return Ok(RecordId(text.to_string()));
        }
        Err(NoRecord::Invalid("id is not 1 to 32 letters and digits"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RecordId {
    type Error = NoRecord;
    fn try_from(text: String) -> Result<RecordId, NoRecord> {
        RecordId::parse(&text)
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> String {
        id.0
    }
}

/// Why an answer with TXT records says nothing of a policy. All of them mean that the domain has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// TXT records, but none of MTA-STS.
    Other,
    /// More than one of MTA-STS.
    Several(usize),
    Invalid(&'static str),
}

impl fmt::Display for NoRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRecord::Other => f.write_str("no TXT record begins with v=STSv1"),
            NoRecord::Several(count) => write!(f, "{count} TXT records begin with v=STSv1"),
            NoRecord::Invalid(why) => write!(f, "the TXT record is invalid: {why}"),
        }
    }
}

/// The one record of all TXT records of the name, each with its character-strings put together.
pub fn select<R: AsRef<[u8]>>(records: &[R]) -> Result<RecordId, NoRecord> {
    // RFC 8461 §3.1: records that do not begin with "v=STSv1;" are discarded, and then there has to be exactly one.
    let mut fields = records.iter().filter_map(|record| fields(record.as_ref()));
    match (fields.next(), fields.count()) {
        (None, _) => Err(NoRecord::Other),
        (Some(fields), 0) => id(fields),
        (Some(_), more) => Err(NoRecord::Several(more + 1)),
    }
}

/// What follows the version and its semicolon; `None` when it is no record of MTA-STS.
fn fields(record: &[u8]) -> Option<&[u8]> {
    let rest = record.strip_prefix(b"v=STSv1")?.trim_ascii_start();
    // A record of nothing but its version, and white space before the semicolon, count as one: the domain means to have a policy.
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b";") }
}

fn id(fields: &[u8]) -> Result<RecordId, NoRecord> {
    let mut found = None;
    let mut fields = fields.split(|octet| *octet == b';').map(<[u8]>::trim_ascii).peekable();
    while let Some(field) = fields.next() {
        if field.is_empty() && fields.peek().is_none() {
            break; // RFC 8461 §3.1: the last semicolon may be left out
        }
        let field = std::str::from_utf8(field).ok().and_then(|field| field.split_once('='));
        let Some((name, value)) = field.filter(|(name, _)| is_name(name)) else {
            return Err(NoRecord::Invalid("a field is not name=value"));
        };
        // RFC 8461 §3.1: unknown fields are ignored. Of two ids the first counts, as of the fields of a policy (§3.2).
        if name == "id" && found.is_none() {
            found = Some(RecordId::parse(value)?);
        }
    }
    found.ok_or(NoRecord::Invalid("there is no id"))
}

/// RFC 8461 §3.1: `sts-ext-name`. `id` is one as well.
fn is_name(name: &str) -> bool {
    let others = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    name.len() <= 32
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(record: &str, id: &str) {
        assert_eq!(select(&[record]).map(|id| id.to_string()), Ok(id.to_string()), "{record}");
    }

    fn invalid(record: &str) {
        assert!(matches!(select(&[record]), Err(NoRecord::Invalid(_))), "{record}");
    }

    fn other(record: &str) {
        assert_eq!(select(&[record]), Err(NoRecord::Other), "{record}");
    }

    #[test]
    fn records_that_say_which_policy() {
        good("v=STSv1; id=20160831085700Z;", "20160831085700Z"); // RFC 8461 §3.1, the example
        good("v=STSv1;id=a", "a"); // neither white space nor the last semicolon
        good("v=STSv1 ; id=1 ; ", "1");
        good("v=STSv1\t;\tid=1", "1");
        good("v=STSv1; future=x y; id=1", "1"); // fields that are not known
        good("v=STSv1; id=1; id=2", "1"); // the first counts
        good(&format!("v=STSv1; id={}", "A1".repeat(16)), &"A1".repeat(16));
    }

    #[test]
    fn records_without_a_valid_id_are_none() {
        invalid("v=STSv1");
        invalid("v=STSv1 ");
        invalid("v=STSv1;");
        invalid("v=STSv1; id=");
        invalid("v=STSv1; id= 1"); // white space belongs to the value
        invalid("v=STSv1; id=a-b");
        invalid("v=STSv1; id=2016 0831");
        invalid("v=STSv1; id=ä");
        invalid(&format!("v=STSv1; id={}", "a".repeat(33)));
        invalid("v=STSv1; ID=1"); // case counts
        invalid("v=STSv1; id=; id=1"); // the first counts, and is wrong
        invalid("v=STSv1;; id=1"); // an empty field
        invalid("v=STSv1; id=1;;");
        invalid("v=STSv1; id=1; nonsense");
        invalid("v=STSv1; id=1; =x");
    }

    #[test]
    fn other_records_are_discarded_before_counting() {
        for record in
            ["", "v=spf1 -all", "v=STSv2; id=1", "V=STSv1; id=1", "v=stsv1; id=1", "id=1; v=STSv1;"]
        {
            other(record);
        }
        other(" v=STSv1; id=1"); // white space in front
        other("v=STSv10; id=1");
        other("v=STSv1id=1");
        assert_eq!(select::<&str>(&[]), Err(NoRecord::Other));
        let stray = ["google-site-verification=x", "v=STSv1; id=7", "v=spf1 -all"];
        assert_eq!(select(&stray).unwrap().as_str(), "7");
        // Also one that is invalid is counted: which of them is meant cannot be told.
        assert_eq!(select(&["v=STSv1; id=1", "v=STSv1"]), Err(NoRecord::Several(2)));
        assert_eq!(select(&["v=STSv1; id=1"; 3]), Err(NoRecord::Several(3)));
    }

    #[test]
    fn octets_that_are_no_text_are_no_record() {
        assert_eq!(select(&[b"\xff\xfe".as_slice()]), Err(NoRecord::Other));
        let invalid = select(&[b"v=STSv1; id=1; x=\xff".as_slice()]);
        assert_eq!(invalid, Err(NoRecord::Invalid("a field is not name=value")));
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = crate::dice::Dice::new(84);
        let pieces: [&[u8]; 10] =
            [b"v=STSv1", b";", b" ", b"id=", b"id=1", b"=", b"x=y", b"\xff", b"\0", b"a"];
        let mut found = 0;
        for round in 0..50_000 {
            let mut record = if round % 2 == 0 { b"v=STSv1;".to_vec() } else { Vec::new() };
            for _ in 0..dice.below(8) {
                record.extend(pieces[dice.below(pieces.len())]);
            }
            if let Ok(id) = select(&[&record]) {
                assert!((1..=32).contains(&id.as_str().len()));
                assert_eq!(RecordId::parse(id.as_str()), Ok(id));
                found += 1;
            }
        }
        assert!(found > 50, "{found}");
    }
}
