//! `target.smtp` and a real Postfix: with and without TLS, with and without proof of who is there, over one server and over several.

use crate::harness::area::Area;
use crate::harness::forwarding::{Forwarding, Route};
use crate::harness::message::{Message, id_of};
use crate::harness::outbound::SOON;
use crate::harness::postfix;
use crate::harness::smarthost::{Entrance, Smarthost};

/// A block of `target.smtp`, and what comes of a message.
struct Row {
    name: &'static str,
    /// `{login}` is host and port of that door, `[login]` its address and port.
    lines: &'static str,
    /// As `Outcome::verdict`.
    first: &'static str,
    /// Where it arrives, and whether it came within TLS.
    at: Option<(Entrance, Tls)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Used,
    Unused,
}
use Tls::{Unused, Used};

const fn row(
    name: &'static str,
    lines: &'static str,
    first: &'static str,
    at: Option<(Entrance, Tls)>,
) -> Row {
    Row { name, lines, first, at }
}

const TO: &str = "user@elsewhere.test";

/// Who is reached over what.
const DOORS: &[Row] = &[
    row("clear", "targets tcp://{clear}", "delivered", Some((Entrance::Clear, Unused))),
    row("starttls", "targets tcp://{starttls}", "delivered", Some((Entrance::StartTls, Used))),
    // By its address: there is no name in it.
    row("by-address", "targets tcp://[starttls]", "delivered", Some((Entrance::StartTls, Used))),
    row("implicit", "targets tls://{implicit}", "delivered", Some((Entrance::Implicit, Used))),
    // Encrypted to somebody is better than in the clear.
    row("unproven", "targets tcp://{unproven}", "delivered", Some((Entrance::Unproven, Used))),
    row(
        "unwanted",
        "targets tcp://{starttls}\nattempt_starttls no",
        "delivered",
        Some((Entrance::StartTls, Unused)),
    ),
    row(
        "maddy-no",
        "targets tcp://{starttls}\nstarttls no",
        "delivered",
        Some((Entrance::StartTls, Unused)),
    ),
    row(
        "maddy-yes",
        "targets tcp://{starttls}\nstarttls yes",
        "delivered",
        Some((Entrance::StartTls, Used)),
    ),
    row(
        "required",
        "targets tcp://{starttls}\nrequire_tls yes",
        "delivered",
        Some((Entrance::StartTls, Used)),
    ),
];

#[test]
fn a_door_is_opened_as_the_block_says() {
    over_the_smarthost("forward_doors", DOORS);
}

/// Who may not have it, though nobody says no.
const DEMANDS: &[Row] = &[
    row("none", "targets tcp://{clear}\nrequire_tls yes", "deferred 4.7.4", None),
    row("maddy", "targets tcp://{clear}\nstarttls yes", "deferred 4.7.4", None),
    row("unproven", "targets tcp://{unproven}\nrequire_tls yes", "deferred 4.7.5", None),
    row("nameless", "targets tcp://[starttls]\nrequire_tls yes", "deferred 4.7.5", None),
    // TLS from the first octet is always proven.
    row("tls-nameless", "targets tls://[implicit]", "deferred 4.7.5", None),
    row(
        "never",
        "targets tcp://{starttls}\nrequire_tls yes\nattempt_starttls no",
        "deferred 4.7.4",
        None,
    ),
    // The next one stands in.
    row(
        "next-offers",
        "targets tcp://{clear} tcp://{starttls}\nrequire_tls yes",
        "delivered",
        Some((Entrance::StartTls, Used)),
    ),
    row(
        "next-proves",
        "targets tcp://{unproven} tls://{implicit}\nrequire_tls yes",
        "delivered",
        Some((Entrance::Implicit, Used)),
    ),
    row(
        "next-named",
        "targets tls://[implicit] tcp://{clear}",
        "delivered",
        Some((Entrance::Clear, Unused)),
    ),
];

#[test]
fn what_is_demanded_holds_for_every_server() {
    over_the_smarthost("forward_demands", DEMANDS);
}

fn over_the_smarthost(test: &str, rows: &[Row]) {
    let area = Area::new(test);
    let Some(host) = Smarthost::start(&area) else { return };
    let routes: Vec<Route> =
        rows.iter().map(|row| Route::new(row.name, "smtp", host.places(row.lines))).collect();
    let forwarding = Forwarding::start_with(&area, &host.trust(), &routes);
    host.publish(&forwarding.dns);
    for row in rows {
        let verdict = forwarding.attempt(row.name, TO, &Message::plain(row.name, 1000));
        assert_eq!(verdict, row.first, "{}", row.name);
    }
    let arriving = rows.iter().filter(|row| row.at.is_some()).count();
    let arrived = host.mailbox().wait_for(arriving, SOON);
    assert_eq!(arrived.len(), arriving);
    for row in rows {
        let Some((entrance, tls)) = row.at else { continue };
        let content = arrived.iter().find(|content| id_of(content) == row.name).unwrap();
        let message = Message::plain(row.name, 1000);
        let fields = message.assert_arrived(content, &postfix::ADDED);
        assert!(fields.contains(&format!("by {} ", entrance.host())), "{}: {fields}", row.name);
        assert_eq!(fields.contains("using TLS"), tls == Used, "{}: {fields}", row.name);
    }
    assert_eq!(forwarding.home.count(), 0, "nobody was told of a failure");
}

#[test]
fn each_recipient_has_what_was_said_of_it() {
    let area = Area::new("forward_each");
    let Some(host) = Smarthost::start(&area) else { return };
    let lines = format!("targets tcp://{}", host.address(Entrance::StartTls));
    let forwarding = Forwarding::start(&area, &[Route::new("each", "smtp", lines)]);
    let to = ["reject@a.test", "user@b.test", "defer@a.test", "other@a.test"];
    let sent = Message::all_kinds("each");
    for message in &sent {
        let id = forwarding.send("each", &to, message);
        let outcomes = forwarding.first_outcomes(&id, &to);
        let verdicts: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.verdict).collect();
        assert_eq!(verdicts, ["failed 5.1.1", "delivered", "deferred 4.2.1", "delivered"]);
    }
    // A copy for each recipient, in one transaction for all of them: domains don't matter here.
    let arrived = host.mailbox().wait_for(sent.len() * 2, SOON);
    assert_eq!(arrived.len(), sent.len() * 2);
    for message in &sent {
        let copies: Vec<_> = arrived.iter().filter(|copy| id_of(copy) == message.id()).collect();
        assert_eq!(copies.len(), 2, "{message:?}");
        copies.iter().for_each(|copy| drop(message.assert_arrived(copy, &postfix::ADDED)));
    }
    let told = forwarding.home.wait_for(sent.len(), SOON);
    assert!(told.iter().all(|told| told.text().contains("reject@a.test")));
}
