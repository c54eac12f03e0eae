//! What is known of a forwarder's servers (`posthaste_mail::route::servers`), shared by its attempts, which find it out, and by whoever is
//! asked why mail waits.

use std::sync::{Mutex, MutexGuard, PoisonError};

use posthaste_mail::admin::answer::{ForwarderLine, RouteHoldLine, ServerLine};
use posthaste_mail::route::servers::{Held, Servers, Standing};
use posthaste_mail::time::Timestamp;

#[derive(Debug)]
pub struct SharedServers {
    target: String,
    /// By their place in the configuration.
    names: Vec<String>,
    known: Mutex<Servers>,
}

impl SharedServers {
    pub fn new(target: &str, names: Vec<String>) -> SharedServers {
        SharedServers { target: target.to_string(), names, known: Mutex::default() }
    }

    pub fn target(&self) -> &str {
        &self.target
    }

    // A poisoned lock is used on: the memory changes by single steps that do not panic.
    pub fn known(&self) -> MutexGuard<'_, Servers> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, place: usize, now: Timestamp) -> Dialling<'_> {
        Dialling { servers: self, number: self.known().begin(place, now) }
    }

    pub fn held(&self, now: Timestamp) -> Option<Held> {
        self.known().held(now).cloned()
    }

    /// For `explain`.
    pub fn line(&self, now: Timestamp) -> ForwarderLine {
        let known = self.known();
        let held = known.held(now).map(|held| RouteHoldLine {
            since: held.since.rfc3339(),
            until: held.until.rfc3339(),
            why: held.words(),
        });
        let server = |(place, name): (usize, &String)| {
            let (standing, since, until, why) = match known.standing(place, now) {
                Standing::Ready => ("ready", None, None, None),
                Standing::Resting { until, why } => ("resting", None, Some(until), Some(why)),
                Standing::Silent { since } => ("silent", Some(since), None, None),
            };
            ServerLine {
                server: name.clone(),
                standing: standing.to_string(),
                since: since.map(Timestamp::rfc3339),
                until: until.map(Timestamp::rfc3339),
                why,
            }
        };
        let servers = self.names.iter().enumerate().map(server).collect();
        ForwarderLine { target: self.target.clone(), held, servers }
    }

    /// For `status`: what somebody has to mend.
    pub fn wrong(&self, now: Timestamp) -> Option<String> {
        let held = self.held(now)?;
        let (since, until) = (held.since.rfc3339(), held.until.rfc3339());
        Some(format!(
            "target {}: its credentials are refused since {since} and shown again at {until}: {}",
            self.target,
            held.words()
        ))
    }
}

/// A dial that is under way; it ends with this.
pub struct Dialling<'a> {
    servers: &'a SharedServers,
    number: u64,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.servers.known().end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use posthaste_mail::outcome::{Cause, Failure};

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_795_000_000 + seconds)
    }

    #[test]
    fn what_keeps_mail_from_them_is_told() {
        let servers = SharedServers::new("relay", vec!["one.test".into(), "two.test".into()]);
        assert_eq!(servers.wrong(at(0)), None);
        let ready = |name: &str| ServerLine {
            server: name.into(),
            standing: "ready".into(),
            ..ServerLine::default()
        };
        assert_eq!(servers.line(at(0)).servers, [ready("one.test"), ready("two.test")]);

        servers.known().failed(1, at(0), "refused");
        let dialling = servers.begin(0, at(0));
        let line = servers.line(at(10));
        assert_eq!(line.held, None);
        let [one, two] = &line.servers[..] else { panic!("{line:?}") };
        assert_eq!((one.standing.as_str(), &one.since), ("silent", &Some(at(0).rfc3339())));
        assert_eq!((two.standing.as_str(), &two.until), ("resting", &Some(at(60).rfc3339())));
        assert_eq!(two.why.as_deref(), Some("refused"));
        drop(dialling);
        assert_eq!(servers.line(at(60)).servers, [ready("one.test"), ready("two.test")]);

        let why = Failure::new(Cause::RouteHeld, "535 5.7.8 no");
        servers.known().hold(at(100), why);
        let held = servers.line(at(101)).held.unwrap();
        assert_eq!((held.since, held.until), (at(100).rfc3339(), at(400).rfc3339()));
        let wrong = servers.wrong(at(101)).unwrap();
        assert!(wrong.starts_with("target relay: ") && wrong.ends_with("535 5.7.8 no"), "{wrong}");
        assert_eq!(servers.wrong(at(400)), None);
        servers.known().known();
        assert_eq!(servers.wrong(at(102)), None);
    }
}
