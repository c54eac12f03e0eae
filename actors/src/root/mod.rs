//! RootSupervisor: the children, the order of start and stop, and what a fall means for the process.

pub mod guard;
pub mod intensity;
#[cfg(test)]
pub mod parent;
pub mod watchdog;

use std::collections::VecDeque;
use std::time::Duration;

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Recipient, ResponseFuture, System,
};
use slog::{Logger, error, info, warn};

use posthaste_edge::clock::Clock;
use posthaste_mail::admin::answer::ChildLine;
use posthaste_mail::time::Timestamp;

use crate::messages::admin::{PanicChild, ShowActors};
use crate::messages::lifecycle::{
    ChildFault, ChildResumed, ChildStopped, ChildSuspended, Drain, Fatal, PanicNow, Probe, Pulse,
    Shutdown, TargetResumed, TargetSuspended,
};

/// The exit code of an internal error (EX_SOFTWARE): the service manager starts the daemon anew.
pub const INTERNAL_ERROR: i32 = 70;

/// An actor that does not answer within this time is shown as such.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// What root can do with any child.
pub struct Child {
    pub name: String,
    pub kind: &'static str,
    pub drain: Recipient<Drain>,
    pub probe: Recipient<Probe>,
    pub panic: Recipient<PanicNow>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Running,
    Restarting,
    Suspended,
    Stopped,
}

struct Entry {
    child: Child,
    health: Health,
    restarts: u64,
    last_fault: Option<String>,
}

/// Queues want to hear of targets that are suspended.
pub struct QueueEars {
    pub suspended: Recipient<TargetSuspended>,
    pub resumed: Recipient<TargetResumed>,
}

pub struct RootSupervisor {
    log: Logger,
    clock: Clock,
    pulse: watchdog::Pulse,
    children: Vec<Entry>,
    queues: Vec<QueueEars>,
    stopping: bool,
}

/// Composition -> Root: everybody is introduced.
pub struct Family {
    pub children: Vec<Child>,
    pub queues: Vec<QueueEars>,
}

impl actix::Message for Family {
    type Result = ();
}

impl RootSupervisor {
    pub fn new(log: Logger, clock: Clock, pulse: watchdog::Pulse) -> RootSupervisor {
        RootSupervisor {
            log,
            clock,
            pulse,
            children: Vec::new(),
            queues: Vec::new(),
            stopping: false,
        }
    }

    fn entry(&mut self, child: usize) -> Option<&mut Entry> {
        self.children.get_mut(child)
    }

    fn end(&self, code: i32) {
        System::current().stop_with_code(code);
    }
}

impl Actor for RootSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(Duration::from_secs(1), |root, _| root.pulse.beat());
    }
}

impl Handler<Family> for RootSupervisor {
    type Result = ();

    fn handle(&mut self, family: Family, _: &mut Context<Self>) {
        let entry = |child| Entry { child, health: Health::Running, restarts: 0, last_fault: None };
        self.children = family.children.into_iter().map(entry).collect();
        self.queues = family.queues;
    }
}

impl Handler<ChildFault> for RootSupervisor {
    type Result = ();

    fn handle(&mut self, fault: ChildFault, ctx: &mut Context<Self>) {
        let log = self.log.clone();
        let Some(entry) = self.entry(fault.child) else { return };
        entry.health = Health::Restarting;
        entry.restarts += 1;
        entry.last_fault = Some(fault.cause.clone());
        warn!(log, "actor panicked, restarting"; "actor" => &entry.child.name,
            "cause" => &fault.cause, "pause_ms" => fault.pause.as_millis() as u64,
            "restarts" => fault.generation);
        let child = fault.child;
        ctx.run_later(fault.pause, move |root, _| {
            if let Some(entry) = root.entry(child).filter(|e| e.health == Health::Restarting) {
                entry.health = Health::Running;
            }
        });
    }
}

impl Handler<ChildSuspended> for RootSupervisor {
    type Result = ();

    fn handle(&mut self, message: ChildSuspended, _: &mut Context<Self>) {
        let log = self.log.clone();
        let Some(entry) = self.entry(message.child) else { return };
        entry.health = Health::Suspended;
        entry.restarts += 1;
        entry.last_fault = Some(message.cause.clone());
        let name = entry.child.name.clone();
        match message.until {
            None => {
                error!(log, "actor panics again and again, the process ends"; "actor" => &name,
                    "cause" => &message.cause);
                self.end(INTERNAL_ERROR);
            }
            Some(until) => {
                error!(log, "actor panics again and again, suspended"; "actor" => &name,
                    "cause" => &message.cause, "until" => until.rfc3339());
                for queue in &self.queues {
                    queue.suspended.do_send(TargetSuspended { target: name.clone() });
                }
            }
        }
    }
}

impl Handler<ChildResumed> for RootSupervisor {
    type Result = ();

