//! A remote target with its connection pool, and the resolver as far as its word on signatures counts.

use std::sync::{Arc, OnceLock};

use slog::{Logger, info, warn};
use tokio::runtime::Handle;

use posthaste_config::globals::ResolverProbes;
use posthaste_edge::dns::{Probe as ResolverProbe, Probes, Resolver, Signed, Validation};
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::remote::Rules;

use super::kin::Kin;
use super::policies::{Policies, want_signatures};
use super::{Births, Start};
use crate::admin::RemoteDoor;
use crate::carriage::unchunked::Unchunked;
use crate::configuration::Target;
use crate::pool::ConnectionPoolActor;
use crate::root::guard::Unborn;
use crate::root::intensity::Intensity;
use crate::targets::remote::RemoteDeliveryActor;
use crate::targets::remote::hosts::{self, HostMemory};
use crate::targets::remote::network::Network;
use crate::targets::remote::settings::RemoteSettings;
use crate::wire::Wire;

/// What remote targets share.
pub(super) struct RemoteWorld<'a> {
    pub start: &'a Start,
    pub runtime: &'a Handle,
    pub resolver: &'a Resolver,
    pub wire: &'a Arc<Wire>,
    pub policies: &'a Policies,
}

impl RemoteWorld<'_> {
    pub fn add(
        &self,
        births: &mut Births,
        kin: &mut Kin,
        place: usize,
        name: &str,
        settings: &RemoteSettings,
    ) {
        let Some(unborn) = kin.remotes.get_mut(place).and_then(Option::take) else { return };
        let log = self.start.log.of(name, settings.debug);
        let clock = &self.start.clock;
        let pool = Unborn::<ConnectionPoolActor>::conceive();
        let (hosts, wrong) = HostMemory::recall(name, &self.start.hints, clock);
        if let Some(why) = wrong {
            warn!(log, "not all that was known of hosts could be read"; "cause" => why);
        }
        let hosts = Arc::new(hosts);
        hosts::keep(&hosts, log.clone(), self.runtime);
        let network = Network {
            target: name.to_string(),
            resolver: self.resolver.clone(),
            tls: settings.tls.clone(),
            our_name: settings.hostname.ascii().to_string(),
            port: settings.port,
            local: settings.local,
            families: settings.families,
            allow_loopback: settings.allow_loopback_mx,
            own_addresses: self.start.own_addresses.clone(),
            hosts: Arc::clone(&hosts),
            connect_timeout: settings.connect_timeout,
            reuse_limit: settings.keeping.most_transactions,
            timeouts: settings.timeouts,
            eight_bit: settings.eight_bit,
            unchunked: Unchunked::default(),
            policies: settings.policies,
            sts: settings.sts.as_ref().and_then(|block| self.policies.cache(block)),
            pool_out: pool.address().recipient(),
            pool_in: pool.address().recipient(),
            wire: Arc::clone(self.wire),
            counters: Arc::default(),
        };
        let pool_actor = ConnectionPoolActor::new(crate::pool::Deps::new(
            log.clone(),
            clock.clone(),
            settings.keeping,
            self.runtime.clone(),
        ));
        births.pools.push(pool.address().recipient());
        let pool_name = format!("{name} pool");
        births.add(&pool_name, "pool", pool, pool_actor, Intensity::SERVICE);
        let actor = RemoteDeliveryActor::new(crate::targets::remote::Deps {
            name: name.to_string(),
            log,
            clock: clock.clone(),
            runtime: self.runtime.clone(),
            rules: Arc::new(Rules {
                our_name: settings.hostname.ascii().to_string(),
                allow_address_literal: settings.allow_address_literal,
            }),
            network: Arc::new(network),
        });
        let examine = unborn.address().recipient();
        births.remotes.push(RemoteDoor { name: name.to_string(), examine });
        births.add(name, "target.remote", unborn, actor, Intensity::TARGET);
    }
}

/// Where `dnssec` or `dane` is configured and the resolver's AD bit means nothing, mail goes less securely than somebody hopes, or not at
/// all, and nobody would know why: the log and `status` say so. Found out once, after the start.
pub(super) fn examine_resolver(
    targets: &[Target],
    resolver: &Resolver,
    probes: Probes,
    runtime: &Handle,
    log: &Logger,
) -> Arc<OnceLock<String>> {
    let wrong = Arc::new(OnceLock::new());
    if want_signatures(targets) == Signed::Unneeded {
        return wrong;
    }
    let (resolver, told, log) = (resolver.clone(), Arc::clone(&wrong), log.clone());
    runtime.spawn(async move {
        let why = match resolver.validates(&probes).await {
            Validation::Yes => return info!(log, "the resolver validates"),
            Validation::No(why) => why,
            Validation::Unknown(why) => format!("it could not be found out: {why}"),
        };
        let text = format!(
            "dnssec or dane is configured, and the resolver does not vouch for signatures: {why}"
        );
        warn!(log, "resolver"; "warning" => &text);
        let _ = told.set(text); // it is set here only
    });
    wrong
}

/// Names whose answers are known beforehand.
pub(super) fn probes(setting: Option<&ResolverProbes>) -> Probes {
    let Some(ResolverProbes { signed, unsigned, bogus }) = setting else {
        return Probes::default();
    };
    let of = |names: &[Domain]| names.iter().filter_map(ResolverProbe::domain).collect();
    Probes { signed: of(signed), unsigned: of(unsigned), bogus: of(bogus) }
}
