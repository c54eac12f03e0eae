//! The answer to a sender or recipient that a pipeline does not take.

use std::fmt;

use super::Place;
use crate::address::AddressError;
use crate::outcome::{Cause, Failure, one_line};
use crate::status::Enhanced;
use crate::table::LookupError;

/// A refusal with what the client is told and, apart from it, what the log should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: Cause,
    pub code: u16,
    pub enhanced: Enhanced,
    /// For the client: one line, nothing about our insides.
    pub text: String,
    /// The directive that refused.
    pub rule: Option<Place>,
    /// For the log only: which table failed, and how.
    pub detail: Option<String>,
}

impl Refusal {
    /// An address that cannot be brought into comparison form, as MAIL brought it.
    pub fn bad_sender(error: AddressError) -> Refusal {
        Refusal::of(Cause::BadSender, 501, Enhanced(5, 1, 7), format!("sender: {error}"))
    }

    /// The same for RCPT.
    pub fn bad_recipient(error: AddressError) -> Refusal {
        Refusal::of(Cause::BadRecipient, 553, Enhanced(5, 1, 2), format!("recipient: {error}"))
    }

    /// A table did not answer: unknown means temporary.
    pub(super) fn lookup(place: &Place, error: &LookupError) -> Refusal {
        Refusal::internal("local table lookup failed, try again later")
            .at(place)
            .with_detail(&error.text)
    }

    /// A replacement that is no address is a mistake of ours, not of the sender.
    pub(super) fn bad_replacement(place: &Place, found: &str, error: AddressError) -> Refusal {
        Refusal::internal("local address rewriting failed, try again later")
            .at(place)
            .with_detail(&format!("replacement {found:?}: {error}"))
    }

    pub(super) fn internal(text: &str) -> Refusal {
        Refusal::of(Cause::Internal, 451, Enhanced(4, 3, 0), text.to_string())
    }

    pub(super) fn of(cause: Cause, code: u16, enhanced: Enhanced, text: String) -> Refusal {
        Refusal { cause, code, enhanced, text: one_line(&text), rule: None, detail: None }
    }

    #[must_use]
    pub(super) fn at(mut self, place: &Place) -> Refusal {
        self.rule = Some(place.clone());
        self
    }

    #[must_use]
    pub(super) fn with_detail(mut self, detail: &str) -> Refusal {
        self.detail = Some(one_line(detail));
        self
    }

    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The refusal as the failure of a recipient, for a pipeline behind a queue.
    pub fn failure(&self) -> Failure {
        Failure {
            cause: self.cause,
            code: self.code,
            status: self.enhanced,
            text: self.text.clone(),
            remote: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.text)
    }
}
