//! A place of a test's own: a directory, loopback addresses nobody else uses, and a port.
//!
//! All of 127.0.0.0/8 is local on Linux, so every listener of a test gets an address of its own and all of them may share the port,
//! as mail exchangers do. The directory is removed when the test passes, and kept and named when it fails.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::process;

/// Addresses handed out so far by this process.
static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
static AREAS: AtomicU32 = AtomicU32::new(0);

/// Unix socket paths end at 107 bytes; this leaves room for `run/admin.sock` and for Postfix' own names.
const LONGEST_PATH: usize = 80;

pub struct Area {
    name: String,
    path: PathBuf,
    port: u16,
    kept: bool,
}

impl Area {
    /// `test` is the name of the test; it names the directory and the messages about it.
    pub fn new(test: &str) -> Area {
        let number = AREAS.fetch_add(1, Ordering::Relaxed);
        let short: String = test.chars().take(24).collect();
        let folder = format!("{short}-{}-{number}", std::process::id());
        let path = roomy_root(folder.len()).join(folder);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Area { name: test.to_owned(), path, port: quiet_port(number), kept: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, content).unwrap();
        file
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.file(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A loopback address that no other test has.
    pub fn address(&self) -> Ipv4Addr {
        loop {
            let address = next_address();
            if TcpListener::bind((address, self.port)).is_ok()
                && UdpSocket::bind((address, self.port)).is_ok()
            {
                return address;
            }
        }
    }

    /// The port that all listeners of this test share, each on an address of its own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A fresh address with the port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from((self.address(), self.port))
    }

    /// Whether all programs are installed. If not, says so; the test then returns.
    pub fn needs(&self, programs: &[&str]) -> bool {
        programs.iter().all(|program| process::find(program).is_some() || self.skip(program))
    }

    /// Whether the test runs as root, without which `program` cannot be started. If not, says so; the test then returns.
    pub fn needs_root(&self, program: &str) -> bool {
        self.is_root() || self.skip(&format!("{program}, which needs root,"))
    }

    pub fn is_root(&self) -> bool {
        fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
    }

    /// Says that the test is skipped for want of `program`, and is always false.
    pub fn skip(&self, program: &str) -> bool {
        let strict = std::env::var_os("POSTHASTE_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!strict, "{}: {program} missing", self.name);
        print_always(&format!("SKIPPED {}: {program} missing", self.name));
        false
    }

    /// Leaves the directory, though nothing panics in the thread that drops this.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Prints a finding of a test that passes, a count for instance.
    pub fn report(&self, finding: &str) {
        print_always(&format!("{}: {finding}", self.name));
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if self.kept || std::thread::panicking() {
            eprintln!("{}: files kept in {}", self.name, self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Whether the full length of the crash and load scenarios is wanted.
pub fn long_run() -> bool {
    std::env::var_os("POSTHASTE_LONG").is_some_and(|value| value == "1")
}

/// Past the capture of the test runner, which hides what passing tests print.
fn print_always(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The target directory's own temporary directory, or the system's where that one is too deep for Unix sockets or hidden from the
/// accounts that Postfix and smtp-sink change to.
fn roomy_root(folder: usize) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let short = target.as_os_str().len() + 1 + folder <= LONGEST_PATH;
    let open = target
        .ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|found| found.mode() & 0o001 != 0));
    if short && open { target } else { std::env::temp_dir() }
}

/// The process id spreads test processes over the net, the counter spreads the listeners of one process. 127.0.0.0/16 is left to
/// real services.
fn next_address() -> Ipv4Addr {
    const LOOPBACK: u32 = 127 << 24;
    const FIRST: u32 = 1 << 16;
    const LAST: u32 = (1 << 24) - 1;
    loop {
        let count = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id().wrapping_mul(4096).wrapping_add(count) % (LAST - FIRST);
        let address = Ipv4Addr::from(LOOPBACK | (FIRST + place));
        if !matches!(address.octets()[3], 0 | 255) {
            return address;
        }
    }
}

/// A port below the range of outgoing connections, on which nobody listens for all addresses. No two areas of a process share it:
/// there is one IPv6 loopback address for all of them.
fn quiet_port(area: u32) -> u16 {
    let start = std::process::id().wrapping_mul(131) % 10_000;
    (0..10_000)
        .map(|step| 20_000 + ((start + area * 7 + step) % 10_000) as u16)
        .find(|port| TcpListener::bind((next_address(), *port)).is_ok())
        .expect("a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_shares_an_address() {
        let areas = [Area::new("first"), Area::new("second")];
        let mut addresses: Vec<Ipv4Addr> =
            (0..600).map(|number| areas[number % 2].address()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 600);
        assert!(addresses.iter().all(|address| address.is_loopback()));
        assert_ne!(areas[0].port(), areas[1].port());
    }

    #[test]
    fn a_failed_test_keeps_its_files() {
        let kept = std::thread::spawn(|| {
            let area = Area::new("kept");
            (
                area.path().to_owned(),
                std::panic::catch_unwind(move || {
                    let _area = area;
                    panic!("on purpose");
                }),
            )
        });
        let (path, _) = kept.join().unwrap();
        assert!(path.is_dir());
        fs::remove_dir_all(&path).unwrap();

        let area = Area::new("removed");
        let path = area.path().to_owned();
        drop(area);
        assert!(!path.exists());
    }
}
