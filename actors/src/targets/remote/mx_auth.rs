//! `mx_auth { }`: which policies a target obeys. A block with a name is one for all who say `mx_auth &NAME`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_config::{Block, GroupRef, Node, TopKind};
use posthaste_mail::level::{MxLevel, TlsLevel};
use posthaste_mail::policy::settings::{LocalPolicy, Policies};

use crate::reading::Reading;
use crate::targets::remote::mtasts::{self, StsSettings};

/// What a block says.
#[derive(Clone, Debug, Default)]
pub struct MxAuth {
    pub policies: Policies,
    /// Shared by all who refer to the block: one cache serves them.
    pub sts: Option<Arc<StsBlock>>,
}

/// The `mtasts` of one block.
#[derive(Debug, PartialEq, Eq)]
pub struct StsBlock {
    /// That of the `mx_auth`, or of the target that it stands in.
    pub name: String,
    pub settings: StsSettings,
}

/// The blocks of the top level that this file reads.
pub const MODULES: [(&str, TopKind); 1] = [("mx_auth", TopKind::Instance)];

const MX_LEVELS: &[(&str, MxLevel)] =
    &[("none", MxLevel::None), ("mtasts", MxLevel::Mtasts), ("dnssec", MxLevel::Dnssec)];
const TLS_LEVELS: &[(&str, TlsLevel)] = &[
    ("none", TlsLevel::None),
    ("encrypted", TlsLevel::Encrypted),
    ("authenticated", TlsLevel::Authenticated),
];

/// The named blocks, each read when it is first asked for.
#[derive(Debug, Default)]
pub struct MxAuthBlocks {
    named: RefCell<BTreeMap<String, MxAuth>>,
}

impl MxAuthBlocks {
    /// What a `mx_auth` directive means; what is wrong with it is reported. REQUIRETLS is the target's affair.
    pub fn read(&self, reading: &Reading<'_>, group: &GroupRef<'_>, target: &str) -> MxAuth {
        let wanted = match group {
            GroupRef::Inline(node) => return mx_auth(reading, node, target),
            GroupRef::Instance(wanted) => wanted,
        };
        let Some(block) = reading.instance(wanted, "mx_auth", &MODULES) else {
            return MxAuth::default();
        };
        let mut named = self.named.borrow_mut();
        let name = block.name();
        named.entry(name.to_string()).or_insert_with(|| mx_auth(reading, &block.node, name)).clone()
    }
}

fn mx_auth(reading: &Reading<'_>, node: &Node, name: &str) -> MxAuth {
    let mut block = Block::open(node, reading.problems);
    let dnssec = block.value("dnssec", without_settings).or(false);
    let dane = block.value("dane", without_settings).or(false);
    let mtasts = block.value("mtasts", Ok).optional();
    let local = block.value("local_policy", Ok).optional();
    block.ignored("sts_preload", "the list it stands for is no longer kept");
    block.ignored("debug", "the target's `debug` is what counts");
    block.close();
    let local = local.map(|node| local_policy(reading, node)).unwrap_or_default();
    let sts = mtasts.map(|node| {
        let settings = mtasts::read(reading, node);
        Arc::new(StsBlock { name: name.to_string(), settings })
    });
    let policies = Policies { mtasts: sts.is_some(), dnssec, dane, local, ..Policies::default() };
    MxAuth { policies, sts }
}

/// `dnssec` and `dane`, with or without an empty block.
fn without_settings(node: &Node) -> Result<bool, posthaste_config::Problem> {
    if node.args.is_empty() && node.children().is_empty() {
        return Ok(true);
    }
    Err(posthaste_config::values::fault(node, "has no settings"))
}

