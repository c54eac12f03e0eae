//! What an operator is shown of the cache.

use actix::{Context, Handler, MessageResult};

use posthaste_mail::address::Domain;
use posthaste_mail::admin::answer::{StsLine, StsView};
use posthaste_mail::sts::freshness::Entry;
use posthaste_mail::sts::{Standing, StsAnswer};

use super::MtaStsCacheActor;
use crate::messages::policy::{PolicyPage, ShowPolicies, ShowPolicy};

/// Policies of one page,
const PAGE: usize = 500;
/// and the patterns after which it ends all the same: strangers have a thousand of them in one policy, and nobody else is served meanwhile.
const PATTERNS: usize = 2000;

/// A policy, or why there is none.
pub(super) type Shown = Result<Box<StsView>, String>;

impl MtaStsCacheActor {
    fn line(&self, domain: &Domain, entry: &Entry) -> StsLine {
        let refresh = self.state.refreshes.get(domain);
        StsLine {
            cache: self.deps.name.clone(),
            domain: domain.to_string(),
            mode: entry.policy.mode.to_string(),
            mx: entry.policy.mx.iter().map(ToString::to_string).collect(),
            id: entry.id.to_string(),
            fetched: entry.fetched.rfc3339(),
            expires: entry.expires.rfc3339(),
            last_used: entry.last_used.rfc3339(),
            expired: !entry.holds(self.deps.clock.now()),
            refresh: refresh.map(|at| at.rfc3339()),
            last_failure: self.state.failed.get(domain).map(|failed| failed.why.to_string()),
        }
    }

    fn view(&self, domain: &Domain) -> Option<Box<StsView>> {
        let entry = self.state.shelf.get(domain)?;
        let line = self.line(domain, entry);
        Some(Box::new(StsView { line, text: entry.text.clone() }))
    }

    /// What an operator who had it fetched is told.
    pub(super) fn shown(&self, domain: &Domain, answer: &StsAnswer) -> Shown {
        match answer {
            StsAnswer::Policy { standing: Standing::Current, .. } => {
                self.view(domain).ok_or_else(|| format!("the policy of {domain} is forgotten"))
            }
            StsAnswer::Policy { standing: Standing::Outdated(why), .. } => {
                Err(format!("{why}; the policy that is here holds on"))
            }
            StsAnswer::Policy {
                standing: Standing::WithoutRecord(why) | Standing::Unchecked(why),
                ..
            } => Err(format!("{why}; the policy that is here holds on")),
            StsAnswer::Absent(why) => Err(why.to_string()),
            StsAnswer::Unavailable(why) => Err(why.to_string()),
        }
    }
}

impl Handler<ShowPolicies> for MtaStsCacheActor {
    type Result = MessageResult<ShowPolicies>;

    fn handle(&mut self, message: ShowPolicies, _: &mut Context<Self>) -> Self::Result {
        let (mut lines, mut patterns) = (Vec::new(), 0);
        let (mut last, mut next): (Option<&Domain>, Option<Domain>) = (None, None);
        for (domain, entry) in self.state.shelf.iter(message.after.as_ref()) {
            if lines.len() == PAGE || patterns >= PATTERNS {
                next = last.cloned();
                break;
            }
            patterns += entry.policy.mx.len();
            lines.push(self.line(domain, entry));
            last = Some(domain);
        }
        MessageResult(PolicyPage { lines, next })
    }
}

impl Handler<ShowPolicy> for MtaStsCacheActor {
    type Result = Shown;

    fn handle(&mut self, message: ShowPolicy, _: &mut Context<Self>) -> Self::Result {
        let ShowPolicy { domain } = message;
        self.view(&domain).ok_or_else(|| match self.state.failed.get(&domain) {
            Some(failed) if failed.holds(self.deps.clock.now()) => {
                let until = failed.until.rfc3339();
                format!("no policy of {domain}: {}; not tried again before {until}", failed.why)
            }
            Some(failed) => format!("no policy of {domain}: {}", failed.why),
            None => format!("no policy of {domain} in the cache"),
        })
    }
}
