//! Between the guards, the root and its children.

use actix::Message;

use posthaste_mail::time::Timestamp;

/// Guard -> Root: a child panicked; it comes back after the pause. Losing it loses a line in the log.
#[derive(Debug)]
pub struct ChildFault {
    pub child: usize,
    pub cause: String,
    pub pause: std::time::Duration,
    pub generation: u64,
}

/// Guard -> Root: too many panics in a short time.
#[derive(Debug)]
pub struct ChildSuspended {
    pub child: usize,
    pub cause: String,
    /// `None`: the child does not come back, the process has to end.
    pub until: Option<Timestamp>,
}

/// Guard -> Root: a suspended child is back.
#[derive(Debug)]
pub struct ChildResumed {
    pub child: usize,
}

/// Guard -> Root: the child stopped of its own accord.
#[derive(Debug)]
pub struct ChildStopped {
    pub child: usize,
}

/// Root -> every child: take no new work, finish what runs. Answered when nothing runs any more.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    pub deadline: Timestamp,
}

/// Root -> every child: how are you?
#[derive(Clone, Copy, Debug)]
pub struct Probe;

/// What a child says of itself: small, for operators and tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Named numbers, in the order of showing.
    pub counters: Vec<(&'static str, u64)>,
}

/// Operator -> an actor, only with `--debug-faults`: panic now.
#[derive(Clone, Copy, Debug)]
pub struct PanicNow;

/// Anyone -> Root: nothing can be promised any more, the process must end with 70.
#[derive(Clone, Debug)]
pub struct Fatal {
    pub reason: String,
}

/// Signals and the operator -> Root: drain and stop. The second one stops at once.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    pub drain: std::time::Duration,
}

/// Root -> queues: a target is not to be given work, until resumed.
#[derive(Clone, Debug)]
pub struct TargetSuspended {
    pub target: String,
}

/// Root -> queues: the target is back.
#[derive(Clone, Debug)]
pub struct TargetResumed {
    pub target: String,
}

macro_rules! tells {
    ($($name:ident),*) => { $(impl Message for $name { type Result = (); })* };
}
tells!(
    ChildFault,
    ChildSuspended,
    ChildResumed,
    ChildStopped,
    Drain,
    PanicNow,
    Fatal,
    Shutdown,
    TargetSuspended,
    TargetResumed
);

impl Message for Probe {
    type Result = Option<Pulse>;
}
