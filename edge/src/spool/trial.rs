//! What only the spool on disk must do: survive.

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::record::BatchId;
use posthaste_mail::queue::schedule::Plan;

use super::disk::{DiskSpool, Fault, Options};
use super::incoming::{Rows, place_of};
use super::job::Job;
use super::recovery::{Extent, Recovery};
use super::suite::*;
use super::{Counts, Findings, Spool, SpoolError};
use crate::body::Body;
use crate::buffer::BufferDir;
use crate::spool::segment;

fn segments(scratch: &Scratch) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(scratch.path().join("segments")).unwrap();
    let mut found: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.extension().is_none());
    found.sort();
    found
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn nothing() -> Findings {
    Findings::default()
}

/// Waits until what follows the last answer is done: files go after the answer.
async fn settled(spool: &DiskSpool) {
    assert_eq!(retry(spool, batch(9_999_999, 0), NOW).await, Err(SpoolError::NotFound));
}

async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.unwrap();
}

/// Stops the spool as a crash would: what the disk holds is copied away while it is open, and the copy is put in its place.
fn crash(scratch: &Scratch, spool: DiskSpool) {
    let copy = scratch.path().with_extension("copy");
    copy_all(scratch.path(), &copy);
    drop(spool);
    std::fs::remove_dir_all(scratch.path()).unwrap();
    std::fs::rename(&copy, scratch.path()).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_restart_resumes_everything() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=200 {
        accept(&spool, seed, &[1, 2]).await;
    }
    deliver(&spool, batch(7, 0), NOW).await;
    deliver(&spool, batch(8, 0), NOW).await;
    deliver(&spool, batch(8, 1), NOW).await;
    let taken = take(&spool, batch(9, 1), NOW).await;
    let before = spool.counts();
    let loaded = |spool: &DiskSpool| {
        format!("{:?}", (1..=200).map(|s| spool.load(id(s))).collect::<Vec<_>>())
    };
    let all = loaded(&spool);
    drop(spool);
    let spool = open(&scratch);
    assert_eq!(spool.counts(), before);
    assert_eq!(loaded(&spool), all);
    assert_eq!(leases(&spool), [taken.lease]);
    assert_consistent(&spool);
    assert_eq!(spool.check().unwrap(), nothing());
    for seed in (1..=200).filter(|seed| *seed != 8) {
        assert_eq!(content_of(&spool, seed), content(seed, 300 + seed as usize % 100));
    }
    accept(&spool, 300, &[1]).await;
    assert_eq!(content_of(&spool, 300), content(300, 300));
}

#[tokio::test]
async fn a_crash_resumes_everything() {
    let scratch = Scratch::new();
    let mut spool = open(&scratch);
    for round in 0..4 {
        for seed in round * 100..round * 100 + 100 {
            accept(&spool, seed, &[1]).await;
        }
        for seed in round * 100..round * 100 + 90 {
            deliver(&spool, batch(seed, 0), NOW).await;
        }
        crash(&scratch, spool);
        spool = open(&scratch);
        assert_consistent(&spool);
        assert_eq!(spool.counts().envelopes, (round + 1) * 10);
        if round % 2 == 0 {
            assert_eq!(spool.check().unwrap(), nothing());
        }
    }
    assert_eq!(spool.check().unwrap(), nothing());
    for seed in (0..400).filter(|seed| seed % 100 >= 90) {
        assert_eq!(content_of(&spool, seed), content(seed, 300 + seed as usize % 100));
    }
}

#[tokio::test]
async fn only_one_process_at_a_time() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    let second = DiskSpool::open(scratch.path(), options(), boot(2));
    let Err(SpoolError::Locked(who)) = second else { panic!("{second:?}") };
    assert!(who.contains(&std::process::id().to_string()), "{who}");
    drop(spool);
    open(&scratch);
}

#[tokio::test]
async fn a_message_is_refused_below_the_reserve() {
    let scratch = Scratch::new();
    let options = Options { reserve: Some(u64::MAX), ..options() };
    drop({
        let spool = open(&scratch);
        accept(&spool, 1, &[1]).await;
        spool
    });
    let spool = DiskSpool::open(scratch.path(), options, boot(2)).unwrap();
    assert_eq!(spool.accept(message(2, &[1]), body(2)).await, Err(SpoolError::Full));
    // Everything else goes on, and notifications have the reserve.
    let taken = take(&spool, batch(1, 0), NOW).await;
    let notices = Box::new(|_: super::Ending<'_>| vec![(message(3, &[1]), body(3))]);
    let report = report(&taken, vec![(0, hard())]);
    spool.settle_with(report, Plan::default(), NOW, 1, notices).await.unwrap();
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(3)]);
}

