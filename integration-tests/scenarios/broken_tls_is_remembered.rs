//! A server whose TLS failed is not made to fail again by the next message, unless it insists on TLS.

use crate::harness::certificates::self_signed;
use crate::harness::dialogue::Dialogue;
use crate::harness::outbound::{Outbound, SOON};

const OFFER: &str = "S: 220 mx.broken.test\nC: EHLO *\nS: 250-mx.broken.test\nS: 250 STARTTLS\n";
const TAKE: &str = "C: MAIL FROM:<*>*\nS: 250 ok\nC: RCPT TO:<*>*\nS: 250 ok\nC: DATA\nS: 354 go ahead\n\
                    ! content\nS: 250 2.0.0 taken\nC: QUIT\n";

#[test]
fn the_next_message_goes_in_the_clear_at_once_unless_the_server_insists() {
    let outbound = Outbound::start("broken_tls");
    let next = "! connection\n";
    let script = [
        // The first message finds out.
        OFFER,
        "C: STARTTLS\nS: 220 go ahead\n! close\n",
        next,
        OFFER,
        TAKE,
        next,
        // The second need not.
        OFFER,
        TAKE,
        next,
        // The third is not taken in the clear: its next attempt asks for TLS again, and has it.
        OFFER,
        "C: MAIL*\nS: 530 5.7.0 STARTTLS first\nC: QUIT\n! close\n",
        next,
        OFFER,
        "C: STARTTLS\nS: 220 go ahead\n! starttls\n! serve\n",
    ];
    let dialogue = Dialogue::parse("broken-tls", &script.concat()).unwrap();
    let tls = self_signed(&["mx.broken.test"]).acceptor();
    let player = dialogue.play(outbound.area.socket(), Some(tls));
    outbound.dns.domain("broken.test", player.sink.address().ip());
    for (connections, first) in [(2, "delivered"), (3, "delivered"), (5, "4.7.5")] {
        let id = outbound.send("user@broken.test");
        outbound.daemon.wait_for_trace(&id, first, SOON);
        outbound.daemon.wait_until_queue_is_empty(SOON);
        player.assert_followed();
        assert_eq!(player.sink.connections(), connections);
    }
    // It works, and so it is not left out any more.
    assert_eq!(outbound.counted("target.remote", "plaintext_fallbacks"), 3);
    let taken = player.sink.transactions();
    let encrypted: Vec<bool> = taken.iter().map(|message| message.tls.is_some()).collect();
    assert_eq!(encrypted, [false, false, true]);
}
