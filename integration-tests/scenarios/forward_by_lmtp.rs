//! `target.lmtp` and a real Dovecot: over TCP, within TLS and over a Unix socket, read back over IMAP octet by octet, each recipient with a
//! verdict of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::harness::area::Area;
use crate::harness::certificates::Authority;
use crate::harness::dovecot::{self, Dovecot};
use crate::harness::forwarding::{Forwarding, Route};
use crate::harness::message::{Message, id_of};
use crate::harness::outbound::SOON;

const ANN: &str = "ann@example.test";

/// Whether it came within TLS is in the Received field (RFC 3848).
#[test]
fn every_kind_of_message_arrives_octet_by_octet_over_every_way() {
    let area = Area::new("lmtp_ways");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let authority = Authority::new();
    let roots = authority.write(&area);
    let dovecot = Dovecot::with_certificate(
        &area,
        &authority.leaf(&["dovecot.test", "lmtps.test", "localhost"]),
    );
    let (tcp, tls) = (dovecot.lmtp(), dovecot.lmtps());
    let (named, named_tls) = (tcp.port(), tls.port());
    let socket = dovecot.lmtp_socket();
    let unix = socket.display();
    let rows = [
        ("tcp", format!("targets tcp://{tcp}"), "LMTP"),
        ("unix", format!("targets unix:{unix}"), "LMTP"),
        ("starttls", format!("targets tcp://{tcp}\nattempt_starttls yes"), "LMTPS"),
        ("maddy", format!("targets tcp://lmtp.test:{named}\nstarttls no"), "LMTP"),
        ("proven", format!("targets tcp://dovecot.test:{named}\nstarttls yes"), "LMTPS"),
        ("implicit", format!("targets tls://lmtps.test:{named_tls}"), "LMTPS"),
        ("unix-tls", format!("targets unix://{unix}\nstarttls yes"), "LMTPS"),
    ];
    let routes = rows.clone().map(|(name, lines, _)| Route::new(name, "lmtp", lines));
    let trust = format!("tls_client {{\n    root_ca {}\n}}", roots.display());
    let forwarding = Forwarding::start_with(&area, &trust, &routes);
    forwarding.dns.host("lmtp.test", &[tcp.ip()]).host("dovecot.test", &[tcp.ip()]);
    forwarding.dns.host("lmtps.test", &[tls.ip()]);
    let mut sent = Vec::new();
    for (name, _, protocol) in &rows {
        for message in Message::all_kinds(name) {
            let first = forwarding.attempt(name, ANN, &message);
            assert_eq!(first, "delivered", "{message:?}: {}", dovecot.log());
            sent.push((message, *protocol));
        }
    }
    let arrived = dovecot.wait_for("ann", sent.len(), SOON);
    assert_eq!(arrived.len(), sent.len());
    for (message, protocol) in &sent {
        let copy = arrived.iter().find(|content| id_of(content) == message.id()).unwrap();
        let fields = message.assert_arrived(copy, &dovecot::ADDED);
        assert!(fields.contains(&format!("with {protocol}")), "{message:?}: {fields}");
        assert!(fields.contains("<sender@sender.test>") && fields.contains(ANN), "{fields}");
    }
}

