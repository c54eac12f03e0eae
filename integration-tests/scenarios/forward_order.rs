//! The servers of a forwarder stand in for each other, in their order, until one has answered.

use crate::harness::area::Area;
use crate::harness::certificates::{Authority, self_signed};
use crate::harness::forwarding::{Forwarding, Route};
use crate::harness::message::Message;
use crate::harness::sink::{Manners, Moment, Sink};

const TO: &str = "user@elsewhere.test";

/// Says this at that moment.
fn saying(area: &Area, at: Moment, what: &'static str) -> Sink {
    let answer = move |moment: Moment, _: &str| (moment == at).then(|| what.to_owned());
    Sink::with(area.socket(), Manners { answer: Box::new(answer), ..Manners::default() })
}

fn verdict(forwarding: &Forwarding, name: &str) -> (String, String) {
    let id = forwarding.send(name, &[TO], &Message::plain(name, 1000));
    let outcome = forwarding.first_outcomes(&id, &[TO]).remove(0);
    (outcome.verdict, outcome.text)
}

#[test]
fn the_next_server_is_asked_while_nobody_has_answered() {
    let area = Area::new("forward_order");
    let good = Sink::start(area.socket());
    let dead = area.socket();
    let full = saying(&area, Moment::Greeting, "421 4.3.2 busy");
    let closed = saying(&area, Moment::Greeting, "554 5.3.2 no mail here");
    let stern = saying(&area, Moment::Ehlo, "554 5.7.1 not you");
    let grey = saying(&area, Moment::Mail, "451 4.7.1 greylisted");
    let greyer = saying(&area, Moment::Mail, "452 4.3.1 no room");
    let picky = saying(&area, Moment::Mail, "550 5.7.1 not from you");
    let lost = saying(&area, Moment::Rcpt, "550 5.1.1 nobody");
    let late = saying(&area, Moment::Rcpt, "450 4.2.1 come back");
    let [full, closed, stern, grey, greyer, picky, lost, late] =
        [&full, &closed, &stern, &grey, &greyer, &picky, &lost, &late].map(Sink::address);
    let end = good.address();
    let absent = area.file("absent.sock");
    let rows = [
        ("down", vec![dead, end], "delivered"),
        ("busy", vec![full, end], "delivered"),
        ("closed", vec![closed, end], "delivered"),
        ("stern", vec![stern, end], "delivered"),
        ("grey", vec![grey, end], "delivered"),
        ("greyer", vec![grey, greyer, end], "delivered"),
        ("long", vec![dead, full, closed, grey, end], "delivered"),
        // An answer about the mail is an answer.
        ("picky", vec![picky, end], "failed 5.7.1"),
        ("lost", vec![dead, lost, end], "failed 5.1.1"),
        ("late", vec![late, end], "deferred 4.2.1"),
        // Nobody is left.
        ("none", vec![dead, dead], "deferred 4.4.1"),
        ("hopeless", vec![dead, closed], "deferred 4.4.1"), // the first may come back
        ("never", vec![closed, closed], "failed 5.3.2"),
    ];
    let routes = rows.clone().map(|(name, servers, _)| {
        let places: Vec<String> = servers.iter().map(|server| format!("tcp://{server}")).collect();
        // Who is not there at all comes first everywhere.
        let first = format!("unix:{}", absent.display());
        let first = if name == "long" { first } else { String::new() };
        Route::new(name, "smtp", format!("targets {first} {}", places.join(" ")))
    });
    let forwarding = Forwarding::start(&area, &routes);
    for (name, _, first) in &rows {
        let (found, text) = verdict(&forwarding, name);
        assert_eq!(found, *first, "{name}: {text}");
    }
    let delivered = rows.iter().filter(|row| row.2 == "delivered").count();
    assert_eq!(good.count(), delivered);
}

