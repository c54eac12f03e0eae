//! One look at a domain: its record, and its policy if that follows. Runs as a task; what it found goes to the cache.

use std::sync::Arc;
use std::time::Duration;

use posthaste_edge::clock::Clock;
use posthaste_edge::dns::Asking;
use posthaste_mail::address::Domain;
use posthaste_mail::lookup::{Absence, Lookup};
use posthaste_mail::sts::freshness::{
    Counsel, Entry, Failed, Known, Record, consult, hearsay, to_refresh,
};
use posthaste_mail::sts::policy::Policy;
use posthaste_mail::sts::record::RecordId;
use posthaste_mail::sts::response::FetchError;
use posthaste_mail::sts::silence::Hearsay;
use posthaste_mail::sts::{StsAnswer, record_name};

use super::world::World;

/// RFC 8461 §3.3 suggests a minute for a fetch; mail does not wait that long.
const ON_DELIVERY: Duration = Duration::from_secs(30);
const ON_REFRESH: Duration = Duration::from_secs(60);

/// What it is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Delivery,
    /// A policy that is there is fetched anew.
    Refresh,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum End {
    /// The record was enough.
    Said(StsAnswer),
    Fetched {
        id: RecordId,
        text: String,
        policy: Policy,
    },
    NotFetched {
        id: RecordId,
        why: FetchError,
    },
}

pub(super) struct Flight {
    pub world: Arc<dyn World>,
    pub clock: Clock,
    pub domain: Domain,
    pub purpose: Purpose,
    pub asking: Asking,
    pub entry: Option<Arc<Entry>>,
    pub failed: Option<Failed>,
}

impl Flight {
    pub async fn fly(self) -> End {
        let record = self.record().await;
        let refresh = Some(&record).filter(|_| self.purpose == Purpose::Refresh);
        let (id, limit) = match refresh.and_then(to_refresh) {
            Some(id) => (id, ON_REFRESH),
            None => {
                let known =
                    Known { entry: self.entry.as_ref(), seen: None, failed: self.failed.as_ref() };
                match consult(known, &record, self.clock.now()) {
                    Counsel::Say(answer) => return End::Said(answer),
                    Counsel::Fetch(id) => (id, ON_DELIVERY),
                }
            }
        };
        let hearsay = match self.asking {
            Asking::Cached => hearsay(self.failed.as_ref()),
            // Somebody wants to know it for sure: an operator, or mail that is about to fail for the policy that is here.
            Asking::Anew => Hearsay::Ignored,
        };
        let fetched = self.world.policy(self.domain.clone(), limit, hearsay).await;
        match fetched.and_then(read) {
            Ok((text, policy)) => End::Fetched { id, text, policy },
            Err(why) => End::NotFetched { id, why },
        }
    }

    async fn record(&self) -> Record {
        match record_name(&self.domain) {
            Some(name) => self.world.record(name, self.asking).await,
            None => Lookup::absent(Absence::NoSuchName),
        }
    }
}

fn read(text: Vec<u8>) -> Result<(String, Policy), FetchError> {
    let policy = Policy::parse(&text).map_err(FetchError::Policy)?;
    // What was read as a policy is UTF-8.
    Ok((String::from_utf8_lossy(&text).into_owned(), policy))
}
