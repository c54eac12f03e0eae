//! A Postfix that relays for who may: behind one door for everybody, behind others for who has logged in or shows a certificate.
//! Passwords are Dovecot's, certificates those of an authority.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::harness::area::Area;
use crate::harness::certificates::{Authority, self_signed};
use crate::harness::dns::Dns;
use crate::harness::dovecot::Dovecot;
use crate::harness::maildir::Maildir;
use crate::harness::postfix::{self, Door, Postfix};

/// The doors, and what each asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Nothing, and has no TLS. Passwords would be taken in the clear.
    Clear,
    /// Nothing, and offers STARTTLS.
    StartTls,
    /// Nothing, and offers STARTTLS with a certificate of nobody's.
    Unproven,
    /// Nothing, and talks TLS from the first octet.
    Implicit,
    /// A password, without TLS. On loopback this is no secret told to others.
    Neighbour,
    /// A password, within STARTTLS.
    Login,
    /// A password, within TLS from the first octet, by LOGIN: it knows nothing else.
    OnlyLogin,
    /// A client's certificate, after STARTTLS; who has none is refused as a recipient is.
    Certified,
    /// A client's certificate in the handshake, which fails without.
    Strict,
}

pub const ALL: [Entrance; 9] = [
    Entrance::Clear,
    Entrance::StartTls,
    Entrance::Unproven,
    Entrance::Implicit,
    Entrance::Neighbour,
    Entrance::Login,
    Entrance::OnlyLogin,
    Entrance::Certified,
    Entrance::Strict,
];

impl Entrance {
    /// Its name in the DNS and in Received fields.
    pub fn host(self) -> &'static str {
        match self {
            Entrance::Clear => "clear.test",
            Entrance::StartTls => "starttls.test",
            Entrance::Unproven => "unproven.test",
            Entrance::Implicit => "implicit.test",
            Entrance::Neighbour => "neighbour.test",
            Entrance::Login => "login.test",
            Entrance::OnlyLogin => "only-login.test",
            Entrance::Certified => "certified.test",
            Entrance::Strict => "strict.test",
        }
    }

    fn settings(self) -> Vec<String> {
        let settings: &[&str] = match self {
            Entrance::Clear | Entrance::StartTls | Entrance::Unproven => &[],
            Entrance::Implicit => &["smtpd_tls_wrappermode=yes"],
            Entrance::Neighbour => &["who=permit_sasl_authenticated"],
            Entrance::Login => &["who=permit_sasl_authenticated", "smtpd_tls_auth_only=yes"],
            Entrance::OnlyLogin => &[
                "who=permit_sasl_authenticated",
                "smtpd_tls_wrappermode=yes",
                "smtpd_sasl_mechanism_filter=login",
            ],
            Entrance::Certified => &["who=permit_tls_all_clientcerts", "smtpd_tls_ask_ccert=yes"],
            Entrance::Strict => &[
                "who=permit_tls_all_clientcerts",
                "smtpd_tls_req_ccert=yes",
                "smtpd_tls_security_level=encrypt",
            ],
        };
        settings.iter().map(|setting| (*setting).to_owned()).collect()
    }
}

pub struct Smarthost {
    postfix: Postfix,
    pub dovecot: Dovecot,
    /// Which clients are to show a certificate of, and whose certificate it shows itself.
    pub authority: Authority,
    /// The authority's root.
    pub roots: PathBuf,
    doors: [(Entrance, SocketAddr); ALL.len()],
}

impl Smarthost {
    /// For all domains. `reject@` is refused with 550 5.1.1 and `defer@` with 450 4.2.1 in each of them. The users are Dovecot's.
    /// `None`, and said so, when something that it needs is missing.
    pub fn start(area: &Area) -> Option<Smarthost> {
        let ready = area.needs(&[postfix::PROGRAM])
            && area.needs_root(postfix::PROGRAM)
            && Dovecot::is_ready(area);
        if !ready {
            return None;
        }
        let authority = Authority::new();
        let (roots, dovecot) = (authority.write(area), Dovecot::start(area));
        let certificate = authority.leaf(&ALL.map(Entrance::host));
        let doors = ALL.map(|entrance| (entrance, area.socket()));
        let all = doors.map(|(entrance, address)| Door {
            address,
            name: entrance.host().to_owned(),
            certificate: match entrance {
                Entrance::Clear | Entrance::Neighbour => None,
                Entrance::Unproven => Some(self_signed(&[entrance.host()])),
                _ => Some(certificate.clone()),
            },
            settings: entrance.settings(),
        });
        let access = "check_recipient_access inline:{ {reject@ = 550 5.1.1 no such user}, \
                      {defer@ = 450 4.2.1 try later} }, ";
        let further = format!(
            "smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {socket}
smtpd_sasl_authenticated_header = yes
smtpd_tls_received_header = yes
smtpd_tls_CAfile = {roots}
",
            socket = dovecot.auth_socket().display(),
            roots = roots.display()
        );
        let postfix = Postfix::with_doors(area, "static:all", access, &further, &all);
        Some(Smarthost { postfix, dovecot, authority, roots, doors })
    }

    /// Lines for the top level of a daemon that trusts the authority.
    pub fn trust(&self) -> String {
        format!("tls_client {{\n    root_ca {}\n}}", self.roots.display())
    }

    pub fn address(&self, entrance: Entrance) -> SocketAddr {
        self.doors.iter().find(|(door, _)| *door == entrance).unwrap().1
    }

    /// The lines with places put in: for `{login}` host and port of that door, for `[login]` its address and port.
    pub fn places(&self, lines: &str) -> String {
        let mut text = lines.to_owned();
        for (entrance, address) in self.doors {
            let host = entrance.host();
            let name = host.trim_end_matches(".test");
            text = text.replace(&format!("{{{name}}}"), &format!("{host}:{}", address.port()));
            text = text.replace(&format!("[{name}]"), &address.to_string());
        }
        text
    }

    /// Has the names of all doors lead to them.
    pub fn publish(&self, dns: &Dns) {
        for (entrance, address) in self.doors {
            dns.host(entrance.host(), &[address.ip()]);
        }
    }

    pub fn mailbox(&self) -> &Maildir {
        &self.postfix.mailbox
    }

    pub fn log(&self) -> String {
        self.postfix.log()
    }
}
