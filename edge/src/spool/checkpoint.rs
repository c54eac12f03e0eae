//! Brings what is durable in the segments into the database, so that a start has little to read again and segments may go.
//!
//! A thread of its own, one checkpoint at a time: the layer of changes is written and synced, then `tip` says up to where the
//! segments are in the database now. A crash in between leaves the old tip, and the same changes are made again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use super::database::Database;
use super::draft::Writes;
use super::store::{Layer, Store};
use crate::fault;

/// What is to be written.
pub struct Order {
    pub layer: Arc<Layer>,
    /// The tip, and what else is said of the spool.
    pub facts: Writes,
    /// The segment the tip is in: earlier ones are not read again.
    pub segment: u64,
}

#[derive(Debug)]
pub struct Checkpointer {
    orders: Option<Sender<Order>>,
    ends: Receiver<Result<u64, String>>,
    thread: Option<JoinHandle<()>>,
    running: bool,
}

impl Checkpointer {
    pub fn start(database: Arc<Database>, store: Arc<Store>) -> std::io::Result<Checkpointer> {
        let (orders, to_do) = channel::<Order>();
        let (sender, ends) = channel();
        let thread =
            std::thread::Builder::new().name("spool-checkpoint".into()).spawn(move || {
                while let Ok(order) = to_do.recv() {
                    let end = write(&database, &store, &order);
                    if sender.send(end).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Checkpointer { orders: Some(orders), ends, thread: Some(thread), running: false })
    }

    pub fn is_running(&self) -> bool {
        self.running
    }

    pub fn begin(&mut self, order: Order) {
        // Without the thread the answer is an error, below.
        let sent = self.orders.as_ref().map(|orders| orders.send(order));
        self.running = sent.is_some();
    }

    /// The segment of a checkpoint that was completed since the last question.
    pub fn ended(&mut self) -> Option<Result<u64, String>> {
        if !self.running {
            return None;
        }
        let end = match self.ends.try_recv() {
            Ok(end) => end,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(GONE.to_string()),
        };
        self.running = false;
        Some(end)
    }

    /// Waits for the end of a checkpoint that runs.
    pub fn wait(&mut self) -> Option<Result<u64, String>> {
        if !self.running {
            return None;
        }
        self.running = false;
        Some(self.ends.recv().unwrap_or_else(|_| Err(GONE.to_string())))
    }
}

const GONE: &str = "the thread of checkpoints has ended";

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic shows as a missing answer.
            let _ = thread.join();
        }
    }
}

fn write(database: &Database, store: &Store, order: &Order) -> Result<u64, String> {
    if !order.layer.is_empty() {
        database.write(&order.layer)?;
        fault::reached("checkpoint", "written");
        // The tip must not be there before what it speaks of.
        database.sync()?;
    }
    fault::reached("checkpoint", "synced");
    database.write_meta(&order.facts)?;
    fault::reached("checkpoint", "tipped");
    database.sync()?;
    fault::reached("checkpoint", "done");
    store.let_go();
    Ok(order.segment)
}