#[test]
fn each_recipient_has_its_own_reply_after_the_dot() {
    let area = Area::new("lmtp_each");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let unix = format!("targets unix:{}", dovecot.lmtp_socket().display());
    let tcp = format!("targets tcp://{}", dovecot.lmtp());
    let routes = [Route::new("unix", "lmtp", unix), Route::new("tcp", "lmtp", tcp)];
    let forwarding = Forwarding::start(&area, &routes);
    // In each order: a reply is for the recipient at its place among those that were accepted.
    let expected = [
        (ANN, "delivered"),
        ("full@example.test", "failed 5.2.2"),
        ("nobody@example.test", "failed 5.1.1"),
        ("busy@example.test", "deferred 4.2.2"),
        ("zoe@example.test", "delivered"),
    ];
    let mut sent = Vec::new();
    for turn in 0..expected.len() {
        let route = &routes[turn % routes.len()].name;
        let mut rows = expected;
        rows.rotate_left(turn);
        let message = Message::plain(&format!("each-{turn}"), 3000);
        let to = rows.map(|(recipient, _)| recipient);
        let id = forwarding.send(route, &to, &message);
        let outcomes = forwarding.first_outcomes(&id, &to);
        let verdicts: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.verdict).collect();
        assert_eq!(verdicts, rows.map(|(_, verdict)| verdict), "turn {turn}");
        // Who failed is told, and who waits is alone in the queue.
        let shown = forwarding.daemon.said(&["queue", "show", &id]);
        assert!(shown.contains("busy@example.test"), "{shown}");
        sent.push(message);
    }
    for user in ["ann", "zoe"] {
        let arrived = dovecot.wait_for(user, sent.len(), SOON);
        assert_eq!(arrived.len(), sent.len(), "{user}");
        for message in &sent {
            let copy = arrived.iter().find(|content| id_of(content) == message.id()).unwrap();
            message.assert_arrived(copy, &dovecot::ADDED);
        }
    }
    assert_eq!((dovecot.inbox("full").len(), dovecot.inbox("busy").len()), (0, 0));
    let told = forwarding.home.wait_for(sent.len(), SOON);
    for one in &told {
        let text = one.text();
        for (recipient, status) in
            [("full@example.test", "5.2.2"), ("nobody@example.test", "5.1.1")]
        {
            assert!(text.contains(recipient) && text.contains(status), "{text}");
        }
        assert!(!text.contains("Final-Recipient: rfc822; busy@"), "{text}");
    }
}

/// None of this says anything about the mail: the socket may be right in a minute.
#[test]
fn a_socket_that_is_no_use_is_waited_for() {
    let area = Area::new("lmtp_sockets");
    if !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let folder = dovecot.lmtp_socket().parent().unwrap().to_owned();
    let abandoned = folder.join("abandoned.sock");
    drop(std::os::unix::net::UnixListener::bind(&abandoned).unwrap());
    let file = area.write("file", "not a socket");
    let live = dovecot.lmtp_socket();
    let rows = [
        ("absent", folder.join("absent.sock"), "deferred 4.4.1"),
        ("abandoned", abandoned, "deferred 4.4.1"),
        ("file", file, "deferred 4.4.1"),
        ("live", live.clone(), "delivered"),
    ];
    let routes = rows.clone().map(|(name, socket, _)| {
        Route::new(name, "lmtp", format!("targets unix:{}", socket.display()))
    });
    let forwarding = Forwarding::start(&area, &routes);
    for (name, socket, first) in &rows {
        let message = Message::plain(name, 1000);
        let id = forwarding.send(name, &[ANN], &message);
        let outcome = forwarding.first_outcomes(&id, &[ANN]).remove(0);
        assert_eq!(outcome.verdict, *first, "{name}: {}", outcome.text);
        let names_it = outcome.text.contains(&socket.display().to_string());
        assert!(names_it || *first == "delivered", "{name}: {}", outcome.text);
    }
    assert_eq!(forwarding.daemon.queued().len(), 3);
    assert_eq!(forwarding.home.count(), 0);
}

/// Root may use any socket, whatever its mode.
#[test]
fn a_socket_that_forbids_is_waited_for() {
    let area = Area::new("lmtp_forbidden");
    if area.is_root() && !area.needs(&["setpriv"]) || !Dovecot::is_ready(&area) {
        return;
    }
    let dovecot = Dovecot::start(&area);
    let socket = dovecot.lmtp_socket();
    fs::set_permissions(&socket, Permissions::from_mode(0o000)).unwrap();
    let lines = format!("targets unix:{}", socket.display());
    let forwarding = Forwarding::start_without_rights(&area, &[Route::new("it", "lmtp", lines)]);
    let message = Message::plain("forbidden", 1000);
    let id = forwarding.send("it", &[ANN], &message);
    let outcome = forwarding.first_outcomes(&id, &[ANN]).remove(0);
    assert_eq!(outcome.verdict, "deferred 4.4.1", "{}", outcome.text);
    assert!(outcome.text.contains("lmtp.sock"), "{}", outcome.text);
    // The operator mends it.
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    forwarding.daemon.said(&["queue", "retry", "--id", &id, "--yes"]);
    message.assert_arrived(&dovecot.wait_for("ann", 1, SOON)[0], &dovecot::ADDED);
}
