//! Debian's Postfix as the other contestant: an instance of its own that takes mail from loopback and relays all of it to one host.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::client::Client;
use crate::harness::postfix::{PROGRAM, master_cf};
use crate::harness::process::{Process, command, run};

/// What differs from a fresh installation, and why; printed with the figures.
pub const CHANGES: &str = "  queue_directory, data_directory   an instance of its own, on the file system of the daemon's state
  myhostname, inet_interfaces       its name; loopback only, at the address that master.cf names
  mydestination, alias_maps empty   nothing is local
  relayhost = [sink]:port           everything goes to the sink, without DNS
  mynetworks = 127.0.0.0/8          as Debian's package sets it
  maillog_file = /dev/stdout        there may be no syslog; into a file
  master.cf                         no chroot, only the services that are used, all process limits \"-\" as in Debian's";

pub struct Relay {
    address: SocketAddr,
    folder: PathBuf,
    process: Process,
}

impl Relay {
    pub fn start(area: &Area, next: SocketAddr) -> Relay {
        let address = area.socket();
        let folder = area.folder("postfix");
        for part in ["q", "data"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        run(command("chown").arg("postfix").arg(folder.join("data")));
        let (next_ip, port) = (next.ip(), next.port());
        let at = folder.display();
        let main_cf = format!(
            "compatibility_level = 3.6
queue_directory = {at}/q
data_directory = {at}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.sender.test
inet_interfaces = loopback-only
mydestination =
alias_maps =
alias_database =
relayhost = [{next_ip}]:{port}
mynetworks = 127.0.0.0/8
biff = no
append_dot_mydomain = no
readme_directory = no
maillog_file = /dev/stdout
"
        );
        fs::write(folder.join("main.cf"), main_cf).unwrap();
        let listener = format!("{address} inet n - n - - smtpd\n");
        fs::write(folder.join("master.cf"), master_cf(&listener)).unwrap();
        let mut postfix = command(PROGRAM);
        let mut process =
            Process::start(area, "postfix", postfix.arg("-c").arg(&folder).arg("start-fg"));
        process.wait_until_ready(Duration::from_secs(30), || {
            Client::connect(address).is_ok_and(|(_, greeting)| greeting.code == 220)
        });
        Relay { address, folder, process }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process all others of the instance descend from.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether any message is still in one of its queues.
    pub fn is_empty(&self) -> bool {
        let queues = ["maildrop", "incoming", "active", "deferred"];
        queues.iter().all(|queue| is_bare(&self.folder.join("q").join(queue)))
    }
}

/// No file in the folder or below: Postfix hashes some queues into subdirectories.
fn is_bare(folder: &std::path::Path) -> bool {
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    entries.unwrap_or_default().iter().all(|entry| {
        let path = entry.path();
        path.is_dir() && is_bare(&path)
    })
}

impl Drop for Relay {
    /// `stop` finds the master by the pid file of the instance; the process we started waits for it.
    fn drop(&mut self) {
        let _ = command(PROGRAM).arg("-c").arg(&self.folder).arg("stop").output();
        self.process.wait(Duration::from_secs(10));
    }
}
