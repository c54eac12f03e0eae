//! GET of a policy from its host (RFC 8461 §3.3): one connection, one answer, no redirects, within bounds of size and time.
//!
//! Whether what came is taken is decided in `posthaste_mail::sts::response`. Proxies, cookies, caches and client certificates have no
//! part in it. Addresses at which other fetches have heard nothing have to speak at once for a while (`posthaste_mail::sts::silence`).

mod call;
mod carrier;

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT};
use hyper::{Request, Response};
use tokio::time::Instant;

use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::sts::policy_host;
use posthaste_mail::sts::response::{FetchError, LONGEST, PATH, judge_head};
use posthaste_mail::sts::silence::Hearsay;
use posthaste_mail::time::Timestamp;

use crate::clock::Clock;
use crate::dial::{DialError, LocalAddresses, dial};
use crate::dns::{Families, Resolver};
use crate::tls::{WebStream, WebTls, WebTlsError};
use call::{Book, Call, Heard};
use carrier::Carrier;

/// HTTPS, when no laboratory says otherwise.
pub const PORT: u16 = 443;
/// Addresses of one host that are dialled.
const MOST_ADDRESSES: usize = 4;
/// For the connection and the first word of one of them, so that a dead one leaves time for the next. What we take ourselves before we say
/// something is not in it.
const WORD_LIMIT: Duration = Duration::from_secs(10);
/// The same where others wait in vain: for a server that is well, two round trips.
const HURRIED_LIMIT: Duration = Duration::from_secs(1);
/// Octets of a head; hyper reads no longer one.
const LONGEST_HEAD: usize = 16 * 1024;

/// What all fetches have in common. Clones are the same.
#[derive(Clone)]
pub struct PolicyHosts {
    settings: Arc<Settings>,
    book: Arc<Book>,
    /// `HURRIED_LIMIT`, where no test says otherwise.
    hurry: Duration,
}

/// How policy hosts are reached.
#[derive(Clone)]
pub struct Settings {
    pub resolver: Resolver,
    pub clock: Clock,
    pub tls: WebTls,
    pub port: u16,
    pub local: LocalAddresses,
    pub families: Families,
    /// Addresses of this machine are policy hosts as well: for laboratories. Else strangers could have us knock at our own doors.
    pub allow_loopback: bool,
    pub own_addresses: Vec<IpAddr>,
}

impl PolicyHosts {
    pub fn new(settings: Settings) -> PolicyHosts {
        let book = Book::new(settings.clock.clone());
        PolicyHosts { settings: Arc::new(settings), book, hurry: HURRIED_LIMIT }
    }

    /// The text of the domain's policy, not read yet, or why it cannot be had.
    pub async fn fetch(
        &self,
        domain: &Domain,
        limit: Duration,
        hearsay: Hearsay,
    ) -> Result<Vec<u8>, FetchError> {
        let mut hurried = Hurried::default();
        let fetch = self.fetch_from(domain, hearsay, &mut hurried);
        let end = tokio::time::timeout(limit, fetch).await.unwrap_or(Err(FetchError::TimedOut));
        end.map_err(|why| hurried.explain(why))
    }

    async fn fetch_from(
        &self,
        domain: &Domain,
        hearsay: Hearsay,
        hurried: &mut Hurried,
    ) -> Result<Vec<u8>, FetchError> {
        let host = policy_host(domain).ok_or_else(|| {
            FetchError::NoAddress(format!("mta-sts.{domain} is longer than a name can be"))
        })?;
        let addresses = self.addresses(&host).await?;
        let tls = self.reach(&host, addresses, hearsay, hurried).await?;
        get(tls, &host, self.settings.port).await
    }

