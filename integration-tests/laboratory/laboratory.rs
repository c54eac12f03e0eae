//! Everything the rows need, started once: DNS, policy hosts, mail exchangers, and the daemon.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use crate::harness::area::Area;
use crate::harness::dns::Dns;
use crate::harness::nginx::{self, Nginx};
use crate::harness::sink::Sink;
use crate::harness::{postfix, zone};
use crate::policy;
use crate::published::{self, Addresses};
use crate::relay::Relay;
use crate::row::Row;
use crate::server::{Certificates, Server, Servers};
use crate::story::{self, Story};
use crate::verdict;

/// From the end of a connection to its line in the log.
const WRITTEN: Duration = Duration::from_secs(15);

pub struct Laboratory {
    // In the order in which they are dropped: the daemon goes first, the area last.
    pub relay: Relay,
    pub servers: Servers,
    /// The senders' mail exchanger.
    pub home: Sink,
    pub policy_hosts: Nginx,
    pub certificates: Certificates,
    pub dns: zone::Lab,
    /// The server of what is delegated to one that fails.
    _failing: Dns,
    pub area: Area,
}

impl Laboratory {
    /// `None`, and said so, where a program is missing.
    pub fn start(rows: &[Row], stories: &[Story]) -> Option<Laboratory> {
        let area = Area::new("laboratory");
        let programs = [&zone::PROGRAMS[..], &[postfix::PROGRAM, nginx::PROGRAM]].concat();
        if !area.needs(&programs) || !area.needs_root(postfix::PROGRAM) {
            return None;
        }
        let mut names: BTreeMap<Server, Vec<String>> = BTreeMap::new();
        for row in rows {
            for (number, host) in row.hosts.iter().enumerate() {
                names.entry(host.server).or_default().push(row.certified_name(number));
            }
        }
        for story in stories {
            names.entry(story.server).or_default().push(story.host());
        }
        let certificates = Certificates::issue(&names);
        let places = Servers::places(&area);
        let home = Sink::start(area.socket());
        let policy_address = area.socket();
        let addresses = Addresses {
            servers: &places,
            policy_hosts: policy_address.ip(),
            home: home.address().ip(),
            nobody: places[&Server::Nobody].ip(),
        };
        let mut zones = published::zones(rows, &addresses, &certificates);
        for story in stories {
            let server = places[&story.server].ip();
            let certificate = certificates.of(story.server);
            let lines = story.lines(server, policy_address.ip(), certificate);
            zones = story.published_in(zones, &lines);
        }
        let failing = Dns::start(area.socket());
        for row in rows.iter().filter(|row| row.lame_tlsa) {
            let below = format!("_tcp.{}", row.host_name(0));
            failing.fails(&format!("_25.{below}"), RecordType::TLSA, ResponseCode::ServFail);
            zones = zones.elsewhere(&below, failing.address());
        }
        let dns = zone::Lab::start(&area, zones);
        let folder = area.folder("policies");
        let mut sites = policy::sites(rows, &folder);
        sites.extend(stories.iter().map(|story| story.site(&folder)));
        let mut web = policy::certificates(rows, &certificates);
        let names: Vec<String> =
            stories.iter().map(|s| format!("mta-sts.{}", s.domain())).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        web.push((story::CERTIFICATE, certificates.trusted.leaf(&names)));
        let policy_hosts = Nginx::start(&area, policy_address, &web, &sites);
        let servers = Servers::start(&area, places, &certificates);

        let roots = certificates.trusted.write(&area);
        let relay = Relay::start(&area, area.port(), dns.resolver(), &roots);
        Some(Laboratory {
            relay,
            servers,
            home,
            policy_hosts,
            certificates,
            dns,
            _failing: failing,
            area,
        })
    }

    /// What servers got, or heard of, and should not have, now that everything is over.
    pub fn strays<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) -> Vec<String> {
        self.relay.daemon.terminate(); // and with it every session that was kept
        let stray = |row: &Row| {
            let arrivals = self.servers.arrivals(row.name);
            let astray = !verdict::is_where_it_belongs(row, &arrivals);
            astray.then(|| format!("{}: at last it is at {arrivals:?}", row.name))
        };
        let mut strays: Vec<String> = rows.filter_map(stray).collect();
        // Postfix writes down the end of a connection when it comes to it.
        let deadline = Instant::now() + WRITTEN;
        let mut eavesdroppers = self.servers.eavesdroppers();
        while !eavesdroppers.is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(200));
            eavesdroppers = self.servers.eavesdroppers();
        }
        strays.extend(eavesdroppers);
        strays
    }
}
