//! Real DNS: nsd with signed and unsigned zones below `test.`, and a validating unbound in front of it.
//!
//! `test.` is signed and its key is the trust anchor; a signed zone has its DS there, an unsigned one is delegated without. No root
//! zone is needed, and every other name is NXDOMAIN at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::harness::area::Area;
use crate::harness::dns::ask;
use crate::harness::process::{Process, command, run, wait_until};

/// The programs a laboratory needs.
pub const PROGRAMS: [&str; 4] = ["nsd", "unbound", "ldns-keygen", "ldns-signzone"];
const READY: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
enum Signing {
    Signed,
    Unsigned,
    /// Signed, and then each (from, to) replaced in the result.
    Altered(Vec<(String, String)>),
    /// Signed, with the signatures of these (owner, type) made worthless.
    Spoilt(Vec<(String, &'static str)>),
    /// Signed, long ago.
    Expired,
}

/// What is to be served.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Vec<(String, String, Signing)>,
    /// Zones below them that the resolver finds elsewhere.
    elsewhere: Vec<(String, SocketAddr)>,
}

impl Zones {
    pub fn new() -> Zones {
        Zones::default()
    }

    /// A zone with valid signatures; `records` are lines of a zone file, relative to the zone.
    pub fn signed(mut self, zone: &str, records: &str) -> Zones {
        self.zones.push((zone.to_owned(), records.to_owned(), Signing::Signed));
        self
    }

    pub fn unsigned(mut self, zone: &str, records: &str) -> Zones {
        self.zones.push((zone.to_owned(), records.to_owned(), Signing::Unsigned));
        self
    }

    /// A signed zone falsified afterwards: each pair is replaced in the signed file, so that what it touches becomes bogus.
    pub fn bogus(mut self, zone: &str, records: &str, changes: &[(&str, &str)]) -> Zones {
        let changes = changes.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        self.zones.push((zone.to_owned(), records.to_owned(), Signing::Altered(changes.collect())));
        self
    }

