//! DNS: three-valued answers, with the AD bit where it means something.
//!
//! The servers are walked in order, one pool each: SERVFAIL, refusals and silence go to the next, an answer (also NXDOMAIN) ends the
//! walk. The AD bit is asked for in every query and believed from loopback resolvers only; nothing is validated here.

mod cache;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::route::mx::MxRecord;

use crate::clock::Clock;
use cache::Cache;
use server::Server;

/// No lookup takes longer, whatever the servers do.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);
/// CNAME hops followed.
const MOST_ALIASES: usize = 16;

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
        records: Vec<Record>,
        authentic: bool,
        life: Duration,
    },
    Absent {
        absence: Absence,
        authentic: bool,
        life: Duration,
    },
    Failed(String),
    /// The server could not be asked: nothing is known of the name, nor of its servers.
    Unasked(String),
}

/// Shared by all who look up; clones share cache and connections.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    servers: Vec<Server>,
    cache: Cache,
    clock: Clock,
}

impl Resolver {
    /// Asks these servers, in this order.
    pub fn new(servers: &[SocketAddr], clock: Clock) -> Result<Resolver, NoResolver> {
        let servers: Result<Vec<Server>, NoResolver> =
            servers.iter().map(|address| Server::new(*address)).collect();
        let servers = servers?;
        if servers.is_empty() {
            return Err(NoResolver("no server is named".to_string()));
        }
        Ok(Resolver(Arc::new(Inner { servers, cache: Cache::default(), clock })))
    }

    /// Asks the servers of `/etc/resolv.conf`; without any, the one on this machine (resolv.conf(5)).
    pub fn system(clock: Clock) -> Result<Resolver, NoResolver> {
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|e| NoResolver(format!("reading /etc/resolv.conf: {e}")))?;
        let mut servers: Vec<SocketAddr> = config
            .name_servers()
            .iter()
            .map(|s| SocketAddr::new(s.ip, s.connections.first().map_or(53, |c| c.port)))
            .collect();
        servers.dedup();
        if servers.is_empty() {
            servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        Resolver::new(&servers, clock)
    }

    /// The servers asked, and whether their AD bit counts.
    pub fn servers(&self) -> impl Iterator<Item = (SocketAddr, bool)> + '_ {
        self.0.servers.iter().map(|s| (s.address(), s.is_trusted()))
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

    /// Addresses of both families, as DNS ordered them, alternating, IPv6 first. One family is enough if the other cannot be known.
    pub async fn addresses(&self, host: &Domain, families: Families) -> Lookup<Vec<IpAddr>> {
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
        merge(v6, v4)
    }

