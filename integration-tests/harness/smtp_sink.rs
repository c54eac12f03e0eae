//! Debian's smtp-sink: takes messages fast, counts them, and keeps a copy of each.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::process::{self, Process, command};

pub const PROGRAM: &str = "smtp-sink";

/// Enough of the end of its output for the latest counters, which it prints again after each message.
const COUNTERS: u64 = 1000;

/// What smtp-sink has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sessions: usize,
    pub messages: usize,
}

pub struct SmtpSink {
    address: SocketAddr,
    folder: PathBuf,
    process: Process,
}

impl SmtpSink {
    /// `options` go before the address, `-r DATA` for instance.
    pub fn start(area: &Area, options: &[&str]) -> SmtpSink {
        SmtpSink::run(area, &[&["-d", "m."], options].concat())
    }

    /// Counts, and keeps no copies: a measurement is not to wait for its own sink's disk.
    pub fn counting(area: &Area) -> SmtpSink {
        SmtpSink::run(area, &[])
    }

    fn run(area: &Area, options: &[&str]) -> SmtpSink {
        let address = area.socket();
        let folder = area.folder(&format!("sink-{}", address.ip()));
        // As root the program wants another account to run as, which must be able to write there.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let mut sink = command(PROGRAM);
        if area.is_root() {
            sink.args(["-u", "nobody"]);
        }
        sink.current_dir(&folder).arg("-c").args(options);
        sink.arg(address.to_string()).arg("1000");
        let name = format!("smtp-sink-{}", address.ip());
        let mut process = Process::start(area, &name, &mut sink);
        process.wait_until_ready(Duration::from_secs(10), || {
            std::net::TcpStream::connect(address).is_ok()
        });
        SmtpSink { address, folder, process }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its running counters; the connection that looked whether it is ready is among the sessions.
    pub fn counts(&self) -> Counts {
        let log = self.process.log_end(COUNTERS);
        let last = log.rsplit('\r').find(|part| part.contains("mesg=")).unwrap_or_default();
        let number = |key: &str| {
            let found = last.split_whitespace().find_map(|word| word.strip_prefix(key));
            found.and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        Counts { sessions: number("sess="), messages: number("mesg=") }
    }

    /// The copies: `X-Client-Addr`, `X-Mail-Args` and `X-Rcpt-Args` fields and a Received field of its own, then the message, LF.
    pub fn copies(&self) -> Vec<String> {
        let read = |file: PathBuf| {
            String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
        };
        process::files(&self.folder).into_iter().map(read).collect()
    }

    /// Recipients of all copies, one entry each time one arrived.
    pub fn recipients(&self) -> Vec<String> {
        let copies = self.copies();
        let fields =
            copies.iter().flat_map(|copy| copy.lines().take_while(|line| !line.is_empty()));
        let arguments = fields.filter_map(|line| line.strip_prefix("X-Rcpt-Args: "));
        arguments.map(|address| address.trim_matches(['<', '>']).to_owned()).collect()
    }
}