    async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, FetchError> {
        // RFC 8461 §8.2: the name may be an alias; the certificate carries the name all the same.
        let found = match self.settings.resolver.addresses(host, self.settings.families).await {
            Lookup::Found { value, .. } => value.list,
            Lookup::Absent { absence: Absence::NoSuchName, .. } => {
                return Err(FetchError::NoAddress(format!("{host} does not exist")));
            }
            Lookup::Absent { absence: Absence::NoSuchRecord, .. } => Vec::new(),
            Lookup::Failed(why) | Lookup::Looping(why) => return Err(FetchError::Dns(why)),
            Lookup::Unasked(why) => return Err(FetchError::Ours(why)),
        };
        let usable: Vec<IpAddr> = found.iter().copied().filter(|a| self.is_usable(*a)).collect();
        match (usable.is_empty(), found.is_empty()) {
            (false, _) => Ok(usable),
            (true, true) => Err(FetchError::NoAddress(format!("{host} has no address"))),
            (true, false) => {
                Err(FetchError::NoAddress(format!("no address of {host} may be used")))
            }
        }
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical(); // ::ffff:127.0.0.1 is loopback too
        let ours = canonical.is_loopback()
            || canonical.is_unspecified()
            || canonical.is_multicast()
            || self.settings.own_addresses.contains(&canonical);
        (!ours || self.settings.allow_loopback) && self.settings.local.for_peer(address).is_ok()
    }

