//! `make powercut`: the power goes in the middle of a load, and every message that got its 250 is delivered afterwards.
//!
//! The daemon's state lies on ext4 on a disk of ours that forgets what was not flushed (`powercut`). Clients and mail exchanger are
//! elsewhere and remember everything. At the cut the disk stops, the daemon is killed, the file system is mounted again and the daemon
//! started on what is left, several times in one load. In the end: acknowledged = delivered, nothing twice but what was in flight.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a proof lives outside the daemon: it waits in real time, and a broken promise ends it"
)]

#[path = "../harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a proof uses a part of the peers")]
mod harness;
mod knob;
#[path = "powercut/mod.rs"]
mod machine;

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use posthaste_edge::clock;
use posthaste_mail::dice::Dice;

use harness::area::Area;
use harness::daemon::{Config, Daemon};
use harness::dns::Dns;
use harness::process::wait_until;
use harness::sink::Sink;
use harness::source::{Load, Source};
use machine::disk::{Disk, Flush, Survival};
use machine::fuse;
use machine::volume::Volume;

const DEADLINE: Duration = Duration::from_secs(300);
const PARALLEL: usize = 32;
const CUTS: usize = 3;
const SURVIVALS: [Survival; 3] = [Survival::Nothing, Survival::Anything, Survival::Everything];

fn main() {
    let area = Area::new("powercut");
    let ready = area.needs_root("mount")
        && area.needs(&["mount", "umount", "mkfs.ext4"])
        && (fuse::is_there() || area.skip("/dev/fuse, a kernel with FUSE,"))
        && (fs::exists("/dev/loop-control").unwrap()
            || area.skip("/dev/loop-control, a kernel with loop devices,"))
        && (has_ext4() || area.skip("ext4 in the kernel"));
    if !ready {
        return;
    }
    let rounds = knob::number("POWERCUT_ROUNDS", 6);
    let messages = knob::number("POWERCUT_MESSAGES", 2000);
    let seed = knob::number("POWERCUT_SEED", clock::dice().below(1_000_000) + 1);
    // With a disk that only says that it has flushed, messages are lost: whoever doubts that the proof can fail sees it fail.
    let flush =
        if std::env::var_os("POWERCUT_LYING").is_some() { Flush::Lying } else { Flush::Honest };
    println!(
        "{rounds} rounds of {messages} messages, {CUTS} cuts each, POWERCUT_SEED={seed}, disk {flush:?}"
    );
    let mut dice = Dice::new(seed as u64);
    the_disk_forgets(&area, &mut dice);
    the_volume_forgets(&mut dice);
    for round in 0..rounds {
        cut_under_load(SURVIVALS[round % SURVIVALS.len()], messages, flush, &mut dice);
    }
    println!("power was cut {} times: no acknowledged message is lost", rounds * CUTS);
}

fn has_ext4() -> bool {
    // A module that is not loaded yet is not listed; mounting loads it.
    let listed = fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("\text4");
    listed || fs::exists("/lib/modules").unwrap_or(false)
}

/// What the proof stands on, without a file system in between.
fn the_disk_forgets(area: &Area, dice: &mut Dice) {
    let platter = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(area.file("platter"))
        .unwrap();
    let mut disk = Disk::new(platter, 1 << 20).unwrap();
    disk.write(1000, b"flushed").unwrap();
    disk.flush().unwrap();
    disk.write(1003, b"cached").unwrap();
    disk.write(9000, b"cached").unwrap();
    assert_eq!(disk.read(1000, 9).unwrap(), b"flucached");
    let loss = disk.cut(Survival::Nothing, dice).unwrap();
    assert_eq!((loss.cached, loss.lost), (2, 2));
    assert!(disk.read(0, 1).is_err() && disk.write(0, b"x").is_err() && disk.flush().is_err());
    disk.power_on();
    assert_eq!(disk.read(1000, 9).unwrap(), b"flushed\0\0");
    assert_eq!(disk.read(9000, 6).unwrap(), [0; 6]);
    disk.write(9000, b"cached").unwrap();
    disk.cut(Survival::Everything, dice).unwrap();
    disk.power_on();
    assert_eq!(disk.read(9000, 6).unwrap(), b"cached");
}

