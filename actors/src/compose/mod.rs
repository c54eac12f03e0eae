//! From settings to running actors: opens what outlives them, starts them in order, and waits for the end.

mod forward;
mod kin;
mod policies;
mod remote;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Recipient, System};
use slog::{Logger, error, info, warn};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use posthaste_config::globals::Resolver as ResolverSetting;
use posthaste_edge::buffer::BufferDir;
use posthaste_edge::clock::Clock;
use posthaste_edge::dns::{Resolver, Signed};
use posthaste_edge::hints::Hints;
use posthaste_edge::machine;
use posthaste_edge::signal::{Signal, Signals};
use posthaste_edge::socket::Listener;
use posthaste_edge::spool::{DiskSpool, Options as SpoolOptions, Spool, SpoolError};
use posthaste_mail::queue::lease::Boot;

use crate::Options;
use crate::admin::{AdminActor, Desk, Identity, QueueDoor, RemoteDoor};
use crate::configuration::{self, Configuration, Target, TargetSettings};
use crate::exit::Door;
use crate::intake::session::Endpoint;
use crate::intake::settings::EndpointSettings;
use crate::intake::{Counters, EndpointActor, MOST_SESSIONS};
use crate::log::Log;
use crate::messages::lifecycle::{Drain, Fatal, PanicNow, Probe, Shutdown};
use crate::messages::pool::ShowPool;
use crate::root::guard::{Reports, Unborn};
use crate::root::intensity::Intensity;
use crate::root::{Child, Family, INTERNAL_ERROR, QueueEars, RootSupervisor, watchdog};
use crate::targets::dummy::DummyActor;
use crate::targets::queue::notice::Ways;
use crate::targets::queue::settings::QueueSettings;
use crate::targets::queue::{Deps as QueueDeps, QueueActor, ReadAgain, patience};
use crate::task::{caught, panic_text};
use crate::trace::Trace;
use crate::vault::Vault;
use crate::wire::Wire;
use kin::Kin;
use policies::Policies;
use remote::RemoteWorld;

/// EX_CONFIG.
const CONFIGURATION_ERROR: i32 = 78;
/// EX_TEMPFAIL: another daemon has the spool.
const TRY_AGAIN: i32 = 75;

/// The daemon, in the foreground; returns its exit code.
pub fn run(options: &Options) -> i32 {
    let read = configuration::read(&options.config, &options.overrides);
    for problem in &read.problems {
        eprintln!("{problem}");
    }
    let Some(configuration) = read.configuration else { return CONFIGURATION_ERROR };
    let warnings = read.problems.iter().map(ToString::to_string).collect();
    let log = match Log::open(&configuration.log) {
        Ok(log) => Arc::new(log),
        Err(e) => {
            eprintln!("posthaste: {e}");
            return CONFIGURATION_ERROR;
        }
    };
    let daemon = log.of("daemon", configuration.log.debug);
    log_panics(&daemon);
    let code = match prepare(configuration, options, warnings, &log, &daemon) {
        Ok(start) => live(start),
        Err(Stop { code, text }) => {
            error!(daemon, "cannot start"; "cause" => &text);
            code
        }
    };
    let _ = std::panic::take_hook(); // the hook holds a logger
    code
}

/// Why the daemon does not start.
struct Stop {
    code: i32,
    text: String,
}

impl Stop {
    fn io(doing: &str, error: &io::Error) -> Stop {
        Stop { code: INTERNAL_ERROR, text: format!("{doing}: {error}") }
    }
}

/// Everything that outlives the actors.
struct Start {
    configuration: Configuration,
    debug_faults: bool,
    warnings: Vec<String>,
    log: Arc<Log>,
    daemon: Logger,
    clock: Clock,
    boot: Boot,
    /// By `Exit`; `None` for targets that are no queues.
    spools: Vec<Option<Arc<DiskSpool>>>,
    buffer: BufferDir,
    hints: Hints,
    /// Of the `mtasts` blocks in use.
    sts: Vec<policies::Opened>,
    own_addresses: Vec<std::net::IpAddr>,
}

