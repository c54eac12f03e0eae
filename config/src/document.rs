//! A whole configuration: global directives, and the blocks of the top level.
//!
//! Which modules may stand at the top is told by the caller; this file gives every block its names or addresses and takes care that no
//! two share one. What is in a block is read later, when something refers to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::budget::Budget;
use crate::endpoint::{self, Endpoint, ListenEndpoint};
use crate::environment::Environment;
use crate::files::Files;
use crate::globals::{BLOCKS, GLOBALS, Globals, shape};
use crate::import;
use crate::layers;
use crate::place::Place;
use crate::problem::{Problem, Problems, shown};
use crate::tree::Node;
use crate::values::fault;

/// What the arguments of a top-level block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopKind {
    /// Addresses to listen on; at least one.
    Endpoint,
    /// Names of the instance; the full name of the module when there is none.
    Instance,
    /// Whatever they are: the language has this module and this program does not. An error, but references to it are understood.
    NotImplemented,
}

/// A block of the top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopBlock {
    /// The full name: `target.queue`.
    pub module: String,
    pub kind: TopKind,
    /// At least one, unless it is an endpoint.
    pub names: Vec<String>,
    /// The addresses of an endpoint, as far as they can be read.
    pub listen: Vec<ListenEndpoint>,
    /// The directive with its block, for `Block::open`.
    pub node: Node,
}

impl TopBlock {
    /// The name it is called by in messages and defaults: the first one.
    pub fn name(&self) -> &str {
        self.names.first().map_or(&self.module, |name| name)
    }
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    pub globals: Globals,
    /// In the order of the file.
    pub blocks: Vec<TopBlock>,
    /// Problems so far. Reading the blocks adds to them.
    pub problems: Problems,
    /// The main file, for problems of the file as a whole.
    pub file: Place,
}

/// A configuration file.
#[derive(Debug)]
pub struct Document;

impl Document {
    /// Reads the file at `path` and all it imports. `overrides` are the arguments of `--set`, `modules` the top-level modules known.
    /// There is always a result; `problems` says whether it can be used.
    pub fn load(
        path: &Path,
        environment: &Environment,
        overrides: &[String],
        files: &dyn Files,
        modules: &[(&str, TopKind)],
    ) -> Loaded {
        let problems = Problems::new();
        let mut budget = Budget::new();
        let mut nodes = import::assemble(path, files, &mut budget, &problems);
        environment.fill(&mut nodes, &mut budget, &problems);

        let mut top = Top::new(modules, &problems);
        nodes.into_iter().for_each(|node| top.take(node));
        let Top { globals: lines, tls, tls_client, blocks, .. } = top;

        let layered = layers::resolve(&lines, environment, overrides, &problems);
        let globals = Globals { tls, tls_client, ..Globals::read(layered, &problems) };
        let file = Place::WholeFile(Arc::from(path.to_string_lossy()));
        Loaded { globals, blocks, problems, file }
    }
}

/// The top level while it is sorted.
struct Top<'a> {
    modules: &'a [(&'a str, TopKind)],
    problems: &'a Problems,
    globals: Vec<Node>,
    tls: Option<Node>,
    tls_client: Option<Node>,
    blocks: Vec<TopBlock>,
    named: BTreeMap<String, Place>,
    listening: BTreeMap<String, Place>,
}

