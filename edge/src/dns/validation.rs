//! Whether the servers that are asked validate: found out from names of which it is known whether they are signed.
//!
//! DANE and MX level dnssec stand on the AD bit. A server that never sets it switches them off without a word, and one that always sets it
//! is worse; both are noticed here, and told by whoever asks.

use std::fmt;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};

use posthaste_mail::address::Domain;

use super::raw::Said;
use super::server::Server;
use super::{LONGEST_LOOKUP, Resolver};

/// A name to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    name: Name,
    kind: RecordType,
}

impl Probe {
    /// Its address records: those of a bogus name are bogus, even if the rest of its zone is not. That there are none is an answer too.
    /// `None`: DNS cannot be asked for it.
    pub fn domain(domain: &Domain) -> Option<Probe> {
        let mut name = Name::from_ascii(domain.ascii()).ok()?;
        name.set_fqdn(true);
        Some(Probe { name, kind: RecordType::A })
    }

    fn root(kind: RecordType) -> Probe {
        Probe { name: Name::root(), kind }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.name.to_ascii())
    }
}

/// What is asked, and known beforehand. By default only the root, which every validating server has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// One that is answered with AD is enough.
    pub signed: Vec<Probe>,
    pub unsigned: Vec<Probe>,
    /// Signed, and wrongly.
    pub bogus: Vec<Probe>,
}

impl Default for Probes {
    fn default() -> Self {
        let signed = vec![Probe::root(RecordType::SOA), Probe::root(RecordType::DNSKEY)];
        Probes { signed, unsigned: Vec::new(), bogus: Vec::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validation {
    Yes,
    /// Why not.
    No(String),
    /// No server could say. Why.
    Unknown(String),
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validation::Yes => f.write_str("yes"),
            Validation::No(why) => write!(f, "no: {why}"),
            Validation::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl Resolver {
    /// Of the servers as they are now. Any of them may be the one to answer, so one that does not validate is enough for a no; one that is
    /// silent now says nothing.
    pub async fn validates(&self, probes: &Probes) -> Validation {
        let mut verdict: Option<Validation> = None;
        for server in self.current().await.iter() {
            let one = tokio::time::timeout(LONGEST_LOOKUP, of_server(server, probes)).await;
            let one = one.unwrap_or_else(|_| Validation::Unknown("no answer in time".to_string()));
            let address = server.address();
            verdict = match one {
                Validation::No(why) => return Validation::No(format!("{address} {why}")),
                Validation::Yes => Some(Validation::Yes),
                Validation::Unknown(why) => {
                    verdict.or_else(|| Some(Validation::Unknown(format!("{address}: {why}"))))
                }
            };
        }
        verdict.unwrap_or_else(|| Validation::Unknown("no server is named".to_string()))
    }
}

async fn of_server(server: &Server, probes: &Probes) -> Validation {
    // RFC 4035 §4.9.3: over a path that others can write to the bit means nothing.
    if !server.is_trusted() {
        return Validation::No("is not on this machine, so its AD bit is not believed".to_string());
    }
    let mut verdict = Validation::Unknown("no signed name is known".to_string());
    for probe in &probes.signed {
        match server.ask_raw(&probe.name, probe.kind).await {
            Ok(said) if said.authentic => {
                verdict = Validation::Yes;
                break;
            }
            Ok(said) if is_answer(&said) => {
                verdict = Validation::No(format!("gives the {probe} without AD bit"));
            }
            Ok(said) => verdict = unless_known(verdict, format!("the {probe}: {}", said.code)),
            Err(why) => verdict = unless_known(verdict, format!("the {probe}: {why}")),
        }
    }
    if matches!(verdict, Validation::No(_)) {
        return verdict;
    }
    for probe in &probes.unsigned {
        if let Ok(said) = server.ask_raw(&probe.name, probe.kind).await
            && said.authentic
        {
            return Validation::No(format!("says AD of the {probe}, which is not signed"));
        }
    }
    for probe in &probes.bogus {
        // RFC 4035 §5.5: SERVFAIL, where the data does not fit its signatures.
        if let Ok(said) = server.ask_raw(&probe.name, probe.kind).await
            && is_answer(&said)
        {
            return Validation::No(format!("gives the {probe}, whose signatures are wrong"));
        }
    }
    verdict
}

fn is_answer(said: &Said) -> bool {
    matches!(said.code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// That one name could not be asked for takes nothing from what another has shown.
fn unless_known(verdict: Validation, why: String) -> Validation {
    match verdict {
        Validation::Unknown(_) => Validation::Unknown(why),
        known => known,
    }
}
