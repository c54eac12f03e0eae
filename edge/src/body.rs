//! The content of a message: read any number of times, from any thread, without a shared position.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Header and body as they go on the wire (CRLF line ends, not dot-stuffed).
#[derive(Clone, Debug)]
pub struct Body(Arc<Store>);

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    /// A range of a file; the file may be shared with other messages.
    File {
        file: Arc<File>,
        offset: u64,
        length: u64,
    },
    /// A buffer file of one message that goes away with the last handle.
    Buffer {
        file: File,
        path: PathBuf,
        length: u64,
    },
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Store::Buffer { path, .. } = self {
            // Left behind only if the daemon dies; the buffer directory is emptied at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Body {
    pub fn memory(content: Vec<u8>) -> Body {
        Body(Arc::new(Store::Memory(content)))
    }

    pub fn range(file: Arc<File>, offset: u64, length: u64) -> Body {
        Body(Arc::new(Store::File { file, offset, length }))
    }

    pub fn buffer(file: File, path: PathBuf, length: u64) -> Body {
        Body(Arc::new(Store::Buffer { file, path, length }))
    }

    pub fn len(&self) -> u64 {
        match &*self.0 {
            Store::Memory(content) => content.len() as u64,
            Store::File { length, .. } | Store::Buffer { length, .. } => *length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole content, when it lies in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &*self.0 {
            Store::Memory(content) => Some(content),
            Store::File { .. } | Store::Buffer { .. } => None,
        }
    }

    /// The file of a buffered message, for a spool that can take it over by a link.
    pub fn buffer_path(&self) -> Option<&std::path::Path> {
        match &*self.0 {
            Store::Buffer { path, .. } => Some(path),
            Store::Memory(_) | Store::File { .. } => None,
        }
    }

    /// Up to `most` octets from `position`; empty at the end. Blocks on files.
    pub fn read_at(&self, position: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.len().saturating_sub(position)).unwrap_or(usize::MAX);
        let want = left.min(most);
        let (file, start) = match &*self.0 {
            Store::Memory(content) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX).min(content.len());
                return Ok(content.get(from..from + want).unwrap_or_default().to_vec());
            }
            Store::File { file, offset, .. } => (&**file, offset.saturating_add(position)),
            Store::Buffer { file, .. } => (file, position),
        };
        let mut chunk = vec![0; want];
        file.read_exact_at(&mut chunk, start)?;
        Ok(chunk)
    }

    /// `read_at` for tasks: files are read on a blocking thread.
    pub async fn chunk(&self, position: u64, most: usize) -> io::Result<Vec<u8>> {
        if self.in_memory().is_some() {
            return self.read_at(position, most);
        }
        let body = self.clone();
        tokio::task::spawn_blocking(move || body.read_at(position, most))
            .await
            .map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_chunks_to_the_end() {
        let body = Body::memory(b"0123456789".to_vec());
        assert_eq!(body.read_at(0, 4).unwrap(), b"0123");
        assert_eq!(body.read_at(8, 4).unwrap(), b"89");
        assert_eq!(body.read_at(10, 4).unwrap(), b"");
        assert_eq!(body.read_at(u64::MAX, 4).unwrap(), b"");
    }
}
