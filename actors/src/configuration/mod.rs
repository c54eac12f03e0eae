//! The whole configuration, read into the settings of each actor.
//!
//! Blocks are read when something refers to them, each once; a block counts as read as soon as its reading begins, so that circles (a
//! queue whose notifications go back through the same queue) are natural.

pub mod modules;
pub mod tls_client;

#[cfg(test)]
mod mail_server;
#[cfg(test)]
mod remote_block;
#[cfg(test)]
mod sample;
#[cfg(test)]
pub mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use posthaste_config::globals::{Resolver, ResolverProbes};
use posthaste_config::{
    Block, Disk, Document, Environment, InstanceRef, Loaded, ModuleRef, Node, Place, Problem,
    Problems, References, TopBlock, TopKind,
};
use posthaste_mail::pipeline::SharedPipeline;
use posthaste_mail::wire::client::opening::Dialect;

use crate::exit::Exit;
use crate::intake::auth::PassTables;
use crate::intake::settings as endpoint;
use crate::intake::settings::EndpointSettings;
use crate::intake::table::{FileTables, Tables};
use crate::limits::LimitBlocks;
use crate::reading::Reading;
use crate::routing;
use crate::targets::forward::settings::{self as forward, Auth, ForwardSettings};
use crate::targets::queue::settings::{self as queue, QueueSettings};
use crate::targets::remote::mx_auth::MxAuthBlocks;
use crate::targets::remote::settings::{self as remote, RemoteSettings};
use modules::MODULES;
use tls_client::TlsClientBlocks;

/// What a configured target is.
#[derive(Debug)]
pub enum TargetSettings {
    Queue(Box<QueueSettings>),
    Remote(Box<RemoteSettings>),
    Forward(Box<ForwardSettings>),
    Dummy,
}

#[derive(Debug)]
pub struct Target {
    pub name: String,
    /// `None`: its block has problems.
    pub settings: Option<TargetSettings>,
}

#[derive(Debug)]
pub struct Configuration {
    pub hostname: String,
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub log: crate::log::Settings,
    pub resolver: Resolver,
    pub resolver_probes: Option<ResolverProbes>,
    pub admin_socket: PathBuf,
    pub endpoints: Vec<EndpointSettings>,
    /// By `Exit`.
    pub targets: Vec<Target>,
    pub tables: FileTables,
}

/// What came of reading: all problems, and the configuration if none of them is an error.
pub struct Read {
    pub problems: Vec<Problem>,
    pub configuration: Option<Configuration>,
}

/// Reads the file and everything it names. Nothing on disk is changed.
pub fn read(path: &Path, overrides: &[String]) -> Read {
    let environment = Environment::of_process();
    let loaded = Document::load(path, &environment, overrides, &Disk, MODULES);
    let reader = Reader::new(&loaded, path);
    let configuration = reader.everything();
    let configuration = configuration.filter(|_| !loaded.problems.has_errors());
    Read { problems: loaded.problems.sorted(), configuration }
}

/// Where the operator's socket is, if the file can be read that far.
pub fn socket_path(path: &Path, overrides: &[String]) -> Option<PathBuf> {
    let loaded = Document::load(path, &Environment::of_process(), overrides, &Disk, MODULES);
    let reader = Reader::new(&loaded, path);
    reader.admin_socket()
}

pub struct Reader<'a> {
    pub loaded: &'a Loaded,
    pub references: References<'a>,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    directory: PathBuf,
    pub tables: Tables,
    pub limits: LimitBlocks,
    pub mx_auth: MxAuthBlocks,
    pub tls_clients: TlsClientBlocks,
    pub passwords: PassTables,
    targets: RefCell<Vec<Target>>,
    by_name: RefCell<HashMap<String, Exit>>,
    pipelines: RefCell<HashMap<String, SharedPipeline<Exit>>>,
    places: RefCell<HashMap<String, Place>>,
}

impl<'a> Reader<'a> {
    fn new(loaded: &'a Loaded, path: &Path) -> Reader<'a> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let directory = path.parent().unwrap_or(Path::new("."));
        Reader {
            loaded,
            references: References::new(&loaded.blocks),
            state_dir: absolute(&loaded.globals.state_dir.value),
            runtime_dir: absolute(&loaded.globals.runtime_dir.value),
            directory: absolute(directory),
            tables: Tables::default(),
            limits: LimitBlocks::default(),
            mx_auth: MxAuthBlocks::default(),
            tls_clients: TlsClientBlocks::default(),
            passwords: PassTables::default(),
            targets: RefCell::default(),
            by_name: RefCell::default(),
            pipelines: RefCell::default(),
            places: RefCell::default(),
        }
    }

