//! The disk as a file, for the kernel: a FUSE file system whose root is one regular file, mounted over a file.
//!
//! A file system in that file, mounted by a loop device, writes through here: the loop device turns its writes into WRITE and its flushes
//! into FSYNC. Only the operations that this needs are there, in the kernel's wire form (linux/fuse.h, protocol 7.31); any other is
//! answered with ENOSYS, which the kernel takes for "not supported". libfuse is not needed, nor a kernel module that is not in every kernel
//! with FUSE.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::disk::Disk;
use crate::harness::process::command;

/// Octets of the header of a request, and of an answer.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// The most content in one WRITE.
const MOST: u32 = 128 << 10;

const EIO: i32 = 5;
const ENOSYS: i32 = 38;
const ENOSPC: i32 = 28;

const S_IFREG_0600: u32 = 0o100_600;

/// Whether the kernel has what this needs.
pub fn is_there() -> bool {
    Path::new("/dev/fuse").exists()
}

/// Mounts the disk over `place`, an existing file, and serves it until it is unmounted.
pub fn mount(disk: &Arc<Mutex<Disk>>, place: &Path) -> JoinHandle<()> {
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    // mount(8) hands the connection on by number; as its standard input the number is 0. -i: no mount.fuse is wanted.
    let output = command("mount")
        .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=100000,user_id=0,group_id=0", "powercut"])
        .arg(place)
        .stdin(device.try_clone().unwrap())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "mounting FUSE on {}: {complaint}", place.display());
    let disk = Arc::clone(disk);
    thread::spawn(move || serve(device, &disk))
}

/// Until the kernel says ENODEV: unmounted.
fn serve(mut device: File, disk: &Mutex<Disk>) {
    let mut buffer = vec![0; MOST as usize + 4096];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            // The request was taken back before we had it.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound) =>
            {
                continue;
            }
            Err(_) => return,
        };
        let request = Request(&buffer[..length]);
        let answer = match answer(&request, &mut disk.lock().unwrap()) {
            Answer::Nothing => continue,
            Answer::Content(content) => packet(request.u64_at(8), 0, &content),
            Answer::Error(code) => packet(request.u64_at(8), -code, &[]),
        };
        // ENOENT: whoever asked is gone.
        let _ = device.write(&answer);
    }
}

enum Answer {
    Content(Vec<u8>),
    Error(i32),
    /// The kernel waits for none.
    Nothing,
}

impl From<io::Result<Vec<u8>>> for Answer {
    fn from(result: io::Result<Vec<u8>>) -> Answer {
        match result {
            Ok(content) => Answer::Content(content),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Answer::Error(ENOSPC),
            Err(_) => Answer::Error(EIO),
        }
    }
}

/// Header: length u32, operation u32, unique u64, node u64, uid, gid, pid; then the arguments of the operation.
struct Request<'a>(&'a [u8]);

impl Request<'_> {
    fn u32_at(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }
}

fn answer(request: &Request<'_>, disk: &mut Disk) -> Answer {
    // struct fuse_read_in and fuse_write_in: handle u64, offset u64, size u32, ...; content follows 40 octets of arguments.
    let offset = || request.u64_at(IN_HEADER + 8);
    let size = || request.u32_at(IN_HEADER + 16);
    match request.u32_at(4) {
        2 | 36 | 42 => Answer::Nothing, // FORGET, INTERRUPT (every answer is quick), BATCH_FORGET
        3 | 4 => Answer::Content(attributes(disk.size())), // GETATTR, SETATTR: times do not matter
        14 => Answer::Content(vec![0; 16]), // OPEN: one handle for all
        15 => disk.read(offset(), size() as usize).into(), // READ
        16 => {
            // WRITE
            let content = &request.0[IN_HEADER + 40..];
            let written = disk.write(offset(), content);
            written.map(|()| [size().to_ne_bytes(), [0; 4]].concat()).into()
        }
        18 | 25 | 34 | 38 => Answer::Content(Vec::new()), // RELEASE, FLUSH (of a handle: closing), ACCESS, DESTROY
        20 => disk.flush().map(|()| Vec::new()).into(),   // FSYNC
        26 => Answer::Content(init()),
        _ => Answer::Error(ENOSYS),
    }
}

/// struct fuse_init_out.
fn init() -> Vec<u8> {
    const ASYNC_READ: u32 = 1;
    const BIG_WRITES: u32 = 1 << 5;
    let mut out = Vec::with_capacity(64);
    for word in [7, 31, MOST, ASYNC_READ | BIG_WRITES] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out.extend_from_slice(&[0; 4]); // background requests: the kernel's own limits
    out.extend_from_slice(&MOST.to_ne_bytes());
    out.extend_from_slice(&1u32.to_ne_bytes()); // granularity of times
    out.resize(64, 0);
    out
}

/// struct fuse_attr_out: how long it is valid, then struct fuse_attr of 88 octets.
fn attributes(size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(104);
    out.extend_from_slice(&3600u64.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    for word in [1, size, size / 512, 0, 0, 0] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    for word in [0, 0, 0, S_IFREG_0600, 1, 0, 0, 0, 4096, 0] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    out
}

fn packet(unique: u64, error: i32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(OUT_HEADER + content.len()).unwrap();
    [&length.to_ne_bytes(), &error.to_ne_bytes()[..], &unique.to_ne_bytes(), content].concat()
}