/// Opens directories and spools. Blocks, before the runtime is there.
fn prepare(
    configuration: Configuration,
    options: &Options,
    warnings: Vec<String>,
    log: &Arc<Log>,
    daemon: &Logger,
) -> Result<Start, Stop> {
    machine::raise_descriptor_limit();
    let clock = Clock::system();
    let boot = Boot { node: machine::hostname(), number: clock.now().as_micros() };
    let directory = |path: &std::path::Path, mode| {
        machine::make_directory(path, mode)
            .map_err(|e| Stop::io(&format!("making {}", path.display()), &e))
    };
    directory(&configuration.state_dir, 0o700)?;
    directory(&configuration.runtime_dir, 0o750)?;
    let mut spools = Vec::new();
    for target in &configuration.targets {
        let Some(TargetSettings::Queue(queue)) = &target.settings else {
            spools.push(None);
            continue;
        };
        let options = SpoolOptions { clock: clock.clone(), ..SpoolOptions::default() };
        let spool = DiskSpool::open(&queue.location, options, boot.clone()).map_err(|e| Stop {
            code: if matches!(e, SpoolError::Locked(_)) { TRY_AGAIN } else { INTERNAL_ERROR },
            text: format!("opening the spool of queue {}: {e}", target.name),
        })?;
        let counts = spool.counts();
        info!(daemon, "spool open"; "queue" => &target.name,
            "location" => queue.location.display().to_string(),
            "envelopes" => counts.envelopes, "batches" => counts.batches);
        spools.push(Some(Arc::new(spool)));
    }
    let buffer = configuration.state_dir.join("buffer");
    let buffer = BufferDir::open(&buffer)
        .map_err(|e| Stop::io(&format!("opening {}", buffer.display()), &e))?;
    let (hints, wrong) = Hints::open(&configuration.state_dir.join("hints.sled"));
    if let Some(why) = wrong {
        warn!(daemon, "what was known of sites is lost"; "cause" => why);
    }
    let sts = policies::open(&configuration.targets)?;
    let own_addresses = machine::addresses().map_err(|e| Stop::io("reading our addresses", &e))?;
    for warning in configuration.tables.refresh() {
        warn!(daemon, "table"; "warning" => warning);
    }
    Ok(Start {
        configuration,
        debug_faults: options.debug_faults,
        warnings,
        log: Arc::clone(log),
        daemon: daemon.clone(),
        clock,
        boot,
        spools,
        buffer,
        hints,
        sts,
        own_addresses,
    })
}

/// Panics of any thread go into the log; what happens next is the guards' affair.
fn log_panics(daemon: &Logger) {
    let log = daemon.clone();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_string();
        error!(log, "panic"; "text" => panic_text(info.payload()), "at" => place, "thread" => thread);
    }));
}

/// Starts the system, and comes back when it ends.
fn live(start: Start) -> i32 {
    let daemon = start.daemon.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => Arc::new(runtime),
        Err(e) => {
            error!(daemon, "cannot start"; "cause" => %e);
            return INTERNAL_ERROR;
        }
    };
    let spools: Vec<Arc<DiskSpool>> = start.spools.iter().flatten().cloned().collect();
    let system = {
        let runtime = Arc::clone(&runtime);
        System::with_tokio_rt(move || runtime)
    };
    let handle = runtime.handle().clone();
    let begun = system.block_on(async move { begin(start, handle).await });
    let code = match begun {
        Ok(()) => system.run_with_code().unwrap_or(INTERNAL_ERROR),
        Err(Stop { code, text }) => {
            error!(daemon, "cannot start"; "cause" => &text);
            code
        }
    };
    // Tasks that still run hold the spools: they get a moment to let go, then the process ends and the next start finds their leases.
    if let Ok(runtime) = Arc::try_unwrap(runtime) {
        runtime.shutdown_timeout(Duration::from_secs(2));
    }
    drop(spools);
    code
}

/// A child before its start: its place in root's table, and how to start it.
struct Births {
    reports: Reports,
    clock: Clock,
    children: Vec<Child>,
    starts: Vec<Box<dyn FnOnce()>>,
    /// Whom the operator's desk asks about idle sessions.
    pools: Vec<Recipient<ShowPool>>,
    /// And whom it sends to look at a destination.
    remotes: Vec<RemoteDoor>,
}

impl Births {
    fn add<A>(
        &mut self,
        name: &str,
        kind: &'static str,
        unborn: Unborn<A>,
        actor: A,
        how: Intensity,
    ) where
        A: actix::Actor<Context = actix::Context<A>>
            + actix::Supervised
            + actix::Handler<Drain>
            + actix::Handler<Probe>
            + actix::Handler<PanicNow>,
    {
        let address = unborn.address();
        self.children.push(Child {
            name: name.to_string(),
            kind,
            drain: address.clone().recipient(),
            probe: address.clone().recipient(),
            panic: address.recipient(),
        });
        let child = self.children.len() - 1;
        let (reports, clock) = (self.reports.clone(), self.clock.clone());
        self.starts.push(Box::new(move || unborn.start(child, actor, how, reports, clock)));
    }
}

