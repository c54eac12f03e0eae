//! A DNS server whose answers the test decides: what a recursive resolver on loopback would say, AD bit included.
//!
//! Names without any entry are NXDOMAIN, names with entries of other types are NODATA. A chain of CNAMEs is answered in one message,
//! as resolvers do, and its AD bit is set only when every name on the way is authentic.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TLSA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::harness::listener;
use crate::harness::process::wait_until;

/// Lives of records: short, so that a test can change its mind.
const TTL: u32 = 1;
/// RFC 5321 sets no bound; resolvers follow some ten.
const LONGEST_CHAIN: usize = 16;

/// What a name and type are answered with.
#[derive(Clone, Debug)]
enum Answer {
    Records(Vec<RData>),
    Code(ResponseCode),
    Silence,
    /// Over UDP only the TC bit, over TCP the records.
    Truncated(Vec<RData>),
}

#[derive(Default)]
struct Zone {
    answers: HashMap<(String, RecordType), Answer>,
    /// Names whose answers carry the AD bit, NXDOMAIN and NODATA included.
    authentic: Vec<String>,
    asked: Vec<Asked>,
}

/// A question that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Lower case, without the trailing dot.
    pub name: String,
    pub kind: RecordType,
    /// Whether the query had the AD bit, without which a resolver does not show its own.
    pub wants_ad: bool,
    pub over_tcp: bool,
}

pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    stopped: Arc<AtomicBool>,
    tcp_stopped: Arc<AtomicBool>,
}

impl Dns {
    pub fn start(address: SocketAddr) -> Dns {
        let udp = listener::udp(address);
        let tcp = listener::tcp(address);
        let zone = Arc::new(Mutex::new(Zone::default()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (book, stop) = (Arc::clone(&zone), Arc::clone(&stopped));
        thread::spawn(move || serve_udp(&udp, &book, &stop));
        let tcp_stopped = Arc::new(AtomicBool::new(false));
        let (book, stop) = (Arc::clone(&zone), Arc::clone(&tcp_stopped));
        thread::spawn(move || serve_tcp(tcp, &book, &stop));
        Dns { address, zone, stopped, tcp_stopped }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// MX records as (preference, host); `.` as the only host is a null MX.
    pub fn mx(&self, domain: &str, hosts: &[(u16, &str)]) -> &Dns {
        let records = hosts.iter().map(|(rank, host)| RData::MX(MX::new(*rank, name(host))));
        self.set(domain, RecordType::MX, Answer::Records(records.collect()))
    }

    /// A or AAAA records, as the addresses are; the other type is left without records.
    pub fn host(&self, host: &str, addresses: &[IpAddr]) -> &Dns {
        let four = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(four) => Some(RData::A(A(*four))),
            IpAddr::V6(_) => None,
        });
        let six = addresses.iter().filter_map(|address| match address {
            IpAddr::V6(six) => Some(RData::AAAA(AAAA(*six))),
            IpAddr::V4(_) => None,
        });
        self.set(host, RecordType::A, Answer::Records(four.collect()));
        self.set(host, RecordType::AAAA, Answer::Records(six.collect()))
    }

    /// A domain with one mail exchanger `mx.DOMAIN` at the address.
    pub fn domain(&self, domain: &str, address: IpAddr) -> &Dns {
        let host = format!("mx.{domain}");
        self.mx(domain, &[(10, &host)]).host(&host, &[address])
    }

    pub fn txt(&self, owner: &str, strings: &[&str]) -> &Dns {
        let strings = strings.iter().map(|text| (*text).to_owned()).collect();
        self.set(owner, RecordType::TXT, Answer::Records(vec![RData::TXT(TXT::new(strings))]))
    }

    /// A TLSA record by its numbers and data.
    pub fn tlsa(&self, owner: &str, numbers: (u8, u8, u8), data: &[u8]) -> &Dns {
        let (usage, selector, matching) = numbers;
        let record = TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec());
        self.set(owner, RecordType::TLSA, Answer::Records(vec![RData::TLSA(record)]))
    }

    pub fn cname(&self, owner: &str, target: &str) -> &Dns {
        let record = RData::CNAME(CNAME(name(target)));
        self.set(owner, RecordType::CNAME, Answer::Records(vec![record]))
    }

    /// The name exists and has no records of the type.
    pub fn no_data(&self, owner: &str, kind: RecordType) -> &Dns {
        self.set(owner, kind, Answer::Records(Vec::new()))
    }

    /// SERVFAIL, REFUSED, NOTIMP ...
    pub fn fails(&self, owner: &str, kind: RecordType, code: ResponseCode) -> &Dns {
        self.set(owner, kind, Answer::Code(code))
    }

    /// No answer at all.
    pub fn is_silent(&self, owner: &str, kind: RecordType) -> &Dns {
        self.set(owner, kind, Answer::Silence)
    }

    /// What is there is told over TCP only.
    pub fn truncated(&self, owner: &str, kind: RecordType) -> &Dns {
        let key = (lower(owner), kind);
        let mut zone = self.zone.lock().unwrap();
        let Some(Answer::Records(records)) = zone.answers.remove(&key) else {
            panic!("{owner} has no records to truncate");
        };
        zone.answers.insert(key, Answer::Truncated(records));
        drop(zone);
        self
    }

