//! A real Exim as mail exchanger, for a TLS library other than OpenSSL: Debian builds it with GnuTLS. It is unpacked, not installed
//! (`scripts/setup.sh`), because Debian has it exclude Postfix.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::harness::area::Area;
use crate::harness::certificates::Certificate;
use crate::harness::client::Client;
use crate::harness::maildir::Maildir;
use crate::harness::mounts;
use crate::harness::process::{Process, command, find, run};

pub const PROGRAM: &str = "exim4";
/// Header fields it puts on top of what it got.
pub const ADDED: [&str; 2] = ["Envelope-to", "Received"];
/// The number of `nobody`, which Debian's Exim knows as an account of its own.
const NOBODY: u32 = 65534;

pub struct Exim {
    address: SocketAddr,
    pub mailbox: Maildir,
    folder: std::path::PathBuf,
    _process: Process,
}

impl Exim {
    /// The mail exchanger of `domain`, with STARTTLS. `reject@DOMAIN` is refused with 550 5.1.1, `defer@DOMAIN` with 451 4.2.1, and
    /// each other recipient of the domain gets a copy, told from others by its Envelope-to.
    pub fn start(area: &Area, domain: &str, certificate: &Certificate) -> Exim {
        let acl = format!("accept domains = {domain}");
        let rules = Rules { acl: &acl, main: "", end: "" };
        Exim::with(area, domain, rules, &[(area.socket(), certificate.clone())])
    }

    /// The mail exchanger of `domain` that wants so many messages in a session, and answers 421 to the MAIL of one more.
    pub fn counting(area: &Area, domain: &str, certificate: &Certificate, most: u32) -> Exim {
        let acl = format!("accept domains = {domain}");
        let main = format!("smtp_accept_max_per_connection = {most}\n");
        let rules = Rules { acl: &acl, main: &main, end: "" };
        Exim::with(area, domain, rules, &[(area.socket(), certificate.clone())])
    }

    /// The mail exchanger of all domains, at several addresses with a certificate each. What came to which is told by its Received
    /// field. The mailbox is one.
    pub fn of_all_domains(area: &Area, doors: &[(SocketAddr, Certificate)]) -> Exim {
        Exim::with(area, "all.test", Rules { acl: "accept", main: "", end: "" }, doors)
    }

    /// A relay for who has logged in: within TLS as USER by PLAIN or LOGIN, or with a certificate of the authority whose root lies in
    /// `roots`, by EXTERNAL as the name that it has. It is at one address, whose certificate is given.
    pub fn for_members(
        area: &Area,
        certificate: &Certificate,
        roots: &Path,
        (user, password): (&str, &str),
    ) -> Exim {
        let main =
            format!("tls_try_verify_hosts = *\ntls_verify_certificates = {}\n", roots.display());
        let end = authenticators(user, password);
        let rules = Rules { acl: "accept authenticated = *", main: &main, end: &end };
        Exim::with(area, "members.test", rules, &[(area.socket(), certificate.clone())])
    }

    fn with(
        area: &Area,
        domain: &str,
        rules: Rules<'_>,
        doors: &[(SocketAddr, Certificate)],
    ) -> Exim {
        let address = doors[0].0;
        let name = format!("exim-{}", address.ip());
        let folder = area.folder(&name);
        let mailbox = Maildir::new(folder.join("mail"));
        fs::create_dir_all(folder.join("spool/log")).unwrap();
        for (door, certificate) in doors {
            let (_, key) = certificate.write(area, &format!("{name}/{}", door.ip()));
            run(command("chown").arg("-R").arg("nobody").arg(folder.join("spool")).arg(&key));
        }
        let program = find(PROGRAM).unwrap();
        let config = folder.join("exim.conf");
        let text = configuration(&program, &folder, domain, rules, doors);
        fs::write(&config, text).unwrap();
        let accounts = mounts::with_accounts(&folder, &[("Debian-exim", NOBODY)]);
        let mut exim = mounts::command_with(&accounts, &program);
        let mut process =
            Process::start(area, &name, exim.arg("-C").arg(&config).args(["-bdf", "-q1h"]));
        process.wait_until_ready(Duration::from_secs(30), || {
            Client::connect(address).is_ok_and(|(_, greeting)| greeting.code == 220)
        });
        Exim { address, mailbox, folder, _process: process }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it wrote of each message: `<=` for one that came, with the protocol and the cipher.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("spool/log/main")).unwrap_or_default()
    }
}

/// What differs between one and another.
#[derive(Clone, Copy)]
struct Rules<'a> {
    /// A statement for who may send to whom.
    acl: &'a str,
    /// Lines of the first part of the configuration.
    main: &'a str,
    /// Further parts.
    end: &'a str,
}

/// Nothing in it needs root: the daemon gives it up, and what it starts for a delivery does not get it back.
fn configuration(
    program: &Path,
    folder: &Path,
    domain: &str,
    Rules { acl, main, end }: Rules<'_>,
    doors: &[(SocketAddr, Certificate)],
) -> String {
    let (program, folder) = (program.display(), folder.display());
    let port = doors[0].0.port();
    let addresses: Vec<String> = doors.iter().map(|(door, _)| door.ip().to_string()).collect();
    let addresses = addresses.join(" ; ");
    format!(
        "exim_path = {program}
deliver_drop_privilege = true
keep_environment =
primary_hostname = mx.{domain}
spool_directory = {folder}/spool
log_file_path = {folder}/spool/log/%s
pid_file_path = {folder}/spool/pid
local_interfaces = <; {addresses}
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {folder}/$received_ip_address.pem
tls_privatekey = {folder}/$received_ip_address.key
received_header_text = Received: by $received_ip_address with $received_protocol id $message_exim_id
dsn_advertise_hosts = *
message_size_limit = 100M
rfc1413_query_timeout = 0s
acl_smtp_rcpt = recipient
{main}begin acl
recipient:
  deny local_parts = reject
    message = 5.1.1 no such user
  defer local_parts = defer
    message = 4.2.1 try later
  {acl}
  deny message = 5.7.1 no relay
begin routers
box:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {folder}/mail
  envelope_to_add
  user = nobody
  group = nogroup
{end}"
    )
}

/// Offered within TLS, EXTERNAL to who has shown a certificate that is proven.
fn authenticators(user: &str, password: &str) -> String {
    let is = |name: &str, word: &str| {
        format!("${{if and{{{{eq{{{name}}}{{{user}}}}}{{eq{{{word}}}{{{password}}}}}}}}}")
    };
    format!(
        "begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = {plain}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = {login}
  server_set_id = $auth1
  server_advertise_condition = ${{if def:tls_in_cipher}}
external:
  driver = external
  public_name = EXTERNAL
  server_param2 = ${{certextract{{subject,CN}}{{$tls_in_peercert}}}}
  server_condition = ${{if def:auth2}}
  server_set_id = $auth2
  server_advertise_condition = $tls_in_certificate_verified
",
        plain = is("$auth2", "$auth3"),
        login = is("$auth1", "$auth2"),
    )
}