#[tokio::test]
async fn a_full_disk_refuses_bodies_and_breaks_nothing() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    accept(&spool, 2, &[1]).await;
    *spool.shared.fault.lock().unwrap() = Some(Fault::Segment(ErrorKind::StorageFull));
    let refused = spool.accept(message(3, &[1]), body(3));
    assert_eq!(refused.await, Err(SpoolError::Full));
    deliver(&spool, batch(1, 0), NOW).await;
    accept(&spool, 3, &[1]).await;
    assert_eq!(content_of(&spool, 3), content(3, 303));
    assert_consistent(&spool);
    drop(spool);
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap(), nothing());
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(2), id(3)]);
}

#[tokio::test]
async fn without_a_segment_nothing_begins_and_nothing_breaks() {
    // EMFILE, ENOSPC, EIO
    for (reason, refusal) in [(24, None), (28, Some(SpoolError::Full)), (5, None)] {
        let scratch = Scratch::new();
        let spool = open(&scratch);
        let large = |seed| Body::memory(content(seed, 40_000));
        spool.accept(message(1, &[1]), large(1)).await.unwrap();
        *spool.shared.fault.lock().unwrap() = Some(Fault::NoSegment(Some(reason)));
        // The open segment has room for one of them, and for changes.
        let end = spool.accept(message(2, &[1]), large(2)).await;
        match &refusal {
            Some(refusal) => assert_eq!(end.as_ref(), Err(refusal)),
            None => assert!(matches!(end, Err(SpoolError::Io(_))), "{end:?}"),
        }
        accept(&spool, 3, &[1]).await;
        deliver(&spool, batch(1, 0), NOW).await;
        // Until that is full as well.
        let mut seed = 10;
        while spool.accept(message(seed, &[1]), body(seed)).await.is_ok() {
            seed += 1;
        }
        let mut takes = 0;
        let last = loop {
            let taken = spool.take(batch(3, 0), terms(1, later(takes)), Plan::default(), 1).await;
            match taken {
                Ok(Ok(taken)) => {
                    let outcomes = vec![(0, soft())];
                    let plan = Plan { initial: Duration::ZERO, ..Plan::default() };
                    let report = report(&taken, outcomes);
                    match spool.settle(report, plan, later(takes), 1).await {
                        Ok(_) => takes += 1,
                        Err(error) => break error,
                    }
                }
                Ok(Err(not)) => panic!("{not:?}"),
                Err(error) => break error,
            }
        };
        assert!(matches!(last, SpoolError::Full | SpoolError::Io(_)), "{last:?}");
        assert_eq!(*spool.broken().borrow(), None);
        assert_consistent(&spool);
        *spool.shared.fault.lock().unwrap() = Some(Fault::NoSegment(None));
        accept(&spool, 5000, &[1]).await;
        deliver(&spool, batch(5000, 0), NOW).await;
        drop(spool);
        let spool = open(&scratch);
        assert_eq!(spool.check().unwrap(), nothing());
        assert_eq!(spool.counts().envelopes, seed - 10 + 1);
    }
}

#[tokio::test]
async fn a_failed_write_ends_it_all() {
    // ENOSPC, EDQUOT: after a sync even these are no full disk, for nobody knows what of the write is there.
    let unsynced = [28, 122].map(Fault::Sync);
    for fault in [Fault::Segment(ErrorKind::Other), Fault::Checkpoint].into_iter().chain(unsynced) {
        let scratch = Scratch::new();
        let spool = open(&scratch);
        accept(&spool, 1, &[1]).await;
        let mut broken = spool.broken();
        assert_eq!(*broken.borrow_and_update(), None);
        *spool.shared.fault.lock().unwrap() = Some(fault);
        // Some may be written before a checkpoint fails.
        let mut seed = 2;
        while spool.accept(message(seed, &[1]), body(seed)).await.is_ok() {
            seed += 1;
            assert!(seed < 1000);
        }
        let refused = spool.accept(message(seed, &[1]), body(seed)).await;
        assert!(matches!(refused, Err(SpoolError::Broken(_))));
        broken.changed().await.unwrap();
        assert!(broken.borrow().is_some());
        let taken = spool.take(batch(1, 0), terms(1, NOW), Plan::default(), 1).await;
        assert!(matches!(taken, Err(SpoolError::Broken(_))));
        // What was acknowledged is there after a restart.
        drop(spool);
        let spool = open(&scratch);
        spool.check().unwrap();
        assert_eq!(content_of(&spool, 1), content(1, 301));
    }
}

