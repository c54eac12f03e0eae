//! A real OpenSMTPD as mail exchanger, without TLS and without PIPELINING. It is unpacked, not installed (`scripts/setup.sh`), because
//! Debian has it exclude Postfix, and its fixed paths are folders of the test's.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::client::Client;
use crate::harness::maildir::Maildir;
use crate::harness::mounts;
use crate::harness::process::{Process, command, find, run};

pub const PROGRAM: &str = "smtpd";
/// Header fields it puts on top of what it got.
pub const ADDED: [&str; 3] = ["Return-Path", "Delivered-To", "Received"];
/// Its two accounts: the second one is for the spool alone.
const ACCOUNTS: [(&str, u32); 2] = [("opensmtpd", 65534), ("opensmtpq", 65533)];

pub struct OpenSmtpd {
    address: SocketAddr,
    pub mailbox: Maildir,
    process: Process,
}

impl OpenSmtpd {
    /// The mail exchanger of `domain`. `reject@DOMAIN` is refused with 550 5.1.1, `defer@DOMAIN` with 450 4.2.1, and each other
    /// recipient of the domain gets a copy, told from others by its Delivered-To.
    pub fn start(area: &Area, domain: &str) -> OpenSmtpd {
        let address = area.socket();
        let name = format!("opensmtpd-{}", address.ip());
        let folder = area.folder(&name);
        let mailbox = Maildir::new(folder.join("mail"));
        for part in ["lib/opensmtpd/empty", "spool/smtpd", "run", "libexec"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::set_permissions(folder.join("spool/smtpd"), Permissions::from_mode(0o711)).unwrap();
        let program = find(PROGRAM).unwrap();
        // What delivers for it lies beside it, at a fixed path seen from /.
        let helpers = program.ancestors().nth(2).unwrap().join("libexec/opensmtpd");
        run(command("cp").arg("-r").arg(helpers).arg(folder.join("libexec")));
        let config = folder.join("smtpd.conf");
        fs::write(&config, configuration(&folder, domain, address)).unwrap();
        let mut mounts = mounts::with_accounts(&folder, &ACCOUNTS);
        mounts.extend(
            [("lib", "/var/lib"), ("spool", "/var/spool"), ("libexec", "/usr/libexec")]
                .map(|(part, there)| (folder.join(part), there)),
        );
        mounts.push((folder.join("run"), "/run"));
        let mut smtpd = mounts::command_with(&mounts, &program);
        let mut process = Process::start(area, &name, smtpd.arg("-d").arg("-f").arg(&config));
        process.wait_until_ready(Duration::from_secs(30), || {
            Client::connect(address).is_ok_and(|(_, greeting)| greeting.code == 220)
        });
        OpenSmtpd { address, mailbox, process }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn configuration(folder: &Path, domain: &str, address: SocketAddr) -> String {
    let (folder, ip, port) = (folder.display(), address.ip(), address.port());
    format!(
        "smtp max-message-size \"100M\"
table boxes {{ \"@{domain}\" = \"nobody\" }}
filter refused phase rcpt-to match rcpt-to {{ \"reject@{domain}\" }} reject \"550 5.1.1 no such user\"
filter later phase rcpt-to match rcpt-to {{ \"defer@{domain}\" }} reject \"450 4.2.1 try later\"
filter both chain {{ refused, later }}
listen on {ip} port {port} hostname \"mx.{domain}\" filter both
action box maildir \"{folder}/mail\" virtual <boxes>
match from any for domain \"{domain}\" action box
"
    )
}
