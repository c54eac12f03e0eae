//! What came to the mail exchangers, to which of them, and how.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::server::Server;

/// A message that came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub at: Server,
    pub encrypted: bool,
    /// Of a sink.
    pub heard: Option<Heard>,
}

/// What a sink writes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The argument of MAIL.
    pub mail: String,
    /// The name asked for in the handshake.
    pub name: Option<String>,
}

/// The messages in the mailboxes of real servers. Each file is read once, however often is asked.
#[derive(Default)]
pub struct Mailroom {
    /// Mark and arrival by file.
    read: Mutex<BTreeMap<PathBuf, (String, Arrival)>>,
}

impl Mailroom {
    /// All of them that are there now. `doors` are the servers that deliver into this mailbox, each as its Received fields say it:
    /// `by NAME`.
    pub fn look(&self, files: Vec<PathBuf>, doors: &[(Server, String)]) -> Vec<(String, Arrival)> {
        let mut read = self.read.lock().unwrap();
        let mut all = Vec::new();
        for file in files {
            let known = read.entry(file).or_insert_with_key(|file| open(file, doors));
            all.push(known.clone());
        }
        all
    }
}

fn open(file: &Path, doors: &[(Server, String)]) -> (String, Arrival) {
    let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
    let received = text.split("Received: ").nth(1).expect("a Received field of the server's");
    let is_of = |(_, name): &&(Server, String)| received.contains(&format!("by {name} "));
    let (at, _) = doors.iter().find(is_of).expect("a door that is known");
    // RFC 3848; Exim writes it small.
    let encrypted = received.to_ascii_uppercase().contains(" WITH ESMTPS ");
    (mark(&text).unwrap_or_default(), Arrival { at: *at, encrypted, heard: None })
}

/// The value of `X-Test-Id`.
pub fn mark(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\nX-Test-Id: ")?;
    rest.lines().next().map(str::to_owned)
}