#[tokio::test]
async fn a_body_that_missed_the_records_is_brought_back() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    drop(spool);
    // Whole in the segment, and without the changes that end a group.
    append_record(&scratch, 1, &message(2, &[1, 2]), segment::Maker::Client);
    let spool = open(&scratch);
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1)]);
    // What comes and goes before the check is done must not come back.
    accept(&spool, 3, &[1]).await;
    deliver(&spool, batch(3, 0), NOW).await;
    deliver(&spool, batch(1, 0), NOW).await;
    let found = spool.check().unwrap();
    assert_eq!(found, Findings { requeued: vec![id(2)], ..nothing() });
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(2)]);
    assert_eq!(content_of(&spool, 2), content(2, 302));
    assert_eq!(spool.check().unwrap(), nothing());
    assert_consistent(&spool);
    deliver(&spool, batch(2, 0), NOW).await;
    deliver(&spool, batch(2, 1), NOW).await;
    drop(spool);
    // Delivered is final, also for what was brought back.
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap(), nothing());
    assert_eq!(spool.counts(), Counts::default());
}

/// Adds a record behind the end of a closed segment.
fn append_record(
    scratch: &Scratch,
    number: u64,
    accepted: &posthaste_mail::queue::record::Accepted,
    maker: segment::Maker,
) {
    use std::os::unix::fs::FileExt;
    let places = super::place::Places::at(scratch.path());
    let incoming = super::incoming::Incoming::prepare(&places, accepted, body(2), maker).unwrap();
    let path = segment::path(&places.segments(), number);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let offset = file.metadata().unwrap().len();
    let mark = segment::Mark { segment: number, offset };
    let mut bytes = incoming.head.encode(mark).to_vec();
    bytes.extend_from_slice(&incoming.envelope);
    bytes.extend_from_slice(incoming.inline());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    file.write_all_at(&bytes, offset).unwrap();
}

#[tokio::test]
async fn a_notification_without_its_settlement_is_not_brought_back() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    drop(spool);
    append_record(&scratch, 1, &message(2, &[1]), segment::Maker::Settlement);
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap(), nothing());
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1)]);
}

#[tokio::test]
async fn a_torn_tail_is_no_message() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    drop(spool);
    append_record(&scratch, 1, &message(2, &[1]), segment::Maker::Client);
    let path = segments(&scratch).pop().unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 9).unwrap();
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap(), nothing());
    assert_eq!(content_of(&spool, 1), content(1, 301));
    accept(&spool, 3, &[1]).await; // in a new segment
    assert_eq!(segments(&scratch).len(), 2);
}

#[tokio::test]
async fn a_lost_database_is_rebuilt_from_the_bodies() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=300 {
        accept(&spool, seed, &[1]).await;
    }
    let large = Body::memory(content(400, 2_000_000));
    spool.accept(message(400, &[1, 1]), large).await.unwrap();
    for seed in 1..=250 {
        deliver(&spool, batch(seed, 0), NOW).await;
    }
    drop(spool);
    std::fs::remove_dir_all(scratch.path().join("db")).unwrap();
    let spool = open(&scratch);
    assert_eq!(spool.counts(), Counts::default());
    let found = spool.check().unwrap();
    // What was delivered stays so; what waits is back.
    let waiting: Vec<EnvelopeId> = (251..=300).chain([400]).map(id).collect();
    assert_eq!(found, Findings { requeued: waiting.clone(), ..nothing() });
    assert_eq!(spool.envelopes(None, 1000).unwrap(), waiting);
    assert_consistent(&spool);
    for seed in 251..=300 {
        assert_eq!(content_of(&spool, seed), content(seed, 300 + seed as usize % 100));
    }
    assert!(content_of(&spool, 400) == content(400, 2_000_000));
}

/// The process ends between the group that ends an envelope and the word of it beside the segment; the database is lost with the next.
#[tokio::test]
async fn an_end_that_only_the_log_tells_is_an_end() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=3 {
        accept(&spool, seed, &[1]).await;
    }
    drop(spool);
    // In the segment of another life than the message.
    let spool = open(&scratch);
    deliver(&spool, batch(1, 0), NOW).await;
    accept(&spool, 4, &[1]).await;
    deliver(&spool, batch(4, 0), NOW).await;
    settled(&spool).await;
    crash(&scratch, spool);
    let mut untold = 0;
    for entry in std::fs::read_dir(scratch.path().join("segments")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some() {
            std::fs::remove_file(path).unwrap();
            untold += 1;
        }
    }
    assert_eq!(untold, 2);
    crash(&scratch, open(&scratch));
    std::fs::remove_dir_all(scratch.path().join("db")).unwrap();
    let spool = open(&scratch);
    let found = spool.check().unwrap();
    assert_eq!(found, Findings { requeued: vec![id(2), id(3)], ..nothing() });
    assert_consistent(&spool);
}

