//! One DNS server, asked over UDP, and over TCP when an answer does not fit.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use posthaste_mail::lookup::Absence;
use posthaste_mail::time::Timestamp;

use super::alias::Chain;
use super::{Answer, NoResolver};
use crate::clock::Clock;

/// Records kept of an answer; no honest host has as many addresses, no honest domain as many exchangers.
const MOST_RECORDS: usize = 100;
/// resolv.conf(5) has the same limit for `attempts`.
const MOST_ROUNDS: usize = 5;
const SHORTEST_ROUND: Duration = Duration::from_millis(500);
/// Within this any server that is there tells where the root is: it knows that without asking.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// How long a sign of life, or its absence, is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// How long an absence without SOA is remembered: not at all (RFC 2308 §5).
const NO_SOA: Duration = Duration::ZERO;

/// How long a server is waited for: so many times the same question, each for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    pub round: Duration,
    pub rounds: usize,
}

impl Patience {
    /// As much of it as lets each of so many servers have its say, and its sign of life, within the time for all of them.
    pub(super) fn within(self, all: Duration, servers: usize) -> Patience {
        let servers = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
        let rounds = self.rounds.clamp(1, MOST_ROUNDS);
        let share = (all / servers).saturating_sub(SIGN_OF_LIFE);
        let round = share / u32::try_from(rounds).unwrap_or(1);
        Patience { round: self.round.min(round).max(SHORTEST_ROUND), rounds }
    }

    fn whole(self) -> Duration {
        self.round * u32::try_from(self.rounds).unwrap_or(1)
    }
}

pub(super) struct Server {
    address: SocketAddr,
    patience: Patience,
    handle: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
    last_sign: Mutex<Option<(Timestamp, bool)>>,
}

