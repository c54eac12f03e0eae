//! A forwarding target with its connection pool.

use std::sync::Arc;

use posthaste_mail::wire::client::opening::Dialect;

use super::Births;
use super::kin::Kin;
use super::remote::RemoteWorld;
use crate::carriage::unchunked::Unchunked;
use crate::pool::ConnectionPoolActor;
use crate::root::guard::Unborn;
use crate::root::intensity::Intensity;
use crate::targets::forward::ForwardActor;
use crate::targets::forward::relay::{Relay, Server};
use crate::targets::forward::settings::ForwardSettings;

impl RemoteWorld<'_> {
    pub fn add_forwarder(
        &self,
        births: &mut Births,
        kin: &mut Kin,
        place: usize,
        name: &str,
        settings: &ForwardSettings,
    ) {
        let Some(unborn) = kin.forwarders.get_mut(place).and_then(Option::take) else { return };
        let Some(servers) = kin.servers.get(place).cloned().flatten() else { return };
        let log = self.start.log.of(name, settings.debug);
        let clock = &self.start.clock;
        let pool = Unborn::<ConnectionPoolActor>::conceive();
        let relay = Relay {
            target: name.to_string(),
            dialect: settings.dialect,
            servers: Server::all(&settings.targets),
            security: settings.security,
            auth: settings.auth.clone(),
            vault: Arc::clone(&kin.vault),
            our_name: settings.hostname.ascii().to_string(),
            resolver: self.resolver.clone(),
            tls: settings.tls.clone(),
            connect_timeout: settings.sessions.connect_timeout,
            timeouts: settings.sessions.timeouts,
            reuse_limit: settings.sessions.keeping.most_transactions,
            eight_bit: settings.sessions.eight_bit,
            pool_out: pool.address().recipient(),
            pool_in: pool.address().recipient(),
            wire: Arc::clone(self.wire),
            counters: Arc::default(),
            unchunked: Unchunked::default(),
            memory: servers,
        };
        let pool_actor = ConnectionPoolActor::new(crate::pool::Deps::new(
            log.clone(),
            clock.clone(),
            settings.sessions.keeping,
            self.runtime.clone(),
        ));
        births.pools.push(pool.address().recipient());
        births.add(&format!("{name} pool"), "pool", pool, pool_actor, Intensity::SERVICE);
        let actor = ForwardActor::new(crate::targets::forward::Deps {
            log,
            clock: clock.clone(),
            runtime: self.runtime.clone(),
            relay: Arc::new(relay),
        });
        let kind = match settings.dialect {
            Dialect::Smtp => "target.smtp",
            Dialect::Lmtp => "target.lmtp",
        };
        births.add(name, kind, unborn, actor, Intensity::TARGET);
    }
}