/// The process ends between the return of a message and the end of the check; the next one delivers it before the check is there again.
#[tokio::test]
async fn what_was_brought_back_and_ended_is_not_brought_back_again() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=2 {
        accept(&spool, seed, &[1]).await;
    }
    drop(spool);
    std::fs::remove_dir_all(scratch.path().join("db")).unwrap();
    let spool = open(&scratch);
    bring_back(&scratch, &spool, id(1));
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1)]);
    crash(&scratch, spool);
    let spool = open(&scratch);
    // As a check finds it whose look beside the segment was too early.
    deliver(&spool, batch(1, 0), NOW).await;
    settled(&spool).await;
    for path in std::fs::read_dir(scratch.path().join("segments")).unwrap() {
        let path = path.unwrap().path();
        if path.extension().is_some() {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(spool.check().unwrap().requeued, [id(2)]);
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(2)]);
    assert_consistent(&spool);
}

/// What the check does with one message.
fn bring_back(scratch: &Scratch, spool: &DiskSpool, wanted: EnvelopeId) {
    let path = segments(scratch).remove(0);
    let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let content = std::fs::read(path).unwrap();
    let records = segment::records(number, &content, 0);
    let found = records.into_iter().find(|found| found.head.id == wanted).unwrap();
    let accepted = serde_json::from_slice(found.envelope).unwrap();
    let rows = Rows::new(&accepted, found.head.body_length).unwrap();
    let mark = segment::Mark { segment: number, offset: found.offset };
    let (place, _) = place_of(&found.head, mark);
    let recovery = Box::new(Recovery { rows, place, mark, extent: Extent::Whole });
    let brought = spool.ask_blocking(|call| Job::Recover { recovery, call });
    assert_eq!(brought.recv().unwrap(), Ok(true));
}

#[tokio::test]
async fn an_import_of_what_is_there_leaves_its_body_alone() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    let large = || Body::memory(content(1, 2_000_000));
    spool.accept(message(1, &[1]), large()).await.unwrap();
    let (archived, _) = spool.archived(id(1)).unwrap().unwrap();
    assert_eq!(spool.import(archived, large()).await, Ok(false));
    settled(&spool).await;
    assert!(content_of(&spool, 1) == content(1, 2_000_000));
    assert_eq!(spool.check().unwrap(), nothing());
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_put_aside() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    drop(spool);
    let database = scratch.path().join("db");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&database).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("snap.") || name == "conf" {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let spool = open(&scratch);
    spool.check().unwrap();
    assert!(scratch.path().join("kept-1").is_dir());
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1)]);
    assert_eq!(content_of(&spool, 1), content(1, 301));
    accept(&spool, 2, &[1]).await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_made_again() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[2]).await;
    let taken = take(&spool, batch(1, 0), NOW).await;
    let outcomes = vec![(0, ok()), (1, soft())];
    spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    drop(spool);
    drop(open(&scratch)); // the snapshot is written when the log is read
    let database = scratch.path().join("db");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&database).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let spool = open(&scratch);
    // The state is whole: the delivered recipient is known to be.
    let stored = spool.load(id(1)).unwrap().unwrap();
    assert!(!stored.recipients[0].2.standing.is_waiting());
    assert_eq!(spool.check().unwrap(), nothing());
    assert!(scratch.path().join("kept-1").is_dir());
}

/// Writes straight into a table of a closed spool.
fn tamper(scratch: &Scratch, tree: &str, key: &[u8], value: Option<&[u8]>) {
    let path = scratch.path().join("db");
    let db = sled::Config::new().path(path).segment_size(8 << 20).open().unwrap();
    let tree = db.open_tree(tree).unwrap();
    match value {
        Some(value) => tree.insert(key, value).unwrap(),
        None => tree.remove(key).unwrap(),
    };
    db.flush().unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_passed_over_and_counted() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=3 {
        accept(&spool, seed, &[2]).await;
    }
    let due = spool.due(None, NOW, 10).unwrap();
    drop(spool);
    tamper(&scratch, "due", &super::table::due_key(NOW, due[1].batch), Some(b"nonsense"));
    tamper(&scratch, "recipient", &super::table::recipient_key(batch(3, 0), 1), Some(b""));
    let spool = open(&scratch);
    assert_eq!(spool.due(None, NOW, 10).unwrap().len(), 2);
    assert_eq!(spool.damaged(), 1);
    assert_eq!(spool.due(None, NOW, 10).unwrap().len(), 2);
    assert_eq!(spool.damaged(), 1);
    assert_eq!(spool.load(id(3)).unwrap().unwrap().recipients.len(), 1);
    let found = spool.check().unwrap();
    assert_eq!(found, Findings { damaged: 2, unscheduled: 1, ..nothing() });
    assert_eq!(spool.due(None, NOW, 10).unwrap().len(), 3);
    // The recipient that cannot be read is not lost with the others' end.
    let taken = take(&spool, batch(3, 0), NOW).await;
    assert_eq!(taken.recipients.len(), 1);
    let outcomes = vec![(0, ok())];
    let settled = spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    assert!(settled.batch.unwrap().hold.is_some());
    assert!(spool.load(id(3)).unwrap().is_some());
    assert_eq!(spool.due(None, later(1 << 30), 10).unwrap().len(), 2);
}

