//! `ps` tells of each delivery in progress what it waits for, for how long, and with whom.

use hickory_resolver::proto::rr::RecordType;
use serde_json::Value;

use crate::harness::certificates::self_signed;
use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;

const MAIL: &str = "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL*\n";
const RCPT: &str = "S: 250 ok\nC: RCPT*\n";
const DATA: &str = "S: 250 ok\nC: DATA\n";

/// Where each peer hangs, which is what is told.
fn peers() -> Vec<(&'static str, String)> {
    vec![
        ("greeting", "! hang\n".to_owned()),
        ("ehlo", "S: 220 mx\nC: EHLO *\n! hang\n".to_owned()),
        (
            "starttls", // the handshake
            "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! hang\n"
                .to_owned(),
        ),
        ("mail", format!("{MAIL}! hang\n")),
        ("rcpt", format!("{MAIL}{RCPT}! hang\n")),
        ("data", format!("{MAIL}{RCPT}{DATA}! hang\n")),
        ("content", format!("{MAIL}{RCPT}{DATA}S: 354 go\n! stall\n")),
        ("dot", format!("{MAIL}{RCPT}{DATA}S: 354 go\n! content\n! hang\n")),
    ]
}

fn deliveries(outbound: &Outbound) -> Vec<Value> {
    let said = outbound.daemon.said(&["ps", "--json"]);
    let items = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    items.filter_map(|mut item| item.get_mut("delivery").map(Value::take)).collect()
}

#[test]
fn each_delivery_tells_what_it_waits_for() {
    let outbound = Outbound::start("phases_of_deliveries");
    let tls = self_signed(&["mx.test"]).acceptor();
    let dns = &outbound.dns;
    let mut players: Vec<(&str, Player)> = Vec::new();
    for (phase, script) in peers() {
        let dialogue = Dialogue::parse(phase, &script).unwrap();
        let player = dialogue.play(outbound.area.socket(), Some(tls.clone()));
        dns.domain(&format!("{phase}.test"), player.sink.address().ip());
        players.push((phase, player));
    }
    dns.is_silent("mx-lookup.test", RecordType::MX);
    dns.mx("address-lookup.test", &[(10, "silent.test")]).is_silent("silent.test", RecordType::A);
    dns.is_silent("silent.test", RecordType::AAAA);
    let phases: Vec<&str> =
        players.iter().map(|(phase, _)| *phase).chain(["mx-lookup", "address-lookup"]).collect();
    for phase in &phases {
        let size = if *phase == "content" { 12_000_000 } else { 1000 }; // more than buffers hold
        let message = Message::plain(phase, size);
        outbound.daemon.send(SENDER, &[&format!("user@{phase}.test")], message.bytes());
    }
    let at = |phase: &str| {
        let destination = format!("{phase}.test");
        deliveries(&outbound).into_iter().find(|d| d["destination"] == destination.as_str())
    };
    for phase in &phases {
        let mut seen = None;
        wait_until(&format!("{phase} is told"), SOON, || {
            seen = at(phase).filter(|delivery| delivery["phase"] == *phase);
            seen.is_some()
        });
        let seen = seen.unwrap();
        let player = players.iter().find(|(name, _)| name == phase);
        match player {
            Some((_, player)) => {
                assert_eq!(seen["mx"], format!("mx.{phase}.test"), "{seen}");
                assert_eq!(seen["address"], player.sink.address().ip().to_string(), "{seen}");
            }
            None if *phase == "address-lookup" => assert_eq!(seen["mx"], "silent.test", "{seen}"),
            None => assert_eq!(seen["mx"], Value::Null, "{seen}"),
        }
    }
    // Its time goes on, and after ten seconds without a word the slot is somebody else's.
    wait_until("the time in the phase grows", SOON, || {
        at("greeting")
            .is_some_and(|d| d["phase"] == "greeting" && d["phase_seconds"].as_u64() >= Some(2))
    });
    wait_until("the slot is given back", SOON, || {
        let text = outbound.daemon.said(&["ps"]);
        text.lines()
            .any(|line| line.contains(" greeting, no slot ") && line.contains("mx.greeting.test ["))
    });
}
