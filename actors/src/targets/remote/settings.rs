//! The block of a `target.remote`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_config::{Block, Node, Problem};
use posthaste_edge::dial::LocalAddresses;
use posthaste_edge::dns::Families;
use posthaste_edge::session::Timeouts;
use posthaste_edge::tls::ClientTls;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::mailing::EightBit;
use posthaste_mail::policy::settings::{Policies, RequireTls};
use posthaste_mail::pool::Keeping;

use crate::configuration::Reader;
use crate::limits::SharedLimits;
use crate::targets::remote::mx_auth::StsBlock;
use crate::targets::sessions::{self, SessionSettings};

#[derive(Debug)]
pub struct RemoteSettings {
    pub hostname: Domain,
    pub port: u16,
    pub local: LocalAddresses,
    pub families: Families,
    pub connect_timeout: Duration,
    pub timeouts: Timeouts,
    pub keeping: Keeping,
    pub eight_bit: EightBit,
    pub allow_loopback_mx: bool,
    pub allow_address_literal: bool,
    /// `mx_auth`, `requiretls_override` and `relaxed_requiretls`.
    pub policies: Policies,
    /// `mtasts`.
    pub sts: Option<Arc<StsBlock>>,
    pub tls: ClientTls,
    pub limits: Option<SharedLimits>,
    pub debug: bool,
}

pub fn read(reader: &Reader<'_>, node: &Node, inline: bool) -> Option<RemoteSettings> {
    let globals = &reader.loaded.globals;
    let mut block = Block::open(node, reader.problems());
    if inline && !node.args.is_empty() {
        block.error(&node.at, "takes no arguments");
    }
    let hostname = block.domain("hostname").inherit(globals.hostname()).required();
    let local = block.value("local_ip", local_ip).or(LocalAddresses::default());
    let force_ipv4 = block.boolean("force_ipv4").or(false);
    // `port`, default 25: for laboratories.
    let port = block.integer("port", 1..=65535u16).or(25);
    let SessionSettings { connect_timeout, timeouts, keeping, eight_bit } =
        sessions::read(&mut block);
    let allow_loopback_mx = block.boolean("allow_loopback_mx").or(false);
    let allow_address_literal = block.boolean("allow_address_literal").or(false);
    let debug = block.boolean("debug").or(globals.debug());
    // "Syntax: requiretls_override boolean. Default: true".
    let may_be_waived = block.boolean("requiretls_override").or(true);
    // "Syntax: relaxed_requiretls boolean. Default: true".
    let relaxed = block.boolean("relaxed_requiretls").or(true);
    let mx_auth = block.group("mx_auth").optional();
    let limits = block.group("limits").optional();
    let tls = block.group("tls_client").optional();
    block.close();
    let name = match (inline, node.args.first()) {
        (false, Some(name)) => name.clone(),
        _ => format!("target.remote at {}", node.at),
    };
    let mx_auth = mx_auth.map(|group| reader.mx_auth.read(&reader.reading(), &group, &name));
    let mx_auth = mx_auth.unwrap_or_default();
    let limits = limits.map(|group| reader.limits.read(&reader.reading(), &group));
    let tls = reader.tls_client(tls.as_ref(), node)?;
    Some(RemoteSettings {
        hostname: hostname?,
        port,
        local,
        families: if force_ipv4 { Families::OnlyIpv4 } else { Families::Both },
        connect_timeout,
        timeouts,
        keeping,
        eight_bit,
        allow_loopback_mx,
        allow_address_literal,
        policies: Policies {
            requiretls: RequireTls { may_be_waived, relaxed },
            ..mx_auth.policies
        },
        sts: mx_auth.sts,
        tls,
        limits,
        debug,
    })
}

/// One address, or one of each family.
fn local_ip(node: &Node) -> Result<LocalAddresses, Problem> {
    let mut local = LocalAddresses::default();
    let wrong = |text: String| Problem::error(&node.at, format!("local_ip: {text}"));
    if node.args.is_empty() {
        return Err(wrong("expects one address, or one of each family".to_string()));
    }
    for word in &node.args {
        let twice = match word.parse() {
            Ok(address) if !may_be_ours(address) => {
                return Err(wrong(format!("{word} is no address to send from")));
            }
            Ok(IpAddr::V4(v4)) => local.v4.replace(v4).is_some(),
            Ok(IpAddr::V6(v6)) => local.v6.replace(v6).is_some(),
            Err(_) => return Err(wrong(format!("{word:?} is not an IP address"))),
        };
        if twice {
            return Err(wrong("names two addresses of one family".to_string()));
        }
    }
    Ok(local)
}

/// Whether a connection may come from it: not from a group, nor by IPv6 from an IPv4 address.
fn may_be_ours(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_multicast() && v6.to_ipv4_mapped().is_none(),
    }
}
