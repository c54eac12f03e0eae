//! One DNS server, asked over UDP, and over TCP when an answer does not fit.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use posthaste_mail::lookup::Absence;
use posthaste_mail::time::Timestamp;

use super::{Answer, NoResolver};
use crate::clock::Clock;

/// One round; a dead server costs this times the rounds.
const ROUND: Duration = Duration::from_secs(3);
const REPEATS: usize = 1;
/// Within this any server that is there tells where the root is: it knows that without asking.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// How long a sign of life, or its absence, is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// How long an absence without SOA is remembered: not at all (RFC 2308 §5).
const NO_SOA: Duration = Duration::ZERO;

pub(super) struct Server {
    address: SocketAddr,
    handle: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
    last_sign: Mutex<Option<(Timestamp, bool)>>,
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
        let handle = RetryDnsHandle::new(pool, REPEATS);
        Ok(Server { address, handle, last_sign: Mutex::default() })
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

    /// One question. Silence is the name's fault only if the server is there: what serves the name may be dead, and the server wait for it.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType, clock: &Clock) -> Answer {
        match self.query(name, kind).await {
            Err(NetError::Timeout) if !self.lives(clock).await => {
                Answer::Unasked("no answer to anything".to_string())
            }
            end => self.answer(end),
        }
    }

    async fn lives(&self, clock: &Clock) -> bool {
        let last = *self.last_sign.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, lives)) = last
            && at <= clock.now()
            && clock.now().since(at) < BELIEVED
        {
            return lives;
        }
        let root = Name::root();
        let root = self.query(&root, RecordType::NS);
        // Whatever it says, it is there.
        let lives = !matches!(
            tokio::time::timeout(SIGN_OF_LIFE, root).await,
            Err(_) | Ok(Err(NetError::Timeout | NetError::Io(_) | NetError::NoConnections))
        );
        let mut last = self.last_sign.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((clock.now(), lives));
        lives
    }

    async fn query(&self, name: &Name, kind: RecordType) -> Result<DnsResponse, NetError> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        let query = Query::query(name.clone(), kind);
        let mut request = DnsRequest::from_query(query, options);
        // RFC 6840 §5.7: AD in the query asks for AD in the answer, without the signatures that DO would bring.
        request.metadata.authentic_data = true;
        self.handle.send(request).first_answer().await
    }

    fn answer(&self, end: Result<DnsResponse, NetError>) -> Answer {
        match end {
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
            // Nobody listens there, or this machine has no descriptor left.
            Err(error @ (NetError::Io(_) | NetError::NoConnections | NetError::Busy)) => {
                Answer::Unasked(error.to_string())
            }
            Err(other) => Answer::Failed(other.to_string()),
        }
    }
}

/// The pool does not keep the header of a negative answer, so it is never taken for authentic here.
fn absent(absence: Absence, negative_ttl: Option<u32>) -> Answer {
    let life = negative_ttl.map_or(NO_SOA, |ttl| Duration::from_secs(u64::from(ttl)));
    Answer::Absent { absence, authentic: false, life }
}
