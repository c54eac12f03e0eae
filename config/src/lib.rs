//! Settings from files: blocks, references, layers and value types. This package knows the language and not one target; what a directive
//! means is known beside the code that obeys it.
//!
//! The rooms, in the order a file passes them:
//!
//! - `files`: how bytes are read, so that tests and checks go the same way as the daemon.
//! - `lexer`: from text to tokens with their lines.
//! - `tree`: from tokens to nodes: name, arguments, block.
//! - `macros`, `snippet`, `import`: what stands for something else, put in place; one tree from several files. `budget` bounds it.
//! - `environment`: `{env:NAME}` filled in.
//! - `document`: the whole: global directives on one side, top-level blocks with their names on the other.
//! - `layers`, `globals`: global directives from defaults, file, environment and command line, as typed values with their origin.
//! - `block`: the typed reader of one block, the way every other package meets a configuration.
//! - `module`, `references`: `&name` and inline modules; who is referred to, and who is not.
//! - `values`, `endpoint`: what the arguments of a directive mean: durations, sizes, addresses, ...
//! - `problem`, `place`, `nearest`: what is wrong, where, and what was probably meant.
//!
//! Reading never stops at a mistake. Everything wrong is pushed into one `Problems`, and its `has_errors` decides at the end.
//!
//! ```
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use posthaste_config::{Block, Document, Environment, ModuleRef, TopKind};
//!
//! let text = "
//! hostname mx.example.org
//! target.queue outgoing {
//!     target remote
//!     max_tries 5
//!     conect_timeout 10s
//! }";
//! let files = |_: &Path| Ok(text.as_bytes().to_vec());
//! let modules = [("target.queue", TopKind::Instance)];
//! let path = Path::new("posthaste.conf");
//! let loaded = Document::load(path, &Environment::empty(), &[], &files, &modules);
//!
//! let mut block = Block::open(&loaded.blocks[0].node, &loaded.problems);
//! let hostname = block.domain("hostname").inherit(loaded.globals.hostname()).required();
//! let target = block.module("target", "target").required();
//! let max_tries = block.integer("max_tries", 1..=1000u32).or(20);
//! let timeout = block.duration("connect_timeout").or(Duration::from_secs(300));
//! block.close();
//!
//! assert_eq!(hostname.unwrap().ascii(), "mx.example.org");
//! assert!(matches!(target, Some(ModuleRef::Inline(module)) if module.name() == "remote"));
//! assert_eq!((max_tries, timeout.as_secs()), (5, 300));
//! assert!(loaded.problems.has_errors());
//! assert_eq!(
//!     loaded.problems.sorted()[0].to_string(),
//!     "posthaste.conf:6: target.queue outgoing: unknown directive conect_timeout, \
//!      did you mean connect_timeout?"
//! );
//! ```

pub mod block;
mod budget;
pub mod document;
pub mod endpoint;
pub mod environment;
pub mod files;
pub mod globals;
mod import;
mod layers;
mod lexer;
mod macros;
pub mod module;
pub mod nearest;
pub mod place;
pub mod problem;
pub mod references;
mod snippet;
pub mod tree;
pub mod values;

pub use block::{Block, Setting};
pub use document::{Document, Loaded, TopBlock, TopKind};
pub use endpoint::{ClientEndpoint, Endpoint, Host, ListenEndpoint, ListenHost};
pub use environment::Environment;
pub use files::{Disk, Files};
pub use globals::{Global, Globals, Resolver};
pub use module::{GroupRef, InlineModule, InstanceRef, ModuleRef};
pub use place::Place;
pub use problem::{Problem, Problems, Severity};
pub use references::References;
pub use tree::Node;
pub use values::Size;
