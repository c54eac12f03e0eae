//! Tables of the configuration: `static`, `file`, `regexp`, `chain` and the rest, read into what rules and logins ask.
//!
//! A table stands where it is used (`table file PATH`) or at the top level (`table.file NAME { }`) and is asked for by `&NAME`. What a
//! table answers is decided in `posthaste_mail::table`; `files` keeps the files.

pub mod files;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_config::problem::{Problem, shown};
use posthaste_config::values::{fault, no_block};
use posthaste_config::{Block, InstanceRef, ModuleRef, Node, TopKind};
use posthaste_mail::table::{
    Chain, EmailLocalpart, EmailWithDomain, Entries, Identity, NotAnAddress, Regexp, RegexpOptions,
    Step, Table,
};

use crate::reading::Reading;

pub use files::FileTables;

/// The blocks of the top level that this file reads.
pub const MODULES: [(&str, TopKind); 8] = [
    ("table.chain", TopKind::Instance),
    ("table.email_localpart", TopKind::Instance),
    ("table.email_localpart_optional", TopKind::Instance),
    ("table.email_with_domain", TopKind::Instance),
    ("table.file", TopKind::Instance),
    ("table.identity", TopKind::Instance),
    ("table.regexp", TopKind::Instance),
    ("table.static", TopKind::Instance),
];

/// Tables that refer to tables that refer to tables.
const DEEPEST: usize = 64;

type Made = Arc<dyn Table>;

/// The tables of one configuration. Those of the top level are made when they are first asked for, and once.
#[derive(Debug, Default)]
pub struct Tables {
    files: FileTables,
    named: RefCell<BTreeMap<String, Option<Made>>>,
    /// Names of the tables that are being read now, to notice one that is made of itself.
    open: RefCell<Vec<String>>,
}

impl Tables {
    /// The files behind the `file` tables read so far. Nothing is in them before the first `refresh`.
    pub fn files(&self) -> FileTables {
        self.files.clone()
    }

    /// The table a directive takes: `directive MODULE ARGUMENT... { }` or `directive &NAME`. What is wrong with it is reported, and
    /// there is none.
    pub fn read(&self, reading: &Reading<'_>, node: &Node) -> Option<Made> {
        self.table(reading, &reading.report(ModuleRef::of(node, "table"))?)
    }

    /// The same of a reference that was read already, in the namespace `table`.
    pub fn table(&self, reading: &Reading<'_>, module: &ModuleRef) -> Option<Made> {
        match module {
            ModuleRef::Instance(wanted) => self.named(reading, wanted),
            ModuleRef::Inline(module) => {
                let kind = reading.report(module.find(&MODULES.map(|(name, _)| name)))?;
                self.make(reading, kind, module.args(), &module.node)
            }
        }
    }

    fn named(&self, reading: &Reading<'_>, wanted: &InstanceRef) -> Option<Made> {
        let block = reading.instance(wanted, "a table", &MODULES)?;
        let name = block.name().to_string();
        if let Some(made) = self.named.borrow().get(&name) {
            return made.clone();
        }
        let depth = self.open.borrow().len();
        if self.open.borrow().contains(&name) {
            let text = format!("the table {} is made of itself", shown(&name));
            reading.problems.error(&wanted.at, text);
            return None;
        }
        if depth >= DEEPEST {
            let text = format!("tables refer to each other more than {DEEPEST} deep");
            reading.problems.error(&wanted.at, text);
            return None;
        }
        self.open.borrow_mut().push(name.clone());
        // The words at the top level are names and no arguments.
        let made = self.make(reading, &block.module, &[], &block.node);
        self.open.borrow_mut().truncate(depth);
        self.named.borrow_mut().insert(name, made.clone());
        made
    }