    /// The first address at which somebody speaks. What this machine lacks counts only where it kept us from all of them: a host that is
    /// not there is no fault of ours because another of its addresses could not be tried.
    async fn reach(
        &self,
        host: &Domain,
        all: Vec<IpAddr>,
        hearsay: Hearsay,
        hurried: &mut Hurried,
    ) -> Result<WebStream<Heard>, FetchError> {
        let mut failure = None;
        let count = all.len().min(MOST_ADDRESSES);
        for (place, address) in all.into_iter().take(MOST_ADDRESSES).enumerate() {
            let peer = SocketAddr::new(address, self.settings.port);
            let silent_until = self.book.silent_until(address);
            let told = silent_until.filter(|_| hearsay == Hearsay::Believed);
            let is_last = place + 1 == count;
            let patience = match told {
                Some(until) => Patience::AtOnce { until },
                None if is_last && silent_until.is_none() => Patience::Whole,
                None => Patience::Word,
            };
            match self.open(host, peer, patience).await {
                Ok(stream) => return Ok(stream),
                Err(FetchError::Silent { told, until }) => hurried.note(told, until),
                Err(e @ FetchError::Connect(_)) => failure = Some(e),
                Err(e @ FetchError::Ours(_)) => {
                    failure.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        Err(failure.unwrap_or_else(|| FetchError::NoAddress(format!("{host} has no address"))))
    }

    async fn open(
        &self,
        host: &Domain,
        peer: SocketAddr,
        patience: Patience,
    ) -> Result<WebStream<Heard>, FetchError> {
        let call = self.book.call(peer.ip());
        let limit = match patience {
            Patience::AtOnce { .. } => self.hurry,
            Patience::Word | Patience::Whole => WORD_LIMIT,
        };
        let begun = Instant::now();
        let stream = match dial(peer, &self.settings.local, limit).await {
            Ok(stream) => stream,
            Err(DialError::TimedOut) => return Err(self.silence(peer, &call, patience)),
            Err(e @ (DialError::Peer(_) | DialError::NoLocalAddress)) => {
                return Err(FetchError::Connect(format!("{peer}: {e}")));
            }
            Err(e @ DialError::Local(_)) => return Err(FetchError::Ours(format!("{peer}: {e}"))),
        };
        call.is_connected();
        let left = limit.saturating_sub(begun.elapsed());
        let overdue = async {
            call.asked().await;
            match patience {
                Patience::AtOnce { .. } | Patience::Word => tokio::time::sleep(left).await,
                Patience::Whole => pending().await,
            }
            if call.was_heard() {
                pending::<()>().await;
            }
        };
        let stream = Heard { stream, call: Arc::clone(&call) };
        tokio::select! {
            biased;
            end = self.settings.tls.handshake(stream, host) => end.map_err(|e| match e {
                WebTlsError::Certificate(why) => FetchError::Certificate(why),
                WebTlsError::Handshake(why) => FetchError::Handshake(why),
                WebTlsError::Ours(why) => FetchError::Ours(why),
            }),
            () = overdue => Err(self.silence(peer, &call, patience)),
        }
    }

    /// Its time is over, and nobody has spoken.
    fn silence(&self, peer: SocketAddr, call: &Call, patience: Patience) -> FetchError {
        match patience {
            // Too short to tell it to others anew.
            Patience::AtOnce { until } => {
                let told = format!("{peer}: not a word in {} s", self.hurry.as_secs());
                FetchError::Silent { told, until }
            }
            Patience::Word | Patience::Whole => {
                call.fell_silent();
                FetchError::Connect(format!("{peer}: not a word in {} s", WORD_LIMIT.as_secs()))
            }
        }
    }
}

/// How long somebody may take to speak.
#[derive(Clone, Copy)]
enum Patience {
    /// Others have heard nothing there, and will tell so until then.
    AtOnce { until: Timestamp },
    /// There are others to ask.
    Word,
    /// The time of the fetch, once there is a connection.
    Whole,
}

/// Addresses that had to speak at once and did not.
#[derive(Default)]
struct Hurried {
    told: Vec<String>,
    /// When the last of them will have its time again.
    until: Timestamp,
}

impl Hurried {
    fn note(&mut self, told: String, until: Timestamp) {
        self.told.push(told);
        self.until = self.until.max(until);
    }

    /// What came of the other addresses is not the last word where these might have given the policy.
    fn explain(self, why: FetchError) -> FetchError {
        if self.told.is_empty() || matches!(why, FetchError::Ours(_)) {
            return why;
        }
        let (until, told) = (self.until, self.told.join(", "));
        let told = match why {
            FetchError::NoAddress(_) => told,
            why => format!("{told}; besides, {why}"),
        };
        FetchError::Silent { told, until }
    }
}

async fn get(tls: WebStream<Heard>, host: &Domain, port: u16) -> Result<Vec<u8>, FetchError> {
    let shaken = http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .handshake::<_, Empty<Bytes>>(Carrier(tls))
        .await;
    let (mut sender, connection) = shaken.map_err(|e| FetchError::Http(e.to_string()))?;
    let name = if port == PORT { host.to_string() } else { format!("{host}:{port}") };
    let request = Request::get(PATH)
        .header(HOST, name)
        .header(USER_AGENT, "posthaste")
        .body(Empty::new())
        .map_err(|e| FetchError::Ours(e.to_string()))?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(|e| http(&e))?;
        read(answer).await
    };
    let (mut exchange, connection) = (pin!(exchange), pin!(connection));
    tokio::select! {
        biased;
        end = &mut exchange => end,
        // What came before its end is still to be read.
        _ = connection => exchange.await,
    }
}

async fn read(answer: Response<Incoming>) -> Result<Vec<u8>, FetchError> {
    let types: Vec<&[u8]> =
        answer.headers().get_all(CONTENT_TYPE).iter().map(|value| value.as_bytes()).collect();
    judge_head(answer.status().as_u16(), &types)?;
    let announced = [CONTENT_LENGTH, TRANSFER_ENCODING];
    let has_end = announced.iter().any(|name| answer.headers().contains_key(name));
    let mut body = answer.into_body();
    let mut text = Vec::new();
    if body.size_hint().lower() > LONGEST as u64 {
        return Err(FetchError::TooLong);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| http(&e))?;
        let Some(octets) = frame.data_ref() else { continue };
        if text.len() + octets.len() > LONGEST {
            return Err(FetchError::TooLong);
        }
        text.extend_from_slice(octets);
    }
    // RFC 9112 §9.8: without announced length the end may be somebody's who cut the connection off, and the library does not say whether
    // the host closed it. Half a `max_age` would be a shorter one; without its last lines a policy is none, or lists fewer hosts.
    if !has_end && !text.ends_with(b"\n") {
        return Err(FetchError::Http("the answer ends in the midst of a line".to_string()));
    }
    Ok(text)
}

/// hyper says little in the first line, and what it was in its source.
fn http(error: &hyper::Error) -> FetchError {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    FetchError::Http(format!("{error}{}", source.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