/// Introduces everybody to everybody, then starts them: pools, targets, queues, endpoints, the operator's desk.
async fn begin(start: Start, runtime: Handle) -> Result<(), Stop> {
    let Start { configuration, clock, log, daemon, .. } = &start;
    // What can fail fails before the first actor is there: they do not survive outside of a running system.
    for settings in &configuration.endpoints {
        for address in &settings.listen {
            can_listen(crate::intake::open(address), &address.to_string())?;
        }
    }
    can_listen(Listener::unix(&configuration.admin_socket, 0o660), "the operator socket")?;
    let resolver = resolver(
        &configuration.resolver,
        clock,
        policies::want_signatures(&configuration.targets),
    )?;
    let mut signals = Signals::new().map_err(|e| Stop::io("listening for signals", &e))?;
    let pulse = watchdog::Pulse::default();
    let root = Unborn::<RootSupervisor>::conceive();
    let root_address = root.address();
    let supervisor = RootSupervisor::new(daemon.clone(), clock.clone(), pulse.clone());
    let root_life = root.into_future(supervisor);
    let root_log = daemon.clone();
    actix_rt::spawn(async move {
        if let Err(panic) = caught(root_life).await {
            error!(root_log, "root panicked, the process ends"; "cause" => panic);
            System::current().stop_with_code(INTERNAL_ERROR);
        }
    });
    let fatal: Recipient<Fatal> = root_address.clone().recipient();
    let mut births = Births {
        reports: Reports {
            fault: root_address.clone().recipient(),
            suspended: root_address.clone().recipient(),
            resumed: root_address.clone().recipient(),
            stopped: root_address.clone().recipient(),
        },
        clock: clock.clone(),
        children: Vec::new(),
        starts: Vec::new(),
        pools: Vec::new(),
        remotes: Vec::new(),
    };
    for (server, trusted) in resolver.servers() {
        info!(daemon, "resolver"; "server" => server.to_string(), "ad_bit_counts" => trusted);
    }
    let trace = Arc::new(Trace::new(clock.clone()));
    let wire = Arc::new(Wire::new(clock.clone()));

    let policies = Policies::add(&mut births, &start, &runtime, &resolver);
    let probes = remote::probes(configuration.resolver_probes.as_ref());
    let resolver_wrong =
        remote::examine_resolver(&configuration.targets, &resolver, probes, &runtime, daemon);
    let vault = Vault::new(clock.clone()).map_err(|e| Stop::io("making a key", &e))?;
    let mut kin = Kin::conceive(&configuration.targets, vault);
    for (place, target) in configuration.targets.iter().enumerate() {
        let (start, runtime) = (&start, &runtime);
        let (resolver, resolver_fault) = (&resolver, &resolver_wrong);
        let (wire, policies) = (&wire, &policies);
        let world = RemoteWorld { start, runtime, resolver, resolver_fault, wire, policies };
        match &target.settings {
            Some(TargetSettings::Remote(settings)) => {
                world.add(&mut births, &mut kin, place, &target.name, settings);
            }
            Some(TargetSettings::Forward(settings)) => {
                world.add_forwarder(&mut births, &mut kin, place, &target.name, settings);
            }
            Some(TargetSettings::Dummy) => {
                if let Some(unborn) = kin.dummies.get_mut(place).and_then(Option::take) {
                    let actor = DummyActor::default();
                    births.add(&target.name, "dummy", unborn, actor, Intensity::TARGET);
                }
            }
            Some(TargetSettings::Queue(_)) | None => {}
        }
    }
    let (mut ears, mut queue_doors) = (Vec::new(), Vec::new());
    for (place, target) in configuration.targets.iter().enumerate() {
        let Some(TargetSettings::Queue(settings)) = &target.settings else { continue };
        let Some(unborn) = kin.queues.get_mut(place).and_then(Option::take) else { continue };
        let address = unborn.address();
        let queue_address = address.clone();
        ears.push(QueueEars {
            suspended: address.clone().recipient(),
            resumed: address.clone().recipient(),
        });
        queue_doors.push(QueueDoor {
            name: target.name.clone(),
            show: address.clone().recipient(),
            list: address.clone().recipient(),
            message: address.clone().recipient(),
            act: address.clone().recipient(),
            explain: address.clone().recipient(),
            destination: address.clone().recipient(),
            accept: address.recipient(),
        });
        let deps = queue_deps(&start, &runtime, &trace, &fatal, &kin, place, target, settings)?;
        let again: Recipient<ReadAgain> = queue_address.recipient();
        watch_spool(&deps, &runtime, again);
        births.add(&target.name, "target.queue", unborn, QueueActor::new(deps), Intensity::QUEUE);
    }
    let doors = Arc::new(kin.doors.clone());
    for settings in &configuration.endpoints {
        endpoint(&mut births, &start, &runtime, &doors, settings);
    }
    let desk = Desk {
        identity: Identity {
            version: env!("CARGO_PKG_VERSION").to_string(),
            hostname: configuration.hostname.clone(),
            state_dir: configuration.state_dir.display().to_string(),
            started: clock.now(),
            wrong: start.warnings.clone(),
        },
        log: log.of("admin", configuration.log.debug),
        clock: clock.clone(),
        trace,
        wire,
        switches: log.switches.clone(),
        queues: queue_doors,
        remotes: std::mem::take(&mut births.remotes),
        pools: std::mem::take(&mut births.pools),
        caches: policies.into_doors(),
        resolver: resolver_wrong,
        targets: kin.targets(),
        servers: kin.servers.iter().flatten().cloned().collect(),
        actors: root_address.clone().recipient(),
        panic: root_address.clone().recipient(),
        shutdown: root_address.clone().recipient(),
        buffer: start.buffer.clone(),
        debug_faults: start.debug_faults,
        requests: std::sync::atomic::AtomicU64::new(0),
    };
    let admin = AdminActor::new(crate::admin::Deps {
        path: configuration.admin_socket.clone(),
        listening: None,
        runtime: runtime.clone(),
        desk: Arc::new(desk),
    });
    births.add("admin", "admin", Unborn::conceive(), admin, Intensity::SERVICE);

    let family = Family { children: births.children, queues: ears };
    if root_address.send(family).await.is_err() {
        return Err(Stop { code: INTERNAL_ERROR, text: "root does not answer".to_string() });
    }
    births.starts.into_iter().for_each(|start| start());
    watchdog::watch(pulse);
    refresh_tables(&start, &runtime);
    sweep(&kin.vault, &runtime);
    info!(daemon, "started"; "version" => env!("CARGO_PKG_VERSION"), "pid" => std::process::id(),
        "hostname" => &configuration.hostname);
    for warning in &start.warnings {
        warn!(daemon, "configuration"; "warning" => warning);
    }

    let shutdown: Recipient<Shutdown> = root_address.recipient();
    let (daemon, log) = (daemon.clone(), Arc::clone(log));
    actix_rt::spawn(async move {
        loop {
            match signals.next().await {
                Signal::Stop => shutdown.do_send(Shutdown { drain: crate::admin::DRAIN }),
                Signal::ReopenLog => match log.reopen() {
                    Ok(()) => info!(daemon, "log files opened anew"),
                    Err(e) => error!(daemon, "log files could not be opened anew"; "cause" => %e),
                },
                Signal::Reload => {
                    warn!(daemon, "reload is not supported by this version, restart instead");
                }
            }
        }
    });
    Ok(())
}

