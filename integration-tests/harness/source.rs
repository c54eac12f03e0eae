//! A load of messages over several sessions, with an exact account of which were acknowledged.
//!
//! smtp-source stops at the first broken session and does not say how far it came; this source goes on until every message has been
//! acknowledged, through any number of crashes of the server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::client::Client;
use crate::harness::message::Message;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    pub server: SocketAddr,
    pub from: String,
    /// Recipients are `ID@DOMAIN`, one a message.
    pub domain: String,
    pub messages: usize,
    pub sessions: usize,
    /// Size of the content in bytes.
    pub size: usize,
    /// The whole must be acknowledged by then.
    pub deadline: Duration,
}

/// What has become of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Recipients whose message got its 250.
    pub acknowledged: BTreeSet<String>,
    /// Recipients whose message was sent at least once without any reply to the dot.
    pub in_doubt: BTreeSet<String>,
    /// Sessions that broke.
    pub broken: usize,
}

pub struct Source {
    tally: Arc<Mutex<Tally>>,
    sessions: Vec<JoinHandle<()>>,
}

impl Source {
    pub fn start(load: &Load) -> Source {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let next = Arc::new(AtomicUsize::new(0));
        let end = Instant::now() + load.deadline;
        let sessions = (0..load.sessions)
            .map(|_| {
                let (load, next, tally) = (load.clone(), Arc::clone(&next), Arc::clone(&tally));
                thread::spawn(move || session(&load, &next, &tally, end))
            })
            .collect();
        Source { tally, sessions }
    }

    pub fn acknowledged(&self) -> usize {
        self.tally.lock().unwrap().acknowledged.len()
    }

    /// Waits for the last acknowledgement.
    pub fn finish(self) -> Tally {
        for session in self.sessions {
            session.join().expect("a session of the source");
        }
        self.tally.lock().unwrap().clone()
    }
}

fn session(load: &Load, next: &AtomicUsize, tally: &Mutex<Tally>, end: Instant) {
    let mut client = None;
    while let Some(number) =
        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < load.messages)
    {
        let recipient = format!("m{number}@{}", load.domain);
        let message = Message::plain(&recipient, load.size);
        loop {
            assert!(Instant::now() < end, "{recipient} not acknowledged within the deadline");
            if client.is_none() {
                client = connect(load.server);
            }
            let Some(open) = client.as_mut() else {
                // The server is being started again.
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            match open.transact(&load.from, &[&recipient], message.bytes()) {
                Ok(reply) if reply.code == 250 => {
                    tally.lock().unwrap().acknowledged.insert(recipient);
                    break;
                }
                // Busy: a polite client tries again.
                Ok(reply) if reply.code / 100 == 4 => client = None,
                Ok(reply) => panic!("{recipient} refused: {reply:?}"),
                Err(_) => {
                    let mut tally = tally.lock().unwrap();
                    tally.in_doubt.insert(recipient.clone());
                    tally.broken += 1;
                    client = None;
                }
            }
        }
    }
    if let Some(mut open) = client {
        let _ = open.say("QUIT");
    }
}

fn connect(server: SocketAddr) -> Option<Client> {
    let (mut client, greeting) = Client::connect(server).ok()?;
    let welcome = greeting.code == 220 && client.say("EHLO source.test").ok()?.code == 250;
    welcome.then_some(client)
}