    pub fn problems(&self) -> &'a Problems {
        &self.loaded.problems
    }

    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// What readers of tables and their like need.
    pub fn reading(&self) -> Reading<'_> {
        Reading {
            references: &self.references,
            problems: &self.loaded.problems,
            state_dir: &self.state_dir,
        }
    }

    /// A file named in the configuration: beside the configuration file if it is there, else in the state directory.
    pub fn file(&self, name: &str) -> PathBuf {
        let beside = self.directory.join(name);
        if beside.exists() { beside } else { self.state_dir.join(name) }
    }

    /// Pipelines speak of places as text; this finds the way back.
    pub fn remember_place(&self, node: &Node) {
        self.places.borrow_mut().insert(node.at.to_string(), node.at.clone());
    }

    fn place(&self, text: &str, owner: &Node) -> Place {
        self.places.borrow().get(text).cloned().unwrap_or_else(|| owner.at.clone())
    }

    pub fn error_at(&self, place: &str, owner: &Node, text: String) {
        self.problems().push(Problem::error(&self.place(place, owner), text));
    }

    pub fn warn_at(&self, place: &str, owner: &Node, text: String) {
        self.problems().push(Problem::warning(&self.place(place, owner), text));
    }

    /// The target a directive takes; `None` after a problem was reported.
    pub fn target(&self, reference: &ModuleRef) -> Option<Exit> {
        match reference {
            ModuleRef::Inline(inline) => {
                let module = inline.find(modules::TARGETS);
                let module = module.map_err(|problem| self.problems().push(problem)).ok()?;
                let name = format!("{module} at {}", inline.node.at);
                Some(self.add(name, module, &inline.node, None))
            }
            ModuleRef::Instance(instance) => {
                let top = self.references.resolve(instance);
                let top = top.map_err(|problem| self.problems().push(problem)).ok()?;
                if let Some(known) = self.by_name.borrow().get(top.name()) {
                    return Some(*known);
                }
                if top.kind == TopKind::NotImplemented {
                    return None; // reported at its block
                }
                if !modules::TARGETS.contains(&top.module.as_str()) {
                    let text = format!("&{} is a {}, not a target", instance.name, top.module);
                    self.problems().push(Problem::error(&instance.at, text));
                    return None;
                }
                Some(self.named(top))
            }
        }
    }

    fn named(&self, top: &TopBlock) -> Exit {
        self.add(top.name().to_string(), &top.module, &top.node, Some(top.name()))
    }

    /// Gives the target its number, then reads its block.
    fn add(&self, name: String, module: &str, node: &Node, instance: Option<&str>) -> Exit {
        let exit = {
            let mut targets = self.targets.borrow_mut();
            targets.push(Target { name: name.clone(), settings: None });
            Exit(targets.len() - 1)
        };
        if instance.is_some() {
            self.by_name.borrow_mut().insert(name, exit);
        }
        let settings = match module {
            "target.queue" => {
                queue::read(self, node, instance).map(|q| TargetSettings::Queue(Box::new(q)))
            }
            "target.remote" => remote::read(self, node, instance.is_none())
                .map(|r| TargetSettings::Remote(Box::new(r))),
            "target.smtp" => self.forwarder(node, instance, Dialect::Smtp),
            "target.lmtp" => self.forwarder(node, instance, Dialect::Lmtp),
            _ => {
                Block::open(node, self.problems()).close();
                Some(TargetSettings::Dummy)
            }
        };
        if let Some(target) = self.targets.borrow_mut().get_mut(exit.0) {
            target.settings = settings;
        }
        exit
    }

    fn forwarder(
        &self,
        node: &Node,
        instance: Option<&str>,
        dialect: Dialect,
    ) -> Option<TargetSettings> {
        let settings = forward::read(self, node, instance.is_none(), dialect)?;
        Some(TargetSettings::Forward(Box::new(settings)))
    }

    /// The `msgpipeline` a reference names, if it is one.
    pub fn shared_pipeline(&self, instance: &InstanceRef) -> Option<SharedPipeline<Exit>> {
        let top = self.references.resolve(instance).ok()?;
        if top.module != "msgpipeline" {
            return None;
        }
        let name = top.name().to_string();
        if let Some(known) = self.pipelines.borrow().get(&name) {
            return Some(known.clone());
        }
        let shared = SharedPipeline::new(&name);
        self.pipelines.borrow_mut().insert(name, shared.clone());
        let mut block = Block::open(&top.node, self.problems());
        // Accepted as in maddy, where its value is not used either.
        let _ = block.domain("hostname").optional();
        let _ = block.boolean("debug").optional();
        let rest = block.rest();
        if let Some(pipeline) = routing::read(self, &top.node, &rest) {
            let _ = shared.bind(pipeline); // a new name: bound once
        }
        Some(shared)
    }

    fn admin_socket(&self) -> Option<PathBuf> {
        let default = self.runtime_dir.join("admin.sock");
        let mut blocks = self.loaded.blocks.iter().filter(|b| b.module == "admin");
        let Some(first) = blocks.next() else { return Some(default) };
        for further in blocks {
            let text = "there is one operator socket, and it is configured already";
            self.problems().push(Problem::error(&further.node.at, text));
        }
        let mut block = Block::open(&first.node, self.problems());
        block.refused("operators", "groups of operators are not supported by this version");
        block.close();
        match first.listen.as_slice() {
            [address] => match address.clone().under(&self.runtime_dir) {
                posthaste_config::Endpoint::Unix(path) => Some(path),
                _ => {
                    let text = "admin: the operator socket is a unix:// address";
                    self.problems().push(Problem::error(&first.node.at, text));
                    None
                }
            },
            _ => {
                let text = "admin: expects one unix:// address";
                self.problems().push(Problem::error(&first.node.at, text));
                None
            }
        }
    }

    /// Reads every block that is used, and reports those that are not.
    fn everything(self) -> Option<Configuration> {
        let globals = &self.loaded.globals;
        let admin_socket = self.admin_socket();
        self.global_tls_client();
        let mut endpoints = Vec::new();
        let mut any = false;
        for top in &self.loaded.blocks {
            if matches!(top.module.as_str(), "smtp" | "submission" | "lmtp") {
                any = true;
                endpoints.extend(endpoint::read(&self, top));
            }
        }
        // Targets that nothing refers to can still be reached by the operator.
        for top in &self.loaded.blocks {
            let known = self.by_name.borrow().contains_key(top.name());
            if modules::TARGETS.contains(&top.module.as_str()) && !known {
                let text = format!("{} {} is not used by any other block", top.module, top.name());
                self.problems().push(Problem::warning(&top.node.at, text));
                self.references.mark(top.name());
                self.named(top);
            }
        }
        for settings in &endpoints {
            self.no_direct_remote(settings);
        }
        self.offer_requiretls(&mut endpoints);
        for top in self.references.unused() {
            let text = format!("{} {} is not used", top.module, top.name());
            self.problems().push(Problem::error(&top.node.at, text));
        }
        let queues = |t: &Target| matches!(t.settings, Some(TargetSettings::Queue(_)));
        if !any && !self.targets.borrow().iter().any(queues) {
            let text = "nothing to do: there is no endpoint and no queue";
            self.problems().push(Problem::error(&self.loaded.file, text));
        }
        let shared: Vec<SharedPipeline<Exit>> = self.pipelines.borrow().values().cloned().collect();
        if let Err(circle) = SharedPipeline::refuse_circles(&shared) {
            let owner = Node {
                name: String::new(),
                args: Vec::new(),
                children: None,
                at: self.loaded.file.clone(),
            };
            self.error_at(circle.place.as_str(), &owner, circle.fault.to_string());
        }
        self.same_places();
        self.forgotten_credentials();
        self.no_queue_circles();
        let log = match crate::log::settings(&globals.log.value, globals.debug.value) {
            Ok(log) => Some(log),
            Err(text) => {
                self.problems().push(Problem::error(&globals.log.at, format!("log: {text}")));
                None
            }
        };
        let hostname =
            globals.hostname().map_or_else(posthaste_edge::machine::hostname, |h| h.to_string());
        Some(Configuration {
            hostname,
            log: log?,
            resolver: globals.resolver.value.clone(),
            resolver_probes: globals.resolver_probes.as_ref().map(|global| global.value.clone()),
            admin_socket: admin_socket?,
            endpoints,
            targets: self.targets.into_inner(),
            tables: self.tables.files(),
            state_dir: self.state_dir,
            runtime_dir: self.runtime_dir,
        })
    }

    /// It needs somebody who tries again.
    fn no_direct_remote(&self, settings: &EndpointSettings) {
        let targets = self.targets.borrow();
        for exit in settings.pipeline.targets() {
            let Some(target) = targets.get(exit.0) else { continue };
            if let Some(TargetSettings::Remote(_)) = target.settings {
                let text = format!(
                    "{}: target.remote {} straight behind an endpoint is not supported by this \
                     version, put a target.queue in between",
                    settings.name, target.name
                );
                self.problems().push(Problem::error(&self.loaded.file, text));
            }
        }
    }

    /// RFC 8689 §2: offered by those who can keep it. Where mail goes on to other hosts, somebody has to vouch for their names.
    fn offer_requiretls(&self, endpoints: &mut [EndpointSettings]) {
        let targets = self.targets.borrow();
        let keeps = |target: &Target| match &target.settings {
            Some(TargetSettings::Remote(remote)) => {
                Some(remote.policies.dnssec || remote.policies.mtasts)
            }
            // Whoever is named in the configuration is vouched for by it.
            Some(TargetSettings::Forward(_) | TargetSettings::Dummy) => Some(true),
            Some(TargetSettings::Queue(_)) | None => None,
        };
        let some = targets.iter().any(|target| keeps(target) == Some(true));
        for endpoint in endpoints.iter_mut() {
            endpoint.protocol.requiretls = some;
        }
        let offered = some && endpoints.iter().any(|endpoint| endpoint.tls.is_some());
        for target in targets.iter().filter(|target| offered && keeps(target) == Some(false)) {
            let text = format!(
                "{} sends no mail with REQUIRETLS, which endpoints take: its mx_auth has neither \
                 dnssec nor mtasts",
                target.name
            );
            self.problems().push(Problem::warning(&self.loaded.file, text));
        }
    }

    /// A queue that leads to itself would deliver to itself for ever.
    fn no_queue_circles(&self) {
        let targets = self.targets.borrow();
        let next = |exit: usize| match targets.get(exit).and_then(|t| t.settings.as_ref()) {
            Some(TargetSettings::Queue(queue)) => Some(queue.target.0),
            Some(
                TargetSettings::Remote(_) | TargetSettings::Forward(_) | TargetSettings::Dummy,
            )
            | None => None,
        };
        for (start, target) in targets.iter().enumerate() {
            let mut way =
                std::iter::successors(next(start), |exit| next(*exit)).take(targets.len());
            if way.any(|exit| exit == start) {
                let text = format!("queue {} leads back to itself by its target", target.name);
                self.problems().push(Problem::error(&self.loaded.file, text));
            }
        }
    }

    /// Behind a queue the client is gone when its message is sent, and its password is not kept for a second attempt.
    fn forgotten_credentials(&self) {
        let targets = self.targets.borrow();
        for target in targets.iter() {
            let Some(TargetSettings::Queue(queue)) = &target.settings else { continue };
            let behind = targets.get(queue.target.0);
            let forwards = |behind: &&Target| match &behind.settings {
                Some(TargetSettings::Forward(forward)) => forward.auth == Auth::Forward,
                _ => false,
            };
            if let Some(behind) = behind.filter(forwards) {
                let text = format!(
                    "{}: auth forward behind queue {} works for first attempts only: passwords are not kept",
                    behind.name, target.name
                );
                self.problems().push(Problem::warning(&self.loaded.file, text));
            }
        }
    }

    /// Two queues in one directory would take each other's messages.
    fn same_places(&self) {
        let targets = self.targets.borrow();
        let mut seen: HashMap<&Path, &str> = HashMap::new();
        for target in targets.iter() {
            let Some(TargetSettings::Queue(queue)) = &target.settings else { continue };
            if let Some(other) = seen.insert(&queue.location, &target.name) {
                let text = format!(
                    "queues {other} and {} share the directory {}",
                    target.name,
                    queue.location.display()
                );
                self.problems().push(Problem::error(&self.loaded.file, text));
            }
        }
    }
}