    /// A zone with valid signatures but for those of these sets of records: (owner without the last dot, type).
    pub fn spoilt(mut self, zone: &str, records: &str, sets: Vec<(String, &'static str)>) -> Zones {
        self.zones.push((zone.to_owned(), records.to_owned(), Signing::Spoilt(sets)));
        self
    }

    /// A part of a zone that another server answers for; the zone has to delegate it.
    pub fn elsewhere(mut self, zone: &str, server: SocketAddr) -> Zones {
        self.elsewhere.push((zone.to_owned(), server));
        self
    }

    /// A zone whose signatures have all expired.
    pub fn expired(mut self, zone: &str, records: &str) -> Zones {
        self.zones.push((zone.to_owned(), records.to_owned(), Signing::Expired));
        self
    }
}

/// Both servers, running.
pub struct Lab {
    authoritative: SocketAddr,
    resolver: SocketAddr,
    folder: PathBuf,
    /// The keys of the signed zones.
    keys: HashMap<String, Keys>,
    /// Counts up with every zone that was published anew.
    serial: AtomicU32,
    nsd: Mutex<Process>,
    _unbound: Process,
}

impl Lab {
    /// Signs, writes and serves the zones; ready when it returns.
    pub fn start(area: &Area, zones: Zones) -> Lab {
        let folder = area.folder("dns");
        let (authoritative, resolver) = (area.socket(), area.socket());
        let mut parent = head("test", authoritative, 1);
        let (mut served, mut keys) = (Vec::new(), HashMap::new());
        for (zone, records, signing) in &zones.zones {
            let label = zone.strip_suffix(".test").expect("a zone below test.");
            parent +=
                &format!("{label} NS ns.{zone}.\n{}", glue(&format!("ns.{label}"), authoritative));
            let text = format!("{}{records}\n", head(zone, authoritative, 1));
            std::fs::write(folder.join(format!("{zone}.zone")), text).unwrap();
            if matches!(signing, Signing::Unsigned) {
                served.push((zone.as_str(), format!("{zone}.zone")));
                continue;
            }
            let own = Keys::new(&folder, zone);
            parent += &own.ds;
            // Long past the tolerance that resolvers have for clocks.
            let dates = ["-i", "20200101000000", "-e", "20200201000000"];
            sign(
                &folder,
                zone,
                &own,
                if matches!(signing, Signing::Expired) { &dates } else { &[] },
            );
            keys.insert(zone.clone(), own);
            served.push((zone.as_str(), format!("{zone}.zone.signed")));
            let file = folder.join(format!("{zone}.zone.signed"));
            match signing {
                Signing::Altered(changes) => falsify(&file, changes),
                Signing::Spoilt(sets) => spoil(&file, sets),
                Signing::Signed | Signing::Unsigned | Signing::Expired => {}
            }
        }
        std::fs::write(folder.join("test.zone"), parent).unwrap();
        let anchor = Keys::new(&folder, "test");
        sign(&folder, "test", &anchor, &[]);
        std::fs::write(folder.join("anchor"), &anchor.ds).unwrap();
        served.push(("test", "test.zone.signed".to_owned()));

        let nsd = area.write("dns/nsd.conf", nsd_conf(&folder, authoritative, &served));
        let mut stubs: Vec<(&str, SocketAddr)> =
            served.iter().map(|(zone, _)| (*zone, authoritative)).collect();
        stubs.extend(zones.elsewhere.iter().map(|(zone, server)| (zone.as_str(), *server)));
        let unbound = area.write("dns/unbound.conf", unbound_conf(&folder, resolver, &stubs));
        let mut nsd = Process::start(area, "nsd", command("nsd").arg("-d").arg("-c").arg(nsd));
        nsd.wait_until_ready(READY, || knows(authoritative, "test", false));
        let mut unbound =
            Process::start(area, "unbound", command("unbound").arg("-d").arg("-c").arg(unbound));
        unbound.wait_until_ready(READY, || knows(resolver, "test", true));
        let serial = AtomicU32::new(1);
        Lab {
            authoritative,
            resolver,
            folder,
            keys,
            serial,
            nsd: Mutex::new(nsd),
            _unbound: unbound,
        }
    }

    /// Serves other records for a zone: it is signed again if it was. What is in the resolver's cache lives a second.
    pub fn publish(&self, zone: &str, records: &str) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let text = format!("{}{records}\n", head(zone, self.authoritative, serial));
        {
            let mut nsd = self.nsd.lock().unwrap();
            std::fs::write(self.folder.join(format!("{zone}.zone")), text).unwrap();
            if let Some(keys) = self.keys.get(zone) {
                sign(&self.folder, zone, keys, &[]);
            }
            nsd.signal("HUP");
        }
        wait_until(&format!("{zone} is published"), READY, || {
            let answer = ask(self.authoritative, zone, RecordType::SOA, false, false);
            let soa = answer.ok().and_then(|answer| answer.answers.first().cloned());
            matches!(soa.map(|soa| soa.data), Some(RData::SOA(soa)) if soa.serial == serial)
        });
    }

    /// Where nsd answers.
    pub fn authoritative(&self) -> SocketAddr {
        self.authoritative
    }

