//! One tree from several files.
//!
//! Text order: from top to bottom macros are recorded and expanded, snippets are recorded, and an `import` of a file is carried out where
//! it stands, so that its macros hold for the lines below it. An imported file sees the macros and snippets that stand above its
//! `import`. When a file is complete the imports of snippets are filled in, so a snippet may stand below its use; the name of a snippet
//! wins over that of a file. Imports inside a snippet wait until the snippet is imported.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::budget::Budget;
use crate::files::Files;
use crate::lexer;
use crate::macros::Macros;
use crate::place::Place;
use crate::problem::{Problem, Problems, shown};
use crate::snippet::Snippets;
use crate::tree::{self, DEEPEST, Node, snippet_name};

/// Imports within imports.
const LONGEST_CHAIN: usize = 255;

/// Reads the main file and all it imports; placeholders of the environment are still in the tree.
pub(crate) fn assemble(
    path: &Path,
    files: &dyn Files,
    budget: &mut Budget,
    problems: &Problems,
) -> Vec<Node> {
    let (macros, snippets) = (Macros::default(), Snippets::default());
    match files.read(path) {
        Ok(content) => Assembly { files, problems, budget, macros, snippets }.file(
            path,
            content,
            Inside::default(),
        ),
        Err(error) => {
            let file = Arc::from(path.to_string_lossy());
            problems.error(&Place::WholeFile(file), format!("reading the configuration: {error}"));
            Vec::new()
        }
    }
}

struct Assembly<'a> {
    files: &'a dyn Files,
    problems: &'a Problems,
    budget: &'a mut Budget,
    macros: Macros,
    snippets: Snippets,
}

/// How deep we are.
#[derive(Clone, Copy, Default)]
struct Inside {
    blocks: usize,
    imports: usize,
}

impl Inside {
    fn block(self) -> Inside {
        Inside { blocks: self.blocks + 1, ..self }
    }

    fn import(self) -> Inside {
        Inside { imports: self.imports + 1, ..self }
    }
}

/// Where a list of nodes is written.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Top,
    Block,
    Snippet,
}

