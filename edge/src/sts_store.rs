//! Policies of MTA-STS, kept: in a directory, a file for each domain, or in memory.
//!
//! A policy that was once fetched is what keeps mail safe while its domain's name servers and policy host are attacked, so a file is
//! whole or not there (RFC 8461 §10.2). What cannot be read is told and treated as absent: the next delivery fetches it anew.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use posthaste_mail::address::Domain;
use posthaste_mail::sts::freshness::Entry;
use posthaste_mail::sts::policy::Policy;
use posthaste_mail::sts::record::RecordId;
use posthaste_mail::time::Timestamp;

use crate::dial::is_want;
use crate::machine::make_directory;

/// The form of a file. One of another form is not read.
const VERSION: u32 = 1;
/// A file longer than this is none of ours: 64 KiB of text, each octet escaped.
const LONGEST_FILE: u64 = 512 * 1024;
/// Behind the name of the domain.
const SUFFIX: &str = ".json";

/// What was found, and what is wrong with the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub entries: Vec<(Domain, Entry)>,
    /// Files that were passed over, with the reason.
    pub ignored: Vec<String>,
}

/// Where policies are kept. All of it may block on the disk.
pub trait StsStore: Send + Sync {
    fn load(&self) -> io::Result<Loaded>;
    /// Returns when the policy is durable.
    fn save(&self, domain: &Domain, entry: &Entry) -> io::Result<()>;
    /// One that is not there is no error.
    fn remove(&self, domain: &Domain) -> io::Result<()>;
}

/// `cache ram`: until the daemon ends.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<HashMap<Domain, Entry>>);

impl StsStore for MemoryStore {
    fn load(&self) -> io::Result<Loaded> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = entries.iter().map(|(domain, entry)| (domain.clone(), entry.clone()));
        Ok(Loaded { entries: entries.collect(), ignored: Vec::new() })
    }

    fn save(&self, domain: &Domain, entry: &Entry) -> io::Result<()> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(domain.clone(), entry.clone());
        Ok(())
    }

    fn remove(&self, domain: &Domain) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(domain);
        Ok(())
    }
}

/// `cache fs`. Several may use one directory: each file is replaced as a whole.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    path: PathBuf,
}

/// Numbers the files under way, of all stores of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file, as it is written. The policy is its text, so that it can be read anew by every version.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    domain: Domain,
    record_id: RecordId,
    fetched: Timestamp,
    expires: Timestamp,
    last_used: Timestamp,
    policy: String,
}

impl DirectoryStore {
    /// Makes the directory if it is missing.
    pub fn open(path: &Path) -> io::Result<DirectoryStore> {
        // Nobody else has to know to whom we write.
        make_directory(path, 0o700)?;
        Ok(DirectoryStore { path: path.to_path_buf() })
    }

    fn file(&self, domain: &Domain) -> PathBuf {
        self.path.join(format!("{domain}{SUFFIX}"))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// No domain begins with a dot, so no file of a policy has such a name.
fn temporary(number: u64) -> String {
    format!(".{}-{number}.tmp", std::process::id())
}

/// The process that has left it.
fn left_by(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix('.')?.strip_suffix(".tmp")?.split_once('-')?;
    number.parse::<u64>().ok()?;
    process.parse().ok()
}

impl StsStore for DirectoryStore {
    fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if let Some(process) = left_by(&name) {
                // An earlier life was cut off while it wrote; what it wrote over is still there.
                if process != std::process::id() {
                    let _ = fs::remove_file(file.path());
                }
                continue;
            }
            match read(&file.path(), &name) {
                Ok(found) => loaded.entries.push(found),
                // Nothing is wrong with the file: whoever asked comes again.
                Err(Unread::Want(e)) => return Err(e),
                Err(Unread::Bad(why)) => {
                    loaded.ignored.push(format!("{}: {why}", file.path().display()));
                }
            }
        }
        Ok(loaded)
    }

