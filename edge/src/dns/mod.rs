//! DNS: answers that say what is known, with the AD bit where it means something.
//!
//! The servers are walked in order, one pool each: SERVFAIL, refusals and silence go to the next, an answer (also NXDOMAIN) ends the
//! walk. The AD bit is asked for in every query and believed from loopback resolvers only; nothing is validated here. Aliases are
//! followed; what comes from strangers is bounded in number, size and time.

mod alias;
mod cache;
mod raw;
mod reserved;
mod server;
mod system;
mod tlsa;
mod validation;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::route::addresses::HostAddresses;
use posthaste_mail::route::mx::MxRecord;

use crate::clock::Clock;
use alias::Chain;
use cache::Cache;
use server::{Patience, Server};
use system::{ResolvConf, Said};

pub use validation::{Probe, Probes, Validation};

/// No lookup takes longer, whatever the servers do.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);
/// How long a server named by the configuration is waited for.
const PATIENCE: Patience = Patience { round: Duration::from_secs(3), rounds: 2 };

/// The resolver cannot be set up.
#[derive(Clone, Debug)]
pub struct NoResolver(pub String);

impl std::fmt::Display for NoResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "setting up DNS: {}", self.0)
    }
}

impl std::error::Error for NoResolver {}

/// One answer before it is read as records of a kind.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Records {
        /// Aliases from the name that was asked for to the one that is meant.
        hops: Vec<Name>,
        /// Those of that name, at most a hundred. None: it has to be asked for.
        records: Vec<RData>,
        authentic: bool,
        life: Duration,
    },
    Absent {
        absence: Absence,
        authentic: bool,
        life: Duration,
    },
    Failed(String),
    /// The aliases lead nowhere.
    Looping(String),
    /// The server could not be asked: nothing is known of the name, nor of its servers.
    Unasked(String),
}

/// Shared by all who look up; clones share cache and connections.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    /// A lookup keeps those it began with.
    servers: Mutex<Arc<[Server]>>,
    /// Where the servers were read, if they were.
    system: Option<ResolvConf>,
    cache: Cache,
    clock: Clock,
    signed: Signed,
}

impl Resolver {
    /// Asks these servers, in this order.
    pub fn new(
        servers: &[SocketAddr],
        clock: Clock,
        signed: Signed,
    ) -> Result<Resolver, NoResolver> {
        Resolver::asking(each(servers, PATIENCE, signed)?, None, clock, signed)
    }

    /// Asks the servers of `/etc/resolv.conf`, as long as it says and whatever it becomes.
    pub fn system(clock: Clock, signed: Signed) -> Result<Resolver, NoResolver> {
        Resolver::system_at(PathBuf::from("/etc/resolv.conf"), clock, signed)
    }

    fn system_at(path: PathBuf, clock: Clock, signed: Signed) -> Result<Resolver, NoResolver> {
        let (file, said) = ResolvConf::open(path, clock.now())?;
        Resolver::asking(as_said(&said, signed)?, Some(file), clock, signed)
    }

    fn asking(
        servers: Arc<[Server]>,
        system: Option<ResolvConf>,
        clock: Clock,
        signed: Signed,
    ) -> Result<Resolver, NoResolver> {
        if servers.is_empty() {
            return Err(NoResolver("no server is named".to_string()));
        }
        let (servers, cache) = (Mutex::new(servers), Cache::default());
        let inner = Inner { servers, system, cache, clock, signed };
        Ok(Resolver(Arc::new(inner)))
    }

    /// The servers asked now, and whether their AD bit counts.
    pub fn servers(&self) -> Vec<(SocketAddr, bool)> {
        self.now().iter().map(|s| (s.address(), s.is_trusted())).collect()
    }

    fn now(&self) -> Arc<[Server]> {
        Arc::clone(&self.0.servers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The servers for one lookup. Laptops and containers change theirs while the daemon runs.
    async fn current(&self) -> Arc<[Server]> {
        let Some(file) = &self.0.system else { return self.now() };
        if let Some(said) = file.changed(self.0.clock.now()).await
            && let Ok(servers) = as_said(&said, self.0.signed)
        {
            *self.0.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
            self.0.cache.clear(); // others may know other names, and vouch for more or for less
        }
        self.now()
    }

    pub async fn mx(&self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        self.records(domain, RecordType::MX, |data| match data {
            RData::MX(mx) => {
                let exchange = mx.exchange.to_ascii();
                Some(MxRecord { preference: mx.preference, exchange })
            }
            _ => None,
        })
        .await
    }

    /// The TXT records of a name, the character-strings of each put together (RFC 1035 §3.3.14).
    pub async fn txt(&self, name: &Domain, asking: Asking) -> Lookup<Vec<Vec<u8>>> {
        self.records_by(name, RecordType::TXT, asking, |data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        })
        .await
    }

    /// Addresses of both families, as DNS ordered them, alternating, IPv6 first. Both are asked for at once.
    pub async fn addresses(&self, host: &Domain, families: Families) -> Lookup<HostAddresses> {
        let v4 = async {
            self.records(host, RecordType::A, |data| match data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                _ => None,
            })
            .await
        };
        let v6 = async {
            if families == Families::OnlyIpv4 {
                return Lookup::absent(Absence::NoSuchRecord);
            }
            self.records(host, RecordType::AAAA, |data| match data {
                RData::AAAA(a) => Some(IpAddr::V6(a.0)),
                _ => None,
            })
            .await
        };
        let (v4, v6) = tokio::join!(v4, v6);
        HostAddresses::of(v6, v4)
    }

