//! The daemon under test: a real process with a configuration, state and run-time directory in the test's area.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::area::Area;
use crate::harness::operator::Operator;
use crate::harness::process::{Process, tail, wait_until};

/// From start to the first answer on the operator's socket.
const READY: Duration = Duration::from_secs(20);
/// From SIGTERM to the end.
const STOPPED: Duration = Duration::from_secs(30);

pub struct Daemon {
    name: String,
    config: PathBuf,
    socket: PathBuf,
    /// Programs and options in front of the daemon's own, strace for instance.
    wrapper: Vec<String>,
    options: Vec<String>,
    process: Process,
    area: PathBuf,
}

/// The program under test.
pub fn binary() -> PathBuf {
    std::env::var_os("POSTHASTE_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_posthaste")), PathBuf::from)
}

impl Daemon {
    /// Starts it and waits until it answers. The configuration must set `runtime_dir` to `AREA/run`.
    pub fn start(area: &Area, config: &str) -> Daemon {
        Daemon::start_with(area, config, &[], &[])
    }

    /// As `start`, with programs in front (`wrapper`) and options behind (`--debug-faults`).
    pub fn start_with(area: &Area, config: &str, wrapper: &[&str], options: &[&str]) -> Daemon {
        let mut daemon = Daemon::begin(area, config, wrapper, options);
        daemon.wait_until_it_answers(READY);
        daemon
    }

    /// As `start`, with another deadline for its first answer.
    pub fn start_within(area: &Area, config: &str, ready: Duration) -> Daemon {
        let mut daemon = Daemon::begin(area, config, &[], &[]);
        daemon.wait_until_it_answers(ready);
        daemon
    }

    fn begin(area: &Area, config: &str, wrapper: &[&str], options: &[&str]) -> Daemon {
        let config = area.write("posthaste.conf", config);
        let owned =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (wrapper, options) = (owned(wrapper), owned(options));
        let process = Process::start(area, "posthaste", &mut command(&config, &wrapper, &options));
        let socket = area.file("run/admin.sock");
        let name = area.name().to_owned();
        let area = area.path().to_owned();
        Daemon { name, config, socket, wrapper, options, process, area }
    }

