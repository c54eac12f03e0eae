//! What takes more than one message, or more than one attempt: policies and records that change meanwhile.
//!
//! Each has a zone of its own, so that it can be published anew: the domain `NAME.test` with the exchanger `mx.NAME.test`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::{Certificate, self_signed};
use crate::harness::nginx::{Site, policy};
use crate::harness::process::wait_until;
use crate::harness::zone::Zones;
use crate::laboratory::Laboratory;
use crate::policy::policy_text;
use crate::published::SENDERS;
use crate::relay::Relay;
use crate::row::{Expect, Wish};
use crate::server::Server;
use crate::stance::Stance;
use crate::tlsa::{self, Of};
use crate::verdict::compare;

pub struct Story {
    pub name: &'static str,
    zone: Zone,
    pub server: Server,
    /// What is published at first.
    first: Published,
    tell: fn(&Laboratory, &Story) -> Result<(), String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    Signed,
    Unsigned,
    /// Signed, but for the TXT record of MTA-STS.
    BogusRecord,
}

/// What can change.
#[derive(Clone, Copy)]
struct Published {
    /// The id of the MTA-STS record, which may be missing.
    id: Option<&'static str>,
    policy_host: PolicyHost,
    tlsa: Option<(&'static str, Of)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PolicyHost {
    Up,
    /// Its address leads to nobody.
    Down,
}

/// As nginx has it for the policy hosts of the stories.
pub const CERTIFICATE: &str = "story";

const NOTHING: Published = Published { id: None, policy_host: PolicyHost::Up, tlsa: None };
const POLICY: Published = Published { id: Some("1"), ..NOTHING };
const NEWER_POLICY: Published = Published { id: Some("2"), ..NOTHING };
const HOST_GONE: Published = Published { policy_host: PolicyHost::Down, ..NEWER_POLICY };
const TLSA: Published = Published { tlsa: Some(("3 1 1", Of::Leaf)), ..NOTHING };
const WRONG_TLSA: Published = Published { tlsa: Some(("3 1 1", Of::Another)), ..NOTHING };

/// By a policy that enforces and does not list the exchanger.
const NOT_LISTED: Expect = Expect::Deferred { status: "4.7.0", naming: "MTA-STS" };

/// The policy of each enforces, and lists another host than the domain has, until it says something else.
pub fn stories() -> Vec<Story> {
    let story = |name, zone, server, first, tell| Story { name, zone, server, first, tell };
    use Server::*;
    use Zone::*;
    vec![
        story("policy-outlives-its-host", Unsigned, Good, POLICY, without_policy_host),
        story("policy-outlives-its-record", Unsigned, Good, POLICY, without_record),
        story("policy-outlives-a-restart", Unsigned, Good, POLICY, across_a_restart),
        story("policy-changes-with-its-id", Unsigned, Plain, POLICY, by_id),
        story("unknown-record-holds-mail-thrice", BogusRecord, Plain, POLICY, held_thrice),
        story("waived-session-is-not-used-again", Unsigned, SelfSigned, POLICY, after_a_waiver),
        story("records-reach-kept-sessions", Signed, SelfSigned, NOTHING, kept_session),
        story("tlsa-is-repaired", Signed, SelfSigned, WRONG_TLSA, repaired),
        story("report-of-requiretls-has-no-body", Unsigned, RequireTls, NOTHING, bare_report),
    ]
}

/// RFC 8461 §5.1: a policy that is known holds, whatever becomes of its host.
fn without_policy_host(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    story.expect(laboratory, 1, &NOT_LISTED)?;
    story.publish(laboratory, HOST_GONE);
    story.expect(laboratory, 2, &NOT_LISTED)
}

/// RFC 8461 §8.3: to be rid of a policy one has to say so, by mode none.
fn without_record(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    story.expect(laboratory, 1, &NOT_LISTED)?;
    story.publish(laboratory, NOTHING);
    story.expect(laboratory, 2, &NOT_LISTED)
}

/// `cache fs`: a daemon of its own ends and begins again, while there is nothing to be fetched.
fn across_a_restart(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    let area = Area::new("laboratory_restart");
    let (port, resolver) = (laboratory.area.port(), laboratory.dns.resolver());
    let mut relay = Relay::start(&area, port, resolver, &laboratory.area.file("root-ca.pem"));
    story.expect_of(laboratory, &relay, (1, Wish::Unsaid), &NOT_LISTED)?;
    story.publish(laboratory, HOST_GONE);
    relay.daemon.restart(&area);
    story.expect_of(laboratory, &relay, (2, Wish::Unsaid), &NOT_LISTED)
}

/// RFC 8461 §3.1: nothing is new until the id says so.
fn by_id(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    story.expect(laboratory, 1, &NOT_LISTED)?;
    story.say(laboratory, "testing");
    story.expect(laboratory, 2, &NOT_LISTED)?;
    story.publish(laboratory, NEWER_POLICY);
    story.expect(laboratory, 3, &Expect::Delivered { mx: "mtasts", tls: "none" })?;
    // Where nobody is hindered the record is not looked up again for a minute; an operator need not wait.
    story.say(laboratory, "none");
    laboratory.relay.daemon.said(&["sts", "refresh", &story.domain()]);
    story.expect(laboratory, 4, &Expect::Delivered { mx: "none", tls: "none" })
}

/// Name servers that fail for one record do not stop the mail for ever.
fn held_thrice(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    let recipient = story.send(&laboratory.relay, Stance::Hasty, (1, Wish::Unsaid))?;
    let held = Expect::Deferred { status: "4.4.3", naming: "MTA-STS" };
    let at_last = Expect::Delivered { mx: "dnssec", tls: "none" };
    for (attempt, expect) in [(1, &held), (2, &held), (3, &held), (4, &at_last)] {
        let came = laboratory.relay.outcome(&recipient, attempt);
        compare(expect, &came)
            .map_or(Ok(()), |fault| Err(format!("attempt {attempt}: {fault}")))?;
    }
    Ok(())
}

/// The session of a message whose sender waived protection is no session for one whose sender did not.
fn after_a_waiver(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    story.say(laboratory, "enforce");
    let relay = &laboratory.relay;
    let unprotected = Expect::Delivered { mx: "mtasts", tls: "encrypted" };
    story.expect_of(laboratory, relay, (1, Wish::Waived), &unprotected)?;
    let refused = Expect::Deferred { status: "4.7.5", naming: "MTA-STS" };
    story.expect(laboratory, 2, &refused)
}

/// What is published while a session is kept holds for it, too.
fn kept_session(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    story.expect(laboratory, 1, &Expect::Delivered { mx: "dnssec", tls: "encrypted" })?;
    story.publish(laboratory, WRONG_TLSA);
    story.expect(laboratory, 2, &Expect::Deferred { status: "4.7.5", naming: "DANE" })?;
    story.publish(laboratory, TLSA);
    story.expect(laboratory, 3, &Expect::Delivered { mx: "dnssec", tls: "authenticated" })
}

/// RFC 7672 §2.2: mail waits until the records are right.
fn repaired(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    let recipient = story.send(&laboratory.relay, Stance::Hasty, (1, Wish::Unsaid))?;
    let refused = Expect::Deferred { status: "4.7.5", naming: "DANE" };
    let first = laboratory.relay.outcome(&recipient, 1);
    compare(&refused, &first).map_or(Ok(()), Err)?;
    story.publish(laboratory, TLSA);
    let mut last = first;
    wait_until(&format!("{recipient} has it"), Duration::from_secs(60), || {
        last = laboratory.relay.outcomes(&recipient).pop().unwrap();
        last.word == "delivered"
    });
    let delivered = Expect::Delivered { mx: "dnssec", tls: "authenticated" };
    compare(&delivered, &last).map_or(Ok(()), Err)
}

/// RFC 8689 §5: the content may not travel where nothing protects it.
fn bare_report(laboratory: &Laboratory, story: &Story) -> Result<(), String> {
    let refused = Expect::Failed { status: "5.7.30", naming: "REQUIRETLS" };
    story.expect_of(laboratory, &laboratory.relay, (1, Wish::Required), &refused)?;
    let sender = format!("{}@{SENDERS}", story.mark(1));
    let report = laboratory.home.wait_for_recipient(&sender, Duration::from_secs(30)).text();
    let has = |part: &str| report.contains(part);
    if has("X-Test-Id:") && has("5.7.30") && !has("quick brown fox") {
        return Ok(());
    }
    Err(format!("the report is\n{report}"))
}

impl Story {
    pub fn domain(&self) -> String {
        format!("{}.test", self.name)
    }

