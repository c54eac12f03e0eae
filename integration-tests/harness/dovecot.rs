//! A real Dovecot: LMTP by TCP and over a Unix socket into mailboxes that are read back over IMAP, and the accounts that Postfix asks.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::process::{Process, command, run, wait_until};

pub const PROGRAM: &str = "dovecot";
/// Header fields it puts on top of what it got.
pub const ADDED: [&str; 3] = ["Return-Path", "Delivered-To", "Received"];
/// Of every account.
pub const PASSWORD: &str = "correct-horse-battery";

pub struct Dovecot {
    lmtp: SocketAddr,
    imap: SocketAddr,
    folder: PathBuf,
    _process: Process,
}

impl Dovecot {
    /// With mailboxes `USER@example.test`. That of a user called `full...` has no room, which shows only after the end of a message.
    pub fn start(area: &Area, users: &[&str]) -> Dovecot {
        let folder = area.folder("dovecot");
        for part in ["run", "state", "home"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        run(command("chown").arg("nobody").arg(folder.join("home")));
        let accounts: String = users.iter().map(|user| account(&folder, user)).collect();
        fs::write(folder.join("users"), accounts).unwrap();
        let (lmtp, imap) = (area.socket(), area.socket());
        let config = folder.join("dovecot.conf");
        fs::write(&config, configuration(&folder, lmtp, imap)).unwrap();
        let mut dovecot = command(PROGRAM);
        let mut process = Process::start(area, PROGRAM, dovecot.arg("-F").arg("-c").arg(&config));
        process.wait_until_ready(Duration::from_secs(30), || {
            TcpStream::connect(lmtp).is_ok() && TcpStream::connect(imap).is_ok()
        });
        Dovecot { lmtp, imap, folder, _process: process }
    }

    pub fn lmtp(&self) -> SocketAddr {
        self.lmtp
    }

    pub fn lmtp_socket(&self) -> PathBuf {
        self.folder.join("lmtp.sock")
    }

    /// Whom Postfix asks about accounts (`smtpd_sasl_path`).
    pub fn auth_socket(&self) -> PathBuf {
        self.folder.join("auth.sock")
    }

    /// The messages in the inbox, as IMAP gives them.
    pub fn inbox(&self, user: &str) -> Vec<Vec<u8>> {
        let mut imap = Imap::connect(self.imap);
        imap.says(&format!("LOGIN {user}@example.test {PASSWORD}"));
        let selected = imap.says("SELECT INBOX");
        let exists = selected
            .lines
            .iter()
            .find_map(|line| line.strip_suffix(" EXISTS")?.strip_prefix("* ")?.parse().ok());
        match exists.unwrap_or(0) {
            0 => Vec::new(),
            count => {
                let fetched = imap.says(&format!("FETCH 1:{count} BODY.PEEK[]"));
                fetched.literals
            }
        }
    }

    /// Waits until that many messages are in the inbox.
    pub fn wait_for(&self, user: &str, count: usize, deadline: Duration) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        wait_until(&format!("{count} messages are in the inbox of {user}"), deadline, || {
            found = self.inbox(user);
            found.len() >= count
        });
        found
    }
}

fn account(folder: &Path, user: &str) -> String {
    let home = folder.join("home").join(user);
    let quota = if user.starts_with("full") { " userdb_quota_rule=*:storage=1B" } else { "" };
    format!("{user}@example.test:{{PLAIN}}{PASSWORD}:65534:65534::{}::{quota}\n", home.display())
}

fn configuration(folder: &Path, lmtp: SocketAddr, imap: SocketAddr) -> String {
    let folder = folder.display();
    let inet =
        |address: SocketAddr| format!("address = {}\n    port = {}", address.ip(), address.port());
    format!(
        "base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:~/Maildir
postmaster_address = postmaster@example.test
hostname = lmtp.example.test
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
mail_plugins = quota
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_grace = 0
}}
service auth {{
  unix_listener {folder}/auth.sock {{
    mode = 0666
  }}
}}
service imap-login {{
  inet_listener imap {{
    {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    {lmtp}
  }}
  unix_listener {folder}/lmtp.sock {{
    mode = 0666
  }}
}}
",
        imap = inet(imap),
        lmtp = inet(lmtp),
    )
}

struct Imap {
    reader: BufReader<TcpStream>,
    number: u32,
}

/// What was answered, literals apart.
#[derive(Default)]
struct Answer {
    lines: Vec<String>,
    literals: Vec<Vec<u8>>,
}

impl Imap {
    fn connect(address: SocketAddr) -> Imap {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut imap = Imap { reader: BufReader::new(stream), number: 0 };
        imap.line();
        imap
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// A command that must succeed.
    fn says(&mut self, command: &str) -> Answer {
        self.number += 1;
        let tag = format!("a{} ", self.number);
        write!(self.reader.get_mut(), "{tag}{command}\r\n").unwrap();
        let mut answer = Answer::default();
        loop {
            let line = self.line();
            if let Some(end) = line.strip_prefix(&tag) {
                assert!(end.starts_with("OK"), "{command}: {end}");
                return answer;
            }
            // RFC 3501 §4.3: so many octets follow the line.
            let size =
                line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{')?.1.parse().ok());
            if let Some(size) = size {
                let mut literal = vec![0; size];
                self.reader.read_exact(&mut literal).unwrap();
                answer.literals.push(literal);
            }
            assert!(!line.is_empty(), "{command}: the connection ended");
            answer.lines.push(line);
        }
    }
}