    fn handle(&mut self, message: ChildResumed, _: &mut Context<Self>) {
        let Some(entry) = self.entry(message.child) else { return };
        entry.health = Health::Running;
        let name = entry.child.name.clone();
        info!(self.log, "actor resumed"; "actor" => &name);
        for queue in &self.queues {
            queue.resumed.do_send(TargetResumed { target: name.clone() });
        }
    }
}

impl Handler<ChildStopped> for RootSupervisor {
    type Result = ();

    fn handle(&mut self, message: ChildStopped, _: &mut Context<Self>) {
        if let Some(entry) = self.entry(message.child) {
            entry.health = Health::Stopped;
        }
    }
}

impl Handler<Fatal> for RootSupervisor {
    type Result = ();

    fn handle(&mut self, message: Fatal, _: &mut Context<Self>) {
        error!(self.log, "the process has to end"; "reason" => &message.reason);
        self.end(INTERNAL_ERROR);
    }
}

impl Handler<Shutdown> for RootSupervisor {
    type Result = ();

    /// Endpoints stop taking, queues stop leasing, what runs may finish until the deadline. A second call ends at once.
    fn handle(&mut self, message: Shutdown, ctx: &mut Context<Self>) {
        if self.stopping {
            warn!(self.log, "stopping at once");
            self.end(0);
            return;
        }
        self.stopping = true;
        info!(self.log, "stopping"; "drain_seconds" => message.drain.as_secs());
        let deadline = self.clock.now().plus(message.drain);
        for entry in &self.children {
            entry.child.drain.do_send(Drain { deadline });
        }
        self.wait_for_the_rest(deadline, ctx);
    }
}

impl RootSupervisor {
    /// Looks again and again whether somebody still has something running.
    fn wait_for_the_rest(&self, deadline: Timestamp, ctx: &mut Context<Self>) {
        // Last born first: a queue whose deliveries have ended, then the pool to which they have handed their sessions. The other way
        // round, a session handed over between the two questions would be in neither answer, and its peer get no QUIT.
        let probes: Vec<Recipient<Probe>> =
            self.children.iter().rev().map(|e| e.child.probe.clone()).collect();
        let asking = async move {
            let mut running = 0;
            for probe in probes {
                running += running_in(ask(probe).await);
            }
            running
        };
        let asking = actix::fut::wrap_future::<_, Self>(asking);
        let then = actix::ActorFutureExt::map(asking, move |running, root: &mut Self, ctx| {
            let now = root.clock.now();
            if running == 0 || now >= deadline {
                if running > 0 {
                    warn!(root.log, "stopping with deliveries running"; "count" => running);
                }
                info!(root.log, "stopped");
                root.end(0);
                ctx.stop();
                return;
            }
            ctx.run_later(Duration::from_millis(50), move |root, ctx| {
                root.wait_for_the_rest(deadline, ctx);
            });
        });
        ctx.spawn(then);
    }
}

async fn ask(probe: Recipient<Probe>) -> Option<Pulse> {
    tokio::time::timeout(ANSWER_LIMIT, probe.send(Probe)).await.ok()?.ok()?
}

/// Children with work in hand say so under `running`.
fn running_in(pulse: Option<Pulse>) -> u64 {
    let counters = pulse.map(|p| p.counters).unwrap_or_default();
    counters.iter().find(|(name, _)| *name == "running").map_or(0, |(_, count)| *count)
}

impl Handler<ShowActors> for RootSupervisor {
    type Result = ResponseFuture<Vec<ChildLine>>;

    fn handle(&mut self, _: ShowActors, _: &mut Context<Self>) -> Self::Result {
        let mut lines: VecDeque<(Recipient<Probe>, ChildLine)> = self
            .children
            .iter()
            .map(|entry| {
                let state = match entry.health {
                    Health::Running => "running",
                    Health::Restarting => "restarting",
                    Health::Suspended => "suspended",
                    Health::Stopped => "stopped",
                };
                let line = ChildLine {
                    name: entry.child.name.clone(),
                    kind: entry.child.kind.to_string(),
                    state: state.to_string(),
                    restarts: entry.restarts,
                    last_fault: entry.last_fault.clone(),
                    counters: Vec::new(),
                    answers: false,
                };
                (entry.child.probe.clone(), line)
            })
            .collect();
        Box::pin(async move {
            let mut answered = Vec::with_capacity(lines.len());
            while let Some((probe, mut line)) = lines.pop_front() {
                if let Some(pulse) = ask(probe).await {
                    line.answers = true;
                    line.counters =
                        pulse.counters.into_iter().map(|(n, c)| (n.to_string(), c)).collect();
                }
                answered.push(line);
            }
            answered
        })
    }
}

impl Handler<PanicChild> for RootSupervisor {
    type Result = bool;

    #[allow(clippy::panic)] // what it is for
    fn handle(&mut self, message: PanicChild, _: &mut Context<Self>) -> bool {
        if message.name == "root" {
            panic!("as the operator asked");
        }
        match self.children.iter().find(|e| e.child.name == message.name) {
            None => false,
            Some(entry) => {
                entry.child.panic.do_send(PanicNow);
                true
            }
        }
    }
}