    /// From now on nobody listens for TCP, as behind a firewall that knows DNS by UDP only.
    pub fn refuse_tcp(&self) -> &Dns {
        self.tcp_stopped.store(true, Ordering::Release);
        wait_until("nobody listens for TCP", Duration::from_secs(5), || {
            TcpStream::connect(self.address).is_err() // the first one wakes the listener up
        });
        self
    }

    /// Answers about the name carry the AD bit from now on.
    pub fn authentic(&self, owner: &str) -> &Dns {
        self.zone.lock().unwrap().authentic.push(lower(owner));
        self
    }

    /// Forgets the name.
    pub fn forget(&self, owner: &str) -> &Dns {
        let owner = lower(owner);
        self.zone.lock().unwrap().answers.retain(|(name, _), _| *name != owner);
        self
    }

    /// All questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.zone.lock().unwrap().asked.clone()
    }

    /// Whether the question has come, over whichever transport.
    pub fn was_asked(&self, owner: &str, kind: RecordType) -> bool {
        let owner = lower(owner);
        self.asked().iter().any(|asked| asked.name == owner && asked.kind == kind)
    }

    fn set(&self, owner: &str, kind: RecordType, answer: Answer) -> &Dns {
        self.zone.lock().unwrap().answers.insert((lower(owner), kind), answer);
        self
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        self.tcp_stopped.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address)); // wakes the listener up
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.address);
        }
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>, stopped: &AtomicBool) {
    let mut packet = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut packet) {
        if stopped.load(Ordering::Acquire) {
            return;
        }
        if let Some(answer) = answer(&packet[..length], zone, false) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // closed when it returns
fn serve_tcp(listener: TcpListener, zone: &Arc<Mutex<Zone>>, stopped: &AtomicBool) {
    for mut stream in listener.incoming().map_while(Result::ok) {
        if stopped.load(Ordering::Acquire) {
            return;
        }
        let zone = Arc::clone(zone);
        thread::spawn(move || {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            while let Ok(query) = read_framed(&mut stream) {
                if let Some(answer) = answer(&query, &zone, true)
                    && write_framed(&mut stream, &answer).is_err()
                {
                    return;
                }
            }
        });
    }
}

fn answer(packet: &[u8], zone: &Mutex<Zone>, over_tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(packet).ok()?;
    let question = query.queries.first()?.clone();
    let (asked, kind) = (lower(&question.name.to_ascii()), question.query_type);
    let mut zone = zone.lock().unwrap();
    let wants_ad = query.metadata.authentic_data;
    zone.asked.push(Asked { name: asked.clone(), kind, wants_ad, over_tcp });

    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(question);
    let mut owner = asked;
    let mut authentic = true;
    for _ in 0..LONGEST_CHAIN {
        authentic &= zone.authentic.contains(&owner);
        let found = zone.answers.get(&(owner.clone(), kind));
        let alias = zone.answers.get(&(owner.clone(), RecordType::CNAME));
        match (found, alias) {
            (Some(Answer::Silence), _) => return None,
            (Some(Answer::Code(code)), _) => {
                reply.metadata.response_code = *code;
                authentic = false;
            }
            (Some(Answer::Truncated(_)), _) if !over_tcp => reply.metadata.truncation = true,
            (Some(Answer::Records(records) | Answer::Truncated(records)), _) => {
                for data in records {
                    reply.add_answer(Record::from_rdata(name(&owner), TTL, data.clone()));
                }
                if records.is_empty() {
                    deny(&mut reply, &owner);
                }
            }
            (None, Some(Answer::Records(records))) => {
                let Some(RData::CNAME(target)) = records.first() else { return None };
                reply.add_answer(Record::from_rdata(name(&owner), TTL, records[0].clone()));
                owner = lower(&target.0.to_ascii());
                continue;
            }
            (None, _) => {
                if !zone.answers.keys().any(|(name, _)| is_at_or_below(name, &owner)) {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                deny(&mut reply, &owner);
            }
        }
        break;
    }
    reply.metadata.authentic_data = authentic && wants_ad;
    reply.to_vec().ok()
}

/// RFC 2308 §3: a denial carries the SOA.
fn deny(reply: &mut Message, owner: &str) {
    let apex = owner.rsplit_once('.').map_or("test", |(_, last)| last);
    let soa =
        SOA::new(name(&format!("ns.{apex}")), name(&format!("root.{apex}")), 1, 60, 60, 60, 1);
    reply.add_authority(Record::from_rdata(name(apex), TTL, RData::SOA(soa)));
}

/// RFC 8020: a name below which something exists, exists.
fn is_at_or_below(name: &str, owner: &str) -> bool {
    name == owner || name.strip_suffix(owner).is_some_and(|rest| rest.ends_with('.'))
}

/// Asks a server once, over UDP or TCP, with the AD bit set as told.
pub fn ask(
    server: SocketAddr,
    owner: &str,
    kind: RecordType,
    wants_ad: bool,
    over_tcp: bool,
) -> io::Result<Message> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.metadata.authentic_data = wants_ad;
    query.add_query(Query::query(name(owner), kind));
    let packet = query.to_vec().map_err(io::Error::other)?;
    let answer = if over_tcp {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write_framed(&mut stream, &packet)?;
        read_framed(&mut stream)?
    } else {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.send_to(&packet, server)?;
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        answer
    };
    Message::from_vec(&answer).map_err(io::Error::other)
}

/// RFC 1035 §4.2.2: two bytes of length before each message.
fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn lower(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}
