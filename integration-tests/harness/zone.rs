//! Real DNS: nsd with signed and unsigned zones below `test.`, and a validating unbound in front of it.
//!
//! `test.` is signed and its key is the trust anchor; a signed zone has its DS there, an unsigned one is delegated without. No root
//! zone is needed, and every other name is NXDOMAIN at once.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use crate::harness::area::Area;
use crate::harness::dns::ask;
use crate::harness::process::{Process, command, run};

/// The programs a laboratory needs.
pub const PROGRAMS: [&str; 4] = ["nsd", "unbound", "ldns-keygen", "ldns-signzone"];
const READY: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
enum Signing {
    Signed,
    Unsigned,
    /// Signed, and then each (from, to) replaced in the result.
    Altered(Vec<(String, String)>),
}

/// What is to be served.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Vec<(String, String, Signing)>,
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
}

/// Both servers, running.
pub struct Lab {
    authoritative: SocketAddr,
    resolver: SocketAddr,
    _nsd: Process,
    _unbound: Process,
}

impl Lab {
    /// Signs, writes and serves the zones; ready when it returns.
    pub fn start(area: &Area, zones: Zones) -> Lab {
        let folder = area.folder("dns");
        let (authoritative, resolver) = (area.socket(), area.socket());
        let mut parent = head("test", authoritative);
        let mut served = Vec::new();
        for (zone, records, signing) in &zones.zones {
            let label = zone.strip_suffix(".test").expect("a zone below test.");
            parent +=
                &format!("{label} NS ns.{zone}.\n{}", glue(&format!("ns.{label}"), authoritative));
            let text = format!("{}{records}\n", head(zone, authoritative));
            std::fs::write(folder.join(format!("{zone}.zone")), text).unwrap();
            match signing {
                Signing::Unsigned => served.push((zone.as_str(), format!("{zone}.zone"))),
                Signing::Signed | Signing::Altered(_) => {
                    parent += &sign(&folder, zone);
                    served.push((zone.as_str(), format!("{zone}.zone.signed")));
                }
            }
            if let Signing::Altered(changes) = signing {
                falsify(&folder.join(format!("{zone}.zone.signed")), changes);
            }
        }
        std::fs::write(folder.join("test.zone"), parent).unwrap();
        std::fs::write(folder.join("anchor"), sign(&folder, "test")).unwrap();
        served.push(("test", "test.zone.signed".to_owned()));

        let nsd = area.write("dns/nsd.conf", nsd_conf(&folder, authoritative, &served));
        let unbound =
            area.write("dns/unbound.conf", unbound_conf(&folder, resolver, authoritative, &served));
        let mut nsd = Process::start(area, "nsd", command("nsd").arg("-d").arg("-c").arg(nsd));
        nsd.wait_until_ready(READY, || knows(authoritative, "test", false));
        let mut unbound =
            Process::start(area, "unbound", command("unbound").arg("-d").arg("-c").arg(unbound));
        unbound.wait_until_ready(READY, || knows(resolver, "test", true));
        Lab { authoritative, resolver, _nsd: nsd, _unbound: unbound }
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

fn head(zone: &str, server: SocketAddr) -> String {
    let soa = format!("@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 1\n@ NS ns.{zone}.\n");
    format!("$ORIGIN {zone}.\n$TTL 1\n{soa}{}", glue("ns", server))
}

fn glue(owner: &str, server: SocketAddr) -> String {
    format!("{owner} A {}\n", server.ip())
}

/// Signs `ZONE.zone` with new keys; the zone's DS record for the parent.
fn sign(folder: &Path, zone: &str) -> String {
    let keygen = |flags: &[&str]| {
        let mut keygen = command("ldns-keygen");
        keygen.current_dir(folder).args(["-r", "/dev/urandom", "-a", "ECDSAP256SHA256"]);
        run(keygen.args(flags).arg(zone)).trim().to_owned()
    };
    let (ksk, zsk) = (keygen(&["-k"]), keygen(&[]));
    let file = format!("{zone}.zone");
    run(command("ldns-signzone").current_dir(folder).args(["-n", &file, &zsk, &ksk]));
    std::fs::read_to_string(folder.join(format!("{ksk}.ds"))).unwrap()
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

fn unbound_conf(
    folder: &Path,
    address: SocketAddr,
    upstream: SocketAddr,
    zones: &[(&str, String)],
) -> String {
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
    for (zone, _) in zones {
        let upstream = format!("{}@{}", upstream.ip(), upstream.port());
        text += &format!("stub-zone:\n  name: \"{zone}.\"\n  stub-addr: {upstream}\n");
    }
    text
}
