//! Readers of blocks, for their own tests.

use std::io;
use std::path::Path;

use posthaste_config::{Document, Environment, Problem, TopKind};

use super::{Reader, modules};

/// A reader of this text, which stands at `/nonexistent/c`: what was seen with it, and the problems.
pub fn with_reader<T>(text: &str, look: impl FnOnce(&Reader<'_>) -> T) -> (T, Vec<String>) {
    let path = Path::new("/nonexistent/c");
    let files = |_: &Path| -> io::Result<Vec<u8>> { Ok(text.as_bytes().to_vec()) };
    // Blocks are read here whether anybody obeys them or not.
    let kind = |(name, kind): &(&'static str, TopKind)| match name.starts_with("target.") {
        true => (*name, TopKind::Instance),
        false => (*name, *kind),
    };
    let modules: Vec<(&str, TopKind)> = modules::MODULES.iter().map(kind).collect();
    let loaded = Document::load(path, &Environment::empty(), &[], &files, &modules);
    let seen = look(&Reader::new(&loaded, path));
    let told = loaded.problems.sorted().iter().map(Problem::to_string).collect();
    (seen, told)
}