#[tokio::test]
async fn a_damaged_envelope_is_written_again_from_the_segment() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=3 {
        accept(&spool, seed, &[1]).await;
    }
    drop(spool);
    tamper(&scratch, "envelope", &id(2).to_bytes(), Some(b"nonsense"));
    let spool = open(&scratch);
    assert!(matches!(spool.load(id(2)), Err(SpoolError::Damaged(_))));
    let taken = spool.take(batch(2, 0), terms(1, NOW), Plan::default(), 1).await;
    assert!(matches!(taken, Err(SpoolError::Damaged(_))));
    let found = spool.check().unwrap();
    assert_eq!(found, Findings { restored: vec![id(2)], damaged: 1, ..nothing() });
    assert_eq!(content_of(&spool, 2), content(2, 302));
    for seed in 1..=3 {
        deliver(&spool, batch(seed, 0), NOW).await;
    }
    assert_eq!(spool.counts(), Counts::default());
}

#[tokio::test]
async fn forgotten_envelopes_are_noticed() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=3 {
        accept(&spool, seed, &[1]).await;
    }
    deliver(&spool, batch(3, 0), NOW).await;
    drop(spool);
    tamper(&scratch, "envelope", &id(2).to_bytes(), None);
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap().requeued, [id(2)]);
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1), id(2)]);
    assert_consistent(&spool);
}

#[tokio::test]
async fn a_batch_without_schedule_is_mended() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1, 1]).await;
    drop(spool);
    tamper(&scratch, "due", &super::table::due_key(NOW, batch(1, 1)), None);
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap(), Findings { unscheduled: 1, ..nothing() });
    assert_consistent(&spool);
}

#[tokio::test]
async fn a_missing_body_is_reported() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    spool.accept(message(2, &[1]), Body::memory(content(2, 2_000_000))).await.unwrap();
    drop(spool);
    std::fs::remove_file(segments(&scratch).pop().unwrap()).unwrap();
    std::fs::remove_file(scratch.path().join("large").join(id(2).to_string())).unwrap();
    let spool = open(&scratch);
    let found = spool.check().unwrap();
    assert_eq!(found, Findings { missing: vec![id(1), id(2)], ..nothing() });
    for seed in [1, 2] {
        let place = spool.load(id(seed)).unwrap().unwrap().envelope.body;
        assert!(matches!(spool.body(id(seed), &place), Err(SpoolError::Damaged(_))));
    }
}

#[tokio::test]
async fn a_damaged_body_is_not_handed_out() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    accept(&spool, 2, &[1]).await;
    let place = spool.load(id(1)).unwrap().unwrap().envelope.body;
    let other = spool.load(id(2)).unwrap().unwrap().envelope.body;
    assert!(matches!(spool.body(id(1), &other), Err(SpoolError::Damaged(_))));
    let path = segments(&scratch).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let wanted = content(1, 301);
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.body(id(1), &place), Err(SpoolError::Damaged(_))));
    assert_eq!(content_of(&spool, 2), content(2, 302));
}

#[tokio::test]
async fn segments_go_when_nobody_needs_them() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 0..600 {
        accept(&spool, seed, &[1]).await;
    }
    let many = segments(&scratch).len();
    assert!(many > 4, "{many}");
    for seed in 1..600 {
        deliver(&spool, batch(seed, 0), NOW).await;
    }
    // The first, kept by one envelope, and the open one, after a checkpoint.
    until(|| segments(&scratch).len() <= 3).await;
    assert_eq!(content_of(&spool, 0), content(0, 300));
    deliver(&spool, batch(0, 0), NOW).await;
    drop(spool);
    let spool = open(&scratch);
    assert!(segments(&scratch).len() <= 3);
    assert_eq!(spool.check().unwrap(), nothing());
    accept(&spool, 1000, &[1]).await;
    let only_the_new_one = || segments(&scratch).len() == 1;
    until(only_the_new_one).await;
    assert!(files(&scratch.path().join("segments")) <= 2); // and what ended of it
}