#[test]
fn where_all_are_down_each_is_told_of() {
    let area = Area::new("forward_all_down");
    let (first, second, absent) = (area.socket(), area.socket(), area.file("absent.sock"));
    let lines = format!("targets tcp://{first} tcp://{second} unix:{}", absent.display());
    let forwarding = Forwarding::start(&area, &[Route::new("down", "smtp", lines)]);
    let (found, text) = verdict(&forwarding, "down");
    assert_eq!(found, "deferred 4.4.1");
    for place in [first.ip().to_string(), second.ip().to_string(), "absent.sock".to_owned()] {
        assert!(text.contains(&place), "{place}: {text}");
    }
    assert_eq!(forwarding.daemon.queued().len(), 1);
    assert_eq!(forwarding.home.count(), 0);
    // So does who asks for the domain of what waits behind it.
    let told = forwarding.explained("elsewhere.test").remove(0);
    assert_eq!((&told["reason"], &told["destination"]), (&"retry".into(), &"&to-down".into()));
    let servers = told["forwarder"]["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3, "{told}");
    for server in servers {
        assert_eq!(server["standing"], "resting", "{told}");
        assert!(server["until"].is_string() && server["why"].is_string(), "{told}");
    }
    let text = forwarding.daemon.said(&["explain", "elsewhere.test"]);
    assert!(
        text.starts_with("elsewhere.test by &to-down") && text.contains("resting until"),
        "{text}"
    );
    assert_eq!(told["remedy"], "posthaste queue retry --domain '&to-down'");
    // Exchangers of the domain are no affair of it.
    for words in
        [vec!["probe", "elsewhere.test"], vec!["probe", "elsewhere.test", "--target", "to-down"]]
    {
        let refused = forwarding.daemon.cli(&words);
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains("posthaste explain"), "{text}");
    }
}

#[test]
fn a_name_that_leads_nowhere_is_waited_for() {
    let area = Area::new("forward_names");
    let end = Sink::start(area.socket());
    let port = area.port();
    let routes = [
        Route::new("nowhere", "smtp", format!("targets tcp://nowhere.test:{port}")),
        Route::new(
            "next",
            "smtp",
            format!("targets tcp://nowhere.test:{port} tcp://{}", end.address()),
        ),
        // The second address is as good as the first.
        Route::new("both", "smtp", format!("targets tcp://both.test:{port}")),
        // Mail exchangers are not asked for.
        Route::new("exchanged", "smtp", format!("targets tcp://exchanged.test:{port}")),
    ];
    let forwarding = Forwarding::start(&area, &routes);
    forwarding.dns.host("both.test", &[area.address().into(), end.address().ip()]);
    forwarding.dns.mx("exchanged.test", &[(10, "both.test")]);
    for (name, first) in [
        ("nowhere", "deferred 4."),
        ("next", "delivered"),
        ("both", "delivered"),
        ("exchanged", "deferred 4."),
    ] {
        let (found, text) = verdict(&forwarding, name);
        assert!(found.starts_with(first), "{name}: {found}: {text}");
    }
    assert_eq!(forwarding.home.count(), 0);
}

#[test]
fn who_was_down_stands_behind_the_others_for_a_while() {
    let area = Area::new("forward_rests");
    let (place, second) = (area.socket(), Sink::start(area.socket()));
    let lines = format!("targets tcp://{place} tcp://{}\nconn_max_idle_count 0", second.address());
    let forwarding = Forwarding::start(&area, &[Route::new("two", "smtp", lines)]);
    assert_eq!(verdict(&forwarding, "two").0, "delivered");
    let first = Sink::start(place); // it is back, and not asked yet
    assert_eq!(verdict(&forwarding, "two").0, "delivered");
    assert_eq!((first.connections(), second.count()), (0, 2));
    drop(second);
    assert_eq!(verdict(&forwarding, "two").0, "delivered");
    assert_eq!(first.count(), 1);
}