impl<'a> Top<'a> {
    fn new(modules: &'a [(&'a str, TopKind)], problems: &'a Problems) -> Top<'a> {
        Top {
            modules,
            problems,
            globals: Vec::new(),
            tls: None,
            tls_client: None,
            blocks: Vec::new(),
            named: BTreeMap::new(),
            listening: BTreeMap::new(),
        }
    }

    fn take(&mut self, node: Node) {
        let known = self.modules.iter().find(|(name, _)| *name == node.name).map(|(_, kind)| *kind);
        // `tls_client NAME { }` is a block to be shared, without a name it is the global one.
        let shared = node.name == "tls_client" && !node.args.is_empty() && known.is_some();
        match (node.name.as_str(), known) {
            ("tls", _) => {
                let first = self.tls.take();
                self.tls = self.once(first, node);
            }
            ("tls_client", _) if !shared => {
                if node.children.is_none() || !node.args.is_empty() {
                    self.problems.push(fault(&node, "takes a block and no arguments"));
                }
                let first = self.tls_client.take();
                self.tls_client = self.once(first, node);
            }
            (name, _) if shape(name).is_some() => self.take_global(node),
            (_, Some(TopKind::Endpoint)) => self.take_endpoint(node),
            (_, Some(kind)) => self.take_instance(node, kind),
            (name, None) => {
                let names = self.modules.iter().map(|(name, _)| *name);
                let names = names.chain(GLOBALS.iter().map(|(name, _)| *name)).chain(BLOCKS);
                let what = "module or global directive";
                self.problems.push(Problem::unknown(&node.at, what, name, names));
            }
        }
    }

    fn once(&self, first: Option<Node>, node: Node) -> Option<Node> {
        if let Some(first) = &first {
            self.twice(&node, &first.at);
        }
        Some(first.unwrap_or(node))
    }

    fn twice(&self, node: &Node, first: &Place) {
        let text = format!("{} is given twice, first at {first}", node.name);
        self.problems.error(&node.at, text);
    }

    fn take_global(&mut self, node: Node) {
        if !node.children().is_empty() {
            self.problems.push(fault(&node, "takes no block"));
        }
        match self.globals.iter().find(|other| other.name == node.name) {
            Some(first) => self.twice(&node, &first.at),
            None => self.globals.push(node),
        }
    }

    fn take_endpoint(&mut self, node: Node) {
        if node.args.is_empty() {
            self.problems.push(fault(&node, "expects at least one address"));
        }
        let mut listen = Vec::new();
        for text in &node.args {
            match endpoint::listen(text) {
                Ok(endpoint) => {
                    self.reserve(&endpoint, &node);
                    listen.push(endpoint);
                }
                Err(error) => self.problems.push(fault(&node, error.to_string())),
            }
        }
        let (module, kind) = (node.name.clone(), TopKind::Endpoint);
        self.blocks.push(TopBlock { module, kind, names: Vec::new(), listen, node });
    }

    fn reserve(&mut self, endpoint: &ListenEndpoint, node: &Node) {
        let Some(socket) = socket(endpoint) else { return };
        match self.listening.get(&socket) {
            Some(first) => {
                let text = format!("address {endpoint} is used twice, first at {first}");
                self.problems.push(fault(node, text));
            }
            None => {
                self.listening.insert(socket, node.at.clone());
            }
        }
    }

    fn take_instance(&mut self, node: Node, kind: TopKind) {
        if kind == TopKind::NotImplemented {
            self.problems.error(&node.at, format!("module {} is not implemented", node.name));
        }
        let names = match node.args.as_slice() {
            [] => vec![node.name.clone()],
            names => names.to_vec(),
        };
        for name in &names {
            match kind {
                // Known enough for references to it; its words may be addresses.
                TopKind::NotImplemented => {
                    self.named.entry(name.clone()).or_insert(node.at.clone());
                }
                TopKind::Endpoint | TopKind::Instance => self.name(name, &node),
            }
        }
        let module = node.name.clone();
        self.blocks.push(TopBlock { module, kind, names, listen: Vec::new(), node });
    }

    fn name(&mut self, name: &str, node: &Node) {
        if name.is_empty() || name.starts_with('&') {
            let text = format!("{} is no name for an instance", shown(name));
            self.problems.push(fault(node, text));
            return;
        }
        if name.contains('/') {
            let text = format!(
                "{}: {} becomes the name of the instance; a module takes other arguments only where it is used inline",
                node.name,
                shown(name)
            );
            self.problems.warning(&node.at, text);
        }
        match self.named.get(name) {
            Some(first) => {
                let text = format!("the name {} is taken, first at {first}", shown(name));
                self.problems.push(fault(node, text));
            }
            None => {
                self.named.insert(name.to_string(), node.at.clone());
            }
        }
    }
}

