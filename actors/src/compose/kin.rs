//! Addresses of all targets, before any of them lives: so everybody can be introduced to everybody.

use std::sync::Arc;

use actix::Recipient;

use posthaste_mail::route::destination::Splitting;

use crate::configuration::{Target, TargetSettings};
use crate::exit::{Door, Through};
use crate::limits::SharedLimits;
use crate::messages::delivery::Deliver;
use crate::root::guard::Unborn;
use crate::servers::SharedServers;
use crate::targets::dummy::DummyActor;
use crate::targets::forward::ForwardActor;
use crate::targets::forward::relay::Server;
use crate::targets::forward::settings::Auth;
use crate::targets::queue::QueueActor;
use crate::targets::queue::notice::Way;
use crate::targets::queue::settings::QueueSettings;
use crate::targets::remote::RemoteDeliveryActor;
use crate::vault::Vault;

/// Addresses of all targets, before any of them lives.
pub(super) struct Kin {
    pub queues: Vec<Option<Unborn<QueueActor>>>,
    pub remotes: Vec<Option<Unborn<RemoteDeliveryActor>>>,
    pub forwarders: Vec<Option<Unborn<ForwardActor>>>,
    pub dummies: Vec<Option<Unborn<DummyActor>>>,
    /// What delivers, by `Exit`.
    pub deliver: Vec<Option<Recipient<Deliver>>>,
    /// How recipients are grouped for it.
    pub splitting: Vec<Splitting>,
    pub names: Vec<String>,
    pub limits: Vec<Option<SharedLimits>>,
    /// Of forwarders.
    pub servers: Vec<Option<Arc<SharedServers>>>,
    pub doors: Vec<Door>,
    pub vault: Arc<Vault>,
}

impl Kin {
    pub fn conceive(targets: &[Target], vault: Vault) -> Kin {
        let mut kin = Kin {
            queues: Vec::new(),
            remotes: Vec::new(),
            forwarders: Vec::new(),
            dummies: Vec::new(),
            deliver: Vec::new(),
            splitting: Vec::new(),
            names: Vec::new(),
            limits: Vec::new(),
            servers: Vec::new(),
            doors: Vec::new(),
            vault: Arc::new(vault),
        };
        for target in targets {
            let (mut queue, mut remote, mut forwarder, mut dummy) = (None, None, None, None);
            let whole = Splitting::Whole(target.name.clone());
            let (deliver, splitting, door): (Option<Recipient<Deliver>>, _, _) = match &target
                .settings
            {
                Some(TargetSettings::Queue(settings)) => {
                    let unborn = Unborn::<QueueActor>::conceive();
                    let address = unborn.address();
                    queue = Some(unborn);
                    let door = Door::Queue {
                        accept: address.clone().recipient(),
                        decide: address.clone().recipient(),
                        vault: forwards_accounts(targets, settings).then(|| Arc::clone(&kin.vault)),
                    };
                    (Some(address.recipient()), whole, door)
                }
                Some(TargetSettings::Remote(_)) => {
                    let unborn = Unborn::<RemoteDeliveryActor>::conceive();
                    let address = unborn.address();
                    remote = Some(unborn);
                    (Some(address.recipient()), Splitting::ByHost, Door::Closed)
                }
                Some(TargetSettings::Forward(settings)) => {
                    let unborn = Unborn::<ForwardActor>::conceive();
                    let address = unborn.address();
                    forwarder = Some(unborn);
                    let door = Door::Through(Through {
                        begin: address.clone().recipient(),
                        spoken: settings.dialect,
                        as_client: settings.auth == Auth::Forward,
                        limits: settings.limits.clone(),
                    });
                    // One message in one session: whoever is named in the configuration has all its recipients.
                    (Some(address.recipient()), whole, door)
                }
                Some(TargetSettings::Dummy) => {
                    let unborn = Unborn::<DummyActor>::conceive();
                    let address = unborn.address();
                    dummy = Some(unborn);
                    (Some(address.recipient()), whole, Door::Dummy)
                }
                None => (None, whole, Door::Closed),
            };
            kin.queues.push(queue);
            kin.remotes.push(remote);
            kin.forwarders.push(forwarder);
            kin.dummies.push(dummy);
            kin.deliver.push(deliver);
            kin.splitting.push(splitting);
            kin.names.push(target.name.clone());
            kin.limits.push(match &target.settings {
                Some(TargetSettings::Remote(settings)) => settings.limits.clone(),
                Some(TargetSettings::Forward(settings)) => settings.limits.clone(),
                Some(TargetSettings::Queue(_) | TargetSettings::Dummy) | None => None,
            });
            kin.servers.push(match &target.settings {
                Some(TargetSettings::Forward(settings)) => {
                    let names = Server::all(&settings.targets).into_iter().map(|s| s.name);
                    Some(Arc::new(SharedServers::new(&target.name, names.collect())))
                }
                Some(
                    TargetSettings::Queue(_) | TargetSettings::Remote(_) | TargetSettings::Dummy,
                )
                | None => None,
            });
            kin.doors.push(door);
        }
        kin
    }

    /// Names of all that delivers.
    pub fn targets(&self) -> Vec<String> {
        let named = self.names.iter().zip(&self.deliver);
        named.filter(|(_, deliver)| deliver.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The targets as a `bounce` pipeline sees them, from the queue at `place`.
    pub fn ways(&self, place: usize) -> Vec<Option<Way>> {
        let way = |i: usize| {
            let deliver = self.deliver.get(i)?.clone()?;
            let splitting = self.splitting.get(i)?.clone();
            let (name, limits) = (self.names.get(i)?.clone(), self.limits.get(i)?.clone());
            let servers = self.servers.get(i)?.clone();
            Some(Way { name, deliver, splitting, limits, servers, own: i == place })
        };
        (0..self.deliver.len()).map(way).collect()
    }
}

/// Does whoever stands behind this queue log in as the client?
fn forwards_accounts(targets: &[Target], queue: &QueueSettings) -> bool {
    match targets.get(queue.target.0).and_then(|target| target.settings.as_ref()) {
        Some(TargetSettings::Forward(forward)) => forward.auth == Auth::Forward,
        Some(TargetSettings::Queue(_) | TargetSettings::Remote(_) | TargetSettings::Dummy)
        | None => false,
    }
}
