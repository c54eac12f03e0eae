//! Bodies in a file of their own: linked when they lie in a buffer file already, else copied.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use posthaste_mail::envelope::EnvelopeId;

use super::place::{Places, sync_directory};
use crate::body::Body;
use crate::fault;

/// How much is read of a file at once.
pub const CHUNK: usize = 256 << 10;

/// A body in its file, durable. The file goes away with this value unless `keep` was called.
#[derive(Debug)]
pub struct Large {
    path: Option<PathBuf>,
    pub sum: u32,
}

impl Large {
    /// Blocks.
    pub fn store(places: &Places, id: EnvelopeId, body: &Body) -> io::Result<Large> {
        let path = places.large_file(id);
        // An older file of this name was never acknowledged: ids are not used twice.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let linked = body.buffer_path().is_some_and(|from| std::fs::hard_link(from, &path).is_ok());
        let mut large = Large { path: Some(path.clone()), sum: 0 };
        let mut options = File::options();
        options.read(true).write(true).create_new(!linked).mode(0o600);
        let mut file = options.open(&path)?;
        large.sum = walk(body, |chunk| if linked { Ok(()) } else { file.write_all(chunk) })?;
        fault::reached("large", "written");
        file.sync_all()?;
        sync_directory(&places.large())?;
        fault::reached("large", "synced");
        Ok(large)
    }

    pub fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What stays is found by the next check.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The checksum of a body, which is shown to `visit` chunk by chunk. Blocks.
pub fn walk(body: &Body, mut visit: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u32> {
    if let Some(content) = body.in_memory() {
        visit(content)?;
        return Ok(crc32c::crc32c(content));
    }
    let (mut sum, mut position) = (0, 0);
    while position < body.len() {
        let chunk = body.read_at(position, CHUNK)?;
        visit(&chunk)?;
        sum = crc32c::crc32c_append(sum, &chunk);
        position += chunk.len() as u64;
    }
    Ok(sum)
}

/// The checksum of a body. Blocks.
pub fn checksum(body: &Body) -> io::Result<u32> {
    walk(body, |_| Ok(()))
}
