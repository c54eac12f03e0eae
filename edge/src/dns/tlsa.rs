//! What DANE asks: TLSA records, and whether an alias is signed itself.

use hickory_resolver::proto::rr::{RData, RecordType};

use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::tlsa::record::TlsaRecord;

use super::Resolver;

impl Resolver {
    /// The records of a base domain for SMTP between servers (RFC 7672 §2.2.3), authentic only if every alias on the way to them is.
    pub async fn tlsa(&self, base: &Domain) -> Lookup<Vec<TlsaRecord>> {
        let Ok(name) = Domain::parse(&format!("_25._tcp.{base}")) else {
            return Lookup::absent(Absence::NoSuchName); // too long for anybody to own it
        };
        self.records(&name, RecordType::TLSA, |data| match data {
            RData::TLSA(record) => Some(TlsaRecord {
                usage: record.cert_usage.into(),
                selector: record.selector.into(),
                matching: record.matching.into(),
                data: record.cert_data.clone(),
            }),
            _ => None,
        })
        .await
    }

    /// The CNAME record of this name itself. Its answer speaks of nothing else, so it is authentic although the name it leads to may not
    /// be: RFC 7672 §2.2.2 asks for TLSA at such a name.
    pub async fn alias(&self, host: &Domain) -> Lookup<Domain> {
        let found = self
            .records(host, RecordType::CNAME, |data| match data {
                RData::CNAME(target) => Domain::parse(&target.0.to_ascii()).ok(),
                _ => None,
            })
            .await;
        match found {
            Lookup::Found { mut value, authentic, .. } => match value.pop() {
                Some(value) => Lookup::Found { value, authentic, canonical: None },
                // An alias of what cannot be a host has no addresses either.
                None => Lookup::absent(Absence::NoSuchRecord),
            },
            Lookup::Absent { absence, authentic } => Lookup::Absent { absence, authentic },
            Lookup::Failed(why) => Lookup::Failed(why),
            Lookup::Looping(why) => Lookup::Looping(why),
            Lookup::Unasked(why) => Lookup::Unasked(why),
        }
    }
}
