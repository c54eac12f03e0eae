//! `posthaste probe`: what a delivery would meet now, told without sending any mail.

use std::process::Output;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use serde_json::{Value, json};

use crate::harness::certificates::Authority;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::operator::Operator;
use crate::harness::outbound::{Outbound, SOON};
use crate::harness::postfix::{self, Postfix};
use crate::harness::process::wait_until;

/// Beside `mx` a target that may not deliver to loopback, and one that takes address literals.
fn more_targets(config: &mut Config) {
    let port = config.mx_port;
    config.global.push_str(&format!(
        "\ntarget.remote strict {{
            port {port}
        }}
        target.remote literal {{
            port {port}
            allow_loopback_mx yes
            allow_address_literal yes
        }}"
    ));
}

fn said(output: &Output) -> (Option<i32>, String) {
    let both = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code(), String::from_utf8_lossy(&both).into_owned())
}

/// Findings of a kind, and the exit code.
fn probe(daemon: &Daemon, words: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = daemon.cli(&[&["probe", "--json"], words].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let findings = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    (output.status.code(), findings)
}

fn all<'a>(findings: &'a [Value], kind: &str) -> Vec<&'a Value> {
    findings.iter().filter_map(|finding| finding.get(kind)).collect()
}

fn verdict(findings: &[Value]) -> Value {
    let verdicts = all(findings, "verdict");
    assert_eq!(verdicts.len(), 1, "{findings:#?}");
    verdicts[0].clone()
}

/// No client said more than it had to, and every session ended with QUIT.
fn assert_no_mail(player: &Player) {
    player.assert_followed();
    for lines in player.sink.lines() {
        assert!(!lines.iter().any(|line| line.starts_with("MAIL")), "{lines:?}");
    }
}

