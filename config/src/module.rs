//! References to modules.
//!
//! `directive module arg... { }` makes one on the spot, `directive &name` takes the one configured at the top level under that name. Which
//! modules there are is the caller's to know.

use crate::place::Place;
use crate::problem::{Problem, shown};
use crate::tree::Node;
use crate::values::fault;

/// A module where a directive takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleRef {
    Instance(InstanceRef),
    Inline(InlineModule),
}

/// `&name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRef {
    /// Without the `&`.
    pub name: String,
    pub at: Place,
}

/// A module configured where it is used. It has no instance name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineModule {
    /// What a name without a dot is looked up in first: `target`, `table`, ...
    pub namespace: &'static str,
    /// The module as if it stood alone: its name as written, its inline arguments, its block. Read it with `Block::open`.
    pub node: Node,
}

/// A group of modules or settings with one implied module: `limits { }`, `mx_auth { }`, `check { }`, or `&name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRef<'a> {
    Instance(InstanceRef),
    /// The directive itself, with its block.
    Inline(&'a Node),
}

impl ModuleRef {
    /// Reads `directive module arg... { }` or `directive &name`.
    pub fn of(node: &Node, namespace: &'static str) -> Result<ModuleRef, Problem> {
        if let Some(instance) = instance(node)? {
            return Ok(ModuleRef::Instance(instance));
        }
        match node.args.split_first() {
            Some((module, args)) if !module.is_empty() => {
                let node = Node {
                    name: module.clone(),
                    args: args.to_vec(),
                    children: node.children.clone(),
                    at: node.at.clone(),
                };
                Ok(ModuleRef::Inline(InlineModule { namespace, node }))
            }
            _ => Err(fault(node, "expects a module or &name")),
        }
    }
}

impl InlineModule {
    /// Reads a line of a group's block, where the name of the directive is the module: `mtasts { }` in `mx_auth`.
    pub fn of_line(node: &Node, namespace: &'static str) -> InlineModule {
        InlineModule { namespace, node: node.clone() }
    }

    /// As it is written.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// The words between the module's name and its block.
    pub fn args(&self) -> &[String] {
        &self.node.args
    }

    pub fn at(&self) -> &Place {
        &self.node.at
    }

    /// The full name among `known`: with the namespace in front if it has no dot, then as it is.
    pub fn find<'k>(&self, known: &[&'k str]) -> Result<&'k str, Problem> {
        let name = self.name();
        let exact = |wanted: &str| known.iter().copied().find(|k| *k == wanted);
        let prefix = format!("{}.", self.namespace);
        let with_namespace = match name.contains('.') {
            true => None,
            false => exact(&format!("{prefix}{name}")),
        };
        with_namespace.or_else(|| exact(name)).ok_or_else(|| {
            // Suggested in the form it would be written in here.
            let short = |k: &'k str| match name.contains('.') {
                true => k,
                false => k.strip_prefix(&prefix).unwrap_or(k),
            };
            Problem::unknown(self.at(), "module", name, known.iter().copied().map(short))
        })
    }
}

