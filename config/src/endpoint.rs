//! Addresses to listen on and to connect to.
//!
//! `tcp://HOST:PORT`, `tls://HOST:PORT` (TLS from the first byte) and `unix:PATH`, with or without the slashes, the scheme in any case.
//! An address that names a user, a path behind a port, a query or a fragment is refused: nothing here could obey it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use posthaste_mail::address::{AddressError, Domain};

use crate::problem::shown;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint<H> {
    Tcp {
        host: H,
        port: u16,
    },
    /// TLS before the protocol's first word.
    Tls {
        host: H,
        port: u16,
    },
    /// A socket of the file system; `under` says what a relative path counts from.
    Unix(PathBuf),
}

pub type ClientEndpoint = Endpoint<Host>;
pub type ListenEndpoint = Endpoint<ListenHost>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Address(IpAddr),
    Name(Domain),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenHost {
    /// `0.0.0.0`, `[::]` or nothing: every address of this machine, IPv4 and IPv6 alike.
    Any,
    Host(Host),
}

impl<H> Endpoint<H> {
    /// A relative path of a Unix socket is joined to `directory`, the run-time directory.
    #[must_use]
    pub fn under(self, directory: &Path) -> Endpoint<H> {
        match self {
            Endpoint::Unix(path) => Endpoint::Unix(directory.join(path)),
            other => other,
        }
    }
}

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    text: String,
    why: Fault,
}

impl EndpointError {
    pub fn why(&self) -> Fault {
        self.why
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoScheme,
    UnknownScheme,
    Control,
    UserInfo,
    Query,
    Fragment,
    PathAfterPort,
    NoPort,
    BadPort,
    NoHost,
    Wildcard,
    BareIpv6,
    BadIpv6,
    BadName(AddressError),
    NumericName,
    NoPath,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {}: ", shown(&self.text))?;
        f.write_str(match self.why {
            Fault::NoScheme | Fault::UnknownScheme => {
                "expects tcp://HOST:PORT, tls://HOST:PORT or unix:PATH"
            }
            Fault::Control => "control characters are not allowed",
            Fault::UserInfo => "a user name is not allowed",
            Fault::Query => "a query is not allowed",
            Fault::Fragment => "a fragment is not allowed",
            Fault::PathAfterPort => "a path behind the port is not allowed",
            Fault::NoPort => "the port is missing",
            Fault::BadPort => "the port is not a number from 1 to 65535",
            Fault::NoHost => "the host is missing",
            Fault::Wildcard => "a wildcard is nothing to connect to",
            Fault::BareIpv6 => "an IPv6 address needs brackets",
            Fault::BadIpv6 => "malformed IPv6 address",
            Fault::NumericName => "malformed IPv4 address",
            Fault::NoPath => "the path is missing",
            Fault::BadName(error) => return write!(f, "host: {error}"),
        })
    }
}

impl std::error::Error for EndpointError {}

/// An address to connect to: the host is named.
pub fn client(text: &str) -> Result<ClientEndpoint, EndpointError> {
    let host = |host: &str| match listen_host(host)? {
        ListenHost::Host(host) => Ok(host),
        ListenHost::Any if host.is_empty() => Err(Fault::NoHost),
        ListenHost::Any => Err(Fault::Wildcard),
    };
    parse(text, 1, host).map_err(|why| EndpointError { text: text.to_string(), why })
}

/// An address to listen on: the host may be missing or a wildcard; port 0 lets the system choose one.
pub fn listen(text: &str) -> Result<ListenEndpoint, EndpointError> {
    parse(text, 0, listen_host).map_err(|why| EndpointError { text: text.to_string(), why })
}

