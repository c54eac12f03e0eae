//! One DNS server, asked over UDP, and over TCP when an answer does not fit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use posthaste_mail::lookup::Absence;

use super::{Answer, NoResolver};

/// One round; a dead server costs this times the rounds.
const ROUND: Duration = Duration::from_secs(3);
const REPEATS: usize = 1;
/// How long an absence without SOA is remembered: not at all (RFC 2308 §5).
const NO_SOA: Duration = Duration::ZERO;

pub(super) struct Server {
    address: SocketAddr,
    handle: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
}

impl Server {
    pub(super) fn new(address: SocketAddr) -> Result<Server, NoResolver> {
        let mut options = ResolverOpts::default();
        options.timeout = ROUND;
        options.attempts = REPEATS;
        options.edns0 = true;
        options.num_concurrent_reqs = 1;
        options.cache_size = 0;
        options.max_active_requests = 4096;
        let at = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
        let config = NameServerConfig::new(address.ip(), true, connections);
        let tls = TlsConfig::new().map_err(|e| NoResolver(e.to_string()))?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config([config], context, TokioRuntimeProvider::default());
        Ok(Server { address, handle: RetryDnsHandle::new(pool, REPEATS) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// RFC 4035 §4.9.3: the AD bit counts only over a path nobody else can write to.
    pub(super) fn is_trusted(&self) -> bool {
        match self.address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        }
    }

    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Answer {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        let query = Query::query(name.clone(), kind);
        let mut request = DnsRequest::from_query(query, options);
        // RFC 6840 §5.7: AD in the query asks for AD in the answer, without the signatures that DO would bring.
        request.metadata.authentic_data = true;
        match self.handle.send(request).first_answer().await {
            Ok(response) => {
                let records = response.answers.clone();
                let life = records.iter().map(|r| r.ttl).min().unwrap_or(0);
                Answer::Records {
                    records,
                    authentic: response.metadata.authentic_data && self.is_trusted(),
                    life: Duration::from_secs(u64::from(life)),
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => absent(Absence::NoSuchName, none.negative_ttl),
                ResponseCode::NoError => absent(Absence::NoSuchRecord, none.negative_ttl),
                other => Answer::Failed(other.to_string()),
            },
            Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain))) => {
                absent(Absence::NoSuchName, None)
            }
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Answer::Failed(code.to_string()),
            Err(NetError::Timeout) => Answer::Failed("no answer".to_string()),
            Err(other) => Answer::Failed(other.to_string()),
        }
    }
}

/// The pool does not keep the header of a negative answer, so it is never taken for authentic here.
fn absent(absence: Absence, negative_ttl: Option<u32>) -> Answer {
    let life = negative_ttl.map_or(NO_SOA, |ttl| Duration::from_secs(u64::from(ttl)));
    Answer::Absent { absence, authentic: false, life }
}