    async fn records<T>(
        &self,
        domain: &Domain,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Lookup<Vec<T>> {
        self.records_by(domain, kind, Asking::Cached, read).await
    }

    async fn records_by<T>(
        &self,
        domain: &Domain,
        kind: RecordType,
        asking: Asking,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Lookup<Vec<T>> {
        let Ok(mut name) = Name::from_ascii(domain.ascii()) else {
            return Lookup::Failed(format!("{domain} is not a name DNS can carry"));
        };
        name.set_fqdn(true);
        let lookup = tokio::time::timeout(LONGEST_LOOKUP, self.chase(name, kind, asking));
        let end = lookup.await.unwrap_or_else(|_| Lookup::Failed("no answer in time".to_string()));
        end.map(|records| records.iter().filter_map(read).collect())
    }

    /// Follows the chain of aliases across answers; the whole is authentic only if every part is.
    async fn chase(&self, name: Name, kind: RecordType, asking: Asking) -> Lookup<Vec<RData>> {
        let servers = self.current().await;
        let mut chain = Chain::new(name);
        let mut all_authentic = true;
        loop {
            match self.ask(&servers, chain.end(), kind, asking).await {
                Answer::Records { hops, records, authentic, .. } => {
                    all_authentic &= authentic;
                    for hop in hops {
                        if let Err(why) = chain.add(hop) {
                            return Lookup::Looping(why);
                        }
                    }
                    if !records.is_empty() {
                        let authentic = all_authentic;
                        return Lookup::Found {
                            value: records,
                            authentic,
                            canonical: canonical(&chain),
                        };
                    }
                    // Bounded: an answer without records has a hop, and the chain takes no more than sixteen.
                }
                Answer::Absent { absence, authentic, .. } => {
                    return Lookup::Absent { absence, authentic: authentic && all_authentic };
                }
                Answer::Failed(why) => return Lookup::Failed(why),
                Answer::Looping(why) => return Lookup::Looping(why),
                Answer::Unasked(why) => return Lookup::Unasked(why),
            }
        }
    }

    async fn ask(
        &self,
        servers: &[Server],
        name: &Name,
        kind: RecordType,
        asking: Asking,
    ) -> Answer {
        if let Some(answer) = reserved::answer(name, kind) {
            return answer;
        }
        if asking == Asking::Cached
            && let Some(answer) = self.0.cache.get(name, kind, self.0.clock.now())
        {
            return answer;
        }
        let answer = self.walk(servers, name, kind).await;
        self.0.cache.put(name, kind, &answer, self.0.clock.now());
        answer
    }

    async fn walk(&self, servers: &[Server], name: &Name, kind: RecordType) -> Answer {
        let (mut trouble, mut asked) = (String::new(), false);
        for server in servers {
            let answer = server.ask(name, kind, &self.0.clock).await;
            asked |= !matches!(answer, Answer::Unasked(_));
            match answer {
                Answer::Failed(why) | Answer::Unasked(why) => {
                    if !trouble.is_empty() {
                        trouble.push_str("; ");
                    }
                    trouble += &format!("{} from {}", why, server.address());
                }
                answer => return answer,
            }
        }
        if asked { Answer::Failed(trouble) } else { Answer::Unasked(trouble) }
    }
}

fn each(
    servers: &[SocketAddr],
    patience: Patience,
    signed: Signed,
) -> Result<Arc<[Server]>, NoResolver> {
    let servers = signed.of(servers);
    let patience = patience.within(LONGEST_LOOKUP, servers.len());
    servers.into_iter().map(|address| Server::new(address, patience)).collect()
}

fn as_said(said: &Said, signed: Signed) -> Result<Arc<[Server]>, NoResolver> {
    let patience = Patience { round: said.timeout, rounds: said.attempts };
    each(&said.servers, patience, signed)
}

/// The name at the end of the aliases, if there are any and it can be a host's.
fn canonical(chain: &Chain) -> Option<Domain> {
    chain.hops().last().and_then(|end| Domain::parse(&end.to_ascii()).ok())
}

/// Whether an answer that is kept will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Cached,
    /// The servers are asked, and the answer replaces what is kept.
    Anew,
}

/// Whether anybody sets store by the AD bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Unneeded,
    /// If a server is there whose AD bit counts, only such servers are asked: that it fails, or finds forged records and says SERVFAIL,
    /// must not lead to one that takes them for unsigned (RFC 7672 §2.1.2).
    Needed,
}

impl Signed {
    fn of(self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let trusted = servers.iter().copied().filter(|address| is_trusted(address.ip()));
        match self {
            Signed::Needed if trusted.clone().next().is_some() => trusted.collect(),
            Signed::Needed | Signed::Unneeded => servers.to_vec(),
        }
    }
}

/// RFC 4035 §4.9.3: the AD bit counts only over a path nobody else can write to.
fn is_trusted(server: IpAddr) -> bool {
    server.to_canonical().is_loopback()
}

/// Which address families are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    Both,
    OnlyIpv4,
}

#[cfg(test)]
mod tests;
