//! A remote target with its connection pool, and the resolver as far as its word on signatures counts.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::runtime::Handle;
use tokio::sync::watch;

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
    pub resolver_fault: &'a watch::Receiver<Option<String>>,
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
            resolver_fault: self.resolver_fault.clone(),
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
            broken_tls: Arc::default(),
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

/// How often it is looked whether the resolver still validates,
const EVERY: Duration = Duration::from_secs(60);
/// and whether one that did not does meanwhile: unbound may just be starting.
const AGAIN: Duration = Duration::from_secs(10);

/// Where `dnssec` or `dane` is configured and the resolver's AD bit means nothing, mail goes less securely than somebody hopes, or not at
/// all, and nobody would know why: the log and `status` say so. Looked at from time to time, since servers are set up anew, and
/// `/etc/resolv.conf` may name others. `None`: nothing is wrong, or nobody minds.
pub(super) fn examine_resolver(
    targets: &[Target],
    resolver: &Resolver,
    probes: Probes,
    runtime: &Handle,
    log: &Logger,
) -> watch::Receiver<Option<String>> {
    if want_signatures(targets) == Signed::Unneeded {
        return watch::channel(None).1;
    }
    // Whoever asks before the first answer knows no more than with none: mail that needs signatures is not failed for want of them.
    let unknown = Validation::Unknown("no name was looked up yet".to_string());
    let (wrong, told) = watch::channel(verdict(unknown));
    runtime.spawn(keep_examining(resolver.clone(), probes, log.clone(), wrong, [AGAIN, EVERY]));
    told
}

/// Until nobody wants to know any more. The pauses: while something is wrong, and while nothing is.
async fn keep_examining(
    resolver: Resolver,
    probes: Probes,
    log: Logger,
    wrong: watch::Sender<Option<String>>,
    [again, every]: [Duration; 2],
) {
    let mut first = true;
    loop {
        let now = verdict(resolver.validates(&probes).await);
        let pause = if now.is_some() { again } else { every };
        if std::mem::take(&mut first) || *wrong.borrow() != now {
            match &now {
                None => info!(log, "the resolver validates"),
                Some(text) => warn!(log, "resolver"; "warning" => text),
            }
            wrong.send_replace(now);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wrong.closed() => return,
        }
    }
}

fn verdict(validation: Validation) -> Option<String> {
    let why = match validation {
        Validation::Yes => return None,
        Validation::No(why) => why,
        Validation::Unknown(why) => format!("it could not be found out: {why}"),
    };
    Some(format!(
        "dnssec or dane is configured, and the resolver does not vouch for signatures: {why}"
    ))
}

/// Names whose answers are known beforehand.
pub(super) fn probes(setting: Option<&ResolverProbes>) -> Probes {
    let Some(ResolverProbes { signed, unsigned, bogus }) = setting else {
        return Probes::default();
    };
    let of = |names: &[Domain]| names.iter().filter_map(ResolverProbe::domain).collect();
    Probes { signed: of(signed), unsigned: of(unsigned), bogus: of(bogus) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicBool, Ordering};

    use posthaste_edge::clock::Clock;

    use super::*;

    /// A name server that says yes to everything, and that it is signed as long as it pleases.
    fn server(signs: &Arc<AtomicBool>) -> std::net::SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, signs) = (socket.local_addr().unwrap(), Arc::clone(signs));
        std::thread::spawn(move || {
            let mut message = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut message) {
                // RFC 1035 §4.1.1, RFC 4035 §3.2.3: QR; RA, and AD.
                message[2] |= 0x80;
                message[3] = if signs.load(Ordering::SeqCst) { 0xa0 } else { 0x80 };
                let _ = socket.send_to(&message[..length], from);
            }
        });
        address
    }

    #[tokio::test]
    async fn a_resolver_that_changes_its_mind_is_noticed() {
        let signs = Arc::new(AtomicBool::new(false));
        let resolver = Resolver::new(&[server(&signs)], Clock::system(), Signed::Needed).unwrap();
        let (wrong, mut told) = watch::channel(None);
        let log = Logger::root(slog::Discard, slog::o!());
        let pauses = [Duration::from_millis(20); 2];
        let examining = keep_examining(resolver, Probes::default(), log, wrong, pauses);
        let story = async {
            told.wait_for(Option::is_some).await.unwrap();
            signs.store(true, Ordering::SeqCst);
            told.wait_for(Option::is_none).await.unwrap();
            signs.store(false, Ordering::SeqCst);
            let text = told.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            assert!(text.contains("without AD bit"), "{text}");
            drop(told);
        };
        let both = async { tokio::join!(examining, story) }; // the one ends with the other
        tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    }
}