/// A daemon that nobody can reach must not look as if it ran.
fn can_listen(opened: io::Result<Listener>, what: &str) -> Result<(), Stop> {
    let refused = |e| Stop { code: TRY_AGAIN, text: format!("listening on {what}: {e}") };
    opened.map(drop).map_err(refused)
}

fn resolver(setting: &ResolverSetting, clock: &Clock, signed: Signed) -> Result<Resolver, Stop> {
    let servers: &[SocketAddr] = match setting {
        ResolverSetting::System => &[],
        ResolverSetting::Servers(servers) => servers,
    };
    let made = if servers.is_empty() {
        Resolver::system(clock.clone(), signed)
    } else {
        Resolver::new(servers, clock.clone(), signed)
    };
    made.map_err(|e| Stop { code: INTERNAL_ERROR, text: e.to_string() })
}

#[allow(clippy::too_many_arguments)] // each is somebody the queue has to know
fn queue_deps(
    start: &Start,
    runtime: &Handle,
    trace: &Arc<Trace>,
    fatal: &Recipient<Fatal>,
    kin: &Kin,
    place: usize,
    target: &Target,
    settings: &QueueSettings,
) -> Result<QueueDeps, Stop> {
    let missing = |what: &str| Stop {
        code: INTERNAL_ERROR,
        text: format!("queue {} has no {what}", target.name),
    };
    let spool = start.spools.get(place).cloned().flatten().ok_or_else(|| missing("spool"))?;
    let out = settings.target.0;
    let deliver = kin.deliver.get(out).cloned().flatten().ok_or_else(|| missing("target"))?;
    let splitting = kin.splitting.get(out).cloned().ok_or_else(|| missing("target"))?;
    let mut ways = kin.ways(place);
    // Notifications that come back to this queue go where its mail goes.
    if let Some(Some(own)) = ways.get_mut(place) {
        own.splitting = splitting.clone();
    }
    let exits = ways.iter().flatten().cloned().collect();
    let bounce = settings.bounce.clone().map(|bounce| Arc::new(Ways { bounce, ways }));
    Ok(QueueDeps {
        name: target.name.clone(),
        log: start.log.of(&target.name, settings.debug),
        clock: start.clock.clone(),
        runtime: runtime.clone(),
        spool: spool as Arc<dyn Spool>,
        boot: start.boot.clone(),
        target: deliver,
        target_name: kin.names.get(out).cloned().unwrap_or_default(),
        limits: kin.limits.get(out).cloned().flatten(),
        bounce,
        splitting,
        exits,
        plan: settings.plan.clone(),
        max_parallelism: settings.max_parallelism,
        suspended: Arc::default(),
        slots: Arc::new(Semaphore::new(settings.max_parallelism)),
        patience: Arc::new(Semaphore::new(patience(settings.max_parallelism))),
        trace: Arc::clone(trace),
        hints: start.hints.clone(),
        fatal: fatal.clone(),
    })
}

