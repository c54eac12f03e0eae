//! A row of the table: a mail domain, all that is published about it, how the daemon is set up, and what must come of a message.
//!
//! The zones, the policy hosts and the certificates of the laboratory are made from the rows; a row named `x` in the signed zone is the
//! domain `x.signed.test`, its first exchanger `mx1.x.signed.test`.

use crate::policy::{Policy, Record, Served};
use crate::server::Server;
use crate::stance::Stance;
use crate::tlsa::{Of, Tlsa};

/// Where a domain, or a host of it, is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zone {
    Signed,
    /// A child of a signed zone, delegated without a key.
    Unsigned,
    /// Signed, with signatures of 2020.
    Expired,
}

impl Zone {
    pub fn name(self) -> &'static str {
        match self {
            Zone::Signed => "signed.test",
            Zone::Unsigned => "unsigned.test",
            Zone::Expired => "expired.test",
        }
    }
}

/// Under which name of a host that is an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Initial,
    /// The name behind the CNAME.
    Canonical,
}

/// One mail exchanger of a row's domain.
#[derive(Clone, Debug)]
pub struct Host {
    pub server: Server,
    /// In another zone than the domain.
    pub zone: Option<Zone>,
    /// It is a CNAME to a host in this zone.
    pub alias: Option<Zone>,
    /// The name that its certificate carries.
    pub certified: At,
    pub tlsa: Vec<Tlsa>,
    /// The name of the TLSA records is a CNAME into this zone.
    pub tlsa_alias: Option<Zone>,
}

/// What the message says about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Unsaid,
    /// `REQUIRETLS` on MAIL.
    Required,
    /// `TLS-Required: No`.
    Waived,
    /// Both.
    RequiredAndWaived,
    /// `TLS-Required: Yes`, which is no value.
    Misspelt,
}

/// What comes of the first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// By the last of the hosts; encrypted unless the TLS level is none.
    Delivered {
        mx: &'static str,
        tls: &'static str,
    },
    /// With a status that begins so and a text that names this; nobody gets the message.
    Deferred {
        status: &'static str,
        naming: &'static str,
    },
    Failed {
        status: &'static str,
        naming: &'static str,
    },
}

#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub zone: Zone,
    pub hosts: Vec<Host>,
    /// The domain is a CNAME to `real.DOMAIN`, which has the MX records.
    pub domain_alias: bool,
    /// No MX record: the domain itself is the only exchanger (RFC 5321 §5.1).
    pub implicit: bool,
    pub policy: Option<Policy>,
    /// Why the policy cannot be had, in the words of the log.
    pub unfetched: Option<&'static str>,
    /// Sets of records whose signature is worthless: (owner within the domain, type).
    pub bogus: Vec<(&'static str, &'static str)>,
    /// The TLSA records of the first host are delegated to a server that is not there.
    pub lame_tlsa: bool,
    pub stance: Stance,
    pub wish: Wish,
    /// A parameter of MAIL, where the server writes it down.
    pub saying: Option<&'static str>,
    /// The name that is asked for in the handshake, where the server writes it down.
    pub asked: Option<At>,
    pub expect: Expect,
}

/// A row in the signed zone.
pub fn signed(name: &'static str) -> Row {
    row(name, Zone::Signed)
}

/// A row in the zone without signatures.
pub fn unsigned(name: &'static str) -> Row {
    row(name, Zone::Unsigned)
}

pub fn row(name: &'static str, zone: Zone) -> Row {
    Row {
        name,
        zone,
        hosts: Vec::new(),
        domain_alias: false,
        implicit: false,
        policy: None,
        unfetched: None,
        bogus: Vec::new(),
        lame_tlsa: false,
        stance: Stance::All,
        wish: Wish::Unsaid,
        saying: None,
        asked: None,
        expect: Expect::Deferred { status: "", naming: "" },
    }
}

/// What it is made of, in the order of a sentence. What concerns a host concerns the one named last.
impl Row {
    /// The next mail exchanger, less preferred than those before.
    pub fn at(mut self, server: Server) -> Row {
        self.hosts.push(Host {
            server,
            zone: None,
            alias: None,
            certified: At::Initial,
            tlsa: Vec::new(),
            tlsa_alias: None,
        });
        self
    }

    fn host(&mut self) -> &mut Host {
        self.hosts.last_mut().expect("`at` comes first")
    }

    pub fn in_zone(mut self, zone: Zone) -> Row {
        self.host().zone = Some(zone);
        self
    }