    pub fn host(&self) -> String {
        format!("mx.{}", self.domain())
    }

    pub fn run(&self, laboratory: &Laboratory) -> Result<(), String> {
        let told = (self.tell)(laboratory, self);
        told.map_err(|fault| {
            let sessions = laboratory.relay.sessions(&self.domain());
            format!("{fault}\n{}", sessions.join("\n"))
        })
    }

    /// The zones with that of the story, of these lines.
    pub fn published_in(&self, zones: Zones, lines: &str) -> Zones {
        let domain = self.domain();
        match self.zone {
            Zone::Signed => zones.signed(&domain, lines),
            Zone::Unsigned => zones.unsigned(&domain, lines),
            Zone::BogusRecord => {
                let record = (format!("_mta-sts.{domain}"), "TXT");
                zones.spoilt(&domain, lines, vec![record])
            }
        }
    }

    /// The records of the zone, as they are at first.
    pub fn lines(
        &self,
        server: IpAddr,
        policy_hosts: IpAddr,
        certificate: Option<&Certificate>,
    ) -> String {
        self.records(self.first, server, policy_hosts, certificate)
    }

    fn records(
        &self,
        published: Published,
        server: IpAddr,
        policy_host: IpAddr,
        certificate: Option<&Certificate>,
    ) -> String {
        let mut text = format!("@ MX 10 mx\nmx A {server}\nmta-sts A {policy_host}\n");
        if let Some(id) = published.id {
            text += &format!("_mta-sts TXT \"v=STSv1; id={id};\"\n");
        }
        if let (Some((numbers, of)), Some(own)) = (published.tlsa, certificate) {
            let data = tlsa::data(numbers, of, own, &self_signed(&["another.test"]));
            text += &format!("_25._tcp.mx TLSA {data}\n");
        }
        text
    }

