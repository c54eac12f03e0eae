//! Names that are answered here and never asked for (RFC 6761).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use posthaste_mail::lookup::Absence;

use super::Answer;

/// What the name means everywhere, if it is one of those. Nobody signs it, so it is never authentic.
pub(super) fn answer(name: &Name, kind: RecordType) -> Option<Answer> {
    let top = name.iter().next_back()?;
    // RFC 6761 §6.3: `localhost` and what is below it is loopback, and has no other records.
    if top.eq_ignore_ascii_case(b"localhost") {
        let loopback = match kind {
            RecordType::A => RData::A(A(Ipv4Addr::LOCALHOST)),
            RecordType::AAAA => RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)),
            _ => return Some(absent(Absence::NoSuchRecord)),
        };
        return Some(Answer::Records {
            hops: Vec::new(),
            records: vec![loopback],
            authentic: false,
            life: Duration::ZERO,
        });
    }
    // RFC 6761 §6.4: nothing below `invalid` exists.
    top.eq_ignore_ascii_case(b"invalid").then(|| absent(Absence::NoSuchName))
}

fn absent(absence: Absence) -> Answer {
    Answer::Absent { absence, authentic: false, life: Duration::ZERO }
}