/// Whatever kept a session from standing, the next message need not find it out again.
#[test]
fn who_was_busy_or_has_no_tls_stands_behind_the_others_as_well() {
    let area = Area::new("forward_rests_too");
    let authority = Authority::new();
    let roots = authority.write(&area);
    let certificate = authority.leaf(&["good.test"]);
    let manners = Manners { tls: Some(certificate.acceptor()), ..Manners::default() };
    let good = Sink::with(area.socket(), manners);
    let busy = saying(&area, Moment::Greeting, "421 4.3.2 busy");
    let stern = saying(&area, Moment::Ehlo, "554 5.7.1 not you");
    let clear = Sink::start(area.socket());
    let firsts = [("busy", &busy), ("stern", &stern), ("clear", &clear)];
    let routes = firsts.map(|(name, first)| {
        let places = format!("tcp://{} tcp://good.test:{}", first.address(), good.address().port());
        let lines = format!("targets {places}\nrequire_tls yes\nconn_max_idle_count 0");
        Route::new(name, "smtp", lines)
    });
    let trust = format!("tls_client {{\n    root_ca {}\n}}", roots.display());
    let forwarding = Forwarding::start_with(&area, &trust, &routes);
    forwarding.dns.host("good.test", &[good.address().ip()]);
    for (name, first) in firsts {
        for _ in 0..2 {
            assert_eq!(verdict(&forwarding, name).0, "delivered", "{name}");
        }
        assert_eq!(first.connections(), 1, "{name}");
    }
    assert_eq!(good.count(), 6);
}

#[test]
fn tls_that_fails_is_done_without_only_where_nothing_demands_it() {
    let area = Area::new("forward_broken_tls");
    let authority = Authority::new();
    let roots = authority.write(&area);
    let with = |acceptor| Manners { tls: Some(acceptor), ..Manners::default() };
    let broken = Sink::with(area.socket(), with(self_signed(&["mx.test"]).broken_acceptor()));
    let outdated =
        Sink::with(area.socket(), with(authority.leaf(&["mx.test"]).outdated_acceptor()));
    let authenticating = Manners {
        keywords: vec!["AUTH PLAIN"],
        tls: Some(self_signed(&["mx.test"]).broken_acceptor()),
        ..Manners::default()
    };
    let asking = Sink::with(area.socket(), authenticating);
    let good = Sink::with(area.socket(), with(authority.leaf(&["good.test"]).acceptor()));
    let (port, auth) = (area.port(), "auth plain ann op3n-s3same");
    let required = "require_tls yes";
    let row = |name, lines: String| Route::new(name, "smtp", lines);
    let routes = [
        row("opportunistic", format!("targets tcp://{}", broken.address())),
        row("required", format!("targets tcp://{}\n{required}", broken.address())),
        row("outdated", format!("targets tcp://{}\n{required}", outdated.address())),
        row(
            "next",
            format!("targets tcp://{} tcp://good.test:{port}\n{required}", broken.address()),
        ),
        // A password is no better off here than on the way that was broken.
        row("asking", format!("targets tcp://{}\n{auth}", asking.address())),
    ];
    let trust = format!("tls_client {{\n    root_ca {}\n}}", roots.display());
    let forwarding = Forwarding::start_with(&area, &trust, &routes);
    forwarding.dns.host("good.test", &[good.address().ip()]);
    for (name, first) in [
        ("opportunistic", "delivered"),
        ("required", "deferred 4.7.5"),
        ("outdated", "deferred 4.7.5"),
        ("next", "delivered"),
        ("asking", "deferred 4.7.5"),
    ] {
        let (found, text) = verdict(&forwarding, name);
        assert_eq!(found, first, "{name}: {text}");
    }
    assert_eq!(broken.transactions().iter().map(|t| t.tls.clone()).collect::<Vec<_>>(), [None]);
    assert!(good.transactions()[0].tls.is_some());
    let said = asking.lines().concat();
    assert!(!said.iter().any(|line| line.starts_with("AUTH")), "{said:?}");
    assert_eq!((outdated.count(), asking.count(), good.count()), (0, 0, 1));
}
