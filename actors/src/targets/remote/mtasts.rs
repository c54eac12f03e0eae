//! The block `mtasts` of an `mx_auth`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use posthaste_config::{Block, Node};
use posthaste_edge::https;
use posthaste_edge::sts_store::{DirectoryStore, MemoryStore, StsStore};

use crate::reading::Reading;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsSettings {
    pub cache: CacheKind,
    /// `https_port`, default 443: for laboratories.
    pub https_port: u16,
}

/// "Syntax: cache fs|ram. Default: fs"
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// "Syntax: fs_dir directory. Default: StateDirectory/mtasts_cache"
    Directory(PathBuf),
    Memory,
}

impl CacheKind {
    /// Makes the directory if it is missing: call it at start, not when a configuration is checked.
    pub fn open(&self) -> io::Result<Arc<dyn StsStore>> {
        Ok(match self {
            CacheKind::Directory(path) => Arc::new(DirectoryStore::open(path)?),
            CacheKind::Memory => Arc::new(MemoryStore::default()),
        })
    }
}

pub fn read(reading: &Reading<'_>, node: &Node) -> StsSettings {
    let mut block = Block::open(node, reading.problems);
    if !node.args.is_empty() {
        block.error(&node.at, "takes no arguments");
    }
    let in_memory = block.choice("cache", &[("fs", false), ("ram", true)]).or(false);
    let directory = block.path("fs_dir").placed();
    let https_port = block.integer("https_port", 1..=65535u16).or(https::PORT);
    if let Some((_, at)) = directory.as_ref().filter(|_| in_memory) {
        block.warning(at, "fs_dir has no effect with cache ram");
    }
    block.close();
    let directory = directory.map_or_else(|| PathBuf::from("mtasts_cache"), |(path, _)| path);
    let cache = match in_memory {
        true => CacheKind::Memory,
        false => CacheKind::Directory(reading.in_state_dir(&directory)),
    };
    StsSettings { cache, https_port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests;

    fn read_block(block: &str) -> (StsSettings, Vec<String>) {
        let text = format!("target.remote out {{\nmtasts {block}\n}}");
        tests::read(&text, |reading, blocks| {
            let node = &blocks[0].node.children()[0];
            read(reading, node)
        })
    }

    fn good(block: &str) -> StsSettings {
        let (settings, problems) = read_block(block);
        assert!(problems.is_empty(), "{problems:?}");
        settings
    }

    #[test]
    fn defaults_are_maddys() {
        let in_directory = |path: &str, https_port| StsSettings {
            cache: CacheKind::Directory(path.into()),
            https_port,
        };
        assert_eq!(good(""), in_directory("/state/mtasts_cache", 443));
        assert_eq!(good("{\n}"), in_directory("/state/mtasts_cache", 443));
        let own = "{\ncache fs\nfs_dir sts/cache\nhttps_port 8443\n}";
        assert_eq!(good(own), in_directory("/state/sts/cache", 8443));
        assert_eq!(good("{\nfs_dir /var/sts\n}"), in_directory("/var/sts", 443));
        assert_eq!(good("{\ncache ram\n}").cache, CacheKind::Memory);
    }

    #[test]
    fn every_mistake_is_told() {
        let (settings, problems) =
            read_block("more {\ncache disk\nfs_dir\nhttps_port 0\nfs_dri x\n}");
        assert_eq!(settings, good(""));
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert!(problems[1].contains("cache: expects one of fs, ram; found disk"), "{problems:?}");
        let (_, problems) = read_block("{\ncache ram\nfs_dir x\n}");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("warning") && problems[0].contains("no effect"));
    }
}
