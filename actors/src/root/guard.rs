//! Polls a child inside `catch_unwind` and restarts it in place.
//!
//! actix's own supervisor comes back after `stop()`, not after a panic. Here the context future itself survives: after a panic it is
//! told to restart, so the address stays good and the messages in the mailbox wait and are answered; only the message in hand is lost.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Poll, ready};

use actix::dev::ContextFut;
use actix::{Actor, Addr, Context, Recipient, Supervised};

use posthaste_edge::clock::Clock;
use posthaste_mail::time::Timestamp;

use crate::messages::lifecycle::{ChildFault, ChildResumed, ChildStopped, ChildSuspended};
use crate::root::intensity::{Decision, Intensity};
use crate::task::panic_text;

#[cfg(panic = "abort")]
compile_error!("supervision needs panic = \"unwind\"");

/// Whom a guard tells.
#[derive(Clone)]
pub struct Reports {
    pub fault: Recipient<ChildFault>,
    pub suspended: Recipient<ChildSuspended>,
    pub resumed: Recipient<ChildResumed>,
    pub stopped: Recipient<ChildStopped>,
}

/// A child that is not started yet: its address is good already, so that others can be introduced to it.
pub struct Unborn<A: Actor<Context = Context<A>>> {
    context: Context<A>,
    address: Addr<A>,
}

impl<A: Actor<Context = Context<A>>> Unborn<A> {
    pub fn conceive() -> Unborn<A> {
        // The capacity bounds nothing (messages always queue); work is bounded by permits.
        let (sender, receiver) = actix::dev::channel::channel(64);
        Unborn { context: Context::with_receiver(receiver), address: Addr::new(sender) }
    }

    pub fn address(&self) -> Addr<A> {
        self.address.clone()
    }

