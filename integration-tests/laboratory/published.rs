//! What the rows publish: the zones, made from all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::harness::certificates::{Certificate, self_signed};
use crate::harness::zone::Zones;
use crate::policy;
use crate::row::{At, Host, Row, Zone};
use crate::server::{Certificates, Server};
use crate::tlsa;

/// Where everything lies that the zones point to.
pub struct Addresses<'a> {
    pub servers: &'a BTreeMap<Server, SocketAddr>,
    pub policy_hosts: IpAddr,
    /// The mail exchanger of the senders' domain.
    pub home: IpAddr,
    pub nobody: IpAddr,
}

/// The domain that all messages come from; notifications go to its exchanger, `home`.
pub const SENDERS: &str = "senders.unsigned.test";

/// All zones of the table. Another certificate than the servers' own goes into the records that name one.
pub fn zones(rows: &[Row], at: &Addresses<'_>, certificates: &Certificates) -> Zones {
    let mut lines: BTreeMap<Zone, String> = BTreeMap::new();
    let mut bogus: Vec<(String, &'static str)> = Vec::new();
    let another = self_signed(&["another.test"]);
    let senders = format!("senders MX 10 mx.senders\nmx.senders A {}\n", at.home);
    lines.insert(Zone::Unsigned, senders);
    for row in rows {
        for (zone, line) in records(row, at, certificates, &another) {
            *lines.entry(zone).or_default() += &format!("{line}\n");
        }
        bogus.extend(row.bogus.iter().map(|(owner, kind)| match *owner {
            "" => (row.domain(), *kind),
            owner => (format!("{owner}.{}", row.domain()), *kind),
        }));
    }
    let mut zones = Zones::new();
    for (zone, lines) in &lines {
        zones = match zone {
            Zone::Signed => zones.spoilt(zone.name(), lines, std::mem::take(&mut bogus)),
            Zone::Unsigned => zones.unsigned(zone.name(), lines),
            Zone::Expired => zones.expired(zone.name(), lines),
        };
    }
    zones
}

/// The lines of a row, each with the zone it stands in; names are absolute.
fn records(
    row: &Row,
    at: &Addresses<'_>,
    certificates: &Certificates,
    another: &Certificate,
) -> Vec<(Zone, String)> {
    let domain = row.domain();
    let mut lines = Vec::new();
    if row.domain_alias {
        lines.push((row.zone, format!("{domain}. CNAME {}.", row.canonical_domain())));
    }
    for (number, host) in row.hosts.iter().enumerate() {
        let name = row.host_name(number);
        let zone = host.zone.unwrap_or(row.zone);
        if !row.implicit {
            lines.push((row.zone, mx_record(row, number, &name)));
        }
        let address = at.servers[&host.server].ip();
        let canonical = row.canonical_name(number);
        lines.push((host.alias.unwrap_or(zone), format!("{canonical}. A {address}")));
        if host.alias.is_some() {
            lines.push((zone, format!("{name}. CNAME {canonical}.")));
        }
        lines.extend(tlsa_records(row, number, host, certificates, another));
    }
    if row.lame_tlsa {
        let owner = format!("_tcp.{}", row.host_name(0));
        lines.push((row.zone, format!("{owner}. NS ns.{domain}.")));
        lines.push((row.zone, format!("ns.{domain}. A {}", at.nobody)));
    }
    lines.extend(row.policy.iter().flat_map(|said| policy::records(row, said, at)));
    lines
}

fn mx_record(row: &Row, number: usize, host: &str) -> String {
    format!("{}. MX {} {host}.", row.canonical_domain(), 10 * (number + 1))
}

fn tlsa_records(
    row: &Row,
    number: usize,
    host: &Host,
    certificates: &Certificates,
    another: &Certificate,
) -> Vec<(Zone, String)> {
    let mut lines = Vec::new();
    let zone = host.zone.unwrap_or(row.zone);
    // A server without a certificate has records about another one.
    let own = certificates.of(host.server).unwrap_or(another);
    for record in &host.tlsa {
        let (name, zone) = match (record.at, host.alias) {
            (At::Canonical, Some(zone)) => (row.canonical_name(number), zone),
            (At::Initial | At::Canonical, _) => (row.host_name(number), zone),
        };
        let data = tlsa::data(record.numbers, record.of, own, another);
        let (owner, zone) = match host.tlsa_alias {
            Some(zone) => (format!("_tlsa.{}.{}", row.name, zone.name()), zone),
            None => (format!("_25._tcp.{name}"), zone),
        };
        lines.push((zone, format!("{owner}. TLSA {data}")));
    }
    if let Some(target) = host.tlsa_alias {
        let name = row.host_name(number);
        let target = format!("_tlsa.{}.{}", row.name, target.name());
        lines.push((zone, format!("_25._tcp.{name}. CNAME {target}.")));
    }
    lines
}