#[tokio::test]
async fn notifications_that_do_not_fit_together_get_a_segment() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    let taken = take(&spool, batch(1, 0), NOW).await;
    let notice = |seed| (message(seed, &[1]), Body::memory(content(seed, 40_000)));
    let notices = Box::new(move |_: super::Ending<'_>| (2..=6).map(notice).collect());
    let report = report(&taken, vec![(0, hard())]);
    spool.settle_with(report, Plan::default(), NOW, 1, notices).await.unwrap();
    for seed in 2..=6 {
        assert!(content_of(&spool, seed) == content(seed, 40_000));
    }
    assert_consistent(&spool);
}

#[tokio::test]
async fn a_panic_over_a_notification_stays_with_it() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    let taken = take(&spool, batch(1, 0), NOW).await;
    let notices = Box::new(|_: super::Ending<'_>| panic!("in a test"));
    let failed = report(&taken, vec![(0, hard())]);
    let settled = spool.settle_with(failed, Plan::default(), NOW, 1, notices).await;
    assert!(matches!(settled, Err(SpoolError::Io(_))));
    assert_eq!(*spool.broken().borrow(), None);
    let outcomes = vec![(0, ok())];
    spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    assert_eq!(spool.counts(), Counts::default());
}

#[tokio::test]
async fn a_buffered_body_is_linked_in() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    let buffers = BufferDir::open(&scratch.path().join("buffers")).unwrap();
    let mut writer = buffers.writer();
    writer.write(&content(1, 2_000_000)).await.unwrap();
    let body = writer.finish().await.unwrap();
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(body.buffer_path().unwrap()).unwrap().ino();
    spool.accept(message(1, &[1]), body).await.unwrap();
    assert_eq!(files(&scratch.path().join("buffers")), 0);
    let path = scratch.path().join("large").join(id(1).to_string());
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    assert!(content_of(&spool, 1) == content(1, 2_000_000));
    deliver(&spool, batch(1, 0), NOW).await;
    settled(&spool).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn files_of_nobody_are_removed() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    let large = |seed| Body::memory(content(seed, 2_000_000));
    spool.accept(message(1, &[1]), large(1)).await.unwrap();
    // Refused after its body was stored.
    let full = spool.accept(message(1, &[1]), body(1)).await;
    assert!(full.is_err());
    drop(spool);
    let stray = scratch.path().join("large").join(id(2).to_string());
    std::fs::write(&stray, "the daemon died before it wrote the record").unwrap();
    let spool = open(&scratch);
    let found = spool.check().unwrap();
    assert_eq!(found, Findings { orphans: 1, ..nothing() });
    assert!(!stray.exists());
    assert!(content_of(&spool, 1) == content(1, 2_000_000));
}

#[tokio::test]
async fn concurrent_messages_share_their_syncs() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1000, &[1]).await;
    let before = spool.groups();
    let tickets: Vec<_> =
        (0..500).map(|seed| spool.accept(message(seed, &[1]), body(seed))).collect();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    let groups = spool.groups() - before;
    assert!(groups < 100, "{groups}");
    assert_eq!(spool.counts().envelopes, 501);
    assert_consistent(&spool);
}

#[tokio::test]
async fn a_dropped_ticket_undoes_nothing() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    drop(spool.accept(message(1, &[1]), body(1)));
    drop(spool.accept(message(2, &[1]), Body::memory(content(2, 2_000_000))));
    drop(retry(&spool, batch(1, 0), NOW));
    until(|| spool.counts().envelopes == 2).await;
}

