//! Where a message's content waits until it is accepted: in memory while it is small, else in a file.
//!
//! Nothing here is durable, and nothing outlives the daemon: the directory is emptied when it is opened.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::body::Body;

/// Content up to this many octets stays in memory.
pub const MEMORY_LIMIT: usize = 256 << 10;
/// Octets gathered for one write to the file.
const CHUNK: usize = 256 << 10;

/// The directory of buffer files. Clones share it.
#[derive(Clone, Debug)]
pub struct BufferDir(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    next: AtomicU64,
}

impl BufferDir {
    /// Makes the directory if it is missing, for the owner alone, and removes the files in it. Blocks.
    pub fn open(directory: &Path) -> io::Result<BufferDir> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::remove_file(entry.path())?;
            }
        }
        let path = directory.to_path_buf();
        Ok(BufferDir(Arc::new(Directory { path, next: AtomicU64::new(0) })))
    }

    /// For the content of one message.
    pub fn writer(&self) -> BodyWriter {
        BodyWriter { directory: self.clone(), gathered: Vec::new(), spill: None, length: 0 }
    }

    fn create(&self) -> io::Result<Spill> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.path.join(number.to_string());
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Spill { file, path, kept: AtomicBool::new(false) })
    }
}

/// A buffer file that goes away unless it is kept.
#[derive(Debug)]
struct Spill {
    file: File,
    path: PathBuf,
    kept: AtomicBool,
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // What stays is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Takes the content of one message. Dropped without `finish` it leaves nothing behind.
///
/// After an error, or when the future of `write` was dropped, the content is incomplete: the writer must be dropped as well.
#[derive(Debug)]
pub struct BodyWriter {
    directory: BufferDir,
    /// Content not yet in the file; all of it while there is none.
    gathered: Vec<u8>,
    spill: Option<Arc<Spill>>,
    /// Octets handed to the file.
    length: u64,
}

impl BodyWriter {
    /// Octets taken so far.
    pub fn len(&self) -> u64 {
        self.length.saturating_add(self.gathered.len() as u64)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next part of the content. `StorageFull` and `QuotaExceeded` are the caller's to answer with 452.
    pub async fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(part);
        let limit = if self.spill.is_some() { CHUNK } else { MEMORY_LIMIT };
        if self.gathered.len() > limit { self.pour().await } else { Ok(()) }
    }

    /// The content, readable from any thread.
    pub async fn finish(mut self) -> io::Result<Body> {
        if self.spill.is_none() {
            self.gathered.shrink_to_fit();
            return Ok(Body::memory(std::mem::take(&mut self.gathered)));
        }
        self.pour().await?;
        match &self.spill {
            Some(spill) => {
                let file = spill.file.try_clone()?;
                spill.kept.store(true, Ordering::Relaxed);
                Ok(Body::buffer(file, spill.path.clone(), self.length))
            }
            None => Ok(Body::memory(Vec::new())),
        }
    }

    /// Writes what is gathered to the file, on a blocking thread.
    async fn pour(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let at = self.length;
        self.length = at.saturating_add(gathered.len() as u64);
        let (directory, spill) = (self.directory.clone(), self.spill.clone());
        let poured = tokio::task::spawn_blocking(move || {
            let spill = match spill {
                Some(spill) => spill,
                None => Arc::new(directory.create()?),
            };
            spill.file.write_all_at(&gathered, at)?;
            let mut emptied = gathered;
            emptied.clear();
            emptied.shrink_to(CHUNK);
            Ok::<_, io::Error>((spill, emptied))
        });
        let (spill, emptied) = poured.await.map_err(io::Error::other)??;
        self.spill = Some(spill);
        self.gathered = emptied;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::suite::Scratch;

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).unwrap().count()
    }

    async fn body_of(buffers: &BufferDir, parts: &[&[u8]]) -> Body {
        let mut writer = buffers.writer();
        for part in parts {
            writer.write(part).await.unwrap();
        }
        assert_eq!(writer.len(), parts.iter().map(|p| p.len() as u64).sum::<u64>());
        writer.finish().await.unwrap()
    }

    #[tokio::test]
    async fn small_content_stays_in_memory() {
        let scratch = Scratch::new();
        let buffers = BufferDir::open(scratch.path()).unwrap();
        let body = body_of(&buffers, &[b"Subject: x\r\n", b"\r\n", b"text\r\n"]).await;
        assert_eq!(body.in_memory(), Some(&b"Subject: x\r\n\r\ntext\r\n"[..]));
        assert!(body_of(&buffers, &[]).await.is_empty());
        assert_eq!(files(scratch.path()), 0);
    }

    #[tokio::test]
    async fn large_content_goes_to_a_file_until_nobody_needs_it() {
        let scratch = Scratch::new();
        let buffers = BufferDir::open(scratch.path()).unwrap();
        let content: Vec<u8> = (0..3_000_001u32).map(|i| (i % 251) as u8).collect();
        let parts: Vec<&[u8]> = content.chunks(70_001).collect();
        let body = body_of(&buffers, &parts).await;
        assert_eq!((body.len(), files(scratch.path())), (3_000_001, 1));
        assert_eq!(body.read_at(0, usize::MAX).unwrap(), content);
        drop(body.clone());
        assert_eq!(files(scratch.path()), 1);
        drop(body);
        assert_eq!(files(scratch.path()), 0);
    }

    #[tokio::test]
    async fn an_unfinished_writer_leaves_nothing() {
        let scratch = Scratch::new();
        let buffers = BufferDir::open(scratch.path()).unwrap();
        let mut writer = buffers.writer();
        writer.write(&vec![b'x'; MEMORY_LIMIT + 1]).await.unwrap();
        assert_eq!(files(scratch.path()), 1);
        drop(writer);
        assert_eq!(files(scratch.path()), 0);
    }

    #[tokio::test]
    async fn leftovers_go_at_the_start() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join("0"), "left by a crash").unwrap();
        std::fs::create_dir(scratch.path().join("somebody's")).unwrap();
        let buffers = BufferDir::open(scratch.path()).unwrap();
        assert_eq!(files(scratch.path()), 1);
        let mode = std::fs::metadata(scratch.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        body_of(&buffers, &[&vec![b'x'; MEMORY_LIMIT + 1]]).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_is_an_error() {
        let scratch = Scratch::new();
        let buffers = BufferDir::open(&scratch.path().join("b")).unwrap();
        std::fs::remove_dir(scratch.path().join("b")).unwrap();
        assert!(buffers.writer().write(&vec![b'x'; MEMORY_LIMIT + 1]).await.is_err());
    }
}
