//! A real Dovecot: mail comes by LMTP and is read back over IMAP, and a Postfix beside it can ask it for passwords. It runs in the
//! test's area under an account without rights.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::{Certificate, self_signed};
use crate::harness::client::Client;
use crate::harness::imap::Imap;
use crate::harness::process::{Process, command, run, wait_until};

pub const PROGRAM: &str = "dovecot";
/// Header fields it puts on top of what it got.
pub const ADDED: [&str; 3] = ["Return-Path", "Delivered-To", "Received"];
/// Who has a mailbox, in any domain. There is no room in that of `full`, whose mail is refused for good with 552, nor in that of
/// `busy`, whose mail is refused for now with 452.
const USERS: [&str; 4] = ["ann", "zoe", "full", "busy"];
/// Everybody's.
pub const PASSWORD: &str = "op3n-s3same";
/// The numbers of Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;
/// In octets, less than any message has.
const NO_ROOM: usize = 10;

pub struct Dovecot {
    lmtp: SocketAddr,
    lmtps: SocketAddr,
    imap: SocketAddr,
    folder: PathBuf,
    process: Process,
}

impl Dovecot {
    /// With a certificate of nobody's.
    pub fn start(area: &Area) -> Dovecot {
        Dovecot::with_certificate(area, &self_signed(&["dovecot.test"]))
    }

    /// The certificate is for STARTTLS at `lmtp` and for TLS at `lmtps`.
    pub fn with_certificate(area: &Area, certificate: &Certificate) -> Dovecot {
        let folder = area.folder("dovecot");
        for part in ["run", "state", "home"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let [lmtp, lmtps, imap] = [(); 3].map(|()| area.socket());
        let files = certificate.write(area, "dovecot/lmtp");
        fs::write(folder.join("users"), users()).unwrap();
        let account = Account::for_peers(area);
        let text = configuration(&folder, &account, [lmtp, lmtps, imap], &files);
        let config = area.write("dovecot/dovecot.conf", text);
        let mut dovecot = command(PROGRAM);
        account.own(&mut dovecot, &folder);
        let mut process = Process::start(area, "dovecot", dovecot.arg("-F").arg("-c").arg(config));
        process.wait_until_ready(Duration::from_secs(30), || {
            Client::connect(lmtp).is_ok_and(|(_, greeting)| greeting.code == 220)
                && Imap::login(imap, USERS[0], PASSWORD).is_ok()
        });
        Dovecot { lmtp, lmtps, imap, folder, process }
    }

    /// Whether all parts of it are there. If not, says so; the test then returns.
    pub fn is_ready(area: &Area) -> bool {
        let parts = ["lmtp", "imap"];
        let has = |part: &str| {
            let homes = ["/usr/lib/dovecot", "/usr/libexec/dovecot"];
            homes.iter().any(|home| Path::new(home).join(part).is_file())
        };
        area.needs(&[PROGRAM])
            && parts.iter().all(|part| has(part) || area.skip(&format!("dovecot's {part}")))
    }

    pub fn lmtp(&self) -> SocketAddr {
        self.lmtp
    }

    /// Within TLS from the first octet.
    pub fn lmtps(&self) -> SocketAddr {
        self.lmtps
    }

    /// LMTP too.
    pub fn lmtp_socket(&self) -> PathBuf {
        self.folder.join("lmtp.sock")
    }

    /// Where a Postfix asks whether a password is right.
    pub fn auth_socket(&self) -> PathBuf {
        self.folder.join("auth.sock")
    }

    /// What lies in the user's inbox.
    pub fn inbox(&self, user: &str) -> Vec<Vec<u8>> {
        Imap::login(self.imap, user, PASSWORD).and_then(|mut imap| imap.inbox()).unwrap()
    }

    /// Waits until that many messages lie there.
    pub fn wait_for(&self, user: &str, count: usize, deadline: Duration) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        wait_until(&format!("{count} messages are in {user}'s inbox"), deadline, || {
            found = self.inbox(user);
            found.len() >= count
        });
        found
    }

    /// A line for each message and each connection.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Under which a peer runs.
struct Account {
    name: String,
    group: String,
    is_ours: bool,
}

impl Account {
    fn for_peers(area: &Area) -> Account {
        if area.is_root() {
            return Account { name: "nobody".into(), group: "nogroup".into(), is_ours: false };
        }
        let ask = |option: &str| run(Command::new("id").arg(option)).trim().to_owned();
        Account { name: ask("-un"), group: ask("-gn"), is_ours: true }
    }

    /// Has the command run under it, with the folder its own.
    fn own(&self, program: &mut Command, folder: &Path) {
        if !self.is_ours {
            let owner = format!("{NOBODY}:{NOBODY}");
            run(command("chown").arg("-R").arg(owner).arg(folder));
            program.uid(NOBODY).gid(NOBODY);
        }
    }
}

/// Lines of a passwd-file, with what is the user's own in the last field.
fn users() -> String {
    let line = |user: &&str| {
        let own = match *user {
            "full" => format!("userdb_quota_rule=*:bytes={NO_ROOM}"),
            "busy" => format!("userdb_quota_rule=*:bytes={NO_ROOM} userdb_quota_full_tempfail=yes"),
            _ => String::new(),
        };
        format!("{user}:{{PLAIN}}{PASSWORD}::::::{own}\n")
    };
    USERS.iter().map(line).collect()
}

/// Its services run under the account of the whole, so none of them can be shut into a folder (`chroot`), which takes root.
fn configuration(
    folder: &Path,
    account: &Account,
    [lmtp, lmtps, imap]: [SocketAddr; 3],
    (chain, key): &(PathBuf, PathBuf),
) -> String {
    let Account { name, group, .. } = account;
    let (folder, chain, key) = (folder.display(), chain.display(), key.display());
    let at = |name: &str, address: SocketAddr, further: &str| {
        let (ip, port) = (address.ip(), address.port());
        format!("inet_listener {name} {{\naddress = {ip}\nport = {port}\n{further}\n}}")
    };
    let (imap, lmtp) = (at("imap", imap, ""), at("lmtp", lmtp, ""));
    let lmtps = at("lmtps", lmtps, "ssl = yes");
    format!(
        "base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
default_internal_user = {name}
default_internal_group = {group}
default_login_user = {name}
protocols = imap lmtp
hostname = dovecot.test
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %n
auth_failure_delay = 0
first_valid_uid = 1
mail_uid = {name}
mail_gid = {group}
mail_home = {folder}/home/%n
mail_location = maildir:~/mail
mail_plugins = quota
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  {imap}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  {lmtp}
  {lmtps}
  unix_listener {folder}/lmtp.sock {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {folder}/auth.sock {{
    mode = 0666
  }}
}}
"
    )
}