    pub fn wait_until_it_answers(&mut self, ready: Duration) {
        let socket = self.socket.clone();
        self.process.wait_until_ready(ready, || {
            let status = Operator::connect(&socket)
                .and_then(|mut operator| operator.call("status", Value::Null));
            status.is_ok_and(|answer| answer.result.is_ok())
        });
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Starts it again, whether it still runs (then SIGTERM first) or not.
    pub fn restart(&mut self, area: &Area) {
        if self.process.ended().is_none() {
            self.terminate();
        }
        let mut again = command(&self.config, &self.wrapper, &self.options);
        self.process = Process::start(area, "posthaste", &mut again);
        self.wait_until_it_answers(READY);
    }

    /// Starts it again with other programs in front, without waiting for its first answer.
    pub fn start_again(&mut self, area: &Area, wrapper: &[&str]) {
        if self.process.ended().is_none() {
            self.terminate();
        }
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let mut again = command(&self.config, &self.wrapper, &self.options);
        self.process = Process::start(area, "posthaste", &mut again);
    }

    /// SIGTERM, waits, and returns the exit code; `None` when a signal ended it.
    pub fn terminate(&mut self) -> Option<i32> {
        self.process.ask_to_stop();
        self.wait_for_exit(STOPPED)
    }

    /// SIGTERM without waiting.
    pub fn ask_to_stop(&mut self) {
        self.process.ask_to_stop();
    }

    pub fn wait_for_exit(&mut self, deadline: Duration) -> Option<i32> {
        match self.process.wait(deadline) {
            Some(status) => status.code(),
            None => panic!("{}: still running\n{}", self.name, tail(&self.log())),
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged, all its lives together.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Path of the operator's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection to the operator's socket, which may be away for a moment while its actor is restarted.
    pub fn operator(&self) -> Operator {
        let mut operator = None;
        wait_until("the operator's socket takes a connection", READY, || {
            operator = Operator::connect(&self.socket).ok();
            operator.is_some()
        });
        operator.unwrap()
    }

    /// Runs a verb against this daemon.
    pub fn cli(&self, words: &[&str]) -> Output {
        let mut verb = Command::new(binary());
        verb.args(words).env("POSTHASTE_SOCKET", &self.socket).current_dir(&self.area);
        verb.stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a verb that must succeed; its standard output.
    pub fn said(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let (said, complaint) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {}\n{said}{complaint}", output.status);
        said
    }

    /// Runs a verb that may find nothing to do (exit 1).
    pub fn said_or_nothing(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let (said, complaint) = (text(&output.stdout), text(&output.stderr));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {said}{complaint}");
        assert!(complaint.is_empty(), "{words:?}: {complaint}");
        said
    }

    /// `posthaste send`: hands the content over and returns the queue id, the last word printed.
    pub fn send(&self, from: &str, to: &[&str], content: &[u8]) -> String {
        self.send_with(&[], from, to, content)
    }

    /// The same with options of the verb, `--target NAME` for instance.
    pub fn send_with(&self, options: &[&str], from: &str, to: &[&str], content: &[u8]) -> String {
        let file = self.area.join(format!("send-{}.eml", unique()));
        std::fs::write(&file, content).unwrap();
        let mut words = vec!["send", file.to_str().unwrap(), "--from", from];
        words.extend(options);
        for recipient in to {
            words.extend(["--to", recipient]);
        }
        let said = self.said(&words);
        said.split_whitespace().last().expect("a queue id").to_owned()
    }

    /// Waits until `posthaste trace ID` tells this (an enhanced code, a word).
    pub fn wait_for_trace(&self, id: &str, told: &str, deadline: Duration) -> String {
        let mut trace = String::new();
        let what = format!("the history of {id} tells {told}");
        wait_until(&what, deadline, || {
            let output = self.cli(&["trace", id]);
            trace = text(&output.stdout);
            trace.contains(told)
        });
        trace
    }

    /// What waits, as `posthaste queue list --json` tells it.
    pub fn batches(&self) -> Vec<Value> {
        let output = self.cli(&["queue", "list", "--json"]);
        let listing = text(&output.stdout);
        let rows = listing.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|why| panic!("{line}: {why}"))
        });
        rows.collect()
    }

    /// Queue ids that wait (member `id`).
    pub fn queued(&self) -> Vec<String> {
        let id = |row: &Value| row["id"].as_str().expect("member id").to_owned();
        self.batches().iter().map(id).collect()
    }

    /// Whether nothing waits any more, or there is nobody to ask.
    pub fn has_nothing_left(&self) -> bool {
        let output = self.cli(&["queue", "list", "--json"]);
        !output.status.success() || output.stdout.is_empty()
    }

    /// Waits until nothing waits any more.
    pub fn wait_until_queue_is_empty(&self, deadline: Duration) {
        wait_until("the queue is empty", deadline, || self.queued().is_empty());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: log of the daemon:\n{}", self.name, tail(&self.log()));
        }
    }
}

fn command(config: &Path, wrapper: &[String], options: &[String]) -> Command {
    let mut words = wrapper.iter();
    let mut command = match words.next() {
        Some(program) => {
            let mut wrapped = Command::new(program);
            wrapped.args(words).arg(binary());
            wrapped
        }
        None => Command::new(binary()),
    };
    command.arg("run").args(options).arg("--config").arg(config);
    command.env("RUST_BACKTRACE", "1");
    command
}

/// The usual configuration: one SMTP listener, one queue, one remote target.
#[derive(Clone, Debug)]
pub struct Config {
    pub area: PathBuf,
    pub listen: SocketAddr,
    pub resolver: SocketAddr,
    /// Port of all mail exchangers.
    pub mx_port: u16,
    /// Lines for the top level, before everything else.
    pub global: String,
    /// Lines for the `smtp` block.
    pub smtp: String,
    /// Lines for the `target.queue` block.
    pub queue: String,
    /// Lines for the `target.remote` block.
    pub remote: String,
}

impl Config {
    pub fn new(area: &Area, resolver: SocketAddr) -> Config {
        Config {
            area: area.path().to_owned(),
            listen: area.socket(),
            resolver,
            mx_port: area.port(),
            global: "tls off".to_owned(),
            smtp: String::new(),
            queue: "max_parallelism 16".to_owned(),
            remote: String::new(),
        }
    }

    pub fn text(&self) -> String {
        let Config { listen, resolver, mx_port, global, smtp, queue, remote, .. } = self;
        let area = self.area.display();
        format!(
            "hostname mx.sender.test
state_dir {area}/state
runtime_dir {area}/run
autogenerated_msg_domain sender.test
resolver {resolver}
{global}

smtp tcp://{listen} {{
    {smtp}
    deliver_to &outbound
}}

target.queue outbound {{
    target &mx
    {queue}
}}

target.remote mx {{
    port {mx_port}
    allow_loopback_mx yes
    {remote}
}}
"
        )
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unique() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
