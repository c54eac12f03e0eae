//! One session, from dialling to its end, as it is told to operators.
//!
//! Everybody who has to do with the session holds it; when the last of them lets go, the session is closed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posthaste_edge::session::Listener;
use posthaste_mail::admin::wire::{SessionOf, WireLine};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::outcome::{Cause, Failure};
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::transcript::{Ear, Line, Told, Transcript};

use super::Wire;
use super::failed::Kept;

#[derive(Debug)]
pub struct Recording {
    wire: Arc<Wire>,
    of: SessionOf,
    began: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    transcript: Transcript,
    message: EnvelopeId,
    connected: bool,
    /// Something went wrong for this message; what is said afterwards belongs to it.
    failed: bool,
}

impl Recording {
    pub(super) fn new(wire: Arc<Wire>, of: SessionOf, message: EnvelopeId) -> Recording {
        let began = wire.clock.now();
        let transcript = Transcript::default();
        let state = State { transcript, message, connected: false, failed: false };
        Recording { wire, of, began, state: Mutex::new(state) }
    }

    pub fn connected(&self, peer: SocketAddr, local: Option<SocketAddr>) {
        self.state().connected = true;
        match local {
            Some(local) => self.notes(format_args!("connected to {peer} from {local}")),
            None => self.notes(format_args!("connected to {peer}")),
        }
    }

    /// The session, which carried others before, carries this message now.
    pub fn carries(&self, message: EnvelopeId) {
        {
            let mut state = self.state();
            (state.message, state.failed) = (message, false);
        }
        self.notes(format_args!("used again, for message {message}"));
    }

