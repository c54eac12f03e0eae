//! The mail exchangers of the laboratory: which program, with which certificate.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::arrival::{Arrival, Heard, Mailroom, mark};
use crate::harness::area::Area;
use crate::harness::certificates::{Authority, Certificate, self_signed};
use crate::harness::exim::{self, Exim};
use crate::harness::postfix::{Door, Postfix};
use crate::harness::sink::{Manners, Sink};

/// One mail exchanger. Those without a name of a program are doors of one Postfix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// By the trusted authority, for the host's name; the leaf alone is sent.
    Good,
    /// By an intermediate of the trusted authority, which is sent with it.
    Chained,
    /// As `Good`, but for a wildcard that covers the host.
    Wildcard,
    SelfSigned,
    /// By the trusted authority, until yesterday.
    Expired,
    /// By the trusted authority, for `mx.elsewhere.test`.
    WrongName,
    /// By an intermediate of an authority that nobody trusts, sent with intermediate and root.
    Private,
    /// As `Private`, without the root.
    PrivateShort,
    PrivateExpired,
    PrivateWrongName,
    /// As `Private`, for the mail domain and not for the host.
    MailDomain,
    /// Offers no STARTTLS.
    Plain,
    /// Exim with a certificate as `Good`; its TLS is GnuTLS.
    EximGood,
    EximSelfSigned,
    /// Exim with a certificate as `Private`.
    EximPrivate,
    /// A sink that writes down what it is asked and told, and offers DSN; with a certificate as `Good`.
    Witness,
    /// A sink that knows no TLS newer than 1.1.
    TooOld,
    /// A sink whose handshakes all fail.
    Broken,
    /// A sink that offers STARTTLS and does not know it.
    Refusing,
    /// A sink that offers REQUIRETLS (no server of Debian does), with a certificate as `Good`.
    RequireTls,
    RequireTlsSelfSigned,
    RequireTlsExpired,
    /// Nobody listens there.
    Nobody,
}

use Server::*;

const POSTFIX: [Server; 12] = [
    Good,
    Chained,
    Wildcard,
    SelfSigned,
    Expired,
    WrongName,
    Private,
    PrivateShort,
    PrivateExpired,
    PrivateWrongName,
    MailDomain,
    Plain,
];
const EXIM: [Server; 3] = [EximGood, EximSelfSigned, EximPrivate];
const SINKS: [Server; 7] =
    [Witness, TooOld, Broken, Refusing, RequireTls, RequireTlsSelfSigned, RequireTlsExpired];

impl Server {
    pub fn is_exim(self) -> bool {
        EXIM.contains(&self)
    }

    /// It writes down what it is asked and told.
    pub fn listens_closely(self) -> bool {
        SINKS.contains(&self)
    }

    pub fn offers_requiretls(self) -> bool {
        matches!(self, RequireTls | RequireTlsSelfSigned | RequireTlsExpired)
    }

    /// Of the door, as its Postfix says it in Received fields.
    fn door_name(self) -> String {
        format!("{self:?}.laboratory.test").to_ascii_lowercase()
    }
}

/// The authorities, and what they have certified.
pub struct Certificates {
    pub trusted: Authority,
    of: BTreeMap<Server, Certificate>,
}

impl Certificates {
    /// `names` of a server are the hosts that lie there, or the mail domains where the server is `MailDomain`.
    pub fn issue(names: &BTreeMap<Server, Vec<String>>) -> Certificates {
        let trusted = Authority::named("Trusted Root");
        let intermediate = trusted.below("Trusted Intermediate");
        let private = Authority::named("Private Root").below("Private Intermediate");
        let of = [&POSTFIX[..], &EXIM, &SINKS].concat().into_iter().filter_map(|server| {
            let none = Vec::new();
            let names = names.get(&server).unwrap_or(&none);
            let fallback = [server.door_name()]; // no row has it
            let names: Vec<&str> = match names.is_empty() {
                true => fallback.iter().map(String::as_str).collect(),
                false => names.iter().map(String::as_str).collect(),
            };
            let elsewhere = ["mx.elsewhere.test"];
            let certificate = match server {
                Good | EximGood | Witness | RequireTls | TooOld | Broken => trusted.leaf(&names),
                Chained => intermediate.leaf(&names),
                Wildcard => {
                    let above = |name: &&str| {
                        name.split_once('.').map(|(_, parent)| format!("*.{parent}")).unwrap()
                    };
                    let names: Vec<String> = names.iter().map(above).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    trusted.leaf(&names)
                }
                SelfSigned | EximSelfSigned | RequireTlsSelfSigned => self_signed(&names),
                Expired | RequireTlsExpired => trusted.expired(&names),
                WrongName => trusted.leaf(&elsewhere),
                Private | PrivateShort | EximPrivate | MailDomain => private.leaf(&names),
                PrivateExpired => private.expired(&names),
                PrivateWrongName => private.leaf(&elsewhere),
                Plain | Refusing | Nobody => return None,
            };
            Some((server, certificate))
        });
        let of = of.collect();
        Certificates { trusted, of }
    }

