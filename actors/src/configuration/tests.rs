//! Readers of blocks, for their own tests.

use std::io;
use std::path::Path;

use posthaste_config::{Document, Environment, Problem};

use super::{Reader, modules};

/// A reader of this text, which stands at `/nonexistent/c`: what was seen with it, and the problems.
pub fn with_reader<T>(text: &str, look: impl FnOnce(&Reader<'_>) -> T) -> (T, Vec<String>) {
    let path = Path::new("/nonexistent/c");
    let files = |_: &Path| -> io::Result<Vec<u8>> { Ok(text.as_bytes().to_vec()) };
    let loaded = Document::load(path, &Environment::empty(), &[], &files, modules::MODULES);
    let seen = look(&Reader::new(&loaded, path));
    let told = loaded.problems.sorted().iter().map(Problem::to_string).collect();
    (seen, told)
}
