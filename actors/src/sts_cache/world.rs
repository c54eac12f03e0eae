//! Where records and policies come from.

use std::pin::Pin;
use std::time::Duration;

use posthaste_edge::dns::{Asking, Resolver};
use posthaste_edge::https::PolicyHosts;
use posthaste_mail::address::Domain;
use posthaste_mail::sts::freshness::Record;
use posthaste_mail::sts::response::FetchError;
use posthaste_mail::sts::silence::Hearsay;

pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a cache may ask. A trait, so that a test can answer.
pub trait World: Send + Sync {
    /// The TXT records of this name.
    fn record(&self, name: Domain, asking: Asking) -> Later<Record>;

    /// The text that the domain's policy host has.
    fn policy(
        &self,
        domain: Domain,
        limit: Duration,
        hearsay: Hearsay,
    ) -> Later<Result<Vec<u8>, FetchError>>;
}

/// DNS and HTTPS.
#[derive(Clone)]
pub struct Net {
    pub resolver: Resolver,
    pub hosts: PolicyHosts,
}

impl World for Net {
    fn record(&self, name: Domain, asking: Asking) -> Later<Record> {
        let resolver = self.resolver.clone();
        Box::pin(async move { resolver.txt(&name, asking).await })
    }

    fn policy(
        &self,
        domain: Domain,
        limit: Duration,
        hearsay: Hearsay,
    ) -> Later<Result<Vec<u8>, FetchError>> {
        let hosts = self.hosts.clone();
        Box::pin(async move { hosts.fetch(&domain, limit, hearsay).await })
    }
}
