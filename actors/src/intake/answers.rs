//! What clients are told of refusals, and of a message with several recipients.

use slog::{Logger, info};

use posthaste_mail::address::Mailbox;
use posthaste_mail::pipeline::Refusal;
use posthaste_mail::wire::server::Answer;

use crate::intake::custody::Said;

/// RFC 2033 §4.2: an answer for each accepted recipient, in their order. Where one of several who were to have it refuses, that is the
/// answer.
pub fn each(accepted: &[Mailbox], results: &[Said]) -> Vec<Answer> {
    let of = |recipient: &Mailbox| {
        let about = results.iter().filter(|(recipients, _)| recipients.contains(recipient));
        let (mut taken, mut refused) = (None, None);
        for (_, result) in about {
            match result {
                Ok(answer) => taken = taken.or(Some(answer)),
                Err(answer) => refused = refused.or(Some(answer)),
            }
        }
        let said = refused.or(taken).cloned();
        said.unwrap_or_else(Answer::internal_fault).about(recipient)
    };
    accepted.iter().map(of).collect()
}

/// RFC 5321 §4.2.5: an answer for all. It is the first trouble, if there was any.
pub fn one(results: Vec<Said>) -> Answer {
    let trouble = results.iter().position(|(_, result)| result.is_err()).unwrap_or(0);
    let said = results.into_iter().nth(trouble).map(|(_, said)| said.unwrap_or_else(|no| no));
    said.unwrap_or_else(Answer::internal_fault)
}

pub fn answer_of(refusal: &Refusal) -> Answer {
    Answer::new(refusal.code, refusal.enhanced, refusal.text.clone())
}

pub fn refused(log: &Logger, refusal: &Refusal, address: &str) -> Answer {
    info!(log, "refused"; "address" => address, "code" => refusal.code,
        "text" => &refusal.text, "rule" => refusal.rule.as_ref().map(ToString::to_string),
        "detail" => &refusal.detail);
    answer_of(refusal)
}