    /// The life of an actor that is not restarted: root.
    pub fn into_future(self, actor: A) -> impl Future<Output = ()> {
        let life = self.context.into_future(actor);
        let address = self.address;
        async move {
            life.await;
            drop(address);
        }
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Unborn<A> {
    /// Starts the child under guard on this thread's arbiter.
    pub fn start(
        self,
        child: usize,
        actor: A,
        intensity: Intensity,
        reports: Reports,
        clock: Clock,
    ) {
        let guard = Guard {
            actor: Box::pin(self.context.into_future(actor)),
            child,
            intensity,
            reports,
            clock,
            falls: Vec::new(),
            generation: 0,
            nap: None,
        };
        // The address is held as long as the guard lives, so that the mailbox outlives all other holders.
        let address = self.address;
        actix_rt::spawn(async move {
            guard.await;
            drop(address);
        });
    }
}

struct Nap {
    sleep: Pin<Box<tokio::time::Sleep>>,
    suspended: bool,
}

struct Guard<A: Actor<Context = Context<A>> + Supervised> {
    actor: Pin<Box<ContextFut<A, Context<A>>>>,
    child: usize,
    intensity: Intensity,
    reports: Reports,
    clock: Clock,
    falls: Vec<Timestamp>,
    generation: u64,
    nap: Option<Nap>,
}

impl<A: Actor<Context = Context<A>> + Supervised> Future for Guard<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let guard = &mut *self;
        loop {
            let wake = match guard.nap.as_mut() {
                None => false,
                Some(nap) => {
                    ready!(nap.sleep.as_mut().poll(cx));
                    if nap.suspended {
                        guard.reports.resumed.do_send(ChildResumed { child: guard.child });
                    }
                    guard.nap = None;
                    true
                }
            };
            let actor = &mut guard.actor;
            let step = catch_unwind(AssertUnwindSafe(|| {
                if wake && !actor.as_mut().get_mut().restart() {
                    return Poll::Ready(()); // nobody holds an address any more
                }
                actor.as_mut().poll(cx)
            }));
            match step {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {
                    guard.reports.stopped.do_send(ChildStopped { child: guard.child });
                    return Poll::Ready(());
                }
                Err(panic) => {
                    if guard.fell(panic_text(&*panic)).is_none() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Guard<A> {
    /// Notes a fall; `None` when the child does not come back.
    fn fell(&mut self, cause: String) -> Option<()> {
        let now = self.clock.now();
        self.generation += 1;
        let (pause, suspended) = match self.intensity.decide(&mut self.falls, now) {
            Decision::Restart(pause) => {
                let generation = self.generation;
                self.reports.fault.do_send(ChildFault {
                    child: self.child,
                    cause,
                    pause,
                    generation,
                });
                (pause, false)
            }
            Decision::Suspend(rest) => {
                let until = Some(now.plus(rest));
                self.reports.suspended.do_send(ChildSuspended { child: self.child, cause, until });
                (rest, true)
            }
            Decision::EndProcess => {
                let until = None;
                self.reports.suspended.do_send(ChildSuspended { child: self.child, cause, until });
                return None;
            }
        };
        self.nap = Some(Nap { sleep: Box::pin(tokio::time::sleep(pause)), suspended });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{Handler, Message, System};

    use super::*;

    struct Child {
        restarts: Arc<AtomicUsize>,
        state: u32,
    }

    impl Actor for Child {
        type Context = Context<Self>;
    }

    impl Supervised for Child {
        fn restarting(&mut self, _: &mut Context<Self>) {
            self.state = 0;
            self.restarts.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Count;
    impl Message for Count {
        type Result = u32;
    }
    impl Handler<Count> for Child {
        type Result = u32;
        fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u32 {
            self.state += 1;
            self.state
        }
    }

    struct Fall;
    impl Message for Fall {
        type Result = ();
    }
    impl Handler<Fall> for Child {
        type Result = ();
        fn handle(&mut self, _: Fall, _: &mut Context<Self>) {
            panic!("as asked");
        }
    }

    #[derive(Default)]
    struct Parent {
        faults: Arc<AtomicUsize>,
        given_up: Arc<AtomicUsize>,
    }
    impl Actor for Parent {
        type Context = Context<Self>;
    }
    impl Handler<ChildFault> for Parent {
        type Result = ();
        fn handle(&mut self, fault: ChildFault, _: &mut Context<Self>) {
            assert_eq!(fault.cause, "as asked");
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl Handler<ChildSuspended> for Parent {
        type Result = ();
        fn handle(&mut self, _: ChildSuspended, _: &mut Context<Self>) {
            self.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl Handler<ChildResumed> for Parent {
        type Result = ();
        fn handle(&mut self, _: ChildResumed, _: &mut Context<Self>) {}
    }
    impl Handler<ChildStopped> for Parent {
        type Result = ();
        fn handle(&mut self, _: ChildStopped, _: &mut Context<Self>) {}
    }

    #[test]
    fn address_survives_restart() {
        System::new().block_on(async {
            let parent = Parent::default();
            let (faults, given_up) = (parent.faults.clone(), parent.given_up.clone());
            let parent = parent.start();
            let reports = Reports {
                fault: parent.clone().recipient(),
                suspended: parent.clone().recipient(),
                resumed: parent.clone().recipient(),
                stopped: parent.recipient(),
            };
            let restarts = Arc::new(AtomicUsize::new(0));
            let unborn = Unborn::<Child>::conceive();
            let child = unborn.address();
            let actor = Child { restarts: restarts.clone(), state: 0 };
            unborn.start(0, actor, Intensity::QUEUE, reports, Clock::system());
            assert_eq!(child.send(Count).await.unwrap(), 1);
            assert_eq!(child.send(Count).await.unwrap(), 2);
            let fallen = child.send(Fall);
            let behind = child.send(Count); // waits in the mailbox through the pause
            assert!(fallen.await.is_err());
            assert_eq!(behind.await.unwrap(), 1); // answered, by an actor with fresh state
            assert_eq!(restarts.load(Ordering::SeqCst), 1);
            for _ in 0..5 {
                assert!(child.send(Fall).await.is_err());
            }
            assert!(child.send(Count).await.is_err()); // the sixth within a minute: given up
            assert_eq!(given_up.load(Ordering::SeqCst), 1);
            assert_eq!(faults.load(Ordering::SeqCst), 5);
        });
    }
}