impl Server {
    pub(super) fn new(address: SocketAddr, patience: Patience) -> Result<Server, NoResolver> {
        let mut options = ResolverOpts::default();
        options.timeout = patience.round;
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
        let handle = RetryDnsHandle::new(pool, patience.rounds.saturating_sub(1));
        Ok(Server { address, patience, handle, last_sign: Mutex::default() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All the time it gets for one question.
    pub(super) fn whole_patience(&self) -> Duration {
        self.patience.whole()
    }

    #[cfg(test)]
    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Its AD bit counts.
    pub(super) fn is_trusted(&self) -> bool {
        super::is_trusted(self.address.ip())
    }

    /// One question. Silence is the name's fault only if the server is there: what serves the name may be dead, and the server wait for it.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType, clock: &Clock) -> Answer {
        let query = tokio::time::timeout(self.patience.whole(), self.query(name, kind));
        match query.await.unwrap_or(Err(NetError::Timeout)) {
            Err(NetError::Timeout) => {
                let lives = match self.believed(clock) {
                    Some(lives) => lives,
                    None => self.lives(clock).await,
                };
                if lives {
                    Answer::Failed("no answer".to_string())
                } else {
                    Answer::Unasked("no answer to anything".to_string())
                }
            }
            end => self.answer(name, kind, end),
        }
    }

    /// What the last sign of life told, if that was a moment ago.
    fn believed(&self, clock: &Clock) -> Option<bool> {
        let last = *self.last_sign.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        last.filter(|(at, _)| *at <= now && now.since(*at) < BELIEVED).map(|(_, lives)| lives)
    }

    async fn lives(&self, clock: &Clock) -> bool {
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
        self.handle.send(request(name, kind)).first_answer().await
    }

    fn answer(&self, name: &Name, kind: RecordType, end: Result<DnsResponse, NetError>) -> Answer {
        match end {
            Ok(response) => {
                let authentic = response.metadata.authentic_data && self.is_trusted();
                read(name, kind, &response.answers, authentic)
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
            // Nobody listens there, or this machine has no descriptor left.
            Err(error @ (NetError::Io(_) | NetError::NoConnections | NetError::Busy)) => {
                Answer::Unasked(error.to_string())
            }
            // RFC 7766 §5: among them an answer that was cut off and could not be had over TCP. The server is there all the same.
            Err(other) => Answer::Failed(other.to_string()),
        }
    }
}

pub(super) fn request(name: &Name, kind: RecordType) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    let query = Query::query(name.clone(), kind);
    let mut request = DnsRequest::from_query(query, options);
    // RFC 6840 §5.7: AD in the query asks for AD in the answer, without the signatures that DO would bring.
    request.metadata.authentic_data = true;
    request
}

/// What an answer says of the name: the aliases it has, and the records at their end. All else in it is left behind.
fn read(name: &Name, kind: RecordType, answers: &[Record], authentic: bool) -> Answer {
    let mut chain = Chain::new(name.clone());
    if let Err(why) = chain.follow(kind, answers) {
        return Answer::Looping(why);
    }
    let of_the_end = |r: &&Record| r.name == *chain.end() && r.record_type() == kind;
    let mut records: Vec<RData> =
        answers.iter().filter(of_the_end).map(|r| r.data.clone()).collect();
    // Whoever names more than is kept loses the exchangers he likes least, in whatever order he names them.
    if kind == RecordType::MX {
        records.sort_by_key(|data| match data {
            RData::MX(mx) => mx.preference,
            _ => u16::MAX,
        });
    }
    records.truncate(MOST_RECORDS);
    if records.is_empty() && chain.hops().is_empty() {
        return Answer::Failed(format!("answer for {name} names something else"));
    }
    let life = answers.iter().map(|r| r.ttl).min().unwrap_or(0);
    let life = Duration::from_secs(u64::from(life));
    Answer::Records { hops: chain.hops().to_vec(), records, authentic, life }
}

/// The pool does not keep the header of a negative answer, so it is never taken for authentic here.
fn absent(absence: Absence, negative_ttl: Option<u32>) -> Answer {
    let life = negative_ttl.map_or(NO_SOA, |ttl| Duration::from_secs(u64::from(ttl)));
    Answer::Absent { absence, authentic: false, life }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::{A, MX};
    use std::net::Ipv4Addr;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn records(kind: RecordType, answers: &[Record]) -> Vec<RData> {
        match read(&name("a.test."), kind, answers, false) {
            Answer::Records { records, .. } => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_hundred_records_and_of_exchangers_the_best() {
        let mx = |preference| {
            let data = MX::new(preference, name(&format!("mx{preference}.test.")));
            Record::from_rdata(name("a.test."), 60, RData::MX(data))
        };
        let many: Vec<Record> = (0..3000).rev().map(mx).collect();
        let kept = records(RecordType::MX, &many);
        let best: Vec<RData> = (0..100).map(|p| mx(p).data).collect();
        assert_eq!(kept, best);
        let a = |i: u16| {
            let [high, low] = i.to_be_bytes();
            let data = RData::A(A(Ipv4Addr::new(192, 0, high, low)));
            Record::from_rdata(name("a.test."), 60, data)
        };
        let many: Vec<Record> = (0..3000).map(a).collect();
        assert_eq!(
            records(RecordType::A, &many),
            many[..100].iter().map(|r| r.data.clone()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_answer_about_others_is_none() {
        let other = Record::from_rdata(name("b.test."), 60, RData::A(A(Ipv4Addr::LOCALHOST)));
        let answer = read(&name("a.test."), RecordType::A, &[other], false);
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    }

    #[test]
    fn patience_ends_before_the_lookup_does() {
        let all = Duration::from_secs(30);
        let of = |seconds, rounds| Patience { round: Duration::from_secs(seconds), rounds };
        assert_eq!(of(5, 2).within(all, 1), of(5, 2));
        assert_eq!(of(5, 2).within(all, 3), of(4, 2)); // 3 x (2 x 4 s + 2 s)
        assert_eq!(of(30, 5).within(all, 1).whole(), Duration::from_secs(28));
        assert_eq!(of(1, 0).within(all, 1), of(1, 1));
        assert_eq!(of(1, 99).within(all, 1), of(1, 5));
        for servers in 1..8 {
            let whole = of(30, 5).within(all, servers).whole() + SIGN_OF_LIFE;
            assert!(
                whole * u32::try_from(servers).unwrap() <= all + Duration::from_secs(5),
                "{servers}"
            );
        }
        assert_eq!(of(5, 2).within(all, 100).round, SHORTEST_ROUND); // never at once
    }
}