    /// Where unbound answers, for the directive `resolver`.
    pub fn resolver(&self) -> SocketAddr {
        self.resolver
    }
}

/// Whether the server answers for the zone, with AD when it should.
fn knows(server: SocketAddr, zone: &str, with_ad: bool) -> bool {
    ask(server, zone, RecordType::SOA, with_ad, false).is_ok_and(|answer| {
        answer.metadata.response_code == ResponseCode::NoError
            && !answer.answers.is_empty()
            && answer.metadata.authentic_data == with_ad
    })
}

fn head(zone: &str, server: SocketAddr, serial: u32) -> String {
    let soa =
        format!("@ SOA ns.{zone}. hostmaster.{zone}. {serial} 3600 600 86400 1\n@ NS ns.{zone}.\n");
    format!("$ORIGIN {zone}.\n$TTL 1\n{soa}{}", glue("ns", server))
}

fn glue(owner: &str, server: SocketAddr) -> String {
    format!("{owner} A {}\n", server.ip())
}

/// The names of a zone's key files, and its DS record for the parent.
struct Keys {
    signing: [String; 2],
    ds: String,
}

impl Keys {
    fn new(folder: &Path, zone: &str) -> Keys {
        let keygen = |flags: &[&str]| {
            let mut keygen = command("ldns-keygen");
            keygen.current_dir(folder).args(["-r", "/dev/urandom", "-a", "ECDSAP256SHA256"]);
            run(keygen.args(flags).arg(zone)).trim().to_owned()
        };
        let (ksk, zsk) = (keygen(&["-k"]), keygen(&[]));
        let ds = std::fs::read_to_string(folder.join(format!("{ksk}.ds"))).unwrap();
        Keys { signing: [zsk, ksk], ds }
    }
}

/// Signs `ZONE.zone`.
fn sign(folder: &Path, zone: &str, keys: &Keys, flags: &[&str]) {
    let mut signzone = command("ldns-signzone");
    signzone.current_dir(folder).arg("-n").args(flags).arg(format!("{zone}.zone"));
    run(signzone.args(&keys.signing));
}

/// Changes one character of each of these signatures.
fn spoil(file: &Path, sets: &[(String, &'static str)]) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut spoilt = 0;
    let lines = text.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [owner, _, _, "RRSIG", kind, .., signature] = fields[..] else {
            return format!("{line}\n");
        };
        let owner = owner.trim_end_matches('.');
        if !sets.iter().any(|(of, covered)| of.eq_ignore_ascii_case(owner) && *covered == kind) {
            return format!("{line}\n");
        }
        spoilt += 1;
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        line.replace(signature, &format!("{first}{}", &signature[1..])) + "\n"
    });
    let lines: String = lines.collect();
    assert_eq!(spoilt, sets.len(), "of {sets:?}");
    std::fs::write(file, lines).unwrap();
}

fn falsify(file: &Path, changes: &[(String, String)]) {
    let mut text = std::fs::read_to_string(file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "nothing to falsify: {from}");
        text = text.replace(from, to);
    }
    std::fs::write(file, text).unwrap();
}

fn nsd_conf(folder: &Path, address: SocketAddr, zones: &[(&str, String)]) -> String {
    let folder = folder.display();
    let mut text = format!(
        "server:\n  ip-address: {}@{}\n  username: \"\"\n  zonesdir: \"{folder}\"\n  database: \"\"\n  \
         pidfile: \"{folder}/nsd.pid\"\n  xfrdfile: \"{folder}/xfrd.state\"\n  \
         zonelistfile: \"{folder}/zone.list\"\n  server-count: 1\n\
         remote-control:\n  control-enable: no\n",
        address.ip(),
        address.port()
    );
    for (zone, file) in zones {
        text += &format!("zone:\n  name: {zone}\n  zonefile: {file}\n");
    }
    text
}

fn unbound_conf(folder: &Path, address: SocketAddr, stubs: &[(&str, SocketAddr)]) -> String {
    let folder = folder.display();
    let mut text = format!(
        "server:\n  interface: {ip}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{folder}\"\n  pidfile: \"{folder}/unbound.pid\"\n  use-syslog: no\n  \
         val-log-level: 2\n  num-threads: 1\n  do-not-query-localhost: no\n  \
         access-control: 127.0.0.0/8 allow\n  module-config: \"validator iterator\"\n  \
         local-zone: \"test.\" transparent\n  local-zone: \".\" static\n  \
         trust-anchor-file: \"{folder}/anchor\"\n  cache-max-ttl: 1\n  cache-max-negative-ttl: 1\n\
         remote-control:\n  control-enable: no\n",
        ip = address.ip(),
        port = address.port()
    );
    for (zone, upstream) in stubs {
        let upstream = format!("{}@{}", upstream.ip(), upstream.port());
        text += &format!("stub-zone:\n  name: \"{zone}.\"\n  stub-addr: {upstream}\n");
    }
    text
}
