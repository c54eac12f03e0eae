//! The block of a `target.smtp` or `target.lmtp`.

use posthaste_config::values::{self, fault, no_block};
use posthaste_config::{Block, ClientEndpoint, Endpoint, Host, Node, Place, Problem};
use posthaste_edge::tls::ClientTls;
use posthaste_mail::address::Domain;
use posthaste_mail::attempt::credentials::Distance;
use posthaste_mail::wire::client::auth::{Account, Login};
use posthaste_mail::wire::client::opening::Dialect;

use crate::configuration::Reader;
use crate::limits::SharedLimits;
use crate::targets::sessions::{self, SessionSettings};

#[derive(Debug)]
pub struct ForwardSettings {
    pub dialect: Dialect,
    pub hostname: Domain,
    /// In the order of trial; at least one.
    pub targets: Vec<ClientEndpoint>,
    pub security: Security,
    pub auth: Auth,
    pub sessions: SessionSettings,
    pub tls: ClientTls,
    pub limits: Option<SharedLimits>,
    pub debug: bool,
}

/// `attempt_starttls` and `require_tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    /// STARTTLS is said to servers of `tcp:` and `unix:` that offer it.
    pub attempt_starttls: bool,
    /// No mail goes over a session that is not encrypted to a proven server.
    pub require_tls: bool,
}

/// `auth`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    Off,
    As(Login),
    /// As the client that gave us the message.
    Forward,
}

pub fn read(
    reader: &Reader<'_>,
    node: &Node,
    inline: bool,
    dialect: Dialect,
) -> Option<ForwardSettings> {
    let globals = &reader.loaded.globals;
    let mut block = Block::open(node, reader.problems());
    let hostname = block.domain("hostname").inherit(globals.hostname()).required();
    let targets = targets(reader, &mut block, inline);
    let security = security(&mut block, dialect);
    let auth = block.value("auth", auth).placed();
    let sessions = sessions::read(&mut block);
    let debug = block.boolean("debug").or(globals.debug());
    let limits = block.group("limits").optional();
    let tls = block.group("tls_client").optional();
    let limits = limits.map(|group| reader.limits.read(&reader.reading(), &group));
    let tls = reader.tls_client(tls.as_ref(), node);
    if let (Some(targets), Some(tls)) = (&targets, &tls) {
        let auth = auth.as_ref().map(|(auth, at)| (auth, *at));
        warn_of_the_impossible(&block, targets, dialect, security, auth, tls);
    }
    block.close();
    Some(ForwardSettings {
        dialect,
        hostname: hostname?,
        targets: targets?,
        security,
        auth: auth.map_or(Auth::Off, |(auth, _)| auth),
        sessions,
        tls: tls?,
        limits,
        debug,
    })
}

/// Those of `targets`, and behind them the arguments of an inline module.
fn targets(
    reader: &Reader<'_>,
    block: &mut Block<'_>,
    inline: bool,
) -> Option<Vec<ClientEndpoint>> {
    let node = block.node();
    let inline = inline && !node.args.is_empty();
    let setting = block.endpoints("targets");
    let mut all = match inline {
        true => setting.or(Vec::new()),
        false => setting.required()?,
    };
    if inline {
        let words = Node { children: None, ..node.clone() };
        let further = values::endpoints(&words).map_err(|problem| reader.problems().push(problem));
        all.extend(further.ok()?);
    }
    Some(all.into_iter().map(|endpoint| endpoint.under(reader.runtime_dir())).collect())
}

/// "Default: yes (no for target.lmtp)" and "Default: no"; maddy 0.9 has one directive, `starttls`, in place of both.
fn security(block: &mut Block<'_>, dialect: Dialect) -> Security {
    let attempt = block.boolean("attempt_starttls").placed();
    let require = block.boolean("require_tls").placed();
    let both = block.boolean("starttls").placed();
    if let Some((_, at)) = both
        && (attempt.is_some() || require.is_some())
    {
        let text = "starttls stands in place of attempt_starttls and require_tls, not beside them";
        block.error(at, text);
    }
    match both {
        Some((true, _)) => Security { attempt_starttls: true, require_tls: true },
        Some((false, _)) => Security { attempt_starttls: false, require_tls: false },
        None => Security {
            attempt_starttls: attempt.map_or(dialect == Dialect::Smtp, |(attempt, _)| attempt),
            require_tls: require.is_some_and(|(require, _)| require),
        },
    }
}

