//! A spool full of deferred messages, made by the spool's own code: accepted, leased, and settled with a temporary failure.
//!
//! It is what a daemon would have on disk after the first attempt at each message; only the attempts themselves are left out, and the
//! clients that sent them. Many changes are handed in at once, so that they share their groups' syncs.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use posthaste_edge::body::Body;
use posthaste_edge::clock::{self, Clock};
use posthaste_edge::spool::{DiskSpool, Options, Spool, Ticket};
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::envelope::{Envelope, EnvelopeId, MessageFlags, Origin, Recipient, Route};
use posthaste_mail::outcome::{Failure, Stage};
use posthaste_mail::queue::lease::Boot;
use posthaste_mail::queue::ledger::{Report, Terms};
use posthaste_mail::queue::record::{Accepted, BatchId};
use posthaste_mail::queue::schedule::{Plan, Scale};
use posthaste_mail::route::destination::DestinationKey;

/// Messages in the committer's hands at a time.
const AT_ONCE: usize = 5000;
/// Deferred messages are due from the first to the second of these from now, evenly.
const SOONEST: Duration = Duration::from_secs(2 * 3600);
const LATEST: Duration = Duration::from_secs(12 * 3600);

/// What goes into the spool.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// Messages to `domains` domains that wait for hours.
    pub deferred: usize,
    pub domains: usize,
    /// Messages to `user@DUE_DOMAIN` whose next attempt is due at once.
    pub due: usize,
    pub due_domain: &'a str,
    /// Octets of the content of each.
    pub length: usize,
}

impl Filling<'_> {
    /// Writes it into the spool in `location`, which is closed again when this returns.
    pub fn write(&self, location: &Path) {
        let boot = Boot { node: "filling".to_owned(), number: 1 };
        let spool = DiskSpool::open(location, Options::default(), boot.clone()).unwrap();
        let mut serial = 0;
        while serial < self.deferred + self.due {
            let end = (serial + AT_ONCE).min(self.deferred + self.due);
            self.write_some(&spool, &boot, serial..end);
            serial = end;
        }
        let counts = spool.counts();
        assert_eq!(counts.envelopes, (self.deferred + self.due) as u64);
        assert_eq!(spool.leases().unwrap(), []);
    }

    fn write_some(&self, spool: &DiskSpool, boot: &Boot, serials: std::ops::Range<usize>) {
        let clock = Clock::system();
        let content = content(self.length);
        let mut dice = clock::dice();
        let ids: Vec<EnvelopeId> =
            serials.clone().map(|_| EnvelopeId::new(clock.now(), &mut dice)).collect();
        let accepted: Vec<Ticket<()>> = serials
            .clone()
            .zip(&ids)
            .map(|(serial, id)| {
                let recipient = Mailbox::parse(&self.recipient(serial)).unwrap();
                let envelope = Envelope {
                    id: *id,
                    from: ReversePath::Mailbox(Mailbox::parse("sender@sender.test").unwrap()),
                    flags: MessageFlags::default(),
                    ret: None,
                    envid: None,
                    origin: Origin::default(),
                    arrived: clock.now(),
                    size: content.len() as u64,
                    message_id: None,
                    route: Route::Target,
                };
                let key = DestinationKey::of_host(&recipient);
                let batches = vec![(key, vec![Recipient::new(recipient)])];
                let message = Accepted { envelope, batches, undecided: false };
                spool.accept(message, Body::memory(content.clone()))
            })
            .collect();
        accepted.into_iter().for_each(|ticket| wait(ticket).unwrap());

        let now = clock.now();
        let taken: Vec<Ticket<_>> = serials
            .clone()
            .zip(&ids)
            .map(|(serial, id)| {
                let terms = Terms {
                    boot: boot.clone(),
                    serial: serial as u64,
                    now,
                    span: Duration::from_secs(600),
                };
                let batch = BatchId { envelope: *id, index: 0 };
                spool.take(batch, terms, self.plan(serial), dice.next_u64())
            })
            .collect();
        let settled: Vec<Ticket<_>> = serials
            .zip(taken)
            .map(|(serial, ticket)| {
                let taken = wait(ticket).unwrap().unwrap();
                let later = Failure::refused(Stage::Rcpt, 450, None, "4.2.1 try again later");
                let outcomes = vec![(taken.recipients[0].0, later.outcome())];
                let report = Report { lease: taken.lease, outcomes, fault: None };
                spool.settle(report, self.plan(serial), now, dice.next_u64())
            })
            .collect();
        for ticket in settled {
            let settlement = wait(ticket).unwrap();
            assert!(settlement.ended.is_empty() && settlement.batch.is_some());
        }
    }

    fn is_due(&self, serial: usize) -> bool {
        serial < self.due
    }

    fn recipient(&self, serial: usize) -> String {
        if self.is_due(serial) {
            format!("user{serial}@{}", self.due_domain)
        } else {
            format!("user{serial}@d{}.deferred.test", serial % self.domains)
        }
    }

    /// One delay for each message spreads the due times; the daemon uses its own plan from the next attempt on.
    fn plan(&self, serial: usize) -> Plan {
        let share = serial as f64 / (self.deferred + self.due) as f64;
        let delay = if self.is_due(serial) {
            Duration::from_millis(1)
        } else {
            SOONEST + (LATEST - SOONEST).mul_f64(share)
        };
        let scale = Scale::parse("1").unwrap();
        Plan { initial: delay, scale, longest: 2 * LATEST, ..Plan::default() }
    }
}

fn content(length: usize) -> Vec<u8> {
    let mut content = b"From: sender@sender.test\r\nSubject: waiting\r\n\r\n".to_vec();
    while content.len() < length {
        content.extend_from_slice(
            b"This line waits with all the others of its kind for better times.\r\n",
        );
    }
    content
}

/// Resolves a ticket on this thread: the committer is a thread of its own and needs no runtime.
fn wait<T>(ticket: Ticket<T>) -> Result<T, posthaste_edge::spool::SpoolError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut ticket = pin!(ticket);
    loop {
        match ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
