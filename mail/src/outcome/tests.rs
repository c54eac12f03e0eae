use super::*;

const EVERY: &[Cause] = &[
    Cause::HandshakeFailed,
    Cause::Injected,
    Cause::Unreachable,
    Cause::UnknownAfterDot,
    Cause::DnsFailed,
    Cause::AddressLookupFailed,
    Cause::AliasLoop,
    Cause::NoSuchDomain,
    Cause::NullMx,
    Cause::NoAddress,
    Cause::Loop,
    Cause::BadSender,
    Cause::BadRecipient,
    Cause::UnqualifiedRecipient,
    Cause::AddressLiteral,
    Cause::Quarantined,
    Cause::SenderNeedsSmtputf8,
    Cause::RecipientNeedsSmtputf8,
    Cause::TooLarge,
    Cause::NeedsEightBitMime,
    Cause::TlsMissing,
    Cause::TlsUnproven,
    Cause::MxNotAllowed,
    Cause::MxLevelTooLow,
    Cause::TlsLevelTooLow,
    Cause::RequireTlsImpossible,
    Cause::PolicyUnavailable,
    Cause::RejectedByRule,
    Cause::OwnLimit,
    Cause::Suspended,
    Cause::TargetUnavailable,
    Cause::Internal,
    Cause::OwnResources,
    Cause::Interrupted,
    Cause::GaveUp,
    Cause::Operator,
    Cause::Lost(Stage::Data),
    Cause::TimedOut(Stage::Data),
    Cause::Protocol(Stage::Data),
    Cause::Refused(Stage::Data),
];

#[test]
fn code_status_and_class_agree() {
    for cause in EVERY {
        let (code, status, class) = cause.consequence();
        assert_eq!(u16::from(status.0), code / 100, "{cause:?}");
        assert_eq!(class == Class::Permanent, code >= 500, "{cause:?}");
    }
}

/// What senders and their administrators read, and look up.
#[test]
fn each_cause_has_the_code_that_is_known_for_it() {
    for (cause, told) in [
        (Cause::BadSender, "501 5.1.7"),
        (Cause::UnqualifiedRecipient, "550 5.1.1"),
        (Cause::AddressLiteral, "550 5.1.2"),
        (Cause::BadRecipient, "501 5.1.3"),
        (Cause::Quarantined, "550 5.7.0"),
        (Cause::OwnLimit, "451 4.4.5"),
        (Cause::DnsFailed, "451 4.4.3"),
        (Cause::AddressLookupFailed, "451 4.4.4"),
        (Cause::AliasLoop, "451 4.4.4"),
        (Cause::NoSuchDomain, "550 5.1.2"),
        (Cause::NullMx, "556 5.1.10"),
        (Cause::NoAddress, "550 5.4.4"),
        (Cause::Unreachable, "451 4.4.1"),
        (Cause::Lost(Stage::Greeting), "451 4.4.2"),
        (Cause::TimedOut(Stage::Rcpt), "451 4.4.2"),
        (Cause::UnknownAfterDot, "451 4.4.2"),
        (Cause::Loop, "554 5.4.6"),
        (Cause::SenderNeedsSmtputf8, "550 5.6.7"),
        (Cause::RecipientNeedsSmtputf8, "553 5.6.7"),
        (Cause::TooLarge, "552 5.3.4"),
        (Cause::NeedsEightBitMime, "554 5.6.3"),
        (Cause::MxNotAllowed, "451 4.7.0"),
        (Cause::TlsMissing, "451 4.7.4"),
        (Cause::TlsUnproven, "451 4.7.5"),
        (Cause::TlsaFailed, "451 4.7.5"),
        (Cause::MxLevelTooLow, "451 4.7.0"),
        (Cause::TlsLevelTooLow, "451 4.7.1"),
        (Cause::RequireTlsImpossible, "550 5.7.30"),
        (Cause::CredentialsRefused, "451 4.7.8"),
        (Cause::OwnResources, "451 4.3.0"),
        (Cause::Internal, "451 4.3.0"),
    ] {
        let failure = Failure::new(cause, "why");
        assert_eq!(format!("{} {}", failure.code, failure.status), told, "{cause:?}");
    }
}

#[test]
fn internal_fault_is_temporary() {
    for cause in [Cause::Internal, Cause::DnsFailed, Cause::TargetUnavailable] {
        let outcome = Failure::new(cause, "x").outcome();
        assert!(matches!(outcome, Outcome::Deferred(_)), "{cause:?}");
    }
    for cause in [Cause::Interrupted, Cause::OwnLimit, Cause::Suspended, Cause::OwnResources] {
        let outcome = Failure::new(cause, "x").outcome();
        assert!(matches!(outcome, Outcome::Postponed(_)), "{cause:?}");
    }
}

#[test]
fn a_status_of_another_class_is_replaced() {
    let failure = Failure::refused(Stage::Rcpt, 450, Some(Enhanced(5, 1, 1)), "no");
    assert_eq!(failure.status, Enhanced(4, 0, 0));
}

#[test]
fn a_refusal_names_host_and_command() {
    let remote = Remote { host: "mx.b.example".into(), address: None };
    let failure = Failure::refused(Stage::Rcpt, 550, None, "no such user").at(remote.clone());
    let text = "mx.b.example said: 550 5.0.0 no such user (in reply to RCPT TO)";
    assert_eq!(failure.to_string(), text);
    let lost = Failure::new(Cause::Lost(Stage::Dot), "closed").at(remote);
    assert_eq!(lost.to_string(), "mx.b.example: 451 4.4.2 closed");
    assert_eq!(lost.cause.stage(), Some(Stage::Dot));
}

#[test]
fn text_of_peers_stays_on_one_line() {
    let failure = Failure::refused(Stage::Rcpt, 550, None, "no\r\nX-Evil: 1\u{1b}[31m\n");
    assert_eq!(failure.text, "no  X-Evil: 1 [31m");
    assert_eq!(one_line(&"x".repeat(5000)).len(), 1000);
}
