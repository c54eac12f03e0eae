//! Who is referred to.
//!
//! Blocks are found by any of their names, and each remembers whether somebody asked for it. References may form a circle (a queue whose
//! notifications go through a pipeline back into it): finding a block does not read it.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::document::{TopBlock, TopKind};
use crate::module::InstanceRef;
use crate::nearest::nearest;
use crate::problem::{Problem, shown};

#[derive(Debug)]
pub struct References<'a> {
    entries: Vec<Entry<'a>>,
    names: BTreeMap<&'a str, usize>,
}

#[derive(Debug)]
struct Entry<'a> {
    block: &'a TopBlock,
    used: Cell<bool>,
}

impl<'a> References<'a> {
    /// Of a name given twice (a problem reported by `Document::load`) the first one counts.
    pub fn new(blocks: &'a [TopBlock]) -> References<'a> {
        let entry = |block| Entry { block, used: Cell::new(false) };
        let entries: Vec<Entry<'a>> = blocks.iter().map(entry).collect();
        let mut names = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for name in &entry.block.names {
                names.entry(name.as_str()).or_insert(index);
            }
        }
        References { entries, names }
    }

    /// The block of this name, which counts as used from now on.
    pub fn resolve(&self, wanted: &InstanceRef) -> Result<&'a TopBlock, Problem> {
        self.mark(&wanted.name).ok_or_else(|| {
            let near = nearest(&wanted.name, self.names.keys().copied());
            let hint = near.map(|near| format!(", did you mean &{near}?")).unwrap_or_default();
            let text = format!("&{} names no block{hint}", shown(&wanted.name));
            Problem::error(&wanted.at, text)
        })
    }

    /// Counts a block as used that is reached in another way.
    pub fn mark(&self, name: &str) -> Option<&'a TopBlock> {
        let entry = self.names.get(name).and_then(|index| self.entries.get(*index))?;
        entry.used.set(true);
        Some(entry.block)
    }

    /// Instances nobody asked for so far, in the order of the file. Endpoints are used by being there.
    pub fn unused(&self) -> impl Iterator<Item = &'a TopBlock> {
        let unused =
            |entry: &&Entry<'a>| !entry.used.get() && entry.block.kind == TopKind::Instance;
        self.entries.iter().filter(unused).map(|entry| entry.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use crate::tree::tests::parsed;

    fn blocks() -> Vec<TopBlock> {
        let kinds =
            [TopKind::Instance, TopKind::Instance, TopKind::NotImplemented, TopKind::Endpoint];
        let nodes = parsed("queue local alias\nremote out\nimap box\nsmtp tcp://:25").0;
        let block = |(node, kind): (crate::tree::Node, TopKind)| TopBlock {
            module: node.name.clone(),
            kind,
            names: if kind == TopKind::Endpoint { vec![] } else { node.args.clone() },
            listen: vec![],
            node,
        };
        nodes.into_iter().zip(kinds).map(block).collect()
    }

    #[test]
    fn blocks_are_found_by_any_name_and_remember_it() {
        let blocks = blocks();
        let references = References::new(&blocks);
        let unused = |references: &References| {
            references.unused().map(|b| b.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(unused(&references), ["local", "out"]);
        let wanted = InstanceRef { name: "alias".into(), at: Place::line("t", 9) };
        assert_eq!(references.resolve(&wanted).unwrap().module, "queue");
        assert_eq!(unused(&references), ["out"]);
        assert_eq!(references.mark("out").unwrap().module, "remote");
        assert!(unused(&references).is_empty());
    }

    #[test]
    fn a_name_that_names_nothing_is_said_with_its_place() {
        let blocks = blocks();
        let wanted = |name: &str| InstanceRef { name: name.into(), at: Place::line("t", 9) };
        let references = References::new(&blocks);
        let text = |name| references.resolve(&wanted(name)).unwrap_err().to_string();
        assert_eq!(text("locla"), "t:9: &locla names no block, did you mean &local?");
        assert_eq!(text("other"), "t:9: &other names no block");
    }
}