#[test]
fn a_probe_sees_what_a_delivery_would_and_more() {
    let mut root_ca = String::new();
    let authority = Authority::new();
    let outbound = Outbound::start_with("probe_sees", &[], |config| {
        let file = config.area.join("root-ca.pem");
        std::fs::write(&file, authority.root().to_pem().unwrap()).unwrap();
        root_ca = file.display().to_string();
        config.remote = format!("tls_client {{ root_ca {root_ca} }}");
        config.queue = "initial_retry_time 1h".to_owned(); // a delivery in one attempt
    });
    let area = &outbound.area;
    if !area.needs(&[postfix::PROGRAM]) || !area.needs_root(postfix::PROGRAM) {
        return;
    }
    let postfix = Postfix::start(area, "example.test", &authority.leaf(&["mx.example.test"]));
    let refusing = Dialogue::named("permfail-greeting", "a.test").play(area.socket(), None);
    let spare = Dialogue::parse("spare", "S: 220 spare\nC: EHLO *\nS: 250-spare\nS: 250 SIZE 7\n");
    let spare = spare.unwrap().play(area.socket(), None);
    let dns = &outbound.dns;
    dns.cname("example.test", "zone.test").authentic("zone.test");
    let hosts =
        [(10, "dead.test"), (20, "refusing.test"), (30, "mx.example.test"), (40, "spare.test")];
    dns.mx("zone.test", &hosts).authentic("example.test");
    dns.host("dead.test", &[area.address().into()]); // nobody listens there
    dns.host("refusing.test", &[refusing.sink.address().ip()]);
    dns.cname("mx.example.test", "real.test").host("real.test", &[postfix.address().ip()]);
    dns.host("spare.test", &[spare.sink.address().ip()]);

    let (code, findings) = probe(&outbound.daemon, &["example.test"]);
    assert_eq!(code, Some(0), "{findings:#?}");
    let exchangers = all(&findings, "exchangers")[0];
    assert_eq!(
        (&exchangers["canonical"], &exchangers["authentic"]),
        (&json!("zone.test"), &json!(true))
    );
    let order: Vec<&Value> =
        exchangers["hosts"].as_array().unwrap().iter().map(|h| &h["host"]).collect();
    assert_eq!(order, hosts.map(|(_, host)| host));
    let contacts = all(&findings, "contact");
    let met: Vec<_> =
        contacts.iter().map(|c| (c["host"].as_str().unwrap(), &c["in_attempt"])).collect();
    let (within, beside) = (json!(true), json!(false));
    assert_eq!(
        met,
        [
            ("dead.test", &within),
            ("refusing.test", &within),
            ("mx.example.test", &within),
            ("spare.test", &beside)
        ]
    );
    assert_eq!(contacts[0]["failure"]["cause"], "unreachable");
    assert_eq!(contacts[1]["failure"]["code"], 554);
    let session = &contacts[2]["session"];
    assert_eq!(session["name"], "mx.example.test");
    assert!(session["greeting"].as_str().unwrap().contains("ESMTP"), "{session}");
    assert!(session["extensions"].as_array().unwrap().contains(&json!("8BITMIME")), "{session}");
    // The name that MX gave is the one that the certificate has to prove, not the one behind the alias.
    assert_eq!(session["facts"]["tls_level"], "authenticated");
    assert_eq!(contacts[3]["session"]["extensions"], json!(["SIZE 7"]));
    let mx = all(&findings, "host")[2];
    assert_eq!((&mx["host"], &mx["canonical"]), (&json!("mx.example.test"), &json!("real.test")));
    let address = &mx["addresses"][0];
    assert_eq!((&address["family"], &address["standing"]), (&json!("IPv4"), &json!("usable")));
    let verdict = verdict(&findings);
    assert_eq!(
        (&verdict["end"], &verdict["remote"]["host"]),
        (&json!("session"), &json!("mx.example.test"))
    );
    // It is known before anybody is asked who need not be.
    let place = |kind: &str, host: &str| {
        findings
            .iter()
            .position(|f| f[kind]["host"] == host || kind == "verdict" && f.get(kind).is_some())
    };
    assert!(place("verdict", "") < place("contact", "spare.test"), "{findings:#?}");

    // Nothing was sent, kept or counted.
    assert_no_mail(&spare);
    wait_until("Postfix has seen the probe leave", SOON, || postfix.log().contains(" quit=1"));
    assert!(!postfix.log().contains(" mail="), "{}", postfix.log());
    let ps = outbound.daemon.said(&["ps"]);
    assert!(ps.contains("attempts=0 opened=0") && ps.contains("no idle session"), "{ps}");

    // People read the same.
    let (code, text) = said(&outbound.daemon.cli(&["probe", "example.test"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with(
            "MX of example.test, an alias of zone.test, authentic\n     10 dead.test\n"
        ),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("a message now would be offered to mx.example.test ["), "{text}");
    assert!(last.ends_with("tls authenticated"), "{text}");

    // And a delivery does as was said.
    let id = outbound.send("user@example.test");
    let history = outbound.daemon.wait_for_trace(&id, "delivered", SOON);
    assert!(history.contains("mx.example.test ["), "{history}");
    assert_eq!(refusing.sink.connections(), 3);
    assert_eq!(spare.sink.connections(), 2);
}

#[test]
fn what_leads_nowhere_is_told_as_an_attempt_would_end() {
    let outbound = Outbound::start_with("probe_nowhere", &[], more_targets);
    let (daemon, dns) = (&outbound.daemon, &outbound.dns);
    let sink = outbound.sink("example.test");
    dns.mx("null.test", &[(0, ".")]);
    dns.fails("servfail.test", RecordType::MX, ResponseCode::ServFail);
    dns.cname("circle.test", "circle.test");
    dns.mx("hollow.test", &[(10, "nothing.test")]);
    dns.mx("us.test", &[(10, "mx.sender.test")]);
    for (domain, target, end, status) in [
        ("null.test", "mx", "failed", "5.1.10"),
        ("nobody.test", "mx", "failed", "5.1.2"),
        ("servfail.test", "mx", "deferred", "4.4.3"),
        ("circle.test", "mx", "deferred", "4.4.4"),
        ("hollow.test", "mx", "failed", "5.4.4"),
        ("us.test", "mx", "failed", "5.4.6"),
        ("example.test", "strict", "failed", "5.4.6"), // its exchanger is on loopback
        ("[127.0.0.1]", "mx", "failed", "5.1.2"),      // address literals are not allowed
    ] {
        let (code, findings) = probe(daemon, &[domain, "--target", target]);
        let verdict = verdict(&findings);
        assert_eq!(code, Some(1), "{domain}: {findings:#?}");
        assert_eq!(verdict["end"], end, "{domain}: {findings:#?}");
        let failure = &verdict["failure"];
        let shown = daemon.cli(&["probe", domain, "--target", target]);
        let (code, text) = said(&shown);
        assert!(
            code == Some(1) && text.contains(&format!(" {status} ")),
            "{domain}: {text}\n{failure}"
        );
    }
    assert_eq!(sink.connections(), 0);
    let (_, findings) = probe(daemon, &["example.test", "--target", "strict"]);
    assert_eq!(all(&findings, "host")[0]["addresses"][0]["standing"], "ours");
}

#[test]
fn who_is_asked_and_for_what_has_to_be_clear() {
    let outbound = Outbound::start_with("probe_words", &[], more_targets);
    let daemon = &outbound.daemon;
    let sink = outbound.sink("xn--mnchen-3ya.test");
    for (words, code, told) in [
        (&["example.test"][..], 1, "which target.remote? There are: mx, strict, literal"),
        (
            &["example.test", "--target", "outbound"],
            1,
            "no target.remote outbound; there are: mx, ",
        ),
        (&["exa..mple"], 2, "domain has an empty or overlong label"),
        (&["user@example.test"], 2, "invalid value"),
        (&["192.0.2.1"], 2, "written in brackets"),
    ] {
        let (exit, text) = said(&daemon.cli(&[&["probe"], words].concat()));
        assert!(exit == Some(code) && text.contains(told), "{words:?}: {exit:?} {text}");
    }
    let (code, findings) = probe(daemon, &["MÜNCHEN.test", "--target", "mx"]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert_eq!(all(&findings, "exchangers")[0]["domain"], "xn--mnchen-3ya.test");
    let literal = format!("[{}]", sink.address().ip());
    let (code, findings) = probe(daemon, &[&literal, "--target", "literal"]);
    assert_eq!((code, findings.len()), (Some(0), 2), "{findings:#?}");
    assert_eq!(verdict(&findings)["remote"]["host"], literal);
    assert_eq!(sink.count(), 0);
}

/// TLS is offered and broken; on the second connection the probe only looks.
const BROKEN_TLS: &str = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n\
    ! read 5\nB: no TLS\\r\\n\n! close\n! connection\nS: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: QUIT\nS: 221 bye\n";

#[test]
fn a_fallback_to_plaintext_is_told() {
    let outbound = Outbound::start("probe_fallback");
    let player = Dialogue::parse("x", BROKEN_TLS).unwrap().play(outbound.area.socket(), None);
    outbound.dns.domain("example.test", player.sink.address().ip());
    let (code, findings) = probe(&outbound.daemon, &["example.test"]);
    let session = &all(&findings, "contact")[0]["session"];
    assert_eq!((code, &session["plaintext_fallback"]), (Some(0), &json!(true)), "{findings:#?}");
    assert!(session["facts"]["tls_error"].as_str().unwrap().contains("handshake"), "{session}");
    wait_until("the probe has left", SOON, || {
        player.sink.lines().last().is_some_and(|lines| lines.contains(&"QUIT".to_owned()))
    });
    assert_no_mail(&player);
}

/// A probe that has been asked for and is not awaited.
fn asked(outbound: &Outbound, domain: &str) -> Operator {
    let mut operator = outbound.daemon.operator();
    let params = json!({ "domain": domain });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "probe", "params": params });
    operator.send(format!("{request}\n").as_bytes()).unwrap();
    operator
}

#[test]
fn a_probe_nobody_waits_for_ends_and_gives_its_place_back() {
    let outbound = Outbound::start("probe_ends");
    let player = Dialogue::parse("x", "! hang\n").unwrap().play(outbound.area.socket(), None);
    outbound.dns.domain("example.test", player.sink.address().ip());
    let mut operators: Vec<Operator> = (0..4).map(|_| asked(&outbound, "example.test")).collect();
    // What is known is told while the host is waited for.
    for operator in &mut operators {
        let finding = operator.read().unwrap().unwrap();
        assert_eq!(finding["params"]["item"]["exchangers"]["domain"], "example.test");
    }
    wait_until("the host is waited for", SOON, || player.sink.connections() == 4);
    // Requests that wait behind a probe do not hide that nobody waits for them.
    for operator in &mut operators[..2] {
        let next = json!({ "jsonrpc": "2.0", "id": 2, "method": "status" });
        operator.send(format!("{next}\n").as_bytes()).unwrap();
    }
    let (code, text) = said(&outbound.daemon.cli(&["probe", "null.test"]));
    assert!(code == Some(1) && text.contains("4 probes are under way"), "{text}");
    drop(operators);
    wait_until("there is a place again", SOON, || {
        let (_, text) = said(&outbound.daemon.cli(&["probe", "nobody.test"]));
        text.contains("would fail: no-such-domain")
    });
    let log = outbound.daemon.log();
    wait_until("all four have ended", SOON, || {
        outbound.daemon.log().matches("Unheard").count() == 4
    });
    assert!(!log.contains("panic"), "{log}");
}
