//! A look at a destination on an operator's behalf: a task that uses what deliveries use, and leaves no trace in what they count.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use slog::{info, warn};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use posthaste_edge::clock::dice;
use posthaste_edge::whereabouts::Whereabouts;
use posthaste_mail::address::Domain;
use posthaste_mail::admin::finding::Finding;
use posthaste_mail::attempt::ports::{Approach, Introduction, ProbePorts, Sessions};
use posthaste_mail::attempt::probe::probe;
use posthaste_mail::envelope::{EnvelopeId, TlsWish};
use posthaste_mail::lookup::Lookup;
use posthaste_mail::outcome::Failure;
use posthaste_mail::policy::requirement::Requirement;
use posthaste_mail::route::addresses::HostAddresses;
use posthaste_mail::route::mx::{Candidate, MxRecord};

use crate::carriage::live::Live;
use crate::messages::admin::Examine;
use crate::targets::remote::Deps;
use crate::targets::remote::caller::Caller;
use crate::task::spawn_reporting;
use crate::wire::Wire;

/// Probes of one target at a time.
pub const MOST: usize = 4;
/// Ten dead addresses take longer; nobody waits for that.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Begins a probe, or says why not.
pub fn begin(deps: &Deps, places: &Arc<Semaphore>, wish: Examine) -> Result<(), String> {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        return Err(format!("{MOST} probes are under way, try again later"));
    };
    let Examine { destination, findings } = wish;
    let log = deps.log.new(slog::o!("probe" => destination.to_string()));
    let (network, clock) = (Arc::clone(&deps.network), deps.clock.clone());
    let caller = Caller {
        // Of its own, and nobody reads them.
        counters: Arc::default(),
        // And finds out for itself how TLS is today.
        broken_tls: Arc::default(),
        whereabouts: Whereabouts::default(),
        wire: Arc::new(Wire::new(clock.clone())),
        destination: destination.to_string(),
        wish: TlsWish::Unsaid,
        attempt: 1,
        sts: OnceCell::new(),
        id: EnvelopeId::new(clock.now(), &mut dice()),
        log: log.clone(),
        network,
        clock,
    };
    let mut ports = Glance { caller };
    let rules = Arc::clone(&deps.rules);
    let told = findings.clone();
    let work = async move {
        let mut dice = dice();
        // Whoever does not listen any more is noticed below.
        let mut tell = |finding| drop(told.send(finding));
        let look = probe(&destination, &rules, &mut ports, &mut dice, &mut tell);
        tokio::select! {
            end = tokio::time::timeout(LONGEST, look) => match end {
                Ok(()) => End::Whole,
                Err(_) => End::TooLong,
            },
            () = told.closed() => End::Unheard,
        }
    };
    spawn_reporting(&deps.runtime, work, move |end| close(&log, end, &findings, place));
    Ok(())
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    TooLong,
    /// The operator has gone.
    Unheard,
}

fn close(
    log: &slog::Logger,
    end: Result<End, String>,
    findings: &UnboundedSender<Finding>,
    _place: OwnedSemaphorePermit,
) {
    let why = match end {
        Ok(End::Whole | End::Unheard) => {
            info!(log, "probe ended"; "end" => ?end);
            return;
        }
        Ok(End::TooLong) => format!("stopped after {} minutes", LONGEST.as_secs() / 60),
        Err(panic) => {
            warn!(log, "probe panicked"; "cause" => &panic);
            format!("internal fault: {panic}")
        }
    };
    // Nobody may be there to hear it.
    let _ = findings.send(Finding::Stopped { why });
}

/// The world as a probe sees it.
struct Glance {
    caller: Caller,
}

impl Sessions for Glance {
    type Session = Live;
}

impl Approach for Glance {
    async fn mx(&mut self, domain: &Domain) -> Lookup<Vec<MxRecord>> {
        let caller = &self.caller;
        tokio::join!(caller.network.mx(domain), caller.sts(domain)).0
    }

    async fn addresses(&mut self, host: &Domain) -> Lookup<HostAddresses> {
        self.caller.network.addresses(host).await
    }

    async fn require(&mut self, candidate: Option<&Candidate>) -> Result<Requirement, Failure> {
        self.caller.require(candidate).await
    }

    async fn connect(
        &mut self,
        candidate: Option<&Candidate>,
        address: IpAddr,
        requirement: &Requirement,
    ) -> Result<Live, Failure> {
        let reached = self.caller.reach(candidate, address, requirement).await;
        let judged = match reached {
            Ok(live) => self.caller.judged(live, requirement),
            Err(none) => Err(none),
        };
        judged.map_err(|none| none.failure)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.caller.network.is_own(address)
    }

    fn rests(&self, address: IpAddr) -> bool {
        self.caller.network.hosts.rests(address)
    }

    fn is_silent(&self, address: IpAddr) -> bool {
        self.caller.network.hosts.silence(address).is_some()
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        self.caller.network.is_usable(address)
    }
}

impl ProbePorts for Glance {
    fn introduction(&self, live: &Live) -> Introduction {
        let capabilities = live.session.capabilities();
        Introduction {
            local: live.session.local_address(),
            greeting: live.session.greeting().to_string(),
            name: capabilities.name.clone(),
            extensions: capabilities.keywords(),
        }
    }

    /// The probe goes on meanwhile: a farewell may be drawn out.
    async fn leave(&mut self, mut live: Live) {
        tokio::spawn(async move { live.session.quit().await });
    }
}
