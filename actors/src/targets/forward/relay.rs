//! What all attempts of one target share: where its servers are, how they are spoken to, and what is known of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient as Address;

use posthaste_config::{ClientEndpoint, Endpoint, Host};
use posthaste_edge::dns::{Families, Resolver};
use posthaste_edge::session::Timeouts;
use posthaste_edge::tls::ClientTls;
use posthaste_mail::attempt::mailing::EightBit;
use posthaste_mail::envelope::TlsWish;
use posthaste_mail::outcome::{Cause, Failure, Remote};
use posthaste_mail::policy::requirement::{Demand, Offer, Requirement, Tls};
use posthaste_mail::route::addresses::addresses_of;
use posthaste_mail::wire::client::opening::Dialect;

use crate::carriage::Outfit;
use crate::carriage::counters::Counters;
use crate::carriage::unchunked::Unchunked;
use crate::messages::pool::{CheckIn, CheckOut};
use crate::servers::SharedServers;
use crate::targets::forward::settings::{Auth, Security};
use crate::vault::Vault;
use crate::wire::Wire;

pub struct Relay {
    pub target: String,
    pub dialect: Dialect,
    /// In the order of trial.
    pub servers: Vec<Server>,
    pub security: Security,
    pub auth: Auth,
    /// What clients logged in with, for `auth forward`.
    pub vault: Arc<Vault>,
    pub our_name: String,
    pub resolver: Resolver,
    pub tls: ClientTls,
    pub connect_timeout: Duration,
    pub timeouts: Timeouts,
    /// `conn_reuse_limit`: transactions of one connection.
    pub reuse_limit: u32,
    /// `strict_8bit`.
    pub eight_bit: EightBit,
    pub pool_out: Address<CheckOut>,
    pub pool_in: Address<CheckIn>,
    pub wire: Arc<Wire>,
    pub counters: Arc<Counters>,
    pub unchunked: Unchunked,
    pub memory: Arc<SharedServers>,
}

/// A server of the configuration.
pub struct Server {
    /// As failures and reports name it.
    pub name: String,
    pub endpoint: ClientEndpoint,
}

/// One address of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Tcp(std::net::SocketAddr),
    Unix(PathBuf),
}

impl Server {
    /// With the names by which they are told apart.
    pub fn all(endpoints: &[ClientEndpoint]) -> Vec<Server> {
        let host = |endpoint: &ClientEndpoint| match endpoint {
            Endpoint::Tcp { host, .. } | Endpoint::Tls { host, .. } => match host {
                Host::Name(name) => name.ascii().to_string(),
                Host::Address(address) => posthaste_mail::attempt::walk::literal(*address),
            },
            Endpoint::Unix(path) => path.display().to_string(),
        };
        let named = |endpoint: &ClientEndpoint| {
            let name = host(endpoint);
            let is_shared = endpoints.iter().any(|other| other != endpoint && host(other) == name);
            let name = match endpoint {
                Endpoint::Tcp { port, .. } | Endpoint::Tls { port, .. } if is_shared => {
                    format!("{name}:{port}")
                }
                _ => name,
            };
            Server { name, endpoint: endpoint.clone() }
        };
        endpoints.iter().map(named).collect()
    }

    pub fn remote(&self, way: &Way) -> Remote {
        let address = match way {
            Way::Tcp(address) => Some(address.ip().to_string()),
            Way::Unix(_) => None,
        };
        Remote { host: self.name.clone(), address }
    }
}

impl Relay {
    pub fn outfit(&self) -> Outfit<'_> {
        Outfit {
            counters: &self.counters,
            unchunked: &self.unchunked,
            eight_bit: self.eight_bit,
            reuse_limit: self.reuse_limit,
            pool_out: &self.pool_out,
            pool_in: &self.pool_in,
        }
    }

    /// What a session has to be like, wherever it leads.
    pub fn requirement(&self, wish: TlsWish) -> Requirement {
        let mut requirement = Requirement::none();
        if self.security.require_tls {
            requirement.tls = Tls::Authenticated(Demand::Configured);
        }
        // RFC 8689 §4.2.1; the name comes from the configuration, which vouches for it. What LMTP takes is delivered.
        if wish == TlsWish::Required && self.dialect == Dialect::Smtp {
            requirement.tls = Tls::Authenticated(Demand::RequireTls);
            requirement.requiretls = Offer::Excused;
        }
        requirement
    }

    /// And with this server.
    pub fn requirement_at(&self, server: &Server, wish: TlsWish) -> Requirement {
        let requirement = self.requirement(wish);
        match (&server.endpoint, &requirement.tls) {
            // RFC 8314 §3.3: TLS is the whole point.
            (Endpoint::Tls { .. }, Tls::Optional) => {
                Requirement { tls: Tls::Authenticated(Demand::Configured), ..requirement }
            }
            _ => requirement,
        }
    }

    /// Never by MX: the server is the one that is named.
    pub async fn ways(&self, server: &Server) -> Result<Vec<Way>, Failure> {
        let (host, port) = match &server.endpoint {
            Endpoint::Unix(path) => return Ok(vec![Way::Unix(path.clone())]),
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => (host, *port),
        };
        let way = |address| Way::Tcp(std::net::SocketAddr::new(address, port));
        let name = match host {
            Host::Address(address) => return Ok(vec![way(*address)]),
            Host::Name(name) => name,
        };
        let answer = self.resolver.addresses(name, Families::Both).await;
        match addresses_of(name, answer, false) {
            Ok(found) => Ok(found.list.into_iter().map(way).collect()),
            Err(failure) => {
                let failure = match failure.cause {
                    // A name in the configuration is no reason to send mail back: an operator has mistyped it, or its zone is being changed.
                    Cause::NoAddress => {
                        let text = format!("{name} has no address");
                        Failure::new(Cause::AddressLookupFailed, text)
                    }
                    _ => failure,
                };
                Err(failure.at(Remote { host: server.name.clone(), address: None }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_one_host_are_told_apart() {
        let endpoints: Vec<ClientEndpoint> =
            ["tcp://mx.test:25", "tls://mx.test:465", "unix:/run/l", "tcp://127.0.0.1:24"]
                .iter()
                .map(|text| posthaste_config::endpoint::client(text).unwrap())
                .collect();
        let names: Vec<String> = Server::all(&endpoints).into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["mx.test:25", "mx.test:465", "/run/l", "[127.0.0.1]"]);
    }
}
