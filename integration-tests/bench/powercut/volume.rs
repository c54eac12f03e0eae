//! A file system on the disk that loses power: ext4, through a loop device, with the kernel's own defaults.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use posthaste_mail::dice::Dice;

use super::disk::{Disk, Flush, Loss, Survival};
use super::fuse;
use crate::harness::area::Area;
use crate::harness::process::{command, run, wait_until};

/// Room for the load, the journal and the reserve.
const SIZE: u64 = 768 << 20;
const SOON: Duration = Duration::from_secs(20);

pub struct Volume {
    disk: Arc<Mutex<Disk>>,
    /// The file over which the disk is mounted, and the folder over which the file system is.
    image: PathBuf,
    folder: PathBuf,
    server: Option<JoinHandle<()>>,
    mounted: bool,
}

impl Volume {
    /// A fresh one, mounted at `folder` in the area.
    pub fn new(area: &Area, folder: &str, flush: Flush) -> Volume {
        let platter = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(area.file("platter"))
            .unwrap();
        let disk = Arc::new(Mutex::new(Disk::new(platter, SIZE).unwrap()));
        let image = area.write("disk", "");
        let folder = area.folder(folder);
        let mut volume = Volume { disk, image, folder, server: None, mounted: false };
        volume.plug_in();
        run(command("mkfs.ext4").args(["-q", "-F"]).arg(&volume.image));
        volume.mount();
        run(command("sync").arg("-f").arg(&volume.folder));
        volume.disk.lock().unwrap().flush = flush;
        volume
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn flushes(&self) -> u64 {
        self.disk.lock().unwrap().flushes
    }

    /// The power goes, at this moment. The file system stays mounted and finds nothing but errors.
    pub fn cut(&self, survival: Survival, dice: &mut Dice) -> Loss {
        self.disk.lock().unwrap().cut(survival, dice).unwrap()
    }

    /// The power goes in the middle of the next writes, after so many of them; returns when it is gone.
    pub fn cut_after(&self, writes: u64, survival: Survival, dice: Dice) -> Loss {
        self.disk.lock().unwrap().cut_after(writes, survival, dice);
        let mut loss = None;
        wait_until("the power is gone", SOON, || {
            loss = self.disk.lock().unwrap().loss();
            loss.is_some()
        });
        loss.unwrap()
    }

    /// The machine starts again: mounted anew, the journal of the file system replayed. Nobody may have files open on it any more.
    pub fn power_on(&mut self) {
        self.unplug();
        self.disk.lock().unwrap().power_on();
        self.plug_in();
        self.mount();
    }

    fn plug_in(&mut self) {
        self.server = Some(fuse::mount(&self.disk, &self.image));
    }

    fn mount(&mut self) {
        // The loop device goes with the mount.
        run(command("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.folder));
        self.mounted = true;
    }

    fn unplug(&mut self) {
        if std::mem::take(&mut self.mounted) {
            run(command("umount").arg(&self.folder));
        }
        if let Some(server) = self.server.take() {
            // The loop device lets the file go a moment after the file system is gone.
            wait_until("the disk can be unmounted", SOON, || {
                command("umount").arg(&self.image).output().is_ok_and(|out| out.status.success())
            });
            server.join().unwrap();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What can be unmounted is; a second panic would hide the first.
            for place in [&self.folder, &self.image] {
                let _ = command("umount").arg("-l").arg(place).output();
            }
        } else {
            self.unplug();
        }
    }
}