fn parse<H>(
    text: &str,
    lowest_port: u16,
    host: impl Fn(&str) -> Result<H, Fault>,
) -> Result<Endpoint<H>, Fault> {
    if text.chars().any(char::is_control) {
        return Err(Fault::Control);
    }
    let (scheme, rest) = text.split_once(':').ok_or(Fault::NoScheme)?;
    let scheme = scheme.to_ascii_lowercase();
    if !["tcp", "tls", "unix"].contains(&scheme.as_str()) {
        return Err(Fault::UnknownScheme);
    }
    if rest.contains('?') {
        return Err(Fault::Query);
    }
    if rest.contains('#') {
        return Err(Fault::Fragment);
    }
    let authority = rest.strip_prefix("//");
    if scheme == "unix" {
        // Host part and path part are one path: unix://run/x is run/x.
        let user = authority.and_then(|a| a.split('/').next()).is_some_and(|h| h.contains('@'));
        return match authority.unwrap_or(rest) {
            _ if user => Err(Fault::UserInfo),
            "" => Err(Fault::NoPath),
            path => Ok(Endpoint::Unix(PathBuf::from(path))),
        };
    }
    let authority = authority.unwrap_or(rest);
    if authority.contains('@') {
        return Err(Fault::UserInfo);
    }
    if authority.contains('/') {
        return Err(Fault::PathAfterPort);
    }
    let (name, port) = split_port(authority)?;
    let host = host(name)?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|_| digits).ok_or(Fault::BadPort)?;
    match (scheme.as_str(), port) {
        (_, port) if port < lowest_port => Err(Fault::BadPort),
        ("tls", port) => Ok(Endpoint::Tls { host, port }),
        (_, port) => Ok(Endpoint::Tcp { host, port }),
    }
}

/// Host, still in its brackets, and port.
fn split_port(authority: &str) -> Result<(&str, &str), Fault> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Err(Fault::NoPort),
        None => Err(Fault::BadIpv6), // something between the bracket and the port
        Some("") => Err(Fault::NoPort),
        Some(port) if port.contains(':') => Err(Fault::BareIpv6),
        Some(port) => Ok((host, port)),
    }
}

fn listen_host(text: &str) -> Result<ListenHost, Fault> {
    let address = match text.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']').ok_or(Fault::BadIpv6)?;
            Some(IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| Fault::BadIpv6)?))
        }
        None => text.parse::<IpAddr>().ok(),
    };
    match address {
        None if text.is_empty() => Ok(ListenHost::Any),
        Some(address) if address.is_unspecified() => Ok(ListenHost::Any),
        Some(address) => Ok(ListenHost::Host(Host::Address(address))),
        None => {
            // A name whose last label is a number is a mistyped address: no top-level domain is one (RFC 3696 §2).
            let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
            if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Fault::NumericName);
            }
            Ok(ListenHost::Host(Host::Name(Domain::parse(text).map_err(Fault::BadName)?)))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Name(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for ListenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenHost::Any => Ok(()),
            ListenHost::Host(host) => host.fmt(f),
        }
    }
}