    /// What the session was for did not come of it. Kept at once; what is still said is added at the end.
    pub fn failed(&self, failure: &Failure) {
        // The words of a server stand there already.
        if !matches!(failure.cause, Cause::Refused(_)) {
            self.notes(format_args!("{}", failure.text));
        }
        let kept = {
            let mut state = self.state();
            state.failed = true;
            Kept {
                at: self.wire.clock.now(),
                id: state.message,
                of: self.of.clone(),
                failure: failure.clone(),
                excerpt: state.transcript.excerpt().clone(),
            }
        };
        self.wire.failed().put(kept);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes something down. Lines are made for followers only if there are any.
    fn record(&self, write: impl FnOnce(&mut Transcript, u64, Ear<'_>)) {
        let now = self.wire.clock.now();
        let ms = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state();
        let State { transcript, message, .. } = &mut *state;
        let followed = self.wire.followers.receiver_count() > 0;
        write(transcript, ms, &mut |told| {
            if followed {
                // Sent under the lock, so that the lines of a session keep their order. It does not wait for anybody.
                let _ = self.wire.followers.send(self.line(now, *message, told));
            }
        });
    }

    fn line(&self, at: Timestamp, id: EnvelopeId, told: Told<'_>) -> WireLine {
        let Told { ms, speaker, text } = told;
        let line = Line { ms, speaker, text: text.to_string() };
        WireLine { at, time: at.rfc3339(), id, of: self.of.clone(), line }
    }
}

impl Listener for Recording {
    fn sends(&self, bytes: &[u8]) {
        self.record(|transcript, ms, ear| transcript.sent(ms, bytes, ear));
    }

    fn receives(&self, bytes: &[u8]) {
        self.record(|transcript, ms, ear| transcript.received(ms, bytes, ear));
    }

    fn sends_content(&self, octets: usize) {
        self.state().transcript.sent_content(octets as u64);
    }

    fn ends_content(&self) {
        self.record(|transcript, ms, ear| transcript.end_content(ms, ear));
    }

    fn notes(&self, text: fmt::Arguments<'_>) {
        self.record(|transcript, ms, ear| transcript.note(ms, text, ear));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.state().connected {
            return;
        }
        self.notes(format_args!("closed"));
        let state = self.state();
        if state.failed {
            self.wire.failed().complete(&self.of, state.transcript.excerpt());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_edge::clock::Clock;
    use posthaste_mail::outcome::{Remote, Stage};
    use std::time::Duration;
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    const A: EnvelopeId = EnvelopeId::from_bytes([1; 16]);
    const B: EnvelopeId = EnvelopeId::from_bytes([2; 16]);

    fn begin(clock: &Clock) -> (Arc<Wire>, Arc<Recording>) {
        let wire = Arc::new(Wire::new(clock.clone()));
        let remote = Remote { host: "mx.a.test".into(), address: Some("192.0.2.1".into()) };
        let recording = wire.record("mx", "a.test".to_string(), remote, A);
        (wire, recording)
    }

    fn refused() -> Failure {
        Failure::refused(Stage::Rcpt, 550, None, "no")
    }

    fn peer() -> SocketAddr {
        "192.0.2.1:25".parse().unwrap()
    }

    fn lines(wire: &Wire) -> Vec<String> {
        let session = wire.last_failed("a.test").unwrap();
        let line = |line: &Line| format!("{} {} {}", line.ms, line.speaker.sign(), line.text);
        session.lines.iter().map(line).collect()
    }

    #[test]
    fn a_session_that_fails_is_kept_at_once_and_completed_at_its_end() {
        let clock = Clock::manual(Timestamp::from_secs(10));
        let (wire, recording) = begin(&clock);
        recording.connected(peer(), None);
        clock.advance(Duration::from_millis(7));
        recording.sends(b"RCPT TO:<b@a.test>\r\n");
        recording.receives(b"550 no\r\n");
        assert!(wire.last_failed("a.test").is_none());
        recording.failed(&refused());
        let said =
            ["0 - connected to 192.0.2.1:25", "7 > RCPT TO:<b@a.test>", "7 < 550 no"].to_vec();
        assert_eq!(lines(&wire), said);
        clock.advance(Duration::from_secs(1));
        drop(recording);
        assert_eq!(lines(&wire), [said, vec!["1007 - closed"]].concat());
        let kept = wire.last_failed("a.test").unwrap();
        assert_eq!((kept.id, kept.of.session, kept.failure.code), (A, 1, 550));
        assert_eq!(kept.time, "1970-01-01T00:00:10.007Z");
        assert!(wire.last_failed("b.test").is_none());
    }

    #[test]
    fn what_is_said_for_the_next_message_is_not_added() {
        let clock = Clock::manual(Timestamp::ZERO);
        let (wire, recording) = begin(&clock);
        recording.connected(peer(), None);
        recording.failed(&refused());
        recording.carries(B);
        recording.sends(b"MAIL FROM:<>\r\n");
        drop(recording);
        assert_eq!(lines(&wire), ["0 - connected to 192.0.2.1:25"]);
    }

    #[test]
    fn a_dial_that_fails_is_a_session_of_one_line() {
        let (wire, recording) = begin(&Clock::manual(Timestamp::ZERO));
        recording.failed(&Failure::new(Cause::Unreachable, "connecting to 192.0.2.1:25: refused"));
        drop(recording);
        assert_eq!(lines(&wire), ["0 - connecting to 192.0.2.1:25: refused"]);
    }

    #[tokio::test]
    async fn followers_hear_lines_as_they_come_with_the_message_of_the_moment() {
        let (wire, recording) = begin(&Clock::manual(Timestamp::ZERO));
        recording.sends(b"EHLO before\r\n");
        let mut follower = wire.follow();
        recording.receives(b"250-a\r\n25");
        recording.receives(b"0 b\r\n");
        recording.carries(B);
        recording.sends_content(7);
        recording.ends_content();
        let mut heard = Vec::new();
        while let Ok(told) = follower.try_recv() {
            assert_eq!((told.of.destination.as_str(), told.of.session), ("a.test", 1));
            heard.push((told.id, told.line.text.clone()));
        }
        let texts: Vec<&str> = heard.iter().map(|(_, text)| text.as_str()).collect();
        let again = format!("used again, for message {B}");
        assert_eq!(texts, ["250-a", "250 b", &again, "content: 7 octets"]);
        assert!(heard.iter().map(|(id, _)| *id).eq([A, A, B, B]));
    }

    #[tokio::test]
    async fn a_slow_follower_misses_lines_and_is_told() {
        let (wire, recording) = begin(&Clock::manual(Timestamp::ZERO));
        let mut follower = wire.follow();
        for _ in 0..super::super::FOLLOWER_BACKLOG + 3 {
            recording.sends(b"NOOP\r\n");
        }
        assert!(matches!(follower.recv().await, Err(RecvError::Lagged(3))));
        assert!(follower.recv().await.is_ok());
        let rest = std::iter::from_fn(|| follower.try_recv().ok()).count();
        assert_eq!(rest, super::super::FOLLOWER_BACKLOG - 1);
        assert!(matches!(follower.try_recv(), Err(TryRecvError::Empty)));
    }
}
