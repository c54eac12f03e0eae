//! The caches of MTA-STS, one for each `mtasts` block in use, and what DNS has to be for the policies that are configured.

use std::sync::Arc;

use actix::Recipient;
use tokio::runtime::Handle;

use posthaste_edge::clock::dice;
use posthaste_edge::dns::{Resolver, Signed};
use posthaste_edge::https::{self, PolicyHosts};
use posthaste_edge::sts_store::StsStore;

use super::{Births, Start, Stop};
use crate::admin::StsDoor;
use crate::configuration::{Target, TargetSettings};
use crate::messages::policy::{StsPolicyFor, StsViolated};
use crate::root::guard::Unborn;
use crate::root::intensity::Intensity;
use crate::sts_cache::keeper::Keeper;
use crate::sts_cache::world::Net;
use crate::sts_cache::{Deps, MtaStsCacheActor};
use crate::targets::remote::mx_auth::StsBlock;
use crate::targets::remote::network::StsCache;
use crate::targets::remote::settings::RemoteSettings;

/// A block, and what its policies are kept in.
pub(super) struct Opened {
    block: Arc<StsBlock>,
    store: Arc<dyn StsStore>,
    /// Where among the targets the first one is that uses it: policy hosts are reached as its exchangers are.
    user: usize,
}

/// Makes directories that are missing.
pub(super) fn open(targets: &[Target]) -> Result<Vec<Opened>, Stop> {
    let mut all: Vec<Opened> = Vec::new();
    for (user, settings) in remotes(targets) {
        let Some(block) = &settings.sts else { continue };
        if all.iter().any(|opened| Arc::ptr_eq(&opened.block, block)) {
            continue;
        }
        let doing = format!("opening the MTA-STS cache of {}", block.name);
        let store = block.settings.cache.open().map_err(|e| Stop::io(&doing, &e))?;
        all.push(Opened { block: Arc::clone(block), store, user });
    }
    Ok(all)
}

fn remotes(targets: &[Target]) -> impl Iterator<Item = (usize, &RemoteSettings)> {
    targets.iter().enumerate().filter_map(|(place, target)| match &target.settings {
        Some(TargetSettings::Remote(settings)) => Some((place, &**settings)),
        Some(TargetSettings::Queue(_) | TargetSettings::Forward(_) | TargetSettings::Dummy)
        | None => None,
    })
}

/// Whether anybody's security stands on the AD bit.
pub(super) fn want_signatures(targets: &[Target]) -> Signed {
    let wanted = |settings: &RemoteSettings| settings.policies.dnssec || settings.policies.dane;
    match remotes(targets).any(|(_, settings)| wanted(settings)) {
        true => Signed::Needed,
        false => Signed::Unneeded,
    }
}

/// The caches, before they live.
pub(super) struct Policies {
    caches: Vec<(Arc<StsBlock>, StsCache)>,
    doors: Vec<StsDoor>,
}

impl Policies {
    pub fn add(
        births: &mut Births,
        start: &Start,
        runtime: &Handle,
        resolver: &Resolver,
    ) -> Policies {
        let mut policies = Policies { caches: Vec::new(), doors: Vec::new() };
        for Opened { block, store, user } in &start.sts {
            let target = start.configuration.targets.get(*user);
            let Some(TargetSettings::Remote(settings)) = target.and_then(|t| t.settings.as_ref())
            else {
                continue; // `open` found it there
            };
            let hosts = PolicyHosts::new(https::Settings {
                resolver: resolver.clone(),
                clock: start.clock.clone(),
                tls: settings.tls.web().clone(),
                port: block.settings.https_port,
                local: settings.local,
                families: settings.families,
                allow_loopback: settings.allow_loopback_mx,
                own_addresses: start.own_addresses.clone(),
            });
            let name = format!("{} mtasts", block.name);
            let unborn = Unborn::<MtaStsCacheActor>::conceive();
            let address = unborn.address();
            let actor = MtaStsCacheActor::new(Deps::new(
                &block.name,
                start.log.of(&name, settings.debug),
                (start.clock.clone(), dice()),
                runtime.clone(),
                Arc::new(Net { resolver: resolver.clone(), hosts }),
                Keeper::start(Arc::clone(store), runtime),
            ));
            births.add(&name, "mtasts", unborn, actor, Intensity::SERVICE);
            policies.doors.push(StsDoor {
                name: block.name.clone(),
                list: address.clone().recipient(),
                show: address.clone().recipient(),
                refresh: address.clone().recipient(),
                forget: address.clone().recipient(),
            });
            let policy: Recipient<StsPolicyFor> = address.clone().recipient();
            let violated: Recipient<StsViolated> = address.recipient();
            policies.caches.push((Arc::clone(block), StsCache { policy, violated }));
        }
        policies
    }

    pub fn cache(&self, block: &Arc<StsBlock>) -> Option<StsCache> {
        let found = self.caches.iter().find(|(known, _)| Arc::ptr_eq(known, block));
        found.map(|(_, cache)| cache.clone())
    }

    pub fn into_doors(self) -> Vec<StsDoor> {
        self.doors
    }
}
