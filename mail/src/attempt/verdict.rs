//! What a recipient's end is, from all that went wrong on the way to it.

use crate::attempt::ports::Peer;
use crate::outcome::{Cause, Class, Failure, SessionFacts, Stage};

/// Something a server, or the way to it, had against one recipient, and the session it was said in, or what was known of one before it was
/// there.
#[derive(Clone, Debug)]
pub struct Said {
    pub failure: Failure,
    pub facts: SessionFacts,
}

/// Nothing is known of any session.
impl From<Failure> for Said {
    fn from(failure: Failure) -> Said {
        Said { failure, facts: SessionFacts::default() }
    }
}

/// How much of the plan the troubles stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Everybody who could be asked was asked.
    Whole,
    /// The numbers of addresses and sessions for one attempt ended it earlier: somebody else may say otherwise.
    Partial,
}

/// One failure from all: temporary if any is, and of those the most telling; permanent only if everybody was asked and nobody left hope.
///
/// `said` of this recipient, `troubles` of hosts before any recipient was named, both in the order of trial; `hosts` is how many were
/// tried.
pub fn verdict(said: &[Said], troubles: &[Said], coverage: Coverage, hosts: usize) -> Said {
    let all: Vec<&Said> = said.iter().chain(troubles).collect();
    // `max_by_key` takes the last of equals: reversed, so that the most preferred exchanger speaks.
    let temporary = all.iter().filter(|s| s.failure.class() == Class::Temporary);
    let telling = temporary.rev().max_by_key(|s| weight(s.failure.cause));
    let mut verdict = match (telling.or(all.first()), coverage) {
        (None, _) => Failure::new(Cause::Unreachable, "no mail exchanger could be tried").into(),
        (Some(last), Coverage::Partial) if last.failure.class() == Class::Permanent => {
            hope_after(last)
        }
        // Somebody was asked, so it is an attempt: else he would be asked twice a minute as long as we lack what another needs.
        (Some(one), _) if one.failure.cause == Cause::OwnResources => {
            let answer = all.iter().find(|said| is_answer(&said.failure));
            answer.map_or_else(|| Said::clone(one), |answer| hope_after(answer))
        }
        (Some(one), _) => Said::clone(one),
    };
    // A reply is told in the server's own words.
    if hosts > 1 && !matches!(verdict.failure.cause, Cause::Refused(_)) {
        verdict.failure.text.push_str(&format!("; {hosts} mail exchangers tried"));
    }
    verdict
}

/// One has answered for good, and there are others.
fn hope_after(one: &Said) -> Said {
    let text = format!("not every mail exchanger was asked; one said: {}", one.failure);
    Said { failure: Failure::new(Cause::Unreachable, text), facts: one.facts.clone() }
}

/// There was a session, and this is what came of it.
fn is_answer(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::Refused(_)) || is_lack(failure.cause)
}

/// Policy outranks TLS, TLS a reply, a reply the network, the network DNS.
fn weight(cause: Cause) -> u8 {
    match cause {
        // A real trouble met before we called the attempt off tells more, and counts.
        Cause::OwnLimit | Cause::Suspended | Cause::Interrupted | Cause::OwnResources => 0,
        Cause::TlsMissing
        | Cause::TlsUnproven
        | Cause::MxNotAllowed
        | Cause::MxLevelTooLow
        | Cause::TlsLevelTooLow
        | Cause::PolicyUnavailable
        | Cause::CredentialsRefused
        | Cause::RouteHeld
        | Cause::CredentialsUnsafe
        | Cause::CredentialsMissing
        | Cause::AuthMissing
        | Cause::TlsaFailed => 5,
        Cause::HandshakeFailed
        | Cause::Injected
        | Cause::Refused(Stage::StartTls)
        | Cause::Lost(Stage::StartTls)
        | Cause::TimedOut(Stage::StartTls)
        | Cause::Protocol(Stage::StartTls) => 4,
        Cause::Refused(_) | Cause::Protocol(_) => 3,
        Cause::Lost(_) | Cause::TimedOut(_) | Cause::Unreachable => 2,
        _ => 1,
    }
}

/// What a refusal says about the mail: nothing, if it is of a session in the clear because TLS failed, and wants TLS.
pub fn for_want_of_tls(failure: Failure, facts: &SessionFacts) -> Failure {
    match &facts.tls_error {
        Some(why) if wants_tls(&failure) && facts.is_fallback() => {
            let text = format!("{why}; without TLS the server says {failure}");
            Failure::new(Cause::HandshakeFailed, text)
        }
        _ => failure,
    }
}

/// RFC 3207 §4: 530 means that STARTTLS has to come first. RFC 5248 §3: X.7.10 is encryption needed.
fn wants_tls(failure: &Failure) -> bool {
    failure.code == 530 || (failure.status.1, failure.status.2) == (7, 10)
}

/// What a server says that may want TLS, in words of its own: a refusal of the sender or for policy, and for good. It stands, but the next
/// message should not be heard without TLS again.
pub fn may_want_tls(failure: &Failure) -> bool {
    let may_be = failure.cause == Cause::Refused(Stage::Mail) || failure.status.1 == 7;
    wants_tls(failure) || may_be && failure.class() == Class::Permanent
}

/// Who may be asked next about a recipient that met a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nobody: it is the recipient's outcome.
    Nowhere,
    /// The line broke, not the host: another of its addresses, then another host.
    NextAddress,
    /// The host has answered: another host.
    NextHost,
}

/// What a session had behind it when it met a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wear {
    None,
    /// It was kept, and idle.
    Reused,
    /// It has carried mail of this attempt.
    Served,
}