/// A spool that breaks ends the process; the check of bodies against records runs while deliveries have begun.
fn watch_spool(deps: &QueueDeps, runtime: &Handle, again: Recipient<ReadAgain>) {
    let (mut broken, fatal, name) = (deps.spool.broken(), deps.fatal.clone(), deps.name.clone());
    runtime.spawn(async move {
        let reason = match broken.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => return, // closed in peace
        };
        fatal.do_send(Fatal { reason: format!("spool of queue {name}: {reason}") });
    });
    let (spool, log) = (Arc::clone(&deps.spool), deps.log.clone());
    runtime.spawn_blocking(move || match spool.check() {
        Ok(found) => {
            for id in &found.missing {
                error!(log, "message has no body and cannot be delivered"; "id" => %id);
            }
            for id in &found.requeued {
                warn!(log, "message found in the spool and queued again"; "id" => %id);
            }
            if found.requeued.len() + found.restored.len() > 0 || found.unscheduled > 0 {
                again.do_send(ReadAgain);
            }
            info!(log, "spool checked"; "requeued" => found.requeued.len(),
                "restored" => found.restored.len(), "missing" => found.missing.len(),
                "unscheduled" => found.unscheduled, "orphans" => found.orphans,
                "damaged" => found.damaged);
        }
        Err(e) => error!(log, "spool could not be checked"; "cause" => %e),
    });
}

fn endpoint(
    births: &mut Births,
    start: &Start,
    runtime: &Handle,
    doors: &Arc<Vec<Door>>,
    settings: &EndpointSettings,
) {
    let endpoint = Endpoint {
        name: settings.name.clone(),
        log: start.log.of(&settings.name, settings.debug),
        clock: start.clock.clone(),
        protocol: settings.protocol.clone(),
        read_timeout: settings.read_timeout,
        write_timeout: settings.write_timeout,
        demands: settings.demands.clone(),
        defer_sender_reject: settings.defer_sender_reject,
        max_logged_rcpt_errors: settings.max_logged_rcpt_errors,
        tls: settings.tls.clone(),
        auth: settings.auth.clone(),
        limits: settings.limits.clone(),
        pipeline: Arc::clone(&settings.pipeline),
        doors: Arc::clone(doors),
        buffer: start.buffer.clone(),
    };
    let actor = EndpointActor::new(crate::intake::Deps {
        listen: settings.listen.clone(),
        endpoint: Arc::new(endpoint),
        runtime: runtime.clone(),
        sessions: Arc::new(Semaphore::new(MOST_SESSIONS)),
        counters: Arc::new(Counters::default()),
        draining: Arc::new(watch::Sender::new(false)),
        listening: std::collections::HashMap::new(),
    });
    births.add(&settings.name, settings.kind, Unborn::conceive(), actor, Intensity::SERVICE);
}

/// Passwords that nobody has come for don't stay.
fn sweep(vault: &Arc<Vault>, runtime: &Handle) {
    let vault = Arc::clone(vault);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            vault.sweep();
        }
    });
}

/// Table files are looked at again and again.
fn refresh_tables(start: &Start, runtime: &Handle) {
    let (tables, log) = (start.configuration.tables.clone(), start.daemon.clone());
    if tables.is_empty() {
        return;
    }
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(crate::intake::table::files::INTERVAL).await;
            let tables = tables.clone();
            let refreshed = tokio::task::spawn_blocking(move || tables.refresh()).await;
            for warning in refreshed.unwrap_or_default() {
                warn!(log, "table"; "warning" => warning);
            }
        }
    });
}
