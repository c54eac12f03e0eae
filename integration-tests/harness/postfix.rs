//! A real Postfix as mail exchanger, started by hand in the test's area, delivering into a maildir the test can read.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::Certificate;
use crate::harness::client::Client;
use crate::harness::maildir::Maildir;
use crate::harness::process::{Process, command, run};

pub const PROGRAM: &str = "postfix";
/// Header fields Postfix puts on top of what it got.
pub const ADDED: [&str; 4] = ["Return-Path", "X-Original-To", "Delivered-To", "Received"];

/// One door of a Postfix.
pub struct Door {
    pub address: SocketAddr,
    /// As it calls itself in the Received field of what comes through it.
    pub name: String,
    /// `None`: STARTTLS is not offered.
    pub certificate: Option<Certificate>,
    /// `PARAMETER=VALUE` without blanks, for what else is its own.
    pub settings: Vec<String>,
}

pub struct Postfix {
    address: SocketAddr,
    folder: PathBuf,
    pub mailbox: Maildir,
    process: Process,
}

impl Postfix {
    /// The mail exchanger of `domain`, with STARTTLS. `reject@DOMAIN` is refused with 550 5.1.1, `defer@DOMAIN` with 450 4.2.1,
    /// and any other user of the domain has a mailbox.
    pub fn start(area: &Area, domain: &str, certificate: &Certificate) -> Postfix {
        let name = format!("mx.{domain}");
        let certificate = Some(certificate.clone());
        let access = format!(
            "check_recipient_access inline:{{ {{reject@{domain} = 550 5.1.1 no such user}}, \
             {{defer@{domain} = 450 4.2.1 try later}} }}, "
        );
        let door = Door { address: area.socket(), name, certificate, settings: Vec::new() };
        Postfix::with_doors(area, domain, &access, "", &[door])
    }

    /// The mail exchanger of all domains, behind several doors. The mailbox is one.
    pub fn of_all_domains(area: &Area, doors: &[Door]) -> Postfix {
        Postfix::with_doors(area, "static:all", "", "", doors)
    }

    /// The first door must be one that greets who just comes. `access` are restrictions that end in `, `, `further` lines of `main.cf`.
    pub fn with_doors(
        area: &Area,
        domains: &str,
        access: &str,
        further: &str,
        doors: &[Door],
    ) -> Postfix {
        Postfix::with_services(area, domains, access, further, doors, "")
    }

    /// The mail exchanger of `domain` behind postscreen, at the address given with it: a client that nobody knows is answered 450 in its
    /// first session, and let through from the next one on.
    pub fn screened(area: &Area, domain: &str) -> (Postfix, SocketAddr) {
        let (open, screened) = (area.socket(), area.socket());
        let door = Door {
            address: open,
            name: format!("mx.{domain}"),
            certificate: None,
            settings: Vec::new(),
        };
        let further = "postscreen_access_list =\n\
                       postscreen_cache_map = btree:$data_directory/postscreen_cache\n\
                       postscreen_pipelining_enable = yes\n\
                       postscreen_pipelining_action = enforce\n\
                       postscreen_upstream_proxy_protocol =\n";
        let services =
            format!("{screened} inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n");
        (Postfix::with_services(area, domain, "", further, &[door], &services), screened)
    }

