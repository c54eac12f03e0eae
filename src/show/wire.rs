//! `trace --wire` for people: what went over the wire, a line a line.

use std::io;

use posthaste_mail::admin::wire::{FailedSession, WireLine};
use posthaste_mail::wire::transcript::{Line, Speaker};

use crate::show::event::failed as failure;
use crate::show::page::{Page, Tone};

/// A line as it comes: with so many sessions at once each has to say whose it is.
pub fn line(page: &mut Page<'_>, told: &WireLine) -> io::Result<()> {
    let WireLine { time, id, of, line, .. } = told;
    let (sign, text) = (line.speaker.sign(), &line.text);
    page.line(tone(line), &format!("{time} {id} {} [{}] {sign} {text}", of.mx, of.address))
}

/// The transcript of a session that failed, with the time since its beginning.
pub fn failed(page: &mut Page<'_>, session: &FailedSession) -> io::Result<()> {
    let FailedSession { time, id, of, failure: why, lines, .. } = session;
    let (target, destination) = (&of.target, &of.destination);
    let title = format!("{time} {id} to {destination} by {target}, {} [{}]", of.mx, of.address);
    page.line(Tone::Title, &title)?;
    page.line(Tone::Bad, &failure(why))?;
    for line in lines {
        let (ms, sign, text) = (line.ms, line.speaker.sign(), &line.text);
        page.line(tone(line), &format!("{ms:>7} ms {sign} {text}"))?;
    }
    Ok(())
}

/// Refusals stand out.
fn tone(line: &Line) -> Tone {
    match (line.speaker, line.text.as_bytes().first()) {
        (Speaker::Peer, Some(b'4')) => Tone::Waiting,
        (Speaker::Peer, Some(b'5')) => Tone::Bad,
        (Speaker::Us | Speaker::Peer | Speaker::Note, _) => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::page::written;
    use posthaste_mail::admin::wire::SessionOf;
    use posthaste_mail::envelope::EnvelopeId;
    use posthaste_mail::outcome::{Failure, Stage};
    use posthaste_mail::time::Timestamp;

    const AT: Timestamp = Timestamp::from_secs(1_795_489_920);

    fn of() -> SessionOf {
        SessionOf {
            session: 7,
            target: "mx".into(),
            destination: "example.net".into(),
            mx: "mx.example.net".into(),
            address: "192.0.2.1".into(),
        }
    }

    fn said(ms: u64, speaker: Speaker, text: &str) -> Line {
        Line { ms, speaker, text: text.into() }
    }

    #[test]
    fn a_line_says_whose_it_is() {
        let told = WireLine {
            at: AT,
            time: AT.rfc3339(),
            id: EnvelopeId::from_bytes([0; 16]),
            of: of(),
            line: said(12, Speaker::Peer, "550 5.1.1 no"),
        };
        assert_eq!(
            written(|page| line(page, &told)),
            "2026-11-24T03:12:00.000Z 00000000000000000000000000 mx.example.net [192.0.2.1] < 550 5.1.1 no\n"
        );
        let json = serde_json::to_value(&told).unwrap();
        for (member, value) in [("destination", "example.net"), ("speaker", "peer")] {
            assert_eq!(json[member], value, "{json}");
        }
        assert_eq!((&json["session"], &json["ms"]), (&7.into(), &12.into()));
        assert_eq!(serde_json::from_value::<WireLine>(json).unwrap(), told);
    }

    #[test]
    fn a_session_that_failed_has_a_title_and_its_lines() {
        let session = FailedSession {
            at: AT,
            time: AT.rfc3339(),
            id: EnvelopeId::from_bytes([0; 16]),
            of: of(),
            failure: Failure::refused(Stage::Greeting, 554, None, "not you"),
            lines: vec![
                said(3, Speaker::Note, "connected to 192.0.2.1:25"),
                said(12, Speaker::Peer, "554 not you"),
                said(1012, Speaker::Us, "QUIT"),
            ],
        };
        assert_eq!(
            written(|page| failed(page, &session)),
            "2026-11-24T03:12:00.000Z 00000000000000000000000000 to example.net by mx, mx.example.net [192.0.2.1]
refused, 554 5.0.0 not you
      3 ms - connected to 192.0.2.1:25
     12 ms < 554 not you
   1012 ms > QUIT
"
        );
    }
}