    pub fn site(&self, folder: &Path) -> Site {
        let name = format!("mta-sts.{}", self.domain());
        let file = folder.join(&name);
        std::fs::write(&file, policy_text("enforce", &["mx.elsewhere.test".to_owned()])).unwrap();
        Site { name, certificate: CERTIFICATE, lines: policy(&file, "text/plain") }
    }

    /// Another policy of this mode, which lists the exchanger.
    fn say(&self, laboratory: &Laboratory, mode: &str) {
        let file = PathBuf::from("policies").join(format!("mta-sts.{}", self.domain()));
        let file = laboratory.area.path().join(file);
        std::fs::write(file, policy_text(mode, &[self.host()])).unwrap();
    }

    fn publish(&self, laboratory: &Laboratory, published: Published) {
        let policy_host = match published.policy_host {
            PolicyHost::Up => laboratory.policy_hosts.address(),
            PolicyHost::Down => laboratory.servers.address(Server::Nobody),
        };
        let server = laboratory.servers.address(self.server);
        let certificate = laboratory.certificates.of(self.server);
        let text = self.records(published, server.ip(), policy_host.ip(), certificate);
        laboratory.dns.publish(&self.domain(), &text);
        // What the resolvers on the way have of the former records lives that long.
        std::thread::sleep(Duration::from_secs(2));
    }

    fn mark(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// The message of this number, to a recipient of its own, which is returned.
    fn send(
        &self,
        relay: &Relay,
        stance: Stance,
        (number, wish): (usize, Wish),
    ) -> Result<String, String> {
        let recipient = format!("user{number}@{}", self.domain());
        relay.send(stance, wish, &recipient, &self.mark(number))?;
        Ok(recipient)
    }

    /// What comes of the first attempt of the message of this number, and whether anybody got it.
    fn expect(
        &self,
        laboratory: &Laboratory,
        number: usize,
        expect: &Expect,
    ) -> Result<(), String> {
        self.expect_of(laboratory, &laboratory.relay, (number, Wish::Unsaid), expect)
    }

    fn expect_of(
        &self,
        laboratory: &Laboratory,
        relay: &Relay,
        (number, wish): (usize, Wish),
        expect: &Expect,
    ) -> Result<(), String> {
        let recipient = self.send(relay, Stance::All, (number, wish))?;
        let came = relay.outcome(&recipient, 1);
        if let Some(fault) = compare(expect, &came) {
            return Err(format!("message {number}: expected {expect:?}, {fault}"));
        }
        let arrivals = laboratory.servers.arrivals(&self.mark(number));
        if came.word != "delivered" && !arrivals.is_empty() {
            return Err(format!("message {number} came to {arrivals:?}"));
        }
        Ok(())
    }
}
