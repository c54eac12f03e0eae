//! How configuration files are read.
//!
//! A trait, so that a check from the command line, the daemon and the tests go the same way. Any `Fn(&Path) -> io::Result<Vec<u8>>` is
//! one; bytes and not text, because the complaint about bytes that are not UTF-8 names their line.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub trait Files {
    /// The content of the file. `ErrorKind::NotFound` makes an import try its second name.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

impl<F: Fn(&Path) -> io::Result<Vec<u8>>> Files for F {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self(path)
    }
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// Octets. A configuration beyond this is a device or a mistake.
const LARGEST: u64 = 16 << 20;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let count = File::open(path)?.take(LARGEST + 1).read_to_end(&mut content)?;
        if count as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_answers_and_knows_what_is_missing() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/files.rs");
        assert!(Disk.read(&here).unwrap().starts_with(b"//! How configuration"));
        let missing = Disk.read(Path::new("/nonexistent/x.conf")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_endless_device_is_refused() {
        let error = Disk.read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