    fn with_services(
        area: &Area,
        domains: &str,
        access: &str,
        further: &str,
        doors: &[Door],
        services: &str,
    ) -> Postfix {
        let address = doors[0].address;
        let name = format!("postfix-{}", address.ip());
        let folder = area.folder(&name);
        for part in ["q", "data", "mail"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        run(command("chown").arg("postfix").arg(folder.join("data")));
        run(command("chown").arg("nobody").arg(folder.join("mail")));
        let mailbox = Maildir::new(folder.join("mail/box"));
        let main = main_cf(&folder, &doors[0].name, domains, access);
        fs::write(folder.join("main.cf"), main + further).unwrap();
        let services =
            services.to_owned() + &doors.iter().map(|door| service(area, door)).collect::<String>();
        fs::write(folder.join("master.cf"), master_cf(&services)).unwrap();
        let mut postfix = command(PROGRAM);
        let mut process =
            Process::start(area, &name, postfix.arg("-c").arg(&folder).arg("start-fg"));
        process.wait_until_ready(Duration::from_secs(30), || {
            Client::connect(address).is_ok_and(|(_, greeting)| greeting.code == 220)
        });
        Postfix { address, folder, mailbox, process }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How often MAIL was said at the door of this name, in connections that have ended.
    pub fn mails(&self, door: &str) -> usize {
        let smtpd = format!(" {door}/smtpd[");
        let log = self.log();
        let ended = log.lines().filter(|l| l.contains(&smtpd) && l.contains(" disconnect from "));
        let said = ended.filter_map(|line| line.split_once(" mail=")).filter_map(|(_, counts)| {
            // `1`, or `1/2` where one of two was refused.
            let counts = counts.split(' ').next()?;
            counts.rsplit('/').next()?.parse::<usize>().ok()
        });
        said.sum()
    }
}

impl Drop for Postfix {
    /// The process we started is a shell that waits for the master; `stop` finds the master by the pid file in our folder.
    fn drop(&mut self) {
        let _ = command(PROGRAM).arg("-c").arg(&self.folder).arg("stop").output();
        self.process.wait(Duration::from_secs(5));
    }
}

fn main_cf(folder: &Path, name: &str, domains: &str, access: &str) -> String {
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/q
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = {name}
inet_interfaces = loopback-only
mydestination =
alias_maps =
local_header_rewrite_clients =
message_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_loglevel = 1
who = permit_mynetworks
smtpd_recipient_restrictions = {access}$who, reject
mynetworks = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
anvil_status_update_time = 1h
maillog_file = /dev/stdout
"
    )
}

/// The line of a door, with what is its own.
fn service(area: &Area, Door { address, name, certificate, settings }: &Door) -> String {
    let tls = certificate.as_ref().map(|certificate| {
        let (chain, key) = certificate.write(area, &format!("postfix-{}", address.ip()));
        let files = format!("smtpd_tls_chain_files={},{}", key.display(), chain.display());
        format!("  -o smtpd_tls_security_level=may -o {files}\n")
    });
    let tls = tls.unwrap_or_default();
    let own: String = settings.iter().map(|setting| format!("  -o {setting}\n")).collect();
    format!(
        "{address} inet n - n - - smtpd\n  -o myhostname={name} -o syslog_name={name}\n{tls}{own}"
    )
}

/// Debian's own file runs its services in a chroot, which would need a populated queue directory.
/// `listeners` are the lines of the services that others connect to.
pub fn master_cf(listeners: &str) -> String {
    let mut text = listeners.to_owned();
    for (service, options) in [
        ("pickup", "unix n - n 60 1"),
        ("cleanup", "unix n - n - 0"),
        ("qmgr", "unix n - n 300 1"),
        ("tlsmgr", "unix - - n 1000? 1"),
        ("rewrite", "unix - - n - -"),
        ("bounce", "unix - - n - 0"),
        ("defer", "unix - - n - 0"),
        ("trace", "unix - - n - 0"),
        ("verify", "unix - - n - 1"),
        ("flush", "unix n - n 1000? 0"),
        ("proxymap", "unix - - n - -"),
        ("smtp", "unix - - n - -"),
        ("error", "unix - - n - -"),
        ("retry", "unix - - n - -"),
        ("discard", "unix - - n - -"),
        ("virtual", "unix - n n - -"),
        ("anvil", "unix - - n - 1"),
        ("scache", "unix - - n - 1"),
        ("postlog", "unix-dgram n - n - 1"),
    ] {
        let daemon = match service {
            "rewrite" => "trivial-rewrite",
            "defer" | "trace" => "bounce",
            "retry" => "error",
            "postlog" => "postlogd",
            other => other,
        };
        text += &format!("{service} {options} {daemon}\n");
    }
    text
}