impl Wear {
    pub fn of<S: Peer>(session: &S) -> Wear {
        if session.is_reused() { Wear::Reused } else { Wear::None }
    }
}

/// May somebody else be asked about a recipient that met this failure?
pub fn elsewhere(failure: &Failure, wear: Wear) -> Elsewhere {
    let temporary = failure.class() == Class::Temporary;
    match failure.cause {
        // RFC 5321 §3.8: of a session that has been idle, or has carried all that the server wants to have in one, 421 says nothing
        // about the server.
        _ if wear != Wear::None && is_enough(failure) => Elsewhere::NextAddress,
        // Refused for a while, before the content went out.
        Cause::Refused(Stage::Mail | Stage::Rcpt) if temporary => Elsewhere::NextHost,
        // Another host may have TLS that works.
        Cause::HandshakeFailed => Elsewhere::NextHost,
        Cause::Lost(stage) | Cause::TimedOut(stage) | Cause::Protocol(stage) => match stage {
            Stage::Connect
            | Stage::Greeting
            | Stage::Ehlo
            | Stage::Lhlo
            | Stage::StartTls
            | Stage::Auth
            | Stage::Mail
            | Stage::Rcpt
            | Stage::Rset
            | Stage::Quit => Elsewhere::NextAddress,
            // An idle session that was closed meanwhile shows it at the first command, whichever that is.
            Stage::Data if wear == Wear::Reused => Elsewhere::NextAddress,
            Stage::Data | Stage::Content | Stage::Dot => Elsewhere::Nowhere,
        },
        // What this server lacks another may have.
        _ if is_lack(failure.cause) => Elsewhere::NextHost,
        _ => Elsewhere::Nowhere,
    }
}

/// The server ends the session in place of taking mail.
pub fn is_enough(failure: &Failure) -> bool {
    failure.code == 421 && matches!(failure.cause, Cause::Refused(Stage::Mail | Stage::Rcpt))
}

/// The server lacks what the message needs, and was not asked.
pub fn is_lack(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::SenderNeedsSmtputf8
            | Cause::RecipientNeedsSmtputf8
            | Cause::TooLarge
            | Cause::NeedsEightBitMime
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::TlsLevel;
    use crate::status::Enhanced;

    #[test]
    fn temporary_wins_whoever_said_it() {
        let too_large = Said::from(Failure::new(Cause::TooLarge, "limit 10"));
        let down = Failure::new(Cause::Unreachable, "refused");
        let end =
            verdict(std::slice::from_ref(&too_large), &[down.into()], Coverage::Whole, 2).failure;
        assert_eq!((end.code, end.text.as_str()), (451, "refused; 2 mail exchangers tried"));
        let busy = Said::from(Failure::refused(Stage::Rcpt, 450, None, "later"));
        let end = verdict(&[busy, too_large.clone()], &[], Coverage::Whole, 2).failure;
        assert_eq!((end.code, end.text.as_str()), (450, "later"));
        let end = verdict(&[too_large], &[], Coverage::Whole, 1).failure;
        assert_eq!((end.code, end.text.as_str()), (552, "limit 10"));
    }

    #[test]
    fn who_wants_tls_that_failed_has_not_refused_the_mail() {
        let broken = || Some("no shared cipher".to_owned());
        let fallback = SessionFacts { tls_error: broken(), ..SessionFacts::default() };
        let unproven = SessionFacts { tls_level: TlsLevel::Encrypted, ..fallback.clone() };
        let refused = |code, status| Failure::refused(Stage::Mail, code, Some(status), "no");
        for wants_tls in [refused(530, Enhanced(5, 7, 0)), refused(550, Enhanced(5, 7, 10))] {
            let end = for_want_of_tls(wants_tls.clone(), &fallback);
            assert_eq!((end.class(), end.status), (Class::Temporary, Enhanced(4, 7, 5)));
            let told = format!("no shared cipher; without TLS the server says {wants_tls}");
            assert_eq!(end.text, told);
            // Where TLS did not fail it is meant as it is said.
            assert_eq!(for_want_of_tls(wants_tls.clone(), &unproven), wants_tls);
            assert_eq!(for_want_of_tls(wants_tls.clone(), &SessionFacts::default()), wants_tls);
        }
        let about_mail = refused(550, Enhanced(5, 7, 1));
        assert_eq!(for_want_of_tls(about_mail.clone(), &fallback), about_mail);
        // But the next message asks for TLS again.
        let said = |stage, code, text| may_want_tls(&Failure::refused(stage, code, None, text));
        assert!(may_want_tls(&about_mail) && said(Stage::Mail, 550, "encryption required"));
        assert!(!said(Stage::Rcpt, 550, "no such user") && !said(Stage::Mail, 451, "later"));
    }

    #[test]
    fn nobody_is_failed_while_somebody_was_not_asked() {
        let no = Said::from(Failure::refused(Stage::Greeting, 554, None, "no mail here"));
        let end = verdict(&[], std::slice::from_ref(&no), Coverage::Partial, 1).failure;
        assert_eq!(end.class(), Class::Temporary);
        assert!(end.text.contains("no mail here"), "{}", end.text);
        assert_eq!(verdict(&[], &[no], Coverage::Whole, 1).failure.code, 554);
    }

    #[test]
    fn policy_outranks_tls_and_tls_a_reply() {
        let causes = [Cause::DnsFailed, Cause::Unreachable, Cause::Injected, Cause::TlsLevelTooLow];
        for (first, rest) in causes.iter().zip(causes.iter().skip(1)) {
            let both = [Failure::new(*rest, "b").into(), Failure::new(*first, "a").into()];
            assert_eq!(verdict(&[], &both, Coverage::Whole, 1).failure.cause, *rest);
        }
    }
}
