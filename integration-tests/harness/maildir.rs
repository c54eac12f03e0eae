//! The mailbox that a real mail server delivers into: a maildir of a test's own, which the account `nobody` may write.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::message::with_crlf;
use crate::harness::process::{command, files, run, wait_until};

pub struct Maildir {
    path: PathBuf,
}

impl Maildir {
    pub fn new(path: PathBuf) -> Maildir {
        fs::create_dir_all(&path).unwrap();
        run(command("chown").arg("nobody").arg(&path));
        Maildir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The messages, line ends made CRLF again.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        files(&self.new_mail()).iter().map(|file| with_crlf(&fs::read(file).unwrap())).collect()
    }

    /// Where the messages lie.
    pub fn files(&self) -> Vec<PathBuf> {
        files(&self.new_mail())
    }

    /// Waits until that many messages are there.
    pub fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Vec<u8>> {
        let what = format!("{count} messages are in the maildir");
        wait_until(&what, deadline, || files(&self.new_mail()).len() >= count);
        self.messages()
    }

    fn new_mail(&self) -> PathBuf {
        self.path.join("new")
    }
}