    /// With all that stands above it, sent or not.
    pub fn of(&self, server: Server) -> Option<&Certificate> {
        self.of.get(&server)
    }

    /// As the server sends it.
    fn sent(&self, server: Server) -> Option<Certificate> {
        let above = match server {
            Private | PrivateExpired | PrivateWrongName | EximPrivate | MailDomain => 2,
            Chained | PrivateShort => 1,
            _ => 0,
        };
        self.of(server).map(|certificate| certificate.clone().sending(above))
    }
}

/// All of them, running.
pub struct Servers {
    places: BTreeMap<Server, SocketAddr>,
    postfix: Postfix,
    exim: Option<Exim>,
    sinks: BTreeMap<Server, Sink>,
    mailroom: Mailroom,
}

impl Servers {
    /// An address for each.
    pub fn places(area: &Area) -> BTreeMap<Server, SocketAddr> {
        let all = [&POSTFIX[..], &EXIM, &SINKS, &[Nobody]].concat();
        all.into_iter().map(|server| (server, area.socket())).collect()
    }

    pub fn start(
        area: &Area,
        places: BTreeMap<Server, SocketAddr>,
        certificates: &Certificates,
    ) -> Servers {
        let doors = POSTFIX.map(|server| Door {
            address: places[&server],
            name: server.door_name(),
            certificate: certificates.sent(server),
            settings: Vec::new(),
        });
        let postfix = Postfix::of_all_domains(area, &doors);
        let exim = area.needs(&[exim::PROGRAM]).then(|| {
            let doors = EXIM.map(|server| (places[&server], certificates.sent(server).unwrap()));
            Exim::of_all_domains(area, &doors)
        });
        let sink = |server: Server| {
            let acceptor = certificates.sent(server).map(|certificate| match server {
                TooOld => certificate.outdated_acceptor(),
                Broken => certificate.broken_acceptor(),
                _ => certificate.acceptor(),
            });
            let mut manners = Manners { tls: acceptor, ..Manners::default() };
            match server {
                Refusing => manners.keywords.push("STARTTLS"),
                Witness => manners.keywords.push("DSN"),
                _ if server.offers_requiretls() => {
                    manners.secured_keywords.extend(["REQUIRETLS", "DSN"]);
                }
                _ => {}
            }
            (server, Sink::with(places[&server], manners))
        };
        let sinks = SINKS.into_iter().map(sink).collect();
        Servers { places, postfix, exim, sinks, mailroom: Mailroom::default() }
    }

    pub fn has_exim(&self) -> bool {
        self.exim.is_some()
    }

    pub fn address(&self, server: Server) -> SocketAddr {
        self.places[&server]
    }

    /// Doors of Postfix that heard of a message and did not get it: the envelope came where the content did not. Right when every
    /// connection has ended.
    pub fn eavesdroppers(&self) -> Vec<String> {
        let messages = self.in_postfix();
        let faults = POSTFIX.iter().filter_map(|server| {
            let came = messages.iter().filter(|(_, arrival)| arrival.at == *server).count();
            let heard = self.postfix.mails(&server.door_name());
            (heard != came).then(|| format!("{server:?} heard MAIL {heard} times and got {came}"))
        });
        faults.collect()
    }

    /// Every copy of the message with this `X-Test-Id`, wherever it came.
    pub fn arrivals(&self, id: &str) -> Vec<Arrival> {
        let stored = self.in_postfix().into_iter().chain(self.in_exim());
        let mut all: Vec<Arrival> =
            stored.filter(|(mark, _)| mark == id).map(|(_, arrival)| arrival).collect();
        for (server, sink) in &self.sinks {
            for transaction in sink.transactions() {
                if mark(&transaction.text()).as_deref() == Some(id) {
                    let encrypted = transaction.tls.is_some();
                    let heard = Heard { mail: transaction.from, name: transaction.asked_name };
                    all.push(Arrival { at: *server, encrypted, heard: Some(heard) });
                }
            }
        }
        all
    }

    fn in_postfix(&self) -> Vec<(String, Arrival)> {
        let doors = POSTFIX.map(|server| (server, server.door_name()));
        self.mailroom.look(self.postfix.mailbox.files(), &doors)
    }

    fn in_exim(&self) -> Vec<(String, Arrival)> {
        let Some(exim) = &self.exim else { return Vec::new() };
        let doors = EXIM.map(|server| (server, self.places[&server].ip().to_string()));
        self.mailroom.look(exim.mailbox.files(), &doors)
    }
}