/// Flips a bit of the last octet of every record of changes from the `first` on to the one before `last`.
fn damage_changes(path: &Path, first: usize, last: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let places: Vec<usize> = segment::records(number, &bytes, 0)
        .iter()
        .filter(|found| found.head.kind == segment::Kind::Changes)
        .map(|found| found.offset as usize + segment::HEADER + 8)
        .collect();
    assert!(places.len() >= last);
    places[first..last].iter().for_each(|place| bytes[*place] ^= 1);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_group_loses_no_message() {
    let scratch = Scratch::new();
    let options = || Options { checkpoint: u64::MAX, segment_size: 1 << 20, ..options() };
    let spool = DiskSpool::open(scratch.path(), options(), boot(1)).unwrap();
    for seed in 1..=9 {
        accept(&spool, seed, &[1]).await;
        if seed == 6 {
            deliver(&spool, batch(2, 0), NOW).await;
        }
    }
    crash(&scratch, spool);
    // The changes of what came third to fifth.
    damage_changes(&segments(&scratch)[0], 2, 5);
    let spool = DiskSpool::open(scratch.path(), options(), boot(2)).unwrap();
    let found = spool.check().unwrap();
    assert_eq!(found.requeued, [id(3), id(4), id(5)]);
    let waiting: Vec<EnvelopeId> = [1, 3, 4, 5, 6, 7, 8, 9].map(id).into();
    assert_eq!(spool.envelopes(None, 100).unwrap(), waiting); // and the second stays delivered
    assert_consistent(&spool);
    for seed in [3, 9] {
        assert_eq!(content_of(&spool, seed), content(seed, 300 + seed as usize));
    }
    drop(spool);
    let spool = DiskSpool::open(scratch.path(), options(), boot(3)).unwrap();
    assert_eq!(spool.check().unwrap(), nothing());
    assert_eq!(spool.envelopes(None, 100).unwrap(), waiting);
}

#[tokio::test]
async fn what_can_be_read_is_rebuilt() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=6 {
        accept(&spool, seed, &[2]).await;
    }
    let taken = take(&spool, batch(1, 0), NOW).await;
    let outcomes = vec![(0, ok()), (1, soft())];
    spool.settle(report(&taken, outcomes), Plan::default(), NOW, 1).await.unwrap();
    deliver(&spool, batch(4, 0), NOW).await;
    drop(spool);
    tamper(&scratch, "envelope", &id(2).to_bytes(), Some(b"nonsense"));
    tamper(&scratch, "envelope", &id(3).to_bytes(), None);
    // Half a message would end without a word to the rest of its recipients.
    tamper(&scratch, "recipient", &super::table::recipient_key(batch(5, 0), 1), Some(b"nonsense"));
    tamper(&scratch, "batch", &super::table::batch_key(batch(6, 0)), Some(b"nonsense"));
    tamper(&scratch, "meta", b"tip", Some(b"nonsense"));
    let rebuilt = super::rebuild(scratch.path(), options(), boot(2)).unwrap();
    let mut back = rebuilt.findings.requeued.clone();
    back.sort();
    assert_eq!(back, [id(2), id(3), id(5), id(6)]);
    assert_eq!(rebuilt.findings.missing, []);
    assert!(scratch.path().join("kept-1").is_dir() && !scratch.path().join("rebuilding").exists());
    let spool = open(&scratch);
    assert_eq!(spool.check().unwrap(), nothing());
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1), id(2), id(3), id(5), id(6)]);
    for seed in [5, 6] {
        assert_eq!(spool.load(id(seed)).unwrap().unwrap().recipients.len(), 2);
    }
    // Who has it already is not forgotten.
    let stored = spool.load(id(1)).unwrap().unwrap();
    let waiting: Vec<bool> = stored.recipients.iter().map(|r| r.2.standing.is_waiting()).collect();
    assert_eq!(waiting, [false, true]);
    assert_consistent(&spool);
    let held = super::rebuild(scratch.path(), options(), boot(3));
    assert!(matches!(held, Err(SpoolError::Locked(_))));
}

#[tokio::test]
async fn what_a_lost_database_leaves_no_trace_of_is_named() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=3 {
        accept(&spool, seed, &[1]).await;
    }
    // A body apart, its record damaged: the file may be all there is of it.
    spool.accept(message(4, &[1]), Body::memory(content(4, 2_000_000))).await.unwrap();
    drop(spool);
    let path = segments(&scratch).pop().unwrap();
    let mut octets = std::fs::read(&path).unwrap();
    let body = content(2, 302);
    let at = octets.windows(body.len()).position(|piece| piece == body).unwrap();
    octets[at] ^= 1;
    let last = format!("\"{}\"", id(4));
    let at = octets.windows(last.len()).rposition(|piece| piece == last.as_bytes()).unwrap();
    octets[at] ^= 1;
    std::fs::write(&path, octets).unwrap();
    std::fs::remove_dir_all(scratch.path().join("db")).unwrap();
    let spool = open(&scratch);
    let findings = spool.check().unwrap();
    assert_eq!(findings.requeued, [id(1), id(3)]);
    assert_eq!(findings.missing, [id(2), id(4)]);
    assert_eq!(findings.orphans, 0);
    assert!(scratch.path().join("large").join(id(4).to_string()).exists());
}

