//! The block of an endpoint: `smtp`, `submission`, `lmtp`.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use posthaste_config::endpoint::Host;
use posthaste_config::{Block, ListenEndpoint, ListenHost, Node, Problem, TopBlock};
use posthaste_edge::tls::ServerTls;
use posthaste_mail::wire::server::{Authentication, Dialect, Mechanism, Settings, Tls};

use crate::configuration::Reader;
use crate::content::{Demands, Submission};
use crate::intake::auth::Authenticator;
use crate::limits::SharedLimits;
use crate::routing::{self, Routing};

#[derive(Debug)]
pub struct EndpointSettings {
    pub name: String,
    pub kind: &'static str,
    pub listen: Vec<ListenEndpoint>,
    pub protocol: Settings,
    pub read_timeout: Option<Duration>,
    pub write_timeout: Duration,
    pub demands: Demands,
    pub defer_sender_reject: bool,
    pub max_logged_rcpt_errors: u32,
    pub tls: Option<ServerTls>,
    pub auth: Option<Authenticator>,
    pub limits: Option<SharedLimits>,
    pub pipeline: Routing,
    pub debug: bool,
}

pub fn read(reader: &Reader<'_>, top: &TopBlock) -> Option<EndpointSettings> {
    let globals = &reader.loaded.globals;
    let (dialect, kind) = match top.module.as_str() {
        "submission" => (Dialect::Submission, "submission"),
        "lmtp" => (Dialect::Lmtp, "lmtp"),
        _ => (Dialect::Smtp, "smtp"),
    };
    let mut block = Block::open(&top.node, reader.problems());
    let hostname = block.domain("hostname").inherit(globals.hostname()).required();
    let tls_node = block.directive("tls").inherit(globals.tls());
    let tls_node = if dialect == Dialect::Lmtp { tls_node.optional() } else { tls_node.required() };
    let tls = tls_node.map(|node| tls(reader, node));
    let has_tls = matches!(tls, Some(Some(ServerSide::On(_))));
    let tls_problem = matches!(tls, Some(None));
    let read_timeout = block.duration("read_timeout").or(Duration::from_secs(600));
    let write_timeout = block.duration("write_timeout").or(Duration::from_secs(60));
    let max_message_size =
        block.size("max_message_size").or(posthaste_config::values::Size(32 << 20));
    let max_header_size = block.size("max_header_size").or(posthaste_config::values::Size(1 << 20));
    let max_recipients = block.integer("max_recipients", 1..=1_000_000u32).or(20_000);
    let max_received = block.integer("max_received", 1..=10_000usize).or(50);
    let max_logged_rcpt_errors = block.integer("max_logged_rcpt_errors", 0..=1_000_000u32).or(5);
    let line_length = block.integer("smtp_max_line_length", 0..=1_000_000_000u64).or(4000);
    let defer_sender_reject = block.boolean("defer_sender_reject").or(true);
    let sasl_login = block.boolean("sasl_login").or(false);
    // "forced yes when TLS is off": without TLS there is no other way.
    let insecure_auth = block.boolean("insecure_auth").or(false) || !has_tls;
    let debug = block.boolean("debug").or(globals.debug());
    let limits = block.group("limits").optional();
    let auth_nodes = block.repeated("auth");
    block.ignored("buffer", "content up to 1 MiB waits in memory, larger content in STATE/buffer");
    block.ignored("shutdown_timeout", "`shutdown --drain` says how long sessions may take");
    for name in ["proxy_protocol", "auth_map", "auth_map_normalize", "io_debug"] {
        block.refused(name, "it is not supported by this version");
    }
    let rest = block.rest();
    if let Some(posthaste_config::GroupRef::Inline(group)) = &limits {
        for line in group.children().iter().filter(|line| line.name == "destination") {
            let text =
                "limits: destination lines have no effect in an endpoint, only where mail goes out";
            reader.problems().push(Problem::warning(&line.at, text));
        }
    }
    let limits = limits.map(|group| reader.limits.read(&reader.reading(), &group));
    let auth_wanted = !auth_nodes.is_empty();
    let auth = auth_wanted
        .then(|| reader.passwords.authenticator(&reader.reading(), &reader.tables, &auth_nodes));
    let auth = auth.filter(|auth| !auth.is_empty());
    if dialect == Dialect::Submission && !auth_wanted {
        let text = format!("{}: submission needs an auth provider", top.node.title());
        reader.problems().push(Problem::error(&top.node.at, text));
    }
    if top.listen.iter().any(|l| matches!(l, ListenEndpoint::Tls { .. }))
        && !has_tls
        && !tls_problem
    {
        let text = format!("{}: a tls:// address needs a certificate", top.node.title());
        reader.problems().push(Problem::error(&top.node.at, text));
    }
    let pipeline = routing::read(reader, &top.node, &rest)?;
    let hostname = hostname?;
    let server_side = match tls {
        Some(Some(ServerSide::On(tls))) => Some(tls),
        Some(Some(ServerSide::Off)) | None => None,
        Some(None) => return None,
    };
    if auth_wanted && auth.is_none() {
        return None;
    }
    let mut mechanisms = Vec::new();
    if auth.is_some() {
        mechanisms.push(Mechanism::Plain);
        if sasl_login {
            mechanisms.push(Mechanism::Login);
        }
    }
    let protocol = Settings {
        dialect,
        hostname: hostname.clone(),
        tls: if server_side.is_some() { Tls::Offered } else { Tls::Absent },
        max_message_size: (max_message_size.octets() > 0).then_some(max_message_size.octets()),
        max_recipients,
        max_line_length: (line_length > 0).then_some(line_length),
        mechanisms,
        authentication: if dialect == Dialect::Submission {
            Authentication::Required
        } else {
            Authentication::Optional
        },
        auth_needs_tls: !insecure_auth,
        dsn: true,
        // Who keeps it is known when all targets have been read.
        requiretls: false,
    };
    Some(EndpointSettings {
        name: title(top),
        kind,
        listen: top.listen.iter().cloned().map(|l| l.under(reader.runtime_dir())).collect(),
        protocol,
        // "0 = none".
        read_timeout: (!read_timeout.is_zero()).then_some(read_timeout),
        write_timeout,
        demands: Demands {
            max_header_size: usize::try_from(max_header_size.octets()).unwrap_or(usize::MAX),
            max_received,
            submission: match dialect {
                Dialect::Submission => Submission::Check,
                Dialect::Smtp | Dialect::Lmtp => Submission::No,
            },
            hostname,
        },
        defer_sender_reject,
        max_logged_rcpt_errors,
        tls: server_side,
        auth,
        limits,
        pipeline,
        debug,
    })
}

