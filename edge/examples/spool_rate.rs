//! How many messages a second the spool takes and lets go: `cargo run --release -p posthaste-edge --example spool_rate -- DIR`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste_edge::body::Body;
use posthaste_edge::clock::Clock;
use posthaste_edge::spool::{DiskSpool, Options, Spool, SpoolError};
use posthaste_mail::address::{Mailbox, ReversePath};
use posthaste_mail::dice::Dice;
use posthaste_mail::envelope::{Envelope, EnvelopeId, MessageFlags, Origin, Recipient, Route};
use posthaste_mail::outcome::{Outcome, Reach, Receipt};
use posthaste_mail::queue::lease::Boot;
use posthaste_mail::queue::ledger::{Report, Terms};
use posthaste_mail::queue::record::{Accepted, BatchId, JournalEntry};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::route::destination::DestinationKey;

const WRITERS: u64 = 64;
const MESSAGES: u64 = 500;
const LENGTH: usize = 2048;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("spool-rate-{}", std::process::id()));
    let boot = Boot { node: "bench".into(), number: 1 };
    let spool = Arc::new(DiskSpool::open(&directory, Options::default(), boot.clone())?);
    let clock = Clock::system();

    for pass in ["accept", "deliver", "both"] {
        let (started, groups) = (clock.now(), spool.groups());
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let (spool, clock, boot) = (Arc::clone(&spool), clock.clone(), boot.clone());
            writers.push(tokio::spawn(async move {
                for number in 0..MESSAGES {
                    let seed = writer << 32 | number;
                    let id = EnvelopeId::new(started_of(seed), &mut Dice::new(seed));
                    if pass != "deliver" {
                        spool.accept(message(id, &clock)?, body(seed)).await?;
                    }
                    if pass != "accept" {
                        deliver(&spool, id, &clock, &boot).await?;
                    }
                }
                Ok::<(), Failed>(())
            }));
        }
        for writer in writers {
            writer.await??;
        }
        let seconds = clock.now().since(started).as_secs_f64();
        let groups = spool.groups() - groups;
        let all = (WRITERS * MESSAGES) as f64;
        println!("{pass}: {:.0} messages/s, {:.1} a group", all / seconds, all / groups as f64);
    }
    drop(spool);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Ids in the order of arrival, as they come in.
fn started_of(seed: u64) -> posthaste_mail::time::Timestamp {
    let number = seed & 0xffff_ffff;
    posthaste_mail::time::Timestamp::from_secs(1_800_000_000).plus(Duration::from_millis(number))
}

fn message(id: EnvelopeId, clock: &Clock) -> Result<Accepted, Failed> {
    let recipient = Mailbox::parse("recipient@example.org").map_err(|e| e.to_string())?;
    let sender = Mailbox::parse("sender@example.com").map_err(|e| e.to_string())?;
    let envelope = Envelope {
        id,
        from: ReversePath::Mailbox(sender),
        flags: MessageFlags::default(),
        ret: None,
        envid: None,
        origin: Origin::default(),
        arrived: clock.now(),
        size: LENGTH as u64,
        message_id: Some(format!("<{id}@example.com>")),
        route: Route::Target,
    };
    let key = DestinationKey::of_host(&recipient);
    Ok(Accepted {
        envelope,
        batches: vec![(key, vec![Recipient::new(recipient)])],
        undecided: false,
    })
}

fn body(seed: u64) -> Body {
    Body::memory(vec![seed as u8; LENGTH])
}

async fn deliver(
    spool: &DiskSpool,
    id: EnvelopeId,
    clock: &Clock,
    boot: &Boot,
) -> Result<(), Failed> {
    let (batch, now) = (BatchId { envelope: id, index: 0 }, clock.now());
    let span = Duration::from_secs(600);
    let terms = Terms { boot: boot.clone(), serial: 1, now, span };
    let taken = spool.take(batch, terms, Plan::default(), 1).await?;
    let taken = taken.map_err(|not| format!("{not:?}"))?;
    let read = spool.body(id, &taken.envelope.body)?;
    if read.len() != LENGTH as u64 {
        return Err(SpoolError::NotFound.into());
    }
    let outcome = Outcome::Delivered(Receipt {
        code: 250,
        status: None,
        text: "2.0.0 ok, queued as 4Zx9Yz1234".into(),
        remote: None,
        dsn_passed_on: false,
        reach: Reach::Server,
    });
    spool.journal(batch, vec![(0, JournalEntry::DotSent)]).await?;
    spool.journal(batch, vec![(0, JournalEntry::Settled(outcome.clone()))]).await?;
    let report = Report { lease: taken.lease, outcomes: vec![(0, outcome)], fault: None };
    let settled = spool.settle(report, Plan::default(), clock.now(), 1).await?;
    if settled.batch.is_some() { Err("it waits still".into()) } else { Ok(()) }
}
