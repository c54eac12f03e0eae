//! Child processes with a log file, stopped by their own pid and nothing else.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::area::Area;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);
/// For a child to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with standard output and error in `AREA/NAME.log`, appended to.
    pub fn start(area: &Area, name: &str, command: &mut Command) -> Process {
        let log = area.file(&format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Process { name: name.to_owned(), child, log, ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last octets of what it has printed so far.
    pub fn log_end(&self, octets: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(octets)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(end)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits until `ready`; fails with the log when the process ends first or the deadline passes.
    pub fn wait_until_ready(&mut self, deadline: Duration, mut ready: impl FnMut() -> bool) {
        let end = Instant::now() + deadline;
        while !ready() {
            if let Some(status) = self.ended() {
                panic!("{} ended while starting ({status}):\n{}", self.name, tail(&self.log()));
            }
            assert!(Instant::now() < end, "{} not ready:\n{}", self.name, tail(&self.log()));
            thread::sleep(LOOK);
        }
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_stop(&mut self) {
        self.signal("TERM");
    }

    pub fn signal(&mut self, signal: &str) {
        if self.ended().is_none() {
            // The shell's own kill: a `kill` program need not be installed.
            let script = "kill -s \"$1\" \"$2\"";
            let pid = self.pid().to_string();
            let _ = Command::new("sh").args(["-c", script, "sh", signal, &pid]).status();
        }
    }

    /// Waits for the end; `None` when the deadline passes first.
    pub fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        while self.ended().is_none() && Instant::now() < end {
            thread::sleep(LOOK);
        }
        self.ended
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_stop();
        if self.wait(GRACE).is_none() {
            self.kill();
        }
        if let Some(core) = self.ended.and_then(|status| status.signal())
            && std::thread::panicking()
        {
            eprintln!("{} ended by signal {core}", self.name);
        }
    }
}

/// Where `scripts/setup.sh` unpacks the servers that cannot be installed beside each other.
const UNPACKED: [&str; 2] = [
    "/var/cache/posthaste-peers/exim4-daemon-light/usr/sbin",
    "/var/cache/posthaste-peers/opensmtpd/usr/sbin",
];

/// The program's path, from PATH, from where Debian keeps daemons, and from what was only unpacked.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].into_iter().chain(UNPACKED).map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A command for a program known to be there (`Area::needs`).
pub fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| PathBuf::from(program)))
}

/// Waits for a condition; fails naming `what` when the deadline passes first.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "waited {deadline:?} in vain until {what}");
        thread::sleep(LOOK);
    }
}

/// Runs a tool to its end, fails with its output if it fails, and returns its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{complaint}", output.status);
    said
}

/// The last lines of a log, for a message.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// All files of a folder, in the order of their names.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| {
            entries.flatten().map(|entry| entry.path()).filter(|p| p.is_file()).collect()
        })
        .unwrap_or_default();
    found.sort();
    found
}