/// What only one listener can have. Port 0 is another port every time.
fn socket(endpoint: &ListenEndpoint) -> Option<String> {
    match endpoint {
        Endpoint::Tcp { port: 0, .. } | Endpoint::Tls { port: 0, .. } => None,
        Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
            Some(format!("{host}:{port}"))
        }
        Endpoint::Unix(path) => Some(format!("unix:{}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::module::ModuleRef;
    use crate::references::References;

    const MODULES: &[(&str, TopKind)] = &[
        ("smtp", TopKind::Endpoint),
        ("submission", TopKind::Endpoint),
        ("admin", TopKind::Endpoint),
        ("openmetrics", TopKind::Endpoint),
        ("target.queue", TopKind::Instance),
        ("target.remote", TopKind::Instance),
        ("storage.imapsql", TopKind::Instance),
        ("msgpipeline", TopKind::Instance),
        ("limits", TopKind::Instance),
        ("tls_client", TopKind::Instance),
        ("imap", TopKind::NotImplemented),
        ("auth.pass_table", TopKind::NotImplemented),
        ("table.chain", TopKind::NotImplemented),
    ];

    fn load(text: &str) -> (Loaded, Vec<String>) {
        let read = |path: &Path| match path == Path::new("c") {
            true => Ok(text.as_bytes().to_vec()),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "not there")),
        };
        let loaded = Document::load(Path::new("c"), &Environment::empty(), &[], &read, MODULES);
        let problems = loaded.problems.sorted().iter().map(Problem::to_string).collect();
        (loaded, problems)
    }

    fn complaints(text: &str) -> Vec<String> {
        load(text).1
    }

    #[test]
    fn globals_and_blocks_are_told_apart() {
        let text = "hostname mx.example.org\ntls file /a /b\ntls_client {\nprotocols tls1.2\n}\nsmtp tcp://:25 {\n}\ntarget.queue a b {\n}\ntls_client shared {\n}\nlimits";
        let (loaded, problems) = load(text);
        assert_eq!(problems, Vec::<String>::new());
        let hostname = loaded.globals.hostname.unwrap();
        assert_eq!((hostname.value.ascii(), hostname.at), ("mx.example.org", Place::line("c", 1)));
        assert_eq!(loaded.globals.tls.unwrap().args, ["file", "/a", "/b"]);
        assert_eq!(loaded.globals.tls_client.unwrap().children().len(), 1);
        let names: Vec<String> =
            loaded.blocks.iter().map(|b| format!("{} {}", b.module, b.names.join(","))).collect();
        assert_eq!(names, ["smtp ", "target.queue a,b", "tls_client shared", "limits limits"]);
        assert_eq!(loaded.blocks[0].listen, [endpoint::listen("tcp://:25").unwrap()]);
        assert_eq!(loaded.blocks[1].name(), "a");
    }

    #[test]
    fn unknown_names_suggest_the_nearest() {
        assert_eq!(
            complaints("hostnmae x\ntarget.quue q {\n}\ndkim x\ntsl off"),
            [
                "c:1: unknown module or global directive hostnmae, did you mean hostname?",
                "c:2: unknown module or global directive target.quue, did you mean target.queue?",
                "c:4: unknown module or global directive dkim",
                "c:5: unknown module or global directive tsl, did you mean tls?",
            ]
        );
    }

    #[test]
    fn a_global_directive_stands_once_and_has_no_block() {
        let twice = ["c:2: hostname is given twice, first at c:1"];
        assert_eq!(complaints("hostname a\nhostname b"), twice);
        assert_eq!(load("hostname a\nhostname b").0.globals.hostname().unwrap().ascii(), "a");
        assert_eq!(complaints("tls off\ntls off"), ["c:2: tls is given twice, first at c:1"]);
        assert_eq!(complaints("hostname a {\nb\n}"), ["c:1: hostname: takes no block"]);
        assert!(complaints("hostname a {\n}").is_empty()); // an empty one is let pass
        assert_eq!(complaints("debug maybe"), ["c:1: debug: expects yes or no, found maybe"]);
        assert_eq!(complaints("tls_client"), ["c:1: tls_client: takes a block and no arguments"]);
    }

    #[test]
    fn names_are_one_space_across_modules() {
        assert_eq!(
            complaints("target.queue a {\n}\ntarget.remote b a {\n}\nlimits b b"),
            [
                "c:3: target.remote: the name a is taken, first at c:1",
                "c:5: limits: the name b is taken, first at c:3",
            ]
        );
        assert_eq!(
            complaints("target.queue &a\ntarget.remote \"\""),
            [
                "c:1: target.queue: &a is no name for an instance",
                "c:2: target.remote: \"\" is no name for an instance",
            ]
        );
        assert_eq!(
            complaints("target.queue /var/spool/q {\n}"),
            [
                "c:1: warning: target.queue: /var/spool/q becomes the name of the instance; a module takes other arguments only where it is used inline"
            ]
        );
    }

    #[test]
    fn endpoints_take_addresses() {
        assert_eq!(
            complaints(
                "smtp {\n}\nsmtp smtp://a:25 {\n}\nsmtp tcp://0.0.0.0:25 {\n}\nsubmission tcp://[::]:25 tcp://:0 tcp://:0 {\n}"
            ),
            [
                "c:1: smtp: expects at least one address",
                "c:3: smtp: address smtp://a:25: expects tcp://HOST:PORT, tls://HOST:PORT or unix:PATH",
                "c:7: submission: address tcp://:25 is used twice, first at c:5",
            ]
        );
    }

    #[test]
    fn overrides_and_environment_reach_globals() {
        let read = |_: &Path| Ok(b"state_dir {env:BASE}/x\nhostname bad..name".to_vec());
        let environment: Environment =
            [("BASE", "/srv"), ("POSTHASTE_RESOLVER", "nowhere")].into_iter().collect();
        let set = ["debug=perhaps".to_string()];
        let loaded = Document::load(Path::new("c"), &environment, &set, &read, MODULES);
        assert_eq!(loaded.globals.state_dir.value, Path::new("/srv/x"));
        let problems: Vec<String> =
            loaded.problems.sorted().iter().map(Problem::to_string).collect();
        assert_eq!(
            problems,
            [
                "c:2: hostname: expects a domain name, found bad..name: domain has an empty or overlong label, or is too long",
                "environment POSTHASTE_RESOLVER: resolver: expects system alone, or ADDRESS[:PORT]..., found nowhere",
                "--set: debug: expects yes or no, found perhaps",
            ]
        );
    }

    #[test]
    fn an_empty_file_is_an_empty_configuration() {
        let (loaded, problems) = load("");
        assert!(problems.is_empty() && loaded.blocks.is_empty());
        let in_force: Vec<&str> = loaded.globals.in_force.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(in_force, ["debug", "log", "resolver", "runtime_dir", "state_dir"]);
    }

    #[test]
    fn a_configuration_of_the_known_shape_parses() {
        let (loaded, problems) = load(include_str!("testdata/mail-server.conf"));
        let missing: Vec<String> = loaded
            .blocks
            .iter()
            .filter(|block| block.kind == TopKind::NotImplemented)
            .map(|block| format!("{}: module {} is not implemented", block.node.at, block.module))
            .collect();
        assert_eq!(problems, missing);
        assert_eq!(missing.len(), 3);
        let block =
            |name: &str| loaded.blocks.iter().find(|b| b.names.iter().any(|n| n == name)).unwrap();
        let child = |node: &Node, path: &[&str]| {
            path.iter().fold(node.clone(), |node, name| {
                node.children()
                    .iter()
                    .find(|c| c.name == *name)
                    .unwrap_or_else(|| panic!("{name}"))
                    .clone()
            })
        };
        // Macros: several values as arguments, one value inside a path.
        let tls = loaded.globals.tls.clone().unwrap();
        assert_eq!(
            tls.args,
            ["file", "/srv/keys/mail.example.net/chain.pem", "/srv/keys/mail.example.net/key.pem"]
        );
        let inbound = loaded.blocks.iter().find(|b| b.module == "smtp").unwrap();
        assert_eq!(child(&inbound.node, &["source"]).args, ["example.net", "example.com"]);
        let rules = child(&block("inside").node, &["destination"]);
        assert_eq!(rules.args, ["postmaster", "example.net", "example.com"]);
        // Words in quotes keep their backslashes and dollars.
        let chain = block("aliases").node.clone();
        assert_eq!(chain.children()[0].args, ["regexp", r"(.+)\+(.+)@(.+)", "$1@$3"]);
        let queue = &block("outgoing").node;
        let reject = child(queue, &["bounce", "default_destination", "reject"]);
        assert_eq!(reject.args, ["550", "5.0.0", "Notifications stay inside"]);
        assert_eq!(
            child(&block("world").node, &["mx_auth", "mtasts", "fs_dir"]).args,
            ["policies/"]
        );
        // Every reference names a block.
        let references = References::new(&loaded.blocks);
        let target = ModuleRef::of(&child(queue, &["target"]), "target").unwrap();
        let ModuleRef::Instance(target) = target else { panic!("{target:?}") };
        assert_eq!(references.resolve(&target).unwrap().module, "target.remote");
    }

    #[test]
    fn a_file_on_disk_is_read_the_same_way() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata/mail-server.conf");
        let environment = Environment::empty();
        let loaded = Document::load(&path, &environment, &[], &crate::files::Disk, MODULES);
        assert_eq!(loaded.blocks, {
            let read = |_: &Path| Ok(include_bytes!("testdata/mail-server.conf").to_vec());
            Document::load(&path, &environment, &[], &read, MODULES).blocks
        });
        let missing =
            Document::load(Path::new("/none"), &environment, &[], &crate::files::Disk, MODULES);
        let problem = &missing.problems.sorted()[0];
        assert_eq!((problem.at.to_string().as_str(), missing.file), ("/none", problem.at.clone()));
    }

    #[test]
    fn parsers_take_any_bytes() {
        let parts: [&[u8]; 22] = [
            b"smtp",
            b"tcp://:25",
            b" ",
            b"\n",
            b" { ",
            b" } ",
            b"import",
            b"(s)",
            b"$(m)",
            b" = ",
            b"tls",
            b"hostname",
            b"target.queue",
            b"&a",
            b"{env:A}",
            b"\"",
            b"\\",
            b"#",
            b"\xff",
            b"tls_client",
            b"log",
            b"s",
        ];
        let environment: Environment = [("A", "x y")].into_iter().collect();
        let mut dice = posthaste_mail::dice::Dice::new(13);
        for _ in 0..5_000 {
            let main: Vec<u8> =
                (0..dice.below(40)).flat_map(|_| parts[dice.below(parts.len())].to_vec()).collect();
            let read = |path: &Path| match path == Path::new("c") {
                true => Ok(main.clone()),
                false => Err(io::Error::new(io::ErrorKind::NotFound, "not there")),
            };
            let loaded = Document::load(Path::new("c"), &environment, &[], &read, MODULES);
            for problem in loaded.problems.sorted() {
                assert!(!problem.to_string().contains(['\n', '\r']), "{problem}");
            }
        }
    }
}
