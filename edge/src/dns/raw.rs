//! One question whose whole answer is wanted, header included: the pool gives a negative answer without its AD bit.

use std::fmt;

use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsRequestSender, FirstAnswer};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};

use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::route::mx::MxRecord;

use super::alias::Chain;
use super::server::{Server, request};
use super::{LONGEST_LOOKUP, Resolver, reserved};

/// What a server said, as far as anybody here wants to know.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub code: ResponseCode,
    /// Believed only of a server that is trusted.
    pub authentic: bool,
    pub answers: Vec<Record>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// There is one, and it does not fit.
    CutOff,
    Trouble(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::CutOff => f.write_str("the answer was cut off"),
            NoAnswer::Trouble(why) => f.write_str(why),
        }
    }
}

impl Server {
    /// Over UDP, a few times. An answer that does not fit is none: what is asked for here is small.
    pub(super) async fn ask_raw(&self, name: &Name, kind: RecordType) -> Result<Said, NoAnswer> {
        let runtime = TokioRuntimeProvider::default();
        let mut stream = UdpClientStream::builder(self.address(), runtime)
            .with_timeout(Some(self.whole_patience()))
            .build();
        let answer = stream.send_message(request(name, kind)).first_answer().await;
        let trouble = |e: NetError| NoAnswer::Trouble(e.to_string());
        let message: Message = answer.map_err(trouble)?.into_message();
        if message.metadata.truncation {
            return Err(NoAnswer::CutOff);
        }
        Ok(Said {
            code: message.metadata.response_code,
            authentic: message.metadata.authentic_data && self.is_trusted(),
            answers: message.answers,
        })
    }
}

impl Resolver {
    /// As `mx`; that there are no MX records is asked again where nothing has been proven, so that the answer may be authentic. Worth a
    /// second question only to those who set store by it: a domain without MX is its own exchanger (RFC 5321 §5.1), as surely as there is
    /// none. A second question without an answer is a failed lookup: taken for an answer without signature it would bounce what waits.
    pub async fn mx_or_proof(&self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        match self.mx(domain).await {
            Lookup::Absent { absence: Absence::NoSuchRecord, authentic: false } => {
                let proof = self.proves_no_record(domain, RecordType::MX);
                match tokio::time::timeout(LONGEST_LOOKUP, proof).await {
                    Ok(Ok(authentic)) => {
                        Lookup::Absent { absence: Absence::NoSuchRecord, authentic }
                    }
                    Ok(Err(why)) => Lookup::Failed(why),
                    Err(_) => Lookup::Failed("no answer in time".to_string()),
                }
            }
            other => other,
        }
    }

    /// Whether a trusted server says that every alias from this name on is signed, and so is that the last name has no such record. The
    /// error is of the last of them, when none of them says anything.
    async fn proves_no_record(&self, domain: &Domain, kind: RecordType) -> Result<bool, String> {
        let Ok(mut name) = Name::from_ascii(domain.ascii()) else { return Ok(false) };
        name.set_fqdn(true);
        let mut chain = Chain::new(name);
        let mut trouble = Ok(false);
        for server in self.current().await.iter().filter(|server| server.is_trusted()) {
            // The chain is bounded, and every round adds to it or ends.
            while reserved::answer(chain.end(), kind).is_none() {
                let said = match server.ask_raw(chain.end(), kind).await {
                    Ok(said) if said.code != ResponseCode::ServFail => said,
                    // It will not fit the next time either.
                    Err(NoAnswer::CutOff) => return Ok(false),
                    failed => {
                        let why = failed.map_or_else(|e| e.to_string(), |s| s.code.to_string());
                        trouble = Err(format!("{why} from {}", server.address()));
                        break;
                    }
                };
                if said.code != ResponseCode::NoError || !said.authentic {
                    return Ok(false);
                }
                if said.answers.is_empty() {
                    return Ok(true);
                }
                // RFC 4035 §3.2.3: AD speaks for all of an answer. Whether an alias in it is followed by a denial cannot be seen, so the
                // name at its end is asked for by itself.
                let before = chain.hops().len();
                if chain.follow(kind, &said.answers).is_err() || chain.hops().len() == before {
                    return Ok(false);
                }
            }
        }
        trouble
    }
}