    fn make(
        &self,
        reading: &Reading<'_>,
        kind: &str,
        args: &[String],
        node: &Node,
    ) -> Option<Made> {
        let made = match kind {
            "table.chain" => return self.chain(reading, args, node),
            "table.file" => return self.file(reading, args, node),
            "table.static" => return entries(reading, args, node),
            "table.regexp" => return regexp(reading, args, node),
            "table.email_localpart" => {
                plain(args, node).map(|()| Arc::new(EmailLocalpart(NotAnAddress::Missing)) as Made)
            }
            "table.email_localpart_optional" => {
                plain(args, node).map(|()| Arc::new(EmailLocalpart(NotAnAddress::Kept)) as Made)
            }
            "table.identity" => plain(args, node).map(|()| Arc::new(Identity) as Made),
            "table.email_with_domain" => email_with_domain(args, node),
            other => {
                Err(Problem::unknown(&node.at, "module", other, MODULES.map(|(name, _)| name)))
            }
        };
        reading.report(made)
    }

    /// `chain { step TABLE ... optional_step TABLE ... }`.
    fn chain(&self, reading: &Reading<'_>, args: &[String], node: &Node) -> Option<Made> {
        reading.report(no_arguments(args, node))?;
        let steps: Vec<Option<Step>> = node
            .children()
            .iter()
            .map(|line| match line.name.as_str() {
                "step" => self.read(reading, line).map(Step::Required),
                "optional_step" => self.read(reading, line).map(Step::Optional),
                other => {
                    let known = ["step", "optional_step"];
                    let problem = Problem::unknown(&line.at, "directive", other, known);
                    reading.problems.push(problem.within(&node.title()));
                    None
                }
            })
            .collect();
        let steps: Option<Vec<Step>> = steps.into_iter().collect();
        Some(Arc::new(Chain::new(steps?)))
    }

    /// `file PATH`, or `file { file PATH }`, the only form there is at the top level.
    fn file(&self, reading: &Reading<'_>, args: &[String], node: &Node) -> Option<Made> {
        let mut block = Block::open(node, reading.problems);
        let directive = block.directive("file").optional();
        block.close();
        let line = match (args, directive) {
            ([], Some(line)) => line.clone(),
            (args, None) => {
                let (name, args) = (node.name.clone(), args.to_vec());
                Node { name, args, children: None, at: node.at.clone() }
            }
            (_, Some(line)) => {
                reading.problems.push(fault(line, "the path is given already, behind the module"));
                return None;
            }
        };
        let path = reading.report(posthaste_config::values::path(&line))?;
        Some(self.files.table(&reading.in_state_dir(&path)))
    }
}

/// `static { entry KEY VALUE... }`.
fn entries(reading: &Reading<'_>, args: &[String], node: &Node) -> Option<Made> {
    reading.report(no_arguments(args, node))?;
    let mut block = Block::open(node, reading.problems);
    let mut entries = Entries::new();
    for line in block.repeated("entry") {
        let values: Vec<&str> = line.args.iter().map(String::as_str).collect();
        let problem = match (no_block(line), values.as_slice()) {
            (Ok(()), [key, values @ ..]) => {
                entries.add(key, values);
                continue;
            }
            (Ok(()), []) => fault(line, "expects a key, and its values"),
            (Err(problem), _) => problem,
        };
        reading.problems.push(problem.within(&node.title()));
    }
    block.close();
    Some(Arc::new(entries))
}

/// `regexp RE REPLACEMENT... { full_match; case_insensitive; expand_replaceholders }`.
fn regexp(reading: &Reading<'_>, args: &[String], node: &Node) -> Option<Made> {
    let defaults = RegexpOptions::default();
    let mut block = Block::open(node, reading.problems);
    block.alias("expand_placeholders", "expand_replaceholders");
    let options = RegexpOptions {
        full_match: block.boolean("full_match").or(defaults.full_match),
        case_insensitive: block.boolean("case_insensitive").or(defaults.case_insensitive),
        expand: block.boolean("expand_replaceholders").or(defaults.expand),
    };
    block.close();
    let made = match args.split_first() {
        Some((expression, replacements)) => Regexp::new(expression, replacements.to_vec(), options)
            .map_err(|error| fault(node, error.to_string())),
        None => Err(fault(node, lacks("an expression"))),
    };
    Some(Arc::new(reading.report(made)?))
}