/// The same through ext4: a file that was synced is there after the cut, one that was not is not.
fn the_volume_forgets(dice: &mut Dice) {
    let area = Area::new("powercut-volume");
    let mut volume = Volume::new(&area, "state", Flush::Honest);
    let (safe, unsafe_) = (volume.folder().join("synced"), volume.folder().join("unsynced"));
    let mut file = File::create(&safe).unwrap();
    file.write_all(&[b's'; 100_000]).unwrap();
    file.sync_all().unwrap();
    File::open(volume.folder()).unwrap().sync_all().unwrap();
    fs::write(&unsafe_, [b'u'; 100_000]).unwrap();
    drop(file);
    volume.cut(Survival::Nothing, dice);
    volume.power_on();
    assert_eq!(fs::read(&safe).unwrap(), [b's'; 100_000]);
    assert!(fs::read(&unsafe_).unwrap_or_default().is_empty(), "unsynced content survived");
}

fn cut_under_load(survival: Survival, messages: usize, flush: Flush, dice: &mut Dice) {
    let area = Area::new("powercut-load");
    let dns = Dns::start(area.socket());
    let sink = Sink::start(area.socket());
    dns.domain("load.test", sink.address().ip());
    let mut volume = Volume::new(&area, "state", flush);
    let mut config = Config::new(&area, dns.address());
    config.queue =
        format!("max_parallelism {PARALLEL}\n    initial_retry_time 1s\n    max_retry_time 2s");
    let mut daemon = Daemon::start(&area, &config.text());
    let load = Load {
        server: config.listen,
        from: "sender@sender.test".to_owned(),
        domain: "load.test".to_owned(),
        messages,
        sessions: 20,
        size: 2000,
        deadline: DEADLINE,
    };
    let source = Source::start(&load);
    for cut in 0..CUTS {
        // Anywhere in this cut's share of the load, and before its end: there must be something left to write.
        let share = messages / CUTS;
        let point = cut * share + dice.below((share * 9 / 10).max(1));
        wait_until(&format!("{point} messages are acknowledged"), DEADLINE, || {
            source.acknowledged() >= point
        });
        let writes = dice.below(100) as u64;
        let loss = volume.cut_after(writes, survival, Dice::new(dice.next_u64()));
        let (acknowledged, delivered) = (source.acknowledged(), sink.copies().len());
        daemon.kill9();
        volume.power_on();
        daemon.restart(&area);
        println!(
            "  cut at {acknowledged} acknowledged, {delivered} delivered; {} sectors in the cache, {} of them lost",
            loss.cached, loss.lost
        );
    }
    let tally = source.finish();
    let delivered = || sink.copies();
    daemon.wait_until_queue_is_empty(DEADLINE);
    let delivered = delivered();
    let lost = tally.acknowledged.iter().filter(|name| !delivered.contains_key(*name)).count();
    let twice = delivered.iter().filter(|(_, count)| **count > 1).map(|(name, _)| name);
    // The client sends again what it has no reply to; only the others are ours (RFC 1047).
    let ours = twice.filter(|name| !tally.in_doubt.contains(*name)).count();
    println!(
        "{survival:?} survives: {} acknowledged, {} delivered, {lost} lost, {ours} came twice, {} flushes",
        tally.acknowledged.len(),
        delivered.len(),
        volume.flushes()
    );
    assert_eq!(lost, 0, "acknowledged messages are lost");
    assert!(ours <= PARALLEL * CUTS, "{ours} duplicates of ours");
    assert_eq!(daemon.terminate(), Some(0));
}
