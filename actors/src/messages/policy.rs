//! What domains demand of those who send them mail.

use std::time::Duration;

use actix::{Message, Recipient};

use posthaste_mail::address::Domain;
use posthaste_mail::admin::answer::{StsLine, StsView};
use posthaste_mail::sts::{StsAnswer, Unavailable};

/// Delivery task -> StsCache: which policy holds for this domain's mail? The answer may take as long as two lookups and a fetch.
#[derive(Clone, Debug)]
pub struct StsPolicyFor {
    /// That of the recipients, never that of an exchanger or of what the domain is an alias of (RFC 8461 §3).
    pub domain: Domain,
}

impl Message for StsPolicyFor {
    type Result = StsAnswer;
}

impl StsPolicyFor {
    /// Asks, and takes a lost answer for what it is: a fault of our own, and never the word that there is no policy.
    pub async fn ask(self, cache: &Recipient<StsPolicyFor>, limit: Duration) -> StsAnswer {
        let lost = |why: String| StsAnswer::Unavailable(Unavailable::Ours(why));
        match tokio::time::timeout(limit, cache.send(self)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => lost(format!("the cache did not answer: {e}")),
            Err(_) => lost("the cache did not answer in time".to_string()),
        }
    }
}

/// Delivery task -> StsCache: an exchanger violated the policy. Before the next answer the name servers are asked whether there is a
/// newer one (RFC 8461 §5.1). Losing it costs some minutes.
#[derive(Clone, Debug)]
pub struct StsViolated {
    pub domain: Domain,
}

impl Message for StsViolated {
    type Result = ();
}

/// Admin -> StsCache: policies by name, from behind `after`, at most a page of them.
#[derive(Clone, Debug)]
pub struct ShowPolicies {
    pub after: Option<Domain>,
}

impl Message for ShowPolicies {
    type Result = PolicyPage;
}

#[derive(Clone, Debug, Default)]
pub struct PolicyPage {
    pub lines: Vec<StsLine>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Domain>,
}

/// Admin -> StsCache: one policy, or why there is none.
#[derive(Clone, Debug)]
pub struct ShowPolicy {
    pub domain: Domain,
}

impl Message for ShowPolicy {
    type Result = Result<Box<StsView>, String>;
}

/// Admin -> StsCache: fetch it now. It is fetched also when nobody waits for the answer.
#[derive(Clone, Debug)]
pub struct RefreshPolicy {
    pub domain: Domain,
}

impl Message for RefreshPolicy {
    type Result = Result<Box<StsView>, String>;
}

/// Admin -> StsCache: act as if it had never been fetched. `false`: it had not.
#[derive(Clone, Debug)]
pub struct ForgetPolicy {
    pub domain: Domain,
}

impl Message for ForgetPolicy {
    type Result = bool;
}