    async fn records<T>(
        &self,
        domain: &Domain,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Lookup<Vec<T>> {
        let Ok(mut name) = Name::from_ascii(domain.ascii()) else {
            return Lookup::Failed(format!("{domain} is not a name DNS can carry"));
        };
        name.set_fqdn(true);
        match tokio::time::timeout(LONGEST_LOOKUP, self.chase(name, kind)).await {
            Err(_) => Lookup::Failed("no answer in time".to_string()),
            Ok(Answer::Failed(why)) => Lookup::Failed(why),
            Ok(Answer::Unasked(why)) => Lookup::Unasked(why),
            Ok(Answer::Absent { absence, authentic, .. }) => Lookup::Absent { absence, authentic },
            Ok(Answer::Records { records, authentic, .. }) => {
                let value = records.iter().filter_map(|r| read(&r.data)).collect();
                Lookup::Found { value, authentic }
            }
        }
    }

    /// Follows the chain of aliases across answers; the whole is authentic only if every part is.
    async fn chase(&self, mut name: Name, kind: RecordType) -> Answer {
        let mut all_authentic = true;
        for _ in 0..MOST_ALIASES {
            match self.ask(&name, kind).await {
                Answer::Records { records, authentic, life } => {
                    all_authentic &= authentic;
                    let (end, found) = follow(&name, kind, &records);
                    if !found.is_empty() {
                        return Answer::Records { records: found, authentic: all_authentic, life };
                    }
                    if end == name {
                        return Answer::Failed(format!("answer for {name} names something else"));
                    }
                    name = end;
                }
                Answer::Absent { absence, authentic, life } => {
                    return Answer::Absent { absence, authentic: authentic && all_authentic, life };
                }
                no_answer @ (Answer::Failed(_) | Answer::Unasked(_)) => return no_answer,
            }
        }
        Answer::Failed("too many aliases, or a loop of them".to_string())
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Answer {
        let now = self.0.clock.now();
        if let Some(answer) = self.0.cache.get(name, kind, now) {
            return answer;
        }
        let (mut trouble, mut asked) = (String::new(), false);
        for server in &self.0.servers {
            let answer = server.ask(name, kind, &self.0.clock).await;
            asked |= !matches!(answer, Answer::Unasked(_));
            match answer {
                Answer::Failed(why) | Answer::Unasked(why) => {
                    if !trouble.is_empty() {
                        trouble.push_str("; ");
                    }
                    trouble += &format!("{} from {}", why, server.address());
                }
                answer => {
                    self.0.cache.put(name, kind, &answer, now);
                    return answer;
                }
            }
        }
        if asked { Answer::Failed(trouble) } else { Answer::Unasked(trouble) }
    }
}

/// Which address families are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    Both,
    OnlyIpv4,
}

/// Follows CNAMEs inside one answer; records of other owners are ignored.
fn follow(start: &Name, kind: RecordType, records: &[Record]) -> (Name, Vec<Record>) {
    let mut name = start.clone();
    for _ in 0..MOST_ALIASES {
        let own = |r: &&Record| r.name == name;
        let found: Vec<Record> =
            records.iter().filter(own).filter(|r| r.record_type() == kind).cloned().collect();
        if !found.is_empty() {
            return (name, found);
        }
        let alias = records.iter().filter(own).find_map(|r| match &r.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        match alias {
            Some(target) => name = target,
            None => break,
        }
    }
    (name, Vec::new())
}

/// Both families into one list, alternating; a family that could not be looked up counts only if the other has nothing.
fn merge(first: Lookup<Vec<IpAddr>>, second: Lookup<Vec<IpAddr>>) -> Lookup<Vec<IpAddr>> {
    match (first, second) {
        (Lookup::Found { value: a, authentic: x }, Lookup::Found { value: b, authentic: y }) => {
            let mut merged = Vec::with_capacity(a.len() + b.len());
            let (mut a, mut b) = (a.into_iter(), b.into_iter());
            loop {
                match (a.next(), b.next()) {
                    (None, None) => break,
                    (one, other) => merged.extend(one.into_iter().chain(other)),
                }
            }
            Lookup::Found { value: merged, authentic: x && y }
        }
        (found @ Lookup::Found { .. }, _) | (_, found @ Lookup::Found { .. }) => found,
        (failed @ Lookup::Failed(_), _) | (_, failed @ Lookup::Failed(_)) => failed,
        (unasked @ Lookup::Unasked(_), _) | (_, unasked @ Lookup::Unasked(_)) => unasked,
        (absent, Lookup::Absent { .. }) => absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(last: &[u8]) -> Lookup<Vec<IpAddr>> {
        Lookup::found(last.iter().map(|l| IpAddr::from([192, 0, 2, *l])).collect())
    }

    #[test]
    fn families_alternate() {
        assert_eq!(merge(found(&[1, 2]), found(&[11, 12, 13])), found(&[1, 11, 2, 12, 13]));
    }

    #[test]
    fn one_family_is_enough() {
        let failed = Lookup::Failed("SERVFAIL".to_string());
        let absent = Lookup::absent(Absence::NoSuchRecord);
        assert_eq!(merge(failed.clone(), found(&[1])), found(&[1]));
        assert_eq!(merge(found(&[1]), absent.clone()), found(&[1]));
        assert_eq!(merge(failed.clone(), absent.clone()), failed); // it may exist: not known
        assert_eq!(merge(absent.clone(), absent.clone()), absent);
    }
}
