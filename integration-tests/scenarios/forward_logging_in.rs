//! `auth` of `target.smtp`, to a real Postfix that asks Dovecot, and to a real Exim: by PLAIN, LOGIN, EXTERNAL and by certificate alone.
//! Who does not get in bounces no mail, and nobody hears a password who is not to.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::harness::area::Area;
use crate::harness::certificates::{Authority, Certificate, self_signed};
use crate::harness::dovecot::PASSWORD;
use crate::harness::exim::{self, Exim};
use crate::harness::forwarding::{Forwarding, Route};
use crate::harness::message::{Message, id_of};
use crate::harness::mounts;
use crate::harness::outbound::SOON;
use crate::harness::postfix;
use crate::harness::sink::{Manners, Sink};
use crate::harness::smarthost::Smarthost;

const TO: &str = "user@elsewhere.test";
const PLAIN: &str = "auth plain ann op3n-s3same";
const LOGIN: &str = "auth login ann op3n-s3same";

/// (name, lines, verdict, what the Received field tells of the client).
type Row = (&'static str, String, &'static str, Option<&'static str>);

fn rows(identity: &str) -> Vec<Row> {
    let known = Some("Authenticated sender: ann");
    vec![
        ("plain", format!("targets tcp://{{login}}\n{PLAIN}"), "delivered", known),
        ("login", format!("targets tcp://{{login}}\n{LOGIN}"), "delivered", known),
        // A door that knows LOGIN alone; TLS comes first.
        ("fallen", format!("targets tls://{{only-login}}\n{PLAIN}"), "delivered", known),
        // On this machine nobody listens in between.
        ("neighbour", format!("targets tcp://{{neighbour}}\n{PLAIN}"), "delivered", known),
        ("stranger", "targets tcp://{neighbour}".into(), "failed 5.7.1", None),
        // Without TLS this door offers no AUTH.
        (
            "unoffered",
            format!("targets tcp://{{login}}\nattempt_starttls no\n{PLAIN}"),
            "deferred 4.7.0",
            None,
        ),
        (
            "next-offers",
            format!("targets tcp://[starttls] tcp://{{login}}\nrequire_tls yes\n{PLAIN}"),
            "delivered",
            known,
        ),
        // A queue keeps no client's password.
        ("forward", "targets tcp://{login}\nauth forward".into(), "deferred 4.7.0", None),
        // The certificate is enough.
        (
            "shown",
            format!("targets tcp://{{certified}}\n{identity}"),
            "delivered",
            Some("Client CN \"client.test\""),
        ),
        ("not-shown", "targets tcp://{certified}".into(), "failed 5.7.1", None),
        (
            "demanded",
            format!("targets tcp://{{strict}}\n{identity}"),
            "delivered",
            Some("Client CN \"client.test\""),
        ),
    ]
}

#[test]
fn each_door_opens_to_what_it_asks_for() {
    let area = Area::new("forward_login");
    let Some(host) = Smarthost::start(&area) else { return };
    let (chain, key) = host.authority.leaf(&["client.test"]).write(&area, "client");
    // A block of its own replaces the global one.
    let identity = format!(
        "tls_client {{\n root_ca {}\n cert {}\n key {}\n }}",
        host.roots.display(),
        chain.display(),
        key.display()
    );
    let rows = rows(&identity);
    let route = |(name, lines, ..): &Row| Route::new(name, "smtp", host.places(lines));
    let routes: Vec<Route> = rows.iter().map(route).collect();
    let forwarding = Forwarding::start_with(&area, &host.trust(), &routes);
    host.publish(&forwarding.dns);
    for (name, _, first, _) in &rows {
        let id = forwarding.send(name, &[TO], &Message::plain(name, 1000));
        let outcome = forwarding.first_outcomes(&id, &[TO]).remove(0);
        assert_eq!(outcome.verdict, *first, "{name}: {}", outcome.text);
    }
    let expected: Vec<_> = rows.iter().filter(|row| row.3.is_some()).collect();
    let arrived = host.mailbox().wait_for(expected.len(), SOON);
    assert_eq!(arrived.len(), expected.len());
    for (name, _, _, known_as) in &expected {
        let content = arrived.iter().find(|content| id_of(content) == *name).unwrap();
        let fields = Message::plain(name, 1000).assert_arrived(content, &postfix::ADDED);
        assert!(fields.contains(known_as.unwrap()), "{name}: {fields}");
    }
    assert!(!forwarding.daemon.log().contains(PASSWORD), "a password is in the log");
}

/// The handshake fails, or what comes after it: either way mail waits.
#[test]
fn a_server_that_wants_our_certificate_and_gets_none_bounces_nothing() {
    let area = Area::new("forward_strict");
    let Some(host) = Smarthost::start(&area) else { return };
    let lines = host.places("targets tcp://{strict}\nrequire_tls yes");
    let forwarding =
        Forwarding::start_with(&area, &host.trust(), &[Route::new("strict", "smtp", lines)]);
    host.publish(&forwarding.dns);
    let verdict = forwarding.attempt("strict", TO, &Message::plain("strict", 1000));
    assert!(verdict.starts_with("deferred 4."), "{verdict}");
    assert_eq!(forwarding.daemon.queued().len(), 1);
}

#[test]
fn wrong_credentials_hold_the_route_and_not_only_the_message() {
    let area = Area::new("forward_wrong");
    let Some(host) = Smarthost::start(&area) else { return };
    // The servers share their accounts: who is refused by the first asks no other.
    let lines =
        host.places("targets tcp://{login} tls://{only-login}\nauth plain ann wr0ng-s3same");
    let forwarding =
        Forwarding::start_with(&area, &host.trust(), &[Route::new("wrong", "smtp", lines)]);
    host.publish(&forwarding.dns);
    let id = forwarding.send("wrong", &[TO], &Message::plain("wrong", 1000));
    let outcome = forwarding.first_outcomes(&id, &[TO]).remove(0);
    assert_eq!(outcome.verdict, "postponed 4.7.8", "{}", outcome.text); // and so it never gives up
    assert!(outcome.text.contains("535"), "{}", outcome.text);
    // Neither the next message shows them again, nor this one when it is asked to hurry.
    let next = forwarding.send("wrong", &[TO], &Message::plain("next", 1000));
    forwarding.daemon.wait_for_trace(&next, "shown again at", SOON);
    forwarding.daemon.said(&["queue", "retry", "--id", &id, "--yes"]);
    forwarding.daemon.wait_for_trace(&id, "shown again at", SOON);
    assert_eq!(host.log().matches("authentication failed").count(), 1, "{}", host.log());
    assert_eq!(forwarding.daemon.queued().len(), 2);
    assert_eq!(forwarding.home.count(), 0, "nobody was told of a failure");
    let log = forwarding.daemon.log();
    assert!(log.lines().any(|line| line.contains("ERRO") && line.contains("credentials")), "{log}");
    assert!(!log.contains("wr0ng-s3same"), "a password is in the log");
}

#[test]
fn exim_lets_members_in_by_each_mechanism() {
    let area = Area::new("forward_exim");
    if !area.needs(&[exim::PROGRAM]) || !mounts::can_be_made(&area) {
        return;
    }
    let authority = Authority::new();
    let roots = authority.write(&area);
    let server = authority.leaf(&["members.test"]);
    let exim = Exim::for_members(&area, &server, &roots, ("ann", PASSWORD));
    let (chain, key) = authority.leaf(&["client.test"]).write(&area, "client");
    let trust = format!("root_ca {}", roots.display());
    let identity = format!("{trust}\ncert {}\nkey {}", chain.display(), key.display());
    let rows = [
        ("plain", PLAIN, &trust, "delivered", "A=plain:ann"),
        ("login", LOGIN, &trust, "delivered", "A=login:ann"),
        ("external", "auth external", &identity, "delivered", "A=external:client.test"),
        // A certificate, and a password all the same.
        ("both", PLAIN, &identity, "delivered", "A=plain:ann"),
        // EXTERNAL is offered to who has shown one.
        ("none", "auth external", &trust, "deferred 4.7.0", ""),
        ("off", "auth off", &identity, "failed 5.7.1", ""),
    ];
    let port = exim.address().port();
    let routes = rows.map(|(name, auth, tls, ..)| {
        let lines = format!("targets tcp://members.test:{port}\n{auth}\ntls_client {{\n{tls}\n}}");
        Route::new(name, "smtp", lines)
    });
    let forwarding = Forwarding::start(&area, &routes);
    forwarding.dns.host("members.test", &[exim.address().ip()]);
    for (name, _, _, first, known_as) in rows {
        let message = Message::plain(name, 1000);
        let id = forwarding.send(name, &[TO], &message);
        let outcome = forwarding.first_outcomes(&id, &[TO]).remove(0);
        assert_eq!(outcome.verdict, first, "{name}: {}", outcome.text);
        let mark = format!("id={name}@sender.test");
        let log = exim.log();
        let came = log.lines().find(|line| line.contains(" <= ") && line.contains(&mark));
        assert_eq!(came.is_some(), first == "delivered", "{name}: {log}");
        assert!(came.is_none_or(|line| line.contains(known_as)), "{name}: {log}");
    }
    let arriving = rows.iter().filter(|row| row.3 == "delivered").count();
    for content in exim.mailbox.wait_for(arriving, SOON) {
        Message::plain(&id_of(&content), 1000).assert_arrived(&content, &exim::ADDED);
    }
}

/// An address of this machine that is not loopback: a peer there is somebody else's, as far as the daemon can tell.
fn elsewhere(area: &Area) -> Option<IpAddr> {
    // Nothing is sent: this only asks the system which address it would use (RFC 5737).
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    let asked = probe.connect("198.51.100.1:9").and_then(|()| probe.local_addr());
    match asked {
        Ok(address) if !address.ip().is_loopback() => Some(address.ip()),
        _ => {
            area.skip("an address besides loopback");
            None
        }
    }
}

/// A server that takes passwords however they come, and offers STARTTLS with this certificate.
fn eager(at: IpAddr, certificate: Option<Certificate>) -> Sink {
    let manners = Manners {
        keywords: vec!["AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES"],
        tls: certificate.map(|certificate| certificate.acceptor()),
        ..Manners::default()
    };
    Sink::with(SocketAddr::from((at, 0)), manners)
}

#[test]
fn nobody_elsewhere_hears_a_password_but_over_proven_tls() {
    let area = Area::new("forward_elsewhere");
    let Some(at) = elsewhere(&area) else { return };
    let authority = Authority::new();
    let roots = authority.write(&area);
    let clear = eager(at, None);
    let unproven = eager(at, Some(self_signed(&["there.test"])));
    let misnamed = eager(at, Some(authority.leaf(&["other.test"])));
    let expired = eager(at, Some(authority.expired(&["there.test"])));
    let proven = eager(at, Some(authority.leaf(&["there.test"])));
    let servers = [
        ("clear", &clear),
        ("unproven", &unproven),
        ("misnamed", &misnamed),
        ("expired", &expired),
        ("proven", &proven),
    ];
    let place = |sink: &Sink| format!("tcp://there.test:{}", sink.address().port());
    let routes = servers
        .map(|(name, sink)| Route::new(name, "smtp", format!("targets {}\n{PLAIN}", place(sink))));
    let all: Vec<String> = servers.iter().map(|(_, sink)| place(sink)).collect();
    let all = Route::new("all", "smtp", format!("targets {}\n{LOGIN}", all.join(" ")));
    let routes: Vec<Route> = routes.into_iter().chain([all]).collect();
    let trust = format!("tls_client {{\n    root_ca {}\n}}", roots.display());
    let forwarding = Forwarding::start_with(&area, &trust, &routes);
    forwarding.dns.host("there.test", &[at]);
    for route in &routes {
        let first = match &*route.name {
            "proven" | "all" => "delivered",
            _ => "deferred 4.7.11",
        };
        let message = Message::plain(&route.name, 1000);
        assert_eq!(forwarding.attempt(&route.name, TO, &message), first, "{}", route.name);
    }
    for (name, sink) in servers {
        let said = sink.lines().concat();
        let heard = said.iter().filter(|line| line.starts_with("AUTH")).count();
        assert_eq!(heard, if name == "proven" { 2 } else { 0 }, "{name}: {said:?}");
        assert_eq!(sink.count(), heard, "{name}: {said:?}");
    }
}
