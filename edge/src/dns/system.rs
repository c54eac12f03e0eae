//! `/etc/resolv.conf`: who is asked and how long, and whether the file is still the same (resolv.conf(5)).

use std::fs::Metadata;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::system_conf::parse_resolv_conf;

use posthaste_mail::time::Timestamp;

use super::NoResolver;

/// How long the file is believed to be as it was.
const BELIEVED: Duration = Duration::from_secs(10);

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub servers: Vec<SocketAddr>,
    /// `options timeout:N`, seconds of waiting for one answer.
    pub timeout: Duration,
    /// `options attempts:N`, questions to one server.
    pub attempts: usize,
}

/// The file, and when it was looked at.
pub(super) struct ResolvConf {
    path: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    at: Timestamp,
    version: Version,
}

/// A file written anew differs in one of these: length, time of change, or, put in the place of another, its number.
type Version = (u64, Option<SystemTime>, u64);

impl ResolvConf {
    pub(super) fn open(path: PathBuf, now: Timestamp) -> Result<(ResolvConf, Said), NoResolver> {
        let failed = |e: String| NoResolver(format!("reading {}: {e}", path.display()));
        let version = std::fs::metadata(&path).map_err(|e| failed(e.to_string()))?;
        let text = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
        let said = match read(&text).map_err(failed)? {
            Some(said) => said,
            // resolv.conf(5): without any server, the one on this machine.
            None => read(&[&text[..], b"\nnameserver 127.0.0.1\n"].concat())
                .map_err(failed)?
                .ok_or_else(|| failed("no server".to_string()))?,
        };
        let seen = Seen { at: now, version: version_of(&version) };
        Ok((ResolvConf { path, seen: Mutex::new(seen) }, said))
    }

    /// What the file says now, if it was changed. A file that cannot be read, or names no server, is one that is being written: what
    /// was known before holds until it is whole.
    pub(super) async fn changed(&self, now: Timestamp) -> Option<Said> {
        let before = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.at <= now && now.since(seen.at) < BELIEVED {
                return None;
            }
            seen.at = now; // for all others: one look is enough
            seen.version
        };
        let version = version_of(&tokio::fs::metadata(&self.path).await.ok()?);
        if version == before {
            return None;
        }
        let said = read(&tokio::fs::read(&self.path).await.ok()?).ok()??;
        // Taken before the text was read: what was written in between is noticed next time.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).version = version;
        Some(said)
    }
}

fn version_of(file: &Metadata) -> Version {
    (file.len(), file.modified().ok(), file.ino())
}

/// `None`: it names no server.
fn read(text: &[u8]) -> Result<Option<Said>, String> {
    let word = |line: &[u8]| {
        line.split(u8::is_ascii_whitespace).find(|w| !w.is_empty()) == Some(b"nameserver")
    };
    if !text.split(|b| *b == b'\n').any(word) {
        return Ok(None);
    }
    let (config, options) = parse_resolv_conf(text).map_err(|e| e.to_string())?;
    let mut servers: Vec<SocketAddr> = config
        .name_servers()
        .iter()
        .map(|s| SocketAddr::new(s.ip, s.connections.first().map_or(53, |c| c.port)))
        .collect();
    servers.dedup();
    Ok(Some(Said { servers, timeout: options.timeout, attempts: options.attempts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        read(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn servers_and_patience() {
        let plain = said("# a comment\nsearch lan\nnameserver 192.0.2.1\n nameserver 2001:db8::1");
        let servers: Vec<String> = plain.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53"]);
        assert_eq!((plain.timeout, plain.attempts), (Duration::from_secs(5), 2)); // resolv.conf(5)
        let hasty = said("options timeout:1 attempts:3 edns0 trust-ad\nnameserver 192.0.2.1\n");
        assert_eq!((hasty.timeout, hasty.attempts), (Duration::from_secs(1), 3));
        assert_eq!(read(b"search lan\n#nameserver 192.0.2.1\n"), Ok(None));
    }
}
