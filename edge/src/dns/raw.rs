//! One question whose whole answer is wanted, header included: the pool gives a negative answer without its AD bit.

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

impl Server {
    /// Over UDP, a few times. An answer that does not fit is none: what is asked for here is small.
    pub(super) async fn ask_raw(&self, name: &Name, kind: RecordType) -> Result<Said, String> {
        let runtime = TokioRuntimeProvider::default();
        let mut stream = UdpClientStream::builder(self.address(), runtime)
            .with_timeout(Some(self.whole_patience()))
            .build();
        let answer = stream.send_message(request(name, kind)).first_answer().await;
        let message: Message = answer.map_err(|e: NetError| e.to_string())?.into_message();
        if message.metadata.truncation {
            return Err("the answer was cut off".to_string());
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
    /// none.
    pub async fn mx_or_proof(&self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        match self.mx(domain).await {
            Lookup::Absent { absence: Absence::NoSuchRecord, authentic: false } => {
                let proof = self.proves_no_record(domain, RecordType::MX);
                let authentic = tokio::time::timeout(LONGEST_LOOKUP, proof).await.unwrap_or(false);
                Lookup::Absent { absence: Absence::NoSuchRecord, authentic }
            }
            other => other,
        }
    }

    /// Whether a trusted server says that every alias from this name on is signed, and so is that the last name has no such record.
    async fn proves_no_record(&self, domain: &Domain, kind: RecordType) -> bool {
        let Ok(mut name) = Name::from_ascii(domain.ascii()) else { return false };
        name.set_fqdn(true);
        let mut chain = Chain::new(name);
        for server in self.current().await.iter().filter(|server| server.is_trusted()) {
            // The chain is bounded, and every round adds to it or ends.
            while reserved::answer(chain.end(), kind).is_none()
                && let Ok(said) = server.ask_raw(chain.end(), kind).await
            {
                if said.code != ResponseCode::NoError || !said.authentic {
                    return false;
                }
                if said.answers.is_empty() {
                    return true;
                }
                // RFC 4035 §3.2.3: AD speaks for all of an answer. Whether an alias in it is followed by a denial cannot be seen, so the
                // name at its end is asked for by itself.
                let before = chain.hops().len();
                if chain.follow(kind, &said.answers).is_err() || chain.hops().len() == before {
                    return false;
                }
            }
        }
        false
    }
}