/// "Using 'local_policy off' is equivalent to setting both directives to 'none'."
fn local_policy(reading: &Reading<'_>, node: &Node) -> LocalPolicy {
    match node.args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["off"] if node.children.is_none() => return LocalPolicy::default(),
        [] if node.children.is_some() => {}
        _ => {
            let text = "local_policy expects off, or a block";
            reading.problems.error(&node.at, text);
            return LocalPolicy::default();
        }
    }
    let mut block = Block::open(node, reading.problems);
    let min_tls = block.choice("min_tls_level", TLS_LEVELS).or(TlsLevel::None);
    let min_mx = block.choice("min_mx_level", MX_LEVELS).or(MxLevel::None);
    block.close();
    LocalPolicy { min_tls, min_mx }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests::read;

    fn read_all(text: &str) -> (Vec<MxAuth>, Vec<String>) {
        read(text, |reading, blocks| {
            let named = MxAuthBlocks::default();
            let directives = blocks.iter().flat_map(|block| block.node.children());
            directives
                .filter(|node| node.name == "mx_auth")
                .map(|node| named.read(reading, &GroupRef::of(node).unwrap(), "x"))
                .collect()
        })
    }

    fn one(body: &str) -> (MxAuth, Vec<String>) {
        let (mut all, problems) =
            read_all(&format!("target.remote x {{\nmx_auth {{\n{body}\n}}\n}}"));
        (all.remove(0), problems)
    }

    #[test]
    fn minima_in_every_form() {
        let local = |min_tls, min_mx| LocalPolicy { min_tls, min_mx };
        let none = LocalPolicy::default();
        for (body, dnssec, expected) in [
            ("", false, none),
            ("local_policy off", false, none),
            ("local_policy {\n}", false, none),
            (
                "local_policy {\nmin_tls_level encrypted\n}",
                false,
                local(TlsLevel::Encrypted, MxLevel::None),
            ),
            (
                "dnssec\nlocal_policy {\nmin_tls_level authenticated\nmin_mx_level dnssec\n}",
                true,
                local(TlsLevel::Authenticated, MxLevel::Dnssec),
            ),
            ("dnssec {\n}", true, none),
        ] {
            let (MxAuth { policies, .. }, problems) = one(body);
            assert_eq!(problems, Vec::<String>::new(), "{body}");
            assert_eq!((policies.dnssec, policies.local), (dnssec, expected), "{body}");
        }
    }

    #[test]
    fn wrong_lines_are_told_with_their_place() {
        for (body, said) in [
            ("dnsec", "unknown directive dnsec"),
            ("dnssec on", "has no settings"),
            ("dnssec\ndnssec", "dnssec"),
            ("local_policy on", "expects off, or a block"),
            ("local_policy off {\n}", "expects off, or a block"),
            (
                "local_policy {\nmin_tls_level high\n}",
                "expects one of none, encrypted, authenticated",
            ),
            ("local_policy {\nmin_mx_level dane\n}", "expects one of none, mtasts, dnssec"),
            ("local_policy {\nmin_level none\n}", "unknown directive min_level"),
            ("dane {\nca x\n}", "has no settings"),
            ("mtasts {\ncache disk\n}", "expects one of fs, ram"),
            ("mtasts\nmtasts", "mtasts"),
        ] {
            let (_, problems) = one(body);
            assert!(problems.len() == 1 && problems[0].contains(said), "{body}: {problems:?}");
        }
    }

    #[test]
    fn a_block_has_its_own_cache_and_all_who_name_it_share_that() {
        let (MxAuth { policies, sts }, problems) = one("dane\nmtasts {\ncache ram\n}");
        assert!(problems.is_empty() && policies.dane && policies.mtasts, "{problems:?}");
        assert_eq!(sts.unwrap().name, "x");
        let text = "mx_auth strict {\nmtasts\n}\ntarget.remote a {\nmx_auth &strict\n}\n\
                    target.remote b {\nmx_auth &strict\n}\ntarget.remote c {\nmx_auth {\nmtasts\n}\n}";
        let (all, problems) = read_all(text);
        assert_eq!(problems, Vec::<String>::new());
        let caches: Vec<Arc<StsBlock>> = all.into_iter().filter_map(|read| read.sts).collect();
        assert!(caches.len() == 3 && caches[0].name == "strict");
        assert!(Arc::ptr_eq(&caches[0], &caches[1]) && !Arc::ptr_eq(&caches[0], &caches[2]));
    }

    #[test]
    fn a_named_block_is_read_once_for_all() {
        let text = "mx_auth strict {\nlocal_policy {\nmin_tls_level encryptd\n}\n}\n\
                    target.remote a {\nmx_auth &strict\n}\ntarget.remote b {\nmx_auth &strict\n}";
        let (both, problems) = read_all(text);
        assert_eq!((both.len(), problems.len()), (2, 1), "{problems:?}");
        let (_, problems) = read_all("target.remote a {\nmx_auth &b\n}\ntarget.remote b {\n}");
        assert_eq!(problems, ["c:2: &b is a target.remote and not mx_auth"]);
    }
}
