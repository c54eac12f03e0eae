//! Mail exchangers that refuse, hang up, babble or break: nothing is lost, nothing comes twice without need, and the sender is told
//! only of what is final. What each says is in `integration-tests/dialogues/`.

use crate::harness::certificates::self_signed;
use crate::harness::dialogue::{Dialogue, Player};
use crate::harness::outbound::{AFTER_RETRIES, Outbound, SOON};
use crate::harness::process::wait_until;
use crate::harness::sink::Manners;

const STAGES: [&str; 6] = ["greeting", "ehlo", "mail", "rcpt", "data", "dot"];

/// One peer playing the dialogue for a domain of its name, and a message on its way to it: (recipient, queue id, peer).
fn visit(outbound: &Outbound, name: &str) -> (String, String, Player) {
    let domain = format!("{name}.test");
    let player = Dialogue::named(name, &domain).play(outbound.area.socket(), None);
    outbound.dns.domain(&domain, player.sink.address().ip());
    let recipient = format!("user@{domain}");
    let id = outbound.send(&recipient);
    (recipient, id, player)
}

fn visit_all(outbound: &Outbound, names: &[String]) -> Vec<(String, String, Player)> {
    names.iter().map(|name| visit(outbound, name)).collect()
}

fn each_stage(kind: &str) -> Vec<String> {
    STAGES.iter().map(|stage| format!("{kind}-{stage}")).collect()
}

/// The message comes through at a later attempt, and the sender hears nothing.
fn assert_delivered_later(outbound: &Outbound, visits: &[(String, String, Player)]) {
    for (recipient, _, player) in visits {
        player.sink.wait_for_recipient(recipient, AFTER_RETRIES);
    }
    outbound.daemon.wait_until_queue_is_empty(SOON);
    for (recipient, _, player) in visits {
        player.assert_followed();
        let messages = player.sink.transactions();
        let copies = messages.iter().filter(|message| message.is_for(recipient)).count();
        assert_eq!(copies, 1, "{recipient}");
    }
    assert_eq!(outbound.home.count(), 0, "nobody is to be told of what was delivered");
}

#[test]
fn refused_for_now_is_tried_again() {
    let outbound = Outbound::start("refused_for_now");
    let visits = visit_all(&outbound, &each_stage("tempfail"));
    assert_delivered_later(&outbound, &visits);
}

#[test]
fn a_temporary_refusal_is_told_with_its_code() {
    let outbound = Outbound::start_with("temporary_refusal_told", &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
    });
    let (_, id, _player) = visit(&outbound, "tempfail-rcpt");
    let trace = outbound.daemon.wait_for_trace(&id, "4.2.0", SOON);
    assert!(trace.contains("450"), "{trace}");
    assert_eq!(outbound.daemon.queued(), [id]);
}

#[test]
fn refused_for_good_is_told_the_sender() {
    let outbound = Outbound::start("refused_for_good");
    let visits = visit_all(&outbound, &each_stage("permfail"));
    let statuses = ["5.3.2", "5.7.1", "5.7.1", "5.1.1", "5.5.0", "5.6.0"];
    for ((recipient, _, player), status) in visits.iter().zip(statuses) {
        outbound.assert_notified(recipient, status);
        player.assert_followed();
        assert_eq!(player.sink.connections(), 1, "{recipient}: tried again in vain");
    }
    outbound.daemon.wait_until_queue_is_empty(SOON);
    assert_eq!(outbound.home.count(), STAGES.len());
}

#[test]
fn a_lost_connection_is_tried_again() {
    let outbound = Outbound::start_with("lost_connection", &[], |config| {
        config.remote = "command_timeout 3s".to_owned();
    });
    let mut names = each_stage("close");
    names.extend(["reset-mail", "hang-mail"].map(str::to_owned));
    let visits = visit_all(&outbound, &names);
    assert_delivered_later(&outbound, &visits);
}

#[test]
fn babble_is_tried_again() {
    let outbound = Outbound::start("babble");
    let names = ["greeting", "ehlo", "codes", "half-reply", "unknown-code"];
    let visits = visit_all(&outbound, &names.map(|name| format!("garbage-{name}")));
    assert_delivered_later(&outbound, &visits);
}

#[test]
fn servers_without_usable_tls_get_mail_in_the_clear() {
    // Opportunistic TLS: nothing in force demands it. One attempt must do, so retries are far away.
    let outbound = Outbound::start_with("mail_in_the_clear", &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
    });
    let names =
        ["helo-only", "no-starttls", "broken-starttls", "closed-starttls", "refused-starttls"];
    let visits = visit_all(&outbound, &names.map(str::to_owned));
    for (recipient, _, player) in &visits {
        wait_until(&format!("{recipient} has its message"), SOON, || player.sink.count() == 1);
    }
    outbound.daemon.wait_until_queue_is_empty(SOON);
    for (recipient, _, player) in &visits {
        player.assert_followed();
        assert_eq!(player.sink.count(), 1, "{recipient}");
        assert_eq!(player.sink.transactions()[0].tls, None);
    }
}

#[test]
fn bytes_behind_the_invitation_to_tls_end_the_session() {
    let outbound = Outbound::start_with("injected_starttls", &[], |config| {
        config.queue = "initial_retry_time 1h".to_owned();
    });
    let (recipient, id, player) = visit(&outbound, "injected-starttls");
    outbound.daemon.wait_for_trace(&id, "deferred", SOON);
    // Whoever can write on the line gets no session in the clear for it.
    assert_eq!((player.sink.connections(), player.sink.count()), (1, 0));
    outbound.daemon.said(&["queue", "retry", "--yes"]);
    assert_delivered_later(&outbound, &[(recipient, id, player)]);
}

#[test]
fn a_certificate_nobody_vouches_for_still_encrypts() {
    let outbound = Outbound::start("opportunistic_tls");
    let tls = Some(self_signed(&["somebody.else.test"]).acceptor());
    let sink = outbound.sink_with("example.test", Manners { tls, ..Manners::default() });
    outbound.send("user@example.test");
    let message = sink.wait_for_recipient("user@example.test", SOON);
    assert!(message.tls.is_some_and(|version| version.starts_with("TLSv1.")));
    assert_eq!(sink.connections(), 1); // one handshake, judged afterwards
}
