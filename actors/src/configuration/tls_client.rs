//! `tls_client`: how targets speak TLS. A block in a target is its own, one with a name is for all who say `tls_client &NAME`, and the
//! one without, at the top, is for targets that have none. None of them inherits anything from another.

use std::cell::RefCell;
use std::collections::BTreeMap;

use posthaste_config::values::{self, fault};
use posthaste_config::{Block, GroupRef, Node, Place, Problem, TopKind};
use posthaste_edge::tls::{Cipher, ClientTls, Curve, Identity, TlsSettings, Version, Versions};

use super::Reader;

/// The blocks of the top level that this file reads.
pub const MODULES: [(&str, TopKind); 1] = [("tls_client", TopKind::Instance)];

/// What blocks that may have several users came to, each read when it is first asked for; `None` after a problem.
#[derive(Debug, Default)]
pub struct TlsClientBlocks {
    named: RefCell<BTreeMap<String, Option<ClientTls>>>,
}

/// No instance has an empty name.
const GLOBAL: &str = "";

impl TlsClientBlocks {
    fn shared(&self, name: &str, read: impl FnOnce() -> Option<ClientTls>) -> Option<ClientTls> {
        self.named.borrow_mut().entry(name.to_string()).or_insert_with(read).clone()
    }
}

impl Reader<'_> {
    /// What a target's `tls_client` means, or the lack of it; what is wrong has been reported when it is `None`. `target` is the block
    /// that is concerned.
    pub fn tls_client(&self, group: Option<&GroupRef<'_>>, target: &Node) -> Option<ClientTls> {
        match group {
            Some(GroupRef::Inline(node)) => read(self, node),
            Some(GroupRef::Instance(wanted)) => {
                let top = self.reading().instance(wanted, "a tls_client", &MODULES)?;
                self.tls_clients.shared(top.name(), || read(self, &top.node))
            }
            None => self.tls_clients.shared(GLOBAL, || match self.loaded.globals.tls_client() {
                Some(node) => read(self, node),
                None => made(self, target, &TlsSettings::default()),
            }),
        }
    }

    /// The block without a name, whether any target wants it or not: a mistake in it shows.
    pub(super) fn global_tls_client(&self) {
        if let Some(node) = self.loaded.globals.tls_client() {
            let _ = self.tls_client(None, node);
        }
    }
}

fn read(reader: &Reader<'_>, node: &Node) -> Option<ClientTls> {
    made(reader, node, &settings(reader, node))
}

fn made(reader: &Reader<'_>, at: &Node, settings: &TlsSettings) -> Option<ClientTls> {
    let text = |e: String| Problem::error(&at.at, format!("tls_client: {e}"));
    ClientTls::with(settings).map_err(|e| reader.problems().push(text(e))).ok()
}

fn settings(reader: &Reader<'_>, node: &Node) -> TlsSettings {
    let mut block = Block::open(node, reader.problems());
    let versions = block.value("protocols", versions).placed();
    let ciphers = block.choices("ciphers", Cipher::NAMES).placed();
    // The manual of maddy 0.5 has `curve`, its code `curves`.
    block.alias("curve", "curves");
    let curves = block.choices("curves", Curve::NAMES).optional();
    let roots = block.strings("root_ca").or(Vec::new());
    let certificate = block.string("cert").placed();
    let key = block.string("key").placed();
    if let Some((versions, at)) = versions
        && versions.oldest() < Version::Tls12
    {
        let text = "versions below tls1.2 are used only where nothing is demanded of the session";
        block.warning(at, format!("protocols: {text}"));
    }
    if let Some((ciphers, at)) = &ciphers {
        let newest = versions.map_or(Version::Tls13, |(versions, _)| versions.newest());
        judge(&block, ciphers, newest, at);
    }
    let identity = match (certificate, key) {
        (Some((certificate, _)), Some((key, _))) => {
            Some(Identity { certificate: reader.file(&certificate), key: reader.file(&key) })
        }
        (None, None) => None,
        (Some((_, at)), None) => {
            block.error(at, "cert: a certificate is of no use without its key");
            None
        }
        (None, Some((_, at))) => {
            block.error(at, "key: a key is of no use without its cert");
            None
        }
    };
    block.close();
    TlsSettings {
        roots: roots.iter().map(|file| reader.file(file)).collect(),
        versions: versions.map(|(versions, _)| versions),
        ciphers: ciphers.map(|(ciphers, _)| ciphers).unwrap_or_default(),
        curves: curves.unwrap_or_default(),
        identity,
    }
}

/// "protocols min_version max_version", or one that is both.
fn versions(node: &Node) -> Result<Versions, Problem> {
    let words = values::choices(node, Version::NAMES)?;
    let (oldest, newest) = match words.as_slice() {
        [only] => (*only, *only),
        [oldest, newest] => (*oldest, *newest),
        _ => return Err(fault(node, "expects one version, or the oldest and the newest")),
    };
    Versions::new(oldest, newest)
        .ok_or_else(|| fault(node, "the first version is newer than the second"))
}

/// Names of the language that the library has nothing for are no mistake, unless nothing is left.
fn judge(block: &Block<'_>, ciphers: &[Cipher], newest: Version, at: &Place) {
    let missing = ciphers.iter().filter(|cipher| !cipher.is_available());
    let missing: Vec<&str> = missing.map(|cipher| cipher.name()).collect();
    if missing.is_empty() {
        return;
    }
    let text = format!("ciphers: the TLS library does not have {}", missing.join(", "));
    match missing.len() == ciphers.len() && newest < Version::Tls13 {
        true => block.error(at, format!("{text}: no cipher is left")),
        false => block.warning(at, text),
    }
}

#[cfg(test)]
mod tests;