/// An endpoint has no name; it is called by its first address.
fn title(top: &TopBlock) -> String {
    match top.listen.first() {
        Some(address) => format!("{} {address}", top.module),
        None => top.module.clone(),
    }
}

enum ServerSide {
    Off,
    On(ServerTls),
}

/// `tls off`, `tls file CERT KEY...`, `tls self_signed NAME...`, `tls { loader ... }`.
fn tls(reader: &Reader<'_>, node: &Node) -> Option<ServerSide> {
    let wrong = |text: String| {
        reader.problems().push(Problem::error(&node.at, format!("tls: {text}")));
        None
    };
    let mut words: Vec<String> = node.args.clone();
    if node.children.is_some() {
        let mut block = Block::open(node, reader.problems());
        let loader = block.strings("loader").optional();
        let certificates = block.strings("certs").or(Vec::new());
        let keys = block.strings("keys").or(Vec::new());
        for name in ["protocols", "ciphers", "curves", "curve"] {
            block.refused(name, "it is not supported by this version");
        }
        block.close();
        if let Some(loader) = loader {
            if !words.is_empty() {
                return wrong("names a loader twice".to_string());
            }
            words = loader;
        }
        if certificates.len() != keys.len() {
            return wrong(format!("{} certs but {} keys", certificates.len(), keys.len()));
        }
        for (certificate, key) in certificates.into_iter().zip(keys) {
            words.extend([certificate, key]);
        }
    }
    let rest: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let made = match words.first().map(String::as_str) {
        Some("off") if rest.is_empty() => return Some(ServerSide::Off),
        Some("file") if rest.is_empty() => {
            return wrong("file needs a certificate and a key".into());
        }
        Some("file") if rest.len() % 2 == 1 => return wrong("a certificate has no key".into()),
        Some("file") => {
            let files: Vec<PathBuf> = rest.iter().map(|file| reader.file(file)).collect();
            let pairs: Vec<_> = files
                .chunks_exact(2)
                .filter_map(|p| Some((p.first()?.as_path(), p.get(1)?.as_path())))
                .collect();
            ServerTls::from_files(&pairs)
        }
        Some("self_signed") if rest.is_empty() => ServerTls::self_signed(&["localhost"]),
        Some("self_signed") => ServerTls::self_signed(&rest),
        Some("acme") => return wrong("the acme loader is not supported by this version".into()),
        Some(other) => return wrong(format!("unknown loader {other:?}: off, file or self_signed")),
        None => return wrong("expects off, file CERT KEY, self_signed NAME or a block".into()),
    };
    match made {
        Ok(tls) => Some(ServerSide::On(tls)),
        Err(e) => wrong(e.to_string()),
    }
}

/// The address to bind; `None` is all. A name is looked up once, by the system.
pub fn listen_ip(host: &ListenHost) -> Result<Option<IpAddr>, String> {
    match host {
        ListenHost::Any => Ok(None),
        ListenHost::Host(Host::Address(address)) => Ok(Some(*address)),
        ListenHost::Host(Host::Name(name)) => {
            let found = (name.ascii(), 0).to_socket_addrs();
            let found = found.map_err(|e| format!("looking up {name}: {e}"))?.next();
            found.map(|a| Some(a.ip())).ok_or_else(|| format!("{name} has no address"))
        }
    }
}