impl<'a> GroupRef<'a> {
    /// Reads `directive { }` or `directive &name`.
    pub fn of(node: &'a Node) -> Result<GroupRef<'a>, Problem> {
        if let Some(instance) = instance(node)? {
            return Ok(GroupRef::Instance(instance));
        }
        match (node.args.as_slice(), &node.children) {
            ([], Some(_)) => Ok(GroupRef::Inline(node)),
            ([], None) => Err(fault(node, "expects a block or &name")),
            ([word, ..], _) => {
                Err(fault(node, format!("expects a block or &name, found {}", shown(word))))
            }
        }
    }
}

/// The instance, if the first argument is one; then it is the only one and there is no block.
fn instance(node: &Node) -> Result<Option<InstanceRef>, Problem> {
    let Some(name) = node.args.first().and_then(|arg| arg.strip_prefix('&')) else {
        return Ok(None);
    };
    let reference = format!("&{}", shown(name));
    if name.is_empty() {
        return Err(fault(node, "& lacks the name of an instance"));
    }
    if node.args.len() > 1 {
        return Err(fault(node, format!("nothing may follow {reference}")));
    }
    if node.children.is_some() {
        return Err(fault(node, format!("{reference} is configured elsewhere and takes no block")));
    }
    Ok(Some(InstanceRef { name: name.to_string(), at: node.at.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{outline, parsed};

    fn node(text: &str) -> Node {
        parsed(text).0.remove(0)
    }

    fn inline(text: &str) -> InlineModule {
        match ModuleRef::of(&node(text), "target").unwrap() {
            ModuleRef::Inline(module) => module,
            ModuleRef::Instance(instance) => panic!("{instance:?}"),
        }
    }

    fn no_module(text: &str) -> String {
        ModuleRef::of(&node(text), "target").unwrap_err().to_string()
    }

    fn no_group(text: &str) -> String {
        GroupRef::of(&node(text)).unwrap_err().to_string()
    }

    #[test]
    fn modules_in_every_form() {
        let module = inline("deliver_to queue dir {\nmax_tries 5\n}");
        assert_eq!(outline(std::slice::from_ref(&module.node)), "queue dir@1{max_tries 5@2}");
        assert_eq!((module.name(), module.args()), ("queue", &["dir".to_string()][..]));
        assert_eq!(outline(&[inline("deliver_to dummy").node]), "dummy@1");
        assert_eq!(outline(&[inline("x queue &y").node]), "queue &y@1"); // an inline argument
        let instance = InstanceRef { name: "local".into(), at: Place::line("t", 1) };
        let found = ModuleRef::of(&node("deliver_to &local"), "target").unwrap();
        assert_eq!(found, ModuleRef::Instance(instance));
    }

    #[test]
    fn an_instance_stands_alone() {
        assert_eq!(no_module("x &a b"), "t:1: x: nothing may follow &a");
        assert_eq!(no_module("x &a {\n}"), "t:1: x: &a is configured elsewhere and takes no block");
        assert_eq!(no_module("x &"), "t:1: x: & lacks the name of an instance");
        assert_eq!(no_module("x"), "t:1: x: expects a module or &name");
        assert_eq!(no_module("x {\na\n}"), "t:1: x: expects a module or &name");
        assert_eq!(no_module("x \"\""), "t:1: x: expects a module or &name");
    }

    #[test]
    fn groups_are_a_block_or_an_instance() {
        let group = node("limits {\nall rate 20 1s\n}");
        assert_eq!(GroupRef::of(&group).unwrap(), GroupRef::Inline(&group));
        assert!(
            matches!(GroupRef::of(&node("limits &l")), Ok(GroupRef::Instance(i)) if i.name == "l")
        );
        assert_eq!(no_group("limits"), "t:1: limits: expects a block or &name");
        assert_eq!(no_group("limits l"), "t:1: limits: expects a block or &name, found l");
        assert_eq!(no_group("limits l {\n}"), "t:1: limits: expects a block or &name, found l");
        assert_eq!(no_group("limits &l m"), "t:1: limits: nothing may follow &l");
        assert_eq!(
            no_group("limits &l {\n}"),
            "t:1: limits: &l is configured elsewhere and takes no block"
        );
    }

    #[test]
    fn names_are_looked_up_in_their_namespace_first() {
        let known = ["target.queue", "queue", "storage.imapsql", "dummy"];
        assert_eq!(inline("x queue").find(&known), Ok("target.queue"));
        assert_eq!(inline("x target.queue").find(&known), Ok("target.queue"));
        assert_eq!(inline("x storage.imapsql").find(&known), Ok("storage.imapsql"));
        assert_eq!(inline("x dummy").find(&known), Ok("dummy"));
        let unknown = |text| inline(text).find(&known).unwrap_err().to_string();
        assert_eq!(unknown("x quueue"), "t:1: unknown module quueue, did you mean queue?");
        assert_eq!(
            unknown("x target.quue"),
            "t:1: unknown module target.quue, did you mean target.queue?"
        );
        assert_eq!(unknown("x imapsql"), "t:1: unknown module imapsql");
        assert_eq!(unknown("x target.dummy"), "t:1: unknown module target.dummy");
    }

    #[test]
    fn a_line_of_a_group_is_a_module() {
        let line = InlineModule::of_line(&node("mtasts {\ncache ram\n}"), "mx_auth");
        assert_eq!(line.find(&["mx_auth.mtasts"]), Ok("mx_auth.mtasts"));
        assert_eq!(outline(line.node.children()), "cache ram@2");
    }
}