impl Assembly<'_> {
    fn file(&mut self, path: &Path, content: Vec<u8>, inside: Inside) -> Vec<Node> {
        let file: Arc<str> = Arc::from(path.to_string_lossy());
        let Some(text) = lexer::decode(&file, content, self.problems) else { return Vec::new() };
        let tokens = lexer::tokens(&file, &text, self.problems);
        drop(text);
        let nodes = tree::nodes(&file, tokens, inside.blocks, self.problems);
        // Known before they are reached: a snippet may be declared below its import.
        let declared: BTreeSet<String> =
            nodes.iter().filter_map(|node| snippet_name(&node.name)).map(str::to_string).collect();
        let nodes = self.in_order(nodes, Part::Top, &declared, inside);
        self.fill_in(nodes, inside)
    }

    /// First pass, in the order of the text. Imports of snippets stay as nodes.
    fn in_order(
        &mut self,
        nodes: Vec<Node>,
        part: Part,
        declared: &BTreeSet<String>,
        inside: Inside,
    ) -> Vec<Node> {
        let mut kept = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            if part == Part::Top && self.macros.declare(&node, self.budget, self.problems) {
                continue;
            }
            if part == Part::Top && snippet_name(&node.name).is_some() {
                let body = node.children.take();
                node.children =
                    body.map(|body| self.in_order(body, Part::Snippet, declared, inside.block()));
                self.snippets.declare(node, self.problems);
                continue;
            }
            node.args = self.macros.expand(&node.args, &node.at, self.budget, self.problems);
            if node.name != "import" {
                let inner = if part == Part::Snippet { part } else { Part::Block };
                let body = node.children.take();
                node.children =
                    body.map(|body| self.in_order(body, inner, declared, inside.block()));
                kept.push(node);
                continue;
            }
            match wanted(&node) {
                Err(problem) => self.problems.push(problem),
                Ok(name) => {
                    let is_snippet = declared.contains(name) || self.snippets.body(name).is_some();
                    match part == Part::Snippet || is_snippet {
                        true => kept.push(node),
                        false => kept.extend(self.import_file(&node, name, inside)),
                    }
                }
            }
        }
        kept
    }

    /// Second pass, when the file is complete.
    fn fill_in(&mut self, nodes: Vec<Node>, inside: Inside) -> Vec<Node> {
        let mut filled = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            if node.name == "import" {
                filled.extend(self.import(&node, inside));
                continue;
            }
            if let Some(body) = node.children.take() {
                node.children = Some(match inside.blocks >= DEEPEST {
                    true => {
                        let text = format!("blocks are nested deeper than {DEEPEST}");
                        self.problems.error(&node.at, text);
                        Vec::new()
                    }
                    false => self.fill_in(body, inside.block()),
                });
            }
            filled.push(node);
        }
        filled
    }

    fn import(&mut self, node: &Node, inside: Inside) -> Vec<Node> {
        let Ok(name) = wanted(node) else { return Vec::new() };
        let Some(body) = self.snippets.body(name) else {
            return self.import_file(node, name, inside);
        };
        if !pay(body, &node.at, self.budget, self.problems) {
            return Vec::new();
        }
        let body = body.to_vec();
        match self.may_go_deeper(node, inside) {
            true => self.fill_in(body, inside.import()),
            false => Vec::new(),
        }
    }

    fn import_file(&mut self, node: &Node, name: &str, inside: Inside) -> Vec<Node> {
        if self.budget.is_spent() || !self.may_go_deeper(node, inside) {
            return Vec::new();
        }
        let path = match node.at.file().map(Path::new).and_then(Path::parent) {
            Some(directory) => directory.join(name), // an absolute name stays what it is
            None => PathBuf::from(name),
        };
        match self.find(&path) {
            Ok((path, content)) if self.budget.word(content.len(), &node.at, self.problems) => {
                self.file(&path, content, inside.import())
            }
            Ok(_) => Vec::new(),
            Err(error) => {
                let text = match error.kind() == io::ErrorKind::NotFound {
                    true => no_such(name, &path),
                    false => format!("importing {}: {error}", shown(&path.to_string_lossy())),
                };
                self.problems.error(&node.at, text);
                Vec::new()
            }
        }
    }

    /// The file of this name, or of this name with `.conf` appended.
    fn find(&self, path: &Path) -> io::Result<(PathBuf, Vec<u8>)> {
        match self.files.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut longer = path.as_os_str().to_owned();
                longer.push(".conf");
                let longer = PathBuf::from(longer);
                self.files.read(&longer).map(|content| (longer, content))
            }
            other => other.map(|content| (path.to_path_buf(), content)),
        }
    }

    fn may_go_deeper(&mut self, node: &Node, inside: Inside) -> bool {
        if inside.imports < LONGEST_CHAIN {
            return true;
        }
        let text =
            format!("imports are nested deeper than {LONGEST_CHAIN}; does it import itself?");
        self.problems.error(&node.at, text);
        // One such chain is enough: with two imports in each round their number would double at every step back.
        self.budget.stop();
        false
    }
}

/// The argument of an `import`.
fn wanted(node: &Node) -> Result<&str, Problem> {
    match (node.args.as_slice(), &node.children) {
        (_, Some(_)) => Err(Problem::error(&node.at, "import: takes no block")),
        ([name], None) if !name.is_empty() => Ok(name),
        _ => Err(Problem::error(&node.at, "import: expects the name of one snippet or file")),
    }
}

fn no_such(name: &str, path: &Path) -> String {
    let (name, path) = (shown(name), shown(&path.to_string_lossy()));
    let hint = match name.contains("{env:") {
        true => "; the environment is not known yet when imports are carried out",
        false => "",
    };
    format!("import: {name} is no snippet, and there is neither {path} nor {path}.conf{hint}")
}