#[tokio::test]
async fn half_a_message_is_not_taken_out() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    for seed in 1..=2 {
        accept(&spool, seed, &[2]).await;
    }
    drop(spool);
    tamper(&scratch, "recipient", &super::table::recipient_key(batch(1, 0), 1), Some(b"nonsense"));
    let spool = open(&scratch);
    assert!(matches!(spool.archived(id(1)), Err(SpoolError::Damaged(_))));
    assert!(spool.archived(id(2)).unwrap().is_some());
}

/// The number of a torn group goes to the next one, and what follows is not taken for what followed the torn one.
#[tokio::test]
async fn what_follows_a_torn_group_is_not_forgotten() {
    let scratch = Scratch::new();
    let spool = open(&scratch);
    accept(&spool, 1, &[1]).await;
    drop(spool);
    let spool = open(&scratch);
    accept(&spool, 2, &[1]).await;
    crash(&scratch, spool);
    // Its changes reached the disk, its message did not.
    let path = segments(&scratch).pop().unwrap();
    let mut octets = std::fs::read(&path).unwrap();
    let body = content(2, 302);
    let at = octets.windows(body.len()).position(|piece| piece == body).unwrap();
    octets[at] ^= 1;
    std::fs::write(&path, octets).unwrap();
    for seed in 3..=5 {
        let spool = open(&scratch);
        accept(&spool, seed, &[1]).await;
        crash(&scratch, spool);
    }
    let spool = open(&scratch);
    assert_eq!(spool.envelopes(None, 10).unwrap(), [id(1), id(3), id(4), id(5)]);
    assert_eq!(spool.check().unwrap(), nothing());
    assert_consistent(&spool);
}

const CHILD: &str = "POSTHASTE_SPOOL_CHILD";

/// Not a test: what the process does that is killed. Tells each acknowledged step on its standard output.
#[tokio::test]
async fn child_of_accepted_means_on_disk() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let (directory, first) = directory.split_once('#').unwrap();
    let first: u64 = first.parse().unwrap();
    let spool = DiskSpool::open(Path::new(directory), options(), boot(first)).unwrap();
    spool.check().unwrap();
    for round in 0.. {
        let seeds: Vec<u64> = (0..8).map(|i| first + round * 8 + i).collect();
        let tickets: Vec<_> =
            seeds.iter().map(|s| (*s, spool.accept(message(*s, &[1]), body(*s)))).collect();
        for (seed, ticket) in tickets {
            ticket.await.unwrap();
            println!("accepted {seed}");
        }
        for seed in seeds.iter().filter(|seed| *seed % 4 == 0) {
            deliver(&spool, batch(*seed, 0), NOW).await;
            println!("delivered {seed}");
        }
    }
}

#[test]
fn accepted_means_on_disk() {
    let scratch = Scratch::new();
    let (mut accepted, mut delivered) = (Vec::new(), Vec::new());
    for round in 1..=4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "spool::trial::child_of_accepted_means_on_disk", "--nocapture"])
            .env(CHILD, format!("{}#{}", scratch.path().display(), round * 1_000_000))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in &mut lines {
            let line = line.unwrap();
            note(&line, &mut accepted, &mut delivered, &mut seen);
            if seen > 100 * round {
                break;
            }
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        // What it said before it died counts, a line cut short does not.
        for line in lines.map_while(Result::ok) {
            note(&line, &mut accepted, &mut delivered, &mut seen);
        }
        let spool = DiskSpool::open(scratch.path(), options(), boot(round + 10)).unwrap();
        spool.check().unwrap();
        assert_consistent(&spool);
        for seed in &accepted {
            let there = spool.load(id(*seed)).unwrap().is_some();
            if delivered.contains(seed) {
                assert!(!there, "{seed} was delivered");
            } else if there {
                assert_eq!(content_of(&spool, *seed), content(*seed, 300 + *seed as usize % 100));
            } else {
                // It may have been delivered with nobody left to read of it.
                assert_eq!(*seed % 4, 0, "{seed} is lost");
            }
        }
    }
    assert!(accepted.len() > 500 && delivered.len() > 50);
}

fn note(line: &str, accepted: &mut Vec<u64>, delivered: &mut Vec<u64>, seen: &mut u64) {
    // The first line of the test runner stands in front of the first of ours.
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some([what, seed]) = words.last_chunk::<2>() else { return };
    let Ok(seed) = seed.parse() else { return };
    match *what {
        "accepted" => accepted.push(seed),
        "delivered" => delivered.push(seed),
        _ => return,
    }
    *seen += 1;
}

#[test]
fn ids_in_tests_are_distinct() {
    let all: std::collections::BTreeSet<BatchId> = (0..5000).map(|seed| batch(seed, 0)).collect();
    assert_eq!(all.len(), 5000);
}
