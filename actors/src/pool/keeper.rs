//! Watches over one idle session until somebody wants it, its peer ends it, or its time is over.
//!
//! The session belongs to the task alone. Whoever is to have it gets it from here, so that it cannot be lent twice, or be lent and
//! expire: what comes first decides, and of what comes together, the one who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::messages::pool::Idle;

/// The pool to the task of one session. Losing it, as in a fall of the pool, is an order to part.
#[derive(Debug)]
pub enum Order {
    Lend(oneshot::Sender<Box<Idle>>),
    Part,
}

/// How a watch ended without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed, or said something unasked: a 421, most likely.
    ByPeer,
    Expired,
    /// The task itself failed; the session is closed by being dropped.
    ByFault,
}

/// Counts the sessions that are the pool's to end. It outlives a fall of the pool, as the tasks do.
#[derive(Clone, Debug, Default)]
pub struct Charge(Arc<AtomicU64>);

impl Charge {
    pub fn held(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// One more, for as long as the token lives.
    pub fn take(&self) -> Token {
        self.0.fetch_add(1, Ordering::SeqCst);
        Token(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
pub struct Token(Arc<AtomicU64>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The life of one idle session. `gone` is called when it ends without an order, before the farewell.
pub async fn keep(
    mut idle: Box<Idle>,
    time_left: Duration,
    mut orders: oneshot::Receiver<Order>,
    gone: impl FnOnce(Ended) + Send,
) {
    let ended = tokio::select! {
        biased;
        order = &mut orders => {
            match order {
                Ok(Order::Lend(to)) => lend(idle, to).await,
                Ok(Order::Part) | Err(_) => idle.session.quit().await,
            }
            return;
        }
        () = idle.session.disturbed() => Ended::ByPeer,
        () = tokio::time::sleep(time_left) => Ended::Expired,
    };
    // An order on its way comes too late: letting go of it now tells the borrower at once.
    drop(orders);
    gone(ended);
    match ended {
        // Whoever has gone, or speaks out of turn, gets no QUIT.
        Ended::ByPeer | Ended::ByFault => {}
        Ended::Expired => idle.session.quit().await,
    }
}

async fn lend(idle: Box<Idle>, to: oneshot::Sender<Box<Idle>>) {
    // The order may have come together with the peer's end. Without an answer the borrower asks for another one.
    if !idle.session.is_quiet() {
        return;
    }
    if let Err(mut unwanted) = to.send(idle) {
        unwanted.session.quit().await; // the borrower has given up waiting
    }
}