fn pay(nodes: &[Node], at: &Place, budget: &mut Budget, problems: &Problems) -> bool {
    nodes
        .iter()
        .all(|node| budget.node(node, at, problems) && pay(node.children(), at, budget, problems))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::outline;

    fn run(files: &[(&str, &str)]) -> (String, Vec<String>) {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not there"))
        };
        let problems = Problems::new();
        let nodes = assemble(Path::new("/c/main"), &read, &mut Budget::new(), &problems);
        (outline(&nodes), problems.sorted().iter().map(Problem::to_string).collect())
    }

    fn good(files: &[(&str, &str)], expected: &str) {
        assert_eq!(run(files), (expected.to_string(), vec![]), "{files:?}");
    }

    fn bad(files: &[(&str, &str)], expected: &str, complaints: &[&str]) {
        let (tree, problems) = run(files);
        assert_eq!(problems, complaints, "{files:?}");
        assert_eq!(tree, expected, "{files:?}");
    }

    #[test]
    fn snippets_are_put_in_place_at_any_depth() {
        good(
            &[("/c/main", "(s) {\na\nb { c }\n}\nimport s\nd {\nimport s\ne\n}")],
            "a@2;b@3{c@3};d@6{a@2;b@3{c@3};e@8}",
        );
        good(&[("/c/main", "import s\n(s) {\na\n}")], "a@3"); // declared below
        good(&[("/c/main", "(s) {\na\n}\nimport s\n(s) {\nb\n}")], "b@6"); // the last one counts
        good(&[("/c/main", "(s)\na {\nimport s\n}")], "a@2{}");
        good(&[("/c/main", "(s) {\na\n}\n(t) {\nimport s\n}\nimport t")], "a@2");
    }

    #[test]
    fn files_are_looked_for_beside_the_file_that_names_them() {
        good(&[("/c/main", "import x\nb"), ("/c/x", "a")], "a@1;b@2");
        good(&[("/c/main", "import x"), ("/c/x.conf", "a")], "a@1");
        good(&[("/c/main", "import x"), ("/c/x", "a"), ("/c/x.conf", "b")], "a@1");
        good(&[("/c/main", "import /d/x"), ("/d/x", "import y"), ("/d/y", "a")], "a@1");
        good(&[("/c/main", "b {\nimport x\n}"), ("/c/x", "a")], "b@1{a@1}");
        good(&[("/c/main", "import \"a b\""), ("/c/a b", "a")], "a@1");
        good(&[("/c/main", "import *"), ("/c/*", "a")], "a@1"); // a star is a letter
    }

    #[test]
    fn a_snippet_wins_over_a_file() {
        let file = ("/c/s", "file");
        good(&[("/c/main", "(s) {\nsnippet\n}\nimport s"), file], "snippet@2");
        good(&[("/c/main", "import s\n(s) {\nsnippet\n}"), file], "snippet@3");
    }

    #[test]
    fn macros_of_the_parent_hold_in_an_imported_file() {
        good(&[("/c/main", "$(m) = 1\nimport x"), ("/c/x", "a $(m)")], "a 1@1");
        good(&[("/c/main", "$(f) = x\nimport $(f)"), ("/c/x", "a")], "a@1");
    }

    #[test]
    fn macros_of_an_imported_file_hold_below_the_import() {
        good(&[("/c/main", "import x\na $(m)"), ("/c/x", "$(m) = 1")], "a 1@2");
        good(&[("/c/main", "b {\nimport x\na $(m)\n}"), ("/c/x", "$(m) = 1")], "b@1{a 1@3}");
        let warning = "/c/main:1: warning: macro $(m) is not defined above";
        bad(&[("/c/main", "a $(m)\nimport x"), ("/c/x", "$(m) = 1")], "a@1", &[warning]);
        good(&[("/c/main", "$(m) = 1\nimport x\na $(m)"), ("/c/x", "$(m) = 2")], "a 2@3");
    }

    #[test]
    fn snippets_are_shared_both_ways() {
        good(&[("/c/main", "import x\nimport s"), ("/c/x", "(s) {\na\n}")], "a@2");
        good(&[("/c/main", "(s) {\na\n}\nimport x"), ("/c/x", "b {\nimport s\n}")], "b@1{a@2}");
    }

    #[test]
    fn macros_in_a_snippet_are_those_where_it_is_written() {
        let text = "$(m) = 1\n(s) {\na $(m)\n}\n$(m) = 2\nimport s";
        good(&[("/c/main", text)], "a 1@3");
    }

    #[test]
    fn a_file_named_in_a_snippet_is_read_when_the_snippet_is_used() {
        good(&[("/c/main", "(s) {\nimport nowhere\n}\na")], "a@4");
        good(&[("/c/main", "(s) {\nimport x\n}\nb {\nimport s\n}"), ("/c/x", "a")], "b@4{a@1}");
        // Relative to where the import is written, not to where the snippet is used.
        good(
            &[
                ("/c/main", "import /d/lib\nimport s"),
                ("/d/lib", "(s) {\nimport x\n}"),
                ("/d/x", "a"),
            ],
            "a@1",
        );
    }

    #[test]
    fn what_an_import_cannot_find_or_be() {
        bad(
            &[("/c/main", "import x\na")],
            "a@2",
            &["/c/main:1: import: x is no snippet, and there is neither /c/x nor /c/x.conf"],
        );
        let expects = "import: expects the name of one snippet or file";
        bad(
            &[("/c/main", "import\nimport a b\nimport \"\"")],
            "",
            &[
                &format!("/c/main:1: {expects}"),
                &format!("/c/main:2: {expects}"),
                &format!("/c/main:3: {expects}"),
            ],
        );
        bad(&[("/c/main", "import x {\n}")], "", &["/c/main:1: import: takes no block"]);
        let (_, problems) = run(&[("/c/main", "import {env:X}")]);
        assert!(
            problems[0].ends_with("the environment is not known yet when imports are carried out")
        );
    }

    #[test]
    fn problems_name_the_imported_file() {
        bad(
            &[("/c/main", "import x\nb"), ("/c/x", "a\n}")],
            "a@1;b@2",
            &["/c/x:2: } closes nothing"],
        );
        bad(
            &[("/c/main", "b {\nimport x\n}"), ("/c/x", "}")],
            "b@1{}",
            &["/c/x:1: } closes nothing"],
        );
    }

    #[test]
    fn endless_imports_end() {
        let text = "imports are nested deeper than 255; does it import itself?";
        bad(&[("/c/main", "(s) {\nimport s\n}\nimport s")], "", &[&format!("/c/main:2: {text}")]);
        bad(
            &[("/c/main", "(s) {\nimport s\nimport s\n}\nimport s")],
            "",
            &[&format!("/c/main:2: {text}")],
        );
        bad(&[("/c/main", "import main")], "", &[&format!("/c/main:1: {text}")]);
        bad(
            &[("/c/main", "import a\nimport a"), ("/c/a", "import main")],
            "",
            &[&format!("/c/a:1: {text}")],
        );
    }

    #[test]
    fn nesting_is_counted_through_imports() {
        let (_, problems) = run(&[("/c/main", "a { import main }")]);
        assert_eq!(problems, ["/c/main:1: blocks are nested deeper than 255"]);
        let (_, problems) = run(&[("/c/main", "(s) {\na {\nimport s\n}\n}\nimport s")]);
        assert!(!problems.is_empty());
        let half = |inner: &str| format!("{}{inner}\n{}", "a {\n".repeat(200), "}\n".repeat(200));
        let (_, problems) = run(&[("/c/main", &half("import x")), ("/c/x", &half("b"))]);
        assert_eq!(problems, ["/c/x:56: blocks are nested deeper than 255"]);
        let snippet = format!("(s) {{\n{}\n}}\n{}", half("b"), half("import s"));
        let (_, problems) = run(&[("/c/main", &snippet)]);
        assert_eq!(problems, ["/c/main:57: blocks are nested deeper than 255"]);
    }

    #[test]
    fn snippets_that_multiply_stop_at_the_budget() {
        let mut text = "(s0) {\na\n}\n".to_string();
        for n in 1..20 {
            text.push_str(&format!("(s{n}) {{\n{}}}\n", format!("import s{}\n", n - 1).repeat(10)));
        }
        text.push_str("import s19");
        let (_, problems) = run(&[("/c/main", &text)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("too large"));
    }

    #[test]
    fn a_main_file_that_cannot_be_read_is_a_problem_of_the_whole_file() {
        bad(&[], "", &["/c/main: reading the configuration: not there"]);
    }
}