fn email_with_domain(args: &[String], node: &Node) -> Result<Made, Problem> {
    no_block(node)?;
    if args.is_empty() {
        return Err(fault(node, lacks("a domain")));
    }
    let domains: Vec<&str> = args.iter().map(String::as_str).collect();
    let made = EmailWithDomain::new(&domains);
    Ok(Arc::new(made.map_err(|error| fault(node, error.to_string()))?))
}

/// At the top level there is no place for arguments, so the message says where there is one.
fn lacks(what: &str) -> String {
    format!("expects {what} behind the name of the module, where the table is used")
}

fn plain(args: &[String], node: &Node) -> Result<(), Problem> {
    no_arguments(args, node).and_then(|()| no_block(node))
}

fn no_arguments(args: &[String], node: &Node) -> Result<(), Problem> {
    match args.first() {
        None => Ok(()),
        Some(word) => Err(fault(node, format!("takes no arguments, found {}", shown(word)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests::{read, read_in};

    /// The table of `submission { table ... }`, asked for `key`.
    fn look(text: &str, key: &str) -> Result<Vec<String>, Vec<String>> {
        let (made, problems) = read(text, |reading, blocks| {
            let endpoint = blocks.iter().find(|block| block.module == "submission").unwrap();
            Tables::default().read(reading, &endpoint.node.children()[0])
        });
        match made {
            Some(table) if problems.is_empty() => Ok(table.lookup(key).unwrap()),
            _ => Err(problems),
        }
    }

    fn inline(table: &str, key: &str) -> Result<Vec<String>, Vec<String>> {
        look(&format!("submission tcp://:587 {{\ntable {table}\n}}"), key)
    }

    fn complaint(table: &str) -> String {
        inline(table, "").unwrap_err().join("|")
    }

    #[test]
    fn tables_in_every_form() {
        for (table, key, expected) in [
            ("static {\nentry a b c\nentry a d\n}", "a", &["b", "c", "d"][..]),
            ("static {\nentry a\n}", "a", &[""]),
            ("static", "a", &[]),
            ("table.static { entry a b }", "a", &["b"]),
            (r#"regexp "(.+)\+(.+)@(.+)" "$1@$3""#, "a+b@c", &["a@c"]),
            ("regexp a b {\nfull_match no\ncase_insensitive no\n}", "cab", &["b"]),
            ("regexp a b {\ncase_insensitive no\n}", "A", &[]),
            ("regexp (a) $1 {\nexpand_replaceholders no\n}", "a", &["$1"]),
            ("regexp (a) $1 {\nexpand_placeholders no\n}", "a", &["$1"]),
            ("email_localpart", "a@b", &["a"]),
            ("email_localpart", "a", &[]),
            ("email_localpart_optional", "a", &["a"]),
            ("email_with_domain x.example y.example", "a", &["a@x.example", "a@y.example"]),
            ("identity", "a", &["a"]),
            ("identity { }", "a", &["a"]),
            ("chain {\nstep email_localpart\noptional_step static { entry a c }\n}", "a@b", &["c"]),
            ("chain {\nstep email_localpart\nstep static { entry x c }\n}", "a@b", &[]),
        ] {
            assert_eq!(inline(table, key).unwrap(), expected, "{table}");
        }
    }

    #[test]
    fn wrong_tables_are_told_with_their_place() {
        for (table, said) in [
            ("statik", "c:2: unknown module statik, did you mean static?"),
            ("sql_query", "c:2: unknown module sql_query"),
            ("", "c:2: table: expects a module or &name"),
            ("&nothing", "c:2: &nothing names no block"),
            ("static x", "c:2: static: takes no arguments, found x"),
            ("static {\nentry\n}", "c:3: static: entry: expects a key, and its values"),
            ("static {\nentri a\n}", "c:3: static: unknown directive entri, did you mean entry?"),
            (
                "regexp",
                "c:2: regexp: expects an expression behind the name of the module, where the table is used",
            ),
            ("regexp a {\nfull yes\n}", "c:3: regexp a: unknown directive full"),
            ("email_localpart x", "c:2: email_localpart: takes no arguments, found x"),
            ("identity {\nx\n}", "c:2: identity: takes no block"),
            (
                "email_with_domain",
                "c:2: email_with_domain: expects a domain behind the name of the module, where the table is used",
            ),
            ("file", "c:2: file: expects one argument, found none"),
            ("file a {\nfile b\n}", "c:3: file: the path is given already, behind the module"),
            ("chain {\nstpe identity\n}", "c:3: chain: unknown directive stpe, did you mean step?"),
            (
                "chain {\nstep statik\nstep identity x\n}",
                "c:3: unknown module statik, did you mean static?|c:4: identity: takes no arguments, found x",
            ),
        ] {
            assert_eq!(complaint(table), said, "{table}");
        }
        assert!(complaint("regexp (").starts_with("c:2: regexp: regular expression \"(\": "));
        assert!(complaint("email_with_domain a..b").starts_with("c:2: email_with_domain: "));
    }

    #[test]
    fn named_tables_are_made_once_and_by_any_name() {
        let text = "submission tcp://:587 {\ntable &two\n}\ntable.chain one two {\nstep &words\n}\ntable.static words {\nentry a b\n}";
        assert_eq!(look(text, "a").unwrap(), ["b"]);
        let text = "submission tcp://:587 {\ntable &a\ntable &a\n}\ntable.file a {\nfile list\n}";
        let (tables, problems) = read(text, |reading, blocks| {
            let tables = Tables::default();
            for line in blocks[0].node.children() {
                assert!(tables.read(reading, line).is_some());
            }
            tables
        });
        assert_eq!((tables.files().len(), problems.len()), (1, 0));
        let wrong = "submission tcp://:587 {\ntable &out\n}\ntarget.remote out {\n}";
        assert_eq!(look(wrong, "").unwrap_err(), ["c:2: &out is a target.remote and not a table"]);
        let top = "submission tcp://:587 {\ntable &a\n}\ntable.regexp a {\n}";
        assert!(look(top, "").unwrap_err()[0].starts_with("c:4: table.regexp: expects an expr"));
    }

    #[test]
    fn a_table_cannot_be_made_of_itself() {
        let text = "submission tcp://:587 {\ntable &a\n}\ntable.chain a {\nstep &b\n}\ntable.chain b {\noptional_step chain { step &a }\n}";
        assert_eq!(look(text, "").unwrap_err(), ["c:8: the table a is made of itself"]);
        let mut text = "submission tcp://:587 {\ntable &t0\n}\n".to_string();
        for n in 0..1000 {
            text.push_str(&format!("table.chain t{n} {{\nstep &t{}\n}}\n", n + 1));
        }
        let said = look(&text, "").unwrap_err();
        assert_eq!(said, ["c:194: tables refer to each other more than 64 deep"]);
    }

    #[test]
    fn relative_files_are_in_the_state_directory() {
        let directory = files::tests::Directory::new("relative");
        directory.write("list", "a: b");
        let text = "submission tcp://:587 {\ntable file list\n}";
        let ((table, files), _) = read_in(directory.path(), text, |reading, blocks| {
            let tables = Tables::default();
            let table = tables.read(reading, &blocks[0].node.children()[0]).unwrap();
            (table, tables.files())
        });
        assert!(table.lookup("a").is_err()); // not before the first refresh
        assert_eq!(files.refresh(), Vec::<String>::new());
        assert_eq!(table.lookup("a").unwrap(), ["b"]);
    }
}
