//! `auth` of `target.smtp`, to a real Postfix that asks Dovecot, and to a real Exim: by PLAIN, LOGIN, EXTERNAL and by certificate alone.
//! Who does not get in bounces no mail, and nobody hears a password who is not to.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::harness::area::Area;
use crate::harness::certificates::{Authority, Certificate, self_signed};
use crate::harness::dialogue::Dialogue;
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
    // Whoever is asked says why nothing moves: of each message, of the domain, of the forwarder, of the daemon.
    for (what, domain) in [
        (&*id, None),
        (&next, None),
        ("elsewhere.test", Some("elsewhere.test")),
        ("&to-wrong", None),
    ] {
        let told = forwarding.explained(what).remove(0);
        assert_eq!(
            (&told["reason"], &told["destination"]),
            (&"route-held".into(), &"&to-wrong".into())
        );
        assert_eq!(told["domain"].as_str(), domain, "{told}");
        let (text, held) = (told["text"].as_str().unwrap(), &told["forwarder"]["held"]);
        assert!(text.contains("to-wrong") && text.contains("535"), "{told}");
        assert!(held["why"].as_str().unwrap().contains("535"), "{told}");
        assert!(told["until"].as_str() > told["since"].as_str(), "{told}");
        assert_eq!((&told["until"], &told["since"]), (&held["until"], &held["since"]));
        let servers = told["forwarder"]["servers"].as_array().unwrap();
        assert!(servers.iter().all(|server| server["standing"] == "ready"), "{told}");
        assert_eq!(servers.len(), 2, "{told}");
    }
    assert_eq!(forwarding.explained("elsewhere.test")[0]["site"]["waiting"], 2);
    assert_eq!(forwarding.daemon.cli(&["explain", "other.test"]).status.code(), Some(1));
    let status = forwarding.daemon.said(&["status"]);
    let wrong = status.lines().find(|line| line.starts_with("wrong: ")).unwrap_or_default();
    assert!(wrong.contains("to-wrong") && wrong.contains("535"), "{status}");
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

/// (what it does, from its first EHLO on; what comes of the message).
const LIARS: &[(&str, &str, &str)] = &[
    ("never-tls", "S: 250-there.test\nS: 250 AUTH PLAIN LOGIN\n", "deferred 4.7.11"),
    ("refuses-tls", "{offer}C: STARTTLS\nS: 454 4.7.0 not now\n", "deferred 4.7.0"),
    // Whoever sits in between says that we are in, in the clear.
    (
        "smuggles",
        "{offer}C: STARTTLS\nB: 220 go\\r\\n250-there.test\\r\\n250 AUTH PLAIN\\r\\n235 2.7.0 in\\r\\n\n! hang\n",
        "deferred 4.5.0",
    ),
    // What was offered in the clear is not offered any more.
    ("takes-back", "{secured}S: 250-there.test\nS: 250 SIZE 1000000\n", "deferred 4.7.0"),
    ("offers-other", "{secured}S: 250-there.test\nS: 250 AUTH CRAM-MD5\n", "deferred 4.7.0"),
    // From here on it is the server that the certificate names.
    ("long-prompt", "{asks}B: 334 {long}\\r\\n\n! hang\n", "deferred 4.5.0"),
    ("no-reply", "{asks}B: 33\\xff\\r\\n\n! hang\n", "deferred 4.5.0"),
    ("closes", "{asks}! close\n", "deferred 4.4.2"),
    (
        "odd-prompt",
        "{asks}B: 334 \\xff\\x00=\\r\\n\nC: YW5u\nS: 334\nC: b3Azbi1zM3NhbWU=\n! close\n",
        "deferred 4.4.2",
    ),
    ("early", "{asks}S: 235 2.7.0 whoever you are\n! serve\n", "delivered"),
    (
        "greedy",
        "{asks}S: 334 a\nC: YW5u\nS: 334 b\nC: b3Azbi1zM3NhbWU=\nS: 334 c\nC: *\nS: 501 5.7.0 as you like\n",
        "deferred 4.5.0",
    ),
];

#[test]
fn a_server_that_lies_hears_no_more_than_it_has_proven() {
    let area = Area::new("forward_liars");
    let Some(at) = elsewhere(&area) else { return };
    let authority = Authority::new();
    let roots = authority.write(&area);
    let acceptor = authority.leaf(&["there.test"]).acceptor();
    let port = area.port();
    let lines = format!(
        "targets tcp://there.test:{port}\nauth login ann op3n-s3same\nconn_max_idle_count 0"
    );
    let trust = format!("tls_client {{\n    root_ca {}\n}}", roots.display());
    let routes: Vec<Route> =
        LIARS.iter().map(|(name, ..)| Route::new(name, "smtp", lines.clone())).collect();
    let forwarding = Forwarding::start_with(&area, &trust, &routes);
    forwarding.dns.host("there.test", &[at]);
    for (name, script, first) in LIARS {
        let offer = "S: 250-there.test\nS: 250-AUTH PLAIN LOGIN\nS: 250 STARTTLS\n";
        let secured =
            format!("{offer}C: STARTTLS\nS: 220 go\n! starttls\nC: EHLO mx.sender.test\n");
        let asks = format!("{secured}S: 250-there.test\nS: 250 AUTH PLAIN LOGIN\nC: AUTH LOGIN\n");
        let script = script
            .replace("{asks}", &asks)
            .replace("{secured}", &secured)
            .replace("{offer}", offer)
            .replace("{long}", &"A".repeat(3000));
        let script = format!("S: 220 there.test\nC: EHLO mx.sender.test\n{script}");
        let dialogue = Dialogue::parse(name, &script).unwrap();
        let player = dialogue.play(SocketAddr::from((at, port)), Some(acceptor.clone()));
        assert_eq!(forwarding.attempt(name, TO, &Message::plain(name, 1000)), *first, "{name}");
        // Any word of ours that is not in the script would be a deviation.
        player.assert_followed();
    }
    let log = forwarding.daemon.log();
    assert!(
        !log.contains(PASSWORD) && !log.contains("b3Azbi1zM3NhbWU"),
        "a password is in the log"
    );
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
        // RFC 4954 §5: to whoever knows us, and we vouch for nobody else.
        assert!(said.iter().all(|l| l.starts_with("MAIL") == l.ends_with(" AUTH=<>")), "{said:?}");
    }
}