    fn save(&self, domain: &Domain, entry: &Entry) -> io::Result<()> {
        let stored = Stored {
            version: VERSION,
            domain: domain.clone(),
            record_id: entry.id.clone(),
            fetched: entry.fetched,
            expires: entry.expires,
            last_used: entry.last_used,
            policy: entry.text.clone(),
        };
        let mut text = serde_json::to_vec(&stored)?;
        text.push(b'\n');
        let under_way = self.path.join(temporary(NEXT.fetch_add(1, Ordering::Relaxed)));
        let written = write(&under_way, &text)
            .and_then(|()| fs::rename(&under_way, self.file(domain)))
            .and_then(|()| self.sync_directory());
        if written.is_err() {
            let _ = fs::remove_file(&under_way);
        }
        written
    }

    fn remove(&self, domain: &Domain) -> io::Result<()> {
        match fs::remove_file(self.file(domain)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => self.sync_directory(),
        }
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    // The rename must not be durable before what it names.
    file.sync_all()
}

/// Why a file gives no policy.
enum Unread {
    /// This machine lacks descriptors or memory.
    Want(io::Error),
    Bad(String),
}

impl From<io::Error> for Unread {
    fn from(e: io::Error) -> Unread {
        if is_want(&e) { Unread::Want(e) } else { Unread::Bad(e.to_string()) }
    }
}

impl From<String> for Unread {
    fn from(why: String) -> Unread {
        Unread::Bad(why)
    }
}

impl From<&str> for Unread {
    fn from(why: &str) -> Unread {
        Unread::Bad(why.to_string())
    }
}

fn read(path: &Path, name: &str) -> Result<(Domain, Entry), Unread> {
    let domain = name
        .strip_suffix(SUFFIX)
        .and_then(|name| Domain::parse(name).ok().filter(|domain| domain.ascii() == name));
    let domain = domain.ok_or("not the file of a domain")?;
    // Not whatever a link, a pipe or a device may lead to.
    let kind = fs::symlink_metadata(path)?.file_type();
    if !kind.is_file() {
        return Err("not a regular file".into());
    }
    let file = File::open(path)?;
    let mut text = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err("too long".into());
    }
    let stored: Stored = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    if stored.version != VERSION {
        return Err(format!("of version {}, not {VERSION}", stored.version).into());
    }
    if stored.domain != domain {
        return Err(format!("the policy of {}", stored.domain).into());
    }
    let policy = Policy::parse(stored.policy.as_bytes()).map_err(|e| e.to_string())?;
    if stored.expires > stored.fetched.plus(policy.max_age) {
        return Err("lives longer than its policy says".into());
    }
    let entry = Entry {
        policy,
        text: stored.policy,
        id: stored.record_id,
        fetched: stored.fetched,
        expires: stored.expires,
        last_used: stored.last_used,
    };
    Ok((domain, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("sts-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Place(path)
        }

        fn store(&self) -> DirectoryStore {
            DirectoryStore::open(&self.0).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let files = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> =
                files.map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn entry(id: &str) -> Entry {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: *.mx.test\r\nmax_age: 86400\r\nx: \"ä\"";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let id = RecordId::parse(id).unwrap();
        Entry::fetched(id, (text.to_string(), policy), None, Timestamp::from_micros(1_234_567_890))
    }

    /// What both keep.
    fn suite(store: &dyn StsStore) {
        assert_eq!(store.load().unwrap(), Loaded::default());
        let (a, b) = (domain("a.test"), domain("münchen.example"));
        store.save(&a, &entry("1")).unwrap();
        store.save(&b, &entry("2")).unwrap();
        store.save(&a, &entry("3")).unwrap(); // in place of the first
        let mut loaded = store.load().unwrap();
        loaded.entries.sort_by(|(x, _), (y, _)| x.cmp(y));
        assert_eq!(loaded.entries, [(a.clone(), entry("3")), (b.clone(), entry("2"))]);
        assert!(loaded.ignored.is_empty());
        store.remove(&a).unwrap();
        store.remove(&a).unwrap(); // not there any more
        assert_eq!(store.load().unwrap().entries, [(b, entry("2"))]);
    }

    #[test]
    fn memory_keeps_until_it_is_dropped() {
        suite(&MemoryStore::default());
    }

    #[test]
    fn a_directory_keeps_over_a_restart() {
        let place = Place::new("restart");
        suite(&place.store());
        assert_eq!(place.store().load().unwrap().entries.len(), 1);
        assert_eq!(place.names(), ["xn--mnchen-3ya.example.json"]);
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.0), 0o700);
        assert_eq!(mode(&place.0.join("xn--mnchen-3ya.example.json")), 0o600);
    }

    #[test]
    fn damage_and_foreign_files_are_told_and_passed_over() {
        let place = Place::new("damage");
        let store = place.store();
        for name in ["good.test", "cut.test", "old.test", "swapped.test", "longer.test"] {
            store.save(&domain(name), &entry("1")).unwrap();
        }
        let path = |name: &str| place.0.join(name);
        let text = fs::read_to_string(path("cut.test.json")).unwrap();
        fs::write(path("cut.test.json"), &text[..text.len() / 2]).unwrap();
        let changed = |name: &str, from: &str, to: &str| {
            let text = fs::read_to_string(path(name)).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path(name), text.replace(from, to)).unwrap();
        };
        changed("old.test.json", "\"version\":1", "\"version\":0");
        changed("longer.test.json", "max_age: 86400", "max_age: 86399");
        fs::rename(path("swapped.test.json"), path("other.test.json")).unwrap();
        fs::write(path("empty.test.json"), "").unwrap();
        fs::write(path("big.test.json"), vec![b' '; 600 * 1024]).unwrap();
        fs::write(path("README"), "hello").unwrap();
        fs::write(path("UPPER.test.json"), &text).unwrap();
        fs::create_dir(path("directory.test.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("link.test.json")).unwrap();
        let loaded = store.load().unwrap();
        assert_eq!(loaded.entries, [(domain("good.test"), entry("1"))]);
        assert_eq!(loaded.ignored.len(), 10, "{:#?}", loaded.ignored);
        // A new policy takes the place of a damaged file.
        store.save(&domain("cut.test"), &entry("2")).unwrap();
        assert_eq!(store.load().unwrap().entries.len(), 2);
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_old_policy() {
        let place = Place::new("cut-off");
        let store = place.store();
        store.save(&domain("a.test"), &entry("1")).unwrap();
        fs::write(place.0.join(".1-7.tmp"), "{\"version\":1").unwrap(); // of a process that is gone
        let own = temporary(u64::MAX);
        fs::write(place.0.join(&own), "{").unwrap(); // of another cache of this one
        assert_eq!(store.load().unwrap().entries, [(domain("a.test"), entry("1"))]);
        assert_eq!(place.names(), [own.as_str(), "a.test.json"]);
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_no_panic() {
        let place = Place::new("gone");
        let store = place.store();
        fs::remove_dir(&place.0).unwrap();
        assert!(store.load().is_err() && store.save(&domain("a.test"), &entry("1")).is_err());
        assert!(store.remove(&domain("a.test")).is_ok());
        assert!(DirectoryStore::open(Path::new("/proc/none/mtasts")).is_err());
    }

    #[test]
    fn two_may_share_a_directory() {
        let place = Place::new("shared");
        let stores = [place.store(), place.store()];
        std::thread::scope(|scope| {
            for store in &stores {
                scope.spawn(move || {
                    for round in 0..20 {
                        store.save(&domain("a.test"), &entry(&round.to_string())).unwrap();
                    }
                });
            }
        });
        let loaded = place.store().load().unwrap();
        assert_eq!((loaded.entries.len(), loaded.ignored.len()), (1, 0));
    }
}