/// `auth off`, `auth plain USER PASSWORD`, `auth login USER PASSWORD`, `auth forward`, `auth external`.
fn auth(node: &Node) -> Result<Auth, Problem> {
    no_block(node)?;
    let words: Vec<&str> = node.args.iter().map(String::as_str).collect();
    // What is wrong is not repeated: it may be a password.
    let account = |user, password| {
        let text = "user name and password must not be empty, nor have NUL in them";
        Account::new(user, password).ok_or_else(|| fault(node, text))
    };
    match words.as_slice() {
        ["off"] => Ok(Auth::Off),
        ["plain", user, password] => Ok(Auth::As(Login::Plain(account(user, password)?))),
        ["login", user, password] => Ok(Auth::As(Login::Login(account(user, password)?))),
        ["external"] => Ok(Auth::As(Login::External)),
        ["forward"] => Ok(Auth::Forward),
        ["plain" | "login", ..] => Err(fault(node, "expects a user name and a password")),
        _ => {
            let text = "expects off, plain USER PASSWORD, login USER PASSWORD, forward or external";
            Err(fault(node, text))
        }
    }
}

/// What can be read and will never work is told before a message waits for it.
fn warn_of_the_impossible(
    block: &Block<'_>,
    targets: &[ClientEndpoint],
    dialect: Dialect,
    security: Security,
    auth: Option<(&Auth, &Place)>,
    tls: &ClientTls,
) {
    let Security { attempt_starttls, require_tls } = security;
    for target in targets {
        let is_clear = !matches!(target, Endpoint::Tls { .. }) && !attempt_starttls;
        if is_clear && require_tls {
            let text = "is never used: require_tls wants TLS, and attempt_starttls no has none";
            block.warning(block.at(), format!("{target} {text}"));
        }
        let port = match target {
            Endpoint::Tcp { port, .. } | Endpoint::Tls { port, .. } => Some(*port),
            Endpoint::Unix(_) => None,
        };
        // RFC 2033 §5.
        if dialect == Dialect::Lmtp && port == Some(25) {
            block.warning(block.at(), format!("{target}: port 25 is for SMTP, never for LMTP"));
        }
        let says_password =
            matches!(auth, Some((Auth::As(Login::Plain(_) | Login::Login(_)) | Auth::Forward, _)));
        if let (true, true, Distance::Elsewhere, Some((_, at))) =
            (says_password, is_clear, distance(target), auth)
        {
            let text = "credentials are not sent without TLS, and attempt_starttls no has none";
            block.warning(at, format!("auth: {target} is never used: {text}"));
        }
        if let (true, Some((Auth::As(Login::External), at))) = (is_clear, auth) {
            let text = "external needs TLS, and attempt_starttls no has none";
            block.warning(at, format!("auth: {target} is never used: {text}"));
        }
    }
    if let Some((Auth::As(Login::External), at)) = auth
        && !tls.has_identity()
    {
        let text = "auth: external needs a certificate: tls_client has neither cert nor key";
        block.warning(at, text);
    }
}

/// As far as it can be told before names are looked up.
fn distance(target: &ClientEndpoint) -> Distance {
    match target {
        Endpoint::Unix(_) => Distance::Here,
        Endpoint::Tcp { host, .. } | Endpoint::Tls { host, .. } => match host {
            Host::Address(address) => Distance::to(*address),
            Host::Name(name) if name.ascii() == "localhost" => Distance::Here,
            Host::Name(_) => Distance::Elsewhere,
        },
    }
}

#[cfg(test)]
mod tests;