/// A form that reads back to the same value.
impl<H: fmt::Display> fmt::Display for Endpoint<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Endpoint::Tls { host, port } => write!(f, "tls://{host}:{port}"),
            // Two slashes of the path itself would be taken for those of the scheme.
            Endpoint::Unix(path) if path.to_string_lossy().starts_with("//") => {
                write!(f, "unix://{}", path.display())
            }
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connects(text: &str, shows: &str) {
        let endpoint = client(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(endpoint.to_string(), shows, "{text}");
        assert_eq!(client(shows).unwrap(), endpoint, "{shows} reads back");
    }

    fn listens(text: &str, shows: &str) {
        let endpoint = listen(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(endpoint.to_string(), shows, "{text}");
        assert_eq!(listen(shows).unwrap(), endpoint, "{shows} reads back");
    }

    fn refuses(text: &str, why: Fault) {
        assert_eq!(client(text).expect_err(text).why(), why, "{text}");
    }

    #[test]
    fn addresses_in_every_form() {
        connects("tcp://mx.example.org:25", "tcp://mx.example.org:25");
        connects("TCP:MX.example.org:25", "tcp://mx.example.org:25");
        connects("tls:127.0.0.1:465", "tls://127.0.0.1:465");
        connects("tls://[::1]:465", "tls://[::1]:465");
        connects("tcp://localhost:0025", "tcp://localhost:25");
        connects("tcp://münchen.example:25", "tcp://xn--mnchen-3ya.example:25");
        connects("unix:///run/lmtp.sock", "unix:/run/lmtp.sock");
        connects("unix:/run/lmtp.sock", "unix:/run/lmtp.sock");
        connects("unix://dovecot/lmtp.sock", "unix:dovecot/lmtp.sock");
        connects("unix:lmtp.sock", "unix:lmtp.sock");
        connects("unix:a@b/c", "unix:a@b/c");
        connects("unix:////x", "unix:////x");
    }

    #[test]
    fn every_wildcard_is_the_same_one() {
        for text in ["tcp://0.0.0.0:25", "tcp://[::]:25", "tcp://:25", "tcp::25"] {
            listens(text, "tcp://:25");
            assert_eq!(listen(text).unwrap(), Endpoint::Tcp { host: ListenHost::Any, port: 25 });
        }
        listens("tls://127.0.0.1:465", "tls://127.0.0.1:465");
        listens("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"); // the system chooses
        listens("tcp://localhost:25", "tcp://localhost:25");
        refuses("tcp://0.0.0.0:25", Fault::Wildcard);
        refuses("tcp://[::]:25", Fault::Wildcard);
        refuses("tcp://:25", Fault::NoHost);
        refuses("tcp://a:0", Fault::BadPort);
    }

    #[test]
    fn what_is_no_address() {
        refuses("", Fault::NoScheme);
        refuses("mx.example.org", Fault::NoScheme);
        refuses("mx.example.org:25", Fault::UnknownScheme);
        refuses("smtp://mx.example.org:25", Fault::UnknownScheme);
        refuses("lmtp://x", Fault::UnknownScheme);
        refuses("tcp://mx.example.org", Fault::NoPort);
        refuses("tcp://mx.example.org:", Fault::NoPort);
        refuses("tcp://", Fault::NoPort);
        refuses("tcp://[::1]", Fault::NoPort);
        refuses("tcp://a:smtp", Fault::BadPort);
        refuses("tcp://a:+25", Fault::BadPort);
        refuses("tcp://a:65536", Fault::BadPort);
        refuses("tcp://a:-1", Fault::BadPort);
        refuses("tcp://u:p@a:25", Fault::UserInfo);
        refuses("tcp://a:25/", Fault::PathAfterPort);
        refuses("tcp://a:25/x", Fault::PathAfterPort);
        refuses("tcp://a:25?x", Fault::Query);
        refuses("tcp://a:25#x", Fault::Fragment);
        refuses("unix:/x?y", Fault::Query);
        refuses("unix:/x#y", Fault::Fragment);
        refuses("unix://u@h/x", Fault::UserInfo);
        refuses("unix:", Fault::NoPath);
        refuses("unix://", Fault::NoPath);
        refuses("tcp://::1:25", Fault::BareIpv6);
        refuses("tcp://[::1:25", Fault::BareIpv6);
        refuses("tcp://[::x]:25", Fault::BadIpv6);
        refuses("tcp://[127.0.0.1]:25", Fault::BadIpv6);
        refuses("tcp://[fe80::1%eth0]:25", Fault::BadIpv6); // zones are not supported
        refuses("tcp://[::1]x:25", Fault::BadIpv6);
        refuses("tcp://127.0.0.256:25", Fault::NumericName);
        refuses("tcp://127.1:25", Fault::NumericName);
        refuses("tcp://a b:25", Fault::BadName(AddressError::Control));
        refuses("tcp://a..b:25", Fault::BadName(AddressError::BadLabels));
        refuses("tcp://a\r\n:25", Fault::Control);
    }

    #[test]
    fn errors_name_the_address() {
        assert_eq!(
            client("tcp://a:25/x").unwrap_err().to_string(),
            "address tcp://a:25/x: a path behind the port is not allowed"
        );
    }

    #[test]
    fn relative_sockets_live_in_the_runtime_directory() {
        let run = Path::new("/run/posthaste");
        let under = |text| listen(text).unwrap().under(run).to_string();
        assert_eq!(under("unix:x.sock"), "unix:/run/posthaste/x.sock");
        assert_eq!(under("unix:/x.sock"), "unix:/x.sock");
        assert_eq!(under("tcp://:25"), "tcp://:25");
    }

    #[test]
    fn parsers_take_any_bytes() {
        let parts = ["tcp", "unix", ":", "//", "[", "]", "::1", "25", "a", "@", "/", "0", "é", "%"];
        let mut dice = posthaste_mail::dice::Dice::new(7);
        for _ in 0..50_000 {
            let text: String = (0..dice.below(8)).map(|_| parts[dice.below(parts.len())]).collect();
            if let Ok(endpoint) = listen(&text) {
                assert_eq!(listen(&endpoint.to_string()), Ok(endpoint), "{text}");
            }
            let _ = client(&text);
        }
    }
}
