//! How often, and how many at once.
//!
//! The `limits { }` block: token buckets and concurrency counts for everything together, for each client address, each sender domain and
//! each destination. Whoever wants to go on asks `try_acquire` and gets all of it or nothing: a `Held` to give back in the end, or a
//! `Wait` that says when to ask again. What is done while waiting (a session sleeps, a queue reschedules) is the caller's.
//!
//! - `line`: one line of the block, checked.
//! - `bucket`: the token bucket.
//! - `counters`: the counters of one scope by key, and which of them may be forgotten.

mod bucket;
mod counters;
mod line;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::time::Timestamp;

use counters::{Counters, Refusal};

pub use counters::MAX_KEYS;
pub use line::{Line, LineError, Scope};

/// All limits of a block, with their counters. One owner; what several share is behind a lock of theirs.
#[derive(Debug)]
pub struct Limits {
    /// Scopes that have a limit, each once.
    scopes: Vec<(Scope, Counters)>,
}

/// Who asks: what the counters are kept by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who<'a> {
    /// The client. One without an address, or an unknown one, counts as 127.0.0.1.
    pub ip: Option<IpAddr>,
    /// Domain of the sender, in A-labels. The null sender (`None`) counts as one domain with an empty name.
    pub source: Option<&'a str>,
    /// Next hop, in A-labels. `None` where there is none yet: `destination` limits do not apply.
    pub destination: Option<&'a str>,
}

/// Leave to go on. Given back with `Limits::release`, once, when the work is over; dropped without, its concurrency slots stay taken
/// for the life of the `Limits`. Wrap it in a guard.
#[must_use = "dropping it does not give back what it holds"]
#[derive(Debug)]
pub struct Held {
    slots: Vec<(Scope, Key)>,
}

/// Not now. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whose limit refused; of several, the one that takes longest to wait for.
    pub scope: Scope,
    /// When the missing token is due: asking earlier is in vain. `None` when somebody has to release first.
    pub until: Option<Timestamp>,
}

/// What a counter is kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    All,
    Ip(IpAddr),
    Name(Arc<str>),
}

impl Held {
    /// Whose places it holds: the scope, and the key as text (of `all` and of the null sender the empty one).
    pub fn places(&self) -> Vec<(Scope, String)> {
        let text = |key: &Key| match key {
            Key::All => String::new(),
            Key::Ip(ip) => ip.to_string(),
            Key::Name(name) => name.to_string(),
        };
        self.slots.iter().map(|(scope, key)| (*scope, text(key))).collect()
    }
}

impl Limits {
    /// All lines apply, several of one scope, too. Without lines everything is allowed.
    pub fn new(lines: Vec<Line>) -> Limits {
        let counters = Scope::EVERY.iter().filter_map(|scope| {
            let own = lines.iter().filter(|line| line.scope() == *scope);
            Counters::of(own).map(|counters| (*scope, counters))
        });
        Limits { scopes: counters.collect() }
    }

    /// Takes a token of every bucket and a place in every count that `who` falls under, or nothing at all.
    pub fn try_acquire(&mut self, who: &Who<'_>, now: Timestamp) -> Result<Held, Wait> {
        for (_, counters) in &mut self.scopes {
            counters.forget_idle(now);
        }
        let asked = |scope: Scope| who.key(scope).map(|key| (scope, key));
        let refusals = self.scopes.iter().filter_map(|(scope, counters)| {
            let (scope, key) = asked(*scope)?;
            let refusal = counters.look(&key, now).err()?;
            let until = match refusal {
                Refusal::Until(due) => Some(due),
                Refusal::Taken => None,
            };
            Some(Wait { scope, until })
        });
        // A bucket names a moment before which nothing helps, whatever is released meanwhile; so it speaks first. `None` is the least.
        if let Some(wait) = refusals.reduce(|a, b| if b.until > a.until { b } else { a }) {
            return Err(wait);
        }
        let mut slots = Vec::new();
        for (scope, counters) in &mut self.scopes {
            let Some((scope, key)) = asked(*scope) else { continue };
            counters.take(&key, now);
            if counters.counts_holders() {
                slots.push((scope, key));
            }
        }
        Ok(Held { slots })
    }

    /// Gives back the places. Tokens are spent. A `Held` of other limits does no harm beyond a count that is one too low.
    pub fn release(&mut self, held: Held) {
        for (scope, key) in held.slots {
            if let Some((_, counters)) = self.scopes.iter_mut().find(|(own, _)| *own == scope) {
                counters.release(&key);
            }
        }
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Keys remembered, of all scopes; at most four times `MAX_KEYS`.
    pub fn keys(&self) -> usize {
        self.scopes.iter().map(|(_, counters)| counters.len()).sum()
    }
}

impl Who<'_> {
    /// The key in this scope; `None` where its limits do not apply.
    fn key(&self, scope: Scope) -> Option<Key> {
        match scope {
            Scope::All => Some(Key::All),
            Scope::Ip => {
                let unknown = IpAddr::V4(Ipv4Addr::LOCALHOST);
                // One client, whichever socket it came through: ::ffff:192.0.2.1 is 192.0.2.1.
                Some(Key::Ip(self.ip.map_or(unknown, |ip| ip.to_canonical())))
            }
            Scope::Source => Some(Key::Name(Arc::from(self.source.unwrap_or_default()))),
            Scope::Destination => self.destination.map(|name| Key::Name(Arc::from(name))),
        }
    }
}

#[cfg(test)]
mod tests;