    pub fn alias_into(mut self, zone: Zone) -> Row {
        self.host().alias = Some(zone);
        self
    }

    pub fn certified_as_canonical(mut self) -> Row {
        self.host().certified = At::Canonical;
        self
    }

    pub fn tlsa(self, numbers: &'static str, of: Of) -> Row {
        self.tlsa_at(At::Initial, numbers, of)
    }

    pub fn tlsa_at(mut self, at: At, numbers: &'static str, of: Of) -> Row {
        self.host().tlsa.push(Tlsa { numbers, of, at });
        self
    }

    pub fn tlsa_alias_into(mut self, zone: Zone) -> Row {
        self.host().tlsa_alias = Some(zone);
        self
    }

    pub fn lame_tlsa(mut self) -> Row {
        self.lame_tlsa = true;
        self
    }

    pub fn domain_alias(mut self) -> Row {
        self.domain_alias = true;
        self
    }

    pub fn implicit(mut self) -> Row {
        self.implicit = true;
        self
    }

    pub fn bogus(mut self, owner: &'static str, kind: &'static str) -> Row {
        self.bogus.push((owner, kind));
        self
    }

    /// An MTA-STS policy of this mode that lists the exchangers.
    pub fn sts(mut self, mode: &'static str) -> Row {
        self.policy = Some(Policy { mode, mx: &[], served: Served::Well, record: Record::One });
        self
    }

    fn policy(&mut self) -> &mut Policy {
        self.policy.as_mut().expect("`sts` comes first")
    }

    pub fn listing(mut self, mx: &'static [&'static str]) -> Row {
        self.policy().mx = mx;
        self
    }

    pub fn served(mut self, served: Served) -> Row {
        self.policy().served = served;
        self
    }

    pub fn record(mut self, record: Record) -> Row {
        self.policy().record = record;
        self
    }

    pub fn unfetched(mut self, cause: &'static str) -> Row {
        self.unfetched = Some(cause);
        self
    }

    pub fn under(mut self, stance: Stance) -> Row {
        self.stance = stance;
        self
    }

    pub fn wishing(mut self, wish: Wish) -> Row {
        self.wish = wish;
        self
    }

    pub fn saying(mut self, parameter: &'static str) -> Row {
        self.saying = Some(parameter);
        self
    }

    pub fn asked_as(mut self, name: At) -> Row {
        self.asked = Some(name);
        self
    }

    pub fn delivered(mut self, mx: &'static str, tls: &'static str) -> Row {
        self.expect = Expect::Delivered { mx, tls };
        self
    }

    pub fn deferred(mut self, status: &'static str, naming: &'static str) -> Row {
        self.expect = Expect::Deferred { status, naming };
        self
    }

    pub fn failed(mut self, status: &'static str, naming: &'static str) -> Row {
        self.expect = Expect::Failed { status, naming };
        self
    }
}

/// Its names.
impl Row {
    pub fn domain(&self) -> String {
        format!("{}.{}", self.name, self.zone.name())
    }

    /// The name that has the MX records.
    pub fn canonical_domain(&self) -> String {
        let domain = self.domain();
        if self.domain_alias { format!("real.{domain}") } else { domain }
    }

    pub fn recipient(&self) -> String {
        format!("user@{}", self.domain())
    }

    /// The name of the host in the MX record, or the domain where there is none.
    pub fn host_name(&self, number: usize) -> String {
        if self.implicit {
            return self.domain();
        }
        let zone = self.hosts[number].zone.unwrap_or(self.zone);
        format!("mx{}.{}.{}", number + 1, self.name, zone.name())
    }

    /// The name behind the alias; the same where it is none.
    pub fn canonical_name(&self, number: usize) -> String {
        match self.hosts[number].alias {
            Some(zone) => format!("real{}.{}.{}", number + 1, self.name, zone.name()),
            None => self.host_name(number),
        }
    }

    /// A name of the host that is to get the message.
    pub fn name_of_last(&self, at: At) -> String {
        let number = self.hosts.len() - 1;
        match at {
            At::Initial => self.host_name(number),
            At::Canonical => self.canonical_name(number),
        }
    }

    /// The name that a certificate for this host carries.
    pub fn certified_name(&self, number: usize) -> String {
        match (self.hosts[number].server, self.hosts[number].certified) {
            (Server::MailDomain, At::Canonical) => self.canonical_domain(),
            (Server::MailDomain, At::Initial) => self.domain(),
            (_, At::Initial) => self.host_name(number),
            (_, At::Canonical) => self.canonical_name(number),
        }
    }
}
