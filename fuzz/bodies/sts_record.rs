//! Any octets as the TXT records of `_mta-sts.DOMAIN`, a record a line.

use posthaste_mail::sts::record::{NoRecord, RecordId, select};

pub fn run(input: &[u8]) {
    let records: Vec<&[u8]> = input.split(|octet| *octet == b'\n').collect();
    let selected = select(&records);
    let ours: Vec<&[u8]> = records.iter().copied().filter(|record| is_ours(record)).collect();
    match (ours.as_slice(), &selected) {
        ([], Err(NoRecord::Other)) => {}
        ([_, _, ..], Err(NoRecord::Several(count))) => assert_eq!(*count, ours.len()),
        ([one], Ok(id)) => {
            assert_eq!(first_id(one), Some(id.as_str()));
            assert_eq!(RecordId::parse(id.as_str()).as_ref(), Ok(id));
            // Others beside it change nothing, in any order.
            let mut more = records.clone();
            more.push(b"v=spf1 -all");
            more.reverse();
            assert_eq!(select(&more), selected);
        }
        ([one], Err(NoRecord::Invalid(_))) => assert!(!is_plain(one), "refused"),
        _ => panic!("{} records of ours, but {selected:?}", ours.len()),
    }
}

/// RFC 8461 §3.1, with white space in front of the first semicolon, and without one at the end.
fn is_ours(record: &[u8]) -> bool {
    let Some(rest) = record.strip_prefix(b"v=STSv1") else { return false };
    rest.iter().find(|octet| !octet.is_ascii_whitespace()).is_none_or(|octet| *octet == b';')
}

fn first_id(record: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(record).ok()?;
    text.split(';').find_map(|field| field.trim_ascii().strip_prefix("id="))
}

/// The form that every domain uses has to be taken.
fn is_plain(record: &[u8]) -> bool {
    let id = record.strip_prefix(b"v=STSv1; id=".as_slice()).unwrap_or_default();
    let id = id.strip_suffix(b";").unwrap_or(id);
    (1..=32).contains(&id.len()) && id.iter().all(u8::is_ascii_alphanumeric)
}
