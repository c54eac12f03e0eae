//! For tests: a root that hears of everything and does nothing about it.

use actix::{Actor, Context, Handler};

use crate::messages::lifecycle::{ChildFault, ChildResumed, ChildStopped, ChildSuspended};
use crate::root::guard::Reports;

struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

macro_rules! ignores {
    ($($message:ident),*) => { $(
        impl Handler<$message> for Parent {
            type Result = ();
            fn handle(&mut self, _: $message, _: &mut Context<Self>) {}
        }
    )* };
}
ignores!(ChildFault, ChildSuspended, ChildResumed, ChildStopped);

/// What a guard needs of its root.
pub fn reports() -> Reports {
    let root = Parent.start();
    Reports {
        fault: root.clone().recipient(),
        suspended: root.clone().recipient(),
        resumed: root.clone().recipient(),
        stopped: root.recipient(),
    }
}
